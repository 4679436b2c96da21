"""GSM8K: grade-school mathematics in words (openai/gsm8k, or grade_school_math's jsonl)."""

from __future__ import annotations

import re

from stages.tasks.benchmarks.items import BrokenItem

COLUMNS = ("question", "answer")
QUESTION_FIELDS = ("question",)
ROW_FIELDS = ("solution",)

CALCULATOR = re.compile(r"<<.*?>>")


def fields(row: dict) -> dict[str, str]:
    """Return question; solution, worked, without the calculator's notes; answer, the number after ``####`` that ends both.

    The number is without commas. Raises BrokenItem where there is none.
    """
    steps, mark, number = row["answer"].rpartition("####")
    if not mark or not number.strip():
        raise BrokenItem("no answer after ####")
    answer = number.strip().replace(",", "")
    return {
        "question": row["question"],
        "solution": f"{CALCULATOR.sub('', steps)}#### {answer}",
        "answer": answer,
    }
