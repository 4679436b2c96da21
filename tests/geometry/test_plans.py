"""Diagnostics of plans known by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.geometry.plans import PlanError, diagnose, equal_tokens
from stages.geometry.transport import exact_w2
from tests.support.transport_oracles import entropic_plan


@given(n=st.integers(2, 40), seed=st.integers(0, 1000))
def test_a_permutation(n, seed):
    order = np.random.default_rng(seed).permutation(n)
    found = diagnose(np.eye(n)[order] / n)
    assert found == pytest.approx((1 / n, 1, (order == np.arange(n)).mean(), 1, 0), abs=1e-12)


@given(n=st.integers(2, 40))
def test_the_product_coupling(n):
    assert diagnose(np.full((n, n), 1 / n**2)) == pytest.approx((1, 1 / n, 1 / n, 0, 1), abs=1e-12)


def test_rows_that_share_partners():
    """Token 0 stays; 1 and 2 are spread over both; 3 keeps .75 of itself."""
    plan = np.array([[4.0, 0, 0, 0, 0], [0, 2, 2, 0, 0], [0, 2, 2, 0, 0], [0, 0, 0, 3, 1], [0, 0, 0, 1, 3]]) / 20
    found = diagnose(plan)
    assert found.density == 9 / 25
    assert found.concentration == pytest.approx((1 + 0.5 + 0.5 + 0.75 + 0.75) / 5)
    assert found.identity_share == pytest.approx(14 / 20)
    assert found.one_to_one == 1 / 5
    masses = plan[plan > 0]
    assert found.entropy == pytest.approx(-(masses * np.log(masses)).sum() / np.log(5) - 1)


def test_order_is_seen_by_the_identity_share_alone():
    plan = exact_w2(*np.random.default_rng(0).standard_normal((2, 30, 2))).plan * 0.6 + 0.4 / 900
    turned = plan[:, plan.argmax(axis=1)]
    assert diagnose(plan)._replace(identity_share=0) == pytest.approx(diagnose(turned)._replace(identity_share=0))
    assert diagnose(plan).identity_share != pytest.approx(diagnose(turned).identity_share)


def test_rounding_is_no_partner():
    plan = np.eye(10) / 10 + 1e-14
    assert diagnose(plan).one_to_one == 1 and diagnose(plan).density == 0.1


def test_permutations_that_know_nothing_share_one_in_n():
    generator = np.random.default_rng(0)
    shares = [diagnose(np.eye(25)[generator.permutation(25)] / 25).identity_share for _ in range(1000)]
    assert np.mean(shares) == pytest.approx(1 / 25, abs=4 * np.std(shares) / np.sqrt(1000))


def test_tokens_are_equal_where_they_coincide_on_either_side():
    x, y = np.arange(12.0).reshape(6, 2), np.arange(12.0)[::-1].reshape(6, 2) + 1
    x[1] = x[0] * (1 + 1e-7)  # float32 rounds as much
    y[4] = y[3]
    expected = np.eye(6, dtype=bool)
    expected[[0, 1, 3, 4], [1, 0, 4, 3]] = True
    np.testing.assert_array_equal(equal_tokens(x, y), expected)
    np.testing.assert_array_equal(equal_tokens(100 * x, 100 * y), expected)


def test_plans_of_clouds():
    pytest.importorskip("ot")
    x = np.random.default_rng(1).standard_normal((50, 20))
    near = x + 0.1 * np.random.default_rng(2).standard_normal((50, 20))
    far = np.random.default_rng(3).standard_normal((50, 20))
    assert diagnose(exact_w2(x, near).plan) == pytest.approx((1 / 50, 1, 1, 1, 0), abs=1e-9)
    exact = diagnose(exact_w2(x, far).plan)
    assert exact == pytest.approx((1 / 50, 1, exact.identity_share, 1, 0), abs=1e-9)
    assert exact.identity_share < 0.2
    spread = [diagnose(entropic_plan(x, near, share).plan) for share in (0.02, 0.2, 20)]
    assert spread[0].entropy < spread[1].entropy < spread[2].entropy
    assert spread[2].entropy == pytest.approx(1, abs=0.01) and spread[2].identity_share == pytest.approx(0.02, abs=0.01)


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        (np.ones((2, 3)) / 6, r"shape \(2, 3\)"),
        (np.array([[0.75, -0.25], [-0.25, 0.75]]), "2 entries of the plan are negative"),
        (np.array([[np.nan, 0.5], [0.5, 0]]), "1 entries of the plan are negative or NaN"),
        (np.eye(4), "rows of the plan misplace 3.0e"),
        (np.array([[0.5, 0], [0.5, 0]]), "columns of the plan misplace 1.0e"),
    ],
)
def test_other_matrices_are_refused(plan, message):
    with pytest.raises(PlanError, match=message):
        diagnose(plan)


@given(n=st.integers(2, 30), seed=st.integers(0, 1000))
def test_distinct_tokens_are_equal_to_themselves_alone(n, seed):
    generator = np.random.default_rng(seed)
    x, y = generator.standard_normal((n, 3)), generator.standard_normal((n, 3))
    np.testing.assert_array_equal(equal_tokens(x, y), np.eye(n, dtype=bool))


def test_equal_tokens_against_all_pairs_and_in_either_order():
    generator = np.random.default_rng(0)
    x, y = generator.integers(0, 2, (40, 3)).astype(float) + 1, generator.integers(0, 3, (40, 4)).astype(float) + 1
    found = equal_tokens(x, y)
    expected = [[(x[i] == x[j]).all() or (y[i] == y[j]).all() for j in range(40)] for i in range(40)]
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(found, found.T)
    np.testing.assert_array_equal(equal_tokens(y, x), found)


def test_tokens_of_float32_that_differ_in_the_last_digits_are_one_and_those_of_one_per_cent_are_two():
    x = np.random.default_rng(0).standard_normal((20, 256)).astype(np.float32)
    rounded = np.concatenate([x, np.nextafter(x, np.float32(np.inf))])
    twins = np.eye(40, dtype=bool) | np.eye(40, k=20, dtype=bool) | np.eye(40, k=-20, dtype=bool)
    distinct = np.random.default_rng(1).standard_normal((40, 256))
    np.testing.assert_array_equal(equal_tokens(rounded, distinct), twins)
    near = np.concatenate([x, 1.01 * x])
    np.testing.assert_array_equal(equal_tokens(near, distinct), np.eye(40, dtype=bool))
