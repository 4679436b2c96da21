"""What is measured of one task of one model: its points against each other, against its reference's, along training."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import combinations, pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np

from stages.drift.clouds import CONTENT, WITH_SINKS, content, half_rows, in_basis, with_sinks
from stages.drift.distances import (
    Halves,
    debiased,
    deviations,
    distances,
    entropic_terms,
    gromov,
    legacy,
    transport,
    within,
)
from stages.drift.params import BASES, Drift
from stages.drift.samples import FINAL, UNTRAINED, read_rows, read_states, read_values
from stages.drift.tables import COLUMNS
from stages.geometry.profile import profile
from stages.geometry.spectrum import condition_number, effective_rank, factorise, numerical_rank
from stages.geometry.transport import ReasonedValue, TransportError, common_epsilon
from stages.statistics.balanced import half_differences, standard_error
from stages.statistics.half_sampling import interval

SIZES = ("log_total_variance", "log_effective_rank")
"""Of a profile, what has intervals: how far a cloud extends, and in how many directions."""


class Subject(NamedTuple):
    """One model or run of the study, and its reference (itself where it has none)."""

    model: str
    reference: str


def measure_task(subject: Subject, task: str, folder: Path, params: Drift) -> dict[str, list[dict]]:
    """Rows of every table of `drift_tables` for one model and one task; a TransportError names both."""
    try:
        return _measured(subject, task, folder, params)
    except TransportError as error:
        raise TransportError(f"{subject.model}, {task}: {error}") from error


def _measured(subject: Subject, task: str, folder: Path, params: Drift) -> dict[str, list[dict]]:
    path = folder / f"{subject.model}.h5"
    rows, values = read_rows(path, task), read_values(path, FINAL, task).astype(np.float64)  # (points, rows, d)
    found: dict[str, list[dict]] = {name: [] for name in COLUMNS}
    place = {"model": subject.model, "state": FINAL, "task": task}
    masks = {CONTENT: content(rows, values), WITH_SINKS: with_sinks(rows)}
    halves = half_rows(rows.prompt, masks[CONTENT], params.blocks, params.seed, task)
    for tokens, mask in masks.items():
        found["profile"] += profile_rows(values[:, mask], place | {"tokens": tokens})
    found["profile_deviations"] += size_deviations(values[:, masks[CONTENT]], halves, place)
    own = place | {"kind": "layers", "other_model": subject.model, "other_state": FINAL}
    _add(found, layer_rows(values, masks, halves, own, params))
    _add(found, made_rows(in_basis([values[:, masks[CONTENT]]], params.basis, params.components)[0], own, params))
    _add(found, legacy_rows(values[:, masks[CONTENT]], own, params))
    states = [state.name for state in read_states(path)]
    if UNTRAINED in states:
        raw = read_values(path, UNTRAINED, task).astype(np.float64)
        at = own | {"state": UNTRAINED, "other_state": UNTRAINED}
        _add(found, untrained_rows(raw, content(rows, raw), at, params))
    if subject.reference != subject.model:
        reference = read_values(folder / f"{subject.reference}.h5", FINAL, task).astype(np.float64)
        kept = masks | {CONTENT: content(rows, reference, values)}
        halves = half_rows(rows.prompt, kept[CONTENT], params.blocks, params.seed, task)
        at = place | {"kind": "models", "other_model": subject.reference, "other_state": FINAL}
        _add(found, model_rows(reference, values, kept, halves, at, params))
    trained = [state for state in states if state != UNTRAINED]
    if len(trained) > 1:
        stacks = {state: read_values(path, state, task).astype(np.float64) for state in trained}
        at = place | {"kind": "checkpoints", "other_model": subject.model}
        _add(found, checkpoint_rows(stacks, content(rows, *stacks.values()), at, params))
    return found


def profile_rows(values: np.ndarray, place: dict) -> list[dict]:
    """Of every point of ``values`` (points, n, d): norms, entropies, ranks, sparsity, total variance."""
    spectrum = factorise(values, centred=True)
    columns = profile(values)._asdict() | {
        "total_variance": values.var(axis=1).sum(axis=-1),
        "numerical_rank": numerical_rank(spectrum),
        "condition_number": condition_number(spectrum),
        "norm_maximum": np.linalg.norm(values, axis=-1).max(axis=-1),
    }
    return [
        place | {"point": point, "measure": name, "value": float(value), "n": values.shape[1]}
        for name, column in columns.items()
        for point, value in enumerate(column)
    ]


def size_deviations(values: np.ndarray, halves: Halves, place: dict) -> list[dict]:
    """Of `SIZES` at every point of ``values`` (points, n, d)."""
    replicates = np.array([_sizes(values[:, rows]) for pair in halves for rows in pair])  # (2 K, sizes, points)
    found = half_differences(np.moveaxis(replicates, 0, -1))  # (sizes, points, K)
    return [
        place | {"point": point, "measure": name, "half": half, "value": float(value)}
        for name, of_name in zip(SIZES, found, strict=True)
        for point, of_point in enumerate(of_name)
        for half, value in enumerate(of_point)
    ]


def layer_rows(
    values: np.ndarray, masks: Mapping[str, np.ndarray], halves: Halves, place: dict, params: Drift
) -> tuple[list[dict], list[dict]]:
    """All pairs of points by all distances; neighbours also in the other bases, with sinks, and with intervals."""
    clouds = in_basis([values[:, masks[CONTENT]]], params.basis, params.components)[0]  # (points, n, k)
    pairs = list(combinations(range(len(clouds)), 2))
    neighbours = [(i, j) for i, j in pairs if j == i + 1]
    at = {pair: place | {"point": pair[0], "other_point": pair[1]} for pair in pairs}
    clouds = list(clouds)  # each one object, which stands in many pairs
    records = _all_distances([(clouds[i], clouds[j], at[i, j]) for i, j in pairs], clouds, params)
    for basis, tokens, stacks in _variants([values], masks, params):
        for i, j in neighbours:
            records += _rows(transport(stacks[0][i], stacks[0][j], params), at[i, j], basis, tokens, stacks[0].shape[1])
    if params.gromov_rows is not None:
        for i, j in neighbours:
            found = {"gromov_wasserstein": gromov(clouds[i], clouds[j], params.gromov_rows, params.seed)}
            records += _rows(found, at[i, j], params.basis, CONTENT, min(params.gromov_rows, len(clouds[i])))
    compared = [(clouds[i], clouds[j], at[i, j]) for i, j in neighbours]
    return _with_intervals(records, compared, halves, params)


def model_rows(
    reference: np.ndarray, values: np.ndarray, masks: Mapping[str, np.ndarray], halves: Halves, place: dict, params: Drift
) -> tuple[list[dict], list[dict]]:  # fmt: skip
    """Every point of a model against that of its reference, in the directions of both together."""
    stacks = [stack[:, masks[CONTENT]] for stack in (reference, values)]
    theirs, ours = (list(stack) for stack in in_basis(stacks, params.basis, params.components))
    at = [place | {"point": point, "other_point": point} for point in range(len(ours))]
    compared = list(zip(theirs, ours, at, strict=True))
    records = _all_distances(compared, theirs, params)
    for basis, tokens, (x, y) in _variants([reference, values], masks, params):
        for here in at:
            point = here["point"]
            records += _rows(transport(x[point], y[point], params), here, basis, tokens, x.shape[1])
    return _with_intervals(records, compared, halves, params)


def checkpoint_rows(
    stacks: Mapping[str, np.ndarray], kept: np.ndarray, place: dict, params: Drift
) -> tuple[list[dict], list[dict]]:
    """Every point at one state against itself at the next; without intervals."""
    clouds = in_basis([stack[:, kept] for stack in stacks.values()], params.basis, params.components)
    records = []
    for (before, x), (after, y) in pairwise(zip(stacks, clouds, strict=True)):
        for point in range(len(x)):
            at = place | {"state": after, "other_state": before, "point": point, "other_point": point}
            found = transport(x[point], y[point], params)
            records += _rows(found, at, params.basis, CONTENT, x.shape[1])
    return records, []


def untrained_rows(values: np.ndarray, kept: np.ndarray, place: dict, params: Drift) -> tuple[list[dict], list[dict]]:
    """Neighbouring points of the model before any training: what the architecture does by itself."""
    clouds = in_basis([values[:, kept]], params.basis, params.components)[0]
    records = []
    for i, (x, y) in enumerate(pairwise(clouds)):
        at = place | {"point": i, "other_point": i + 1}
        records += _rows(transport(x, y, params), at, params.basis, CONTENT, clouds.shape[1])
    return records, []


def made_rows(clouds: np.ndarray, place: dict, params: Drift) -> tuple[list[dict], list[dict]]:
    """Every point of ``clouds`` (points, n, k) against its own rotation, and against itself with a little noise.

    The first is what unrelated coordinates alone would make of a distance, the second a floor: noise ε of the share
    ``params.noise`` of the rows' root mean square norm, which has E|ε|² as its identity cost.
    """
    generator = np.random.default_rng(params.seed)
    _, n, k = clouds.shape
    rotation, noise = _rotation(generator, k), generator.standard_normal((n, k)) / np.sqrt(k)
    records = []
    for point, x in enumerate(clouds):
        size = params.noise * np.sqrt(np.square(x).sum(axis=1).mean())
        for kind, y in (("rotated", x @ rotation), ("noisy", x + size * noise)):
            at = place | {"kind": kind, "point": point, "other_point": point}
            records += _rows(transport(x, y, params), at, params.basis, CONTENT, n)
    return records, []


def legacy_rows(values: np.ndarray, place: dict, params: Drift) -> tuple[list[dict], list[dict]]:
    """The prior study's formula between neighbours of ``values`` (points, n, d), and between a point and its own rotation.

    For comparison only: the second shows what of the first is the choice of a basis for each layer.
    """
    _, n, d = values.shape
    name, rotation = f"per_layer_pca_{min(params.components, n, d)}", _rotation(np.random.default_rng(params.seed), d)
    compared = [("layers", point, point + 1, x, y) for point, (x, y) in enumerate(pairwise(values))]
    compared += [("rotated", point, point, x, x @ rotation) for point, x in enumerate(values)]
    records = []
    for kind, point, other, x, y in compared:
        at = place | {"kind": kind, "point": point, "other_point": other}
        records += _rows({"legacy_sinkhorn": legacy(x, y, params.components)}, at, name, CONTENT, n)
    return records, []


def _all_distances(
    compared: list[tuple[np.ndarray, np.ndarray, dict]], layers: list[np.ndarray], params: Drift
) -> list[dict]:
    """Every distance of the pairs ``compared``, at the ε of the neighbours among ``layers``."""
    terms = entropic_terms([(x, y) for x, y, _ in compared], common_epsilon(layers, params.regularisation))
    return [
        row
        for (x, y, at), of_pair in zip(compared, terms, strict=True)
        for row in _rows(distances(x, y, of_pair, params), at, params.basis, CONTENT, len(x))
    ]


def _variants(stacks: list[np.ndarray], masks: Mapping[str, np.ndarray], params: Drift):
    """Every basis but the headline's with content tokens, then the headline's with sinks: basis, tokens, stacks."""
    chosen = [(basis, CONTENT) for basis in BASES if basis != params.basis] + [(params.basis, WITH_SINKS)]
    for basis, tokens in chosen:
        yield basis, tokens, in_basis([stack[:, masks[tokens]] for stack in stacks], basis, params.components)


def _with_intervals(
    records: list[dict], compared: list[tuple[np.ndarray, np.ndarray, dict]], halves: Halves, params: Drift
) -> tuple[list[dict], list[dict]]:
    """``records`` with standard errors, intervals and debiased distances of the pairs ``compared``, and the deviations."""
    spread: dict[int, np.ndarray] = {}  # W2² between halves of a cloud, which stands in several pairs
    for cloud in (cloud for x, y, _ in compared for cloud in (x, y)):
        if id(cloud) not in spread:
            spread[id(cloud)] = within(cloud, halves)
    found, rows = {}, []
    for x, y, at in compared:
        key = at["point"], at["other_point"]
        own, other = spread[id(x)], spread[id(y)]
        value = ReasonedValue(debiased(x, y, halves, own, other))
        records += _rows({"debiased_w2_squared": value}, at, params.basis, CONTENT, len(x) // 2)
        baseline = float(np.sqrt((own + other) / 2).mean())
        for name, draws in deviations(x, y, halves).items():
            found[key, name] = float(standard_error(draws)), baseline if name == "w2" else float("nan")
            rows += [at | {"measure": name, "half": half, "value": float(draw)} for half, draw in enumerate(draws)]
    for row in records:
        key = (row["point"], row["other_point"]), row["measure"]
        if row["basis"] == params.basis and row["tokens"] == CONTENT and key in found:
            error, baseline = found[key]
            low, high = interval(row["value"], error, params.confidence)
            row |= {"standard_error": error, "low": low, "high": high, "resample_baseline": baseline}
    return records, rows


def _rows(found: Mapping[str, ReasonedValue], place: dict, basis: str, tokens: str, n: int) -> list[dict]:
    common = place | {"basis": basis, "tokens": tokens, "n": n}
    return [common | {"measure": name, "value": value.value, "missing": value.reason} for name, value in found.items()]


def _add(found: dict[str, list[dict]], rows: tuple[Iterable[dict], Iterable[dict]]) -> None:
    found["records"] += rows[0]
    found["deviations"] += rows[1]


def _sizes(values: np.ndarray) -> np.ndarray:
    """`SIZES` of ``values`` (points, n, d): (sizes, points)."""
    spectrum = factorise(values, centred=True)
    return np.log([values.var(axis=1).sum(axis=-1), effective_rank(spectrum)])


def _rotation(generator: np.random.Generator, d: int) -> np.ndarray:
    """(d, d) uniform among the orthogonal matrices."""
    q, r = np.linalg.qr(generator.standard_normal((d, d)))
    return q * np.sign(np.diag(r))
