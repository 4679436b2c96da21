"""The tables of the concepts study: `data/concepts/{words/MODEL, dictionaries, records}/`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import pandas as pd

from stages.models.names import stage_of
from stages.shared.tables import Tables

_DICTIONARY = {"variant": "str", "model": "str", "noise": "float64", "seed": "int64"}
_EFFECTS = {
    "on_target": "float64",
    "effect_size": "float64",
    "off_target": "float64",
    "sibling_contrast": "float64",
    "success": "float64",
    "success_before": "float64",
    "ratio_kl": "float64",
    "all_kl": "float64",
}
COLUMNS: dict[str, dict[str, str]] = {
    "interventions": {"model": "str", "method": "str", "kind": "str", "strength": "float64", **_EFFECTS},
    "quality": {**_DICTIONARY, "on": "str", "measure": "str", "kind": "str", "value": "float64"},
    "steering": {**_DICTIONARY, "chosen": "str", "level": "str", "kind": "str", "strength": "float64", **_EFFECTS},
    "gate": {
        **dict.fromkeys(("model", "state", "metric", "null", "kind"), "str"), "level": "int64", "words": "int64",
        **dict.fromkeys(("members", "others", "siblings", "excess", "angle", "shuffled", "p"), "float64"), "passes": "bool",
    },
    "pairs": {
        **dict.fromkeys(("model", "state", "metric", "null", "lower", "upper", "relation"), "str"),
        "ratio": "float64", "angle": "float64",
    },
    "contexts": {**dict.fromkeys(("model", "state", "point", "null", "kind"), "str"), "auroc": "float64", "siblings": "float64"},
    "siblings": {**dict.fromkeys(("model", "state", "kind"), "str"), "corners": "int64", "edge_variation": "float64",
                 "cosine": "float64", "cosine_sd": "float64", "rank_share": "float64", "dimensions": "int64"},
    "shared": {**dict.fromkeys(("model", "reference", "place", "kind"), "str"), "cosine": "float64", "other_kinds": "float64"},
    "scene": {**dict.fromkeys(("model", "state", "kind", "word"), "str"), "held_out": "bool", "corner": "bool",
              "x": "float64", "y": "float64"},
    "features": {**dict.fromkeys(("one", "other", "level"), "str"), "one_seed": "int64", "other_seed": "int64",
                 "cosine": "float64", "chance": "float64"},
    "comparisons": {**dict.fromkeys(("comparison", "more", "less", "measure"), "str"), "pairs": "int64",
                    **dict.fromkeys(("value", "baseline", "difference", "low", "high", "p", "p_holm"), "float64")},
}  # fmt: skip
DICTIONARIES = ("quality", "steering", "features")


def _tables(contents: str, names: Sequence[str], stage: Callable[[str], str]) -> Tables:
    return Tables(contents, {name: COLUMNS[name] for name in names}, stage)


WORD_TABLES = _tables("an extracted model", ("interventions",), lambda model: stage_of("concepts-extract", model))
DICTIONARY_TABLES = _tables("evaluated autoencoders", DICTIONARIES, lambda _: "concepts-evaluate")
RECORD_TABLES = _tables(
    "the concepts study", [name for name in COLUMNS if name not in DICTIONARIES], lambda _: "concepts-summarise"
)


def ordered(name: str, rows: Sequence[Mapping]) -> pd.DataFrame:
    """Return ``rows`` as the table ``name``, sorted by its keys."""
    columns = COLUMNS[name]
    keys = [column for column, kind in columns.items() if kind in ("str", "int64")]
    keys += [column for column in ("noise", "strength") if column in columns]
    table = Tables("", COLUMNS, str).typed(name, rows)
    return table.sort_values(keys, kind="stable", ignore_index=True)
