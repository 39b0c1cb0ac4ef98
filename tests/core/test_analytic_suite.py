"""Posteriors in closed form, of every shape that trouble takes: moments, modes and evidence against their own errors.

Each case is run with a few seeds here, and with thirty among the slow tests, where the errors stated are judged by
their scatter.
"""

from dataclasses import dataclass, field

import numpy as np
import pytest
from scipy import stats

from tests.core.analytic import (
    banana,
    banana_moments,
    cut_gaussian,
    narrow_mode,
    poisson_gamma,
    poisson_gamma_log_evidence,
    silent_parameter,
    two_modes,
    whitened_gaussian,
)
from tests.core.test_analytic import NO_NETWORK, solve
from xsixsa.inference.flow import FlowOptions

FAST = NO_NETWORK.changed(
    ess=1_500,
    min_draws=1_000,
    refit=FlowOptions(transforms=2, hidden=24, batch=1024, epochs=12, learning_rate=5e-3),
)
SEEDS = 30


@dataclass
class Case:
    """A problem, its log-evidence, and functions of theta with their exact expectations."""

    session: object
    log_evidence: float
    expectations: dict
    options: object = FAST
    warnings: tuple = field(default=())


def moments(means, deviations):
    """Means and variances of every parameter as expectations."""
    found = {}
    for i, (mean, deviation) in enumerate(zip(means, deviations, strict=True)):
        found[f"mean {i}"] = (lambda t, i=i: t[:, i], mean)
        found[f"variance {i}"] = (lambda t, i=i, m=mean: (t[:, i] - m) ** 2, deviation**2)
    return found


def quantiles(marginals):
    """Mass below exact quantiles of every parameter."""
    found = {}
    for i, marginal in enumerate(marginals):
        for q in (0.05, 0.5, 0.95):
            limit = marginal.ppf(q)
            found[f"mass below {q} of {i}"] = (lambda t, i=i, limit=limit: t[:, i] < limit, q)
    return found


def gaussian_case(d):
    covariance = 0.04 * (0.3 * np.eye(d) + 0.7 * np.ones((d, d)))
    mean = np.linspace(-1, 2, d)
    session, log_evidence = whitened_gaussian(covariance, mean)
    product = (lambda t: (t[:, 0] - mean[0]) * (t[:, 1] - mean[1]), covariance[0, 1])
    return Case(session, log_evidence, moments(mean, np.full(d, 0.2)) | {"covariance": product})


def poisson_case():
    counts = np.array([20.0, 100.0, 5.0])
    exact = [stats.gamma(s) for s in counts]
    expectations = moments(counts, np.sqrt(counts)) | quantiles(exact)
    return Case(poisson_gamma(counts), poisson_gamma_log_evidence(counts), expectations)


def modes_case():
    session, log_evidence = two_modes(share=0.3)
    share = {"second mode": (lambda t: t[:, 0] > 0, 0.3)}
    return Case(session, log_evidence, share | moments([-1.2, 0.0], [np.sqrt(0.3**2 + 36 * 0.21), 0.3]))


def banana_case():
    session, log_evidence = banana()
    return Case(session, log_evidence, moments(*banana_moments()))


def cut_case():
    session, log_evidence, exact = cut_gaussian()
    expectations = moments([e.mean() for e in exact], [e.std() for e in exact]) | quantiles(exact)
    return Case(session, log_evidence, expectations, warnings=("x0: the posterior piles up at the lower edge",))


def silent_case():
    session, log_evidence = silent_parameter()
    exact = [stats.norm(1, 0.2), stats.norm(1, 0.2), stats.uniform(-10, 20)]
    expectations = moments([e.mean() for e in exact], [e.std() for e in exact]) | quantiles(exact)
    return Case(session, log_evidence, expectations, warnings=("x2: the data say next to nothing",))


CASES = {
    "gaussian in 2": lambda: gaussian_case(2),
    "gaussian in 5": lambda: gaussian_case(5),
    "gaussian in 10": lambda: gaussian_case(10),
    "poisson-gamma": poisson_case,
    "two modes": modes_case,
    "curved": banana_case,
    "cut by the prior": cut_case,
    "silent parameter": silent_case,
}


def pulls(case, result):
    """Differences from the exact numbers in units of the errors that the result states."""
    w, found = result.weights, {}
    for name, (function, exact) in case.expectations.items():
        value = np.asarray(function(result.theta), float)
        mean = w @ value
        found[name] = (mean - exact) / np.sqrt((w**2) @ (value - mean) ** 2)
    found["log-evidence"] = (result.log_evidence - case.log_evidence) / result.log_evidence_err
    return found


def solved(case, seed):
    result = solve(case.session, case.options, seed)
    assert result.verdict.converged, result.verdict
    for expected in case.warnings:
        assert any(w.startswith(expected) for w in result.verdict.warnings), (expected, result.verdict.warnings)
    assert len(result.verdict.warnings) == len(case.warnings)
    return result


@pytest.mark.parametrize("name", CASES)
def test_case(name):
    case = CASES[name]()
    far = {k: v for k, v in pulls(case, solved(case, 1)).items() if not abs(v) < 4.5}
    assert not far


def test_ends_that_mixtures_miss_are_followed():
    """With this seed mixtures are healthy each by itself and 30 000 evaluations together reach no effective size."""
    result = solved(CASES["curved"](), 5)
    assert "ridge" in [row["step"] for row in result.history["refinement"]]
    assert result.n_evaluations < 30_000


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_errors_over_seeds(name):
    """Errors are neither too small nor too large, and nothing is off on average."""
    case = CASES[name]()
    table = [pulls(case, solved(case, seed)) for seed in range(SEEDS)]
    z = {k: np.array([row[k] for row in table]) for k in table[0]}
    assert 0.6 < np.std(z["log-evidence"]) < 1.5
    off = {k: np.mean(v) for k, v in z.items() if not abs(np.mean(v)) < 4 / np.sqrt(SEEDS)}
    wide = {k: np.std(v) for k, v in z.items() if not np.std(v) < 1.5}
    assert not off and not wide, (off, wide)


# The basin of the narrow mode, where its likelihood is the larger one, holds about 1.2e-3 of the prior. A draw of the
# prior has to fall into it, whatever is done afterwards: about 5000 are made.
NARROW = NO_NETWORK.changed(simulations=2_000, exploration=0.4)


def narrow_is_found_or_missed_openly(seed, ratio):
    """Whether the narrow mode was found; never converged without it."""
    session, log_evidence = narrow_mode(ratio)
    result = solve(session, NARROW, seed)
    share = result.weights[result.theta[:, 0] > 0].sum()
    if not result.verdict.converged:
        return False
    assert share == pytest.approx(0.3, abs=0.07), (seed, share)
    assert abs(result.log_evidence - log_evidence) < 4.5 * result.log_evidence_err
    assert len(result.modes) == 2
    return True


def test_narrow_second_mode():
    assert narrow_is_found_or_missed_openly(1, 30.0)


def test_a_lone_draw_of_a_narrow_mode_is_followed():
    """With this seed no descent ends in it, and one draw in five thousand meets it: a weight of two per cent."""
    assert narrow_is_found_or_missed_openly(5, 50.0)


@pytest.mark.slow
@pytest.mark.parametrize("ratio", [20.0, 30.0])
def test_narrow_second_mode_over_seeds(ratio):
    found = [narrow_is_found_or_missed_openly(seed, ratio) for seed in range(24)]
    assert np.mean(found) > 0.8
