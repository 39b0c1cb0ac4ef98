"""Proposals, pooled weights, evidence, exploration: each against numbers known beforehand."""

import numpy as np
import pytest

from tests.core.analytic import cash, observation
from xsixsa.correction.evidence import estimate_evidence, pareto_k
from xsixsa.correction.explore import find_modes, follow, starting_points
from xsixsa.correction.mixture import fit_student_mixture, temper
from xsixsa.correction.pool import Draws, Pool, effective_size
from xsixsa.correction.unfold import Unfolded, Unfolding
from xsixsa.diagnostics.goodness import cash_moments
from xsixsa.diagnostics.likelihood import distrust
from xsixsa.inference.flow import FlowOptions, NeuralPosterior, WhitenedFlow
from xsixsa.inference.problem import BudgetSpent, Problem
from xsixsa.inference.proposals import (
    MixtureProposal,
    PriorProposal,
    StudentMixture,
    TruncatedPrior,
    log_standard_normal,
)
from xsixsa.prior import Gaussian, LogUniform, Prior
from xsixsa.session import Evaluation
from xsixsa.simulate import Simulator, smooth_counts


def mixture():
    means = np.array([[1.5, 0.0, 0.0], [-1.0, 1.0, 0.5]])
    return StudentMixture(np.array([0.3, 0.7]), means, np.array([0.02 * np.eye(3), 0.05 * np.eye(3)]))


def proposals(rng):
    mix = mixture()
    points = mix.sample(4000, rng)
    return [
        PriorProposal(3),
        mix,
        MixtureProposal([mix, PriorProposal(3)], [0.9, 0.1]),
        TruncatedPrior(mix, rng),
        WhitenedFlow(points, np.full(4000, 1 / 4000), rng, n_train=2000, options=FlowOptions(epochs=15)),
        unfolded(points, rng),
        neural(points, rng),
    ]


def neural(points, rng):
    """A conditional flow trained on points and a summary that is nothing but noise: its posterior is the points'."""
    estimator = NeuralPosterior(FlowOptions(transforms=3, hidden=32, epochs=15))
    estimator.fit(points, lambda epoch: rng.standard_normal((len(points), 2)), rng)
    return estimator.posterior(np.zeros(2))


def unfolded(points, rng):
    unfolding = Unfolding(points, np.full(len(points), 1 / len(points)))
    inner = fit_student_mixture(unfolding.forward(points), np.full(len(points), 1 / len(points)), rng, components=4)
    return Unfolded(unfolding, inner)


def test_unfolding_is_inverted_and_straightens_a_banana():
    rng = np.random.default_rng(10)
    t = rng.standard_normal((20_000, 3))
    z = np.stack([t[:, 0], 0.05 * t[:, 1] + 0.3 * t[:, 0] ** 2, 0.02 * t[:, 2] - 0.2 * t[:, 0] ** 3], axis=1)
    unfolding = Unfolding(z, np.full(len(z), 1 / len(z)))
    far = np.concatenate([z, 10 * t])
    np.testing.assert_allclose(unfolding.inverse(unfolding.forward(far)), far, atol=1e-9)
    # The straightened points fill far less volume than those of a linear map.
    assert unfolding.log_det > Unfolding(z, np.full(len(z), 1 / len(z)), degree=1).log_det + 1.0
    jacobian = np.linalg.slogdet(
        np.stack([(unfolding.forward(z[:1] + h) - unfolding.forward(z[:1] - h))[0] / 2e-6 for h in 1e-6 * np.eye(3)])
    )[1]
    assert unfolding.log_det == pytest.approx(jacobian, abs=1e-4)


def test_a_degeneracy_that_bends_sharply_gets_more_powers():
    t = np.random.default_rng(11).standard_normal((20_000, 3))
    bent = 0.01 * t[:, 0] ** 5 - 0.1 * t[:, 0] ** 3
    z = np.stack([t[:, 0], 0.03 * t[:, 1] + bent, 0.02 * t[:, 2]], axis=1)
    weights = np.full(len(z), 1 / len(z))
    unfolding = Unfolding.best(z, weights)
    assert unfolding.degree == 5 and unfolding.log_det > Unfolding(z, weights).log_det + 0.1
    np.testing.assert_allclose(unfolding.inverse(unfolding.forward(z)), z, atol=1e-9)
    points, direction = unfolding.along(0, np.array([-1.0, 0.0, 1.0]))
    np.testing.assert_allclose(unfolding.forward(points)[:, 1:], 0.0, atol=0.5)
    assert direction @ direction == pytest.approx(1.0)


@pytest.mark.parametrize("which", range(7))
def test_proposals_are_normalised_and_drawn_from_as_they_say(which):
    rng = np.random.default_rng(3)
    p = proposals(rng)[which]
    cover = mixture().widened(3.0, df=3.0)
    z = cover.sample(200_000, rng)
    ratio = np.exp(p.log_prob(z) - cover.log_prob(z))
    if which:  # the prior is not covered by `cover`
        assert ratio.mean() == pytest.approx(1, abs=5 * ratio.std() / np.sqrt(len(z)) + 0.02)
    # The share of draws in a ball agrees with the integral of the density over it.
    drawn = p.sample(20_000, rng)
    centre, radius = np.array([-1.0, 1.0, 0.5]), 0.4
    inside = ((z - centre) ** 2).sum(axis=1) < radius**2
    integral = (ratio * inside).mean()
    share = (((drawn - centre) ** 2).sum(axis=1) < radius**2).mean()
    assert share == pytest.approx(integral, abs=0.02)


def test_truncated_prior_measures_its_volume():
    rng = np.random.default_rng(4)
    region = TruncatedPrior(mixture(), rng)
    share = region.contains(rng.standard_normal((2_000_000, 3))).mean()
    assert region.log_volume == pytest.approx(np.log(share), abs=5 * region.log_volume_err + 0.02)
    assert region.contains(region.sample(2000, rng)).all()


def test_pooled_weights_give_evidence_and_mean():
    rng = np.random.default_rng(5)
    sigma, mean = 0.2, np.array([0.5, -0.3, 0.1])

    def log_l(z):
        return -0.5 * ((z - mean) ** 2).sum(axis=1) / sigma**2

    pool = Pool(3)
    for p in (PriorProposal(3), StudentMixture(np.ones(1), mean[None], 0.05 * np.eye(3)[None])):
        for _ in range(2):  # draws of one proposal may come in parts
            z = p.sample(10_000, rng)
            pool.add(p, Draws(z, log_l(z), np.zeros(len(z), int)))
    assert pool.counts == [20_000, 20_000]
    var = sigma**2 / (1 + sigma**2)
    exact = 0.5 * 3 * np.log(2 * np.pi * sigma**2)
    exact -= 0.5 * (mean @ mean) / (1 + sigma**2) + 1.5 * np.log(2 * np.pi * (1 + sigma**2))
    assert pool.log_evidence == pytest.approx(exact, abs=0.03)
    w = np.exp(pool.log_weights() - pool.log_weights().max())
    np.testing.assert_allclose(w @ pool.z / w.sum(), mean * var / sigma**2, atol=0.01)


def test_evidence_error_over_repetitions():
    rng = np.random.default_rng(6)
    z = []
    for _ in range(200):
        x = rng.normal(0, 1.3, 2000)
        log_w = -0.5 * x**2 + 0.5 * (x / 1.3) ** 2 + np.log(1.3)
        e = estimate_evidence(log_w)
        z.append(e.value / e.error)
    assert 0.85 < np.std(z) < 1.15 and abs(np.mean(z)) < 0.3


@pytest.mark.parametrize("k", [0.2, 0.5, 0.9])
def test_pareto_k_of_pareto_weights(k):
    weights = np.random.default_rng(7).pareto(1 / k, 50_000)
    assert pareto_k(np.log(weights)) == pytest.approx(k, abs=0.12)


def test_pareto_k_of_equal_weights_and_of_too_few():
    assert pareto_k(np.zeros(1000)) == 0
    assert pareto_k(np.zeros(10)) == np.inf


def test_invalid_draws_have_no_weight():
    log_w = np.array([0.0, -np.inf, 0.0])
    assert effective_size(log_w) == pytest.approx(2)
    assert estimate_evidence(log_w).value == pytest.approx(np.log(2 / 3))
    assert effective_size(np.full(3, -np.inf)) == 0
    assert not np.isfinite(estimate_evidence(np.full(3, -np.inf)).value)


def test_temper_keeps_the_size_asked_for():
    log_w = np.random.default_rng(8).normal(0, 8, 5000)
    weights, power = temper(log_w, 300)
    assert 1 / (weights @ weights) == pytest.approx(300, rel=1e-3) and 0 < power < 1
    assert temper(np.zeros(100), 50)[1] == 1


def test_mixture_fit_recovers_two_clusters():
    rng = np.random.default_rng(9)
    z = mixture().sample(6000, rng)
    fitted = fit_student_mixture(z, np.full(6000, 1 / 6000), rng, components=2)
    order = np.argsort(fitted.weights)
    np.testing.assert_allclose(fitted.means[order], mixture().means, atol=0.05)
    np.testing.assert_allclose(fitted.weights[order], [0.3, 0.7], atol=0.03)


class _Lines:
    """A continuum and a line whose position is known up to a mirror: two modes."""

    def __init__(self):
        self.e = np.linspace(0, 1, 40)
        self.counts = self.model(np.array([[30.0, 2.0]]))[0].round()

    def model(self, theta):
        bump = np.exp(-0.5 * ((self.e - 0.5) / 0.1) ** 2)
        # a parameter that enters as its log-distance from 1: 2 and 1/2 give the same spectrum
        return theta[:, :1] * (1 + np.abs(np.log(theta[:, 1:])) * bump)

    def evaluate(self, theta, progress=None):
        model = self.model(theta)
        return Evaluation(model, cash(model, self.counts), np.zeros(len(theta), np.uint8))


def descend(toy, prior, starts, budget=5000):
    problem = Problem(prior, toy.evaluate, budget)
    return find_modes(problem, Simulator([observation(toy.counts)]), starts), problem


def test_descents_find_both_modes():
    from types import SimpleNamespace

    toy = _Lines()
    prior = Prior([SimpleNamespace(name=n) for n in "ab"], [LogUniform(1, 1000), LogUniform(0.01, 100)])
    modes, problem = descend(toy, prior, np.random.default_rng(1).standard_normal((16, 2)))
    found = np.sort(prior.from_normal(modes.z)[:, 1])
    np.testing.assert_allclose(found, [0.5, 2.0], rtol=0.05)
    assert problem.n_evaluations < 16 * 3 * 15


@pytest.mark.parametrize("d", [1, 2, 4])
def test_descents_on_the_statistic_alone_where_counts_do_not_tell(d):
    """Counts that never change, or that lead elsewhere: the statistic decides, and its curvature is found."""
    from types import SimpleNamespace

    covariance = 1e-4 * (np.eye(d) + 0.5)
    precision, mean = np.linalg.inv(covariance), np.linspace(-1, 1, d)
    prior = Prior([SimpleNamespace(name=f"x{i}") for i in range(d)], [Gaussian(0, 1)] * d)
    for model in (lambda t: np.full((len(t), 2), 50.0), lambda t: 50 * np.exp(t[:, :1] * [1.0, 0.3])):

        class Toy:
            counts = np.full(2, 50.0)

            def evaluate(self, theta, progress=None, expected=model):
                r = theta - mean
                statistic = np.einsum("ij,jk,ik->i", r, precision, r)
                return Evaluation(expected(theta), statistic, np.zeros(len(theta), np.uint8))

        starts = mean + 0.1 * np.random.default_rng(2).standard_normal((5, d))
        modes, _ = descend(Toy(), prior, starts)
        assert len(modes.z) == 1
        exact = np.linalg.inv(precision + np.eye(d))
        np.testing.assert_allclose(modes.z[0], exact @ precision @ mean, atol=2e-3)
        np.testing.assert_allclose(modes.covariance[0], exact, rtol=0.05, atol=0.05 * exact[0, 0])


@pytest.mark.parametrize("counts_tell", [True, False])
def test_a_curved_degeneracy_is_followed_to_its_ends(counts_tell):
    """Starts near the middle only, and off the ridge: the ends are far beyond them, and bent."""
    from types import SimpleNamespace

    prior = Prior([SimpleNamespace(name=n) for n in "ab"], [Gaussian(0, 1)] * 2)
    width = 0.01

    class Toy:
        counts = np.full(2, 1e4)

        def evaluate(self, theta, progress=None):
            off = (theta[:, 1] - 0.2 * theta[:, 0] ** 2) / width
            model = (
                1e4 * np.exp(np.stack([off, -off], axis=1) / np.sqrt(2e4))
                if counts_tell
                else np.full((len(off), 2), 5.0)
            )
            statistic = cash(model, self.counts) if counts_tell else off**2
            return Evaluation(model, statistic, np.zeros(len(theta), np.uint8))

    toy = Toy()
    problem = Problem(prior, toy.evaluate, 5000)
    starts = np.column_stack([np.linspace(-0.5, 0.5, 5), np.full(5, 0.1)])
    ridge = follow(problem, Simulator([observation(toy.counts)]), starts, np.array([1.0, 0.0]))
    x, y = ridge.z.T
    assert (np.diff(x) > 0).all() and x[0] < -3.5 and x[-1] > 3.5
    # The prior of y pulls the ridge inwards by a share width^2 only.
    np.testing.assert_allclose(y, 0.2 * x**2, atol=0.3 * width)
    slope = ridge.covariance[:, 0, 1] / ridge.covariance[:, 0, 0]
    np.testing.assert_allclose(slope, 0.4 * x, atol=0.02)
    assert problem.n_evaluations < 1_000


def test_a_lone_heavy_point_becomes_a_component_as_wide_as_it_is_told():
    rng = np.random.default_rng(13)
    z = np.vstack([rng.standard_normal((500, 3)) * 0.3, [[4.0, 4.0, 4.0]]])
    weights = np.append(np.full(500, 0.5 / 500), 0.5)
    found = fit_student_mixture(z, weights, rng, components=4, lean=0.25 * np.eye(3))
    alone = np.argmin(((found.means - 4.0) ** 2).sum(axis=1))
    np.testing.assert_allclose(found.means[alone], 4.0, atol=0.1)
    width = np.sqrt(np.diag(found.scales[alone]))
    assert width.min() > 0.3 and width.max() < 0.6


def test_a_narrow_component_of_many_points_stays_narrow_beside_a_broad_one():
    rng = np.random.default_rng(14)
    z = np.vstack([rng.standard_normal((700, 2)), 5.0 + 0.02 * rng.standard_normal((300, 2))])
    found = fit_student_mixture(z, np.full(1000, 1e-3), rng, components=2)
    narrow = np.argmin([np.linalg.det(s) for s in found.scales])
    assert np.sqrt(np.diag(found.scales[narrow])).max() < 0.03


def test_starting_points_hold_the_summit_of_a_narrow_mode():
    rng = np.random.default_rng(3)
    z = rng.standard_normal((4000, 3))
    height = -0.5 * ((z - 1) ** 2).sum(axis=1) / 0.1**2
    narrow = int(np.argmin(((z + 1) ** 2).sum(axis=1)))
    height[narrow] += 200.0  # above its neighbours, and far below the broad mode
    assert height[narrow] < height.max() - 100
    height[5] = -np.inf
    starts = starting_points(z, height, 8, rng)
    assert len(starts) == 8
    assert (starts == z[narrow]).all(axis=1).any() and (starts == z[np.argmax(height)]).all(axis=1).any()
    assert len(np.unique(starts, axis=0)) == 8
    assert len(starting_points(z[:6], height[:6], 8, rng)) == 5


def test_problem_counts_every_evaluation_and_stops_at_the_budget():
    from types import SimpleNamespace

    prior = Prior([SimpleNamespace(name="a")], [LogUniform(1, 10)])

    def evaluate(theta, progress):
        statistic = np.where(theta[:, 0] > 3, np.nan, 1.0)
        return Evaluation(theta, statistic, np.where(theta[:, 0] > 3, 3, 0).astype(np.uint8))

    problem = Problem(prior, evaluate, 150)
    draws = problem.evaluate(np.linspace(-2, 2, 100)[:, None])
    assert problem.failures[3] == np.isneginf(draws.log_likelihood).sum() > 0
    assert len(problem.evaluate(np.zeros((100, 1)))) == 50
    with pytest.raises(BudgetSpent):
        problem.evaluate(np.zeros((1, 1)))
    assert problem.n_evaluations == 150


def test_smooth_background_has_no_holes_and_keeps_the_total():
    counts = np.random.default_rng(2).poisson(0.3, 300).astype(float)
    smooth = smooth_counts(counts, np.full(300, 0.01))
    assert smooth.min() > 0 and smooth.sum() == pytest.approx(counts.sum())
    assert smooth_counts(np.zeros(5), np.ones(5)).sum() == pytest.approx(0.5)


def test_expected_cstat_against_simulation():
    rng = np.random.default_rng(3)
    for mu in (1e-6, 0.01, 0.5, 3.0, 50.0, 5e3):
        mean, variance = cash_moments(np.array(mu))
        if mu < 1e-3:
            assert mean == pytest.approx(2 * mu * -np.log(mu), rel=0.1)
            continue
        c = cash(np.full((400_000, 1), mu), rng.poisson(mu, 400_000).astype(float)[:, None])
        assert mean == pytest.approx(c.mean(), rel=0.03)
        assert variance == pytest.approx(c.var(), rel=0.05)


def test_log_standard_normal():
    assert log_standard_normal(np.zeros((1, 2)))[0] == pytest.approx(-np.log(2 * np.pi))


def test_empty_background_bins_are_distrusted():
    from dataclasses import replace

    from xsixsa.session import Background

    o, one = observation(np.ones(10)), np.ones(10)
    for filled, trusted in ((10, True), (8, True), (5, False)):
        counts = np.r_[one[:filled], np.zeros(10 - filled)]
        with_background = replace(o, statistic="wstat", background=Background(counts, 1.0, one, one, "b.pha"))
        assert bool(distrust([with_background])) is not trusted
    assert not distrust([o])
