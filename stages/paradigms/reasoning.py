"""The worked solutions that follow the prompts of a task, up to where the answer would stand."""

from __future__ import annotations

from collections.abc import Sequence

from stages.activations.params import Collect, reasoning_aggregations
from stages.activations.tokens import MASK, CollectionError


def mask_in_words(params: Collect) -> str:
    """Return in words which tokens each aggregation reads."""
    if not reasoning_aggregations(params.aggregations):
        return MASK
    return (
        f"{MASK}, all of the prompt alone; after it stands the worked solution (the first of {', '.join(params.reasoning)} that "
        "the task has) up to the space before its last mention of the answer: reasoning_middle: its middle token, the earlier "
        "of two; reasoning_end: its last token"
    )


def continuations(task: str, rows: Sequence[dict], params: Collect) -> list[str] | None:
    """Return what the model is made to read after the prompt of each row; None where no aggregation asks for reasoning.

    The worked solution is that of the first key of ``params.reasoning`` that the task has. It ends before the last
    occurrence of the answer and the space in front of it, so that every text of a format ends in the same token and
    its end tells nothing of the answer; the steps before it may. Raises CollectionError naming the task, the row and
    the fix where a row has no such solution, where the solution lacks the answer, or has nothing in front of it.
    """
    if not reasoning_aggregations(params.aggregations):
        return None
    key = next((key for key in params.reasoning if key in rows[0]), params.reasoning[0])
    return [_before_answer(task, row, key, params) for row in rows]


def _before_answer(task: str, row: dict, key: str, params: Collect) -> str:
    location = f"task {task!r}, row {row['id']}"
    if key not in row:
        prompt_aggregations = [
            name for name in params.aggregations if name not in reasoning_aggregations(params.aggregations)
        ]
        raise CollectionError(
            f"{location} has no worked solution ({' or '.join(params.reasoning)}) for the aggregations "
            f"{', '.join(reasoning_aggregations(params.aggregations))}: leave them out with "
            f"-S 'collect.aggregations=[{','.join(prompt_aggregations or ['last_token'])}]', or leave the task out of the study"
        )
    solution, answer = row[key], row["answer"]
    steps, mention, _ = solution.rpartition(answer) if answer else ("", "", "")
    if not mention:
        raise CollectionError(
            f"{location}: the worked solution {key} does not contain the answer {answer!r}: correct the row"
        )
    if not steps.strip():
        raise CollectionError(
            f"{location}: the worked solution {key} has nothing in front of the answer {answer!r}: correct the row"
        )
    return steps.rstrip()
