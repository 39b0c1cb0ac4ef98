"""Exact posterior of one spectrum from a network's; many advance together, so that the engine gets large batches.

The network's density, with a wide and a defensive part beside it, is drawn from and weighted by the full prior and the
spectrum's own likelihood. Where a pilot shows that it is poor, a Student t mixture is fitted to the weighted draws and
drawn from in its place. Every draw is weighted against the proposal that made it, and none was seen by the fit of that
proposal; the evidence rests on the draws made after the last fit and the last decision.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from xsixsa.amortised.likelihood import CountStatistic
from xsixsa.correction.evidence import pareto_k
from xsixsa.correction.mixture import fit_student_mixture, temper
from xsixsa.correction.pool import Draws, Pool, effective_size
from xsixsa.correction.unfold import Unfolded, Unfolding
from xsixsa.errors import UsageError
from xsixsa.inference.proposals import MixtureProposal, PriorProposal, Proposal, StudentMixture, log_standard_normal
from xsixsa.session.records import Observation

__all__ = ["Correction", "CorrectionOptions", "NetworkPosterior", "correct_all"]

# Draws of the network that tell the centre and size of the wide part beside it.
_SHAPE_DRAWS = 256
# Draws that judge a proposal; they count for the posterior, not for the evidence.
_PILOT = 400
_TRIAL = 500
# From this efficiency on, another fit costs more than it brings.
_GOOD = 0.55
_GAIN = 1.15
# Pooled effective size below which another fit is always worth its draws.
_FEW = 150.0
_TAIL = 0.6
_MOST_FITS = 6
# Powers of the weights that mixtures are fitted to: the bulk, and the tails (see xsixsa.correction.refine).
_BULK_POWER, _TAIL_POWER, _BEND_POWER = 0.9, 0.5, 0.5
_COMPONENTS = 3


@dataclass(frozen=True)
class CorrectionOptions:
    """What the correction of one spectrum may spend.

    Attributes
    ----------
    ess : int
        Effective sample size asked for.
    max_evaluations : int
        Evaluations of the engine for one spectrum, refinement included.
    min_draws : int
        Draws on which the evidence rests at least.
    """

    ess: int = 1_000
    max_evaluations: int = 30_000
    min_draws: int = 500

    def __post_init__(self):
        for name in ("ess", "max_evaluations", "min_draws"):
            value = getattr(self, name)
            if int(value) != value or value < 1:
                raise UsageError(f"{name} must be a positive whole number, not {value!r}")
        if self.max_evaluations < self.ess:
            raise UsageError(
                f"max_evaluations={self.max_evaluations} cannot give an effective sample size of {self.ess}; raise it"
            )


class NetworkPosterior(Proposal):
    """A network's posterior of one spectrum, uncorrected.

    Parameters
    ----------
    posterior
        The network's flow.
    summary
        Summary of the spectrum, shape (k,).
    """

    name = "network"

    def __init__(self, posterior, summary: np.ndarray):
        self._posterior, self._summary = posterior, np.asarray(summary)[None]

    def sample(self, n, rng):
        return self._posterior.sample_many(self._summary, n, rng)[0]

    def log_prob(self, z):
        return self._posterior.log_prob_many(z[None], self._summary)[0]


class Correction:
    """Importance sampling of one spectrum in steps: :meth:`propose` points, :meth:`receive` what the engine says.

    Parameters
    ----------
    network
        The trained network.
    observation
        The spectrum, in the network's bins.
    reference
        The observation whose expected counts the engine computes: the loaded one.
    options
        Effective size and budget.
    rng
        Source of all randomness of this spectrum.

    Attributes
    ----------
    pool : Pool
        All draws with their weights.
    final : Proposal
        What the last draws came from.
    final_log_weights : numpy.ndarray
        Log weights of the draws that no fit and no decision has seen.
    done : bool
        Whether nothing more is to be drawn.
    refined : bool
        Whether the spectrum needed a refinement of its own.
    """

    def __init__(self, network, observation: Observation, reference: Observation, options: CorrectionOptions, rng):
        self.network, self.observation, self.options, self.rng = network, observation, options, rng
        self.vector = network.vector(observation)
        self._statistic = CountStatistic((observation,))
        # Expected counts are proportional to exposure and AREASCAL, bin by bin.
        self._scale = (observation.exposure * observation.area_scale) / (reference.exposure * reference.area_scale)
        self.summary = network.summarise(self.vector[None], observation.exposure)[0]
        self.neural = NetworkPosterior(network.posterior, self.summary)
        self._prior = PriorProposal(network.prior.dim)
        self.pool = Pool(network.prior.dim)
        self.history: list[dict] = []
        self.final_log_weights = np.empty(0)
        self.done = self.budget_spent = self.refined = False
        self._best = 0.0
        self._judged = False
        self._drawn: np.ndarray | None = None
        self._expected: list[np.ndarray] = []
        self.final = self._first()

    @property
    def expected(self) -> np.ndarray:
        """Expected source counts of all draws, at this spectrum's own exposure, shape (n, bins), float32."""
        return np.concatenate(self._expected)

    @property
    def n_evaluations(self) -> int:
        """Evaluations of the engine so far."""
        return len(self.pool)

    def _first(self) -> Proposal:
        shape = self.neural.sample(_SHAPE_DRAWS, self.rng)
        dim = shape.shape[1]
        scale = np.cov(shape.T).reshape(dim, dim) + 1e-12 * np.eye(dim)
        wide = StudentMixture(np.ones(1), shape.mean(axis=0)[None], 4.0 * scale[None], df=4.0)
        return MixtureProposal([self.neural, wide, self._prior], [0.85, 0.12, 0.03], name="network")

    def propose(self) -> np.ndarray:
        """Points in z that the engine is to be asked for, shape (n, d)."""
        left = self.options.max_evaluations - self.n_evaluations
        self._drawn = self.final.sample(min(self._wanted(), left), self.rng)
        return self._drawn

    def _wanted(self) -> int:
        if not self._judged:
            return _TRIAL if self.history else _PILOT
        short = max(self.options.min_draws - len(self.final_log_weights), 0)
        lacking = self.options.ess - effective_size(self.pool.honest_log_weights())
        if lacking > 0:
            short = max(short, int(1.1 * lacking / max(self._efficiency, 0.01)) + 20)
        return min(short, 5_000)

    def receive(self, expected: np.ndarray, valid: np.ndarray) -> None:
        """Take what the engine says of the proposed points.

        Parameters
        ----------
        expected
            Expected source counts of the reference observation, shape (n, bins).
        valid
            Which rows have a model, shape (n,).
        """
        own, log_l = self.likelihood(expected, valid)
        draws = Draws(self._drawn, log_l, np.where(np.isfinite(log_l), 0, 1))
        self._expected.append(own.astype(np.float32))
        self.pool.add(self.final, draws)
        log_w = log_standard_normal(draws.z) + log_l - self.final.log_prob(draws.z)
        self._note(log_w)
        if self._judged:
            self.final_log_weights = np.concatenate([self.final_log_weights, log_w])
            self._after_draws()
        else:
            self._judge(log_w)
        if not self.done and self.n_evaluations >= self.options.max_evaluations:
            self.done = self.budget_spent = True

    def likelihood(self, expected: np.ndarray, valid: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Expected counts at this spectrum's exposure, (n, bins), and log-likelihoods -C/2, ``-inf`` where invalid."""
        own = np.where(valid[:, None], expected, 1.0) * self._scale
        log_l = np.where(valid, -0.5 * self._statistic.rows(self.vector, own), -np.inf)
        return own, np.where(np.isfinite(log_l), log_l, -np.inf)

    def take(self, refinement) -> None:
        """Go on from where a :class:`~xsixsa.correction.refine.Refinement` of this pool has ended."""
        if refinement.final is not None:
            self.final, self.final_log_weights = refinement.final, refinement.final_log_weights
        self.history += refinement.history
        self.budget_spent, self.refined = refinement.budget_spent, True

    def _judge(self, log_w: np.ndarray) -> None:
        """Keep the proposal, or fit another one to all draws."""
        size = effective_size(log_w)
        self._efficiency = size / len(log_w)
        better = self._efficiency > _GAIN * self._best
        self._best = max(self._best, self._efficiency)
        pooled = effective_size(self.pool.honest_log_weights())
        if self._fits < _MOST_FITS and (self._efficiency < _GOOD and better or pooled < _FEW):
            self._fit()
        else:
            self._judged = True

    def _after_draws(self) -> None:
        self._efficiency = max(effective_size(self.final_log_weights) / len(self.final_log_weights), 0.01)
        if self._wanted() > 0:
            return
        # The verdict asks for 0.7; asking for less here leaves room for the scatter of the estimate.
        tail = max(pareto_k(self.final_log_weights), pareto_k(self.pool.honest_log_weights()))
        if tail <= _TAIL or self._fits >= _MOST_FITS:
            self.done = True
            return
        self._fit()

    @property
    def _fits(self) -> int:
        return len(self.pool.proposals) - 1

    def _fit(self) -> None:
        """A mixture in straightened coordinates, with wide, network and prior beside it; the evidence starts anew."""
        log_w = self.pool.honest_log_weights()
        self._judged, self.final_log_weights = False, np.empty(0)
        if not np.isfinite(log_w).any():
            return  # nothing to fit to: draw again
        enough = 25.0 * self.pool.dim
        bulk, _ = temper(log_w, enough, most=_BULK_POWER)
        flat, _ = temper(log_w, 2 * enough, most=_TAIL_POWER)
        bend, _ = temper(log_w, 4 * enough, most=_BEND_POWER)
        z = self.pool.z
        degree = 3 if effective_size(np.log(np.maximum(bend, 1e-300))) > 40 * self.pool.dim else 1
        unfolding = Unfolding(z[bend > 0], bend[bend > 0], degree)
        x = unfolding.forward(z)
        main = fit_student_mixture(x[bulk > 0], bulk[bulk > 0], self.rng, _COMPONENTS).widened(1.1, df=8.0)
        wide = fit_student_mixture(x[flat > 0], flat[flat > 0], self.rng, 1).widened(1.5, df=4.0)
        parts = [Unfolded(unfolding, main), Unfolded(unfolding, wide), self.neural, self._prior]
        self.final = MixtureProposal(parts, [0.74, 0.14, 0.10, 0.02], name="t-mixture")

    def _note(self, log_w: np.ndarray) -> None:
        self.history.append(
            {
                "step": self.final.name,
                "draws": len(log_w),
                "efficiency": effective_size(log_w) / max(len(log_w), 1),
                "pool_ess": effective_size(self.pool.honest_log_weights()),
                "n_evaluations": self.n_evaluations,
            }
        )


def correct_all(corrections: list[Correction], evaluate: Callable) -> None:
    """Advance all corrections to their ends, one batch of the engine for a step of all.

    Parameters
    ----------
    corrections
        What is to be done.
    evaluate
        ``evaluate(z)`` -> (expected source counts (n, bins) of the reference observation, valid (n,)).
    """
    while active := [c for c in corrections if not c.done]:
        proposed = [c.propose() for c in active]
        expected, valid = evaluate(np.concatenate(proposed))
        start = 0
        for c, z in zip(active, proposed, strict=True):
            rows = slice(start, start + len(z))
            start = rows.stop
            c.receive(expected[rows], valid[rows])
