"""GSM8K: grade-school mathematics in words (openai/gsm8k, or grade_school_math's jsonl)."""

from __future__ import annotations

import re

from stages.benchmarks.items import BrokenItem

COLUMNS = ("question", "answer")
QUESTION = ("question",)
KEPT = ("solution",)

CALCULATOR = re.compile(r"<<.*?>>")


def fields(row: dict) -> dict[str, str]:
    """question; solution, worked, without the calculator's notes; answer, the number after ``####`` without commas."""
    _, mark, answer = row["answer"].rpartition("####")
    if not mark or not answer.strip():
        raise BrokenItem("no answer after ####")
    return {
        "question": row["question"],
        "solution": CALCULATOR.sub("", row["answer"]),
        "answer": answer.strip().replace(",", ""),
    }
