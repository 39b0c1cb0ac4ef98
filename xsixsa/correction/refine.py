"""Refinement of the proposal on pooled weights, until draws from it are nearly the posterior.

First Student t mixtures fitted to tempered weights (adaptive multiple importance sampling, Cornuet et al. 2012), which
find the posterior from a poor start; then flows fitted to the pooled points, which follow its shape. The draws made
after the last fit have been seen by none: the evidence rests on them alone.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from xsixsa.correction.emulator import screen
from xsixsa.correction.evidence import THIN, mass_not_covered, pareto_k
from xsixsa.correction.explore import Modes, find_modes, follow, starting_points
from xsixsa.correction.mixture import temper
from xsixsa.correction.patch import excess_weights
from xsixsa.correction.pool import Pool, effective_size
from xsixsa.correction.unfold import Unfolded, Unfolding, unfolded_mixture
from xsixsa.inference.flow import WhitenedFlow
from xsixsa.inference.problem import BudgetSpent, Problem
from xsixsa.inference.proposals import MixtureProposal, PriorProposal, Proposal, log_standard_normal
from xsixsa.options import Options
from xsixsa.simulate import Simulator

__all__ = ["Refinement"]

log = logging.getLogger(__name__)

# Draws that judge a flow; they stay in the pool but not in the evidence.
_TRIAL = 1_500
# Above this tail index of the final weights the proposal misses something, and is fitted again. The verdict asks for
# 0.7; from a few thousand draws the index is known to about 0.1, so that draws that are still to come are waited for
# unless the verdict's own bound is passed.
_TAIL = 0.65
_CLEAR_TAIL = 0.7
# Up to this tail index weights have a variance: the final proposal misses nothing.
_LIGHT_TAIL = 0.5
# A fit that brings less than this over the best before is the last.
_GAIN = 1.15
_GOOD_EFFICIENCY = 0.5
# The flow is fitted to the weights to this power: wider by 8 % in every direction, which costs a few per cent of
# efficiency and spares the tails.
_FLOW_POWER = 0.85
# Mixtures are fitted to flatter weights: while the posterior is being found, and beside the final flows, where they
# hold the tails. A flow learns little of a tail that a few draws stand for, and a tail that is missed narrows marginals
# long before effective size or Pareto k tell.
_MIXTURE_POWER = 0.6
_TAIL_POWER = 0.4
# Shares of flow and mixtures in the final proposal; what is left goes to the neural posterior and the prior.
_FLOW_SHARE, _TAIL_SHARE = 0.70, 0.22
# Before the final draws a mixture is added where weights exceed this many times their mean, with a share of the draws
# in proportion to the mass found there.
_EXCESS_FACTOR = 1.5
_EXCESS_SHARE = 6.0
_EXCESS_RANGE = (0.03, 0.3)
# Its components are this wide, in standard deviations of the posterior, where a lone draw is all that is known.
_EXCESS_WIDTH = 0.5
# Positions along each of the longest two axes from which the ridge of the posterior is followed, in standard deviations
# of flattened weights. What is found there holds this share of every later proposal.
_RIDGE = np.linspace(-2.25, 2.25, 7)
_RIDGE_SHARE = 0.1
_MODES_SHARE = 0.1
# Draws of mixtures that are healthy each by themselves, so many times more than all are together: every mixture misses
# the same ends of the posterior, and more of them would not help.
_STALLED = 4.0
# Above this share of the posterior where the proposal hardly draws, it is fitted again; the verdict allows 0.02.
_MISSED = 0.01
# Lone heavy draws from which a mode is searched, and the share of the posterior below which they are no reason to.
_LONE_DRAWS, _LONE_SHARE = 6, 1e-3
# Straightened coordinates are fitted to the weights to this power.
_BEND_POWER = 0.5


@dataclass
class Refinement:
    """Adapts proposals to the pool and makes the final draws.

    Attributes
    ----------
    final : Proposal or None
        The proposal of the final draws.
    final_log_weights : numpy.ndarray
        Log weights N(z) L / q of the draws made after the last fit and the last decision about it.
    history : list of dict
        Every step: what was fitted, draws, efficiency, pooled effective size.
    budget_spent : bool
        Whether the evaluations ran out first.
    """

    thin: ClassVar[float] = THIN

    problem: Problem
    pool: Pool
    simulator: Simulator
    options: Options
    neural: Proposal | None = None
    modes: Modes | None = None
    ridge: Modes | None = None
    final: Proposal | None = None
    final_log_weights: np.ndarray = field(default_factory=lambda: np.empty(0))
    history: list[dict] = field(default_factory=list)
    budget_spent: bool = False
    _emulation: dict = field(default_factory=dict)
    _emulators: list = field(default_factory=list)
    _best_efficiency: float = 0.0
    _looked_at: set[int] = field(default_factory=set)
    _flows: list[Proposal] = field(default_factory=list)
    _trial: int = 0  # number of the proposal that the last fit made

    def run(self, rng: np.random.Generator) -> None:
        """Explore a second time, adapt mixtures to all that was found, fit flows, draw; again where the tail tells."""
        try:
            if self.options.exploration > 0:
                self._explore(rng)
            for attempt in range(self.options.max_refits):
                self._adapt(rng)
                efficiency = self._fit_flow(rng)
                last = attempt + 1 == self.options.max_refits
                if (last or not self._worth_another(efficiency)) and self._finish(rng, last):
                    return
                if self.ridge is None:
                    self._follow(rng)
        except BudgetSpent:
            self.budget_spent = True
            log.info("the %d evaluations allowed are used up", self.problem.max_evaluations)

    def _worth_another(self, efficiency: float) -> bool:
        better = efficiency > _GAIN * self._best_efficiency
        self._best_efficiency = max(self._best_efficiency, efficiency)
        return efficiency < _GOOD_EFFICIENCY and better

    def _adapt(self, rng) -> None:
        """Refit a mixture to tempered weights and draw from it until the untempered weights are healthy."""
        pool, own = self.pool, 0.0
        while pool.ess < self.options.flow_ess:
            mixture, power = self._mixture(pool, rng)
            proposal = self._defended([mixture], [0.8], "t-mixture")
            draws = self._draw(proposal, 200 * self.problem.dim, rng)
            pool.add(proposal, draws)
            self._note("t-mixture", proposal, draws, pool, power=power)
            own += self.history[-1]["efficiency"] * len(draws)
            if self.ridge is None and own > _STALLED * pool.ess and own > 30.0 * self.problem.dim:
                self._follow(rng)

    def _mixture(self, pool: Pool, rng) -> tuple[Proposal, float]:
        with self.problem.stage("correct"):
            enough = max(self.options.warm_ess, 30.0 * self.problem.dim)
            weights, power = temper(pool.log_weights(), enough, most=_MIXTURE_POWER)
            return self._unfolded_mixture(self._unfolding(), weights, rng, 1.1), power

    def _unfolding(self, simplest: bool = False) -> Unfolding:
        """Fitted to weights far flatter than the posterior's, so that its bends are known out in the tails."""
        weights, _ = temper(self.pool.log_weights(), self.options.flow_ess, most=_BEND_POWER)
        used = weights > 0
        return (Unfolding if simplest else Unfolding.best)(self.pool.z[used], weights[used])

    def _unfolded_mixture(self, unfolding: Unfolding, weights: np.ndarray, rng, factor: float, lean=None) -> Proposal:
        return unfolded_mixture(unfolding, self.pool.z, weights, rng, factor, components=self._components, lean=lean)

    @property
    def _components(self) -> int:
        """Curved posteriors of many parameters take more components to follow; unused ones are dropped."""
        return 3 + self.problem.dim

    def _defended(self, parts: list[Proposal], fractions: list[float], name: str) -> MixtureProposal:
        """Parts with what is left shared between the neural posterior, which knows the whole prior, and the prior."""
        prior, rest = PriorProposal(self.problem.dim), 1 - sum(fractions)
        held = []
        if self.modes is not None and len(self.modes.z) > 1 and name != "modes":
            # A narrow mode is more than a flow learns beside a broad one: its own component stays in every proposal.
            held.append((self.modes.mixture(), _MODES_SHARE))
        if self.ridge is not None:
            held.append((self.ridge.mixture(), _RIDGE_SHARE))
        for part, share in held:
            parts, fractions = [*parts, part], [*((1 - share) * f for f in fractions), share]
            rest *= 1 - share
        if self.neural is None:
            return MixtureProposal([*parts, prior], [*fractions, rest], name=name)
        return MixtureProposal([*parts, self.neural, prior], [*fractions, 0.6 * rest, 0.4 * rest], name=name)

    def _draw(self, proposal: Proposal, n: int, rng):
        return self.problem.evaluate(proposal.sample(n, rng))

    def _explore(self, rng) -> None:
        """A start from the prior that knows nothing of the first: what it finds joins the pool."""
        planned = self.problem.n_evaluations + 2 * self.options.ess
        most = min(int(self.options.exploration * planned), self.problem.remaining)
        prior = PriorProposal(self.problem.dim)
        first = self._draw(prior, most // 3, rng)
        self.pool.add(prior, first)
        descents = max(4, (most // 3) // (9 * (self.problem.dim + 1)))
        starts = starting_points(*self._drawn_from_the_prior(), descents, rng)
        with self.problem.stage("explore"):
            self.modes = find_modes(self.problem, self.simulator, starts, max_evaluations=3 * most)
        if self.modes is None:
            return
        proposal = self._defended([self.modes.mixture()], [0.95], "modes")
        draws = self._draw(proposal, most // 3, rng)
        self.pool.add(proposal, draws)
        self._note("second exploration", proposal, draws, self.pool, modes=len(self.modes.z), descents=descents)

    def _follow(self, rng) -> None:
        """Follow the posterior to the ends of its longest axes, where nothing was there for a flow to be fitted to."""
        unfolding = self._unfolding()
        with self.problem.stage("explore"):
            for axis in range(min(2, self.problem.dim)):
                found = follow(self.problem, self.simulator, *unfolding.along(axis, _RIDGE))
                if found is not None:
                    self.ridge = found if self.ridge is None else self.ridge.beside(found)
        if self.ridge is None:
            return
        proposal = self._defended([self.ridge.mixture()], [0.85], "ridge")
        draws = self._draw(proposal, 200 * self.problem.dim, rng)
        self.pool.add(proposal, draws)
        self._note("ridge", proposal, draws, self.pool)

    def _drawn_from_the_prior(self) -> tuple[np.ndarray, np.ndarray]:
        """Every draw made from the prior alone, first round included, with its log posterior."""
        alone = [k for k, p in enumerate(self.pool.proposals) if isinstance(p, PriorProposal)]
        rows = np.isin(self.pool.batch, alone)
        z = self.pool.z[rows]
        return z, log_standard_normal(z) + self.pool.log_likelihood[rows]

    def _fit_flow(self, rng) -> float:
        """Fit a flow to the pool, try it, return its efficiency."""
        with self.problem.stage("correct"):
            weights, _ = temper(self.pool.log_weights(), self.options.flow_ess, most=_FLOW_POWER)
            used, unfolding = weights > 0, self._unfolding()
            x = unfolding.forward(self.pool.z[used])
            flow = Unfolded(unfolding, WhitenedFlow(x, weights[used], rng, options=self.options.refit))
            flat, _ = temper(self.pool.log_weights(), self.options.flow_ess, most=_TAIL_POWER)
            parts = [self._unfolded_mixture(unfolding, flat, rng, 1.1)]
            if unfolding.degree > 3:
                # High powers fitted to few points may be wrong far out: the simpler map beside it.
                parts.append(self._unfolded_mixture(self._unfolding(simplest=True), flat, rng, 1.1))
        # Flows are sure of themselves in different places: what the newest misses, an older one may cover.
        older, self._flows = self._flows[:2], [flow, *self._flows[:2]]
        kept = 0.3 if older else 0.0
        fractions = [
            _FLOW_SHARE - kept,
            *(kept / len(older) for _ in older),
            *(_TAIL_SHARE / len(parts) for _ in parts),
        ]
        self.final = self._defended([*self._flows, *parts], fractions, "refitted flow")
        draws = self._draw(self.final, _TRIAL, rng)
        self._trial = len(self.pool.proposals)
        self.pool.add(self.final, draws)
        self._note("refitted flow", self.final, draws, self.pool)
        return effective_size(self._weights(draws)) / len(draws)

    def _patch(self, rng) -> None:
        """Add to the final proposal what it leaves over of the posterior, as far as the pool knows."""
        with self.problem.stage("correct"):
            excess = excess_weights(self.pool, self.final, _EXCESS_FACTOR)
            mass = float(excess.sum())
            if mass < 1e-4 or (excess > 0).sum() < 4 * self.problem.dim:
                return
            unfolding, log_w = self._unfolding(), self.pool.log_weights()
            spread = np.cov(unfolding.forward(self.pool.z).T, aweights=np.exp(log_w - log_w.max()), ddof=0)
            lean = _EXCESS_WIDTH**2 * spread.reshape(self.problem.dim, -1)
            mixture = self._unfolded_mixture(unfolding, excess / mass, rng, 1.3, lean)
            share = float(np.clip(_EXCESS_SHARE * mass, *_EXCESS_RANGE))
            self.final = MixtureProposal([self.final, mixture], [1 - share, share], name=self.final.name)

    def _screen(self, rng) -> None:
        """Let an emulator choose among the draws of the final proposal, where one is asked for and good enough."""
        if self.options.emulator is None:
            return
        with self.problem.stage("emulate"):
            self.final, self._emulation, emulator = screen(self.pool, self.final, self.options.emulator, rng)
        self._emulators.append(emulator)

    @property
    def emulation(self) -> dict:
        """What became of the likelihood emulator, with its calls so far; empty without one."""
        return {**self._emulation, "n_emulated": sum(e.calls for e in self._emulators)} if self._emulation else {}

    def _finish(self, rng, last: bool) -> bool:
        """Draw from the last proposal until the pool has the effective size asked for.

        Returns False where the weights of these draws, or of the pool, show a tail or a mode that the proposal misses:
        then the pool, which holds it now, is worth another fit, and the evidence starts anew. A tail of the pool alone
        is that of proposals before the last fit, which no further fit would mend: their draws count for less then.
        """
        self._patch(rng)
        self._screen(rng)
        self.final_log_weights, self.pool.first = np.empty(0), 0
        n = self.options.min_draws
        while n > 0:
            draws = self._draw(self.final, min(n, 2_500), rng)
            self.pool.add(self.final, draws)
            self.final_log_weights = np.concatenate([self.final_log_weights, self._weights(draws)])
            self._note("final draws", self.final, draws, self.pool)
            n = self._lacking()
            if not last and self._worth_a_fit(n, rng):
                return False
            if n == 0 and pareto_k(self.pool.honest_log_weights()) > _TAIL:
                n = self._lacking_alone()
                if n is None:
                    return last
        return True

    def _worth_a_fit(self, lacking: int, rng) -> bool:
        """Whether the final draws so far show a tail or a mode that their proposal misses."""
        if not pareto_k(self.final_log_weights) <= (_CLEAR_TAIL if lacking > 0 else _TAIL):
            return True
        missed = self._missed()
        return (missed > _LONE_SHARE and self._found_a_mode(rng)) or missed > _MISSED

    def _lacking_alone(self) -> int | None:
        """Draws that are lacking where those before the last fit hardly count; None where that would not help."""
        if self.pool.first or pareto_k(self.final_log_weights) > _LIGHT_TAIL:
            return None
        self.pool.first = self._trial
        lacking = self._lacking()
        if lacking > self.problem.remaining:
            self.pool.first = 0
            return None
        return lacking

    def _missed(self) -> float:
        """Share of the posterior where the final proposal hardly draws, as far as the pool knows."""
        return mass_not_covered(
            self.pool.log_weights(), self.pool.log_ratio_of_last(), self.pool.log_evidence, self.thin
        )

    def _found_a_mode(self, rng) -> bool:
        """Descend from the draws that the proposal is thinnest for: a lone heavy one may stand for a narrow mode.

        Such a draw says nothing of the mode's shape, so that no fit to it helps; a descent finds it.
        """
        if self.options.exploration <= 0:
            return False
        ratio, log_posterior = (
            self.pool.log_ratio_of_last(),
            log_standard_normal(self.pool.z) + self.pool.log_likelihood,
        )
        thin = ratio > self.pool.log_evidence + np.log(self.thin)
        # From the same draw the same descent: once is enough.
        thin[list(self._looked_at)] = False
        if not thin.any():
            return False
        # The best draw of all is there so that masses of modes compare.
        heavy = np.flatnonzero(thin)[np.argsort(-ratio[thin], kind="stable")][:_LONE_DRAWS]
        self._looked_at.update(heavy.tolist())
        starts = self.pool.z[np.unique([*heavy, np.nanargmax(log_posterior)])]
        with self.problem.stage("explore"):
            found = find_modes(self.problem, self.simulator, starts, max_evaluations=self.options.min_draws)
        if found is None:
            return False
        known = 0 if self.modes is None else len(self.modes.z)
        self.modes = found if self.modes is None else self.modes.joined(found)
        return len(self.modes.z) > max(known, 1)

    def _lacking(self) -> int:
        short = max(self.options.min_draws - len(self.final_log_weights), 0)
        lacking = self.options.ess - effective_size(self.pool.honest_log_weights())
        if lacking > 0:
            rate = max(effective_size(self.final_log_weights) / len(self.final_log_weights), 0.01)
            short = max(short, int(1.05 * lacking / rate) + 100)
        return short

    def _weights(self, draws) -> np.ndarray:
        return log_standard_normal(draws.z) + draws.log_likelihood - self.final.log_prob(draws.z)

    def _note(self, step: str, proposal: Proposal, draws, pool: Pool, **more) -> None:
        log_w = log_standard_normal(draws.z) + draws.log_likelihood - proposal.log_prob(draws.z)
        entry = {
            "step": step,
            "draws": len(draws),
            "efficiency": effective_size(log_w) / max(len(draws), 1),
            "pool_ess": pool.ess,
            "n_evaluations": self.problem.n_evaluations,
            **more,
        }
        self.history.append(entry)
        self.problem.report(ess=self.pool.ess)
        log.info("%(step)s: %(draws)d draws, efficiency %(efficiency).3f, pooled ESS %(pool_ess).0f", entry)
