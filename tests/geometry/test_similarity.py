"""Every similarity against a slow oracle, and at its two ends."""

import numpy as np
import pytest

from stages.geometry import similarity
from stages.geometry.similarity import cross_sums, debiased_cka, hsic, squared_distances


def naive_hsic(k, m):
    """Song et al. 2012, eq. 5, on n x n kernel matrices."""
    n = len(k)
    k, m, one = k - np.diag(np.diag(k)), m - np.diag(np.diag(m)), np.ones(n)
    return (
        np.trace(k @ m) + (one @ k @ one) * (one @ m @ one) / ((n - 1) * (n - 2)) - 2 / (n - 2) * (one @ k @ m @ one)
    ) / (n * (n - 3))


def naive_cka(x, y):
    k, m = x @ x.T, y @ y.T
    return naive_hsic(k, m) / np.sqrt(naive_hsic(k, k) * naive_hsic(m, m))


@pytest.mark.parametrize("shape", [(40, 5, 7), (6, 30, 20), (4, 2, 2)])
def test_the_additive_form_is_the_naive_one(shape):
    n, d, e = shape
    generator = np.random.default_rng(0)
    x, y = generator.standard_normal((n, d)) + 1, generator.standard_normal((n, e))
    y[:, 0] += x[:, 0]
    assert hsic(cross_sums(x, y)) == pytest.approx(naive_hsic(x @ x.T, y @ y.T), rel=1e-9)
    if n > 4:
        assert debiased_cka(x, y) == pytest.approx(naive_cka(x, y), rel=1e-9)


def test_sums_of_disjoint_prompts_add_up():
    generator = np.random.default_rng(1)
    x, y = generator.standard_normal((2, 30, 4))
    joined = cross_sums(x[:12], y[:12]) + cross_sums(x[12:], y[12:])
    assert hsic(joined) == pytest.approx(hsic(cross_sums(x, y)), rel=1e-10)


def test_equal_geometry_scores_one_and_unrelated_noise_zero_even_where_the_plain_estimator_fails():
    generator = np.random.default_rng(2)
    x, y = generator.standard_normal((2, 100, 800))
    rotation = np.linalg.qr(generator.standard_normal((800, 800)))[0]
    assert debiased_cka(x, 3 * x @ rotation + 5) == pytest.approx(1)
    assert abs(debiased_cka(x, y)) < 0.02
    a, b = (z - z.mean(axis=0) for z in (x, y))
    plain = np.linalg.norm(a.T @ b) ** 2 / (np.linalg.norm(a.T @ a) * np.linalg.norm(b.T @ b))
    assert plain > 0.8


def test_too_few_prompts_are_an_error():
    with pytest.raises(ValueError, match="at least 4 prompts, found 3"):
        debiased_cka(np.ones((3, 2)), np.ones((3, 2)))


RANDOM = np.random.default_rng(7)
X = RANDOM.standard_normal((60, 8)) * np.arange(1, 9) ** -0.5
ROTATION = np.linalg.qr(RANDOM.standard_normal((8, 8)))[0]
NOISY = X @ ROTATION + 0.2 * RANDOM.standard_normal(X.shape)
UNRELATED = RANDOM.standard_normal((60, 8))


def pairwise(z):
    """Distances of all pairs, one by one."""
    return np.array([[np.linalg.norm(a - b) for b in z] for a in z])


def test_squared_distances_are_those_of_all_pairs():
    far = X + 1e6  # a common offset costs no digits
    np.testing.assert_allclose(similarity.squared_distances(far), pairwise(X) ** 2, rtol=1e-6, atol=1e-9)


def test_rbf_cka_is_unbiased_hsic_of_gaussian_kernels():
    def kernel(z):
        squares = pairwise(z) ** 2
        k = np.exp(-squares / (2 * np.median(squares[np.triu_indices(60, 1)])))
        return k - np.eye(60)

    def hsic(k, m):
        n, one = 60, np.ones(60)
        terms = (
            np.trace(k @ m) + one @ k @ one * (one @ m @ one) / ((n - 1) * (n - 2)) - 2 / (n - 2) * (one @ k @ m @ one)
        )
        return terms / (n * (n - 3))

    k, m = kernel(X), kernel(NOISY)
    assert similarity.rbf_cka(squared_distances(X), squared_distances(NOISY)) == pytest.approx(
        hsic(k, m) / np.sqrt(hsic(k, k) * hsic(m, m))
    )
    with pytest.raises(ValueError, match="half of the prompts coincide"):
        similarity.rbf_cka(np.zeros((60, 60)), squared_distances(X))


def test_procrustes_is_the_least_distance_over_rotations():
    from scipy.linalg import orthogonal_procrustes

    a, b = (z - z.mean(axis=0) for z in (X, NOISY))
    a, b = a / np.linalg.norm(a), b / np.linalg.norm(b)
    best = np.linalg.norm(a - b @ orthogonal_procrustes(b, a)[0]) ** 2
    assert similarity.procrustes_distance(X, NOISY) == pytest.approx(best)
    assert similarity.angular_shape_distance(X, NOISY) == pytest.approx(np.arccos(1 - best / 2))
    assert similarity.procrustes_distance(X, 3 * X @ ROTATION + 1) == pytest.approx(0, abs=1e-12)


def test_the_angular_distance_is_a_metric():
    d = similarity.angular_shape_distance
    assert d(X, UNRELATED) <= d(X, NOISY) + d(NOISY, UNRELATED)


def test_rsa_is_the_rank_correlation_of_distances():
    from scipy.stats import spearmanr

    pairs = np.triu_indices(60, 1)
    expected = spearmanr(pairwise(X)[pairs], pairwise(NOISY)[pairs]).statistic
    assert similarity.rsa(squared_distances(X), squared_distances(NOISY)) == pytest.approx(expected)


def test_mutual_neighbours_are_counted_one_by_one():
    near = [[set(np.argsort(row)[1:11]) for row in pairwise(z)] for z in (X, NOISY)]
    expected = np.mean([len(a & b) / 10 for a, b in zip(*near, strict=True)])
    assert similarity.mutual_neighbours(squared_distances(X), squared_distances(NOISY), 10) == pytest.approx(expected)
    assert similarity.mutual_neighbours(squared_distances(X), squared_distances(X @ ROTATION), 10) == 1
    assert similarity.mutual_neighbours(squared_distances(X), squared_distances(NOISY), 59) == 1


@pytest.mark.parametrize("width", [8, 100])  # narrower and wider than there are prompts
def test_svcca_is_the_canonical_correlation_of_leading_directions(width):
    x, y = (RANDOM.standard_normal((60, 3)) @ RANDOM.standard_normal((3, width)) for _ in range(2))
    x[:, 0] += y[:, 1]
    u, v = (np.linalg.svd(z - z.mean(axis=0), full_matrices=False) for z in (x, y))
    counts = [1 + int((np.cumsum(s**2) / (s**2).sum() < 0.99 - 1e-12).sum()) for s in (u[1], v[1])]
    expected = np.linalg.svd(u[0][:, : counts[0]].T @ v[0][:, : counts[1]], compute_uv=False).mean()
    assert similarity.svcca(x, y) == pytest.approx(expected)
    assert similarity.svcca(x, 2 * x + 1) == pytest.approx(1)


@pytest.mark.parametrize("width", [5, 80])
def test_linear_predictivity_finds_a_linear_map_and_nothing_in_noise(width):
    x = RANDOM.standard_normal((60, width))
    y = x[:, :3] @ RANDOM.standard_normal((3, 4)) + 2
    slow = 0.0
    for fold in range(5):
        test = np.arange(60) % 5 == fold
        a, b = x[~test] - x[~test].mean(0), y[~test] - y[~test].mean(0)
        penalty = 0.01 * np.trace(a.T @ a) / min(a.shape)
        weights = np.linalg.inv(a.T @ a + penalty * np.eye(width)) @ a.T @ b
        slow += ((y[test] - y[~test].mean(0) - (x[test] - x[~test].mean(0)) @ weights) ** 2).sum()
    spread = sum(((y[np.arange(60) % 5 == f] - y[np.arange(60) % 5 != f].mean(0)) ** 2).sum() for f in range(5))
    assert similarity.linear_predictivity(x, y) == pytest.approx(1 - slow / spread)
    if width == 5:
        assert similarity.linear_predictivity(x, y) > 0.99
    assert similarity.linear_predictivity(UNRELATED, x[:, :4]) < 0.1


@pytest.mark.parametrize("name", ["svcca", "linear_predictivity"])
def test_similarity_of_a_planted_relation_is_above_that_of_unrelated_clouds(name):
    function = getattr(similarity, name)
    assert function(X, NOISY) > function(X, UNRELATED) + 0.2


@pytest.mark.parametrize(("name", "arguments"), [("rbf_cka", ()), ("rsa", ()), ("mutual_neighbours", (10,))])
def test_similarity_of_distances_of_a_planted_relation_is_above_that_of_unrelated_clouds(name, arguments):
    function = getattr(similarity, name)
    x, noisy, unrelated = (squared_distances(z) for z in (X, NOISY, UNRELATED))
    assert function(x, noisy, *arguments) > function(x, unrelated, *arguments) + 0.2
