"""Sampling importance resampling against a posterior in closed form."""

import numpy as np
import pytest
from scipy import stats

from tests.core.analytic import gaussian, poisson_gamma
from tests.core.test_analytic import SMALL, solve
from xsixsa.correction.sir import sir, systematic_rows
from xsixsa.errors import UsageError
from xsixsa.inference.flow import FlowOptions
from xsixsa.inference.problem import Problem
from xsixsa.inference.proposals import MixtureProposal, PriorProposal, StudentMixture
from xsixsa.options import Options
from xsixsa.prior import Prior

MEAN, COVARIANCE = np.array([1.0, -0.5]), np.array([[0.09, 0.05], [0.05, 0.06]])


class _CountingSession:
    """The Gaussian problem evaluated directly, as a session does."""

    def __init__(self):
        self.inner, self.log_evidence = gaussian(COVARIANCE, MEAN)
        self.prior = Prior.build(self.inner)
        self.evaluations = 0

    def evaluate(self, theta):
        self.evaluations += len(theta)
        with self.inner.pool() as pool:
            return pool.evaluate(theta)

    def proposal(self, factor):
        """A t of the posterior's place in z, `factor` times its covariance, with a share of the prior."""
        z = stats.norm.ppf(self.prior.cdf(np.random.default_rng(0).multivariate_normal(MEAN, COVARIANCE, 4000)))
        t = StudentMixture(np.ones(1), z.mean(axis=0)[None], factor * np.cov(z.T)[None])
        return MixtureProposal([t, PriorProposal(2)], [0.9, 0.1])


@pytest.mark.parametrize("grouped", [False, True])
def test_draws_are_the_posterior(grouped):
    session = _CountingSession()
    found = sir(session.proposal(3.0), session, 4000, np.random.default_rng(1), prior=session.prior, grouped=grouped)
    assert session.evaluations == found.n_evaluations == 4000 * 32
    theta = session.prior.from_normal(found.z)
    assert theta.shape == (4000, 2)
    for i in range(2):
        exact = stats.norm(MEAN[i], np.sqrt(COVARIANCE[i, i]))
        assert stats.kstest(theta[:, i], exact.cdf).pvalue > 1e-3
    np.testing.assert_allclose(np.cov(theta.T), COVARIANCE, rtol=0.12)
    assert abs(found.evidence.value - session.log_evidence) < 4 * found.evidence.error
    assert found.pareto_k < 0.5
    # The efficiency is far above one in 32: nothing needs to repeat, and grouped draws cannot.
    assert found.distinct == 4000 if grouped else found.distinct > 3900


def test_a_poor_proposal_leaves_its_error_in_groups_but_not_in_the_pool():
    session = _CountingSession()
    rng = np.random.default_rng(2)
    pooled = sir(PriorProposal(2), session, 2000, rng, prior=session.prior)
    grouped = sir(PriorProposal(2), session, 2000, rng, prior=session.prior, grouped=True)
    true = np.sqrt(COVARIANCE[0, 0])
    assert np.std(session.prior.from_normal(pooled.z)[:, 0]) == pytest.approx(true, rel=0.15)
    assert np.std(session.prior.from_normal(grouped.z)[:, 0]) > 2 * true
    assert pooled.distinct < 2000 and pooled.ess < 2000


def test_systematic_rows_follow_the_weights():
    rng = np.random.default_rng(3)
    weights = rng.exponential(size=50) * (np.arange(50) % 7 > 0)
    rows = systematic_rows(weights, 1000, rng)
    counts = np.bincount(rows, minlength=50)
    assert np.abs(counts - 1000 * weights / weights.sum()).max() < 1
    assert counts[weights == 0].sum() == 0
    assert (np.diff(rows) < 0).any()


def test_wrong_use_is_one_line():
    session = _CountingSession()
    rng = np.random.default_rng(4)
    with pytest.raises(UsageError, match="prior="):
        sir(PriorProposal(2), session, 10, rng)
    with pytest.raises(UsageError, match="oversampling"):
        sir(PriorProposal(2), session, 10, rng, prior=session.prior, oversampling=0)
    small = Problem(session.prior, lambda theta, progress: session.evaluate(theta), 100)
    with pytest.raises(UsageError, match="320 evaluations, 100 are left"):
        sir(PriorProposal(2), small, 10, rng)
    assert small.n_evaluations == 0
    far = StudentMixture(np.ones(1), np.full((1, 2), 30.0), np.eye(2)[None] * 1e-6)
    session.evaluate = lambda theta: type(
        "E", (), {"statistic": np.full(len(theta), np.nan), "reason": np.ones(len(theta), np.uint8), "expected": None}
    )()
    with pytest.raises(UsageError, match="none of the 320"):
        sir(far, session, 10, rng, prior=session.prior)
    with pytest.raises(UsageError, match="unknown correction"):
        Options(correction="resample")


def test_a_run_with_sir():
    network = FlowOptions(transforms=3, hidden=32, epochs=25)
    options = SMALL.changed(correction="sir", ess=500, rounds=2, simulations=1000, posterior=network)
    session, log_evidence = gaussian(COVARIANCE, MEAN)
    result = solve(session, options)
    assert [step["step"] for step in result.history["refinement"]] == ["candidates"]
    assert len(result.final_log_weights) == 500 * 32
    assert result.verdict.converged, result.verdict
    assert abs(result.log_evidence - log_evidence) < 4 * result.log_evidence_err
    np.testing.assert_allclose(np.cov(result.theta.T, aweights=result.weights), COVARIANCE, atol=0.02)


def test_a_run_with_sir_of_a_poor_network_says_so():
    result = solve(poisson_gamma([20.0, 100.0]), SMALL.changed(correction="sir", ess=5000, max_evaluations=5000))
    assert not result.verdict.converged and "ran out" in str(result.verdict)
