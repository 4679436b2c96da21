"""How good a dictionary is: what it explains, how it is used, and whether its latents are the concepts that are known.

Codes (n, P) are of parents (of latents, in a flat autoencoder), ``label`` (n,) the kind of each state's word. A latent
is assigned to each kind on the words that may be learnt from; everything is read on words held out, where each number
has a value by chance that it can fall to.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.stats import rankdata

from stages.geometry.causal import discriminant

DENSE = 0.1
"""A latent that fires on more than this share of tokens."""


def explained(x: np.ndarray, whole: np.ndarray, metric: np.ndarray | None = None) -> float:
    """1 - Σ |x - x̂|² / Σ |x - mean|² of ``x`` (n, d), in the inner product ``metric`` (d, d) or the Euclidean one."""
    root = np.eye(x.shape[1]) if metric is None else np.linalg.cholesky(metric)
    lost, spread = (x - whole) @ root, (x - x.mean(axis=0)) @ root
    return float(1 - np.square(lost).sum() / np.square(spread).sum())


class Usage(NamedTuple):
    codes_per_token: float
    """L0"""
    dead: float
    """Share of latents that never fire"""
    dense: float
    """Share that fires on more than `DENSE` of the tokens"""


def usage(codes: np.ndarray) -> Usage:
    """Of codes (n, L) over all latents."""
    share = (codes > 0).mean(axis=0)
    return Usage(float(share.sum()), float((share == 0).mean()), float((share > DENSE).mean()))


def decoder_cosine(directions: np.ndarray, quantile: float = 0.95) -> float:
    """Quantile of |cos| between two different rows (L, d)."""
    rows = directions / np.linalg.norm(directions, axis=1, keepdims=True)
    pairs = np.triu_indices(len(rows), 1)
    return float(np.quantile(np.abs(rows @ rows.T)[pairs], quantile))


def auroc(scores: np.ndarray, positive: np.ndarray) -> np.ndarray:
    """(L,) probability that a positive row scores above a negative one, ties counting half; ``scores`` (n, L)."""
    ranks, count = rankdata(scores, axis=0), int(positive.sum())
    if not 0 < count < len(positive):
        raise ValueError(f"{count} of {len(positive)} rows are positive: expected some of each")
    return (ranks[positive].sum(axis=0) - count * (count + 1) / 2) / (count * (len(positive) - count))


def assign(codes: np.ndarray, label: np.ndarray, kinds: int) -> np.ndarray:
    """(K,) the latent with the highest AUROC for each kind, on rows that may be learnt from; two kinds may share one."""
    return np.array([int(auroc(codes, label == kind).argmax()) for kind in range(kinds)])


def purity(codes: np.ndarray, label: np.ndarray, latent: np.ndarray) -> np.ndarray:
    """(K,) share of the latent's strength, summed over rows, that falls on its kind; its share by chance if it is silent.

    Chance is the kind's share of the rows. 1 for a latent that fires on its kind only.
    """
    own = np.stack([label == kind for kind in range(len(latent))], axis=1)  # (n, K)
    mass = codes[:, latent]
    total = mass.sum(axis=0)
    return np.where(total > 0, (mass * own).sum(axis=0) / np.where(total > 0, total, 1), own.mean(axis=0))


def leakage(codes: np.ndarray, label: np.ndarray, latent: np.ndarray) -> np.ndarray:
    """(K,) of a kind's words, the share of all codes' strength in latents assigned to other kinds.

    From 0 to 1, whatever the number of codes a token has: with one parent a token it is the share that went astray to
    another kind's parent. A latent that is the kind's own too does not count. 0 where nothing fires.
    """
    found = []
    for kind in range(len(latent)):
        others = np.setdiff1d(latent, latent[kind])
        rows = codes[label == kind]
        found.append(rows[:, others].sum() / total if (total := rows.sum()) > 0 else 0.0)
    return np.array(found)


def splitting(codes: np.ndarray, label: np.ndarray, kinds: int) -> np.ndarray:
    """(K,) effective number of latents that share a kind: exp of the entropy of their strength; NaN where none fires."""
    found = []
    for kind in range(kinds):
        mass = codes[label == kind].sum(axis=0)
        share = mass[mass > 0] / mass.sum() if mass.sum() > 0 else np.array([])
        found.append(np.exp(-(share * np.log(share)).sum()) if len(share) else np.nan)
    return np.array(found)


class Probe(NamedTuple):
    """A linear probe of each kind against the others."""

    directions: np.ndarray
    """(K, d) unit"""
    thresholds: np.ndarray
    """(K,) half way between the means of both sides"""

    def scores(self, states: np.ndarray) -> np.ndarray:
        """(n, K) above 0 where the probe says yes."""
        return states @ self.directions.T - self.thresholds


def probe(states: np.ndarray, label: np.ndarray, kinds: int) -> Probe:
    """Fisher's discriminant of each kind against the rest, of states (n, d)."""
    directions = np.stack([discriminant(states[label == kind], states[label != kind]) for kind in range(kinds)])
    on = states @ directions.T  # (n, K)
    middle = [(on[label == kind, kind].mean() + on[label != kind, kind].mean()) / 2 for kind in range(kinds)]
    return Probe(directions, np.array(middle))


def absorption(
    codes: np.ndarray, said: np.ndarray, label: np.ndarray, latent: np.ndarray, along: np.ndarray
) -> np.ndarray:
    """(K,) of a kind's words that a probe recognises, the share that another latent took from the kind's own.

    That is: the own latent is silent, and the strongest of the others writes along the kind's direction. ``said``
    (n, K) bool is the probe's word, ``along`` (P, K) the cosine of each latent's direction with each kind's. After Chanin
    et al. 2024. NaN where the probe recognises none.
    """
    found = []
    for kind, own in enumerate(latent):
        rows = codes[(label == kind) & said[:, kind]]
        if not len(rows):
            found.append(np.nan)
            continue
        taken = (rows[:, own] == 0) & (rows.max(axis=1) > 0) & (along[rows.argmax(axis=1), kind] > 0)
        found.append(taken.mean())
    return np.array(found)


def consistency(children: np.ndarray, word: np.ndarray, kind: np.ndarray, latent: np.ndarray, width: int) -> float:
    """Share of words whose favourite child lies under the latent of their kind.

    ``children`` (n, P width) codes, ``word`` (n,) the word of each row, ``kind`` (words,) of each word. A word's favourite
    is the child with most strength over its rows; a word without one counts as no. By chance 1 / P.
    """
    right = []
    for index in np.unique(word):
        mass = children[word == index].sum(axis=0)
        right.append(mass.max() > 0 and int(mass.argmax()) // width == latent[kind[index]])
    return float(np.mean(right))


def normal_fan(readers: np.ndarray, latent: np.ndarray, states: np.ndarray, label: np.ndarray) -> float:
    """Median angle in degrees between the router's boundary of two kinds and the boundary that tells them apart best.

    Of two parents the one with the larger E'x fires: the boundary's normal is the difference of their rows, an edge of
    the polytope of routers. Compared with Fisher's discriminant between the words of both kinds; 90 by chance. NaN where
    all kinds share one latent.
    """
    found = []
    for one in range(len(latent)):
        for other in range(one):
            normal = readers[latent[one]] - readers[latent[other]]
            if (length := np.linalg.norm(normal)) > 0:
                best = discriminant(states[label == one], states[label == other])
                found.append(np.degrees(np.arccos(np.clip(normal @ best / length, -1, 1))))
    return float(np.median(found)) if found else float("nan")


def matched_cosine(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """(L,) cosine of each row of ``one`` (L, d) with its partner among the rows of ``other``, paired one to one for the most."""
    from scipy.optimize import linear_sum_assignment

    rows = [side / np.linalg.norm(side, axis=1, keepdims=True) for side in (one, other)]
    cosine = rows[0] @ rows[1].T
    return cosine[linear_sum_assignment(-cosine)]
