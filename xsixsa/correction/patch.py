"""Where a proposal is too thin for the posterior, and what to add to it there.

Incremental mixture importance sampling (Raftery & Bao 2010) puts a new component where the weights are largest. Here
the component is fitted to the whole part of the posterior that the proposal leaves over, which pooled draws show
without further evaluations: a thin tail that a flow has missed is drawn from before it can narrow a marginal.
"""

from __future__ import annotations

import numpy as np
from scipy.special import logsumexp

from xsixsa.correction.pool import Pool
from xsixsa.inference.proposals import Proposal, log_standard_normal

__all__ = ["excess_weights"]


def excess_weights(pool: Pool, proposal: Proposal, factor: float) -> np.ndarray:
    """Weights of the posterior less `factor` times the proposal, where that is positive.

    Parameters
    ----------
    pool
        Draws with their deterministic-mixture weights.
    proposal
        The density that may be too thin.
    factor
        Importance weights up to this many times their mean are no reason to add anything.

    Returns
    -------
    numpy.ndarray
        Shape (n,); their sum is the share of the posterior's mass that is left over.
    """
    log_weights = pool.log_weights()
    ratio = log_standard_normal(pool.z) + pool.log_likelihood - proposal.log_prob(pool.z) - pool.log_evidence
    covered = np.exp(np.minimum(np.log(factor) - np.where(np.isfinite(ratio), ratio, -np.inf), 0.0))
    return np.exp(log_weights - logsumexp(log_weights)) * (1.0 - covered)
