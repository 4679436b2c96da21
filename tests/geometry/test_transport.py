"""Transport between clouds whose distance is known, and the estimators' bias where nothing moved."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import logsumexp

from stages.geometry import transport as ot
from stages.geometry.spectrum import SpectrumError
from tests.support import transport_oracles as oracles

pytest.importorskip("ot")
DISTANCES = {
    "exact": lambda x, y: ot.exact_w2(x, y).value,
    "sinkhorn": lambda x, y: np.sqrt(max(0.0, oracles.sinkhorn_divergence(x, y).value)),
    "sliced": lambda x, y: ot.sliced_w2(x, y, 50, seed=0),
    "bures": ot.bures_w2,
    "gromov": lambda x, y: ot.gromov_wasserstein(x, y).value,
    "identity": lambda x, y: np.sqrt(ot.identity_cost(x, y)),
}


def gaussian(n, d, seed=0, scale=1.0):
    return np.random.default_rng(seed).standard_normal((n, d)) * scale


def rotation(d, seed=0):
    return np.linalg.qr(gaussian(d, d, seed))[0]


def moved(n=60, d=5):
    """Two clouds of the same tokens that differ in every way a distance may see."""
    x = gaussian(n, d, 1, np.arange(1, d + 1))
    return x, 0.7 * x + 0.8 * gaussian(n, d, 2) + 1


@pytest.mark.parametrize("name", DISTANCES)
@pytest.mark.parametrize("shape", [(40, 3), (12, 30)])
def test_a_cloud_is_at_no_distance_from_itself(name, shape):
    x = gaussian(*shape) + 10
    assert DISTANCES[name](x, x.copy()) == pytest.approx(0, abs=1e-6)


def test_exact_and_bures_lose_no_digits_near_zero():
    """By differences: through inner products both would stop at 1e-8 of the norm."""
    x = gaussian(40, 3) + 100
    for name in ("exact", "bures", "identity"):
        assert DISTANCES[name](x, x) < 1e-12
        assert DISTANCES[name](x, x + 1e-9) == pytest.approx(1e-9 * np.sqrt(3), rel=1e-3)


@pytest.mark.parametrize("name", ["exact", "bures", "identity"])
@pytest.mark.parametrize("shape", [(50, 4), (10, 40)])
def test_a_translation_costs_its_length(name, shape):
    x, t = gaussian(*shape, scale=3), gaussian(1, shape[1], 5)
    assert DISTANCES[name](x, x + t) == pytest.approx(np.linalg.norm(t), rel=1e-10)
    assert oracles.sinkhorn_divergence(x, x + t).value == pytest.approx(np.square(t).sum(), rel=1e-2)


def test_reordered_rows_are_the_same_cloud_but_not_the_same_tokens():
    x = gaussian(80, 6)
    order = np.roll(np.arange(80), 7)
    found = ot.exact_w2(x, x[order])
    assert found.value == 0
    np.testing.assert_allclose(found.plan[order, np.arange(80)], 1 / 80)
    assert ot.sliced_w2(x, x[order], 20, 0) == pytest.approx(0, abs=1e-12)
    assert ot.bures_w2(x, x[order]) == pytest.approx(0, abs=1e-12)
    assert ot.identity_ratio(found.value, ot.identity_cost(x, x[order])).value < 1e-9


def test_the_identity_ratio_is_1_where_tokens_stay_near_and_undefined_where_they_stay():
    x = gaussian(50, 20)
    y = x + 0.01 * gaussian(50, 20, 1)
    assert ot.identity_ratio(ot.exact_w2(x, y).value, ot.identity_cost(x, y)).value == pytest.approx(1)
    none = ot.identity_ratio(0.0, ot.identity_cost(x, x))
    assert np.isnan(none.value) and "0 / 0" in none.reason


@settings(max_examples=20, deadline=None)
@given(n=st.integers(2, 30), d=st.integers(1, 8), seed=st.integers(0, 10_000))
def test_exact_against_the_assignment_problem(n, d, seed):
    from scipy.optimize import linear_sum_assignment

    x, y = gaussian(n, d, seed), gaussian(n, d, seed + 1) + 0.5
    costs = np.array([[np.square(a - b).sum() for b in y] for a in x])
    best = costs[linear_sum_assignment(costs)].mean()
    assert ot.exact_w2(x, y).value == pytest.approx(np.sqrt(best), rel=1e-9)
    assert ot.exact_w2(x, y).value ** 2 <= ot.identity_cost(x, y) * (1 + 1e-12)


def test_on_a_line_quantiles_are_matched():
    x, y = gaussian(70, 1), np.random.default_rng(3).exponential(size=(70, 1))
    sorted_cost = np.sqrt(np.square(np.sort(x[:, 0]) - np.sort(y[:, 0])).mean())
    assert ot.exact_w2(x, y).value == pytest.approx(sorted_cost, rel=1e-9)
    assert ot.sliced_w2(x, y, 1, seed=9) == pytest.approx(sorted_cost, rel=1e-9)  # on a line θ is ±1


def test_too_few_pivots_are_an_error():
    with (
        pytest.warns(UserWarning, match="numItermax"),
        pytest.raises(ot.TransportError, match="n = 100 rows within 1 iterations .*: raise"),
    ):
        ot.exact_w2(gaussian(100, 5), gaussian(100, 5, 1), iterations=1)


@pytest.mark.parametrize("shape", [(200, 6), (15, 40), (20, 20)])
def test_bures_against_matrix_square_roots(shape):
    from scipy.linalg import sqrtm

    x, y = gaussian(*shape, scale=np.arange(1, shape[1] + 1)), gaussian(*shape, 1) @ rotation(shape[1]) + 1
    a, b = (np.cov(z.T, bias=True) for z in (x, y))
    root = np.real(sqrtm(a))
    naive = np.square(x.mean(0) - y.mean(0)).sum() + np.trace(a + b - 2 * np.real(sqrtm(root @ b @ root)))
    assert ot.bures_w2(x, y) == pytest.approx(np.sqrt(naive), rel=1e-5)


def test_bures_of_axes_and_below_exact():
    """Diagonal covariances: |s - t|."""
    x = np.concatenate([np.diag([3.0, 4.0]), -np.diag([3.0, 4.0])]) * np.sqrt(2)  # standard deviations 3 and 4
    assert ot.bures_w2(x, x * [2, 0.5]) == pytest.approx(np.hypot(3, 2))
    for x, y in (moved(), moved(20, 40)):
        assert ot.bures_w2(x, y) <= ot.exact_w2(x, y).value


def test_many_rows_of_gaussians_approach_the_closed_form():
    """From above, by 5% of W2 at 1500 rows in two dimensions."""
    x, y = gaussian(1500, 2), gaussian(1500, 2, 1, [2.0, 0.5]) + [3, 0]
    truth = np.sqrt(9 + 1 + 0.25)
    assert ot.exact_w2(x, y).value == pytest.approx(truth, rel=0.05)
    assert ot.bures_w2(x, y) == pytest.approx(truth, rel=0.05)


def test_sliced_against_the_library_and_its_bound():
    import ot as library

    x, y = moved()
    directions = np.random.default_rng(4).standard_normal((5, 300))
    directions /= np.linalg.norm(directions, axis=0)
    reference = library.sliced_wasserstein_distance(x, y, projections=directions)
    assert ot.sliced_w2(x, y, 300, seed=4) == pytest.approx(reference, rel=1e-9)
    assert ot.sliced_w2(x, y, 300, seed=4) == ot.sliced_w2(x, y, 300, seed=4)
    t = np.array([2.0, 0, 0, 0, 0])
    assert ot.sliced_w2(x, x + t, 5000, seed=0) == pytest.approx(2 / np.sqrt(5), rel=0.03)


def test_sliced_in_blocks(monkeypatch):
    x, y = moved()
    whole = ot.sliced_w2(x, y, 31, seed=0)
    monkeypatch.setattr(ot, "BLOCK", 200)
    assert ot.sliced_w2(x, y, 31, seed=0) == pytest.approx(whole, rel=1e-12)


def test_the_divergence_runs_from_w2_to_the_distance_of_means():
    x, y = moved(40, 3)
    w2, means = ot.exact_w2(x, y).value ** 2, np.square(x.mean(0) - y.mean(0)).sum()
    assert oracles.sinkhorn_divergence(x, y, 0.002, iterations=50_000).value == pytest.approx(w2, rel=0.02)
    assert oracles.sinkhorn_divergence(x, y, 1e4).value == pytest.approx(means, rel=0.01)
    assert means < oracles.sinkhorn_divergence(x, y).value < w2


def test_the_divergence_of_a_cloud_with_itself_is_0_where_entropic_cost_is_not():
    x = gaussian(50, 10)
    assert oracles.sinkhorn_divergence(x, x).value == pytest.approx(0, abs=1e-9)
    assert oracles.entropic_plan(x, x, 0.5).value > 1


def test_entropic_cost_is_that_of_its_plan():
    x, y = moved()
    found = oracles.entropic_plan(x, y, 0.2)
    costs = np.square(x[:, None] - y).sum(axis=-1)
    entropy = (found.plan * np.log(found.plan * 60**2)).sum()
    assert found.value == pytest.approx((found.plan * costs).sum() + 0.2 * np.median(costs) * entropy, rel=1e-4)


def test_a_plan_that_did_not_converge_is_not_a_number():
    x, y = moved()
    found = oracles.sinkhorn_divergence(x, y, 0.001, iterations=5)
    assert np.isnan(found.value) and "of the mass after 5 iterations, above 0.0001: raise" in found.reason
    assert oracles.entropic_plan(x, y, 0.001, iterations=5).plan is None
    same = oracles.sinkhorn_divergence(np.ones((5, 2)), np.ones((5, 2)))
    assert np.isnan(same.value) and "median cost is 0" in same.reason
    with pytest.raises(ot.TransportError, match="regularisation 0"):
        oracles.sinkhorn_divergence(x, y, 0)


def test_the_slow_path_in_the_log_domain_agrees_and_bears_a_massive_row(monkeypatch):
    x, y = moved()
    fast = oracles.sinkhorn_divergence(x, y).value
    massive = [np.vstack([1000 * z[:1], z[1:]]) for z in (x, y)]
    assert oracles.sinkhorn_divergence(*massive).value > fast
    monkeypatch.setattr(ot, "UNDERFLOW", 0)
    assert oracles.sinkhorn_divergence(x, y).value == pytest.approx(fast, rel=1e-6)


def test_only_distances_inside_clouds_ignore_a_rotation_of_one_side():
    x = gaussian(40, 4, scale=[1, 2, 3, 4]) + 1
    y = x @ rotation(4, 3)
    found = ot.gromov_wasserstein(x, y)
    assert found.value == pytest.approx(0, abs=1e-5) and found.start == "identity"
    for name in set(DISTANCES) - {"gromov"}:
        assert DISTANCES[name](x, y) > 0.2, name


@pytest.mark.parametrize("name", DISTANCES)
def test_a_common_rotation_and_translation_change_nothing_and_a_factor_scales(name):
    x, y = moved(30, 4)
    before, spin, shift = DISTANCES[name](x, y), rotation(4, 8), gaussian(1, 4, 9)
    around = 0.5 if name == "sliced" else 1e-5  # of 50 random directions
    assert DISTANCES[name](x @ spin + shift, y @ spin + shift) == pytest.approx(before, rel=around)
    assert DISTANCES[name](x + shift, y + shift) == pytest.approx(before, rel=1e-6)
    assert DISTANCES[name](3 * x, 3 * y) == pytest.approx(3 * before, rel=1e-5)


def test_gromov_between_unlike_widths_and_from_its_starts():
    x = gaussian(30, 3)
    wide = np.hstack([x, np.zeros((30, 4))]) @ rotation(7)
    assert ot.gromov_wasserstein(x, wide).value == pytest.approx(0, abs=1e-5)
    y = gaussian(30, 3, 5)
    inside = [np.linalg.norm(z[:, None] - z, axis=-1) for z in (x, y)]
    best = ot.gromov_wasserstein(x, y)
    assert best.value**2 <= np.square(inside[0] - inside[1]).mean()
    assert best.value <= ot.gromov_wasserstein(x, y, permutations=0).value
    p = best.plan
    naive = np.einsum("ij,kl,ikjl->", p, p, np.square(inside[0][:, :, None, None] - inside[1]), optimize=True)
    assert best.value**2 == pytest.approx(naive, rel=1e-6)
    with pytest.raises(ot.TransportError, match="30 and 29 rows"):
        ot.gromov_wasserstein(x, y[1:])


@pytest.mark.parametrize("block", [2**22, 50])
def test_mean_distances_against_all_pairs(monkeypatch, block):
    from scipy.spatial.distance import cdist

    monkeypatch.setattr(ot, "BLOCK", block)
    x, y = moved(31, 5)
    found = ot.mean_distances(x, y)
    for name in ("euclidean", "cosine"):
        pairs = cdist(x, y, name)
        assert getattr(found, f"all_{name}") == pytest.approx(pairs.mean(), rel=1e-9)
        assert getattr(found, f"paired_{name}") == pytest.approx(np.diag(pairs).mean(), rel=1e-9)
    pairs = cdist(x, y, "cityblock")
    assert found.all_manhattan == pytest.approx(pairs.mean(), rel=1e-9)
    assert found.paired_manhattan == pytest.approx(np.diag(pairs).mean(), rel=1e-9)
    assert found.all_squared_euclidean == pytest.approx(cdist(x, y, "sqeuclidean").mean(), rel=1e-9)


def test_mean_distances_of_equal_and_of_tied_values():
    x = np.repeat(np.arange(1.0, 4), 4)[:, None]
    found = ot.mean_distances(x, x)
    assert found.paired_euclidean == found.paired_manhattan == found.paired_cosine == 0
    assert found.all_manhattan == pytest.approx(np.abs(x - x.T).mean())


def test_debiased_is_centred_where_nothing_moved_and_the_plain_one_is_not():
    """Ten draws of four halves of one distribution: |mean| within three standard errors of 0."""
    draws = [[gaussian(100, 16, 10 * i + j) for j in range(4)] for i in range(10)]
    debiased = np.array([oracles.debiased_w2(*four) for four in draws])
    plain = np.array([ot.exact_w2(four[0], four[2]).value ** 2 for four in draws])
    assert abs(debiased.mean()) < 3 * debiased.std(ddof=1) / np.sqrt(10)
    assert (debiased < 0).any() and (debiased > 0).any()
    assert plain.min() > 10 and abs(debiased.mean()) < 0.1 * plain.mean()


def test_debiased_finds_a_planted_translation():
    x_a, x_b, y_a, y_b = (gaussian(150, 8, i) for i in range(4))
    found = oracles.debiased_w2(x_a, x_b, y_a + 1, y_b + 1)
    assert found == pytest.approx(8, rel=0.2)
    assert ot.exact_w2(x_a, y_b + 1).value ** 2 > 10
    with pytest.raises(ot.TransportError, match="expected one shape"):
        oracles.debiased_w2(x_a, x_b[1:], y_a, y_b)


def test_a_shared_basis_keeps_distances():
    x = np.hstack([gaussian(60, 3, scale=[5, 3, 2]), np.zeros((60, 9))]) @ rotation(12)
    y = 1.5 * x + 2 * x[:1]
    first, second = ot.shared_pca([x, y], 3)
    assert first.shape == (60, 3)
    assert ot.exact_w2(first, second).value == pytest.approx(ot.exact_w2(x, y).value, rel=1e-6)
    with pytest.raises(ot.TransportError, match=r"widths \[11, 12\]"):
        ot.shared_pca([x, y[:, 1:]], 3)
    with pytest.raises(SpectrumError):
        ot.shared_pca([x, y], 13)


def test_a_basis_for_each_layer_puts_a_cloud_far_from_its_own_rotation_and_reflection():
    """Unit rows are at most 4 apart, in squares; unrelated ones 2."""
    x = gaussian(300, 10, scale=np.arange(1, 11) ** -0.3)
    turned, flipped = x @ rotation(10, 1), x * np.where(np.arange(10) % 2, -1, 1)
    for same in (turned, flipped, -x):
        legacy = ot.legacy_per_layer_pca(x, same, 10)
        assert ot.identity_cost(*legacy) > 0.5
        assert ot.gromov_wasserstein(x[:60], same[:60], 0).value < 1e-5
    noisy = x + 0.05 * gaussian(300, 10, 2)
    shared = ot.identity_cost(*map(ot.unit_norm, ot.shared_pca([x, noisy], 10)))
    assert shared < 0.1 * ot.identity_cost(*ot.legacy_per_layer_pca(x, noisy, 10))
    for z in ot.legacy_per_layer_pca(x, noisy, 4):
        np.testing.assert_allclose(np.linalg.norm(z, axis=1), 1)
    with pytest.raises(ot.TransportError, match="k = 11"):
        ot.legacy_per_layer_pca(x, noisy, 11)


def test_bases_of_one_cloud():
    x = np.arange(6, dtype=np.float32).reshape(3, 2)
    assert ot.raw(x).dtype == np.float64
    np.testing.assert_array_equal(ot.raw(x), x)
    np.testing.assert_allclose(ot.unit_norm(x + 1), ot.unit_norm(5 * (x + 1)))
    with pytest.raises(ot.TransportError, match="1 of 3 rows are zero"):
        ot.unit_norm(np.array([[0.0, 0], [1, 0], [0, 1]]))


BAD = [
    (np.full((4, 2), np.nan), "4 of 4 rows hold NaN"),
    (np.array([[np.inf, 0], [0, 1.0]]), "1 of 2 rows hold NaN"),
    (np.ones(4), r"shape \(4,\)"),
    (np.ones((1, 4)), "at least 2 rows"),
]


@pytest.mark.parametrize("function", [*DISTANCES.values(), ot.mean_distances])
@pytest.mark.parametrize(("bad", "message"), BAD)
def test_bad_clouds_are_refused(function, bad, message):
    with pytest.raises(ot.TransportError, match=message):
        function(bad, bad)


@pytest.mark.parametrize("name", [name for name in DISTANCES if name != "gromov"])
def test_unlike_shapes_are_refused(name):
    with pytest.raises(ot.TransportError, match=r"\(5, 2\) and \(5, 3\)"):
        DISTANCES[name](np.ones((5, 2)), np.ones((5, 3)))


def test_one_epsilon_for_many_pairs_is_the_median_of_those_between_neighbours():
    clouds = [gaussian(30, 4, seed, scale) for seed, scale in enumerate((1.0, 2.0, 5.0, 1.0))]
    medians = [np.median(ot._costs(x, y)) for x, y in zip(clouds, clouds[1:], strict=False)]
    assert ot.common_epsilon(clouds, 0.1) == pytest.approx(0.1 * np.median(medians))


def test_terms_at_the_own_epsilon_of_a_pair_are_its_divergence():
    x, y = moved()
    epsilon = ot.common_epsilon([x, y], 0.1)
    terms = [ot.entropic_transport(a, b, epsilon) for a, b in ((x, y), (x, x), (y, y))]
    assert ot.debiased_entropic(*terms).value == pytest.approx(oracles.sinkhorn_divergence(x, y, 0.1).value)
    failed = terms[1]._replace(reason="did not converge")
    assert ot.debiased_entropic(terms[0], failed, terms[2]).reason == "did not converge"


def test_the_prior_formula_by_hand_and_what_it_says_of_clouds_that_did_not_move():
    x = gaussian(200, 16, scale=np.arange(16, 0, -1.0))
    first, second = ot.legacy_per_layer_pca(x, 2 * x + 1, 8)
    costs = np.square(first[:, None] - second[None]).sum(axis=-1)
    kernel, v = np.exp(-costs / 0.1), np.ones(200)
    for _ in range(1000):
        u = 1 / (200 * (kernel @ v))
        v = 1 / (200 * (kernel.T @ u))
    assert ot.legacy_transport(x, 2 * x + 1, 8) == pytest.approx((u[:, None] * kernel * v * costs).sum(), rel=1e-3)
    assert ot.legacy_transport(x, x, 8) > 0.02
    # nearly equal variances: the axes of a PCA come in no fixed order, so that 5% noise turns them
    even = gaussian(200, 16)
    noisy, unrelated = even + 0.05 * gaussian(200, 16, 1), gaussian(200, 16, 2)
    assert ot.legacy_transport(even, noisy, 8) > 0.5 * ot.legacy_transport(even, unrelated, 8)
    assert ot.exact_w2(even, noisy).value < 0.1 * ot.exact_w2(even, unrelated).value


@pytest.mark.parametrize("factor", [0.01, 100.0])
def test_a_common_epsilon_has_squared_units_and_ignores_a_common_translation(factor):
    clouds = [gaussian(30, 4, seed) + seed for seed in range(4)]
    epsilon = ot.common_epsilon(clouds, 0.1)
    assert ot.common_epsilon([factor * x + 3 for x in clouds], 0.1) == pytest.approx(factor**2 * epsilon)
    assert ot.common_epsilon(clouds, 0.3) == pytest.approx(3 * epsilon)


def test_one_layer_far_away_does_not_set_the_epsilon_of_all_pairs():
    clouds = [gaussian(30, 4, seed) for seed in range(7)]
    far = [*clouds[:6], 1000 * clouds[6]]
    assert ot.common_epsilon(far, 0.1) == pytest.approx(ot.common_epsilon(clouds, 0.1), rel=0.2)


def test_an_epsilon_that_cannot_be_is_refused():
    x = gaussian(10, 3)
    with pytest.raises(ot.TransportError, match="regularisation 0: expected above 0, as a share of the median cost"):
        ot.common_epsilon([x, x], 0)
    with pytest.raises(ot.TransportError, match=r"\(10, 3\) and \(9, 3\)"):
        ot.common_epsilon([x, x[:9]], 0.1)


def test_clouds_of_one_place_have_no_epsilon_and_say_why():
    epsilon = ot.common_epsilon([np.ones((10, 3))] * 3, 0.1)
    found = ot.entropic_transport(gaussian(10, 3), gaussian(10, 3, 1), epsilon)
    assert np.isnan(found.value) and found.plan is None and "median cost is 0" in found.reason


@pytest.mark.parametrize("epsilon", [0.5, 5.0])
def test_an_entropic_cost_at_a_given_epsilon_is_that_of_plain_iterations(epsilon):
    """<P, C> + ε KL(P | 1/n²) of the scaling iterations in the log domain."""
    x, y = moved(30, 3)
    costs = np.square(x[:, None] - y[None]).sum(axis=-1)
    f, g = np.zeros(30), np.zeros(30)
    for _ in range(5000):
        f = -epsilon * (logsumexp((g - costs) / epsilon, axis=1) - np.log(30))
        g = -epsilon * (logsumexp((f[:, None] - costs) / epsilon, axis=0) - np.log(30))
    plan = np.exp((f[:, None] + g - costs) / epsilon) / 30**2
    expected = (plan * costs).sum() + epsilon * (plan * np.log(plan * 30**2)).sum()
    found = ot.entropic_transport(x, y, epsilon)
    assert found.value == pytest.approx(expected, rel=1e-3)
    np.testing.assert_allclose(found.plan, plan, atol=1e-4)


def test_the_prior_formula_is_as_large_for_a_rotation_as_for_an_unrelated_cloud():
    """A rotated cloud has the same scores but for their signs; a translation or a factor changes nothing at all."""
    scale = np.arange(16, 0, -1.0)
    x = gaussian(200, 16, scale=scale)
    rotated = [ot.legacy_transport(x, x @ rotation(16, seed), 8) for seed in range(5)]
    unrelated = [ot.legacy_transport(x, gaussian(200, 16, 20 + seed, scale), 8) for seed in range(5)]
    itself = ot.legacy_transport(x, x, 8)
    assert np.mean(rotated) == pytest.approx(np.mean(unrelated), rel=0.15)
    assert 0.02 < itself < 0.1 * min(rotated)
    assert ot.legacy_transport(x, 3 * x + 100, 8) == pytest.approx(itself, rel=1e-6)


def test_the_prior_formula_takes_no_more_components_than_there_are():
    x = gaussian(12, 5)
    with pytest.raises(ot.TransportError, match=r"k = 6 components of a cloud of shape \(12, 5\): expected at most 5"):
        ot.legacy_transport(x, x, 6)
