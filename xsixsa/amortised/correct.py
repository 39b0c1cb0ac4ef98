"""Exact posterior of one spectrum from a network's, in steps, so that many can advance together.

The network's density, with a wide and a defensive part beside it, is drawn from and weighted by the full prior and the
spectrum's own likelihood. Where a pilot shows that it is poor, Student t densities are fitted to the weighted draws and
drawn from in its place. Every draw is weighted against the proposal that made it, and none was seen by the fit of that
proposal; the evidence rests on the draws made after the last fit and the last decision.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from xsixsa.amortised.ledger import Ledger, kish
from xsixsa.amortised.likelihood import CountStatistic
from xsixsa.amortised.student import StudentT
from xsixsa.correction.evidence import estimate_evidence, mass_not_covered, pareto_k
from xsixsa.correction.mixture import fit_student_mixture, temper
from xsixsa.correction.unfold import Unfolded, Unfolding
from xsixsa.correction.unskew import Unskewed, Unskewing
from xsixsa.errors import UsageError
from xsixsa.inference.proposals import MixtureProposal, PriorProposal, Proposal, log_standard_normal
from xsixsa.session.records import Observation

__all__ = ["Correction", "CorrectionOptions", "NetworkPosterior"]

# Draws of the network that tell the centre and size of the wide part beside it.
_SHAPE_DRAWS = 256
# Draws for each parameter, and in all, that judge a proposal; they count for the posterior, not for the evidence.
_PILOT, _LEAST_PILOT = 70, 200
# From this efficiency on, another fit costs more than it brings.
_GOOD, _POOR = 0.55, 0.25
# Below this efficiency of the draws themselves, and above this share of the posterior where they hardly fall, the
# proposal has a thin tail that its trial did not show.
_SAGGING, _MISSED = 0.4, 0.01
_GAIN = 1.15
# Pooled effective size, for each parameter, below which another fit is always worth its draws.
_FEW = 40.0
_TAIL = 0.6
_MOST_FITS = 6
# A second fit that follows a poor first one takes several components.
_COMPONENTS = 4
# Powers of the weights that are fitted to: the bulk, the tails, the bends (see xsixsa.correction.refine).
_BULK_POWER, _TAIL_POWER, _BEND_POWER = 0.9, 0.5, 0.5


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
    share
        Share of the evaluations allowed that may be spent here; the rest is for a refinement.

    Attributes
    ----------
    pool : Ledger or Pool
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

    def __init__(
        self,
        network,
        observation: Observation,
        reference: Observation,
        options: CorrectionOptions,
        rng,
        share: float = 1.0,
    ):
        self.network, self.observation, self.options, self.rng = network, observation, options, rng
        self._limit = max(int(share * options.max_evaluations), min(options.max_evaluations, 2 * options.ess))
        self.vector = network.vector(observation)
        self._statistic = CountStatistic((observation,))
        # Expected counts are proportional to exposure and AREASCAL, bin by bin.
        self._scale = (observation.exposure * observation.area_scale) / (reference.exposure * reference.area_scale)
        self.summary = network.summarise(self.vector[None], observation.exposure)[0]
        self.neural = NetworkPosterior(network.posterior, self.summary)
        self._prior = PriorProposal(network.prior.dim)
        self.pool = Ledger(network.prior.dim)
        self.history: list[dict] = []
        self.final_log_weights = np.empty(0)
        self.done = self.budget_spent = self.refined = False
        self._best = self._efficiency = 0.0
        self._fits, self._judged, self._restarted, self._left_behind = 0, False, False, 0
        self._drawn: np.ndarray | None = None
        self._expected: list[np.ndarray] = []
        self.final = self._first()

    @property
    def expected(self) -> np.ndarray:
        """Expected source counts of the draws made here, at this spectrum's own exposure, shape (n, bins), float32."""
        return np.concatenate(self._expected) if self._expected else np.empty((0, len(self._scale)), np.float32)

    @property
    def n_evaluations(self) -> int:
        """Evaluations of the engine so far."""
        return len(self.pool) + self._left_behind

    def _first(self) -> Proposal:
        shape = self.neural.sample(_SHAPE_DRAWS, self.rng)
        dim = shape.shape[1]
        scale = np.cov(shape.T).reshape(dim, dim) + 1e-12 * np.eye(dim)
        self._around = StudentT(shape.mean(axis=0), 4.0 * scale, df=4.0)
        return MixtureProposal([self.neural, self._around, self._prior], [0.85, 0.12, 0.03], name="network")

    def propose(self) -> np.ndarray:
        """Points in z that the engine is to be asked for, shape (n, d)."""
        left = self._limit - self.n_evaluations
        self._drawn = self.final.sample(min(self._wanted(), left), self.rng)
        return self._drawn

    def _wanted(self) -> int:
        if not self._judged:
            return max(_LEAST_PILOT, _PILOT * self.pool.dim)
        short = max(self.options.min_draws - len(self.final_log_weights), 0)
        lacking = self.options.ess - kish(self.pool.honest_log_weights())
        if lacking > 0:
            short = max(short, int(1.08 * lacking / max(self._efficiency, 0.05)) + 20)
        return min(short, 4 * self.options.ess)

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
        self._expected.append(own.astype(np.float32))
        log_w = self.pool.add(self.final, self._drawn, log_l)
        self._efficiency = kish(log_w) / len(log_w)
        if self._judged:
            self.final_log_weights = np.concatenate([self.final_log_weights, log_w])
            self._efficiency = kish(self.final_log_weights) / len(self.final_log_weights)
        self._note(len(log_w))
        if self._judged:
            self._after_draws()
        else:
            self._judge()
        if not self.done and self.n_evaluations >= self._limit:
            self.done = self.budget_spent = True

    def likelihood(self, expected: np.ndarray, valid: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Expected counts at this spectrum's exposure, (n, bins), and log-likelihoods -C/2, ``-inf`` where invalid."""
        own = np.where(valid[:, None], expected, 1.0) * self._scale
        log_l = np.where(valid, -0.5 * self._statistic.rows(self.vector, own), -np.inf)
        return own, np.where(np.isfinite(log_l), log_l, -np.inf)

    def missed_mass(self) -> float:
        """Share of the posterior, by all draws ever made, where the last proposal hardly draws."""
        evidence = estimate_evidence(self.final_log_weights).value
        if not np.isfinite(evidence):
            return 1.0
        pool = self.pool
        # A pool knows every density everywhere: what only a poor proposal met has its full mass in its mixture weights.
        everything = pool.log_weights() if self.refined else pool.honest_log_weights(everything=True)
        ratio = log_standard_normal(pool.z) + pool.log_likelihood - self.final.log_prob(pool.z)
        return mass_not_covered(everything, ratio, evidence)

    def take(self, refinement) -> None:
        """Go on from where a :class:`~xsixsa.correction.refine.Refinement` of these draws has ended."""
        # Draws are no longer in the order in which their expected counts were kept.
        self._left_behind, self._expected = self.n_evaluations + refinement.problem.n_evaluations, []
        self.pool = refinement.pool
        self._left_behind -= len(self.pool)
        if refinement.final is not None:
            self.final, self.final_log_weights = refinement.final, refinement.final_log_weights
        self.history += refinement.history
        self.budget_spent, self.refined = refinement.budget_spent, True

    def _judge(self) -> None:
        """Keep the proposal, or fit another one to all draws."""
        better = self._efficiency > _GAIN * self._best
        poor = self._efficiency < _POOR or kish(self.pool.honest_log_weights()) < _FEW * self.pool.dim
        again = self._fits < _MOST_FITS and self._efficiency < _GOOD and (better or poor or self._fits < 2)
        self._best = max(self._best, self._efficiency)
        if again:
            self._fit()
        else:
            self._judged = True

    def _after_draws(self) -> None:
        if self._wanted() > 0:
            # A pilot may miss what more draws show.
            if self._efficiency < _SAGGING and self._fits < _MOST_FITS:
                self._fit()
            return
        if self._fits < _MOST_FITS and self.missed_mass() > _MISSED:
            self._fit()
            return
        # The verdict asks for 0.7; asking for less here leaves room for the scatter of the estimate.
        final_is_good = bool(pareto_k(self.final_log_weights) <= _TAIL)
        if final_is_good and pareto_k(self.pool.honest_log_weights()) <= _TAIL:
            self.done = True
        elif final_is_good and self._fits and not self._restarted:
            # The tail is that of earlier proposals: the last one alone gives the posterior.
            self.pool.first, self._restarted = len(self.pool.proposals) - 1, True
            self.done = self._wanted() <= 0
        elif self._fits < _MOST_FITS:
            self._fit()
        else:
            self.done = True

    def _fit(self) -> None:
        """Densities in straightened coordinates; the evidence starts anew.

        Beside them a wide density around the network's draws, which is where other modes would be, and the prior. The
        network itself would cost more here than all the rest.
        """
        log_w = self.pool.honest_log_weights(everything=True)
        self._judged, self.final_log_weights = False, np.empty(0)
        if not np.isfinite(log_w).any():
            return  # nothing to fit to: draw again
        self._fits += 1
        self.pool.first, self._restarted = 0, False
        enough = 20.0 * self.pool.dim
        bulk, flat, bend = (
            temper(log_w, factor * enough, most=power)[0]
            for factor, power in ((1, _BULK_POWER), (2, _TAIL_POWER), (3, _BEND_POWER))
        )
        used, unskewing = bend > 0, Unskewing(self.pool.z, bend)
        z = unskewing.forward(self.pool.z) if unskewing.any else self.pool.z
        rich = 1.0 / (bend @ bend) > 60 * self.pool.dim
        unfolding = Unfolding(z[used], bend[used], 3 if rich else 1)
        x = unfolding.forward(z)
        if self._fits > 1 and self._efficiency < _POOR:
            main = fit_student_mixture(x[bulk > 0], bulk[bulk > 0], self.rng, _COMPONENTS).widened(1.1, df=8.0)
        else:
            main = StudentT.around(x, bulk, 1.05, df=8.0)
        wide = StudentT.around(x, flat, 1.5, df=4.0)
        fitted = [Unfolded(unfolding, main), Unfolded(unfolding, wide)]
        if unskewing.any:
            fitted = [Unskewed(unskewing, part) for part in fitted]
        parts = [*fitted, self._around, self._prior]
        self.final = MixtureProposal(parts, [0.76, 0.14, 0.08, 0.02], name="t-mixture")

    def _note(self, draws: int) -> None:
        self.history.append(
            {
                "step": self.final.name,
                "draws": draws,
                "efficiency": self._efficiency,
                "pool_ess": kish(self.pool.honest_log_weights()),
                "n_evaluations": self.n_evaluations,
            }
        )
