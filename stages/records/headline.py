"""The few numbers of one model that a person compares between runs."""

from __future__ import annotations

import pandas as pd

from stages.params.measure import Measure


def headline(records: pd.DataFrame, params: Measure) -> dict:
    """Means over all tasks and over the layers of the sites with intervals; a quantity without any value is left out."""
    sites = params.interval_sites or sorted(set(records["site"]))
    shown = records[records["site"].isin(sites)]
    k = params.headline_k
    wanted = {
        f"preservation_centred_k{k}.same_prompts": ("preservation", f"centred_k{k}", "value"),
        f"preservation_centred_k{k}.index": ("preservation", f"centred_k{k}", "index"),
        "effective_rank_centred_singular": ("effective_rank", "centred_singular", "value"),
        "cka_debiased": ("cka", "debiased", "value"),
    }
    found: dict = {}
    for leaf, (measure, variant, quantity) in wanted.items():
        values = shown.loc[(shown["measure"] == measure) & (shown["variant"] == variant), quantity].dropna()
        if len(values):
            *parents, last = leaf.split(".")
            node = found
            for parent in parents:
                node = node.setdefault(parent, {})
            node[last] = float(values.mean())
    return found
