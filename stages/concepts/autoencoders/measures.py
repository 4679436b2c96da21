"""Measures of a dictionary: what it explains, how it is used, and whether its latents are the concepts of a hierarchy.

Codes (n, P) are of parents (of latents, in a flat autoencoder), ``label`` (n,) the kind of each state's word. A latent
is assigned to each kind on the words that may be learnt from; everything is read on words held out, where each number
has a value by chance that it can fall to.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.stats import rankdata

from stages.geometry.causal import discriminant

# A latent that fires on more than this share of tokens is dense.
DENSE = 0.1


def explained(x: np.ndarray, whole: np.ndarray, metric: np.ndarray | None = None) -> float:
    """Return 1 - Σ |x - x̂|² / Σ |x - mean|² of ``x`` (n, d), in the inner product ``metric`` (d, d) or the Euclidean one."""
    root = np.eye(x.shape[1]) if metric is None else np.linalg.cholesky(metric)
    lost, spread = (x - whole) @ root, (x - x.mean(axis=0)) @ root
    return float(1 - np.square(lost).sum() / np.square(spread).sum())


def unit_rows(rows: np.ndarray) -> np.ndarray:
    """Return ``rows`` (n, d) brought to length 1."""
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


class Usage(NamedTuple):
    """How many latents fire, and how often."""

    codes_per_token: float
    """L0."""
    dead: float
    """Share of latents that never fire."""
    dense: float
    """Share of latents that fire on more than `DENSE` of the tokens."""


def usage(codes: np.ndarray) -> Usage:
    """Return the usage of all latents, from their codes (n, L)."""
    share = (codes > 0).mean(axis=0)
    return Usage(float(share.sum()), float((share == 0).mean()), float((share > DENSE).mean()))


def decoder_cosine(directions: np.ndarray, quantile: float = 0.95) -> float:
    """Return the quantile of |cos| between two different rows (L, d)."""
    rows = unit_rows(directions)
    pairs = np.triu_indices(len(rows), 1)
    return float(np.quantile(np.abs(rows @ rows.T)[pairs], quantile))


def auroc(scores: np.ndarray, positive: np.ndarray) -> np.ndarray:
    """Return (L,) the probability that a positive row scores above a negative one, ties counting half; ``scores`` (n, L).

    Raises ValueError where all rows are positive, or none.
    """
    ranks, count = rankdata(scores, axis=0), int(positive.sum())
    if not 0 < count < len(positive):
        raise ValueError(f"{count} of {len(positive)} rows are positive: expected some of each")
    return (ranks[positive].sum(axis=0) - count * (count + 1) / 2) / (count * (len(positive) - count))


def assign(codes: np.ndarray, label: np.ndarray, kinds: int) -> np.ndarray:
    """Return (K,) the latent with the highest AUROC for each kind, on rows that may be learnt from; two kinds may share one."""
    return np.array([int(auroc(codes, label == kind).argmax()) for kind in range(kinds)])


def purity(codes: np.ndarray, label: np.ndarray, latent: np.ndarray) -> np.ndarray:
    """Return (K,) the share of a latent's strength, summed over rows, that falls on its kind; chance if it is silent.

    Chance is the kind's share of the rows. 1 for a latent that fires on its kind only.
    """
    members = np.stack([label == kind for kind in range(len(latent))], axis=1)  # (n, K)
    mass = codes[:, latent]
    total = mass.sum(axis=0)
    return np.where(total > 0, (mass * members).sum(axis=0) / np.where(total > 0, total, 1), members.mean(axis=0))


def leakage(codes: np.ndarray, label: np.ndarray, latent: np.ndarray) -> np.ndarray:
    """Return (K,) the share of all codes' strength, on a kind's words, in latents assigned to other kinds.

    From 0 to 1, whatever the number of codes a token has: with one parent a token it is the share that went astray to
    another kind's parent. A latent that is the kind's own too does not count. 0 where nothing fires.
    """
    shares = []
    for kind in range(len(latent)):
        strangers = np.setdiff1d(latent, latent[kind])
        rows = codes[label == kind]
        shares.append(rows[:, strangers].sum() / total if (total := rows.sum()) > 0 else 0.0)
    return np.array(shares)


def splitting(codes: np.ndarray, label: np.ndarray, kinds: int) -> np.ndarray:
    """Return (K,) the effective number of latents that share a kind: exp of the entropy of their strength; NaN where none fires."""
    numbers = []
    for kind in range(kinds):
        mass = codes[label == kind].sum(axis=0)
        share = mass[mass > 0] / mass.sum() if mass.sum() > 0 else np.array([])
        numbers.append(np.exp(-(share * np.log(share)).sum()) if len(share) else np.nan)
    return np.array(numbers)


class LinearProbe(NamedTuple):
    """A linear probe of each kind against the others."""

    directions: np.ndarray
    """(K, d), of length 1."""
    thresholds: np.ndarray
    """(K,), half way between the means of both sides."""

    def scores(self, states: np.ndarray) -> np.ndarray:
        """Return (n, K), above 0 where the probe says yes."""
        return states @ self.directions.T - self.thresholds


def probe(states: np.ndarray, label: np.ndarray, kinds: int) -> LinearProbe:
    """Return Fisher's discriminant of each kind against the rest, of states (n, d)."""
    directions = np.stack([discriminant(states[label == kind], states[label != kind]) for kind in range(kinds)])
    scores = states @ directions.T  # (n, K)
    middle = [(scores[label == kind, kind].mean() + scores[label != kind, kind].mean()) / 2 for kind in range(kinds)]
    return LinearProbe(directions, np.array(middle))


def absorption(
    codes: np.ndarray, recognised: np.ndarray, label: np.ndarray, latent: np.ndarray, cosines: np.ndarray
) -> np.ndarray:
    """Return (K,) the share of a kind's words that a probe recognises which another latent took from the kind's own.

    That is: the own latent is silent, and the strongest of the others writes along the kind's direction. ``recognised``
    (n, K) bool is the probe's word, ``cosines`` (P, K) are of each latent's direction with each kind's. NaN where the
    probe recognises none. Source: after Chanin et al. 2024.
    """
    shares = []
    for kind, kind_latent in enumerate(latent):
        rows = codes[(label == kind) & recognised[:, kind]]
        if not len(rows):
            shares.append(np.nan)
            continue
        taken = (rows[:, kind_latent] == 0) & (rows.max(axis=1) > 0) & (cosines[rows.argmax(axis=1), kind] > 0)
        shares.append(taken.mean())
    return np.array(shares)


def consistency(children: np.ndarray, word: np.ndarray, kind: np.ndarray, latent: np.ndarray, width: int) -> float:
    """Return the share of words whose favourite child lies under the latent of their kind.

    ``children`` (n, P width) codes, ``word`` (n,) the word of each row, ``kind`` (words,) of each word. A word's
    favourite is the child with most strength over its rows; a word without one counts as no. By chance 1 / P.
    """
    right = []
    for index in np.unique(word):
        mass = children[word == index].sum(axis=0)
        right.append(mass.max() > 0 and int(mass.argmax()) // width == latent[kind[index]])
    return float(np.mean(right))


def normal_fan(readers: np.ndarray, latent: np.ndarray, states: np.ndarray, label: np.ndarray) -> float:
    """Return the median angle in degrees between the router's boundary of two kinds and the boundary that tells them apart best.

    Of two parents the one with the larger E'x fires: the boundary's normal is the difference of their rows, an edge of
    the polytope of routers. It is compared with Fisher's discriminant between the words of both kinds; 90 by chance.
    NaN where all kinds share one latent.
    """
    angles = []
    for kind in range(len(latent)):
        for rival in range(kind):
            normal = readers[latent[kind]] - readers[latent[rival]]
            if (length := np.linalg.norm(normal)) > 0:
                best = discriminant(states[label == kind], states[label == rival])
                angles.append(np.degrees(np.arccos(np.clip(normal @ best / length, -1, 1))))
    return float(np.median(angles)) if angles else float("nan")


def matched_cosine(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return (L,) the cosine of each row of ``left`` (L, d) with its partner in ``right``, paired one to one for the most."""
    cosine = unit_rows(left) @ unit_rows(right).T
    return cosine[linear_sum_assignment(-cosine)]
