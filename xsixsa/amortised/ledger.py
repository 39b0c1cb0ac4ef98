"""Draws of a few proposals with the densities that their weights need, and no others.

The pool of a run keeps the density of every proposal at every draw. With thousands of spectra the network's would be
most of the work: its draws count until there is something better, and then no longer.
"""

from __future__ import annotations

import numpy as np

from xsixsa.correction.pool import ENOUGH_OTHERS, Draws, Pool
from xsixsa.inference.proposals import Proposal, log_standard_normal

__all__ = ["Ledger", "kish"]

# Draws of each proposal that a refinement gets.
_HANDED_ON = 500


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
        self._elsewhere: dict[int, np.ndarray] = {}

    def __len__(self) -> int:
        return sum(map(len, self._z))

    @property
    def used(self) -> int:
        """Draws of the proposals that count."""
        return int(np.sum(np.concatenate(self._batch) >= self._first_used)) if self._batch else 0

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
        """See :meth:`xsixsa.correction.pool.Pool.honest_log_proposal`; ``inf`` for draws that weigh nothing.

        Parameters
        ----------
        everything
            Count all proposals, each by the effective size of its own draws: no posterior, but it shows what only the
            dropped ones met.
        """
        own, batch = np.concatenate(self._log_q), np.concatenate(self._batch)
        raw = log_standard_normal(self.z) + self.log_likelihood - own
        number = len(self.proposals)
        counts = np.bincount(batch, minlength=number)
        sizes = np.array([kish(raw[batch == k]) for k in range(number)])
        if not everything:
            sizes[: self._first_used] = 0.0
            sizes = self._expected_sizes(raw, own, batch, counts, sizes)
        if not sizes.sum() > 0:
            sizes = counts.astype(float)
        # Squared over draws, as there: the heavy weights of a poor proposal stay out of the tail.
        share = sizes**2 / np.maximum(counts, 1)
        with np.errstate(divide="ignore"):  # a share of nothing is a proposal density without end
            factor = np.log(counts) - np.log(share / share.sum())
        return own + factor[batch]

    @property
    def _first_used(self) -> int:
        """The network's draws, the first ones, no longer count where there are others."""
        return max(self.first, 1 if len(self.proposals) > 1 else 0)

    def _expected_sizes(self, raw, own, batch, counts, sizes) -> np.ndarray:
        """As in a pool: the effective size that the draws of all others expect of a proposal.

        Judged by their own draws alone, those that missed a tail would look better than those that met it.
        """
        used = np.flatnonzero(sizes > 0)
        if len(used) < 2:
            return sizes
        log_target, expected = raw + own, sizes.copy()
        with np.errstate(divide="ignore"):
            pooled = raw - (np.log(counts) - np.log(sizes / sizes.sum()))[batch]
        top = pooled.max()
        log_evidence = top + np.log(np.exp(pooled - top).sum())
        for k in used:
            others = np.where(batch == k, -np.inf, pooled)
            if kish(others) < ENOUGH_OTHERS:
                continue
            rows = np.isfinite(others)
            weights = np.exp(others[rows] - others[rows].max())
            ratio = log_target[rows] - self._density_of(k)[rows] - log_evidence
            # 1 / efficiency = E_posterior[weight] in units of the evidence
            inverse = np.log(weights @ np.exp(np.minimum(ratio, 300.0)) / weights.sum())
            expected[k] = counts[k] * np.exp(-max(inverse, 0.0))
        return expected

    def _density_of(self, k: int) -> np.ndarray:
        """Log density of proposal `k` at all draws so far, shape (n,)."""
        z, known = self.z, self._elsewhere.get(k, np.empty(0))
        if len(known) < len(z):
            known = np.concatenate([known, self.proposals[k].log_prob(z[len(known) :])])
            self._elsewhere[k] = known
        return known

    def honest_log_weights(self, everything: bool = False) -> np.ndarray:
        """See :meth:`xsixsa.correction.pool.Pool.honest_log_weights`; `everything` counts from the first proposal."""
        return log_standard_normal(self.z) + self.log_likelihood - self.honest_log_proposal(everything)

    @property
    def log_evidence(self) -> float:
        """Log-evidence from the draws that count, combined as in :meth:`honest_log_weights`."""
        log_w = self.honest_log_weights()
        most = log_w.max(initial=-np.inf)
        return float(most + np.log(np.exp(log_w - most).sum())) if np.isfinite(most) else -np.inf

    def pool(self) -> Pool:
        """A few hundred draws of each proposal as a pool, which refinement works on.

        The others would add little to what is to come but the heavy weights that made a refinement necessary.
        """
        pool = Pool(self.dim)
        batch = np.concatenate(self._batch) if self._batch else np.empty(0, int)
        z, log_l = self.z, self.log_likelihood
        for k, proposal in enumerate(self.proposals):
            rows = np.flatnonzero(batch == k)[:_HANDED_ON]
            pool.add(proposal, Draws(z[rows], log_l[rows], np.where(np.isfinite(log_l[rows]), 0, 1)))
        return pool
