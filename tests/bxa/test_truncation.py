"""Truncated priors of problems with known evidence: nothing that matters is lost, and what was cut by mistake shows."""

import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from scipy.special import logsumexp

from tests.core.analytic import gaussian, parameter, two_modes
from xsixsa.bxa.files import BXARun
from xsixsa.bxa.make import truncate_session
from xsixsa.bxa.points import truncation_of_points
from xsixsa.bxa.region import Cell, Region
from xsixsa.bxa.truncation import KINDS, Truncation
from xsixsa.errors import OutputError, UsageError
from xsixsa.inference.proposals import log_standard_normal
from xsixsa.prior import Prior

COVARIANCE = np.array([[1.0, 0.9, 0.0], [0.9, 1.0, 0.3], [0.0, 0.3, 0.5]]) * 0.04


def truncated(session, seed=0, **more):
    return truncate_session(session, Prior.build(session, {}), np.random.default_rng(seed), **more)


def log_evidence(truncation, session, n=200_000, seed=1):
    """Evidence of the truncated prior by plain averaging, with its error."""
    theta = truncation.transform(np.random.default_rng(seed).random((n, len(truncation.names))))
    log_l = -0.5 * session._statistic(theta)
    value = logsumexp(log_l) - np.log(n)
    return value, np.sqrt((np.exp(logsumexp(2 * log_l) - np.log(n) - 2 * value) - 1) / n)


def run_of(truncation, theta, weights):
    weights = np.asarray(weights, float)
    nothing = np.zeros(len(theta))
    return BXARun(truncation.names, theta, weights / weights.sum(), nothing, -10.0, 0.1, 0, None, "here")


@pytest.mark.parametrize("kind", KINDS)
def test_evidence_of_the_whole_prior(kind):
    session, expected = gaussian(COVARIANCE, [1.0, -2.0, 0.5])
    t = truncated(session, kind=kind)
    assert t.n_evaluations < 10_000
    assert t.log_mass < -4
    value, error = log_evidence(t, session)
    assert value + t.log_mass == pytest.approx(expected, abs=4 * error + 1e-3)


def test_a_region_holds_less_than_a_box_where_parameters_are_correlated():
    session, _ = gaussian(COVARIANCE, [1.0, -2.0, 0.5])
    assert truncated(session).log_mass < truncated(session, kind="box").log_mass - 0.3


@pytest.mark.parametrize("share", [0.5, 0.1])
def test_two_modes_of_unequal_weight(share):
    session, expected = two_modes(separation=8.0, widths=(0.4, 0.2), share=share, d=3)
    t = truncated(session, seed=2)
    assert len(t.region.cells) == 2
    value, error = log_evidence(t, session, 400_000)
    assert value + t.log_mass == pytest.approx(expected, abs=4 * error + 1e-3)
    theta = t.transform(np.random.default_rng(3).random((200_000, 3)))
    w = np.exp(-0.5 * session._statistic(theta))
    assert w[theta[:, 0] > 0].sum() / w.sum() == pytest.approx(share, abs=0.02)
    assert t.check(run_of(t, theta, w)).passed


def test_posterior_at_the_edge_of_the_prior_is_not_cut_there():
    session, _ = gaussian(COVARIANCE, [9.95, -2.0, 0.5])
    t = truncated(session)
    theta = np.random.default_rng(5).multivariate_normal([9.95, -2.0, 0.5], COVARIANCE, 50_000)
    theta = theta[theta[:, 0] < 10]
    assert np.isnan(t.to_cube(theta)[:, 0]).mean() < 3e-3


@pytest.mark.parametrize("kind", KINDS)
def test_a_wrong_truncation_shows_and_is_widened(kind):
    session, expected = gaussian(COVARIANCE, [1.0, -2.0, 0.5])
    good = truncated(session, kind=kind)
    cells = []
    for cell in good.region.cells:
        low, high = cell.outer
        low[0] = 0.5 * (low[0] + high[0])  # half of the posterior is cut off
        cells.append(Cell.box(cell.rotation, low, high))
    wrong = Truncation(good.prior, Region(cells), kind)
    rng = np.random.default_rng(6)

    def posterior(t):
        theta = t.transform(rng.random((100_000, 3)))
        return run_of(t, theta, np.exp(-0.5 * session._statistic(theta)))

    check = wrong.check(posterior(wrong))
    assert not check.passed
    assert "FAILED" in str(check)
    assert len(check.exceeded) == 1
    assert wrong.log_mass + log_evidence(wrong, session)[0] < expected - 0.3
    better = wrong
    for _ in range(4):
        check = better.check(posterior(better))
        if check.passed:
            break
        better = better.widened(check)
    assert check.passed
    value, error = log_evidence(better, session)
    assert value + better.log_mass == pytest.approx(expected, abs=4 * error + 5e-3)


def test_evidence_adds_the_mass_and_reports_the_edges():
    session, _ = gaussian(COVARIANCE, [1.0, -2.0, 0.5])
    t = truncated(session)
    rng = np.random.default_rng(7)
    v = rng.random((20_000, 3))
    weights = np.exp(-0.5 * session._statistic(t.transform(v)))
    results = {"logz": -3.0, "logzerr": 0.2, "weighted_samples": {"upoints": v, "weights": weights}}
    evidence = t.evidence(results)
    assert evidence.log_evidence == pytest.approx(-3.0 + t.log_mass)
    beside = sum(e.mass for e in evidence.edges.edges)
    assert evidence.log_evidence_err == pytest.approx(np.hypot(0.2, t.lost + beside))
    assert evidence.edges.passed
    assert "whole prior" in str(evidence)


def test_bounds_hold_the_region_and_are_exact_for_a_box():
    session, _ = gaussian(COVARIANCE, [1.0, -2.0, 0.5])
    rng = np.random.default_rng(8)
    for kind in KINDS:
        t = truncated(session, kind=kind)
        low, high = np.array(list(t.bounds.values())).T
        theta = t.transform(rng.random((5_000, 3)))
        assert (theta >= low - 1e-9).all()
        assert (theta <= high + 1e-9).all()
    assert theta.min(axis=0) == pytest.approx(low, abs=0.02 * np.ptp(theta))
    widths = (high - low) / 20.0
    assert t.log_mass == pytest.approx(np.log(widths).sum(), abs=1e-6)


def test_the_whole_prior_is_kept_where_the_data_say_nothing():
    session, _ = gaussian(np.eye(2) * 1e4, [0.0, 0.0])
    t = truncated(session)
    assert t.log_mass == pytest.approx(0.0, abs=1e-6)
    assert "nothing of the prior was cut" in str(t.check(run_of(t, t.transform(np.full((9, 2), 0.5)), np.ones(9))))


def test_nautilus_takes_the_box(monkeypatch):
    session, _ = gaussian(COVARIANCE, [1.0, -2.0, 0.5])
    box = truncated(session, kind="box")
    added = {}

    class StandIn:
        def add_parameter(self, key, dist):
            assert hasattr(dist, "isf")
            added[key] = dist

    module = ModuleType("nautilus")
    module.Prior = StandIn
    monkeypatch.setitem(sys.modules, "nautilus", module)
    box.nautilus_prior()
    v = np.random.default_rng(9).random((50, 3))
    theta = np.column_stack([d.isf(1 - v[:, i]) for i, d in enumerate(added.values())])
    assert list(added) == box.names
    assert theta == pytest.approx(box.transform(v), abs=1e-9)
    with pytest.raises(UsageError, match="separable"):
        truncated(session).nautilus_prior()
    monkeypatch.setitem(sys.modules, "nautilus", None)
    with pytest.raises(UsageError, match="nautilus-sampler"):
        box.nautilus_prior()


def test_saved_and_loaded(tmp_path):
    session, _ = gaussian(COVARIANCE, [1.0, -2.0, 0.5])
    t = truncated(session)
    path = t.save(tmp_path / "truncation.json")
    v = np.random.default_rng(10).random((50, 3))
    whole = Truncation(t.prior, t.region, "box")
    assert np.array_equal(whole.loaded(path).transform(v), t.transform(v))
    assert whole.loaded(path).kind == "region"
    other = Prior([parameter(n, -5, 5) for n in t.names], [(-5, 5)] * 3)
    with pytest.raises(OutputError, match="another prior"):
        Truncation(other, t.region, "region").loaded(path)
    path.write_text(path.read_text().replace('"format": 2', '"format": 1'))
    with pytest.raises(OutputError, match="another version"):
        whole.loaded(path)
    path.write_text("{}")
    with pytest.raises(OutputError, match="not a truncation"):
        t.loaded(path)


@pytest.mark.parametrize(
    ("option", "value"), [("kind", "ball"), ("quantile", 0.0), ("quantile", 0.5), ("margin", -1.0)]
)
def test_options_out_of_range(option, value):
    prior = Prior([SimpleNamespace(name="a")], [(0, 1)])
    z = np.zeros((10, 1))
    with pytest.raises(UsageError, match=option):
        truncation_of_points(prior, z, log_standard_normal(z), np.full(10, 0.1), **{option: value})


def test_too_few_points():
    prior = Prior([SimpleNamespace(name="a")], [(0, 1)])
    z = np.zeros((5, 1))
    with pytest.raises(UsageError, match="too few"):
        truncation_of_points(prior, z, log_standard_normal(z), np.full(5, 0.2))


def test_transformations_need_a_session():
    session, _ = gaussian(COVARIANCE, [1.0, -2.0, 0.5])
    t = Truncation(Prior.build(session, {}), Region([Cell.box(np.eye(3), [-1] * 3, [1] * 3)]), "box")
    with pytest.raises(UsageError, match="attached"):
        _ = t.transformations


@pytest.mark.slow
def test_nested_sampling_on_two_modes():
    """UltraNest through the map itself: evidence of the whole prior, and the share of each mode."""
    ultranest = pytest.importorskip("ultranest", reason="pip install 'xsixsa[bxa]'")
    session, expected = two_modes(separation=8.0, widths=(0.4, 0.2), share=0.2, d=3)
    t = truncated(session, seed=2)
    state = np.random.get_state()  # noqa: NPY002 - UltraNest knows no other generator
    np.random.seed(5)  # noqa: NPY002
    try:
        sampler = ultranest.ReactiveNestedSampler(
            t.names, lambda theta: -0.5 * session._statistic(theta), transform=t.transform, vectorized=True
        )
        results = sampler.run(show_status=False, viz_callback=False, min_num_live_points=400)
    finally:
        np.random.set_state(state)  # noqa: NPY002
    evidence = t.evidence(results)
    assert evidence.edges.passed
    assert evidence.log_evidence == pytest.approx(expected, abs=3 * evidence.log_evidence_err)
    weighted = results["weighted_samples"]
    second = weighted["weights"][weighted["points"][:, 0] > 0].sum() / weighted["weights"].sum()
    assert second == pytest.approx(0.2, abs=0.06)


def test_what_is_lost_is_what_other_draws_would_say():
    """Few points do not reach the border, and say themselves that nothing lies beyond it."""
    rng = np.random.default_rng(9)
    prior = Prior.build(gaussian(np.eye(6), np.zeros(6))[0], {})
    z = 0.1 * rng.standard_normal((1_500, 6))
    density, weights = -0.5 * (z**2).sum(axis=1) / 0.01, np.full(len(z), 1 / len(z))
    t = truncation_of_points(prior, z, density, weights, quantile=0.02, margin=0.0, rng=1)
    beyond = (~t.region.contains(0.1 * rng.standard_normal((100_000, 6)))).mean()
    assert t.lost > beyond > t.outside(z, weights)
