"""What the result's weights rest on: tails are kept on average, and patched where a proposal leaves them out."""

import numpy as np

from xsixsa.correction.patch import excess_weights
from xsixsa.correction.pool import Draws, Pool, effective_size
from xsixsa.inference.proposals import MixtureProposal, PriorProposal, StudentMixture, log_standard_normal


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
