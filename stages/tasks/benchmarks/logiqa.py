"""LogiQA 1 in English: logic questions of civil-service examinations (lucasmccabe/logiqa, or its own text files)."""

from __future__ import annotations

import re

from stages.tasks.benchmarks.items import LETTERS, BrokenItem, four_options, lettered_lines, option_letter

COLUMNS = ("context", "query", "options", "correct_option")
QUESTION_FIELDS = ("context", "question")
ROW_FIELDS = ()

CHINESE = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]")
LABEL = re.compile(rf"([{LETTERS}])[.?: ]\s*")


def fields(row: dict) -> dict[str, str]:
    """Return context, question, options (four lettered lines), answer (a letter)."""
    if any(CHINESE.search(str(row[column])) for column in COLUMNS):
        raise BrokenItem("untranslated, with Chinese characters")
    return {
        "context": row["context"],
        "question": row["query"],
        "options": lettered_lines(order_by_label(four_options(row["options"]))),
        "answer": option_letter(row["correct_option"]),
    }


def order_by_label(options: list[str]) -> list[str]:
    """Return the options without their labels, A first.

    The text files print some as A, C, B, D; their answers mean labels. Raises BrokenItem where an option lost its
    label.
    """
    labels = [LABEL.match(option) for option in options]
    if all(labels) and sorted(label[1] for label in labels) == list(LETTERS):
        return [label.string[label.end() :] for label in sorted(labels, key=lambda label: label[1])]
    if any(label and label[0].startswith(f"{label[1]}.") for label in labels):
        raise BrokenItem("an option has lost its label")
    return options
