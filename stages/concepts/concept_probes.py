"""Concepts in contexts: which kind a word is, read linearly from states at the word; polytopes of siblings; what siblings share.

Rows of ``contexts``: the AUROC of Fisher's discriminant of a kind, learnt on words and templates that may be learnt from,
on held-out words in held-out templates, against all other words and against those of its siblings alone. Rows of
``siblings``: how near to a simplex the vectors of kinds under one kind, or words under one, are. Rows of ``shared``: cosine
of a model's concept vectors with its reference's, beside the reference's vectors of other kinds. Rows of ``scene``: a
picture of one polytope.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from stages.concepts.autoencoders.quality import auroc
from stages.concepts.ontologies.hierarchy import Hierarchy
from stages.concepts.params import Concepts
from stages.concepts.state_files import FINAL, States, Words
from stages.geometry.causal import Metric, category_vector, causal_metric, discriminant, energy_projector, simplex
from stages.geometry.hierarchies import Tree, siblings, tree

SHUFFLES = 5
"""Of labels behind the null of each kind."""
ENERGY = 0.85
"""Share of the squared length of the words' departures from their kind that a subspace holds."""
LEAST_CORNERS = 3


def contexts(words: Words, hierarchy: Hierarchy, params: Concepts) -> Iterator[dict]:
    """Middle states as they are, final ones in the causal coordinates of contexts, Σ^+1/2 λ."""
    of, held = tree(hierarchy.kinds, hierarchy.words), _held_out(hierarchy)
    for state, values in words.states.items():
        metric = causal_metric(values.unembedding, params.shrinkage)
        for point, rows in (("middle", values.middle.astype(np.float64)), ("final", metric.contexts(values.final))):
            common = {"model": words.header.model, "state": state, "point": point}
            yield from (common | {"null": "none"} | row for row in _read(rows, of, held, hierarchy, params))
            generator = np.random.default_rng(params.seed)
            for _ in range(SHUFFLES):
                dealt = of.parent.copy()
                for side in (held, ~held):  # so that each kind has words to learn from and to test
                    dealt[side] = generator.permutation(dealt[side])
                yield from (
                    common | {"null": "labels"} | row
                    for row in _read(rows, of._replace(parent=dealt), held, hierarchy, params)
                )


def _read(states: np.ndarray, of: Tree, held: np.ndarray, hierarchy: Hierarchy, params: Concepts) -> Iterator[dict]:
    """Of states (T, W, d)."""
    last, members, beside = params.held_out_templates, of.members, siblings(of)
    learnt, tested = states[:-last][:, ~held], states[-last:][:, held]  # (templates, words, d)
    for i, kind in enumerate(hierarchy.kinds):
        # Words of a sibling, directly or not; a kind that is alone under its own has none to be told from.
        near = members[:, beside[i]].any(axis=1)
        found = {
            "auroc": _told(learnt, tested, held, members[:, i], ~members[:, i]),
            "siblings": _told(learnt, tested, held, members[:, i], near) if near.any() else float("nan"),
        }
        yield {"kind": kind} | found


def _told(learnt: np.ndarray, tested: np.ndarray, held: np.ndarray, own: np.ndarray, against: np.ndarray) -> float:
    """AUROC on ``tested`` states of words that are the kind's ``own`` (W,) ``against`` others, by what ``learnt`` ones show."""
    direction = discriminant(_flat(learnt[:, own[~held]]), _flat(learnt[:, against[~held]]))
    chosen = (own | against)[held]
    scores = tested[:, chosen] @ direction  # (templates, words)
    return float(auroc(scores.reshape(-1, 1), np.tile(own[held][chosen], len(scores)))[0])


def polytopes(words: Words, hierarchy: Hierarchy, params: Concepts) -> Iterator[dict]:
    """Of each kind with three kinds or words under it; ``dimensions`` of the words' departures that hold `ENERGY`."""
    of = tree(hierarchy.kinds, hierarchy.words)
    for state, values in words.states.items():
        coordinates = _coordinates(values, words, causal_metric(values.unembedding, params.shrinkage))
        vectors = {kind: category_vector(coordinates[of.members[:, i]]) for i, kind in enumerate(hierarchy.kinds)}
        for i, kind in enumerate(hierarchy.kinds):
            below = [name for name, upper in hierarchy.kinds.items() if upper == kind]
            corners = np.array([vectors[name] for name in below]) if below else coordinates[of.parent == i]
            if len(corners) < LEAST_CORNERS:
                continue
            departures = coordinates[of.members[:, i]] - vectors[kind]
            yield {
                "model": words.header.model, "state": state, "kind": kind, "corners": len(corners), **simplex(corners)._asdict(),
                "dimensions": energy_projector(departures, ENERGY).shape[1],
            }  # fmt: skip


def shared(words: Words, reference: Words, hierarchy: Hierarchy, params: Concepts) -> Iterator[dict]:
    """Each kind's mean less that of the other words: of words in the reference's causal coordinates, and of middle states.

    A contrast within the ontology: what moves all its words alike, as training on text without them does, is no change of it.
    ``other_kinds`` is the mean absolute cosine with the reference's vectors of kinds as deep: what strangers share; NaN
    where there are two of them, whose contrasts are opposite whatever the words.
    """
    of = tree(hierarchy.kinds, hierarchy.words)
    metric = causal_metric(reference.states[FINAL].unembedding, params.shrinkage)
    depth = of.ancestry.sum(axis=1)
    for place in ("unembedding", "middle"):
        ours, theirs = (_vectors(one, metric, of, place) for one in (words, reference))
        cosine = _unit(ours) @ _unit(theirs).T  # (K, K)
        for i, kind in enumerate(hierarchy.kinds):
            strangers = (depth == depth[i]) & (np.arange(len(depth)) != i)
            yield {
                "model": words.header.model, "reference": reference.header.model, "place": place, "kind": kind,
                "cosine": float(cosine[i, i]),
                "other_kinds": float(np.abs(cosine[i, strangers]).mean()) if strangers.sum() > 1 else float("nan"),
            }  # fmt: skip


def _vectors(words: Words, metric: Metric, of: Tree, place: str) -> np.ndarray:
    """(K, d)"""
    values = words.states[FINAL]
    rows = (
        _coordinates(values, words, metric) if place == "unembedding" else values.middle.astype(np.float64).mean(axis=0)
    )
    return np.stack([rows[own].mean(axis=0) - rows[~own].mean(axis=0) for own in of.members.T])


def scene(words: Words, hierarchy: Hierarchy, params: Concepts) -> Iterator[dict]:
    """A picture of one polytope: words under three or more kinds in the plane in which their vectors lie furthest apart.

    Of the kinds under the first that has three, else of the first kinds. Vectors, the corners, are made of words that are
    not held out. Rows: state, kind, word (empty for a corner), held_out, corner, x, y.
    """
    of, held = tree(hierarchy.kinds, hierarchy.words), _held_out(hierarchy)
    below = [[name for name, upper in hierarchy.kinds.items() if upper == kind] for kind in hierarchy.kinds]
    names = next((found for found in below if len(found) >= LEAST_CORNERS), hierarchy.parents()[: LEAST_CORNERS + 1])
    for state, values in words.states.items():
        coordinates = _coordinates(values, words, causal_metric(values.unembedding, params.shrinkage))
        index = [list(hierarchy.kinds).index(name) for name in names]
        corners = np.stack([category_vector(coordinates[of.members[:, i] & ~held]) for i in index])
        centre = corners.mean(axis=0)
        plane = np.linalg.svd(corners - centre, full_matrices=False)[2][:2].T  # (d, 2)
        common = {"model": words.header.model, "state": state}
        for kind, (x, y) in zip(names, ((corners - centre) @ plane).tolist(), strict=True):
            yield common | {"kind": kind, "word": "", "held_out": False, "corner": True, "x": x, "y": y}
        for i, kind in zip(index, names, strict=True):
            for place in np.flatnonzero(of.members[:, i]):
                x, y = (coordinates[place] - centre) @ plane
                word = words.header.words[place]
                yield common | {
                    "kind": kind,
                    "word": word,
                    "held_out": bool(held[place]),
                    "corner": False,
                    "x": x,
                    "y": y,
                }


def _held_out(hierarchy: Hierarchy) -> np.ndarray:
    return np.array([word in hierarchy.held_out for word in hierarchy.words])


def _coordinates(values: States, words: Words, metric: Metric) -> np.ndarray:
    return metric.words(values.unembedding)[words.row]


def _flat(states: np.ndarray) -> np.ndarray:
    return states.reshape(-1, states.shape[-1])


def _unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)
