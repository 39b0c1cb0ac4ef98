"""Every reason not to trust a posterior, one by one, and runs that must not look clean."""

from types import SimpleNamespace

import numpy as np
import pytest

from tests.core.analytic import AnalyticSession, cash, cut_gaussian, parameter, silent_parameter
from tests.core.test_analytic import NO_NETWORK, solve
from xsixsa.correction.evidence import half_sample_shift, mass_not_covered
from xsixsa.diagnostics.edges import edge_warnings
from xsixsa.verdict import judge

GOOD = {
    "ess": 10_500.0,
    "ess_wanted": 10_000,
    "pareto_k": 0.2,
    "log_evidence": -66.87,
    "log_evidence_err": 0.01,
    "log_evidence_pooled": -66.875,
    "log_evidence_pooled_err": 0.01,
    "half_sample_shift": 1.0,
    "missed_mass": 0.001,
    "largest_weight": 0.001,
    "budget_spent": False,
    "clock_ran_out": False,
    "interrupted": False,
    "max_evaluations": 40_000,
    "max_seconds": None,
    "failed_share": 0.0,
    "goodness": 0.5,
}


def test_a_good_run_is_converged():
    verdict = judge(GOOD, [])
    assert verdict.converged and verdict.text == "converged" and not verdict.reasons


@pytest.mark.parametrize(
    ("number", "value", "said"),
    [
        ("ess", 9_000.0, "effective sample size 9000 of the 10000"),
        ("ess", np.nan, "effective sample size"),
        ("pareto_k", 0.7, "Pareto k 0.70 is not below 0.7: a few draws carry the tail; use preset='thorough'"),
        ("pareto_k", np.nan, "Pareto k"),
        ("largest_weight", 0.06, "a single draw carries 6 % of the weight"),
        ("log_evidence_err", 0.2, "error of log-evidence"),
        ("log_evidence_pooled", -66.95, "differ by more than 3 sigma"),
        ("half_sample_shift", 4.5, "two halves of the final draws disagree by 4.5 sigma"),
        ("half_sample_shift", np.inf, "two halves"),
        ("missed_mass", 0.05, "5.0 % of the posterior lies where the final proposal hardly draws"),
        ("failed_share", 0.1, "10 % of the final draws have no valid statistic"),
        ("budget_spent", True, "40000 evaluations allowed ran out; raise max_evaluations or narrow the prior"),
        ("interrupted", True, "interrupted"),
    ],
)
def test_each_reason_alone_is_enough(number, value, said):
    verdict = judge(GOOD | {number: value}, ["a warning"])
    assert not verdict.converged and verdict.text == "not converged"
    assert len(verdict.reasons) == 1 and said in verdict.reasons[0]
    assert verdict.warnings == ("a warning",)


def test_poor_fit_is_said_with_advice():
    verdict = judge(GOOD | {"goodness": 7.0}, [])
    assert verdict.text == "converged, poor fit" and "change the model" in verdict.warnings[0]
    assert judge(GOOD, [], ["empty background bins"]).text == "not trustworthy"


def test_half_sample_shift_of_stable_and_of_drifting_weights():
    rng = np.random.default_rng(1)
    stable = rng.normal(0, 0.3, 4000)
    assert half_sample_shift(stable) < 3.5
    assert half_sample_shift(np.r_[stable[:2000], stable[2000:] + 0.2]) > 5
    assert half_sample_shift(np.zeros(4000)) == np.inf  # without any scatter nothing was tested


def test_mass_where_the_final_proposal_hardly_draws():
    log_w = np.zeros(1000)
    ratio = np.zeros(1000)
    assert mass_not_covered(log_w, ratio, 0.0) == 0
    ratio[:200] = np.log(31.0)
    assert mass_not_covered(log_w, ratio, 0.0) == pytest.approx(0.2)
    assert mass_not_covered(np.full(3, -np.inf), np.zeros(3), 0.0) == 1


def test_edges_and_silence():
    rng = np.random.default_rng(2)
    prior = SimpleNamespace(names=["a", "b", "c", "d"], distributions=["uniform:0:1"] * 4)
    cube = np.stack(
        [
            np.abs(rng.normal(0, 0.02, 5000)),
            1 - np.abs(rng.normal(0, 0.02, 5000)),
            rng.random(5000),
            rng.normal(0.5, 0.05, 5000),
        ],
        axis=1,
    )
    found = edge_warnings(prior, cube, np.full(5000, 1 / 5000))
    assert [w.split(":")[0] for w in found] == ["a", "b", "c"]
    assert "lower edge" in found[0] and "read its upper limit" in found[0]
    assert "upper edge" in found[1] and "read its lower limit" in found[1]
    assert "next to nothing" in found[2]


def line_that_cannot_bend(observed):
    """A constant model for counts that are not constant: whatever the parameter, a poor fit."""
    session = AnalyticSession(
        [parameter("c.norm", 1.0, 1e4, is_norm=True)],
        lambda t: np.repeat(t, len(observed), axis=1),
        lambda t: cash(np.repeat(t, len(observed), axis=1), observed),
        observed,
    )
    return session


def test_a_model_that_cannot_fit_is_a_poor_fit():
    observed = np.where(np.arange(40) % 2, 50.0, 150.0)
    result = solve(line_that_cannot_bend(observed), NO_NETWORK)
    assert "poor fit" in result.verdict.text or not result.verdict.converged
    assert any("poor fit" in w and "change the model" in w for w in result.verdict.warnings)
    assert result.summary().startswith("verdict: CONVERGED, POOR FIT")


def test_a_prior_that_does_not_hold_the_observation_never_looks_clean():
    session = line_that_cannot_bend(np.full(40, 5e4))
    result = solve(session, NO_NETWORK)
    assert result.verdict.text != "converged"
    said = " ".join([*result.verdict.reasons, *result.verdict.warnings])
    assert "poor fit" in said and "upper edge" in said


def test_runs_warn_of_edges_and_of_silence():
    cut = solve(cut_gaussian()[0], NO_NETWORK)
    assert any(w.startswith("x0") and "lower edge" in w for w in cut.verdict.warnings)
    silent = solve(silent_parameter()[0], NO_NETWORK)
    assert any(w.startswith("x2") and "next to nothing" in w for w in silent.verdict.warnings)
