"""The main job: from a loaded session to an exact posterior."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from xsixsa.centring import CentredPrior, centre_session
from xsixsa.correction.evidence import estimate_evidence, mass_not_covered, weight_numbers
from xsixsa.correction.pool import Pool, effective_size
from xsixsa.correction.refine import Refinement
from xsixsa.correction.sir import SIR
from xsixsa.diagnostics.goodness import goodness
from xsixsa.diagnostics.likelihood import distrust
from xsixsa.errors import UsageError, XsixsaWarning
from xsixsa.inference.clock import deadline
from xsixsa.inference.problem import BudgetSpent, Problem
from xsixsa.inference.proposals import log_standard_normal
from xsixsa.inference.rounds import Rounds
from xsixsa.inference.torch_state import TORCH_THREADS
from xsixsa.options import Options, preset
from xsixsa.prior import Prior
from xsixsa.progress import Reporter
from xsixsa.result import Result
from xsixsa.run import prepare_run_folder, write_run
from xsixsa.session import Session
from xsixsa.simulate import Simulator
from xsixsa.verdict import judge
from xsixsa.widening import widened_prior

__all__ = ["Interrupted", "fit", "run"]

_PREDICTIVE_DRAWS = 400


class Interrupted(KeyboardInterrupt):
    """Ctrl-C during a run; carries what was finished.

    Attributes
    ----------
    result : Result or None
        The posterior so far, marked as not converged; None where nothing was drawn yet.
    folder : pathlib.Path or None
        Where it was written.
    """

    def __init__(self, result: Result | None, folder: Path | None):
        saved = f"; what was finished is in {folder}, see it with: xsixsa show {folder}" if folder and result else ""
        super().__init__("interrupted" + saved)
        self.result, self.folder = result, folder


def fit(
    xspec,
    prior: Mapping | Sequence[Mapping] | None = None,
    *,
    ess: int | None = None,
    seed: int | None = None,
    workers: int | None = None,
    max_evaluations: int | None = None,
    max_seconds: float | None = None,
    centre: bool | None = None,
    preset: str = "standard",
    options: Options | None = None,
    out: str | os.PathLike | None = None,
    progress: bool | Callable = True,
    delay: float = 0.0,
    set_best: bool = False,
) -> Result:
    """Exact posterior of the free parameters of a loaded session.

    Parameters
    ----------
    xspec
        The ``xspec`` module (PyXspec) or ``xsixsa.embedded.xspec``, or a :class:`~xsixsa.Session`, with data and model
        loaded.
    prior
        Parameter name or XSPEC index -> ``(low, high)``, :class:`~xsixsa.Uniform`, :class:`~xsixsa.LogUniform`,
        :class:`~xsixsa.Gaussian`, text such as ``"loguniform:1e-5:1e-2"``, or a frozen scipy distribution; or BXA's
        list of transformations. Others come from XSPEC's ``bayes`` setting or from hard limits that are a sensible
        range; nothing is guessed.
    ess
        Effective sample size to reach (10 000).
    seed
        Seed of everything random; drawn and stored when not given. The same seed gives the same weighted samples with
        any number of workers.
    workers
        Worker processes; as many as processors by default.
    max_evaluations
        Evaluations of the engine allowed in all.
    max_seconds
        Wall-clock seconds allowed; the run stops at the next block with what it has. The same seed then no longer gives
        the same result.
    centre
        Widen the bounds of the normalisations first, until the observed counts lie near the middle of what the prior
        predicts; see :func:`xsixsa.centre`.
    preset
        ``"quick"``, ``"standard"`` or ``"thorough"``.
    options
        All settings at once, in place of `preset`.
    out
        Folder for the run; must not exist or be empty.
    progress
        True for a bar on standard error, False for silence, or a function that takes :class:`~xsixsa.progress.Event`.
    delay
        Seconds slept per evaluation inside the workers: benchmarks put XSPEC's cost back with it.
    set_best
        Leave the session's free parameters at the best sample, as a fit would; as they were by default.

    Returns
    -------
    Result
        Weighted posterior with its verdict. The session is as it was before, but for `set_best`.

    Raises
    ------
    SessionError, PriorError, UsageError, OutputError, WorkerError
        One clear line each.
    Interrupted
        On Ctrl-C, after what was finished has been written to `out`.
    """
    settings = (options or _preset(preset)).changed(
        ess=ess, max_evaluations=max_evaluations, max_seconds=max_seconds, centre=centre
    )
    folder = None
    if out is not None:
        folder = prepare_run_folder(out)
    session = xspec if isinstance(xspec, Session) else Session(xspec)
    seed = int(np.random.SeedSequence().entropy % 2**53) if seed is None else _whole(seed, "seed", 0)
    workers = len(os.sched_getaffinity(0)) if workers is None else _whole(workers, "workers", 1)
    spent = None
    if settings.centre:
        # A stream of its own: what is drawn afterwards does not depend on it.
        prior = spent = centre_session(session, prior, np.random.default_rng([seed, 1]), workers, delay=delay)
    with widened_prior(session, prior) as joint:
        if isinstance(prior, CentredPrior):
            joint = prior.applied(joint)
        result = run(session, joint, settings, seed, workers, folder, progress, delay, spent)
    if set_best:
        _set_best(session, result)
    return result


def _set_best(session: Session, result: Result) -> None:
    """The best sample's values into the caller's session, where its own hard limits allow them."""
    outside = [p.name for p in session.parameters if not p.min <= result.best[p.name] <= p.max]
    if outside:
        warnings.warn(
            f"best parameters were not set: {', '.join(outside)} outside the session's hard limits, which were widened "
            "for the run",
            XsixsaWarning,
            stacklevel=3,
        )
        return
    session.set_parameters(result.best)


_preset = preset


def _whole(value, name: str, least: int) -> int:
    if int(value) != value or value < least:
        raise UsageError(f"{name} must be a whole number of at least {least}, not {value!r}")
    return int(value)


def run(
    session: Session,
    prior: Prior,
    options: Options,
    seed: int,
    workers: int,
    folder: Path | None,
    progress: bool | Callable,
    delay: float = 0.0,
    spent: CentredPrior | None = None,
) -> Result:
    """:func:`fit` with everything decided; `spent` on centring counts as the run's."""
    session_text = session.saved_text()
    reporter = Reporter(progress, _plan(options), options.ess)
    _announce(reporter, session, prior, seed, workers)
    with session.pool(workers=workers, delay=delay) as pool:
        problem = Problem(
            prior,
            lambda theta, tick: pool.evaluate(theta, progress=tick),
            options.max_evaluations - _PREDICTIVE_DRAWS - 1,
            reporter.tick,
            options.max_seconds,
        )
        if spent is not None:
            problem.charge("centre", spent.n_evaluations, spent.seconds)
        simulator = Simulator(session.observations)
        job = _Job(session, prior, options, problem, simulator, seed, session_text, pool.describe_failures)
        try:
            with deadline(problem.deadline):
                job.work()
            result = job.result()
        except KeyboardInterrupt:
            result = job.partial()
            if folder and result:
                write_run(result, folder)
            raise Interrupted(result, folder) from None
        finally:
            reporter.done()
    if folder:
        write_run(result, folder)
    return result


def _plan(options: Options) -> int:
    rounds = options.simulations * (options.rounds + 1)
    return min(int((rounds + options.ess / 0.7 + 5_000) * (1 + options.exploration)), options.max_evaluations)


def _announce(reporter: Reporter, session: Session, prior: Prior, seed: int, workers: int) -> None:
    engine = session.engine
    reporter.say(f"engine {engine['name']} {engine['version']}, {workers} worker(s), seed {seed}")
    reporter.say(f"{session.n_bins} bins of {len(session.observations)} spectrum(s), statistic {session.statistic}")
    for row in prior.describe():
        reporter.say(f"prior {row['name']:24s} {row['prior']}  ({row['origin']})")
    for note in (*prior.notes, *session.warnings):
        reporter.say(f"warning: {note}")


class _Job:
    """One run: the stages in order, and the result from whatever they left."""

    def __init__(self, session, prior, options, problem, simulator, seed, session_text, describe_failures):
        self.session, self.prior, self.options, self.problem = session, prior, options, problem
        self.simulator, self.seed, self._session_text = simulator, seed, session_text
        self._describe_failures = describe_failures
        self.pool = Pool(prior.dim)
        self.rounds = Rounds(problem, simulator, options, self.pool)
        if options.correction == "sir":
            self.refinement = SIR(problem, self.pool, options)
        else:
            self.refinement = Refinement(problem, self.pool, simulator, options)
        # One stream for each stage: what one stage draws does not shift the next.
        streams = np.random.SeedSequence(seed).spawn(3)
        self._rng = [np.random.default_rng(s) for s in streams]
        self._budget_spent = self._clock_ran_out = False

    def work(self) -> None:
        """Rounds, then refinement."""
        try:
            self.rounds.run(self._rng[0])
            self.refinement.neural = self.rounds.posterior
            self.refinement.run(self._rng[1])
            self._budget_spent = self.refinement.budget_spent
        except BudgetSpent:
            self._budget_spent = True
        problem = self.problem
        self._clock_ran_out = self._budget_spent and problem.n_evaluations < problem.max_evaluations

    def result(self) -> Result:
        """Result of a finished run, with posterior-predictive spectra."""
        log_w = self.pool.honest_log_weights()
        if not np.isfinite(log_w).any():
            raise UsageError("no draw has a valid likelihood within the evaluations allowed; raise max_evaluations")
        weights = np.exp(log_w - log_w.max())
        weights /= weights.sum()
        rows = self._rng[2].choice(len(weights), size=_PREDICTIVE_DRAWS, p=weights)
        best = int(np.argmax(self.pool.log_likelihood))
        with self.problem.overtime(len(rows) + 1), self.problem.stage("predict"):
            draws = self.problem.evaluate(self.pool.z[np.append(best, rows)], keep_expected=True)
        return self._assemble(weights, draws.expected[1:], draws.expected[0])

    def partial(self) -> Result | None:
        """Result of an interrupted run: no further evaluation, marked as interrupted."""
        if not len(self.pool) or not np.isfinite(self.pool.honest_log_weights()).any():
            return None
        log_w = self.pool.honest_log_weights()
        weights = np.exp(log_w - log_w.max())
        bins = self.session.n_bins
        return self._assemble(weights / weights.sum(), np.empty((0, bins)), np.full(bins, np.nan), interrupted=True)

    def _assemble(self, weights, predictive, predictive_best, interrupted: bool = False) -> Result:
        pool, problem = self.pool, self.problem
        z, log_l = pool.z, pool.log_likelihood
        final = self.refinement.final_log_weights
        evidence = estimate_evidence(final, getattr(self.refinement.final, "log_volume_err", 0.0))
        numbers = self._numbers(evidence, interrupted)
        fit_quality = {}
        if self.session.statistic == "cstat" and np.isfinite(predictive_best).all():
            fit_quality = dict(goodness(-2 * log_l.max(), predictive_best, self.prior.dim))
        numbers["goodness"] = fit_quality.get("z")
        verdict = judge(numbers, self._warnings(weights, z), distrust(self.session.observations))
        return Result(
            parameters=self._parameters(),
            theta=self.prior.from_normal(z),
            u=self.prior.cdf(self.prior.from_normal(z)),
            weights=weights,
            statistic=np.where(np.isfinite(log_l), -2 * log_l, np.nan),
            log_prior=log_standard_normal(z),
            log_proposal=pool.honest_log_proposal(),
            final_log_weights=final,
            log_evidence=evidence.value,
            log_evidence_err=evidence.error,
            log_evidence_pooled=pool.log_evidence,
            ess=numbers["ess"],
            efficiency=effective_size(final) / max(len(final), 1),
            efficiency_total=numbers["ess"] / max(problem.n_evaluations, 1),
            pareto_k=numbers["pareto_k"],
            n_evaluations=problem.n_evaluations,
            n_failed=sum(problem.failures.values()),
            seconds={k: round(v, 3) for k, v in problem.seconds.items()},
            predictive=np.asarray(predictive, np.float32),
            predictive_best=np.asarray(predictive_best, np.float64),
            observations=self._observations(),
            dof=self.session.dof,
            engine=dict(self.session.engine),
            seed=self.seed,
            verdict=verdict,
            model_expression=self.session.model_expression,
            settings=dict(self.session.settings),
            options={**self.options.as_dict(), "torch_threads": TORCH_THREADS},
            history=self._history(),
            goodness=fit_quality,
            session_text=self._session_text,
            fingerprint=self.session.fingerprint,
        )

    def _numbers(self, evidence, interrupted: bool) -> dict:
        pool, final = self.pool, self.refinement.final_log_weights
        log_w, missed = pool.honest_log_weights(), 1.0
        if self.refinement.final is not None and np.isfinite(evidence.value):
            ratio = log_standard_normal(pool.z) + pool.log_likelihood - self.refinement.final.log_prob(pool.z)
            # Deterministic-mixture weights: a mode that only a poor proposal met has its full mass in them.
            missed = mass_not_covered(pool.log_weights(), ratio, evidence.value, self.refinement.thin)
        return weight_numbers(log_w, final, evidence, pool.log_evidence, len(pool)) | {
            "ess_wanted": self.options.ess,
            "missed_mass": missed,
            "budget_spent": self._budget_spent,
            "max_evaluations": self.options.max_evaluations,
            "max_seconds": self.options.max_seconds if self._clock_ran_out else None,
            "trained_on": max((row["simulations"] for row in self.rounds.history), default=0) or None,
            "uncovered": self.rounds.uncovered,
            "interrupted": interrupted,
        }

    def _warnings(self, weights: np.ndarray, z: np.ndarray) -> list[str]:
        from xsixsa.diagnostics.edges import edge_warnings

        found = [*self.session.warnings, *self.prior.notes, *self.rounds.summary.notes]
        if self.options.max_seconds is not None:
            limit = f"{self.options.max_seconds:g} seconds"
            found.append(
                f"the run was limited to {limit} by the clock: the same seed need not give the same result again"
            )
        if self.problem.failures:
            total = sum(self.problem.failures.values())
            where = self._describe_failures()
            found.append(
                f"{total} of {self.problem.n_evaluations} evaluations had no valid statistic (weight 0): {where}"
            )
        if "refused" in self.refinement.emulation:
            found.append(f"the likelihood emulator was not used: {self.refinement.emulation['refused']}")
        cube = self.prior.cdf(self.prior.from_normal(z))
        return found + edge_warnings(self.prior, cube, weights)

    def _history(self) -> dict:
        history = {"rounds": self.rounds.history, "refinement": self.refinement.history}
        return history | ({"emulator": self.refinement.emulation} if self.refinement.emulation else {})

    def _parameters(self) -> list[dict]:
        rows = []
        for p, prior in zip(self.prior.parameters, self.prior.describe(), strict=True):
            row = {k: getattr(p, k) for k in ("name", "full_name", "component", "parameter", "unit", "index")}
            row |= {"source": p.source, "group": p.group, "min": p.min, "max": p.max, "value_at_start": p.value}
            rows.append(row | {"prior": prior["prior"], "prior_origin": prior["origin"]})
        return rows

    def _observations(self) -> list[dict]:
        rows = []
        for o in self.session.observations:
            b = o.background
            scale = None
            if b is not None:
                scale = (o.exposure * o.area_scale * o.back_scale) / (b.exposure * b.area_scale * b.back_scale)
            row = {"index": o.index, "name": o.name, "counts": o.counts, "edges": o.edges, "exposure": o.exposure}
            rows.append(row | {"background_counts": None if b is None else b.counts, "background_scale": scale})
        return rows
