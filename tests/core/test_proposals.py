"""All proposals: normalised, drawn from as they say, with the prior mass they claim; and those of the rounds."""

from functools import lru_cache

import numpy as np
import pytest
from scipy.stats import norm

from tests.core.analytic import poisson_gamma
from xsixsa.correction.mixture import fit_student_mixture
from xsixsa.correction.unfold import Unfolded, Unfolding
from xsixsa.errors import UsageError
from xsixsa.inference.flow import FlowOptions, NeuralPosterior, WhitenedFlow
from xsixsa.inference.problem import Problem
from xsixsa.inference.proposals import (
    MixtureProposal,
    PriorProposal,
    RegionPrior,
    StudentMixture,
    TruncatedPrior,
    log_standard_normal,
)
from xsixsa.inference.propose import Seen, next_proposal, regions
from xsixsa.inference.restrict import Classifier, RestrictedPrior, Validity, restrict, total_counts
from xsixsa.options import PROPOSALS, Options
from xsixsa.prior import Prior
from xsixsa.simulate import Simulator

SMALL = FlowOptions(transforms=2, hidden=24, epochs=10, batch=128)
SPLINE = FlowOptions(kind="spline", transforms=2, hidden=24, epochs=10, batch=128)


@lru_cache
def target():
    means = np.array([[1.2, 0.0, 0.0], [-0.8, 0.8, 0.5]])
    return StudentMixture(np.array([0.3, 0.7]), means, np.array([0.05 * np.eye(3), 0.1 * np.eye(3)]))


@lru_cache
def points():
    return target().sample(3000, np.random.default_rng(1))


def equal(n):
    return np.full(n, 1 / n)


def neural(options=SMALL, ensemble=1):
    """A conditional flow whose summary is nothing but noise: its posterior is that of the points."""
    rng = np.random.default_rng(2)
    estimator = NeuralPosterior(options, ensemble=ensemble)
    estimator.fit(points(), lambda epoch: rng.standard_normal((3000, 2)), rng)
    return estimator.posterior(np.zeros(2))


def unfolded():
    unfolding = Unfolding(points(), equal(3000))
    inner = fit_student_mixture(unfolding.forward(points()), equal(3000), np.random.default_rng(3), components=3)
    return Unfolded(unfolding, inner)


def whitened(options):
    return WhitenedFlow(points(), equal(3000), np.random.default_rng(4), n_train=2000, options=options)


def restricted():
    rng = np.random.default_rng(5)
    z = rng.standard_normal((6000, 3))
    return RestrictedPrior(z, (z**2).sum(axis=1) < 1.0, rng)


@lru_cache
def first_round():
    """Simulations of a session with known likelihood, and all that the rounds need of it."""
    session = poisson_gamma([5, 40, 200])
    prior = Prior.build(session)
    problem = Problem(prior, lambda theta, tick: next(iter_pool(session)).evaluate(theta), 10**6)
    simulator = Simulator(session.observations)
    draws = problem.evaluate(np.random.default_rng(6).standard_normal((3000, 3)), keep_expected=True)
    return problem, simulator, Seen(draws.z, simulator.total(draws.expected), draws.log_likelihood)


def iter_pool(session):
    with session.pool() as pool:
        yield pool


def of_rounds(proposal, **more):
    _, simulator, seen = first_round()
    options = Options(proposal=proposal, **more)
    return next_proposal(options, target(), seen, PriorProposal(3), simulator, np.random.default_rng(7)).proposal


ALL = {
    "prior": lambda: PriorProposal(3),
    "t-mixture": target,
    "mixture with a defensive part": lambda: MixtureProposal([target(), PriorProposal(3)], [0.9, 0.1]),
    "truncated prior": lambda: TruncatedPrior(target(), np.random.default_rng(8)),
    "restricted prior": restricted,
    "refitted flow": lambda: whitened(SMALL),
    "refitted spline flow": lambda: whitened(SPLINE),
    "unfolded t-mixture": unfolded,
    "neural posterior": neural,
    "neural posterior of splines": lambda: neural(SPLINE),
    "ensemble": lambda: neural(ensemble=2),
    "truncation of a neural posterior": lambda: TruncatedPrior(neural(), np.random.default_rng(9)),
    **{f"rounds: {name}": lambda name=name: of_rounds(name) for name in PROPOSALS},
    "rounds: restricted by counts": lambda: of_rounds("restricted", restrict=(100.0, 1000.0)),
    "rounds: mixture": lambda: of_rounds(("truncated", "restricted", "posterior")),
}


@pytest.mark.parametrize("which", list(ALL))
def test_proposals_are_normalised_and_drawn_from_as_they_say(which):
    rng, p = np.random.default_rng(10), ALL[which]()
    cover = MixtureProposal(
        [
            PriorProposal(3),
            target().widened(3.0, df=3.0),
            StudentMixture(np.ones(1), np.zeros((1, 3)), np.eye(3)[None]),
        ],
        [0.4, 0.4, 0.2],
    )
    z = cover.sample(150_000, rng)
    ratio = np.exp(p.log_prob(z) - cover.log_prob(z))
    # The volume of a region is measured, and its error is part of the density's.
    volume = max((r.log_volume_err for r in regions(p)), default=0.0)

    def agree(draws_of_cover, share, n):
        error = np.hypot(draws_of_cover.std() / np.sqrt(len(z)), np.sqrt(share * (1 - share) / n))
        return abs(draws_of_cover.mean() - share) < 5 * np.hypot(error, volume) + 1e-9

    assert agree(ratio, 1.0, len(z))
    drawn = p.sample(30_000, rng)
    assert drawn.shape == (30_000, 3) and np.isfinite(drawn).all()
    assert np.isfinite(p.log_prob(drawn)).all()  # nothing is drawn where the density says that nothing lies
    for inside in (
        lambda x: x[:, 0] > 0.3,
        lambda x: x[:, 1] > 0.4,
        lambda x: x[:, 2] > x[:, 0],
        lambda x: ((x - [1.2, 0, 0]) ** 2).sum(axis=1) < 0.2,
        lambda x: (x**2).sum(axis=1) > 2.0,
    ):
        assert agree(ratio * inside(z), inside(drawn).mean(), len(drawn))
    # Prior mass where the proposal draws at all, from its own draws: all of it with a defensive part, the measured
    # volume for a region.
    expected = np.exp(p.log_volume) if isinstance(p, RegionPrior) else 1.0
    if isinstance(p, RegionPrior | PriorProposal) or any(isinstance(q, PriorProposal) for q in getattr(p, "parts", [])):
        mass = np.exp(log_standard_normal(drawn) - p.log_prob(drawn))
        assert abs(mass.mean() - expected) < 5 * np.hypot(mass.std() / np.sqrt(len(drawn)), volume * expected) + 1e-9


def test_every_proposal_of_the_rounds_keeps_its_defensive_part():
    z = 3.5 * np.random.default_rng(11).standard_normal((2000, 3))
    for name in (*PROPOSALS, PROPOSALS):
        p = of_rounds(name, defensive=0.2)
        assert (p.log_prob(z) >= log_standard_normal(z) + np.log(0.2) - 1e-9).all()


@pytest.mark.parametrize("radius", [1.0, 1.8])
def test_restricted_prior_finds_the_region_and_measures_its_volume(radius):
    rng = np.random.default_rng(12)
    z = rng.standard_normal((8000, 3))
    region = RestrictedPrior(z, (z**2).sum(axis=1) < radius**2, rng)
    fresh = rng.standard_normal((1_000_000, 3))
    inside = region.contains(fresh)
    error = np.sqrt(inside.mean() * (1 - inside.mean()) / len(fresh)) / inside.mean()
    assert abs(region.log_volume - np.log(inside.mean())) < 5 * np.hypot(error, region.log_volume_err)
    valid = (fresh**2).sum(axis=1) < radius**2
    assert inside[valid].mean() > 0.96  # hardly any valid point is lost
    assert inside.mean() < 1.6 * valid.mean()  # and the region is not much larger than it has to be
    assert region.missed < 0.05 and 0 < region.acceptance <= 1


def test_volume_of_a_half_space_is_a_half():
    rng = np.random.default_rng(13)
    z = rng.standard_normal((10_000, 2))
    region = RestrictedPrior(z, z[:, 0] > 0, rng, missed=0.0001)
    assert region.log_volume == pytest.approx(np.log(0.5), abs=0.06)
    assert region.log_volume_err < 0.01


def test_too_few_valid_simulations_are_named():
    rng = np.random.default_rng(14)
    z = rng.standard_normal((500, 2))
    for valid in (np.zeros(500, bool), np.ones(500, bool), np.arange(500) < 5):
        with pytest.raises(UsageError, match="simulations are valid"):
            RestrictedPrior(z, valid, rng)


def test_classifier_repeats_with_its_seed_and_leaves_torch_alone():
    import torch

    z = np.random.default_rng(15).standard_normal((800, 2))
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    a, b = (Classifier(z, z[:, 0] > 0, np.random.default_rng(3)).score(z) for _ in range(2))
    np.testing.assert_array_equal(a, b)
    assert torch.equal(before, torch.random.get_rng_state())
    assert ((a > 0) == (z[:, 0] > 0)).mean() > 0.95


def test_validity_by_counts_and_by_statistic():
    totals, log_l = np.array([5.0, 50.0, 500.0, 50.0]), np.array([-1.0, -2.0, -3.0, -np.inf])
    everything = np.ones(4, bool)
    assert Validity.of((10.0, 100.0))(totals, log_l, everything).tolist() == [False, True, False, False]
    assert Validity.of(0.34)(totals, log_l, everything).tolist() == [True, False, False, False]
    # the share is of what lies inside the present region
    assert Validity.of(0.5)(totals, log_l, np.array([False, True, True, True])).tolist() == [True, True, False, False]
    for wrong in (0.0, 1.5, (3.0, 1.0), (1.0,)):
        with pytest.raises(UsageError, match="restrict"):
            Validity.of(wrong)


def test_restriction_is_iterated_towards_the_posterior():
    problem, simulator, _ = first_round()
    rng, before = np.random.default_rng(16), problem.n_evaluations
    volumes = [
        restrict(problem, simulator, Validity(lowest=0.2), 1500, rounds, np.random.default_rng(16)).log_volume
        for rounds in (1, 3)
    ]
    assert volumes[0] == pytest.approx(np.log(0.2), abs=0.5) and volumes[1] < volumes[0] - 1.0
    assert problem.n_evaluations - before == 1500 + 4500
    region = restrict(problem, simulator, Validity(counts=(100.0, 1000.0)), 2000, 2, rng)
    theta = problem.prior.from_normal(region.sample(5000, rng))
    share = ((theta.sum(axis=1) > 100) & (theta.sum(axis=1) < 1000)).mean()
    whole = problem.prior.sample(20_000, rng).sum(axis=1)
    valid = ((whole > 100) & (whole < 1000)).mean()
    assert share > 0.85
    assert np.exp(region.log_volume) == pytest.approx(valid / share, rel=0.15)


def test_total_counts_leave_out_what_was_seen_off_source():
    _, simulator, _ = first_round()
    vectors = np.arange(10.0).reshape(2, 5)
    assert total_counts(vectors, simulator).tolist() == [3.0, 18.0]


def test_a_region_too_thin_gives_way_to_the_neural_posterior():
    # a curved ridge: its box holds it many thousand times over
    rng = np.random.default_rng(17)

    class Ridge(StudentMixture):
        def sample(self, n, rng):
            t = rng.standard_normal(n)
            return np.stack([t, t**2 - 1, t**3 / 3], axis=1) + 1e-3 * rng.standard_normal((n, 3))

        def log_prob(self, z):
            t = z[:, 0]
            r = np.stack([z[:, 1] - t**2 + 1, z[:, 2] - t**3 / 3], axis=1)
            return norm.logpdf(t) + norm(0, 3e-3).logpdf(r).sum(axis=1)

    ridge = Ridge(np.ones(1), np.zeros((1, 3)), np.eye(3)[None])
    _, simulator, seen = first_round()
    made = next_proposal(Options(), ridge, seen, PriorProposal(3), simulator, rng)
    assert made.proposal.parts[0] is ridge and np.isnan(made.log_volume)
    assert "neural posterior instead" in made.notes[0]
