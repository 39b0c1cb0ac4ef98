"""The divergence that agreement with other codes is measured by."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import integrate, stats

from xsixsa.diagnostics.compare import (
    AGREEMENT,
    DRAWS,
    compare,
    divergences,
    equal_weight,
    half_divergences,
    jensen_shannon,
)
from xsixsa.errors import UsageError


def exact(p, q, low=0.0, high=1.0):
    """Divergence of two densities by adaptive quadrature, from the definition."""

    def part(x, a, b):
        return 0.0 if a(x) <= 0 else a(x) * np.log(2 * a(x) / (a(x) + b(x)))

    return 0.5 * sum(integrate.quad(part, low, high, args=pair, limit=200)[0] for pair in ((p, q), (q, p)))


def gaussians(n, shift=0.0, stretch=1.0, width=0.05, seed=0):
    rng = np.random.default_rng(seed)
    a, b = rng.normal(0.5, width, n), rng.normal(0.5 + shift * width, stretch * width, n)
    return np.clip(a, 0, 1), np.clip(b, 0, 1)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("width", [0.1, 1e-4])
def test_two_samples_of_one_distribution_agree(seed, width):
    assert jensen_shannon(*gaussians(DRAWS, width=width, seed=seed)) < AGREEMENT / 2


@pytest.mark.parametrize(("shift", "stretch"), [(0.5, 1.0), (1.0, 1.0), (3.0, 1.0), (0.0, 1.5), (1.0, 2.0)])
@pytest.mark.parametrize("width", [0.05, 1e-4])
def test_gaussians_against_numerical_integration(shift, stretch, width):
    p = stats.norm(0.5, width).pdf
    q = stats.norm(0.5 + shift * width, stretch * width).pdf
    truth = exact(p, q, 0.5 - 12 * width, 0.5 + 15 * width)
    # the kernel smooths a few per cent away; the rest is the floor of two finite samples
    got = jensen_shannon(*gaussians(20_000, shift, stretch, width))
    assert got == pytest.approx(truth, rel=0.05, abs=4e-4)


def test_disjoint_samples_reach_the_largest_value():
    a, b = np.linspace(0.1, 0.2, 1000), np.linspace(0.8, 0.9, 1000)
    assert jensen_shannon(a, b) == pytest.approx(np.log(2), rel=1e-3)


@pytest.mark.parametrize("seed", range(3))
def test_a_shift_of_a_third_of_a_sigma_is_seen(seed):
    a, b = gaussians(DRAWS, shift=0.3, seed=seed)
    assert jensen_shannon(a, b) > 3 * AGREEMENT
    assert not compare(["x"], a[:, None], b[:, None], np.random.default_rng(0)).agrees


@pytest.mark.parametrize("a", [1.0, 0.5])
def test_posteriors_piled_at_an_edge_are_not_penalised(a):
    rng = np.random.default_rng(3)
    x, y = rng.beta(a, 8, (2, DRAWS))
    for one, two in ((x, y), (1 - x, 1 - y)):
        assert jensen_shannon(one, two) < AGREEMENT


def test_a_uniform_posterior_is_flat_up_to_the_edges():
    rng = np.random.default_rng(4)
    assert jensen_shannon(rng.random(DRAWS), rng.random(DRAWS)) < AGREEMENT
    truth = exact(stats.uniform(0, 1).pdf, stats.uniform(0, 0.5).pdf)
    assert jensen_shannon(rng.random(DRAWS), 0.5 * rng.random(DRAWS)) == pytest.approx(truth, rel=0.1)


@settings(deadline=None, max_examples=25)
@given(shift=st.floats(0, 3), width=st.floats(1e-6, 0.3), seed=st.integers(0, 2**32 - 1))
@example(shift=0.0, width=1e-6, seed=0)
def test_symmetric_bounded_and_the_same_mirrored(shift, width, seed):
    a, b = gaussians(400, shift, width=width, seed=seed)
    value = jensen_shannon(a, b)
    assert 0 <= value <= np.log(2) + 1e-12
    assert jensen_shannon(b, a) == pytest.approx(value, rel=1e-9, abs=1e-12)
    assert jensen_shannon(1 - a, 1 - b) == pytest.approx(value, rel=1e-3, abs=1e-7)


def test_the_floor_is_that_of_disjoint_halves():
    rng = np.random.default_rng(5)
    u = rng.beta(5, 9, (DRAWS, 2))
    floor = half_divergences(u, rng)
    assert floor.shape == (2,)
    assert (floor < AGREEMENT).all()
    # weighted: a few heavy points must raise the floor, since no half may borrow the other's
    weights = np.ones(DRAWS)
    weights[:30] = 1000.0
    assert (half_divergences(u, rng, weights) > 5 * floor).all()


def test_weighted_halves_have_the_floor_of_unweighted_ones():
    rng = np.random.default_rng(6)
    u = rng.random((60_000, 1))
    weights = stats.beta(8, 8).pdf(u[:, 0])
    floor = half_divergences(u, rng, weights)
    assert floor[0] < AGREEMENT / 2


def test_equal_weight_draws_follow_the_weights():
    rng = np.random.default_rng(7)
    weights = rng.exponential(size=500)
    weights[17] = 0.0
    rows = equal_weight(weights, 10_000, rng)
    expected = 10_000 * weights / weights.sum()
    got = np.bincount(rows, minlength=500)
    assert (np.abs(got - expected) <= 1).all()
    assert got[17] == 0
    assert not (np.diff(rows) >= 0).all()


def test_one_parameter_off_is_the_one_that_is_named():
    rng = np.random.default_rng(8)
    a, b = rng.normal(0.5, 0.05, (2, DRAWS, 3))
    b[:, 1] += 0.02
    result = compare(["nH", "kT", "norm"], a, b, rng, to_theta=lambda u: 2 * u)
    assert [m.agrees for m in result.marginals] == [True, False, True]
    assert not result.agrees
    assert result.largest == result.marginals[1].divergence
    assert result.marginals[1].mean == pytest.approx(1.0, abs=0.01)
    assert result.marginals[1].reference_mean == pytest.approx(1.04, abs=0.01)
    lines = str(result).splitlines()
    assert ["DIFFERS" in line for line in lines] == [False, False, True, False]
    np.testing.assert_allclose([m.divergence for m in result.marginals], divergences(a, b))


@pytest.mark.parametrize(
    ("bad", "word"),
    [
        (np.full(1000, 0.3), "spread"),
        (np.linspace(0, 1.1, 1000), "unit interval"),
        (np.linspace(0, 1, 50), "at least"),
        (np.append(np.linspace(0, 1, 1000), np.nan), "unit interval"),
        (np.zeros((1000, 2)), "one parameter"),
    ],
)
def test_what_cannot_be_compared_is_refused(bad, word):
    with pytest.raises(UsageError, match=word):
        jensen_shannon(np.linspace(0, 1, 1000), bad)


def test_samples_of_different_problems_are_refused():
    rng = np.random.default_rng(9)
    with pytest.raises(UsageError, match="same parameters"):
        divergences(rng.random((500, 2)), rng.random((500, 3)))
    with pytest.raises(UsageError, match="names"):
        compare(["a"], rng.random((500, 2)), rng.random((500, 2)), rng)
    with pytest.raises(UsageError, match="weights"):
        equal_weight(np.array([0.0, 0.0]), 10, rng)
