"""A study's tables as the measuring and training stages would write them, made of smooth made-up curves."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd

from stages.paradigms.perturbed_records import perturbed_rows
from stages.paradigms.tables import PERTURBED_TABLES, PROBE_TABLES, RANDOM_KINDS, RECORD_COLUMNS, RECORD_TABLES

TASKS = ("arithmetic", "logic", "strings")
LAYERS, WIDTH, DRAWS, N = 8, 64, 24, 1000
RECIPES = ("base", "sft", "rl_zero", "think", "sft_matched", "sft_kl", "sft_onpolicy", "sft_continued", "rl_shuffled")
LOSS = {
    "base": 0.0,
    "sft": 0.34,
    "rl_zero": 0.015,
    "think": 0.36,
    "sft_matched": 0.02,
    "sft_kl": 0.07,
    "sft_onpolicy": 0.008,
    "sft_continued": 0.355,
    "rl_shuffled": 0.025,
}
"""Share of the index lost at the last layer."""
DISTANCE = {
    "sft": 0.288,
    "rl_zero": 0.026,
    "think": 0.29,
    "sft_matched": 0.0262,
    "sft_kl": 0.088,
    "sft_onpolicy": 0.017,
    "sft_continued": 0.291,
    "rl_shuffled": 0.024,
}
KL = {
    "sft": 8.2,
    "rl_zero": 0.085,
    "think": 8.25,
    "sft_matched": 0.63,
    "sft_kl": 0.086,
    "sft_onpolicy": 0.011,
    "sft_continued": 8.3,
    "rl_shuffled": 0.16,
}
ACCURACY = {
    "base": 0.52,
    "sft": 0.74,
    "rl_zero": 0.65,
    "think": 0.76,
    "sft_matched": 0.55,
    "sft_kl": 0.62,
    "sft_onpolicy": 0.57,
    "sft_continued": 0.75,
    "rl_shuffled": 0.5,
}
REINFORCED = ("rl_zero", "think", "rl_shuffled")
MARGINS = {"strong": 0.2, "moderate": 0.1, "equivalent": 0.05}


def records_of(model: str, reference: str, recipe: str, seed: int = 0, layers: int = LAYERS) -> dict[str, pd.DataFrame]:
    """Return the tables of one model."""
    random = np.random.default_rng([seed, len(recipe), sum(map(ord, recipe))])
    records, replicates, spectra = [], [], []
    for t, task in enumerate(TASKS):
        for layer in range(layers):
            depth = (layer + 1) / layers
            index = (
                1
                - LOSS.get(recipe, 0.2) * depth * (0.85 + 0.15 * t)
                + (0 if recipe == "base" else random.normal(0, 0.004))
            )
            error, chance, baseline = 0.006 + 0.02 * (1 - index), 0.33, 0.94 + 0.03 * depth
            common = {
                "model": model,
                "reference": reference,
                "task": task,
                "site": "resid_post",
                "layer": layer,
                "aggregation": "last_token",
                "n": N,
                "missing": "",
                "note": "",
            }
            same = 1.0 if recipe == "base" else chance + (min(index, 1) - chance * 0.02) * (0.995 - chance)
            records.append({
                **common, "measure": "preservation", "variant": "centred_k8", "value": same, "null": chance, "resample_baseline": baseline,
                "ceiling": baseline, "index": index, "standard_error": error / 2, "low": same - error, "high": same + error,
                "index_standard_error": error, "index_low": index - 2 * error, "index_high": index + 2 * error,
            })  # fmt: skip
            rank = (7 + 16 * np.sin(2.4 * depth) + 3 * t) * (1 + LOSS.get(recipe, 0.1) * 0.6 * depth)
            records.append({
                **common, "measure": "effective_rank", "variant": "centred_singular", "value": rank, "null": 62.9, "resample_baseline": rank - 0.3,
                "ceiling": np.nan, "index": np.nan, "standard_error": 0.1, "low": rank - 0.2, "high": rank + 0.2,
                "index_standard_error": np.nan, "index_low": np.nan, "index_high": np.nan,
            })  # fmt: skip
            if layer == 0 and task == "logic":  # as where every prompt ends alike
                for row in records[-2:]:
                    row.update(
                        dict.fromkeys(("value", "index", "low", "high", "index_low", "index_high"), np.nan),
                        missing="constant by design",
                    )
            else:
                values = random.normal(index, error, DRAWS)
                replicates += [
                    {
                        "task": task,
                        "aggregation": "last_token",
                        "site": "resid_post",
                        "layer": layer,
                        "measure": "preservation",
                        "variant": "centred_k8",
                        "quantity": "index",
                        "replicate": r,
                        "value": v,
                    }
                    for r, v in enumerate(values)
                ]
            ranks = np.arange(1, WIDTH + 1)
            eigenvalues = 40 * ranks ** -(3.2 - depth - LOSS.get(recipe, 0.1) * 1.5 * depth)
            noise = np.linspace(1.5, 0.6, WIDTH) * eigenvalues.sum() / WIDTH
            spectra += [
                {
                    "task": task,
                    "aggregation": "last_token",
                    "site": "resid_post",
                    "layer": layer,
                    "variant": "centred",
                    "rank": r,
                    "eigenvalue": e,
                    "noise": z,
                }
                for r, e, z in zip(ranks, eigenvalues, noise, strict=True)
            ]
    place = {"aggregation": "last_token", "site": "resid_post"}
    rarefaction = [
        {**place, "task": row["task"], "layer": row["layer"], "measure": row["measure"], "variant": row["variant"],
         "n": n, "value": row["value"] * (1 - 5 / n), "sd": 0.1}
        for row in records
        if row["measure"] == "effective_rank" and not row["missing"]
        for n in (N // 4, N // 2, N)
    ]  # fmt: skip
    similarity = [
        {**place, "task": task, "layer": layer, "other": other, "cka": 1 - 0.1 * (other - layer), "missing": ""}
        for task in TASKS
        for layer in range(layers)
        for other in range(layer + 1, layers)
    ]
    tables = {
        "records": records, "replicates": replicates, "spectra": spectra, "rarefaction": rarefaction, "layers": similarity,
    }  # fmt: skip
    return {name: pd.DataFrame(rows, columns=list(RECORD_COLUMNS[name])) for name, rows in tables.items()}


def probes_of(model: str, reference: str, recipe: str, layers: int = LAYERS) -> dict[str, pd.DataFrame]:
    """Return the three tables of one probed model: sensitivities that grow with the distance, and an update of half the rank."""
    own = model == reference
    common, moved = {"model": model, "reference": reference}, 0.0 if own else DISTANCE.get(recipe, 0.1)
    levels = {
        "relative_noise_response": 0.5, "jacobian_frobenius_norm": 10.0, "jacobian_top_singular_value": 4.0, "expansion_exponent": 0.05,
    }  # fmt: skip
    values = [
        {
            **common, "task": task, "prompt": f"{task}-{i}", "layer": layer, "measure": measure, "variant": "", "note": "",
            "value": level * (1 + 0.1 * layer + 0.02 * i) * (1 + moved),
        }
        for task in TASKS for i in range(4) for layer in range(layers) for measure, level in levels.items()
    ]  # fmt: skip
    numbers = {"base_norm": (8.0, np.nan), "update_norm": (8 * moved, np.nan), "update_effective_rank": (25.0, 50.0)}
    weights = [
        {
            **common, "tensor": f"layers.{layer}.{kind}.weight", "kind": kind, "layer": layer, "shape": "64x64", "measure": measure,
            "variant": "", "value": np.nan if own else value, "null": null, "missing": "its own reference" if own else "", "note": "",
        }
        for layer in range(layers) for kind in ("mlp.up_proj", "mlp.down_proj") for measure, (value, null) in numbers.items()
    ]  # fmt: skip
    tables = {"sensitivity": pd.DataFrame(values), "weights": pd.DataFrame(weights)}
    typed = {name: PROBE_TABLES.typed(name, table) for name, table in tables.items()}
    return {**typed, "records": PROBE_TABLES.typed("records", [])}


PERTURBED = ("sft", "rl_zero")
"""Recipes with models that moved as far in other directions."""
RANDOM_DRAWS = 3


def points_of(recipe: str, seed: int = 0, layers: int = LAYERS) -> list[dict]:
    """Return rows of perturbed models: random ones that lose a third of what the model loses, and a straight line to it."""
    described = [
        *({"kind": kind, "draw": i, "share": 0.3 + 0.02 * i + 0.01 * seed} for kind in RANDOM_KINDS for i in range(RANDOM_DRAWS)),
        {"kind": "negated", "share": 1.0},
        *({"kind": "interpolation", "t": t, "share": t**2} for t in (0.1, 0.5, 1.0)),
        *({"kind": "checkpoint", "step": step, "share": (step / 10) ** 3} for step in (5, 10)),
    ]  # fmt: skip
    rows = []
    for point in described:
        lost = LOSS.get(recipe, 0.2) * point.pop("share")
        size = point.get("t") or (point.get("step") or 10) / 10
        common = {"draw": 0, "t": None, "step": None, "displacement": DISTANCE.get(recipe, 0.1) * size, **point}
        for task in TASKS:
            for layer in range(layers):
                index = 1 - lost * (layer + 1) / layers
                scores = {"preservation": index, "index": index, "effective_rank": 20.0, "cka": index}
                rows += perturbed_rows(common, task, layer, scores)
    return rows


def metrics_of(recipe: str) -> dict:
    accuracy = {task: ACCURACY[recipe] + shift for task, shift in zip(TASKS, (-0.15, -0.05, 0.2), strict=True)}
    found = {
        "accuracy": {
            task: {"value": a, "standard_error": float(np.sqrt(a * (1 - a) / N))} for task, a in accuracy.items()
        },
        "format_share": 0.9,
        "completion_tokens": 12.5,
    }
    found["accuracy"]["mean"] = {"value": ACCURACY[recipe], "standard_error": 0.0085}
    if recipe != "base":
        gain = ACCURACY[recipe] - ACCURACY["base"]
        found["gain_over_base"] = {"value": gain, "low": gain - 0.018, "high": gain + 0.018}
        found["displacement_from_base"] = DISTANCE[recipe]
        found["kl_from_base"] = {"value": KL[recipe], "standard_error": 0.05 * KL[recipe]}
    return found


def curve_of(recipe: str, seed: int = 0) -> pd.DataFrame:
    random = np.random.default_rng([seed, len(recipe)])
    if recipe in REINFORCED:
        steps = np.arange(1, 71)
        end = ACCURACY[recipe] - 0.5
        reward = 0.5 + end * (1 - np.exp(-steps / 25)) + random.normal(0, 0.03, 70)
        parts = [("reward", reward), ("completion tokens", 30 + random.normal(0, 1, 70))]
    else:
        steps = (
            np.arange(100, 4001, 100)
            if recipe == "base"
            else np.linspace(25, {"sft": 1000, "sft_matched": 90, "sft_kl": 240}.get(recipe, 150), 40)
            .round()
            .astype(int)
        )
        parts = [
            ("loss", 0.55 + 2 * np.exp(-steps / (600 if recipe == "base" else 60)) + random.normal(0, 0.02, len(steps)))
        ]
    return pd.concat(
        [pd.DataFrame({"step": steps, "quantity": quantity, "value": values}) for quantity, values in parts]
    )


def hypotheses() -> pd.DataFrame:
    scope = "of these two models on prompts like these, not of their paradigms (1 of at least 6 families)"
    rows = [
        ("rl_zero_over_sft", "preservation_index", "rl_zero", "sft", "total", 0.19, 0.17, 0.21, "moderate", scope),
        (
            "at_displacement",
            "preservation_index",
            "rl_zero",
            "sft_matched",
            "at_matched_displacement",
            0.004,
            -0.01,
            0.018,
            "equivalent",
            scope,
        ),
        ("at_kl", "preservation_index", "rl_zero", "sft_kl", "at_matched_kl", 0.045, 0.031, 0.06, "undecided", scope),
        (
            "on_policy",
            "preservation_index",
            "rl_zero",
            "sft_onpolicy",
            "on_policy",
            -0.006,
            -0.02,
            0.01,
            "equivalent",
            scope,
        ),
        (
            "think_sft",
            "preservation_index",
            "think",
            "sft",
            "total",
            -0.01,
            -0.02,
            0.0,
            "not decided: the control is not matched (gap 7.3 % of the wanted displacement, at most 5 %)",
            scope,
        ),
        ("rank", "effective_rank", "sft", "rl_zero", "total", 0.11, 0.08, 0.14, "undecided", scope),
        (
            "shuffled",
            "preservation_index",
            "rl_zero",
            "rl_shuffled",
            "total",
            np.nan,
            np.nan,
            np.nan,
            "not tested: rl_shuffled is not in study.organisms",
            np.nan,
        ),
    ]
    return pd.DataFrame(
        rows,
        columns=["hypothesis", "quantity", "more", "less", "effect", "estimate", "low", "high", "verdict", "scope"],
    )


def write_study(root: Path, recipes=RECIPES, seeds=(0,), models=()) -> None:
    """Write everything that the plotting stage reads, params.yaml included; ``models`` are slugs of bases from the hub."""
    names = [(f"{recipe}-s{seed}", f"base-s{seed}", recipe, seed) for seed in seeds for recipe in recipes]
    for model, reference, recipe, seed in [*names, *((slug, models[0], slug, 0) for slug in models)]:
        RECORD_TABLES.write(root / "data/records" / model, records_of(model, reference, recipe, seed))
        PROBE_TABLES.write(root / "data/probes" / model, probes_of(model, reference, recipe))
    for model, _, recipe, seed in names:
        if recipe in PERTURBED:
            PERTURBED_TABLES.write(root / "data/probes/perturbed" / model, {"points": points_of(recipe, seed)})
    for folder in ("metrics/train", "plots/train"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for model, _, recipe, seed in names:
        (root / "metrics/train" / f"{model}.json").write_text(json.dumps(metrics_of(recipe)))
        curve_of(recipe, seed).to_csv(root / "plots/train" / f"{model}.csv", index=False)
    hypotheses().to_csv(root / "plots/hypotheses.csv", index=False)
    write_params(root, recipes, seeds, models)


def write_params(root: Path, recipes=RECIPES, seeds=(0,), models=()) -> None:
    params = {
        "study": {"seeds": list(seeds), "organisms": list(recipes), "models": {slug: models[0] for slug in models}, "tasks": list(TASKS), "benchmarks": []},
        "measure": {
            "aggregation": "last_token", "positions": [], "unlike": [], "ks": [4, 8], "headline_k": 8, "interval_sites": ["resid_post"], "half_samples": 200, "plain_half_samples": 24,
            "confidence": 0.95, "decay_ranks": [{"first": 0.08, "last": 0.5}], "bands": [0, 0.3, 1], "components_share": 0.9, "legacy_k": 100,
            "nulls": {"subspaces": 100, "spectra": 2}, "topology": None, "seed": 0,
        },
        "hypotheses": {"site": "resid_post", "margins": MARGINS, "alpha": 0.05, "matched_within": 0.05, "families_for_paradigms": 6, "declared": []},
        "perturb": {
            "organisms": [recipe for recipe in recipes if recipe in PERTURBED], "like": "rl_zero", "models": {}, "draws": RANDOM_DRAWS,
            "prompts": 300, "half_samples": 6, "interpolation": [0.1, 0.5], "seed": 0,
        },
    }  # fmt: skip
    (root / "params.yaml").write_text(json.dumps(params))  # JSON is YAML
