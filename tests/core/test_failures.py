"""What a run says when it must fail: never a clean summary, and always what to change."""

import numpy as np
import pytest

from tests.core.analytic import poisson_gamma, poisson_gamma_log_evidence
from xsixsa.inference.flow import FlowOptions
from xsixsa.options import Options
from xsixsa.pipeline import run
from xsixsa.prior import LogUniform, Prior

SMALL = FlowOptions(transforms=2, hidden=24, epochs=10, batch=128)
COUNTS = [8, 60, 300, 120]


def fit(session, prior=None, **more):
    options = Options(**{"posterior": SMALL, "refit": SMALL, "summary": "pca", "rounds": 1, **more})
    return run(session, prior or Prior.build(session), options, 4, 1, None, False)


def looks_bad(result):
    """The verdict's word for it is what a user sees first, and last."""
    return "NOT CONVERGED" in repr(result) or "POOR FIT" in repr(result)


@pytest.mark.parametrize(
    "correction",
    [
        {"correction": "sir", "oversampling": 4, "ess": 1000},
        {"max_evaluations": 1500, "ess": 1000, "min_draws": 500},
    ],
)
def test_network_trained_on_too_little(correction):
    result = fit(poisson_gamma(COUNTS), simulations=30, **correction)
    assert not result.verdict.converged and looks_bad(result)
    assert any("learnt from 60 simulations only; raise simulations" in r for r in result.verdict.reasons)
    assert any("effective sample size" in r for r in result.verdict.reasons)
    assert "raise simulations" in result.summary()


def test_network_trained_on_too_little_is_corrected_where_evaluations_allow():
    """The correction does not rest on the network: it converges to the closed form all the same, or says that not."""
    result = fit(poisson_gamma(COUNTS), simulations=30, ess=1000, min_draws=1500, refit=FlowOptions(batch=1024))
    assert result.verdict.converged
    assert abs(result.log_evidence - poisson_gamma_log_evidence(COUNTS)) < 4 * result.log_evidence_err


@pytest.mark.parametrize(
    ("low", "high", "word", "statistic"),
    [
        (1.0, 10.0, "so many counts", "cstat"),
        (1e3, 1e4, "so few counts", "cstat"),
        (1.0, 10.0, "so many counts", "wstat"),  # whose quality of fit is not known
    ],
)
def test_prior_that_does_not_cover_the_observation(low, high, word, statistic):
    session = poisson_gamma(COUNTS)
    session.statistic = statistic
    prior = Prior(session.parameters, [LogUniform(low, high)] * len(COUNTS))
    result = fit(session, prior, simulations=400, ess=500, min_draws=500)
    assert looks_bad(result)
    said = " ".join(result.verdict.warnings)
    assert "the prior does not cover the observation" in said and word in said
    assert "centre=True" in said
    if statistic == "cstat":
        assert "widen the prior before reading the parameters" in said
    assert result.history["rounds"][0]["counts_rank"] in (0.0, 1.0)


def test_prior_that_covers_is_not_accused():
    result = fit(poisson_gamma(COUNTS), simulations=400, ess=500, min_draws=1000, refit=FlowOptions(batch=1024))
    assert result.verdict.text == "converged"
    assert not any("cover" in w for w in result.verdict.warnings)


def test_seconds_that_are_too_few_leave_no_clean_summary():
    result = fit(poisson_gamma(COUNTS), simulations=400, max_seconds=1e-3)
    assert not result.verdict.converged and looks_bad(result)
    assert any("0.001 seconds allowed ran out; raise max_seconds" in r for r in result.verdict.reasons)
    assert np.isfinite(result.theta).all()
