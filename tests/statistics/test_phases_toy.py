"""The collapse and the growth of RankMe in the smallest model that shows them: tokens of skewed frequency, d far below V.

A bilinear model predicts the partner of each of V tokens, logits of token i: U e_i, with features e_i in d dimensions,
by gradient descent on the expected cross-entropy from small random E and U. While weights are small it is linear:
dE / dt = M U, dU / dt = M' E, with M = diag(p) (partners - 1/V), p the frequencies. The modes of M grow like exp(σ_k t), and
its singular values are about the frequencies. Under Zipf's law the most frequent token's mode wins by its exponent
before any other has left its random start, so that all features, weighted by frequency, lie along one direction: RankMe
collapses, the faster learning sees it through. Its token then has its loss near 0 and no gradient left, the next mode
grows, and so on down the frequencies: RankMe rises to the d dimensions that there are. With uniform frequencies all modes
but one grow at the same rate, and what was random stays as round as it was. Source: after Li et al. 2025; Saxe et al.
2014 for the modes.
"""

from functools import cache

import numpy as np
import pytest
import torch

from stages.geometry.spectrum import Spectrum, rankme_eigen, spectral_decay
from stages.statistics.deviations import family_deviations
from stages.statistics.phases import MeasuredSeries, detect_phases

TOKENS, WIDTH, STEPS, RATE, SCALE, SEEDS = 64, 8, 3000, 4.0, 0.01, 5
CHECKPOINTS = np.unique(np.geomspace(1, STEPS, 20).round().astype(int)) - 1  # the first is the initialisation


def spectrum(features, frequency):
    """Of the ``features`` (V, d), centred, each token counted by its ``frequency`` (V,)."""
    centred = (features - frequency @ features) * frequency.sqrt()[:, None]
    return Spectrum(torch.linalg.svdvals(centred).numpy(), TOKENS, WIDTH, centred=True)


@cache
def trained(exponent, seed):
    """Of features of tokens with frequency ~ rank^-exponent: RankMe and α (checkpoints,), tokens counted by frequency; RankMe,
    tokens counted alike; and the last loss."""
    generator = torch.Generator().manual_seed(seed)
    frequency = torch.arange(1, TOKENS + 1, dtype=torch.float64) ** -exponent
    frequency /= frequency.sum()
    features, outputs = SCALE * torch.randn(2, TOKENS, WIDTH, generator=generator, dtype=torch.float64)
    partners = torch.eye(TOKENS, dtype=torch.float64)[torch.randperm(TOKENS, generator=generator)]  # (V, V)
    rank, alpha, alike = [], [], []
    for step in range(STEPS):
        if step in CHECKPOINTS:
            weighted = spectrum(features, frequency)
            rank.append(rankme_eigen(weighted))
            alpha.append(spectral_decay(weighted, 1, WIDTH, eigen=True, weighted=True).alpha)
            alike.append(rankme_eigen(spectrum(features, torch.full_like(frequency, 1 / TOKENS))))
        probabilities = torch.softmax(features @ outputs.T, dim=1)
        gradient = RATE * frequency[:, None] * (probabilities - partners)  # (V, V)
        features, outputs = features - gradient @ outputs, outputs - gradient.T @ features
    return (
        np.array(rank),
        np.array(alpha),
        np.array(alike),
        -float(frequency @ (partners * probabilities.log()).sum(dim=1)),
    )


@pytest.mark.parametrize("seed", range(SEEDS))
def test_frequent_tokens_collapse_the_features_and_rare_ones_spread_them(seed):
    """From more than 5 of 8 dimensions to less than 1.5 and back to more than 6; and not because frequent tokens count more:
    counted alike, below 2.5 from above 6.5 all the same."""
    rank, _, alike, loss = trained(1.0, seed)
    lowest = int(rank.argmin())
    assert 0 < lowest < len(rank) / 2  # early
    assert rank[0] > 5 and rank[lowest] < 1.5 and rank[-1] > 6
    assert (np.diff(rank[: lowest + 1]) < 0.05).all() and (np.diff(rank[lowest:]) > -0.05).all()  # one turn
    assert alike[0] > 6.5 and alike.min() < 2.5 and alike[-1] > 7.5
    assert loss < 0.05


@pytest.mark.parametrize("seed", range(SEEDS))
def test_equally_frequent_tokens_do_not(seed):
    """RankMe falls by less than a twentieth, and ends higher, though the model learns as much."""
    rank, _, _, loss = trained(0.0, seed)
    assert rank.min() > 0.95 * rank[0] and rank[-1] > rank[0]
    assert loss < 0.05


@pytest.mark.parametrize(
    ("exponent", "phases"), [(1.0, ["warm-up collapse", "entropy-seeking"]), (0.0, ["entropy-seeking"])]
)
def test_the_phases_of_five_runs(exponent, phases):
    """Runs as families: the same labels as for checkpoints of a language model."""
    runs = [trained(exponent, seed) for seed in range(SEEDS)]
    rank, alpha = np.log([run[0] for run in runs]), np.array([run[1] for run in runs])  # (5, checkpoints)
    found = detect_phases(
        np.log(CHECKPOINTS + 1),
        *(MeasuredSeries(values.mean(axis=0), family_deviations(values)) for values in (rank, alpha)),
        draws=500,
        seed=0,
        confidence=0.95,
    )
    assert [s.label for s in found.stretches] == phases
