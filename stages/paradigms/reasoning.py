"""The worked solutions that follow the prompts of a task, up to where the answer would stand."""

from __future__ import annotations

from collections.abc import Sequence

from stages.activations.params import Collect, of_reasoning
from stages.activations.tokens import MASK, CollectionError


def mask(params: Collect) -> str:
    """In words: the tokens that each aggregation reads."""
    if not of_reasoning(params.aggregations):
        return MASK
    return (
        f"{MASK}, all of the prompt alone; after it stands the worked solution (the first of {', '.join(params.reasoning)} that "
        "the task has) up to the space before its last mention of the answer: reasoning_middle: its middle token, the earlier "
        "of two; reasoning_end: its last token"
    )


def continuations(task: str, rows: Sequence[dict], params: Collect) -> list[str] | None:
    """What each row's model is made to read after the prompt; None where no aggregation asks for reasoning.

    The worked solution is that of the first key of ``params.reasoning`` that the task has. It ends before the last
    occurrence of the answer and the space in front of it, so that every text of a format ends in the same token and
    its end tells nothing of the answer; the steps before it may. Raises CollectionError naming the task, the row and
    the fix where a row has no such solution, where the solution lacks the answer, or has nothing in front of it.
    """
    if not of_reasoning(params.aggregations):
        return None
    key = next((key for key in params.reasoning if key in rows[0]), params.reasoning[0])
    return [_before_answer(task, row, key, params) for row in rows]


def _before_answer(task: str, row: dict, key: str, params: Collect) -> str:
    where = f"task {task!r}, row {row['id']}"
    if key not in row:
        others = [name for name in params.aggregations if name not in of_reasoning(params.aggregations)]
        raise CollectionError(
            f"{where} has no worked solution ({' or '.join(params.reasoning)}) for the aggregations "
            f"{', '.join(of_reasoning(params.aggregations))}: leave them out with "
            f"-S 'collect.aggregations=[{','.join(others or ['last_token'])}]', or leave the task out of the study"
        )
    solution, answer = row[key], row["answer"]
    steps, found, _ = solution.rpartition(answer) if answer else ("", "", "")
    if not found:
        raise CollectionError(
            f"{where}: the worked solution {key} does not contain the answer {answer!r}: correct the row"
        )
    if not steps.strip():
        raise CollectionError(
            f"{where}: the worked solution {key} has nothing in front of the answer {answer!r}: correct the row"
        )
    return steps.rstrip()
