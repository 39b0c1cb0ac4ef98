"""Rounds of neural posterior estimation on truncated priors (Deistler et al. 2022)."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

import numpy as np

from xsixsa.correction.pool import Pool
from xsixsa.errors import SessionError
from xsixsa.inference.flow import FlowProposal, NeuralPosterior
from xsixsa.inference.problem import Problem
from xsixsa.inference.proposals import MixtureProposal, PriorProposal, TruncatedPrior
from xsixsa.options import Options
from xsixsa.simulate import Simulator
from xsixsa.summaries.base import Summary, make_summary

__all__ = ["Rounds"]

log = logging.getLogger(__name__)

# Below this share of its box a truncated prior costs more to draw from than it saves.
_LEAST_ACCEPTANCE = 2e-3
# Noise is drawn afresh at every epoch while that costs at most so many Poisson numbers an epoch, and from a fixed
# set of realisations beyond.
_FRESH_NUMBERS = 4_000_000
_REALISATIONS = 8
_MOST_KEPT = 60_000_000


@dataclass
class Rounds:
    """Simulate, summarise, infer, truncate; repeat.

    Attributes
    ----------
    pool : Pool
        Every draw of every round, with its likelihood.
    posterior : FlowProposal or None
        The last neural posterior at the observation.
    history : list of dict
        For every round: draws, prior volume kept, training losses.
    """

    problem: Problem
    simulator: Simulator
    options: Options
    pool: Pool
    summary: Summary | None = None
    posterior: FlowProposal | None = None
    history: list[dict] = field(default_factory=list)
    _z: list = field(default_factory=list)
    _total: list = field(default_factory=list)

    def __post_init__(self):
        self.summary = self.summary or make_summary(self.options.summary, self.simulator, self.options)

    def run(self, rng: np.random.Generator) -> None:
        """All rounds; stops early where the network no longer shrinks the prior."""
        proposal, log_volume = PriorProposal(self.problem.dim), 0.0
        self._simulate(proposal, 2 * self.options.simulations, rng, 0)
        for number in range(self.options.rounds):
            if number:
                self._simulate(proposal, self.options.simulations, rng, number)
            self._learn(proposal, rng, number, log_volume)
            if number + 1 == self.options.rounds:
                break
            proposal, log_volume = self._truncate(rng)
            if proposal is None:
                break

    def _simulate(self, proposal, n: int, rng, number: int) -> None:
        draws = self.problem.evaluate(proposal.sample(n, rng), keep_expected=True)
        valid = np.isfinite(draws.log_likelihood)
        if number == 0 and valid.sum() < 0.05 * len(valid):
            raise SessionError(
                f"only {valid.sum()} of {len(valid)} draws from the prior have a valid statistic: "
                "the model fails in most of the prior; narrow it"
            )
        self.pool.add(proposal, draws)
        self._z.append(draws.z[valid])
        self._total.append(self.simulator.total(draws.expected[valid]))
        self.problem.report(ess=self.pool.ess)

    def _training_set(self, proposal) -> tuple[np.ndarray, np.ndarray]:
        """Draws of all rounds inside the current region: together they follow the prior restricted to it."""
        z, total = np.concatenate(self._z), np.concatenate(self._total)
        region = _truncation(proposal)
        if region is not None:
            inside = region.contains(z)
            z, total = z[inside], total[inside]
        return z, total

    def _learn(self, proposal, rng, number: int, log_volume: float) -> None:
        z, total = self._training_set(proposal)
        with self.problem.stage("summarise"):
            self.summary.fit(total, rng)
        with self.problem.stage("infer"):
            estimator = NeuralPosterior(self.options.posterior, embedding=self.summary.embedding)
            estimator.fit(z, self._noisy_summaries(total, rng), rng)
            observed = self.summary.transform(self.simulator.observed[None])[0]
            self.posterior = estimator.posterior(observed)
        self.history.append(
            {
                "round": number + 1,
                "simulations": len(z),
                "log_prior_volume": log_volume,
                "summary": {"name": self.summary.name, "notes": list(self.summary.notes)},
                "autoencoder" if self.summary.name == "autoencoder" else "compression": self.summary.history,
                "posterior": estimator.history,
            }
        )
        log.info("round %d: %d simulations, log prior volume %.2f", number + 1, len(z), log_volume)

    def _noisy_summaries(self, total: np.ndarray, rng):
        cache: dict[int, np.ndarray] = {}
        fresh = total.size <= _FRESH_NUMBERS
        # Summaries as long as the spectra would fill the memory when eight realisations of them were kept.
        width = self.summary.transform(total[:1]).shape[1]
        kept = int(np.clip(_MOST_KEPT // (len(total) * width), 2, _REALISATIONS))

        def summaries(epoch: int) -> np.ndarray:
            key = epoch if fresh else epoch % kept
            if key in cache:
                return cache[key]
            value = self.summary.transform(rng.poisson(total).astype(np.float32))
            if not fresh:
                cache[key] = value
            return value

        return summaries

    def _truncate(self, rng):
        with self.problem.stage("propose"):
            region = TruncatedPrior(self.posterior, rng, quantile=self.options.quantile)
        prior = PriorProposal(self.problem.dim)
        share = self.options.defensive
        if region.acceptance < _LEAST_ACCEPTANCE:
            log.info("the region fills %.1e of its box: drawing from the neural posterior instead", region.acceptance)
            return MixtureProposal([self.posterior, prior], [1 - share, share], name="neural posterior"), np.nan
        return MixtureProposal([region, prior], [1 - share, share], name="truncated prior"), region.log_volume


def _truncation(proposal) -> TruncatedPrior | None:
    for part in getattr(proposal, "parts", [proposal]):
        if isinstance(part, TruncatedPrior):
            return part
    return None
