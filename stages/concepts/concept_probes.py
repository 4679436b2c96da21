"""Concepts beyond the gate: kinds read linearly from states at words, polytopes of sibling kinds, what models share.

Rows of ``contexts``: the AUROC of Fisher's discriminant of a kind, learnt on words and templates that may be learnt
from, on held-out words in held-out templates, against all other words and against those of its siblings alone. Rows of
``siblings``: how near to a simplex the vectors of kinds under one kind, or words under one, are. Rows of ``shared``:
cosine of a model's concept vectors with its reference's, beside the reference's vectors of other kinds. Rows of
``scene``: a picture of one polytope.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from stages.concepts.autoencoders.measures import auroc, unit_rows
from stages.concepts.ontologies.hierarchy import Hierarchy
from stages.concepts.params import Concepts
from stages.concepts.state_files import FINAL, States, Words
from stages.geometry.causal import Metric, category_vector, causal_metric, discriminant, energy_projector, simplex
from stages.geometry.hierarchies import Tree, siblings, tree

# Shufflings of the labels behind the null of each kind.
SHUFFLES = 5
# Share of the squared length of the words' departures from their kind that a subspace holds.
ENERGY = 0.85
# Corners of a polytope, at least.
LEAST_CORNERS = 3


def contexts(words: Words, hierarchy: Hierarchy, params: Concepts) -> Iterator[dict]:
    """Yield rows of ``contexts``: of middle states as they are, of final ones in the causal coordinates Σ^+1/2 λ."""
    kind_tree, held_out = tree(hierarchy.kinds, hierarchy.words), hierarchy.held_out_mask()
    for state, values in words.states.items():
        metric = causal_metric(values.unembedding, params.shrinkage)
        for point, rows in (("middle", values.middle.astype(np.float64)), ("final", metric.contexts(values.final))):
            common = {"model": words.header.model, "state": state, "point": point}
            yield from (common | {"null": "none"} | row for row in _read(rows, kind_tree, held_out, hierarchy, params))
            generator = np.random.default_rng(params.seed)
            for _ in range(SHUFFLES):
                dealt = kind_tree.parent.copy()
                for side in (held_out, ~held_out):  # so that each kind has words to learn from and to test
                    dealt[side] = generator.permutation(dealt[side])
                yield from (
                    common | {"null": "labels"} | row
                    for row in _read(rows, kind_tree._replace(parent=dealt), held_out, hierarchy, params)
                )


def _read(
    states: np.ndarray, kind_tree: Tree, held_out: np.ndarray, hierarchy: Hierarchy, params: Concepts
) -> Iterator[dict]:
    """Yield a row for each kind, read from states (T, W, d)."""
    last, members, are_siblings = params.held_out_templates, kind_tree.members, siblings(kind_tree)
    learning, test = states[:-last][:, ~held_out], states[-last:][:, held_out]  # (templates, words, d)
    for i, kind in enumerate(hierarchy.kinds):
        # Words of a sibling, directly or not; a kind that is alone under its own has none to be told from.
        rivals = members[:, are_siblings[i]].any(axis=1)
        yield {
            "kind": kind,
            "auroc": _probe_auroc(learning, test, held_out, members[:, i], ~members[:, i]),
            "siblings": _probe_auroc(learning, test, held_out, members[:, i], rivals) if rivals.any() else float("nan"),
        }


def _probe_auroc(
    learning: np.ndarray, test: np.ndarray, held_out: np.ndarray, members: np.ndarray, rivals: np.ndarray
) -> float:
    """Return the AUROC of ``members`` (W,) bool over ``rivals`` on ``test`` states, by a discriminant of ``learning`` ones."""
    direction = discriminant(_flat(learning[:, members[~held_out]]), _flat(learning[:, rivals[~held_out]]))
    chosen = (members | rivals)[held_out]
    scores = test[:, chosen] @ direction  # (templates, words)
    return float(auroc(scores.reshape(-1, 1), np.tile(members[held_out][chosen], len(scores)))[0])


def polytopes(words: Words, hierarchy: Hierarchy, params: Concepts) -> Iterator[dict]:
    """Yield rows of ``siblings``, one for each kind with three kinds or words under it.

    ``dimensions`` is the number that hold `ENERGY` of the words' departures from the kind.
    """
    kind_tree = tree(hierarchy.kinds, hierarchy.words)
    for state, values in words.states.items():
        coordinates = _coordinates(values, words, causal_metric(values.unembedding, params.shrinkage))
        vectors = {
            kind: category_vector(coordinates[kind_tree.members[:, i]]) for i, kind in enumerate(hierarchy.kinds)
        }
        for i, kind in enumerate(hierarchy.kinds):
            lower_kinds = _lower_kinds(hierarchy, kind)
            corners = (
                np.array([vectors[name] for name in lower_kinds]) if lower_kinds else coordinates[kind_tree.parent == i]
            )
            if len(corners) < LEAST_CORNERS:
                continue
            departures = coordinates[kind_tree.members[:, i]] - vectors[kind]
            yield {
                "model": words.header.model,
                "state": state,
                "kind": kind,
                "corners": len(corners),
                **simplex(corners)._asdict(),
                "dimensions": energy_projector(departures, ENERGY).shape[1],
            }


def _lower_kinds(hierarchy: Hierarchy, kind: str) -> list[str]:
    """Return the kinds just under ``kind``."""
    return [name for name, upper in hierarchy.kinds.items() if upper == kind]


def shared(words: Words, reference: Words, hierarchy: Hierarchy, params: Concepts) -> Iterator[dict]:
    """Yield rows of ``shared``: cosines of each kind's vector, its mean less that of the other words, in two models.

    Vectors are made of words in the reference's causal coordinates, and of middle states. They are contrasts within the
    ontology: what moves all its words alike, as training on text without them does, is no change of it.
    ``other_kinds`` is the mean absolute cosine with the reference's vectors of kinds as deep: what strangers share; NaN
    where there are two of them, whose contrasts are opposite whatever the words.
    """
    kind_tree = tree(hierarchy.kinds, hierarchy.words)
    metric = causal_metric(reference.states[FINAL].unembedding, params.shrinkage)
    depth = kind_tree.ancestry.sum(axis=1)
    for place in ("unembedding", "middle"):
        vectors, reference_vectors = (_vectors(content, metric, kind_tree, place) for content in (words, reference))
        cosine = unit_rows(vectors) @ unit_rows(reference_vectors).T  # (K, K)
        for i, kind in enumerate(hierarchy.kinds):
            strangers = (depth == depth[i]) & (np.arange(len(depth)) != i)
            yield {
                "model": words.header.model,
                "reference": reference.header.model,
                "place": place,
                "kind": kind,
                "cosine": float(cosine[i, i]),
                "other_kinds": float(np.abs(cosine[i, strangers]).mean()) if strangers.sum() > 1 else float("nan"),
            }


def _vectors(words: Words, metric: Metric, kind_tree: Tree, place: str) -> np.ndarray:
    """Return (K, d) each kind's mean less that of the other words, in ``place``: unembedding or middle."""
    values = words.states[FINAL]
    rows = (
        _coordinates(values, words, metric) if place == "unembedding" else values.middle.astype(np.float64).mean(axis=0)
    )
    return np.stack([rows[members].mean(axis=0) - rows[~members].mean(axis=0) for members in kind_tree.members.T])


def scene(words: Words, hierarchy: Hierarchy, params: Concepts) -> Iterator[dict]:
    """Yield rows of ``scene``: words under three or more kinds in the plane in which their vectors lie furthest apart.

    The kinds are those under the first that has three, else the first ones. Vectors, the corners, are made of words
    that are not held out. Rows: model, state, kind, word (empty for a corner), held_out, corner, x, y.
    """
    kind_tree, held_out = tree(hierarchy.kinds, hierarchy.words), hierarchy.held_out_mask()
    families = [_lower_kinds(hierarchy, kind) for kind in hierarchy.kinds]
    first_kinds = hierarchy.parents()[: LEAST_CORNERS + 1]
    names = next((family for family in families if len(family) >= LEAST_CORNERS), first_kinds)
    for state, values in words.states.items():
        coordinates = _coordinates(values, words, causal_metric(values.unembedding, params.shrinkage))
        index = [list(hierarchy.kinds).index(name) for name in names]
        corners = np.stack([category_vector(coordinates[kind_tree.members[:, i] & ~held_out]) for i in index])
        centre = corners.mean(axis=0)
        plane = np.linalg.svd(corners - centre, full_matrices=False)[2][:2].T  # (d, 2)
        common = {"model": words.header.model, "state": state}
        for kind, (x, y) in zip(names, ((corners - centre) @ plane).tolist(), strict=True):
            yield common | {"kind": kind, "word": "", "held_out": False, "corner": True, "x": x, "y": y}
        for i, kind in zip(index, names, strict=True):
            for place in np.flatnonzero(kind_tree.members[:, i]):
                x, y = (coordinates[place] - centre) @ plane
                word = words.header.words[place]
                yield common | {
                    "kind": kind,
                    "word": word,
                    "held_out": bool(held_out[place]),
                    "corner": False,
                    "x": x,
                    "y": y,
                }


def _coordinates(values: States, words: Words, metric: Metric) -> np.ndarray:
    return metric.words(values.unembedding)[words.row]


def _flat(states: np.ndarray) -> np.ndarray:
    return states.reshape(-1, states.shape[-1])
