"""MMLU: multiple-choice questions of 57 subjects (cais/mmlu)."""

from __future__ import annotations

from stages.tasks.benchmarks.items import four_options, lettered_lines, option_letter

COLUMNS = ("question", "subject", "choices", "answer")
QUESTION_FIELDS = ("question",)
ROW_FIELDS = ("subject",)


def fields(row: dict) -> dict[str, str]:
    """Return question; subject, and topic, the subject with spaces; options (four lettered lines); answer (a letter)."""
    return {
        "question": row["question"],
        "subject": row["subject"],
        "topic": row["subject"].replace("_", " "),
        "options": lettered_lines(four_options(row["choices"])),
        "answer": option_letter(row["answer"]),
    }
