"""Draws with the density of the proposal that made each: all that weights need which no fit has seen.

The pool of a run keeps the density of every proposal at every draw. With thousands of spectra that is most of the work,
and honest weights (:meth:`xsixsa.correction.pool.Pool.honest_log_weights`) do not use it.
"""

from __future__ import annotations

import numpy as np

from xsixsa.correction.pool import Draws, Pool
from xsixsa.inference.proposals import Proposal, log_standard_normal

__all__ = ["Ledger", "kish"]


def kish(log_weights: np.ndarray) -> float:
    """Kish's effective sample size, as :func:`xsixsa.correction.pool.effective_size`, at a tenth of its cost."""
    most = log_weights.max(initial=-np.inf)
    if not np.isfinite(most):
        return 0.0
    w = np.exp(log_weights - most)
    return float(w.sum() ** 2 / (w @ w))


class Ledger:
    """Draws of several proposals, one after the other.

    Parameters
    ----------
    dim
        Dimension of z.

    Attributes
    ----------
    first : int
        Draws of proposals before this one weigh nothing: a heavy tail of theirs would spoil the others' weights.
    """

    def __init__(self, dim: int):
        self.dim = dim
        self.proposals: list[Proposal] = []
        self.first = 0
        self._batch: list[np.ndarray] = []
        self._z: list[np.ndarray] = []
        self._log_l: list[np.ndarray] = []
        self._log_q: list[np.ndarray] = []

    def __len__(self) -> int:
        return sum(map(len, self._z))

    @property
    def used(self) -> int:
        """Draws of the proposals that count."""
        return int(np.sum(np.concatenate(self._batch) >= self.first)) if self._batch else 0

    @property
    def z(self) -> np.ndarray:
        """Coordinates of all draws, shape (n, d)."""
        return np.concatenate(self._z) if self._z else np.empty((0, self.dim))

    @property
    def log_likelihood(self) -> np.ndarray:
        """Log-likelihood of all draws, ``-inf`` where invalid, shape (n,)."""
        return np.concatenate(self._log_l) if self._log_l else np.empty(0)

    def add(self, proposal: Proposal, z: np.ndarray, log_l: np.ndarray) -> np.ndarray:
        """Append draws of `proposal` and return their log weights N(z) L / q, shape (n,)."""
        if not self.proposals or self.proposals[-1] is not proposal:
            self.proposals.append(proposal)
        log_q = proposal.log_prob(z)
        self._z.append(z)
        self._log_l.append(log_l)
        self._log_q.append(log_q)
        self._batch.append(np.full(len(z), len(self.proposals) - 1))
        return log_standard_normal(z) + log_l - log_q

    def honest_log_proposal(self, everything: bool = False) -> np.ndarray:
        """See :meth:`xsixsa.correction.pool.Pool.honest_log_proposal`; ``inf`` for draws that weigh nothing."""
        first = 0 if everything else self.first
        own, batch = np.concatenate(self._log_q), np.concatenate(self._batch)
        raw = log_standard_normal(self.z) + self.log_likelihood - own
        number = len(self.proposals)
        sizes = np.array([kish(raw[batch == k]) if k >= first else 0.0 for k in range(number)])
        counts = np.bincount(batch, minlength=number)
        if not sizes.sum() > 0:
            sizes = counts.astype(float)
        # Squared over draws, as there: the heavy weights of a poor proposal stay out of the tail.
        share = sizes**2 / np.maximum(counts, 1)
        with np.errstate(divide="ignore"):  # a share of nothing is a proposal density without end
            factor = np.log(counts) - np.log(share / share.sum())
        return own + factor[batch]

    def honest_log_weights(self, everything: bool = False) -> np.ndarray:
        """See :meth:`xsixsa.correction.pool.Pool.honest_log_weights`; `everything` counts from the first proposal."""
        return log_standard_normal(self.z) + self.log_likelihood - self.honest_log_proposal(everything)

    @property
    def log_evidence(self) -> float:
        """Log-evidence from all draws, each proposal in proportion to the effective size of its draws."""
        log_w = self.honest_log_weights()
        most = log_w.max(initial=-np.inf)
        return float(most + np.log(np.exp(log_w - most).sum())) if np.isfinite(most) else -np.inf

    def pool(self) -> Pool:
        """The same draws as a pool, which refinement works on."""
        pool = Pool(self.dim)
        batch = np.concatenate(self._batch) if self._batch else np.empty(0, int)
        z, log_l = self.z, self.log_likelihood
        for k, proposal in enumerate(self.proposals):
            rows = batch == k
            pool.add(proposal, Draws(z[rows], log_l[rows], np.where(np.isfinite(log_l[rows]), 0, 1)))
        return pool
