"""Maps of single coordinates for posteriors that an edge of the prior cuts off."""

import numpy as np
import pytest
from scipy import stats

from xsixsa.amortised.student import StudentT
from xsixsa.correction.unskew import Unskewed, Unskewing


def cut_off(n, rng, mean=0.01, sigma=0.05):
    """z of a parameter on (0, 1) whose posterior piles up at 0, and of one that the data measure well."""
    u = stats.truncnorm(-mean / sigma, (1 - mean) / sigma, mean, sigma).rvs(n, random_state=rng)
    return np.stack([stats.norm.ppf(u), rng.normal(0.3, 0.1, n)], axis=1)


def log_density(z, mean=0.01, sigma=0.05):
    u = stats.norm.cdf(z[:, 0])
    first = stats.truncnorm(-mean / sigma, (1 - mean) / sigma, mean, sigma).logpdf(u) + stats.norm.logpdf(z[:, 0])
    return first + stats.norm.logpdf(z[:, 1], 0.3, 0.1)


def even(z):
    return np.full(len(z), 1 / len(z))


def test_inverted_far_out_and_monotone():
    rng = np.random.default_rng(1)
    z = cut_off(5_000, rng)
    unskewing = Unskewing(z, even(z))
    far = np.concatenate([z, rng.uniform(-30, 30, (1_000, 2))])
    np.testing.assert_allclose(unskewing.inverse(unskewing.forward(far)), far, rtol=1e-9, atol=1e-9)
    h = 1e-6
    slope = (unskewing.forward(far + [h, 0])[:, 0] - unskewing.forward(far - [h, 0])[:, 0]) / (2 * h)
    np.testing.assert_allclose(np.log(slope), unskewing.log_det(far), atol=1e-4)


def test_a_symmetric_coordinate_stays_as_it_is():
    z = np.random.default_rng(2).standard_normal((4_000, 3))
    unskewing = Unskewing(z, even(z))
    assert not unskewing.any
    np.testing.assert_allclose(unskewing.forward(z), z, atol=1e-12)


def test_points_on_one_side_only():
    z = np.stack([np.zeros(50), np.linspace(0, 1, 50)], axis=1)
    assert np.isfinite(Unskewing(z, even(z)).forward(z)).all()


def efficiency(proposal, rng):
    draws = proposal.sample(20_000, rng)
    log_w = log_density(draws) - proposal.log_prob(draws)
    assert np.exp(log_w).mean() == pytest.approx(1.0, abs=0.03)  # a normalised density
    w = np.exp(log_w)
    return w.sum() ** 2 / (w @ w) / len(w)


def test_one_student_suits_a_posterior_that_an_edge_cuts():
    rng = np.random.default_rng(3)
    z = cut_off(2_000, rng)
    unskewing = Unskewing(z, even(z))
    plain = StudentT.around(z, even(z), 1.05, df=8.0)
    mapped = Unskewed(unskewing, StudentT.around(unskewing.forward(z), even(z), 1.05, df=8.0))
    assert efficiency(mapped, rng) > max(0.93, efficiency(plain, rng) + 0.04)
