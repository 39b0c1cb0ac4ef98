"""The likelihood emulator: its error is true, its gate shuts, and what it chooses stays exact."""

import json

import numpy as np
import pytest
from scipy import stats
from scipy.special import logsumexp

import xsixsa
from tests.core.analytic import poisson_gamma, poisson_gamma_log_evidence
from tests.core.test_analytic import solve
from tests.core.test_analytic_suite import FAST
from xsixsa.correction.emulator import Emulator, EmulatorOptions, Screened
from xsixsa.errors import UsageError
from xsixsa.inference.proposals import MixtureProposal, PriorProposal, StudentMixture, log_standard_normal
from xsixsa.options import Options
from xsixsa.prior import Prior

SMALL = EmulatorOptions(hidden=(32, 32), epochs=25, batch=256, learning_rate=3e-3)
COUNTS = [20.0, 100.0]


def log_l(z):
    """Not a polynomial: a crescent with a wiggle."""
    bent = z[:, 1] - 0.3 * z[:, 0] ** 2
    return -0.5 * (z[:, 0] / 0.4) ** 2 - 0.5 * (bent / 0.2) ** 2 + 0.5 * np.sin(4 * z[:, 0])


def proposal():
    scale = np.array([[0.25, 0.0], [0.0, 0.1]])
    return MixtureProposal([StudentMixture(np.ones(1), np.zeros((1, 2)), scale[None]), PriorProposal(2)], [0.9, 0.1])


def trained(seed=1, n=6000, options=SMALL):
    rng = np.random.default_rng(seed)
    q = proposal()
    z = q.sample(n, rng)
    log_w = log_standard_normal(z) + log_l(z) - q.log_prob(z)
    return Emulator(options).fit(z, log_l(z), np.exp(log_w - logsumexp(log_w)), rng), q, rng


def test_stated_error_is_that_on_fresh_points():
    emulator, q, rng = trained()
    z = q.sample(40_000, rng)
    w = np.exp(log_standard_normal(z) + log_l(z) - q.log_prob(z))
    difference = emulator.log_likelihood(z) - log_l(z)
    true = np.sqrt(np.average((difference - np.average(difference, weights=w)) ** 2, weights=w))
    assert emulator.passes and 0.5 < emulator.error / true < 2
    assert emulator.held_out == pytest.approx(0.1 * 6000, rel=0.25)
    assert emulator.calls == 40_000
    assert emulator.history[-1]["validation"] < emulator.history[0]["validation"]


def test_gate_shuts_on_a_poor_emulator():
    assert not trained(options=EmulatorOptions(hidden=(2,), epochs=1, gate=0.01))[0].passes
    with pytest.raises(UsageError, match="needs 500"):
        trained(n=300)
    for wrong in ({"gate": 0.0}, {"held_out": 0.0}, {"dropped": 0.6}):
        with pytest.raises(UsageError):
            EmulatorOptions(**wrong)


def test_screened_proposal_is_exact():
    """Its density is normalised and is that of its draws; weights against it give the evidence of the proposal's."""
    emulator, q, rng = trained()
    screened = Screened(q, emulator, rng)
    z = q.sample(200_000, rng)
    ratio = np.exp(screened.log_prob(z) - q.log_prob(z))
    assert ratio.mean() == pytest.approx(1, abs=5 * ratio.std() / np.sqrt(len(z)) + 5 * screened.log_volume_err)
    truth = logsumexp(log_standard_normal(z) + log_l(z) - q.log_prob(z)) - np.log(len(z))
    drawn = screened.sample(20_000, rng)
    assert drawn.shape == (20_000, 2)
    w = np.exp(log_standard_normal(drawn) + log_l(drawn) - screened.log_prob(drawn) - truth)
    assert w.mean() == pytest.approx(1, abs=5 * w.std() / np.sqrt(len(w)) + 0.01)
    plain = np.exp(log_standard_normal(z) + log_l(z) - q.log_prob(z) - truth)
    efficiency, before = w.mean() ** 2 / (w**2).mean(), plain.mean() ** 2 / (plain**2).mean()
    assert efficiency > 0.75 > 0.6 > before
    # The share of draws in a disc agrees with the density's integral over it.
    near = (z**2).sum(axis=1) < 0.1
    assert ((drawn**2).sum(axis=1) < 0.1).mean() == pytest.approx((ratio * near).mean(), abs=0.02)


def test_a_wrong_emulator_costs_efficiency_and_nothing_else():
    emulator, q, rng = trained()
    right = emulator.log_likelihood
    emulator.log_likelihood = lambda z: right(z) + 4.0 * (z[:, 0] > 0.2)
    screened = Screened(q, emulator, rng)
    z = q.sample(200_000, rng)
    truth = logsumexp(log_standard_normal(z) + log_l(z) - q.log_prob(z)) - np.log(len(z))
    drawn = screened.sample(30_000, rng)
    w = np.exp(log_standard_normal(drawn) + log_l(drawn) - screened.log_prob(drawn) - truth)
    assert w.mean() == pytest.approx(1, abs=5 * w.std() / np.sqrt(len(w)) + 0.01)
    assert w.mean() ** 2 / (w**2).mean() < 0.6


def run(options, seed=1):
    return solve(poisson_gamma(COUNTS), options, seed)


def test_a_run_with_an_emulator(tmp_path):
    result = run(FAST.changed(ess=4000, emulator=SMALL))
    record = result.history["emulator"]
    assert record["used"] and record["error"] < record["gate"] == 0.1 and result.n_emulated > 60_000
    assert result.verdict.converged, result.verdict
    assert abs(result.log_evidence - poisson_gamma_log_evidence(COUNTS)) < 4 * result.log_evidence_err
    for i, s in enumerate(COUNTS):
        assert abs(result.weights @ result.theta[:, i] - s) < 5 * np.sqrt(s / result.ess)
    text = result.summary()
    assert f"{result.n_emulated} emulator calls" in text and f"error of log L {record['error']:.3f}" in text
    result.save(tmp_path / "r.h5")
    again = xsixsa.load(tmp_path / "r.h5")
    assert again.n_emulated == result.n_emulated and again.summary() == text
    assert json.loads(json.dumps(result.summary_dict(), default=float))["n_emulated"] == result.n_emulated


def test_a_refused_emulator_is_said():
    refused = EmulatorOptions(hidden=(2,), epochs=1, gate=1e-6)
    result = run(FAST.changed(emulator=refused))
    assert not result.history["emulator"]["used"] and result.verdict.converged
    assert any("emulator was not used" in w and "gate" in w for w in result.verdict.warnings)
    assert "emulator        not used" in result.summary()
    assert run(FAST).history.get("emulator") is None


def test_larger_samples_without_the_engine():
    result = run(FAST)
    session = poisson_gamma(COUNTS)
    sample = result.emulate(20_000, rng=1, prior=Prior.build(session), options=SMALL)
    assert sample.theta.shape == (20_000, 2) and "EMULATED" in repr(sample) and f"{sample.error:.3f}" in repr(sample)
    for i, s in enumerate(COUNTS):
        below = [(sample.theta[:, i] < stats.gamma(s).ppf(q)).mean() for q in (0.05, 0.5, 0.95)]
        np.testing.assert_allclose(below, (0.05, 0.5, 0.95), atol=0.02)
    with pytest.raises(UsageError, match="exceeds its gate"):
        result.emulate(100, options=EmulatorOptions(hidden=(2,), epochs=1, gate=1e-6))
    with pytest.raises(UsageError, match="prior"):
        _ = result.emulate(100, options=SMALL).theta
    poor = run(FAST.changed(max_evaluations=2500))
    with pytest.raises(UsageError, match="not converged"):
        poor.emulate(100)


def test_options_take_an_emulator():
    assert Options(emulator=SMALL).as_dict()["emulator"]["gate"] == 0.1
    assert Options().emulator is None
