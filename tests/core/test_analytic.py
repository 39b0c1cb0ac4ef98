"""The whole main job against posteriors and evidences in closed form."""

import numpy as np
import pytest
from scipy import stats

from tests.core.analytic import gaussian, poisson_gamma, poisson_gamma_log_evidence, two_modes
from xsixsa.inference.flow import FlowOptions
from xsixsa.options import Options
from xsixsa.pipeline import run
from xsixsa.prior import Prior
from xsixsa.summaries.autoencoder import AutoEncoderOptions

SMALL = Options(
    ess=2_000,
    simulations=500,
    rounds=1,
    min_draws=1_500,
    max_evaluations=40_000,
    autoencoder=AutoEncoderOptions(epochs=10),
    posterior=FlowOptions(transforms=3, hidden=32, epochs=10),
    refit=FlowOptions(transforms=3, hidden=32, batch=1024, epochs=20, learning_rate=3e-3),
)
NO_NETWORK = SMALL.changed(rounds=0)


def solve(session, options=SMALL, seed=1):
    return run(session, Prior.build(session), options, seed, 1, None, False)


@pytest.mark.parametrize("seed", range(3))
def test_poisson_gamma(seed):
    counts = np.array([20.0, 100.0, 5.0])
    result = solve(poisson_gamma(counts), seed=seed)
    assert result.verdict.converged, result.verdict
    assert abs(result.log_evidence - poisson_gamma_log_evidence(counts)) < 4 * result.log_evidence_err
    for i, s in enumerate(counts):
        exact = stats.gamma(s)
        error = exact.std() / np.sqrt(result.ess)
        assert abs(result.weights @ result.theta[:, i] - exact.mean()) < 5 * error
        for q in (0.05, 0.5, 0.95):
            value = float(result.quantile(f"c{i}.norm", q))
            assert abs(exact.cdf(value) - q) < 5 * np.sqrt(q * (1 - q) / result.ess)


@pytest.mark.slow
def test_log_evidence_errors_are_true():
    counts = np.array([20.0, 100.0, 5.0])
    truth, z = poisson_gamma_log_evidence(counts), []
    for seed in range(30):
        result = solve(poisson_gamma(counts), NO_NETWORK, seed)
        z.append((result.log_evidence - truth) / result.log_evidence_err)
    assert 0.6 < np.std(z) < 1.5
    assert abs(np.mean(z)) < 4 / np.sqrt(30)


@pytest.mark.parametrize("d", [2, 5])
def test_correlated_gaussian(d):
    covariance = 0.04 * (0.3 * np.eye(d) + 0.7 * np.ones((d, d)))
    mean = np.linspace(-1, 2, d)
    session, log_evidence = gaussian(covariance, mean)
    result = solve(session)
    assert result.verdict.converged, result.verdict
    assert abs(result.log_evidence - log_evidence) < 4 * result.log_evidence_err
    got = np.cov(result.theta.T, aweights=result.weights)
    np.testing.assert_allclose(result.weights @ result.theta, mean, atol=5 * 0.2 / np.sqrt(result.ess))
    np.testing.assert_allclose(got, covariance, atol=0.04 * 8 / np.sqrt(result.ess))


def test_two_separated_modes_keep_their_weights():
    session, log_evidence = two_modes(share=0.3)
    result = solve(session)
    assert result.verdict.converged, result.verdict
    assert abs(result.log_evidence - log_evidence) < 4 * result.log_evidence_err
    assert result.weights[result.theta[:, 0] > 0].sum() == pytest.approx(0.3, abs=0.05)


def test_a_budget_too_small_says_so():
    session, _ = gaussian(0.01 * np.eye(4), np.zeros(4))
    result = solve(session, SMALL.changed(max_evaluations=2_600))
    assert not result.verdict.converged
    assert "ran out" in str(result.verdict)
    assert "NOT CONVERGED" in repr(result)
    assert result.n_evaluations <= 2_600


def test_same_seed_same_samples():
    a, b = (solve(poisson_gamma([20.0, 50.0]), seed=7) for _ in range(2))
    np.testing.assert_array_equal(a.theta, b.theta)
    np.testing.assert_array_equal(a.weights, b.weights)
    assert a.log_evidence == b.log_evidence
