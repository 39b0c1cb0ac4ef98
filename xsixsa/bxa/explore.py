"""Where the posterior is, for the price of a few thousand evaluations: no network, and no final correction.

Descents from the prior find the modes, small mixtures fitted to tempered weights fill them in, and every evaluation is
kept with its weight. That is too little for a posterior and plenty for a region that nested sampling then takes over.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np

from xsixsa.correction.explore import find_modes
from xsixsa.correction.mixture import temper
from xsixsa.correction.pool import Pool
from xsixsa.correction.unfold import Unfolded, Unfolding, unfolded_mixture
from xsixsa.errors import SessionError
from xsixsa.inference.problem import BudgetSpent, Problem
from xsixsa.inference.proposals import MixtureProposal, PriorProposal
from xsixsa.simulate import Simulator

__all__ = ["Exploration", "explore"]

log = logging.getLogger(__name__)

_PRIOR_DRAWS = 100  # for each dimension
_DESCENTS = 3  # for each dimension
_LEAST_DESCENTS = 16
_DRAWS = 120  # of a mixture, for each dimension
_WARM = 25.0  # tempered effective size, for each dimension
_MOST_STEPS = 25
_OUTLINE = 150  # draws, for each dimension, that look for the border
_WIDE = (9.0, 4.0, 2.5, 1.8)  # their covariance, in that of the posterior: first far, then with what that has found
# The approximation at a mode says nothing of the tail towards an edge of the prior, where the posterior is cut and z
# runs far: draws start from this many times its covariance.
_LAPLACE = 9.0


@dataclass
class Exploration:
    """What was found.

    Attributes
    ----------
    pool : Pool
        Every draw with its likelihood.
    modes : int
        Modes that the descents ended in.
    reached : bool
        Whether the effective size asked for was reached within the budget.
    """

    pool: Pool
    modes: int
    reached: bool


def explore(problem: Problem, simulator: Simulator, ess: float, rng: np.random.Generator) -> Exploration:
    """Descend from the prior, refine mixtures until the pool has an effective size of `ess`, and look for the border.

    Parameters
    ----------
    problem
        Prior and likelihood with a budget of evaluations.
    simulator
        Knows the observation.
    ess
        Effective sample size to reach.
    rng
        Source of randomness.

    Raises
    ------
    SessionError
        If the model fails wherever it was tried.
    """
    pool, modes, reached = Pool(problem.dim), None, False
    try:
        modes = _descend(problem, simulator, pool, rng)
        reached = _refine(problem, pool, modes, ess, rng)
        _outline(problem, pool, rng)
    except BudgetSpent:
        log.info("the %d evaluations allowed are used up", problem.max_evaluations)
    if not len(pool) or not np.isfinite(pool.log_weights()).any():
        raise SessionError("no point of the prior tried has a valid statistic; narrow the prior")
    return Exploration(pool, 0 if modes is None else len(modes.z), reached)


def _descend(problem: Problem, simulator: Simulator, pool: Pool, rng):
    prior = PriorProposal(problem.dim)
    first = problem.evaluate(prior.sample(_PRIOR_DRAWS * problem.dim, rng))
    pool.add(prior, first)
    # Half of the starts are the best of these draws, the others any: a narrow mode is among neither's best.
    number = max(_LEAST_DESCENTS, _DESCENTS * problem.dim)
    best = np.argsort(-first.log_likelihood)[: number // 2]
    other = rng.permutation(len(first))[: number - len(best)]
    return find_modes(problem, simulator, first.z[np.concatenate([best, other])])


def _refine(problem: Problem, pool: Pool, modes, ess: float, rng) -> bool:
    prior = PriorProposal(problem.dim)
    mixture = None if modes is None else modes.mixture().widened(_LAPLACE)
    for _ in range(_MOST_STEPS):
        if mixture is None:
            mixture = _straightened_mixture(pool, 1.3, 5.0, rng)
        proposal = MixtureProposal([mixture, prior], [0.97, 0.03], name="t-mixture")
        pool.add(proposal, problem.evaluate(proposal.sample(_DRAWS * problem.dim, rng)))
        problem.report(ess=pool.ess)
        log.info("%d evaluations, effective size %.0f", problem.n_evaluations, pool.ess)
        if pool.ess >= ess:
            return True
        mixture = None
    return False


def _straightened_mixture(pool: Pool, factor: float, df: float, rng) -> Unfolded:
    """Student t mixture of all draws in coordinates without bends: its tails follow a degeneracy that curves."""
    weights, _ = temper(pool.log_weights(), _WARM * pool.dim)
    used = weights > 0
    unfolding = Unfolding.best(pool.z[used], weights[used])
    return unfolded_mixture(unfolding, pool.z, weights, rng, factor, df)


def _outline(problem: Problem, pool: Pool, rng) -> None:
    """Draws from a wide copy of what was found: those that carry weight lie on the outskirts that others miss."""
    prior = PriorProposal(problem.dim)
    for factor in _WIDE:
        mixture = _straightened_mixture(pool, factor, 30.0, rng)
        proposal = MixtureProposal([mixture, prior], [0.97, 0.03], name="wide t-mixture")
        pool.add(proposal, problem.evaluate(proposal.sample(_OUTLINE * problem.dim, rng)))
        problem.report(ess=pool.ess)
