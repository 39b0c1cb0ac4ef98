"""Rounds: which proposals they make, what ends them, what they record, and what a budget does."""

import time
from types import SimpleNamespace

import numpy as np
import pytest

from tests.core.analytic import gaussian, poisson_gamma, poisson_gamma_log_evidence
from xsixsa.correction.pool import Pool
from xsixsa.errors import UsageError
from xsixsa.inference.clock import deadline
from xsixsa.inference.flow import FlowOptions, NeuralPosterior
from xsixsa.inference.problem import BudgetSpent, Problem
from xsixsa.inference.proposals import PriorProposal
from xsixsa.inference.rounds import Rounds
from xsixsa.options import CRITERIA, PROPOSALS, Options
from xsixsa.pipeline import run
from xsixsa.prior import LogUniform, Prior
from xsixsa.session import Evaluation
from xsixsa.simulate import Simulator
from xsixsa.summaries.autoencoder import AutoEncoder

SMALL = FlowOptions(transforms=2, hidden=32, epochs=30, batch=128, learning_rate=5e-3)
COUNTS = [5, 40, 200]


def rounds_of(session, options, seed=1):
    prior, simulator = Prior.build(session), Simulator(session.observations)
    with session.pool() as pool:
        problem = Problem(prior, pool.evaluate, options.max_evaluations, max_seconds=options.max_seconds)
        made = Rounds(problem, simulator, options, Pool(prior.dim))
        made.run(np.random.default_rng(seed))
    return made


def options(**more):
    return Options(**{"simulations": 600, "rounds": 2, "posterior": SMALL, "summary": "pca", **more})


@pytest.mark.parametrize("proposal", [*PROPOSALS, ("truncated", "restricted"), ("truncated", "posterior")])
def test_each_proposal_brings_the_rounds_closer(proposal):
    made = rounds_of(poisson_gamma(COUNTS), options(proposal=proposal))
    first, second = made.history
    assert first["proposal"] == "prior" and first["counts_rank"] > 0
    assert second["efficiency"] > 2 * first["efficiency"]
    assert made.posterior is not None and second["posterior"]
    # the neural posterior sits where the counts are
    theta = made.problem.prior.from_normal(made.posterior.sample(4000, np.random.default_rng(2)))
    assert np.abs(np.log(np.median(theta, axis=0) / np.array(COUNTS))).max() < 1.0
    trained_first = bool(first["posterior"])
    assert trained_first == (proposal != "restricted")


def test_weights_of_the_loss_undo_what_the_posterior_proposal_did():
    made = rounds_of(poisson_gamma(COUNTS), options(proposal="posterior"))
    z, _, weights = made._training_set(made.pool.proposals[-1])
    assert weights.mean() == pytest.approx(1)
    # Unweighted draws crowd around the posterior; weighted ones are wider, towards the prior.
    centre = z[-600:].mean(axis=0)
    spread = ((z - centre) ** 2).sum(axis=1)
    assert np.average(spread, weights=weights) > 1.1 * spread.mean()
    assert weights.sum() ** 2 / (weights**2).sum() > 0.24 * len(z)
    truncated = rounds_of(poisson_gamma(COUNTS), options())
    assert truncated._training_set(truncated.pool.proposals[-1])[2] is None


CASES = {
    "effective size": {"until": "ess", "ess": 20, "rounds": 6},
    "efficiency": {"until": "efficiency", "rounds": 4},
    "volume": {"until": "volume", "rounds": 6, "proposal": "restricted", "restrict": (50, 500)},
    "": {"until": CRITERIA, "rounds": 5},
}


@pytest.mark.parametrize("word", list(CASES))
def test_rounds_end_when_the_criterion_is_met(word, monkeypatch):
    # with as few simulations as here the pool still grows by more than a tenth in the eighth round
    monkeypatch.setattr("xsixsa.inference.rounds._EFFICIENCY_GAIN", 5.0)
    made = rounds_of(poisson_gamma([40, 200]), options(**CASES[word]))
    assert 1 <= len(made.history) < CASES[word]["rounds"]
    assert word in made.history[-1]["stopped"]
    assert made.history[-1]["posterior"] and made.posterior is not None
    assert all("stopped" not in row for row in made.history[:-1])


def test_rounds_without_a_criterion_are_as_many_as_asked_for():
    fixed = rounds_of(poisson_gamma([40, 200]), options(rounds=3))
    assert len(fixed.history) == 3 and "stopped" not in fixed.history[-1]
    volumes = [row["log_prior_volume"] for row in fixed.history]
    assert volumes[0] == 0 and volumes[2] < volumes[1] < 0


def test_efficiency_is_compared_with_that_of_the_round_before():
    made = rounds_of(poisson_gamma(COUNTS), options(rounds=0, until=("ess", "efficiency"), ess=500))
    for growth, met in (
        ([0.01], ""),
        ([0.01, 0.02], ""),
        ([0.01, 0.0105], "efficiency"),
        ([0.01, 0.5], "effective size"),
    ):
        made._growth = growth
        assert met in made._criterion_met() and bool(met) == bool(made._criterion_met())


def test_history_holds_coverage_and_small_histograms():
    made = rounds_of(poisson_gamma(COUNTS), options(rounds=2, summary="autoencoder"))
    for row in made.history:
        assert len(row["coverage"]) == len(row["latent_histograms"]) > 0
        assert all(0 <= r <= 1 for r in row["coverage"])
        for histogram, rank in zip(row["latent_histograms"], row["coverage"], strict=True):
            edges, counts = np.array(histogram["edges"]), np.array(histogram["counts"])
            assert len(edges) == len(counts) + 1 and counts.sum() == row["simulations"]
            assert edges[0] <= histogram["observed"] <= edges[-1]
            below = counts[edges[1:] <= histogram["observed"]].sum() / counts.sum()
            assert below <= rank + 0.02 and rank <= below + counts.max() / counts.sum() + 0.02
        assert 0.02 < row["counts_rank"] < 0.98
        assert row["n_evaluations"] > 0 and 0 < row["efficiency"] <= 1
    import json

    assert len(json.dumps(made.history)) < 60_000
    assert not made.uncovered


def test_ranks_say_on_which_side_the_observation_lies():
    for counts, side in (([9000, 9000, 9000], 1.0), ([0, 0, 1], 0.0)):
        session = poisson_gamma(counts)
        made = rounds_of(session, options(rounds=1))
        assert abs(made.history[0]["counts_rank"] - side) < 0.1
    # beyond everything that the prior predicts
    session = poisson_gamma([50_000, 20, 20])
    made = rounds_of(session, options(rounds=1))
    assert made.history[0]["counts_rank"] == 1.0
    assert "does not cover" in made.uncovered and "so many counts" in made.uncovered


def test_ensemble_and_warm_start_reach_the_rounds():
    made = rounds_of(poisson_gamma([40, 200]), options(ensemble=2, warm_start=True, simulations=300))
    assert len(made.posterior.parts) == 2
    assert made.history[1]["posterior"][0]["network"] == 0
    # The first truncation changes more than a network remembers; after the second it starts where it was.
    cold, warm = (
        rounds_of(poisson_gamma([40, 200]), options(warm_start=w, rounds=3, summary="autoencoder"))
        for w in (False, True)
    )
    assert warm.history[0]["posterior"] == cold.history[0]["posterior"]
    assert warm.history[2]["posterior"][0]["validation"] < cold.history[2]["posterior"][0]["validation"] - 0.2


@pytest.mark.parametrize("proposal", [*PROPOSALS, PROPOSALS])
def test_whole_run_is_exact_with_every_proposal(proposal):
    counts = [12, 60]
    settings = options(proposal=proposal, ess=1500, min_draws=1500, until="efficiency", rounds=3)
    result = run(*job(poisson_gamma(counts), settings), 3, 1, None, False)
    assert result.verdict.converged, str(result.verdict)
    exact = poisson_gamma_log_evidence(counts)
    assert abs(result.log_evidence - exact) < 4 * result.log_evidence_err
    mean = result.weights @ result.theta
    assert (np.abs(mean - counts) < 5 * np.sqrt(np.array(counts) / 1500)).all()
    assert result.options["proposal"] == proposal


def job(session, settings):
    return session, Prior.build(session), settings


def slow(session, seconds):
    """The same session with an engine that takes its time."""
    statistic = session._statistic

    def wait(theta):
        time.sleep(seconds * len(theta))
        return statistic(theta)

    session._statistic = wait
    return session


def test_a_run_stops_when_its_seconds_are_over_and_says_so():
    session = slow(poisson_gamma(COUNTS), 1e-3)
    # 1 200 evaluations of the first round alone take longer than this
    result = run(*job(session, options(max_seconds=0.8)), 1, 1, None, False)
    assert 256 <= result.n_evaluations < 1200 + 401
    assert not result.verdict.converged
    assert any("0.8 seconds allowed ran out" in r and "max_seconds" in r for r in result.verdict.reasons)
    assert not any("evaluations allowed ran out" in r for r in result.verdict.reasons)
    assert any("same seed" in w for w in result.verdict.warnings)
    assert np.isfinite(result.weights).all() and result.weights.sum() == pytest.approx(1)


def test_seconds_end_the_refinement_too():
    session = slow(gaussian(0.01 * np.eye(2), [1.0, -1.0])[0], 1e-3)
    settings = options(rounds=0, simulations=300, max_seconds=3.0, ess=100_000, exploration=0.0)
    result = run(*job(session, settings), 1, 1, None, False)
    # the rounds' 600 draws, and some of the mixtures that follow them
    assert len(result.history["refinement"]) > 0 and 600 < result.n_evaluations < 10_000
    assert any("3 seconds allowed ran out" in r for r in result.verdict.reasons)


def test_enough_seconds_change_nothing_but_the_warning():
    with_limit, without = (
        run(*job(poisson_gamma([30, 60]), options(ess=800, min_draws=800, max_seconds=limit)), 5, 1, None, False)
        for limit in (1000.0, None)
    )
    assert with_limit.verdict.converged
    assert any("same seed" in w for w in with_limit.verdict.warnings)
    assert not any("same seed" in w for w in without.verdict.warnings)


def test_evaluations_that_run_out_are_not_blamed_on_the_clock():
    settings = options(max_evaluations=2500, max_seconds=1000.0, ess=100_000)
    result = run(*job(poisson_gamma(COUNTS), settings), 1, 1, None, False)
    assert any("2500 evaluations allowed ran out" in r for r in result.verdict.reasons)
    assert not any("seconds allowed" in r for r in result.verdict.reasons)


def problem(seconds=None, delay=0.0, most=10_000):
    def evaluate(theta, progress):
        time.sleep(delay * len(theta))
        return Evaluation(theta, theta[:, 0], np.zeros(len(theta), np.uint8))

    return Problem(Prior([SimpleNamespace(name="a")], [LogUniform(1, 10)]), evaluate, most, max_seconds=seconds)


def test_problem_evaluates_in_parts_until_the_clock_says_stop():
    limited = problem(seconds=0.3, delay=1e-4)
    z = np.linspace(-2, 2, 50_000)[:, None]
    draws = limited.evaluate(z[:9000], keep_expected=True)
    assert 256 <= len(draws) < 9000 and len(draws.expected) == len(draws) == limited.n_evaluations
    np.testing.assert_array_equal(draws.z, z[: len(draws)])
    assert limited.remaining == 0
    with pytest.raises(BudgetSpent):
        limited.evaluate(z)
    with limited.overtime(10):
        assert len(limited.evaluate(z)) == 10
    assert limited.remaining == 0


def test_no_stage_begins_and_trainings_end_when_time_is_over():
    limited = problem(seconds=0.01)
    limited.evaluate(np.zeros((1, 1)))
    time.sleep(0.02)
    with pytest.raises(BudgetSpent), limited.stage("infer"):
        pytest.fail("a stage began after the deadline")
    with limited.overtime(1), limited.stage("predict"):
        assert limited.remaining == 1
    rng = np.random.default_rng(1)
    z = rng.standard_normal((400, 2))
    estimator, summary = NeuralPosterior(SMALL), AutoEncoder()
    with deadline(time.perf_counter()):
        estimator.fit(z, lambda epoch: z.astype(np.float32), rng)
        summary.fit(np.exp(z) * 100, rng)
    assert len(estimator.history) == 1 and len(summary.history) == 1
    estimator.fit(z, lambda epoch: z.astype(np.float32), rng)
    assert len(estimator.history) > 5


def test_time_spent_before_counts():
    charged = problem(seconds=10.0)
    charged.charge("centre", 500, 9.0)
    assert charged.n_evaluations == 500 and charged.seconds["centre"] == 9.0 and charged.remaining == 9500
    charged.charge("centre", 100, 2.0)
    # one block is always evaluated: without draws there is no result
    assert len(charged.evaluate(np.zeros((5000, 1)))) == 256
    assert charged.remaining == 0


@pytest.mark.parametrize(
    "wrong",
    [
        {"proposal": "guess"},
        {"proposal": ()},
        {"until": "tired"},
        {"restrict": 2.0},
        {"ensemble": 0},
        {"max_seconds": 0.0},
        {"max_seconds": -1.0},
    ],
)
def test_wrong_options_are_named(wrong):
    with pytest.raises(UsageError, match=next(iter(wrong))):
        Options(**wrong)


def test_default_rounds_begin_with_the_prior():
    made = rounds_of(poisson_gamma(COUNTS), options(rounds=0))
    assert made.posterior is None and isinstance(made.pool.proposals[0], PriorProposal)
    assert len(made.history) == 1 and len(made.pool) == 1200
