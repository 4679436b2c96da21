"""Is the hierarchy represented in the unembedding? Every model, every metric, beside what must not pass.

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
RIDGE = 1e-3
"""Of Fisher information and covariances, as a share of the mean eigenvalue: text may not reach every direction."""
TRUE, LABELS, ROWS, GAUSSIAN = "none", "labels", "rows", "gaussian"
"""Nulls: words dealt out to other kinds; random words of the vocabulary in their places; an unembedding of noise."""


def metrics_of(states: States, params: Concepts) -> dict[str, Metric]:
    """The inner products in which words are compared, by their source.

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
    """The rows of one model in all its states."""
    of = tree(hierarchy.kinds, hierarchy.words)
    rows: list[dict] = []
    pairs: list[dict] = []
    for state, values in words.states.items():
        for metric, inner in metrics_of(values, params).items():
            if state != FINAL and metric != HEADLINE:
                continue
            common = {"model": words.header.model, "state": state, "metric": metric}
            coordinates = inner.words(values.unembedding)
            for null, found, shuffled in _nulls(coordinates, words.row, of, metric == HEADLINE, params):
                rows += [common | {"null": null} | row for row in _rows(found, shuffled, hierarchy, of, params)]
                if metric == HEADLINE:
                    pairs += [common | {"null": null} | row for row in _pairs(found, hierarchy, of)]
    return pd.DataFrame(rows), pd.DataFrame(pairs)


def _nulls(
    coordinates: np.ndarray, row: np.ndarray, of: Tree, headline: bool, params: Concepts
) -> Iterator[tuple[str, ProjectionRatios, list[ProjectionRatios]]]:
    """What was found, with the same of shuffled labels; and in the headline's metric each null in its place."""
    splits, seed = params.gate.splits, params.seed
    shuffled = shuffled_ratios(coordinates[row], of, params.gate.draws, seed)
    yield TRUE, mean_ratios(coordinates[row], of, splits, seed), shuffled
    if not headline:
        return
    yield LABELS, ProjectionRatios(*(np.mean(column, axis=0) for column in zip(*shuffled, strict=True))), shuffled
    generator = np.random.default_rng(seed)
    random = coordinates[generator.choice(len(coordinates), len(row), replace=False)]
    yield ROWS, mean_ratios(random, of, splits, seed), shuffled_ratios(random, of, params.gate.draws, seed)
    noise = generator.standard_normal(coordinates.shape)
    noise = causal_metric(noise, params.shrinkage).words(noise)[row]
    yield GAUSSIAN, mean_ratios(noise, of, splits, seed), shuffled_ratios(noise, of, params.gate.draws, seed)


def _rows(found: ProjectionRatios, shuffled: list[ProjectionRatios], hierarchy: Hierarchy, of: Tree, params: Concepts) -> Iterator[dict]:
    """A row for each kind; it passes within both margins and beyond the shuffled labels' quantile."""
    null = np.array([one.excess for one in shuffled])  # (draws, K)
    for i, kind in enumerate(hierarchy.kinds):
        beyond = float(np.quantile(null[:, i], params.confidence))
        within = abs(found.members[i] - 1) <= params.gate.members_within
        within = within and abs(found.nonmembers[i]) <= params.gate.others_within
        yield {
            "kind": kind, "level": int(of.ancestry[i].sum()) - 1, "words": len(hierarchy.members(kind)),
            "members": found.members[i], "others": found.nonmembers[i], "siblings": found.siblings[i],
            "excess": found.excess[i], "angle": found.word_angles[i], "shuffled": beyond,
            "p": (1 + int((null[:, i] >= found.excess[i]).sum())) / (1 + len(null)),
            "passes": bool(within and found.excess[i] > beyond),
        }  # fmt: skip


def _pairs(found: ProjectionRatios, hierarchy: Hierarchy, of: Tree) -> Iterator[dict]:
    """A row for each pair of a kind and one that is above it, beside it, or as high as what is above it."""
    depth, beside = of.ancestry.sum(axis=1), siblings(of)
    for i, lower in enumerate(hierarchy.kinds):
        heights = {int(depth[j]) for j in np.flatnonzero(of.ancestry[i]) if j != i}
        for j, upper in enumerate(hierarchy.kinds):
            relation = (
                "self" if i == j else "above" if of.ancestry[i, j] else "sibling" if beside[i, j]
                else "depth_matched" if int(depth[j]) in heights else "other"
            )  # fmt: skip
            yield {
                "lower": lower,
                "upper": upper,
                "relation": relation,
                "ratio": found.kinds[i, j],
                "angle": found.angles[i, j],
            }
