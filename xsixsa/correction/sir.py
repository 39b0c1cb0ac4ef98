"""Sampling importance resampling: equal-weight posterior draws from one proposal, without any refinement.

Rubin 1987; Smith & Gelfand 1992. The published method draws 32 candidates for every draw it keeps; what the proposal
misses stays missing, which is why a run refines its proposal by default.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from xsixsa.correction.evidence import THIN, Evidence, estimate_evidence, pareto_k
from xsixsa.correction.pool import Draws, Pool, effective_size
from xsixsa.errors import UsageError
from xsixsa.inference.problem import Problem
from xsixsa.inference.proposals import MixtureProposal, PriorProposal, Proposal, log_standard_normal
from xsixsa.options import Options

__all__ = ["OVERSAMPLING", "SIR", "Resampled", "sir", "systematic_rows"]

OVERSAMPLING = 32
_BLOCK = 20_000


@dataclass(frozen=True)
class Resampled:
    """Equal-weight draws, and the weighted candidates they were chosen from.

    Attributes
    ----------
    rows : numpy.ndarray
        Which candidates were chosen, shape (n,).
    candidates : Draws
        Every evaluated candidate, m of them.
    log_weights : numpy.ndarray
        Unnormalised log weights N(z) L / q of the candidates, shape (m,).
    """

    rows: np.ndarray
    candidates: Draws
    log_weights: np.ndarray

    @property
    def z(self) -> np.ndarray:
        """Equal-weight draws in the prior's standard-normal space, shape (n, d)."""
        return self.candidates.z[self.rows]

    @property
    def log_likelihood(self) -> np.ndarray:
        """Log-likelihood -C/2 of the draws, shape (n,)."""
        return self.candidates.log_likelihood[self.rows]

    @property
    def distinct(self) -> int:
        """How many of the draws are different points; the others repeat them."""
        return len(np.unique(self.rows))

    @property
    def ess(self) -> float:
        """Kish's effective size of the candidates: no choice among them is worth more."""
        return effective_size(self.log_weights)

    @property
    def pareto_k(self) -> float:
        """Tail of the weights; from 0.7 the proposal misses too much for the draws to be the posterior."""
        return pareto_k(self.log_weights)

    @property
    def evidence(self) -> Evidence:
        """Log-evidence as the mean weight, with its standard error."""
        return estimate_evidence(self.log_weights)

    @property
    def n_evaluations(self) -> int:
        """Evaluations of the engine that the candidates took."""
        return len(self.log_weights)


def systematic_rows(weights: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    """`n` rows in proportion to `weights`, each as often as it should be to within one; in random order.

    Parameters
    ----------
    weights
        Not negative, at least one positive, shape (m,).
    """
    steps = np.cumsum(weights)
    # Rounding must not push the last point beyond the last step.
    points = np.minimum((rng.random() + np.arange(n)) / n * steps[-1], np.nextafter(steps[-1], 0))
    return rng.permutation(np.searchsorted(steps, points, side="right"))


def sir(
    proposal: Proposal,
    problem,
    n: int,
    rng: np.random.Generator,
    *,
    oversampling: int = OVERSAMPLING,
    grouped: bool = False,
    prior=None,
) -> Resampled:
    """Draw ``n * oversampling`` candidates, evaluate their exact likelihood, and choose `n` by their weights.

    Parameters
    ----------
    proposal
        Any normalised density in z: a neural posterior at the observation, a mixture, the prior.
    problem
        A :class:`~xsixsa.inference.problem.Problem`; or a session, together with `prior`.
    n
        Equal-weight draws wanted.
    rng
        Source of randomness.
    oversampling
        Candidates for every draw; 32 as published. Worth about one over the efficiency of the proposal at least.
    grouped
        Choose one of each `oversampling` candidates, as the published code does: no draw repeats, but where the
        proposal is less efficient than one in `oversampling` the draws keep part of its error. By default all
        candidates compete, which leaves no such error; draws repeat where a weight exceeds 1 / n.
    prior
        Prior of the session's free parameters, where `problem` is a session.

    Raises
    ------
    UsageError
        For numbers below one, when the problem does not allow so many evaluations, or when no candidate has a valid
        likelihood.
    """
    n, oversampling = _whole(n, "n"), _whole(oversampling, "oversampling")
    wanted = n * oversampling
    if not isinstance(problem, Problem):
        if prior is None:
            raise UsageError("sir() of a session needs its prior: prior=Prior.build(session, {...})")
        session = problem
        problem = Problem(prior, lambda theta, progress: session.evaluate(theta), wanted)
    if problem.remaining < wanted:
        raise UsageError(
            f"{n} draws with an oversampling of {oversampling} need {wanted} evaluations, {problem.remaining} are left"
        )
    draws = _candidates(proposal, problem, wanted, rng)
    log_w = log_standard_normal(draws.z) + draws.log_likelihood - proposal.log_prob(draws.z)
    if not np.isfinite(log_w).any():
        raise UsageError(
            f"none of the {len(draws)} candidates has a valid likelihood: the proposal misses the posterior"
        )
    if not grouped:
        return Resampled(systematic_rows(np.exp(log_w - log_w.max()), n, rng), draws, log_w)
    groups = log_w[: len(log_w) // oversampling * oversampling].reshape(-1, oversampling)
    # The largest of log weight plus Gumbel noise falls on each candidate in proportion to its weight.
    noisy = groups + rng.gumbel(size=groups.shape)
    valid = np.isfinite(groups).any(axis=1)
    rows = np.arange(len(groups)) * oversampling + np.argmax(noisy, axis=1)
    return Resampled(rows[valid], draws, log_w)


def _whole(value, name: str) -> int:
    if int(value) != value or value < 1:
        raise UsageError(f"{name} must be a whole number of at least 1, not {value!r}")
    return int(value)


def _candidates(proposal: Proposal, problem: Problem, wanted: int, rng) -> Draws:
    parts, left = [], wanted
    while left > 0:
        draws = problem.evaluate(proposal.sample(min(left, _BLOCK), rng))
        parts.append(draws)
        left -= len(draws)
    z, log_l, reason = (np.concatenate([getattr(p, name) for p in parts]) for name in ("z", "log_likelihood", "reason"))
    return Draws(z, log_l, reason)


@dataclass
class SIR:
    """The correction of a run by candidates from the neural posterior alone: ``Options(correction="sir")``.

    It has the attributes of :class:`~xsixsa.correction.refine.Refinement`, so that the verdict judges both alike: where
    the neural posterior is not good enough, the run says that it has not converged.
    """

    problem: Problem
    pool: Pool
    options: Options
    neural: Proposal | None = None
    final: Proposal | None = None
    final_log_weights: np.ndarray = field(default_factory=lambda: np.empty(0))
    history: list[dict] = field(default_factory=list)
    budget_spent: bool = False
    emulation: dict = field(default_factory=dict)

    @property
    def thin(self) -> float:
        """Weight, in units of the mean, from which a draw lies where the final proposal hardly draws.

        With one effective draw in 32 ordinary weights reach 32: what is thin is measured by the typical weight of a
        posterior draw, not of a candidate.
        """
        efficiency = effective_size(self.final_log_weights) / max(len(self.final_log_weights), 1)
        return THIN / max(efficiency, 1 / OVERSAMPLING)

    def run(self, rng: np.random.Generator) -> None:
        """``ess * oversampling`` candidates from the neural posterior with its defensive share of the prior."""
        prior, share = PriorProposal(self.problem.dim), self.options.defensive
        self.final = prior
        if self.neural is not None:
            self.final = MixtureProposal([self.neural, prior], [1 - share, share], name="neural posterior")
        left = self.options.ess * self.options.oversampling
        while left > 0:
            if not self.problem.remaining:
                self.budget_spent = True
                return
            draws = self.problem.evaluate(self.final.sample(min(left, _BLOCK), rng))
            self.pool.add(self.final, draws)
            log_w = log_standard_normal(draws.z) + draws.log_likelihood - self.final.log_prob(draws.z)
            self.final_log_weights = np.concatenate([self.final_log_weights, log_w])
            left -= len(draws)
            self.history.append(
                {
                    "step": "candidates",
                    "draws": len(draws),
                    "efficiency": effective_size(log_w) / len(draws),
                    "pool_ess": self.pool.ess,
                    "n_evaluations": self.problem.n_evaluations,
                }
            )
            self.problem.report(ess=self.pool.ess)
