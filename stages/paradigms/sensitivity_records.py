"""Sensitivity of one model: numbers of each prompt and layer, and their means over prompts.

All of it is first order, at resid_post, in float32 with eager attention. Prompts and directions are common to all
siblings: their differences are paired, and much surer than the interval of each. The prior study called the noise
response a curvature; it is a sensitivity.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from transformers import PreTrainedModel

from stages.activations.passes import require_fit
from stages.activations.tokens import Tokens
from stages.paradigms.params import ProbeParams
from stages.paradigms.sensitivity import expansion_exponents, frobenius_norm, noise_response, top_singular_value
from stages.statistics.half_sampling import interval

SITE = "resid_post"
UNITS = "no null: its size is in units of the stream and the embeddings; compare models on the same prompts"
ISOMETRY = "null: an isometry from layer to layer"


class SensitivityMeasure(NamedTuple):
    """The words and the null of a measure in its records, beside the number."""

    variant: str
    null: float
    note: str


def measures(params: ProbeParams) -> dict[str, SensitivityMeasure]:
    """Return every measure, with the choices that make its values comparable."""
    drawn = f"draws{params.draws}"
    return {
        "noise_response": SensitivityMeasure(f"last_token_{drawn}", np.nan, UNITS),
        "relative_noise_response": SensitivityMeasure(
            f"last_token_{drawn}", np.nan, "no null: about 1 where the layers do nothing, a level to read it against"
        ),
        "jacobian_frobenius_norm": SensitivityMeasure(f"last_token_{drawn}", np.nan, UNITS),
        "jacobian_top_singular_value": SensitivityMeasure(
            f"last_token_tolerance{params.singular_tolerance:g}", np.nan, UNITS
        ),
        "expansion_exponent": SensitivityMeasure(f"all_tokens_{drawn}", 0.0, ISOMETRY),
        "stream_growth": SensitivityMeasure("all_tokens", 0.0, ISOMETRY),
    }


def prompt_values(
    model: PreTrainedModel, tasks: Mapping[str, Tokens], params: ProbeParams, common: Mapping[str, str]
) -> pd.DataFrame:
    """Return one row for each task, prompt, layer and measure: the table `sensitivity`, with ``common`` in every row.

    The top singular value is that of the first ``singular_prompts`` prompts of each task. Errors as
    `stages.paradigms.sensitivity.embed`.
    """
    from tqdm import tqdm  # only a run shows its progress

    by_name = measures(params)
    for tokens in tasks.values():
        require_fit(model, tokens)
    prompts = [
        (task, prompt, ids, i < params.singular_prompts)
        for task, tokens in tasks.items()
        for i, (prompt, ids) in enumerate(zip(tokens.prompt_ids, tokens.ids, strict=True))
    ]
    rows = [
        {
            **common,
            "task": task,
            "prompt": prompt,
            "layer": layer,
            "measure": measure,
            "variant": by_name[measure].variant,
            "value": float(value),
            "note": note,
        }
        for task, prompt, ids, with_top in tqdm(prompts, desc="sensitivity", unit="prompt", disable=None)
        for measure, values, notes in _prompt_measures(model, ids, params, with_top)
        for layer, (value, note) in enumerate(zip(values, notes, strict=True))
    ]
    return pd.DataFrame(rows)


def _prompt_measures(
    model: PreTrainedModel, ids: np.ndarray, params: ProbeParams, with_top: bool
) -> Iterator[tuple[str, np.ndarray, Sequence[str]]]:
    """Yield measure, values (layers,) and notes (layers,) of the prompt ``ids`` (tokens,)."""
    choices = {"draws": params.draws, "seed": params.seed, "batch": params.draws}
    response = noise_response(model, ids, (SITE,), **choices)
    none = [""] * len(response.mean)
    yield "noise_response", response.mean, none
    yield "relative_noise_response", response.mean / response.stream, none
    yield "jacobian_frobenius_norm", frobenius_norm(model, ids, (SITE,), **choices).value, none
    if with_top:
        top = top_singular_value(
            model, ids, (SITE,), tolerance=params.singular_tolerance, seed=params.seed, strict=False
        )
        late = [
            "" if ready else f"a lower bound: relative residual {left:.2g} at the last iteration"
            for ready, left in zip(top.converged, top.residual, strict=True)
        ]
        yield "jacobian_top_singular_value", top.value, late
    expansion = expansion_exponents(model, ids, **choices)
    yield "expansion_exponent", expansion.mean, none
    yield "stream_growth", expansion.stream, none


def prompt_means(values: pd.DataFrame, params: ProbeParams) -> pd.DataFrame:
    """Return one record for each task, layer and measure of the table `sensitivity`, with an interval over prompts.

    The half-sampling error of a mean, sd(T_m) √(m / (n - m)), is s / √n, which is taken here.
    """
    keys = ["model", "reference", "task", "layer", "measure", "variant"]
    groups = values.groupby(keys, sort=False)
    records = groups["value"].agg(value="mean", n="count", standard_error="sem").reset_index()
    records["low"], records["high"] = interval(records["value"], records["standard_error"], params.confidence)
    by_name = measures(params)
    records["null"] = records["measure"].map({name: measure.null for name, measure in by_name.items()})
    bounds = groups["note"].agg(lambda notes: (notes != "").sum()).to_numpy()
    records["note"] = [
        by_name[measure].note + (f"; a lower bound on {late} of {n} prompts" if late else "")
        for measure, late, n in zip(records["measure"], bounds, records["n"], strict=True)
    ]
    return records.assign(site=SITE, missing="")


def missing_means(
    tasks: Sequence[str], layers: int, reason: str, params: ProbeParams, common: Mapping[str, str]
) -> pd.DataFrame:
    """Return the records of a model that cannot be differentiated: all missing, for ``reason``."""
    nothing = dict.fromkeys(("value", "standard_error", "low", "high"), np.nan)
    return pd.DataFrame(
        [
            {
                **common,
                "task": task,
                "site": SITE,
                "layer": layer,
                "measure": name,
                "variant": measure.variant,
                **nothing,
                "n": 0,
                "null": measure.null,
                "missing": reason,
                "note": measure.note,
            }
            for task in tasks
            for layer in range(layers)
            for name, measure in measures(params).items()
        ]
    )
