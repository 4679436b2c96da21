"""The comparisons of one task of one model: depth with depth, model with reference, checkpoint with checkpoint.

A depth is a place in the residual stream: 0 the embedding, l + 1 after block l, layers + 1 after the final norm; tables
call it `point`. Each comparison is a pair of clouds of the same tokens, and gives rows of the tables of `tables.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import combinations, pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np

from stages.drift.clouds import CONTENT, WITH_SINKS, content_mask, half_rows, in_basis, sinks_mask
from stages.drift.compared_models import ComparedModel
from stages.drift.distances import (
    Halves,
    all_distances,
    debiased_squared_w2,
    entropic_terms,
    gromov_distance,
    half_deviations,
    legacy_distance,
    squared_w2_of_halves,
    transport_distances,
)
from stages.drift.params import BASES, Drift
from stages.drift.sample_files import FINAL, UNTRAINED, read_states, read_tokens, read_values
from stages.drift.tables import COLUMNS
from stages.geometry.profile import profile
from stages.geometry.spectrum import condition_number, effective_rank, factorise, numerical_rank
from stages.geometry.transport import ReasonedValue, TransportError, common_epsilon
from stages.statistics.deviations import hadamard_deviations, rms_standard_error
from stages.statistics.half_sampling import interval

# Measures of a cloud that have intervals: how far it extends, and in how many directions.
SIZES = ("log_total_variance", "log_effective_rank")
# Rows of the tables `records` and `deviations`.
RecordsAndDeviations = tuple[list[dict], list[dict]]


class CloudPair(NamedTuple):
    """Two clouds (n, k) of the same tokens, and the columns that name their comparison."""

    x: np.ndarray
    y: np.ndarray
    columns: dict


def measure_task(compared: ComparedModel, task: str, folder: Path, params: Drift) -> dict[str, list[dict]]:
    """Return the rows of every table of `tables.py` for one model and one task; a TransportError names both."""
    try:
        return _measure_task(compared, task, folder, params)
    except TransportError as error:
        raise TransportError(f"{compared.model}, {task}: {error}") from error


def _measure_task(compared: ComparedModel, task: str, folder: Path, params: Drift) -> dict[str, list[dict]]:
    path = folder / f"{compared.model}.h5"
    rows: dict[str, list[dict]] = {name: [] for name in COLUMNS}

    def add(records: list[dict], deviations: list[dict] = ()) -> None:
        rows["records"] += records
        rows["deviations"] += deviations

    tokens, values = read_tokens(path, task), _values64(path, FINAL, task)  # values (depths, rows, d)
    masks = {CONTENT: content_mask(tokens, values), WITH_SINKS: sinks_mask(tokens)}
    content = values[:, masks[CONTENT]]
    halves = half_rows(tokens.prompt, masks[CONTENT], params.blocks, params.seed, task)
    cloud_columns = {"model": compared.model, "state": FINAL, "task": task}
    for name, mask in masks.items():
        rows["profile"] += profile_rows(values[:, mask], cloud_columns | {"tokens": name})
    rows["profile_deviations"] += size_deviations(content, halves, cloud_columns)

    columns = cloud_columns | {"kind": "layers", "other_model": compared.model, "other_state": FINAL}
    add(*layer_rows(values, masks, halves, columns, params))
    add(null_rows(in_basis([content], params.basis, params.components)[0], columns, params))
    add(legacy_rows(content, columns, params))
    states = [state.name for state in read_states(path)]
    if UNTRAINED in states:
        untrained = _values64(path, UNTRAINED, task)
        columns |= {"state": UNTRAINED, "other_state": UNTRAINED}
        add(untrained_rows(untrained[:, content_mask(tokens, untrained)], columns, params))
    if not compared.is_reference:
        reference = _values64(folder / f"{compared.reference}.h5", FINAL, task)
        masks |= {CONTENT: content_mask(tokens, reference, values)}
        halves = half_rows(tokens.prompt, masks[CONTENT], params.blocks, params.seed, task)
        columns = cloud_columns | {"kind": "models", "other_model": compared.reference, "other_state": FINAL}
        add(*model_rows(reference, values, masks, halves, columns, params))
    trained = [state for state in states if state != UNTRAINED]
    if len(trained) > 1:
        stacks = {state: _values64(path, state, task) for state in trained}
        mask = content_mask(tokens, *stacks.values())
        columns = cloud_columns | {"kind": "checkpoints", "other_model": compared.model}
        add(checkpoint_rows({state: stack[:, mask] for state, stack in stacks.items()}, columns, params))
    return rows


def profile_rows(values: np.ndarray, columns: dict) -> list[dict]:
    """Return norms, entropies, ranks, sparsity and total variance at every depth of ``values`` (depths, n, d)."""
    spectrum = factorise(values, centred=True)
    measures = profile(values)._asdict() | {
        "total_variance": values.var(axis=1).sum(axis=-1),
        "numerical_rank": numerical_rank(spectrum),
        "condition_number": condition_number(spectrum),
        "norm_maximum": np.linalg.norm(values, axis=-1).max(axis=-1),
    }
    return [
        columns | {"point": depth, "measure": name, "value": float(value), "n": values.shape[1]}
        for name, by_depth in measures.items()
        for depth, value in enumerate(by_depth)
    ]


def size_deviations(values: np.ndarray, halves: Halves, columns: dict) -> list[dict]:
    """Return the deviations of `SIZES` at every depth of ``values`` (depths, n, d)."""
    replicates = np.array([_sizes(values[:, rows]) for pair in halves for rows in pair])  # (2 K, sizes, depths)
    deviations = hadamard_deviations(np.moveaxis(replicates, 0, -1))  # (sizes, depths, K)
    return [
        columns | {"point": depth, "measure": name, "half": half, "value": float(value)}
        for name, by_depth in zip(SIZES, deviations, strict=True)
        for depth, by_half in enumerate(by_depth)
        for half, value in enumerate(by_half)
    ]


def layer_rows(
    values: np.ndarray, masks: Mapping[str, np.ndarray], halves: Halves, columns: dict, params: Drift
) -> RecordsAndDeviations:
    """Compare all pairs of depths by all distances; adjacent ones also in other bases, with sinks, with intervals."""
    clouds = list(in_basis([values[:, masks[CONTENT]]], params.basis, params.components)[0])  # (n, k) each
    pairs = {
        (i, j): CloudPair(clouds[i], clouds[j], columns | {"point": i, "other_point": j})
        for i, j in combinations(range(len(clouds)), 2)
    }
    adjacent = [pair for (i, j), pair in pairs.items() if j == i + 1]
    records = _all_distances(list(pairs.values()), clouds, params)
    for basis, tokens, (stack,) in _variants([values], masks, params):
        for pair, x, y in zip(adjacent, stack, stack[1:], strict=False):
            records += _records(transport_distances(x, y, params), pair.columns, basis, tokens, len(x))
    if params.gromov_rows is not None:
        n = min(params.gromov_rows, len(clouds[0]))
        for pair in adjacent:
            distance = {"gromov_wasserstein": gromov_distance(pair.x, pair.y, params.gromov_rows, params.seed)}
            records += _records(distance, pair.columns, params.basis, CONTENT, n)
    return _with_intervals(records, adjacent, halves, params)


def model_rows(
    reference: np.ndarray,
    values: np.ndarray,
    masks: Mapping[str, np.ndarray],
    halves: Halves,
    columns: dict,
    params: Drift,
) -> RecordsAndDeviations:
    """Compare every depth of a model with that of its reference, in the directions of both together."""
    stacks = [stack[:, masks[CONTENT]] for stack in (reference, values)]
    reference_clouds, clouds = (list(stack) for stack in in_basis(stacks, params.basis, params.components))
    pairs = [
        CloudPair(x, y, columns | {"point": depth, "other_point": depth})
        for depth, (x, y) in enumerate(zip(reference_clouds, clouds, strict=True))
    ]
    records = _all_distances(pairs, reference_clouds, params)
    for basis, tokens, stacks in _variants([reference, values], masks, params):
        for pair, x, y in zip(pairs, *stacks, strict=True):
            records += _records(transport_distances(x, y, params), pair.columns, basis, tokens, len(x))
    return _with_intervals(records, pairs, halves, params)


def checkpoint_rows(stacks: Mapping[str, np.ndarray], columns: dict, params: Drift) -> list[dict]:
    """Compare every depth in one state with itself in the next; ``stacks`` (depths, n, d) by state. No intervals."""
    clouds = in_basis(list(stacks.values()), params.basis, params.components)
    return [
        record
        for (state, x), (next_state, y) in pairwise(zip(stacks, clouds, strict=True))
        for depth in range(len(x))
        for record in _records(
            transport_distances(x[depth], y[depth], params),
            columns | {"state": next_state, "other_state": state, "point": depth, "other_point": depth},
            params.basis,
            CONTENT,
            x.shape[1],
        )
    ]


def untrained_rows(values: np.ndarray, columns: dict, params: Drift) -> list[dict]:
    """Compare adjacent depths of the model before any training: what the architecture does by itself."""
    clouds = in_basis([values], params.basis, params.components)[0]
    records = []
    for depth, (x, y) in enumerate(pairwise(clouds)):
        pair_columns = columns | {"point": depth, "other_point": depth + 1}
        records += _records(transport_distances(x, y, params), pair_columns, params.basis, CONTENT, len(x))
    return records


def null_rows(clouds: np.ndarray, columns: dict, params: Drift) -> list[dict]:
    """Compare every depth of ``clouds`` (depths, n, k) with its own rotation, and with itself plus a little noise.

    The first is what unrelated coordinates alone would make of a distance, the second a floor: noise ε of the share
    ``params.noise`` of the rows' root mean square norm, which has E|ε|² as its identity cost.
    """
    generator = np.random.default_rng(params.seed)
    _, n, k = clouds.shape
    rotation, noise = _random_rotation(generator, k), generator.standard_normal((n, k)) / np.sqrt(k)
    records = []
    for depth, x in enumerate(clouds):
        size = params.noise * np.sqrt(np.square(x).sum(axis=1).mean())
        for null, y in (("rotated", x @ rotation), ("noisy", x + size * noise)):
            pair_columns = columns | {"kind": null, "point": depth, "other_point": depth}
            records += _records(transport_distances(x, y, params), pair_columns, params.basis, CONTENT, n)
    return records


def legacy_rows(values: np.ndarray, columns: dict, params: Drift) -> list[dict]:
    """Compare adjacent depths of ``values`` (depths, n, d) by the prior study's formula, and each with its rotation.

    For comparison only: the second shows what of the first is the choice of a basis for each layer.
    """
    _, n, d = values.shape
    basis = f"per_layer_pca_{min(params.components, n, d)}"
    rotation = _random_rotation(np.random.default_rng(params.seed), d)
    pairs = [
        CloudPair(x, y, columns | {"kind": "layers", "point": depth, "other_point": depth + 1})
        for depth, (x, y) in enumerate(pairwise(values))
    ]
    pairs += [
        CloudPair(x, x @ rotation, columns | {"kind": "rotated", "point": depth, "other_point": depth})
        for depth, x in enumerate(values)
    ]
    records = []
    for x, y, pair_columns in pairs:
        distance = {"legacy_sinkhorn": legacy_distance(x, y, params.components)}
        records += _records(distance, pair_columns, basis, CONTENT, n)
    return records


def _values64(path: Path, state: str, task: str) -> np.ndarray:
    return read_values(path, state, task).astype(np.float64)


def _all_distances(pairs: list[CloudPair], layers: list[np.ndarray], params: Drift) -> list[dict]:
    """Return every distance of ``pairs``, at the ε of the adjacent clouds among ``layers``."""
    all_terms = entropic_terms([(pair.x, pair.y) for pair in pairs], common_epsilon(layers, params.regularisation))
    return [
        record
        for (x, y, columns), terms in zip(pairs, all_terms, strict=True)
        for record in _records(all_distances(x, y, terms, params), columns, params.basis, CONTENT, len(x))
    ]


def _variants(
    stacks: list[np.ndarray], masks: Mapping[str, np.ndarray], params: Drift
) -> Iterator[tuple[str, str, list[np.ndarray]]]:
    """Yield basis, tokens and stacks: every basis but the headline's with content tokens, then that with sinks."""
    variants = [(basis, CONTENT) for basis in BASES if basis != params.basis] + [(params.basis, WITH_SINKS)]
    for basis, tokens in variants:
        yield basis, tokens, in_basis([stack[:, masks[tokens]] for stack in stacks], basis, params.components)


def _with_intervals(records: list[dict], pairs: list[CloudPair], halves: Halves, params: Drift) -> RecordsAndDeviations:
    """Return ``records`` with standard errors, intervals and debiased distances of ``pairs``, and the deviations."""
    of_halves: dict[int, np.ndarray] = {}  # a cloud stands in several pairs
    for cloud in (cloud for x, y, _ in pairs for cloud in (x, y)):
        if id(cloud) not in of_halves:
            of_halves[id(cloud)] = squared_w2_of_halves(cloud, halves)
    intervals, deviations = {}, []
    for x, y, columns in pairs:
        depths = columns["point"], columns["other_point"]
        halves_of_x, halves_of_y = of_halves[id(x)], of_halves[id(y)]
        debiased = ReasonedValue(debiased_squared_w2(x, y, halves, halves_of_x, halves_of_y))
        records += _records({"debiased_w2_squared": debiased}, columns, params.basis, CONTENT, len(x) // 2)
        baseline = float(np.sqrt((halves_of_x + halves_of_y) / 2).mean())
        for name, draws in half_deviations(x, y, halves).items():
            intervals[depths, name] = float(rms_standard_error(draws)), baseline if name == "w2" else float("nan")
            deviations += [
                columns | {"measure": name, "half": half, "value": float(draw)} for half, draw in enumerate(draws)
            ]
    for record in records:
        key = (record["point"], record["other_point"]), record["measure"]
        if record["basis"] == params.basis and record["tokens"] == CONTENT and key in intervals:
            error, baseline = intervals[key]
            low, high = interval(record["value"], error, params.confidence)
            record |= {"standard_error": error, "low": low, "high": high, "resample_baseline": baseline}
    return records, deviations


def _records(distances: Mapping[str, ReasonedValue], columns: dict, basis: str, tokens: str, n: int) -> list[dict]:
    common = columns | {"basis": basis, "tokens": tokens, "n": n}
    return [
        common | {"measure": name, "value": distance.value, "missing": distance.reason}
        for name, distance in distances.items()
    ]


def _sizes(values: np.ndarray) -> np.ndarray:
    """Return `SIZES` (sizes, depths) of ``values`` (depths, n, d)."""
    spectrum = factorise(values, centred=True)
    return np.log([values.var(axis=1).sum(axis=-1), effective_rank(spectrum)])


def _random_rotation(generator: np.random.Generator, d: int) -> np.ndarray:
    """Return a matrix (d, d), uniform among the orthogonal ones."""
    q, r = np.linalg.qr(generator.standard_normal((d, d)))
    return q * np.sign(np.diag(r))
