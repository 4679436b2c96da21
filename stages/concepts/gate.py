"""The gate: is the hierarchy represented in the unembedding? Every metric, beside nulls that must not pass.

Rows of the gate: model, state, metric, null, kind, level, members, others, siblings, excess, angle, and for true labels
shuffled (the quantile of the excess under shuffled labels), p and passes. Rows of pairs: two kinds, one under the other
or beside it, with ratio and angle.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from stages.concepts.ontologies.hierarchy import Hierarchy
from stages.concepts.params import Concepts
from stages.concepts.state_files import FINAL, States, Words
from stages.geometry.causal import Metric, causal_metric, euclidean_metric
from stages.geometry.hierarchies import ProjectionRatios, Tree, mean_ratios, shuffled_ratios, siblings, tree
from stages.geometry.information import context_metric

HEADLINE = "unembedding"
# Ridge of Fisher information and covariances, a share of the mean eigenvalue: text may not reach every direction.
RIDGE = 1e-3
# No null; words dealt out to other kinds; random words of the vocabulary in their places; an unembedding of noise.
TRUE, LABELS, ROWS, GAUSSIAN = "none", "labels", "rows", "gaussian"


def metrics_of(states: States, params: Concepts) -> dict[str, Metric]:
    """Return the inner products in which words are compared, by their source.

    ``unembedding`` is the causal one; ``fisher`` and ``logits`` weigh by what contexts of text make of the words;
    ``euclidean`` is the control.
    """
    gamma, covariance = states.unembedding, states.final_covariance
    ridge = RIDGE * np.trace(covariance) / len(covariance) * np.eye(len(covariance))
    return {
        HEADLINE: causal_metric(gamma, params.shrinkage),
        "fisher": context_metric(gamma, states.fisher, RIDGE),
        "logits": context_metric(gamma, np.linalg.inv(covariance + ridge)),
        "euclidean": euclidean_metric(gamma),
    }


def gate(words: Words, hierarchy: Hierarchy, params: Concepts) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the rows of the gate and the pairs of kinds of one model, in all its states."""
    kind_tree = tree(hierarchy.kinds, hierarchy.words)
    rows: list[dict] = []
    pairs: list[dict] = []
    for state, values in words.states.items():
        for metric, inner in metrics_of(values, params).items():
            if state != FINAL and metric != HEADLINE:
                continue
            common = {"model": words.header.model, "state": state, "metric": metric}
            coordinates = inner.words(values.unembedding)
            for null, ratios, shuffled in _nulls(coordinates, words.row, kind_tree, metric == HEADLINE, params):
                rows += [common | {"null": null} | row for row in _rows(ratios, shuffled, hierarchy, kind_tree, params)]
                if metric == HEADLINE:
                    pairs += [common | {"null": null} | row for row in _pairs(ratios, hierarchy, kind_tree)]
    return pd.DataFrame(rows), pd.DataFrame(pairs)


def _nulls(
    coordinates: np.ndarray, row: np.ndarray, kind_tree: Tree, headline: bool, params: Concepts
) -> Iterator[tuple[str, ProjectionRatios, list[ProjectionRatios]]]:
    """Yield the ratios, with those of shuffled labels; and in the headline's metric each null in their place."""
    splits, seed = params.gate.splits, params.seed
    shuffled = shuffled_ratios(coordinates[row], kind_tree, params.gate.draws, seed)
    yield TRUE, mean_ratios(coordinates[row], kind_tree, splits, seed), shuffled
    if not headline:
        return
    yield LABELS, ProjectionRatios(*(np.mean(column, axis=0) for column in zip(*shuffled, strict=True))), shuffled
    generator = np.random.default_rng(seed)
    random = coordinates[generator.choice(len(coordinates), len(row), replace=False)]
    yield (
        ROWS,
        mean_ratios(random, kind_tree, splits, seed),
        shuffled_ratios(random, kind_tree, params.gate.draws, seed),
    )
    noise = generator.standard_normal(coordinates.shape)
    noise = causal_metric(noise, params.shrinkage).words(noise)[row]
    yield (
        GAUSSIAN,
        mean_ratios(noise, kind_tree, splits, seed),
        shuffled_ratios(noise, kind_tree, params.gate.draws, seed),
    )


def _rows(
    ratios: ProjectionRatios, shuffled: list[ProjectionRatios], hierarchy: Hierarchy, kind_tree: Tree, params: Concepts
) -> Iterator[dict]:
    """Yield a row for each kind; it passes within both margins and beyond the shuffled labels' quantile."""
    null = np.array([draw.excess for draw in shuffled])  # (draws, K)
    for i, kind in enumerate(hierarchy.kinds):
        threshold = float(np.quantile(null[:, i], params.confidence))
        close = abs(ratios.members[i] - 1) <= params.gate.members_within
        close = close and abs(ratios.nonmembers[i]) <= params.gate.others_within
        yield {
            "kind": kind,
            "level": int(kind_tree.ancestry[i].sum()) - 1,
            "words": len(hierarchy.members(kind)),
            "members": ratios.members[i],
            "others": ratios.nonmembers[i],
            "siblings": ratios.siblings[i],
            "excess": ratios.excess[i],
            "angle": ratios.word_angles[i],
            "shuffled": threshold,
            "p": (1 + int((null[:, i] >= ratios.excess[i]).sum())) / (1 + len(null)),
            "passes": bool(close and ratios.excess[i] > threshold),
        }


def _pairs(ratios: ProjectionRatios, hierarchy: Hierarchy, kind_tree: Tree) -> Iterator[dict]:
    """Yield a row for each pair of kinds, with the relation of the second to the first."""
    depth, are_siblings = kind_tree.ancestry.sum(axis=1), siblings(kind_tree)
    for i, lower in enumerate(hierarchy.kinds):
        heights = {int(depth[j]) for j in np.flatnonzero(kind_tree.ancestry[i]) if j != i}
        for j, upper in enumerate(hierarchy.kinds):
            if i == j:
                relation = "self"
            elif kind_tree.ancestry[i, j]:
                relation = "above"
            elif are_siblings[i, j]:
                relation = "sibling"
            else:  # as high as what is above the first kind, or not
                relation = "depth_matched" if int(depth[j]) in heights else "other"
            yield {
                "lower": lower,
                "upper": upper,
                "relation": relation,
                "ratio": ratios.kinds[i, j],
                "angle": ratios.angles[i, j],
            }
