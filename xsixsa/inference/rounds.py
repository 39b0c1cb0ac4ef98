"""Rounds of neural posterior estimation: simulate, summarise, infer, propose; repeat."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace

import numpy as np

from xsixsa.correction.mixture import temper
from xsixsa.correction.pool import Pool, effective_size
from xsixsa.errors import SessionError
from xsixsa.inference.coverage import counts_rank, latent_coverage, uncovered
from xsixsa.inference.flow import NeuralPosterior
from xsixsa.inference.problem import Problem
from xsixsa.inference.proposals import PriorProposal, Proposal, log_standard_normal
from xsixsa.inference.propose import Next, Seen, next_proposal, regions
from xsixsa.options import Options
from xsixsa.simulate import Simulator
from xsixsa.summaries.base import Summary, make_summary

__all__ = ["Rounds"]

log = logging.getLogger(__name__)

# Noise is drawn afresh at every epoch while that costs at most so many Poisson numbers an epoch, and from a fixed
# set of realisations beyond.
_FRESH_NUMBERS = 4_000_000
_REALISATIONS = 8
_MOST_KEPT = 60_000_000
# A round that brings less than this ends rounds that go on until efficiency, or volume, no longer improves.
_EFFICIENCY_GAIN = 1.1
_VOLUME_GAIN = np.log(0.8)
# Draws that do not follow the prior are weighted back to it, as far as this share of them remains effective.
_LEAST_TRAINING_ESS = 0.25


@dataclass
class Rounds:
    """Simulate, summarise, infer, propose; repeat for a number of rounds or until a criterion is met.

    Attributes
    ----------
    pool : Pool
        Every draw of every round, with its likelihood.
    posterior : Proposal or None
        The last neural posterior at the observation.
    uncovered : str
        What to say where the prior predicts nothing like the observation; else empty.
    history : list of dict
        For every round: ``round``, ``proposal``, ``simulations`` trained on, ``log_prior_volume`` and its error,
        ``efficiency`` of its draws, ``pool_ess``, ``n_evaluations``, training losses, ``counts_rank`` of the
        observation among the simulations, its ``coverage`` in the latents and their histograms; ``stopped`` where a
        criterion ended the rounds.
    """

    problem: Problem
    simulator: Simulator
    options: Options
    pool: Pool
    summary: Summary | None = None
    posterior: Proposal | None = None
    uncovered: str = ""
    history: list[dict] = field(default_factory=list)
    _z: list = field(default_factory=list)
    _total: list = field(default_factory=list)
    _log_l: list = field(default_factory=list)
    _growth: list = field(default_factory=list)
    _estimator: NeuralPosterior | None = None

    def __post_init__(self):
        self.summary = self.summary or make_summary(self.options.summary, self.simulator, self.options)

    def run(self, rng: np.random.Generator) -> None:
        """All rounds; fewer where a criterion of the options is met."""
        present = Next(PriorProposal(self.problem.dim), 0.0, 0.0)
        self._simulate(present, 2 * self.options.simulations, rng, 0)
        for number in range(self.options.rounds):
            if number:
                self._simulate(present, self.options.simulations, rng, number)
            stopped = self._criterion_met()
            last = number + 1 == self.options.rounds or bool(stopped)
            trained = self._learn(present, rng, number, last)
            if not last:
                with self.problem.stage("propose"):
                    following = self._propose(present, rng)
                if self._volume_stays(present, following):
                    stopped, last = "the volume no longer shrinks", True
                    if not trained:
                        self._learn(present, rng, number, True)
                present = following
            if stopped:
                self.history[-1]["stopped"] = stopped
                log.info("rounds end after %d: %s", number + 1, stopped)
            if last:
                return

    def _simulate(self, present: Next, n: int, rng, number: int) -> None:
        draws = self.problem.evaluate(present.proposal.sample(n, rng), keep_expected=True)
        valid = np.isfinite(draws.log_likelihood)
        if number == 0 and valid.sum() < 0.05 * len(valid):
            raise SessionError(
                f"only {valid.sum()} of {len(valid)} draws from the prior have a valid statistic: "
                "the model fails in most of the prior; narrow it"
            )
        self.pool.add(present.proposal, draws)
        self._z.append(draws.z[valid])
        self._total.append(self.simulator.total(draws.expected[valid]))
        self._log_l.append(draws.log_likelihood[valid])
        if number == 0:
            self.uncovered = uncovered(self._total[0], self.simulator)
        ess = self.pool.ess
        self._growth.append(ess / len(self.pool))
        self.problem.report(ess=ess)
        own = log_standard_normal(draws.z) + draws.log_likelihood - present.proposal.log_prob(draws.z)
        self.history.append(
            {
                "round": number + 1,
                "proposal": present.proposal.name,
                "simulations": 0,
                "log_prior_volume": present.log_volume,
                "log_prior_volume_err": present.log_volume_err,
                "notes": list(present.notes),
                "efficiency": effective_size(own) / len(draws),
                "pool_ess": ess,
                "n_evaluations": self.problem.n_evaluations,
                # Noise of its own: what is only looked at must not shift what is drawn.
                "counts_rank": counts_rank(self._total[-1], self.simulator, np.random.default_rng(number)),
                "coverage": [],
                "latent_histograms": [],
                "posterior": [],
            }
        )

    def _criterion_met(self) -> str:
        criteria, growth = self.options.criteria, self._growth
        if "ess" in criteria and growth[-1] * len(self.pool) >= self.options.ess:
            return "the effective size asked for is reached"
        if "efficiency" in criteria and len(growth) > 1 and growth[-1] < _EFFICIENCY_GAIN * growth[-2]:
            return "the efficiency of the pool no longer improves"
        return ""

    def _volume_stays(self, present: Next, following: Next) -> bool:
        volumes = present.log_volume, following.log_volume
        if "volume" not in self.options.criteria or not np.isfinite(volumes).all():
            return False
        return volumes[1] > volumes[0] + _VOLUME_GAIN

    def _seen(self) -> Seen:
        return Seen(*(np.concatenate(parts) for parts in (self._z, self._total, self._log_l)))

    def _propose(self, present: Next, rng) -> Next:
        return next_proposal(self.options, self.posterior, self._seen(), present.proposal, self.simulator, rng)

    def _training_set(self, proposal: Proposal) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """Draws of all rounds to train on, and their weights where they do not follow the prior.

        Inside the region of a truncated or restricted prior all draws so far follow the prior. Draws of a posterior, or
        of several regions, are weighted by prior over proposal (Lueckmann et al. 2017), tempered: few large weights
        would train on few spectra, while what remains of the proposal in the network is corrected later.
        """
        seen, found = self._seen(), regions(proposal)
        strangers = [p for p in getattr(proposal, "parts", []) if not isinstance(p, PriorProposal) and p not in found]
        # A truncation that fell back to the neural posterior goes on without weights, as the prior draws that it still
        # holds outnumber the others in two rounds.
        if len(found) <= 1 and (not strangers or self.options.proposals == ("truncated",)):
            inside = found[0].contains(seen.z) if found else slice(None)
            return seen.z[inside], seen.total[inside], None
        rows = np.isfinite(self.pool.log_likelihood)
        log_w = log_standard_normal(seen.z) - self.pool.log_proposal(rows)
        weights, _ = temper(log_w, _LEAST_TRAINING_ESS * len(log_w))
        return seen.z, seen.total, weights * len(weights)

    def _learn(self, present: Next, rng, number: int, last: bool) -> bool:
        """Train what the next proposal needs, or the posterior of the last round; False for less than the latter."""
        kinds = self.options.proposals
        if last or "truncated" in kinds or "posterior" in kinds:
            self._train(present, rng, self.summary, None, number)
            return True
        if "coarse" in kinds:
            summary = make_summary("pca", self.simulator, self.options)
            self._train(present, rng, summary, NeuralPosterior(_coarse(self.options)), number)
            self.posterior.name = "coarse posterior"
        return False

    def _estimator_of(self, summary: Summary) -> NeuralPosterior:
        if not self.options.warm_start or self._estimator is None:
            self._estimator = NeuralPosterior(self.options.posterior, summary.embedding, self.options.ensemble)
        return self._estimator

    def _train(self, present: Next, rng, summary: Summary, estimator: NeuralPosterior | None, number: int) -> None:
        z, total, weights = self._training_set(present.proposal)
        with self.problem.stage("summarise"):
            summary.fit(total, rng)
        # An embedding network exists from the first fit of its summary on.
        estimator = estimator or self._estimator_of(summary)
        with self.problem.stage("infer"):
            noisy = _Recorded(self._noisy_summaries(total, rng, summary))
            estimator.fit(z, noisy, rng, warm=self.options.warm_start, weights=weights)
            observed = summary.transform(self.simulator.observed[None])
            self.posterior = estimator.posterior(observed[0])
        self.history[number] |= {
            "simulations": len(z),
            "summary": {"name": summary.name, "notes": list(summary.notes)},
            "autoencoder" if summary.name == "autoencoder" else "compression": summary.history,
            "posterior": estimator.history,
            **latent_coverage(estimator.condition(noisy.first), estimator.condition(observed)[0]),
        }
        log.info("round %d: %d simulations, log prior volume %.2f", number + 1, len(z), present.log_volume)

    def _noisy_summaries(self, total: np.ndarray, rng, summary: Summary):
        cache: dict[int, np.ndarray] = {}
        fresh = total.size <= _FRESH_NUMBERS
        # Summaries as long as the spectra would fill the memory when eight realisations of them were kept.
        width = summary.transform(total[:1]).shape[1]
        kept = int(np.clip(_MOST_KEPT // (len(total) * width), 2, _REALISATIONS))

        def summaries(epoch: int) -> np.ndarray:
            key = epoch if fresh else epoch % kept
            if key in cache:
                return cache[key]
            value = summary.transform(rng.poisson(total).astype(np.float32))
            if not fresh:
                cache[key] = value
            return value

        return summaries


class _Recorded:
    """Noisy summaries that remember those of the first epoch."""

    def __init__(self, summaries):
        self._summaries, self.first = summaries, None

    def __call__(self, epoch: int) -> np.ndarray:
        value = self._summaries(epoch)
        if epoch == 0:
            self.first = value
        return value


def _coarse(options: Options):
    """A quick network: its posterior only has to hold the next round's draws."""
    return replace(options.posterior, transforms=2, hidden=32, epochs=20, batch=256)
