"""Bent ellipsoids: the mass is exact, the map is the restricted prior, and strongly bent posteriors get one."""

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy.special import gammaln, ndtr
from scipy.stats import chi, kstest

from tests.core.analytic import from_residuals, parameter
from xsixsa.bxa.edges import check_edges
from xsixsa.bxa.make import truncate_session
from xsixsa.bxa.region import Cell, Region
from xsixsa.bxa.tube import Tube, _ball, _ball_inverse, tube_around
from xsixsa.prior import Prior


def outline(rng, d, across_the_prior, n=6_000):
    """Points of a bent solid; along the first coordinate it may reach both ends of the prior."""
    t = rng.uniform(-3.5, 3.5, n) if across_the_prior else rng.uniform(-0.4, 0.4, n)
    z = 0.15 * rng.standard_normal((n, d))
    z[:, 0] = t
    z[:, 1] += 0.4 * ndtr(t) - 0.6 * ndtr(t) ** 2
    z[:, 2] -= 0.3 * ndtr(t) ** 3
    return z


def made(d=4, across_the_prior=True):
    return tube_around(outline(np.random.default_rng(1), d, across_the_prior), 0.05)


SHAPES = [(3, True), (4, True), (4, False), (6, True)]


@pytest.mark.parametrize("shape", SHAPES)
def test_mass_is_that_of_the_prior_inside(shape):
    tube = made(*shape)
    assert tube.spine == ([0] if shape[1] else [])
    share = tube.contains(np.random.default_rng(3).standard_normal((400_000, shape[0]))).mean()
    assert tube.log_mass == pytest.approx(np.log(share), abs=4 / np.sqrt(share * 400_000))


@pytest.mark.parametrize("shape", SHAPES)
def test_map_and_inverse(shape):
    tube, d = made(*shape), shape[0]
    v = np.random.default_rng(4).random((2_000, d))
    z = tube.from_cube(v)
    assert tube.contains(z).all()
    assert tube.to_cube(z) == pytest.approx(v, abs=1e-7)
    assert np.isnan(tube.to_cube(z + 4)).all()
    again = Region.from_dict(json.loads(json.dumps(Region([tube]).as_dict()))).cells[0]
    assert isinstance(again, Tube) and again.log_mass == tube.log_mass
    np.testing.assert_array_equal(again.from_cube(v), z)


@pytest.mark.parametrize("shape", SHAPES[:3])
def test_uniform_points_become_the_restricted_prior(shape):
    rng, tube, d = np.random.default_rng(5), made(*shape), shape[0]
    mapped = tube.from_cube(rng.random((10_000, d)))
    prior = rng.standard_normal((2_000_000, d))
    rejected = prior[tube.contains(prior)]
    assert len(rejected) > 500
    for axis in range(d):
        assert kstest(mapped[:, axis], rejected[:, axis]).pvalue > 1e-3


def test_it_stays_within_the_prior_or_there_is_none():
    rng = np.random.default_rng(6)
    assert not made().leaves_the_prior.any()
    assert tube_around(rng.uniform(-5, 5, (3_000, 3)), 0.05) is None


def test_its_edges():
    tube, names = made(), ["a", "b", "c", "d"]
    assert [(axis, upper) for axis in range(4) for upper in (False, True) if tube.cut(axis, upper)] == [(1, True)]
    rng = np.random.default_rng(7)
    v = rng.random((5_000, 4))
    direction = rng.standard_normal((5_000, 3))
    v[:, 1:] = ndtr(4.0 * direction / np.linalg.norm(direction, axis=1)[:, None])  # chi(3) exceeds 4 in 1 of 900 draws
    assert tube.beyond(v, 1, True) == pytest.approx(np.full(5_000, chi.sf(4.0, 3)))
    check = check_edges(Region([tube]), v, np.ones(5_000), names)
    assert not check.passed and "of the bent ellipsoid in b, c, d" in str(check)
    z = tube.from_cube(v)
    wider = tube.moved(1, True, 0.2)
    assert wider.contains(z).all() and wider.log_mass == pytest.approx(tube.log_mass + 3 * np.log(1.2))
    # so wide that it would leave the prior: a box instead
    box = tube.moved(1, True, 40.0)
    assert isinstance(box, Cell) and box.contains(z).all()


def strongly_bent(d=5, width=0.15):
    """A degeneracy from one end of the prior to the other, along a cubic."""
    parameters = [parameter(f"x{i}", -5.0, 5.0, index=i + 1) for i in range(d)]

    def residuals(t):
        middle = np.zeros_like(t[:, 1:])
        middle[:, 0], middle[:, 1] = 0.12 * t[:, 0] ** 2 - 1, 0.02 * t[:, 0] ** 3
        return np.column_stack([t[:, 0] / 4.0, (t[:, 1:] - middle) / width])

    from scipy.stats import norm

    log_evidence = 0.5 * np.log(2 * np.pi) + np.log(4.0) + np.log(norm.cdf(1.25) - norm.cdf(-1.25))
    log_evidence += (d - 1) * np.log(np.sqrt(2 * np.pi) * width) - d * np.log(10.0)
    return from_residuals(parameters, residuals, d), float(log_evidence)


def test_a_strongly_bent_posterior_gets_one_and_the_evidence_is_right():
    session, expected = strongly_bent()
    t = truncate_session(session, Prior.build(session, {}), np.random.default_rng(1))
    assert isinstance(t.region.cells[0], Tube)
    theta = t.transform(np.random.default_rng(2).random((400_000, 5)))
    log_l = -0.5 * session._statistic(theta)
    w = np.exp(log_l)
    error = w.std() / w.mean() / np.sqrt(len(w))
    assert np.log(w.mean()) + t.log_mass == pytest.approx(expected, abs=4 * error + 2e-3)
    assert set(t.bounds) == set(t.names) and all(-5 <= a < b <= 5 for a, b in t.bounds.values())


def test_ellipsoids_inside_stay_ellipsoids_in_the_cube():
    """Nested sampling draws its regions as ellipsoids in the cube: those of a likelihood off the middle must fit."""
    rng, m = np.random.default_rng(8), 6
    g = rng.standard_normal((20_000, m))
    g *= (0.4 * rng.random(20_000) ** (1 / m) / np.linalg.norm(g, axis=1))[:, None]
    g[:, 0] += 0.3
    v = _ball_inverse(g)
    assert _ball(v) == pytest.approx(g, abs=1e-9)
    left = v - v.mean(axis=0)
    far = np.einsum("ij,ij->i", left, np.linalg.solve(np.cov(v.T), left.T).T).max()
    around = np.exp(0.5 * m * np.log(np.pi * far) - gammaln(0.5 * m + 1) + 0.5 * np.linalg.slogdet(np.cov(v.T))[1])
    assert around < 2.5 * 0.4**m


def test_one_that_cuts_the_posterior_is_detected_and_widened():
    session, expected = strongly_bent()
    t = truncate_session(session, Prior.build(session, {}), np.random.default_rng(1))
    tube = t.region.cells[0]
    small = Tube(tube.spine, tube.low, tube.high, tube.along, tube.turn, tube.across, tube.centre, 2.2 * tube.matrix)
    wrong, rng = replace(t, region=Region([small])), np.random.default_rng(2)

    def evidence(truncation):
        v = rng.random((200_000, 5))
        w = np.exp(-0.5 * session._statistic(truncation.transform(v)))
        results = {"logz": np.log(w.mean()), "logzerr": w.std() / w.mean() / 447, "weighted_samples": {}}
        results["weighted_samples"] |= {"upoints": v, "weights": w / w.sum()}
        return truncation.evidence(results)

    first = evidence(wrong)
    assert not first.edges.passed and first.log_evidence < expected - 0.05
    for _ in range(4):
        wrong = wrong.widened(evidence(wrong).edges)
    last = evidence(wrong)
    assert last.edges.passed and last.log_evidence == pytest.approx(expected, abs=4 * last.log_evidence_err)
