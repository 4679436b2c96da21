"""The few numbers of one model that a person compares between runs."""

from __future__ import annotations

import pandas as pd

from stages.paradigms.params import Measure


def headline(records: pd.DataFrame, params: Measure) -> dict:
    """Means over all tasks and over the layers of the sites with intervals; a quantity without any value is left out."""
    sites = params.interval_sites or sorted(set(records["site"]))
    shown = records[records["site"].isin(sites)]
    variant = f"centred_k{params.headline_k}"
    preservation = f"preservation_{variant}"
    here = params.aggregation
    wanted = {
        (preservation, "same_prompts"): ("preservation", variant, "value", here),
        (preservation, "index"): ("preservation", variant, "index", here),
        ("effective_rank_centred_singular",): ("effective_rank", "centred_singular", "value", here),
        ("cka_debiased",): ("cka", "debiased", "value", here),
    } | {
        (preservation, f"index_at_{position}"): ("preservation", variant, "index", position)
        for position in params.positions
    }
    found: dict = {}
    for (*parents, leaf), (measure, name, quantity, position) in wanted.items():
        chosen = (shown["measure"] == measure) & (shown["variant"] == name) & (shown["aggregation"] == position)
        values = shown.loc[chosen, quantity].dropna()
        if len(values):
            node = found
            for parent in parents:
                node = node.setdefault(parent, {})
            node[leaf] = float(values.mean())
    return found
