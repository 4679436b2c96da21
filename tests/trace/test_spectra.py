"""What is measured of one place: closed forms, intervals beside fresh samples, rarefaction, missing reasons."""

import numpy as np
import pytest

from stages.geometry.spectrum import Moments, Spectrum, rankme, rankme_eigen
from stages.paradigms.params import DecayRanks
from stages.trace.spectra import CONSTANT, spectral_result

DECAY, BANDS = DecayRanks(first=0.08, last=0.5), [0, 0.1, 0.4, 1]
ALPHA = ("alpha", "weighted_centred_eigen_ranks_0.08_0.5")
MEDIAN = ("alpha", "median_centred_eigen_ranks_0.08_0.5")
LEGACY = ("alpha", "legacy_weighted_centred_eigen_ranks_12_to_100")


def exact(eigenvalues, n=6400, blocks=32):
    """Blocks of a cloud whose covariance has just these eigenvalues, every block alike, with a mean of 5."""
    d = len(eigenvalues)
    rotation = np.linalg.qr(np.random.default_rng(0).standard_normal((d, d)))[0]
    covariance = rotation * eigenvalues @ rotation.T
    size, mean = n // blocks, np.full(d, 5.0)
    gram = covariance * (n - 1) / blocks + size * np.outer(mean, mean)
    return Moments(np.stack([gram] * blocks), np.stack([size * mean] * blocks), np.full(blocks, size))


def drawn(scale, blocks, size, generator):
    x = generator.standard_normal((blocks, size, len(scale))) * scale
    return Moments(np.swapaxes(x, 1, 2) @ x, x.sum(1), np.full(blocks, size))


def values(found):
    return {(row["measure"], row["variant"]): row for row in found.records}


@pytest.mark.parametrize("a", [0.5, 1.0, 1.7])
def test_a_power_law_returns_its_exponent(a):
    found = values(spectral_result(exact(np.arange(1, 129.0) ** -a), DECAY, BANDS, 0.95))
    for key in (ALPHA, MEDIAN, LEGACY):
        assert found[key]["value"] == pytest.approx(a, abs=1e-6)
    assert found["alpha_r2", ALPHA[1]]["value"] == pytest.approx(1)
    ranks = np.arange(1, 129.0) ** -a
    assert found["alpha_share", ALPHA[1]]["value"] == pytest.approx(ranks[9:64].sum() / ranks.sum())


def test_rankme_of_k_equal_eigenvalues_is_k():
    found = values(spectral_result(exact(np.r_[np.ones(9), np.full(55, 1e-14)]), DECAY, BANDS, 0.95))
    assert found["rankme_eigen", "centred_eigen"]["value"] == pytest.approx(9, rel=1e-3)
    assert found["participation_ratio", "centred_eigen"]["value"] == pytest.approx(9, rel=1e-6)


def test_the_two_conventions_of_rankme_differ_as_they_should():
    """λ ~ 1 / i, d = 4096 gives 431 (eigen) and 3148 (singular); here the same law at d = 256, without a mean."""
    spectrum = 1 / np.arange(1, 257)
    blocks = exact(spectrum)
    blocks = blocks._replace(gram=blocks.gram - 200 * 25.0, total=np.zeros_like(blocks.total))
    found = values(spectral_result(blocks, DECAY, BANDS, 0.95))
    p, q = spectrum / spectrum.sum(), np.sqrt(spectrum) / np.sqrt(spectrum).sum()
    assert found["rankme_eigen", "centred_eigen"]["value"] == pytest.approx(np.exp(-(p @ np.log(p))), rel=1e-3)
    assert found["rankme", "raw_singular"]["value"] == pytest.approx(np.exp(-(q @ np.log(q))), rel=1e-3)
    assert found["rankme", "raw_singular"]["value"] > 2.5 * found["rankme_eigen", "centred_eigen"]["value"]


def test_the_published_scale_of_the_two_conventions():
    s = np.arange(1, 4097) ** -0.5
    spectrum = Spectrum(s, 10**6, 4096, centred=True)
    assert rankme_eigen(spectrum) == pytest.approx(431, rel=0.005)
    assert rankme(spectrum) == pytest.approx(3148, rel=0.005)


def test_intervals_cover_the_value_of_fresh_blocks():
    """Of 200 samples, RankMe's interval holds the value of a hundred times as many rows about 95 times in a hundred."""
    generator, scale = np.random.default_rng(0), np.arange(1, 17.0) ** -0.5
    truth = values(spectral_result(drawn(scale, 1, 400_000, generator), DECAY, BANDS, 0.95))
    covered, errors, estimates = [], [], []
    for _ in range(200):
        row = values(spectral_result(drawn(scale, 32, 60, generator), DECAY, BANDS, 0.95))[
            "rankme_eigen", "centred_eigen"
        ]
        estimates.append(row["value"])
        errors.append(row["standard_error"])
        covered.append(row["low"] <= truth["rankme_eigen", "centred_eigen"]["value"] <= row["high"])
    assert 0.89 <= np.mean(covered) <= 0.99
    assert np.mean(errors) == pytest.approx(np.std(estimates), rel=0.2)


def test_one_block_has_values_without_intervals():
    blocks = exact(np.arange(1, 65.0) ** -1)
    together = Moments(blocks.gram.sum(0)[None], blocks.total.sum(0)[None], np.array([6400]))
    alone, apart = (spectral_result(b, DECAY, BANDS, 0.95) for b in (together, blocks))
    assert alone.deviations == {} and not alone.rarefaction
    assert all(np.isnan(row["standard_error"]) for row in alone.records)
    for key, row in values(apart).items():
        assert values(alone)[key]["value"] == pytest.approx(row["value"], rel=1e-9)
        assert row["null"] == values(alone)[key]["null"]


def test_chance_is_that_of_a_cloud_without_structure():
    found = values(spectral_result(drawn(np.ones(32), 32, 100, np.random.default_rng(5)), DECAY, BANDS, 0.95))
    for key in (("rankme_eigen", "centred_eigen"), ("participation_ratio", "centred_eigen")):
        assert found[key]["value"] == pytest.approx(found[key]["null"], rel=0.01)
    assert abs(found[ALPHA]["value"] - found[ALPHA]["null"]) < 0.02


def test_rarefaction_is_recorded_below_five_rows_a_dimension():
    generator = np.random.default_rng(0)
    few, many = (spectral_result(drawn(np.ones(40), 32, size, generator), DECAY, BANDS, 0.95) for size in (6, 8))
    assert not many.rarefaction
    rows = [row for row in few.rarefaction if row["measure"] == "rankme_eigen"]
    assert [row["n"] for row in rows] == [48, 96, 192]
    assert rows[0]["value"] < rows[1]["value"] < rows[2]["value"]  # ranks grow with n
    assert rows[2]["value"] == values(few)["rankme_eigen", "centred_eigen"]["value"]


def test_a_site_without_variance_is_missing_and_says_so():
    same = np.full((8, 10, 5), 2.0)
    blocks = Moments(np.swapaxes(same, 1, 2) @ same, same.sum(1), np.full(8, 10))
    found = spectral_result(blocks, DECAY, BANDS, 0.95)
    assert {row["missing"] for row in found.records} == {CONSTANT} and found.deviations == {}
    wide = spectral_result(exact(np.ones(5)), DECAY, BANDS, 0.95)
    assert [row["measure"] for row in found.records] == [row["measure"] for row in wide.records]


def test_too_few_ranks_for_a_fit_are_missing_and_the_rest_is_there():
    found = values(spectral_result(exact(np.array([3.0, 2.0, 1.0, 0.5])), DECAY, BANDS, 0.95))
    assert "too few ranks" in found[LEGACY]["missing"] and np.isnan(found[LEGACY]["low"])
    assert found["rankme_eigen", "centred_eigen"]["missing"] == ""
