"""The loaded session: what it holds, and the model at any theta."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from types import ModuleType
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from xsixsa.errors import SessionError, UsageError, WorkerError
from xsixsa.session.complete import complete
from xsixsa.session.evaluator import Evaluator, probe_points
from xsixsa.session.fluxes import Fluxes, compute_fluxes
from xsixsa.session.guard import guarded
from xsixsa.session.identity import cautions, fingerprint, marks
from xsixsa.session.interrupt import interruptible
from xsixsa.session.isolated import granted_limits, set_limits
from xsixsa.session.observations import RawSpectrum, read_spectra, refuse_free_gain
from xsixsa.session.parameters import (
    Key,
    ModelPart,
    RawParameter,
    expression_of,
    find_parameter,
    key_of,
    read_model,
    read_parameters,
    set_arguments,
    values_within_limits,
)
from xsixsa.session.pool import Pool
from xsixsa.session.pool.process import quiet_engine
from xsixsa.session.pool.shared import Shape
from xsixsa.session.pool.spawn import SpawnSupervisor
from xsixsa.session.pool.supervisor import ForkSupervisor
from xsixsa.session.records import Evaluation, Observation, Parameter, Reason
from xsixsa.session.selfcheck import Reading, read_as_engine_does
from xsixsa.session.settings import engine_of, optional, read_settings, save_text, statistic_methods

__all__ = ["Session"]

log = logging.getLogger(__name__)


class Session:
    """An X-ray session that is loaded in this process: spectra, model, statistic.

    Attaching reads everything, evaluates the model at a few theta in a forked process, and checks that the statistic
    recomputed from what was read is the engine's. The session itself is not changed, its last fit included.

    Parameters
    ----------
    xspec
        Module with PyXspec's names: ``xspec`` itself or ``xsixsa.embedded.xspec``.

    Raises
    ------
    SessionError
        Nothing is loaded, something is missing, or the session would be misread.
    """

    def __init__(self, xspec: ModuleType) -> None:
        self._xspec = xspec
        self.engine: dict[str, str] = engine_of(xspec)
        """``{"name": "xspec" | "embedded", "version": ...}``."""
        self._raw_spectra: tuple[RawSpectrum, ...] = read_spectra(xspec, statistic_methods(xspec))
        self._parts: tuple[ModelPart, ...] = read_model(xspec)
        self._raw_parameters: tuple[RawParameter, ...] = read_parameters(self._parts)
        refuse_free_gain(xspec)
        self.parameters: tuple[Parameter, ...] = complete(xspec, self._parts, self._raw_parameters)
        """Free parameters in XSPEC's order: the columns of theta."""
        self._widening: dict[Key, tuple[float, float]] = {}
        self.settings: dict[str, Any] = read_settings(xspec)
        """Versions, abundances, cross-sections, cosmology, ``xset`` strings, noticed channels: plain values."""
        self._mark = marks(xspec)
        self.observations: tuple[Observation, ...] = ()
        """The noticed bins of every spectrum, in XSPEC's order."""
        self._scale = np.ones(sum(s.rate.size for s in self._raw_spectra))
        reading = self._self_check()
        self.observations, self._scale = reading.observations, reading.scale
        self.warnings: tuple[str, ...] = tuple(cautions(self.observations, reading.verified))
        """What the user should know before trusting a result."""

    def __repr__(self) -> str:
        names = ", ".join(p.name for p in self.parameters)
        return (
            f"<Session {self.engine['name']} {self.engine['version']}: {len(self.observations)} spectra, "
            f"{self.n_bins} bins, {self.statistic}, {self.model_expression}, free: {names}>"
        )

    # what is loaded

    @property
    def statistic(self) -> str:
        """Fit statistic: "cstat", "wstat" (cstat with a background file), "chi", ...; joined by + where they differ."""
        return "+".join(dict.fromkeys(o.statistic for o in self.observations))

    @property
    def n_bins(self) -> int:
        """Noticed bins of all spectra."""
        return int(self._scale.size)

    @property
    def observed(self) -> NDArray[np.float64]:
        """(bins,) gross counts of all spectra, in the order of `observations`."""
        return np.concatenate([o.counts for o in self.observations])

    @property
    def dof(self) -> int:
        """Degrees of freedom: noticed bins less free parameters."""
        return self.n_bins - len(self.parameters)

    @property
    def model_expression(self) -> str:
        """The model; several sources as ``name: expression`` joined by semicolons."""
        return expression_of(self._parts)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the problem: data, grouping, responses, model, limits, frozen values, settings.

        The values that free parameters happen to have do not enter.
        """
        return self.fingerprint_with(self.observations)

    def fingerprint_with(self, observations: Sequence[Observation]) -> str:
        """What `fingerprint` would be with these spectra in place of those loaded, all else the same."""
        return fingerprint(observations, self._raw_spectra, self._raw_parameters, self.model_expression, self.settings)

    @property
    def all_parameters(self) -> tuple[RawParameter, ...]:
        """Every parameter of the model: free, frozen or linked."""
        return self._raw_parameters

    @property
    def responses(self) -> tuple[tuple[str, str, str], ...]:
        """Names of RMF and ARF of every spectrum, and the gain applied to them ("" for none)."""
        return tuple(s.response for s in self._raw_spectra)

    def find(self, name: str | int) -> Parameter:
        """The free parameter called `name`: any unique form of its name, or XSPEC's index.

        Raises
        ------
        SessionError
            There is none, or several; says when it is frozen or linked, and lists the candidates.
        """
        return find_parameter(name, self.parameters, self._raw_parameters, self.model_expression)

    def saved_text(self) -> str:
        """The session as XSPEC commands (.xcm); six digits, data paths relative to the working directory."""
        return save_text(self._xspec)

    # evaluation

    def evaluate(self, theta: ArrayLike) -> Evaluation:
        """Expected counts and statistic at (n, d) theta, in a process of its own.

        For more than a few calls open a `pool`, which this uses for one call.
        """
        with interruptible(), self._open_pool(workers=1) as pool:
            return pool.evaluate(theta)

    @contextlib.contextmanager
    def guard(self) -> Iterator[None]:
        """Our settings inside (no prompting, no ``Fit.bayes``, no renorm, no chatter); everything as it was after.

        Raises
        ------
        SessionError
            On the way in: data or model are not those that were attached.
        """
        self.check_unchanged()
        with guarded(self._xspec, self._parts):
            yield

    @contextlib.contextmanager
    def pool(
        self,
        workers: int = 2,
        block: int | None = None,
        delay: float = 0.0,
        timeout: float | None = None,
        *,
        max_failures: int | None = None,
        start: Literal["fork", "spawn"] | None = None,
    ) -> Iterator[Pool]:
        """Worker processes forked from this session.

        Parameters
        ----------
        workers
            Number of processes; results do not depend on it.
        block
            Theta per block; None takes 256 where the engine evaluates a block in one call, 64 elsewhere, and fewer
            where bins are very many.
        delay
            Seconds slept per theta in the worker: benchmarks put the cost of a slower engine back with it.
        timeout
            Seconds per theta after which a worker counts as hung; None adapts to the slowest theta so far.
        max_failures
            Theta that may kill or stop their worker; None: 50, or 5 % of all.
        start
            How processes begin: "fork" from this session, or "spawn", which restores it from its saved text in fresh
            interpreters; None: fork on Linux, spawn elsewhere.

        Raises
        ------
        UsageError
            Numbers out of range.
        WorkerError
            The workers cannot be started.
        """
        with (
            self.guard(),
            self._open_pool(workers, block, delay, timeout, max_failures=max_failures, start=start) as pool,
        ):
            yield pool

    def _open_pool(
        self,
        workers: int = 1,
        block: int | None = None,
        delay: float = 0.0,
        timeout: float | None = None,
        *,
        max_failures: int | None = None,
        start: Literal["fork", "spawn"] | None = None,
    ) -> Pool:
        if workers < 1 or (block is not None and block < 1) or delay < 0 or (timeout is not None and timeout <= 0):
            raise UsageError("workers and block must be at least 1, delay at least 0 and timeout above 0")
        self.check_unchanged()
        evaluator = self._evaluator()
        rows = block or evaluator.block_size
        shape = Shape(rows, len(self.parameters), evaluator.n_bins)
        if start is None:
            start = "fork" if sys.platform.startswith("linux") else "spawn"
        if start == "fork":
            supervisor = ForkSupervisor(evaluator, shape, workers, delay, lambda: self._prepare(evaluator))
        elif start == "spawn":
            raws, sizes = read_parameters(self._parts), self._sizes()
            task = (self._xspec, self.parameters, raws, sizes, self._scale, self._widening)
            supervisor = SpawnSupervisor(*task, shape, workers, delay)
        else:
            raise UsageError(f"start = {start!r}: 'fork' or 'spawn'")
        return Pool(
            supervisor,
            self.parameters,
            batch=evaluator.has_batch,
            delay=delay,
            timeout=timeout,
            max_failures=max_failures,
            check=self.check_unchanged,
        )

    def _prepare(self, evaluator: Evaluator) -> None:
        """In the template: silence, wider limits, and one evaluation that loads tables into shared pages."""
        quiet_engine(self._xspec)
        if self._widening:
            set_limits(self._xspec, self._parts, self._widening)
        current = np.array([p.value for p in self.parameters])
        evaluator.row(current, np.empty(evaluator.n_bins))

    def _sizes(self) -> list[tuple[int, int, int]]:
        return [(s.index, s.group, s.rate.size) for s in self._raw_spectra]

    def _evaluator(self) -> Evaluator:
        evaluator = Evaluator(self._xspec, self._parts, self.parameters, self._sizes(), self._scale)
        evaluator.refuse_unreached({s.index: s.name for s in self._raw_spectra})
        return evaluator

    def _self_check(self) -> Reading:
        points = probe_points(self.parameters)
        try:
            with interruptible(), self._open_pool(block=len(points), max_failures=len(points)) as pool:
                answer = pool.evaluate(points)
                trouble = pool.describe_failures()
        except WorkerError as error:
            raise SessionError(f"the model cannot be evaluated at its current values: {error}") from error
        if not answer.valid.any():
            why = ", ".join(sorted({Reason(int(r)).name.lower() for r in answer.reason}))
            raise SessionError(
                "the engine gives no valid fit statistic at the current parameter values nor near them "
                f"({why}: {trouble}); set parameters at which the model can be evaluated"
            )
        return read_as_engine_does(
            self._raw_spectra,
            answer,
            model_weighting=self.settings["weight"].startswith("model"),
            systematic=self.settings["systematic"],
        )

    # limits

    @contextlib.contextmanager
    def widened(self, limits: Mapping[str, tuple[float, float]]) -> Iterator[dict[str, tuple[float, float]]]:
        """Wider hard limits for a run, where the model allows them; only the workers' copies are changed.

        Parameters
        ----------
        limits
            Name of a parameter: (lowest, highest) value that it must be able to take. Limits are never narrowed.

        Yields
        ------
        The hard limits in force by name: where they are narrower than what was asked, the engine refused.
        """
        asked = {key_of(p): (p, limit) for p, limit in ((self.find(name), limit) for name, limit in limits.items())}
        wanted = {
            key: (float(min(low, p.min)), float(max(high, p.max)))
            for key, (p, (low, high)) in asked.items()
            if low < p.min or high > p.max
        }
        before = self.parameters, self._widening
        if wanted:
            self._widening = self._widening | granted_limits(self._xspec, self._parts, wanted)
        now = {key: {"min": low, "max": high} for key, (low, high) in self._widening.items()}
        self.parameters = tuple(replace(p, **now.get(key_of(p), {})) for p in self.parameters)
        try:
            yield {p.name: (p.min, p.max) for p in self.parameters if key_of(p) in asked}
        finally:
            self.parameters, self._widening = before

    # changes

    def check_unchanged(self) -> None:
        """Raise SessionError when data or model are not those that were attached."""
        # cleared data or models raise in their own ways
        if optional(lambda: marks(self._xspec)) != self._mark:
            raise SessionError(
                "data, model, limits or settings of the session have changed since it was attached; attach again"
            )

    # giving back

    def fluxes(self, theta: ArrayLike, energies: tuple[float, float], seconds: float = 3600.0) -> Fluxes:
        """Model fluxes in an energy range at many theta, absorbed as the model says (XSPEC's ``flux``).

        Computed in a copy of the session; the caller's parameters stay.

        Parameters
        ----------
        theta
            (n, d) values of the free parameters.
        energies
            Lower and upper energy, keV.
        seconds
            Longest time it may take.

        Raises
        ------
        UsageError
            The energy range or the shape of `theta` is wrong.
        WorkerError
            The engine died, or took too long.
        """
        return self._fluxes(theta, energies, seconds)

    def luminosities(
        self, theta: ArrayLike, energies: tuple[float, float], redshift: float, seconds: float = 3600.0
    ) -> Fluxes:
        """Luminosities in an energy range of the source's frame at many theta (XSPEC's ``lumin``), in 1e44 erg/s.

        The session's cosmology (``Xset.cosmo``) is used. Parameters and errors as for `fluxes`.
        """
        if not 0 < redshift < np.inf:
            raise UsageError(f"redshift {redshift:g} must be positive")
        return self._fluxes(theta, energies, seconds, float(redshift))

    def _fluxes(self, theta: ArrayLike, energies: tuple[float, float], seconds: float, redshift=None) -> Fluxes:
        self.check_unchanged()
        task = (self._xspec, self._parts, self.parameters, self._evaluator(), theta, energies, seconds)
        return compute_fluxes(*task, redshift, self._widening)

    def set_parameters(self, theta: ArrayLike | Mapping[str, float]) -> None:
        """Set the session's free parameters, with one recalculation: this one does change the session.

        Parameters
        ----------
        theta
            (d,) values in the order of `parameters`, or a mapping of names to values.

        Raises
        ------
        UsageError
            A value is not finite or outside the hard limits, or the number of values is wrong.
        """
        if isinstance(theta, Mapping):
            wanted = {self.find(name).name: value for name, value in theta.items()}
            theta = [wanted.get(p.name, p.value) for p in self.parameters]
        values = values_within_limits(theta, self.parameters)
        changes = {key_of(p): value for p, value in zip(self.parameters, values, strict=True)}
        self._xspec.AllModels.setPars(*set_arguments(self._parts, changes))
        self.parameters = tuple(replace(p, value=v) for p, v in zip(self.parameters, values, strict=True))
