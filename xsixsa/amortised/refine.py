"""What a spectrum gets when its correction stays poor: the refinement of a run of its own, from the network's start."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import numpy as np

from xsixsa.amortised.correct import Correction
from xsixsa.correction.refine import Refinement
from xsixsa.inference.problem import Problem
from xsixsa.options import Options
from xsixsa.simulate import Simulator

__all__ = ["refine"]

# Flows fitted at most, and the share of the draws for a second exploration that starts from the prior alone.
_MAX_REFITS = 4
_EXPLORATION = 0.2
_LEAST_EVALUATIONS = 4_000


def refine(correction: Correction, evaluate: Callable) -> bool:
    """Explore, fit mixtures and flows, and draw again, all on the spectrum's own budget.

    Parameters
    ----------
    correction
        A correction that is done; its draws are kept, and its pool and final draws are replaced by better ones.
    evaluate
        ``evaluate(z)`` -> (expected source counts (n, bins) of the reference observation, valid (n,)).

    Returns
    -------
    bool
        Whether there was budget left to refine anything.
    """
    budget = correction.options.max_evaluations - correction.n_evaluations
    if budget < _LEAST_EVALUATIONS:
        return False
    prior, options = correction.network.prior, correction.options
    settings = Options(
        ess=options.ess,
        min_draws=max(options.min_draws, options.ess),
        max_evaluations=budget,
        simulations=budget // 4,
        exploration=_EXPLORATION,
        max_refits=_MAX_REFITS,
        flow_ess=min(800.0, 0.8 * options.ess),
    )

    def answer(theta, tick):
        expected, valid = evaluate(prior.to_normal(theta))
        own, log_l = correction.likelihood(expected, valid)
        ok = np.isfinite(log_l)
        return SimpleNamespace(expected=own, statistic=np.where(ok, -2 * log_l, np.nan), reason=np.where(ok, 0, 2))

    problem = Problem(prior, answer, budget)
    simulator = Simulator((correction.observation,))
    pool = correction.pool.pool()
    refinement = Refinement(problem, pool, simulator, settings, neural=correction.neural)
    refinement.run(correction.rng)
    correction.take(refinement)
    return True
