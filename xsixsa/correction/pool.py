"""All draws of all proposals with their deterministic-mixture weights.

Veach & Guibas 1995 ("balance heuristic"); Cornuet et al. 2012 (AMIS): a draw of proposal k is weighted by
N(z) L / sum_j (n_j / n) q_j(z), so that every evaluation of the likelihood counts and no single proposal has to cover
the posterior alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from scipy.special import logsumexp

from xsixsa.inference.proposals import log_standard_normal

__all__ = ["ENOUGH_OTHERS", "MOST_OF_EARLIER", "Draws", "Pool", "effective_size"]

ENOUGH_OTHERS = 100.0
"""Other proposals' draws judge one where they have this effective size."""

MOST_OF_EARLIER = 0.1
"""Share of the weight that draws of earlier proposals keep at most; a tenth still brings a fifth of effective size."""


def effective_size(log_weights: np.ndarray) -> float:
    """Kish's effective sample size (sum w)^2 / sum w^2 of unnormalised log weights."""
    finite = log_weights[np.isfinite(log_weights)]
    if not len(finite):
        return 0.0
    return float(np.exp(2 * logsumexp(finite) - logsumexp(2 * finite)))


@dataclass
class Draws:
    """Evaluated points: standard-normal coordinates, log-likelihood, and why invalid ones are."""

    z: np.ndarray
    log_likelihood: np.ndarray
    reason: np.ndarray
    expected: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.z)


@dataclass
class Pool:
    """Draws with the proposals that made them.

    Every row holds `z` (d,), its log-likelihood, and the log density of every proposal there, so that the
    weights under any part of the pool cost no further evaluation.

    Attributes
    ----------
    first : int
        Draws of proposals before this one have a tenth of the weight in :meth:`honest_log_weights` at most: a heavy
        tail of theirs would spoil the weights of all.
    """

    dim: int
    proposals: list = field(default_factory=list)
    counts: list[int] = field(default_factory=list)
    first: int = 0
    _z: list[np.ndarray] = field(default_factory=list)
    _log_l: list[np.ndarray] = field(default_factory=list)
    _log_q: np.ndarray | None = None

    def __len__(self) -> int:
        return sum(self.counts)

    @property
    def z(self) -> np.ndarray:
        """Coordinates of all draws, shape (n, d)."""
        return np.concatenate(self._z) if self._z else np.empty((0, self.dim))

    @property
    def log_likelihood(self) -> np.ndarray:
        """Log-likelihood of all draws, ``-inf`` where invalid, shape (n,)."""
        return np.concatenate(self._log_l) if self._log_l else np.empty(0)

    @property
    def batch(self) -> np.ndarray:
        """Which proposal made each draw, shape (n,)."""
        return np.repeat(np.arange(len(self.counts)), self.counts)

    def add(self, proposal, draws: Draws) -> None:
        """Append the draws of `proposal`; draws of the proposal added last may follow in further calls."""
        new_column = not (self.proposals and self.proposals[-1] is proposal)
        if new_column:
            self.proposals.append(proposal)
            self.counts.append(0)
            column = proposal.log_prob(self.z)[:, None] if len(self) else np.empty((0, 1))
            self._log_q = column if self._log_q is None else np.concatenate([self._log_q, column], axis=1)
        rows = np.stack([p.log_prob(draws.z) for p in self.proposals], axis=1)
        self._log_q = np.concatenate([self._log_q, rows], axis=0)
        self._z.append(draws.z)
        self._log_l.append(draws.log_likelihood)
        self.counts[-1] += len(draws)

    def rows(self, rows: slice) -> Draws:
        """Some of the draws, without their proposal."""
        z, log_l = self.z[rows], self.log_likelihood[rows]
        return Draws(z, log_l, np.where(np.isfinite(log_l), 0, 1))

    def log_proposal(self, rows: slice | np.ndarray = slice(None)) -> np.ndarray:
        """Log density of the mixture of all proposals in proportion to their draws, shape (n,)."""
        return logsumexp(self._log_q[rows] + np.log(np.array(self.counts) / len(self)), axis=1)

    def log_ratio_of_last(self) -> np.ndarray:
        """Log of prior times likelihood over the density of the newest proposal alone, at all draws, shape (n,)."""
        return log_standard_normal(self.z) + self.log_likelihood - self._log_q[:, -1]

    def log_weights(self) -> np.ndarray:
        """Unnormalised log weights N(z) L / q of all draws, shape (n,)."""
        return log_standard_normal(self.z) + self.log_likelihood - self.log_proposal()

    @property
    def ess(self) -> float:
        """Effective sample size of the deterministic-mixture weights."""
        return effective_size(self.log_weights())

    def honest_log_proposal(self) -> np.ndarray:
        """Log of what prior times likelihood is divided by in :meth:`honest_log_weights`, shape (n,)."""
        own = self._log_q[np.arange(len(self)), self.batch]
        sizes = self._expected_sizes(log_standard_normal(self.z) + self.log_likelihood, own)
        # Sizes squared over draws rather than sizes: the heavy weights of a poor proposal stay out of the tail, for a
        # few per cent of the effective size.
        share = np.maximum(sizes, 1e-150) ** 2 / self.counts
        share /= share.sum()
        earlier = share[: self.first].sum()
        if earlier > MOST_OF_EARLIER:
            share[: self.first] *= MOST_OF_EARLIER / earlier
            share[self.first :] *= (1 - MOST_OF_EARLIER) / share[self.first :].sum()
        return own + (np.log(self.counts) - np.log(share))[self.batch]

    def _expected_sizes(self, log_target: np.ndarray, own: np.ndarray) -> np.ndarray:
        """Effective size that the draws of each proposal should have, judged by the draws of all others.

        Their own weights must not decide: a batch that happens to hold no draw of a thin tail looks better than one
        that does, and tails would be lost on average.
        """
        raw, batch = log_target - own, self.batch
        sizes = np.array([effective_size(raw[batch == k]) for k in range(len(self.counts))])
        share = np.maximum(sizes, 1e-300) / max(sizes.sum(), 1e-300)
        pooled = raw - (np.log(self.counts) - np.log(share))[batch]
        log_evidence = logsumexp(pooled)
        for k, count in enumerate(self.counts):
            others = np.where(batch == k, -np.inf, pooled)
            if effective_size(others) < ENOUGH_OTHERS:
                continue
            others -= logsumexp(others)
            # 1 / efficiency = E_posterior[weight] in units of the evidence
            used = np.isfinite(others)
            inverse = logsumexp(others[used] + log_target[used] - self._log_q[used, k] - log_evidence)
            sizes[k] = count * np.exp(-max(inverse, 0.0))
        return sizes

    def honest_log_weights(self) -> np.ndarray:
        """Log weights of all draws, each against the proposal that made it; their sum estimates the evidence.

        A proposal is fitted to draws made before its own, so no draw was seen by the fit whose density divides it.
        Deterministic-mixture weights lack that: a proposal fitted to the very points it reweights is too high on
        them, which takes weight from the tails. Proposals count by the effective size that all others expect of them.
        """
        return log_standard_normal(self.z) + self.log_likelihood - self.honest_log_proposal()

    @property
    def log_evidence(self) -> float:
        """Log-evidence from all draws, combined as in :meth:`honest_log_weights`."""
        return float(logsumexp(self.honest_log_weights()))
