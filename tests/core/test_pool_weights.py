"""What the result's weights rest on: tails are kept on average, and patched where a proposal leaves them out."""

import contextlib
from types import SimpleNamespace

import numpy as np
import pytest

from xsixsa.correction.evidence import pareto_k
from xsixsa.correction.patch import excess_weights
from xsixsa.correction.pool import MOST_OF_EARLIER, Draws, Pool, effective_size
from xsixsa.correction.refine import Refinement
from xsixsa.inference.proposals import MixtureProposal, PriorProposal, StudentMixture, log_standard_normal
from xsixsa.options import Options


def normal(width, dim=1):
    """As good as a normal density of this width."""
    return StudentMixture(np.ones(1), np.zeros((1, dim)), np.full((1, 1, 1), width**2) * np.eye(dim), df=200.0)


def pooled(parts, n, rng, dim=1):
    """The prior is the posterior; `n` draws of each proposal."""
    pool = Pool(dim)
    for proposal in parts:
        pool.add(proposal, Draws(proposal.sample(n, rng), np.zeros(n), np.zeros(n, int)))
    return pool


def normalised(log_w):
    w = np.exp(log_w - log_w.max())
    return w / w.sum()


def test_batches_without_a_draw_of_the_tail_are_not_preferred():
    honest, own = [], []
    for seed in range(300):
        pool = pooled([normal(0.72) for _ in range(3)], 300, np.random.default_rng(seed))
        square = pool.z[:, 0] ** 2
        honest.append(normalised(pool.honest_log_weights()) @ square)
        raw = log_standard_normal(pool.z) - normal(0.72).log_prob(pool.z)
        sizes = np.array([effective_size(raw[pool.batch == k]) for k in range(3)])
        own.append(normalised(raw + np.log(sizes)[pool.batch]) @ square)
    assert np.mean(own) < 0.96  # the bias that is avoided
    assert 0.97 < np.mean(honest) < 1.09


def test_a_poor_proposal_adds_little_and_no_tail():
    rng = np.random.default_rng(0)
    good, poor = normal(1.1), normal(0.4)
    pool = pooled([poor, good], 2_000, rng)
    weights = normalised(pool.honest_log_weights())
    assert weights[pool.batch == 0].sum() < 0.1
    assert weights.max() * 2_000 < 20
    assert abs(weights @ pool.z[:, 0] ** 2 - 1) < 0.1


def test_weights_of_a_single_proposal_are_the_usual_ones():
    pool = pooled([normal(1.3)], 500, np.random.default_rng(1))
    expected = log_standard_normal(pool.z) - normal(1.3).log_prob(pool.z) - np.log(500)
    np.testing.assert_allclose(pool.honest_log_weights(), expected)
    assert abs(pool.log_evidence) < 0.05


def test_what_a_proposal_leaves_over_is_found_where_it_is():
    rng = np.random.default_rng(2)
    thin = normal(0.6)
    pool = pooled([thin, normal(1.5)], 5_000, rng)
    excess = excess_weights(pool, thin, 1.5)
    assert (excess[np.abs(pool.z[:, 0]) < 0.9] == 0).all()
    # integral of phi - 1.5 q where positive, on a fine grid
    z = np.linspace(-8, 8, 20_001)[:, None]
    left = np.clip(np.exp(log_standard_normal(z)) - 1.5 * np.exp(thin.log_prob(z)), 0, None)
    assert abs(excess.sum() - np.trapezoid(left, z[:, 0])) < 0.02


def test_nothing_is_left_over_by_the_posterior_itself():
    pool = pooled([PriorProposal(2), normal(1.2, 2)], 1_000, np.random.default_rng(3), dim=2)
    assert excess_weights(pool, PriorProposal(2), 1.5).sum() == 0


def test_a_patched_proposal_has_lighter_weights():
    rng = np.random.default_rng(4)
    thin = normal(0.6)
    pool = pooled([thin, normal(1.5)], 5_000, rng)
    excess = excess_weights(pool, thin, 1.5)
    z, mass = pool.z[:, 0], excess.sum()
    spread = np.sqrt(excess @ z**2 / mass)
    patched = MixtureProposal([thin, normal(spread)], [1 - mass, mass])
    for_thin, for_patched = (
        effective_size(log_standard_normal(x) - q.log_prob(x)) / len(x)
        for q, x in ((thin, thin.sample(20_000, rng)), (patched, patched.sample(20_000, rng)))
    )
    assert for_patched > 0.8 > for_thin


def test_draws_of_earlier_proposals_count_for_a_tenth():
    rng = np.random.default_rng(5)
    pool = pooled([normal(0.9), normal(1.1)], 2_000, rng)
    assert normalised(pool.honest_log_weights())[:2_000].sum() > 0.3
    pool.first = 1
    weights = normalised(pool.honest_log_weights())
    assert weights[:2_000].sum() == pytest.approx(MOST_OF_EARLIER, rel=0.1)
    assert weights @ pool.z[:, 0] ** 2 == pytest.approx(1, abs=0.1) and abs(pool.log_evidence) < 0.05
    # the share that they have left is worth more than it takes
    alone = log_standard_normal(pool.z[2_000:]) - normal(1.1).log_prob(pool.z[2_000:])
    assert effective_size(pool.honest_log_weights()) > 1.15 * effective_size(alone)


def finished(final, earlier, ess, remaining=100_000):
    """A refinement whose last fit was `final`, after 6 000 draws of `earlier`, and what `_finish` answered."""
    rng = np.random.default_rng(6)

    class Toy(SimpleNamespace):
        def evaluate(self, z):
            self.remaining -= len(z)
            self.n_evaluations += len(z)
            return Draws(z, np.zeros(len(z)), np.zeros(len(z), int))

    problem = Toy(
        dim=3, remaining=remaining, n_evaluations=0, report=lambda **_: None, stage=lambda _: contextlib.nullcontext()
    )
    pool = pooled([earlier], 6_000, rng, dim=3)
    pool.add(final, problem.evaluate(final.sample(1_500, rng)))
    options = Options(ess=ess, min_draws=2_000, exploration=0.0)
    refinement = Refinement(problem, pool, None, options, final=final, _trial=1)
    return refinement, refinement._finish(rng, last=False)


def test_a_tail_of_earlier_proposals_alone_is_no_reason_for_another_fit():
    thin, good = normal(0.8, 3), normal(1.1, 3)
    refinement, done = finished(good, thin, 6_000)
    pool = refinement.pool
    assert pareto_k(pool.honest_log_weights()) < 0.5 and done and pool.first == 1
    assert effective_size(pool.honest_log_weights()) >= 6_000
    pool.first = 0
    assert pareto_k(pool.honest_log_weights()) > 0.65  # what would have been the reason for another fit
    # and it is one where the evaluations left are too few to replace their draws
    short, done = finished(good, thin, 6_000, remaining=5_000)
    assert not done and short.pool.first == 0
