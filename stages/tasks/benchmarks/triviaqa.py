"""TriviaQA: trivia questions with short answers (mandarjoshi/trivia_qa; in rc, some stand twice: of the web, of Wikipedia)."""

from __future__ import annotations

import json

from stages.tasks.benchmarks.items import BrokenItem

COLUMNS = ("question", "answer")
QUESTION_FIELDS = ("question",)
ROW_FIELDS = ()


def fields(row: dict) -> dict[str, str]:
    """Return question; answer, the ``value`` of the upstream answer, without its aliases.

    The test split has no answers: its values are the placeholder ``<unk>``. Raises BrokenItem where there is no answer.
    """
    answer = json.loads(row["answer"]) if isinstance(row["answer"], str) else row["answer"]
    value = (answer.get("value") or "").strip()
    if value in ("", "<unk>"):
        raise BrokenItem("no answer")
    return {"question": row["question"].strip(), "answer": value}
