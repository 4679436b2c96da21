"""Items of a benchmark: upstream rows as fields for the templates; broken ones are left out and counted.

An item is a dictionary: ``id`` and ``source_index`` (position in the upstream split), and the fields
of its layout, ``answer`` among them. A layout is a module of this folder with

- ``COLUMNS``: columns that an upstream row must have;
- ``QUESTION``: fields that make two items the same question;
- ``KEPT``: fields that the row of the task file carries on, ``solution`` among them where upstream has reasoning
  that leads to the answer and ends in it;
- ``fields(row)``: the fields; raises BrokenItem with the reason where the row cannot be asked.
"""

from __future__ import annotations

import json
import logging
from collections import defaultdict
from collections.abc import Sequence
from types import ModuleType

from stages.tasks.item import TaskError

log = logging.getLogger(__name__)

LETTERS = "ABCD"


class BrokenItem(ValueError):
    """An upstream row that cannot be asked; the message says why."""


def layout_name(layout: ModuleType) -> str:
    return layout.__name__.rpartition(".")[2]


def read_items(
    rows: list[dict], layout: ModuleType, split: str, where: str, leave_out: Sequence[int] = ()
) -> list[dict]:
    """Items of all sound rows, in upstream order; what is left out is logged with its reason.

    Ids are ``{layout}-{split}-{position}``, or ``{layout}-{id}`` where upstream numbers its items:
    they depend on no seed and no size. Raises TaskError naming the column, the row or the repeated id.
    """
    items, left_out = [], defaultdict(list)
    for position, row in enumerate(rows):
        _require_columns(row, layout, f"{where}, row {position}")
        fallback = f"{layout_name(layout)}-{split}-{position}"
        try:
            fields = _fields(row, layout, f"{where}, row {position}")
            if position in leave_out:
                raise BrokenItem("listed under leave_out")
            items.append({"id": fallback, "source_index": position} | fields)
        except BrokenItem as reason:
            left_out[str(reason)].append(fallback)
    for reason, names in left_out.items():
        log.warning("%s: %d of %d items left out: %s (first %s)", where, len(names), len(rows), reason, names[0])
    if not items:
        raise TaskError(f"{where}: no item is left of {len(rows)}: is it {layout_name(layout)}? see the reasons above")
    _require_distinct_ids(items, where)
    return items


def _require_columns(row: dict, layout: ModuleType, where: str) -> None:
    if missing := [column for column in layout.COLUMNS if column not in row]:
        raise TaskError(
            f"{where} has no column {', '.join(missing)}: {layout_name(layout)} needs {', '.join(layout.COLUMNS)}, "
            f"found {', '.join(map(str, row))}; correct `file` or `layout`"
        )


def _fields(row: dict, layout: ModuleType, where: str) -> dict:
    if empty := [column for column in layout.COLUMNS if row[column] is None or not str(row[column]).strip()]:
        raise BrokenItem(f"empty {', '.join(empty)}")
    try:
        return layout.fields(row)
    except BrokenItem:
        raise
    except (AttributeError, TypeError, ValueError) as error:
        raise TaskError(f"{where} has a value of another kind than {layout_name(layout)} needs: {error}") from error


def _require_distinct_ids(items: list[dict], where: str) -> None:
    seen = set()
    for item in items:
        if item["id"] in seen:
            raise TaskError(f"{where}: the id {item['id']} occurs twice: the file may hold the split more than once")
        seen.add(item["id"])


def four_options(value: list[str] | str) -> list[str]:
    """The options of a multiple-choice item, from a list or from JSON; four, none empty, no two alike."""
    options = [str(option).strip() for option in (json.loads(value) if isinstance(value, str) else value)]
    if len(options) != len(LETTERS) or not all(options) or len(set(options)) != len(LETTERS):
        raise BrokenItem("not four distinct options")
    return options


def lettered(options: list[str]) -> str:
    """One line to an option: ``A. ...``."""
    return "\n".join(f"{letter}. {option}" for letter, option in zip(LETTERS, options, strict=True))


def letter(index: int | str) -> str:
    """The letter of option 0 to 3."""
    if not 0 <= int(index) < len(LETTERS):
        raise BrokenItem("no such option as the answer names")
    return LETTERS[int(index)]
