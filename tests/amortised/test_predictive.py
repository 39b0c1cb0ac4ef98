"""Goodness by simulation: right models, wrong ones, and real refits beside the network's minimum."""

from types import SimpleNamespace

import numpy as np
import pytest
from scipy.optimize import minimize

from tests.amortised.exact import PowerLaw
from xsixsa.amortised.predictive import simulated_goodness
from xsixsa.amortised.ranks import uniform_p
from xsixsa.errors import UsageError
from xsixsa.session.statistics import cstat


@pytest.fixture(autouse=True)
def any_session(monkeypatch):
    """The stand-ins have no files that a session could be compared with."""
    monkeypatch.setattr("xsixsa.amortised.predictive.check_session", lambda layout, session: [])


@pytest.fixture(scope="module")
def net():
    return PowerLaw(n_training=300)


def posterior(net, counts, seed=0):
    """A result's sample for this spectrum."""
    rng = np.random.default_rng(seed)
    z = net.sample(counts[None], 2_000, rng)[0]
    expected = net.expected(net.prior.from_normal(z))
    log_w = -0.5 * cstat(counts, expected) - 0.5 * (z**2).sum(axis=1) - net.log_prob(z[None], counts[None])[0]
    weights = np.exp(log_w - log_w.max())
    rows = np.random.default_rng(seed).choice(len(z), 2_000, p=weights / weights.sum())
    theta = net.prior.from_normal(z[rows])
    row = {"counts": counts, "edges": net.layout.observation.edges, "exposure": 1.0}
    return SimpleNamespace(observations=[row], sample=lambda n, rng: theta[rng.choice(len(theta), n)])


def spectrum(net, theta, seed, line=0.0):
    expected = net.expected(np.array([theta]))[0]
    expected[40:43] += line * expected.sum()
    return np.random.default_rng(seed).poisson(expected).astype(float)


def test_right_model(net):
    counts = spectrum(net, (1.5, 100.0), 1)
    found = simulated_goodness(net, posterior(net, counts), net.session, n=300, seed=2, workers=1)
    assert 0.02 < found.fraction_below < 0.98
    assert found.p == pytest.approx(1 - found.fraction_below, abs=0.01)
    # 60 bins, two parameters, many counts in most bins
    assert np.median(found.simulated) == pytest.approx(58, abs=4)
    assert "simulated spectra have a statistic below" in str(found)
    assert found.evaluations == 300 + 301 * 65


@pytest.mark.slow
def test_fraction_is_uniform_for_right_models(net):
    fractions = []
    for seed in range(40):
        truth = net.prior.sample(1, np.random.default_rng(seed))[0]
        counts = spectrum(net, truth, 100 + seed)
        result = posterior(net, counts, seed)
        fractions.append(simulated_goodness(net, result, net.session, n=60, seed=seed, workers=1).fraction_below)
    assert uniform_p(np.array(fractions)) > 1e-3


def test_line_that_the_model_lacks(net):
    counts = spectrum(net, (1.5, 100.0), 1, line=0.1)
    found = simulated_goodness(net, posterior(net, counts), net.session, n=200, seed=2, workers=1)
    assert found.fraction_below == 1.0 and found.p == pytest.approx(1 / 201)


def test_minimum_is_that_of_a_refit(net):
    counts = spectrum(net, (1.2, 60.0), 3)
    found = simulated_goodness(net, posterior(net, counts), net.session, n=30, seed=4, workers=1)

    def refit(x, start):
        value = lambda z: float(cstat(x, net.expected(net.prior.from_normal(z[None])))[0])  # noqa: E731
        options = {"xatol": 1e-5, "fatol": 1e-6, "maxiter": 4_000}
        return minimize(value, start, method="Nelder-Mead", options=options, bounds=[(-6, 6)] * 2).fun

    refits = np.array([refit(x, z) for x, z in zip(found.counts, found.best, strict=True)])
    above = found.simulated - refits
    assert above.min() > -1e-4, "nothing lies below the minimum"
    assert above.mean() < 0.01 and above.max() < 0.1
    assert found.statistic == pytest.approx(refit(counts, np.zeros(2)), abs=0.01)


def test_network_that_misses_the_observation(net):
    """Its draws are far off for this spectrum, the posterior's are not: the observation keeps its own best value."""
    counts = spectrum(net, (1.5, 100.0), 1)
    good = simulated_goodness(net, posterior(net, counts), net.session, n=40, seed=2, workers=1)
    lost = PowerLaw(n_training=300)
    sample = lost.sample
    lost.sample = lambda x, n, rng, exposure=None: sample(x, n, rng) + 3.0 * (x == counts).all(axis=1)[:, None, None]
    found = simulated_goodness(lost, posterior(net, counts), lost.session, n=40, seed=2, workers=1)
    assert found.statistic == pytest.approx(good.statistic, abs=0.3)


def test_same_seed_same_numbers(net):
    counts = spectrum(net, (1.5, 100.0), 1)
    result = posterior(net, counts)
    a, b = (simulated_goodness(net, result, net.session, n=20, seed=5, workers=1) for _ in range(2))
    np.testing.assert_array_equal(a.simulated, b.simulated)


def test_wrong_use(net):
    result = posterior(net, spectrum(net, (1.5, 100.0), 1))
    with pytest.raises(UsageError, match="n must be"):
        simulated_goodness(net, result, net.session, n=3)
    with pytest.raises(UsageError, match="at least 12 for 2 parameters"):
        simulated_goodness(net, result, net.session, draws=8)
    result.observations *= 2
    with pytest.raises(UsageError, match="one spectrum"):
        simulated_goodness(net, result, net.session)
