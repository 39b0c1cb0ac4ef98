"""A right posterior passes, a wrong one does not, and the correction repairs what can be repaired."""

import contextlib
import json

import numpy as np
import pytest

from tests.amortised.exact import ExactNetwork, ExposedNetwork, Half, PowerLaw
from xsixsa.amortised.calibrate import calibrate
from xsixsa.amortised.likelihood import CountStatistic
from xsixsa.amortised.ranks import density_rank, distance_rank, marginal_ranks, uniform_p
from xsixsa.amortised.training_prior import TrainingPrior
from xsixsa.errors import UsageError
from xsixsa.inference.proposals import PriorProposal


@pytest.fixture(autouse=True)
def any_session(monkeypatch):
    """The stand-ins have no files that a session could be compared with."""
    monkeypatch.setattr("xsixsa.amortised.calibrate.check_session", lambda layout, session: [])


def run(net, n=300, draws=300, seed=1, **options):
    return calibrate(net, n, net.session, draws=draws, seed=seed, workers=1, **options)


def test_exact_posterior_passes():
    found = run(ExactNetwork())
    assert found.network.passed and found.corrected.passed and found.passed
    # weights of an exact posterior are all the same
    np.testing.assert_allclose(found.ess, 300, rtol=1e-6)
    assert found.poor == 0
    for row in found.corrected.recovery():
        assert abs(row["slope_inverse"] - 1) < 4 * row["slope_inverse_error"] + 1e-3
        assert row["slope"] == pytest.approx(row["slope_expected"], abs=0.02)
        assert row["pull_std"] == pytest.approx(1, abs=0.15) and abs(row["pull_mean"]) < 0.2
    assert found.corrected.coverage(0.9)["c0.norm"] == pytest.approx(0.9, abs=0.06)


def test_false_alarms_are_as_rare_as_stated():
    """Verdicts over many small calibrations of the exact posterior: p of each test is itself uniform."""
    p = []
    for seed in range(60):
        check = run(ExactNetwork(1), n=60, draws=60, seed=seed, correct=False).network
        p.append([*check.p.values(), check.distance_p, check.density_p])
    for column in np.array(p).T:
        assert uniform_p(column) > 1e-3


@pytest.mark.parametrize(
    ("spoilt", "named"),
    [({"width": 0.75}, "highest-density"), ({"width": 1.4}, "highest-density"), ({"shift": 0.4}, "ranks of c0.norm")],
)
def test_spoilt_posterior_fails_and_is_repaired(spoilt, named):
    found = run(ExactNetwork(**spoilt), n=400)
    assert not found.network.passed
    assert any(named in reason for reason in found.network.failures)
    assert found.corrected.passed and found.passed


def test_network_alone_decides_without_correction():
    found = run(ExactNetwork(width=0.75), n=400, correct=False)
    assert found.corrected is None and not found.passed


def test_density_that_lies_is_found_out():
    found = run(ExactNetwork(width=0.7, lies=True), n=400)
    assert not found.corrected.passed and not found.passed


def test_restricted_training_distribution():
    """Truths and weights take the same restriction: the posterior of the whole prior is wrong, the corrected right."""
    faint = {"low": 8.0, "high": 40.0}
    net = ExactNetwork(region=Half(2), **faint)
    found = run(net, n=800)
    assert found.truth[:, 0].min() > np.sqrt(8 * 40)
    assert not found.network.passed, "a posterior that ignores the restriction"
    assert found.corrected.passed
    # a correction with another prior than the truths' must fail
    wrong = ExactNetwork(region=Half(2), **faint)
    wrong.proposal.log_prob = lambda z, expected, exposure: PriorProposal(2).log_prob(z)
    assert not run(wrong, n=800).corrected.passed


def test_range_of_counts():
    """Truths keep to the range; counts may leave it, and nothing is selected by them."""
    net = ExactNetwork(low=8.0, high=40.0)
    net.proposal = TrainingPrior(2, (1.0, 1.0), 1.0, counts=(40.0, 50.0))
    found = run(net, n=800)
    assert found.truth.sum(axis=1).min() >= 40 and found.truth.sum(axis=1).max() <= 50
    assert found.counts.min() < 40 and found.counts.max() > 50
    assert not found.network.passed and found.corrected.passed


def test_exposures_that_vary():
    found = run(ExposedNetwork())
    assert found.network.passed and found.corrected.passed
    np.testing.assert_allclose(found.ess, 300, rtol=1e-6)
    blind = run(ExposedNetwork(blind=True), draws=600)
    assert not blind.network.passed


def test_poor_corrections_are_counted_and_left_out():
    found = run(ExactNetwork(shift=3.0), n=100, draws=100, least_ess=30)
    assert found.poor > 50 and not found.passed
    assert any("effective size below 30" in reason for reason in found.failures)


def test_draws_that_are_not_finite_weigh_nothing():
    net = ExactNetwork()
    sample = net.sample

    def broken(counts, n, rng, exposure=None):
        z = sample(counts, n, rng)
        z[:, ::10] = np.nan
        return z

    net.sample = broken
    found = run(net)
    assert found.passed and np.all(found.ess <= 270 + 1e-6)


def test_model_that_fails_somewhere():
    net = ExactNetwork()
    pool = net.session.pool

    @contextlib.contextmanager
    def failing(workers=1):
        with pool() as inner:
            evaluate = inner.evaluate

            def some(theta, progress=None):
                found = evaluate(theta)
                found.reason[theta[:, 0] > 300] = 2
                return found

            inner.evaluate = some
            yield inner

    net.session.pool = failing
    found = run(net, n=100)
    assert found.failed > 0 and found.truth[:, 0].max() < 300


def test_cstat_at_the_median_is_as_expected():
    found = run(PowerLaw(), n=200, draws=200)
    good = found.corrected.goodness()
    assert abs(good["z_mean"]) < 0.3 and good["z_std"] == pytest.approx(1, abs=0.2)
    assert good["excess"] == pytest.approx(-2, abs=0.6)


def test_text_json_and_figure(tmp_path):
    found = run(ExactNetwork(width=0.75), n=200)
    text = found.summary()
    assert "calibration: PASSED" in text and "network alone: 200 spectra, NOT PASSED" in text
    assert "lg c0.norm" in text
    path = found.to_json(tmp_path / "c.json")
    content = json.loads(path.read_text())
    assert content["passed"] and not content["network"]["passed"]
    assert set(content["corrected"]["p"]) == {"c0.norm", "c1.norm"}
    found.plot(tmp_path / "c.png")
    assert (tmp_path / "c.png").stat().st_size > 20_000
    assert "NOT PASSED" in repr(run(ExactNetwork(width=0.75), n=400, correct=False))


def test_same_seed_same_numbers():
    a, b = run(ExactNetwork(), n=50), run(ExactNetwork(), n=50)
    np.testing.assert_array_equal(a.corrected.ranks, b.corrected.ranks)
    assert not np.array_equal(a.corrected.ranks, run(ExactNetwork(), n=50, seed=2).corrected.ranks)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [({"n": 5}, "n must be"), ({"draws": 10}, "draws must be"), ({"least_ess": 1e6}, "least_ess must lie")],
)
def test_wrong_numbers(wrong, said):
    with pytest.raises(UsageError, match=said):
        run(ExactNetwork(), **wrong)


def test_session_is_needed():
    with pytest.raises(UsageError, match="loaded session"):
        calibrate(ExactNetwork(), 100)


def test_ranks_and_coverage_are_those_of_sbi():
    """With equal weights: the same counts of draws below the truth, the same coverage curve."""
    import torch
    from sbi.diagnostics import run_sbc, run_tarp

    rng = np.random.default_rng(3)
    m, n, d = 200, 100, 2
    draws, truth, references = rng.normal(size=(m, n, d)), rng.normal(size=(m, d)), rng.normal(size=(m, d))

    class Given:
        """Stands for sbi's posterior: the draws are already there."""

        def sample_batched(self, shape, x, show_progress_bars):
            return torch.as_tensor(draws.transpose(1, 0, 2))

    tensors = torch.as_tensor(truth), torch.zeros(m, 1)
    ranks, _ = run_sbc(*tensors, Given(), num_posterior_samples=n, show_progress_bar=False)
    weights = np.full((m, n), 1 / n)
    ours = marginal_ranks(draws, truth, weights, rng)
    np.testing.assert_array_equal(np.floor(ours * (n + 1)), ranks.numpy())
    scaled = truth.std(axis=0)
    settings = {"num_posterior_samples": n, "show_progress_bar": False, "z_score_theta": False, "num_bins": 17}
    given = Given()
    given.sample_batched = lambda shape, x, show_progress_bars: torch.as_tensor((draws / scaled).transpose(1, 0, 2))
    ecp, alpha = run_tarp(
        torch.as_tensor(truth / scaled), tensors[1], given, torch.as_tensor(references / scaled), **settings
    )
    exact = np.floor(distance_rank(draws, truth, references, weights, rng) * (n + 1)) / n
    curve = [np.mean(exact < a) for a in alpha.numpy()[1:-1]]
    np.testing.assert_allclose(curve, ecp.numpy()[1:-1], atol=1e-6)


def test_weighted_ranks_are_uniform():
    """Draws of a wide proposal with their weights: as good as draws of the posterior."""
    rng = np.random.default_rng(4)
    m, n = 1_000, 400
    truth = rng.normal(size=(m, 1))
    wide = 1.5 * rng.standard_t(5, size=(m, n, 1))
    from scipy.stats import norm, t

    log_w = (norm.logpdf(wide) - t.logpdf(wide / 1.5, 5))[:, :, 0]
    weights = np.exp(log_w)
    weights /= weights.sum(axis=1, keepdims=True)
    assert uniform_p(marginal_ranks(wide, truth, weights, rng)[:, 0]) > 0.01
    assert uniform_p(marginal_ranks(wide, truth, np.full((m, n), 1 / n), rng)[:, 0]) < 1e-3
    log_density = norm.logpdf(wide)[:, :, 0]
    assert uniform_p(density_rank(log_density, norm.logpdf(truth)[:, 0], weights, rng)) > 0.01


def test_statistic_of_vectors_is_the_sessions(tmp_path):
    """With a background file, where the formula is the longest: on- and off-source counts in one vector."""
    from xsixsa import Session
    from xsixsa.demo import make_demo
    from xsixsa.embedded import xspec
    from xsixsa.simulate import Simulator

    made = make_demo(tmp_path, background=True, exposure=400.0, group=1)
    xspec.AllData.clear()
    xspec.AllModels.clear()
    try:
        with contextlib.chdir(tmp_path):
            xspec.AllData(f"1:1 {made.spectrum}")
            xspec.AllData.ignore("**-0.3 10.0-**")
            xspec.Fit.statMethod = "cstat"
            xspec.Model(made.model)
            session = Session(xspec)
        centre = np.array([made.truth[p.name] for p in session.parameters])
        theta = centre * np.linspace(0.8, 1.2, 7)[:, None]
        found = session.evaluate(theta)
        simulator = Simulator(session.observations)
        statistic = CountStatistic(session.observations)
        assert session.statistic == "wstat" and statistic.size == simulator.size
        np.testing.assert_allclose(statistic.rows(simulator.observed, found.expected), found.statistic, rtol=1e-6)
        vectors = np.repeat(simulator.observed[None], 7, axis=0)
        np.testing.assert_allclose(statistic.rows(vectors, found.expected), found.statistic, rtol=1e-6)
    finally:
        xspec.AllModels.clear()
        xspec.AllData.clear()


def test_statistic_without_simulation_is_refused():
    observation = ExactNetwork().session.observations[0]
    from dataclasses import replace

    with pytest.raises(UsageError, match="'chi'"):
        CountStatistic([replace(observation, statistic="chi")])
