"""A small study of traced training with planted courses: tables of runs as `stages.trace.follow` writes them.

The base collapses and grows again: the exponent of its spectrum rises to PEAK at step TURN and falls back. SFT flattens
its spectrum further, Think steepens that of SFT. Answers become likelier with their count in the corpus.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from stages.geometry.spectrum import Spectrum, decay_ranks
from stages.paradigms.params import DecayRanks
from stages.shared.figure_style import save_table
from stages.shared.tables import write_table
from stages.trace.figures.inputs import TraceFigureInputs, read_inputs
from stages.trace.lineage import Course
from stages.trace.metrics import summarise
from stages.trace.params import Headline, PhaseParams
from stages.trace.spectra import Ranges, measures
from stages.trace.tables import CheckpointResult, write

WIDTH, LAYERS, ROWS, HALVES = 32, 3, 4000, 15
DECAY, BANDS = DecayRanks(first=0.08, last=0.5), [0.0, 0.1, 0.4, 1.0]
STEPS, TURN, TOKENS_PER_STEP, PARAMETERS = (0, 1, 2, 4, 8, 16, 32, 64, 128, 256), 16, 1000, 5000
START, PEAK, END = 0.8, 2.0, 0.9
"""Exponents of the base's spectrum."""
LATER = {"sft": (-0.05, (50, 100)), "rl_zero": (-0.01, (10, 20)), "think": (0.02, (5, 10))}
"""Change of the exponent from the parent's end, and steps."""
PARENTS = {"base": None, "sft": "base", "rl_zero": "base", "think": "sft"}
HUB = "pythia-14m"
COUNTS = (0, 0, 1, 2, 3, 5, 8, 9, 12, 20, 35, 50)
HEADLINE = Headline(site="final_norm", level="token")
PHASES = PhaseParams(headline=HEADLINE, draws=200, support=[1, 10], half_samples=12, seed=0)
CONFIDENCE = 0.95


def exponents(seed: int = 0) -> np.ndarray:
    """Return the exponents of the base at STEPS; families differ a little."""
    course = np.interp(np.log1p(STEPS), np.log1p([0, TURN, STEPS[-1]]), [START, PEAK, END])
    return course + 0.01 * np.random.default_rng(seed).standard_normal(len(STEPS))


def organism_courses(seeds=(0,), recipes=tuple(PARENTS)) -> list[Course]:
    return [
        Course(recipe, tuple(f"{recipe}-s{seed}" for seed in seeds), PARENTS[recipe], tuple(f"base-s{seed}" for seed in seeds))
        for recipe in recipes
    ]  # fmt: skip


def hub_courses() -> list[Course]:
    """Return a pretraining and a run that starts from it: tokens known, neither corpus nor accuracy."""
    return [Course(HUB, (HUB,), None, ()), Course(f"{HUB}-sft", (f"{HUB}-sft",), HUB, ())]


def write_organisms(root: Path, seeds=(0,)) -> None:
    """Write all recipes of LATER and the base, with a corpus."""
    for seed in seeds:
        course = exponents(seed)
        ends = {"base": course[-1]}
        write_run(root, f"base-s{seed}", STEPS, course, tokens_per_step=TOKENS_PER_STEP, behaviour=True)
        for recipe, (change, steps) in LATER.items():
            start = ends[PARENTS[recipe]]
            ends[recipe] = start + change
            write_run(
                root, f"{recipe}-s{seed}", steps, np.linspace(start, ends[recipe], len(steps) + 1)[1:], behaviour=True
            )
        write_corpus(root, f"base-s{seed}")


def write_hub(root: Path, failed: tuple[int, ...] = (), rows: int = ROWS) -> None:
    """Write hub runs with the checkpoints ``failed`` missing, and ``rows`` at every place."""
    write_run(root, HUB, STEPS, exponents(), tokens_per_step=2_000_000, failed=failed, rows=rows)
    write_run(
        root, f"{HUB}-sft", (10, 20), exponents()[-1] - np.array([0.02, 0.05]), tokens_per_step=100_000, rows=rows
    )


def write_run(
    root: Path, run: str, steps, course, tokens_per_step: int | None = None, behaviour: bool = False,
    failed: tuple[int, ...] = (), rows: int = ROWS,
) -> None:  # fmt: skip
    """Write a run whose spectrum at the last layer has the exponents ``course`` at ``steps``; earlier layers are flatter."""
    table = pd.DataFrame({"step": list(steps)})
    tokens = pd.array([None if tokens_per_step is None else step * tokens_per_step for step in steps], dtype="Int64")
    missing = [("weights not found" if step in failed else "") for step in steps]
    hashes = ["" if reason else f"{run}-{step}" for step, reason in zip(steps, missing, strict=True)]
    table = table.assign(
        tokens=tokens, flops=6.0 * PARAMETERS * tokens.astype("Float64"), parameters=PARAMETERS, token_hash="shown",
        revision=[f"step-{step}" for step in steps], resolved_revision="local", weight_hash=hashes, same_as=None, missing=missing,
    )  # fmt: skip
    found = {
        step: _found(run, step, exponent, step / max(steps), behaviour, rows)
        for step, exponent in zip(steps, course, strict=True)
        if step not in failed
    }
    write(root / "data/trace/runs" / run, table.assign(flops=table["flops"].to_numpy(float, na_value=np.nan)), found)


def spectrum(exponent: float, rows: int = ROWS) -> Spectrum:
    """Return eigenvalues i^-exponent."""
    return Spectrum(np.arange(1, WIDTH + 1) ** (-exponent / 2), rows, WIDTH, True)


def measures_of_power_law(exponent: float, rows: int = ROWS) -> dict[tuple[str, str], float]:
    """Return every measure of a spectrum."""
    own = spectrum(exponent, rows)
    ranges = Ranges(DECAY, tuple(BANDS), decay_ranks(own._replace(n=rows // 2), DECAY.first, DECAY.last))
    return {key: float(value) for key, value in measures(own, own._replace(centred=False), ranges).items()}


def _found(run: str, step: int, exponent: float, progress: float, behaviour: bool, rows: int) -> CheckpointResult:
    records, deviations, rarefaction, spectra = [], [], [], {}
    places = [("resid_post", layer) for layer in range(LAYERS)] + [("final_norm", LAYERS - 1)]
    shared = np.random.default_rng(0).standard_normal(HALVES)  # sequences are the same for all checkpoints
    own = np.random.default_rng([step, len(run)]).standard_normal(HALVES)
    error = 0.004 * (shared + 0.1 * own)
    null = measures_of_power_law(0.0, rows)
    for site, layer in places:
        steepness = exponent * (0.6 + 0.4 * (layer + 1) / LAYERS)
        values = measures_of_power_law(steepness, rows)
        for level in ("token", "last_token", "all_positions"):
            place = {"site": site, "layer": layer, "level": level}
            spectra[level, site, layer] = (spectrum(steepness).eigenvalues, rows)
            with_interval = level != "all_positions" and layer == LAYERS - 1
            for (measure, variant), value in values.items():
                key = place | {"measure": measure, "variant": variant}
                se = abs(value) * float(np.sqrt((error**2).mean())) if with_interval else np.nan
                records.append(
                    key | {"value": value, "n": rows, "null": null[measure, variant], "standard_error": se,
                           "low": value - 1.96 * se, "high": value + 1.96 * se, "missing": ""}
                )  # fmt: skip
                if with_interval:
                    deviations += [key | {"half": half, "value": value * e} for half, e in enumerate(error)]
                if rows < 5 * WIDTH:
                    rarefaction += [key | {"n": rows // part, "value": value / part**0.2} for part in (4, 2, 1)]
    tables = {
        "records": pd.DataFrame(records), "deviations": pd.DataFrame(deviations), "rarefaction": pd.DataFrame(rarefaction),
        "answers": _answers(progress, run) if behaviour else pd.DataFrame(),
        "accuracy": _accuracy(progress) if behaviour else pd.DataFrame(),
    }  # fmt: skip
    return CheckpointResult(tables, spectra, f"{run}-{step}", PARAMETERS)


def corpus() -> pd.DataFrame:
    """Return an arbitrary answer for every one of COUNTS, and as many inferable ones that hardly occur."""
    arbitrary = pd.DataFrame({"id": [f"a{i}" for i in range(len(COUNTS))], "kind": "arbitrary", "count": COUNTS})
    inferable = arbitrary.assign(
        id=[f"i{i}" for i in range(len(COUNTS))], kind="inferable", count=[i % 3 for i in range(len(COUNTS))]
    )
    both = pd.concat([arbitrary, inferable], ignore_index=True)
    return both.assign(task="facts", probability=both["count"] / 50)


def write_corpus(root: Path, name: str) -> None:
    path = root / "data/trace/ngrams" / f"{name}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_table(path, corpus(), name)


def _answers(progress: float, run: str) -> pd.DataFrame:
    """Return likelihoods from -6 nats at the start; arbitrary ones of the base end at -6 + 1.5 ln(1 + count), later runs a nat below."""
    table, forgotten = corpus(), 0.0 if run.startswith("base") else 1.0
    known = np.where(table["kind"] == "arbitrary", 1.5 * np.log1p(table["count"]), 5.0 + 0.01 * np.arange(len(table)))
    reached = -6 + (known * progress if not forgotten else known - forgotten)
    jitter = 0.02 * np.arange(len(table)) * (1 - progress)
    return table[["task", "id"]].assign(
        log_likelihood=np.minimum(reached - jitter, -0.001), tokens=1, greedy=reached > -1.5
    )


def _accuracy(progress: float) -> pd.DataFrame:
    right = np.array([0.5, 0.8]) * progress
    return pd.DataFrame(
        {
            "task": ["arithmetic", "logic"],
            "accuracy": right,
            "standard_error": np.sqrt(right * (1 - right) / 100),
            "prompts": 100,
        }
    )


def gathered(root: Path, courses: list[Course]) -> TraceFigureInputs:
    """Return what the figures read of ``courses``, after the tables of the stage phases are written."""
    traces, tables = root / "data/trace/runs", root / "plots/trace"
    for name, table in summarise(courses, traces, root / "data/trace/ngrams", PHASES, CONFIDENCE)[1].items():
        save_table(table, tables / f"{name}.csv")
    return read_inputs(courses, traces, tables, HEADLINE, CONFIDENCE)
