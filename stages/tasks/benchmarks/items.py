"""Read the items of a benchmark: upstream rows as fields for the templates; broken ones are left out and counted.

An item is a dictionary: ``id`` and ``source_index`` (position in the upstream split), and the fields
of its layout, ``answer`` among them. A layout is a module of this folder with

- ``COLUMNS``: columns that an upstream row must have;
- ``QUESTION_FIELDS``: fields that make two items the same question;
- ``ROW_FIELDS``: fields that the row of the task file carries on, ``solution`` among them where upstream has reasoning
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
    """An upstream row cannot be asked; the message says why."""


def layout_name(layout: ModuleType) -> str:
    """Return the name of a layout, that of its module."""
    return layout.__name__.rpartition(".")[2]


def read_items(
    rows: list[dict], layout: ModuleType, split: str, source: str, leave_out: Sequence[int] = ()
) -> list[dict]:
    """Return the items of all sound rows, in upstream order; what is left out is logged with its reason.

    Ids are ``{layout}-{split}-{position}``, or ``{layout}-{id}`` where upstream numbers its items:
    they depend on no seed and no size. ``source`` names the rows in messages. Raises TaskError naming the column, the
    row or the repeated id.
    """
    items, left_out = [], defaultdict(list)
    for position, row in enumerate(rows):
        _require_columns(row, layout, f"{source}, row {position}")
        position_id = f"{layout_name(layout)}-{split}-{position}"
        try:
            fields = _fields(row, layout, f"{source}, row {position}")
            if position in leave_out:
                raise BrokenItem("listed under leave_out")
            items.append({"id": position_id, "source_index": position} | fields)
        except BrokenItem as reason:
            left_out[str(reason)].append(position_id)
    for reason, names in left_out.items():
        log.warning("%s: %d of %d items left out: %s (first %s)", source, len(names), len(rows), reason, names[0])
    if not items:
        raise TaskError(f"{source}: no item is left of {len(rows)}: is it {layout_name(layout)}? see the reasons above")
    _require_distinct_ids(items, source)
    return items


def _require_columns(row: dict, layout: ModuleType, row_name: str) -> None:
    if missing := [column for column in layout.COLUMNS if column not in row]:
        raise TaskError(
            f"{row_name} has no column {', '.join(missing)}: {layout_name(layout)} needs {', '.join(layout.COLUMNS)}, "
            f"found {', '.join(map(str, row))}; correct `file` or `layout`"
        )


def _fields(row: dict, layout: ModuleType, row_name: str) -> dict:
    if empty := [column for column in layout.COLUMNS if row[column] is None or not str(row[column]).strip()]:
        raise BrokenItem(f"empty {', '.join(empty)}")
    try:
        return layout.fields(row)
    except BrokenItem:
        raise
    except (AttributeError, TypeError, ValueError) as error:
        raise TaskError(f"{row_name} has a value of another kind than {layout_name(layout)} needs: {error}") from error


def _require_distinct_ids(items: list[dict], source: str) -> None:
    ids = set()
    for item in items:
        if item["id"] in ids:
            raise TaskError(f"{source}: the id {item['id']} occurs twice: the file may hold the split more than once")
        ids.add(item["id"])


def four_options(value: list[str] | str) -> list[str]:
    """Return the options of a multiple-choice item, from a list or from JSON.

    Raises BrokenItem unless they are four, none empty, no two alike.
    """
    options = [str(option).strip() for option in (json.loads(value) if isinstance(value, str) else value)]
    if len(options) != len(LETTERS) or not all(options) or len(set(options)) != len(LETTERS):
        raise BrokenItem("not four distinct options")
    return options


def lettered_lines(options: list[str]) -> str:
    """Return one line to an option: ``A. ...``."""
    return "\n".join(f"{letter}. {option}" for letter, option in zip(LETTERS, options, strict=True))


def option_letter(index: int | str) -> str:
    """Return the letter of option 0 to 3. Raises BrokenItem for another index."""
    if not 0 <= int(index) < len(LETTERS):
        raise BrokenItem("no such option as the answer names")
    return LETTERS[int(index)]
