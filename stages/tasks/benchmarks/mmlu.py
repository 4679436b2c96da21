"""MMLU: multiple-choice questions of 57 subjects (cais/mmlu)."""

from __future__ import annotations

from stages.tasks.benchmarks.items import four_options, letter, lettered

COLUMNS = ("question", "subject", "choices", "answer")
QUESTION = ("question",)
KEPT = ("subject",)


def fields(row: dict) -> dict[str, str]:
    """question; subject, and topic, the subject with spaces; options (four lettered lines); answer (a letter)."""
    return {
        "question": row["question"],
        "subject": row["subject"],
        "topic": row["subject"].replace("_", " "),
        "options": lettered(four_options(row["choices"])),
        "answer": letter(row["answer"]),
    }
