"""What a run asks of the session: points of the prior in, log-likelihoods and expected counts out, all counted."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import contextmanager

import numpy as np

from xsixsa.correction.pool import Draws
from xsixsa.prior import Prior

__all__ = ["BudgetSpent", "Problem"]


# With a budget in seconds points are evaluated in parts of at least so many: the block of one worker.
_LEAST_PART = 256


class BudgetSpent(Exception):
    """The evaluations or the seconds allowed are used up: a signal between the stages, never shown to a user."""


class Problem:
    """A prior and a likelihood, with a budget and a clock.

    Parameters
    ----------
    prior
        Prior of the free parameters.
    evaluate
        ``evaluate(theta, progress)`` -> object with ``expected`` (n, bins), ``statistic`` (n,) and ``reason`` (n,).
    max_evaluations
        Evaluations allowed in all.
    progress
        Called as ``progress(stage, n_evaluations, ess)`` now and then.
    max_seconds
        Wall-clock seconds allowed in all, from now on; None for no limit. The block being evaluated when they end is
        finished, and so is the epoch of a training.

    Attributes
    ----------
    n_evaluations : int
        Every theta that was handed to the engine, whatever for.
    seconds : dict
        Wall-clock seconds by stage.
    """

    def __init__(
        self,
        prior: Prior,
        evaluate: Callable,
        max_evaluations: int,
        progress: Callable | None = None,
        max_seconds: float | None = None,
    ):
        self.prior, self._evaluate, self.max_evaluations = prior, evaluate, max_evaluations
        self.max_seconds, self._start = max_seconds, time.perf_counter()
        self._begun = self._overtime = False
        self._progress = progress or (lambda stage, n_evaluations, ess: None)
        self.n_evaluations, self.seconds = 0, {}
        self.failures: dict[int, int] = {}
        self.stage_name, self.ess = "start", 0.0

    @property
    def dim(self) -> int:
        """Number of parameters."""
        return self.prior.dim

    @property
    def remaining(self) -> int:
        """Evaluations left; none when the seconds are over."""
        if self.out_of_time:
            return 0
        return max(0, self.max_evaluations - self.n_evaluations)

    @property
    def elapsed(self) -> float:
        """Seconds since the problem was made, and those charged to it."""
        return time.perf_counter() - self._start

    @property
    def deadline(self) -> float | None:
        """When the seconds allowed are over, on the clock of :func:`time.perf_counter`; None for never."""
        return None if self.max_seconds is None else self._start + self.max_seconds

    @property
    def out_of_time(self) -> bool:
        """Whether the seconds allowed are over; one block is always evaluated, for without draws there is no result."""
        if self.max_seconds is None or self._overtime or not self._begun:
            return False
        return self.elapsed >= self.max_seconds

    def charge(self, stage: str, evaluations: int, seconds: float) -> None:
        """Count what was spent on this run before the problem was made."""
        self.n_evaluations += evaluations
        self._start -= seconds
        self.seconds[stage] = self.seconds.get(stage, 0.0) + seconds

    @contextmanager
    def overtime(self, evaluations: int):
        """So many further evaluations are allowed inside, whatever was spent: a result needs its last touches."""
        before = self.max_evaluations
        self.max_evaluations, self._overtime = self.n_evaluations + evaluations, True
        try:
            yield
        finally:
            self.max_evaluations, self._overtime = before, False

    @contextmanager
    def stage(self, name: str):
        """Charge the time spent inside to the stage `name`; time of inner stages counts there only.

        Raises
        ------
        BudgetSpent
            If the seconds allowed are over: no stage begins then.
        """
        if self.out_of_time:
            raise BudgetSpent
        outer, start, inner_before = self.stage_name, time.perf_counter(), sum(self.seconds.values())
        self.stage_name = name
        self.report()
        try:
            yield
        finally:
            inside = sum(self.seconds.values()) - inner_before
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start - inside
            self.stage_name = outer

    def report(self, ess: float | None = None, done: int = 0) -> None:
        """Tell the progress callback where we are."""
        self.ess = self.ess if ess is None else ess
        self._progress(self.stage_name, self.n_evaluations + done, self.ess)

    def evaluate(self, z: np.ndarray, keep_expected: bool = False) -> Draws:
        """Log-likelihood -C/2 at z, shape (n, d); fewer rows come back where the budget ends.

        Raises
        ------
        BudgetSpent
            If no evaluation is left.
        """
        z = z[: self.remaining]
        if not len(z):
            raise BudgetSpent
        parts = []
        with self.stage("simulate"):
            for rows in self._parts(len(z)):
                parts.append(self._evaluate_part(z[rows], keep_expected))
        if len(parts) == 1:
            return parts[0]
        expected = np.concatenate([p.expected for p in parts]) if keep_expected else None
        z, log_l, reason = (np.concatenate([getattr(p, k) for p in parts]) for k in ("z", "log_likelihood", "reason"))
        return Draws(z, log_l, reason, expected)

    def _parts(self, n: int):
        """Slices of n points; with a budget in seconds as many as time will be left for, by the speed so far."""
        if self.max_seconds is None or self._overtime:
            yield slice(0, n)
            return
        done, started = 0, time.perf_counter()
        while done < n and (not done or not self.out_of_time):
            rate = done / max(time.perf_counter() - started, 1e-9)
            part = max(_LEAST_PART, int(rate * (self.max_seconds - self.elapsed)))
            yield slice(done, min(done + part, n))
            done = min(done + part, n)

    def _evaluate_part(self, z: np.ndarray, keep_expected: bool) -> Draws:
        self._begun = True
        theta = self.prior.from_normal(z)
        result = self._evaluate(theta, lambda done: self.report(done=done))
        self.n_evaluations += len(z)
        for reason, count in zip(*np.unique(result.reason, return_counts=True), strict=True):
            if reason:
                self.failures[int(reason)] = self.failures.get(int(reason), 0) + int(count)
        valid = (result.reason == 0) & np.isfinite(result.statistic)
        log_l = np.where(valid, -0.5 * np.where(valid, result.statistic, 0.0), -np.inf)
        return Draws(z, log_l, np.asarray(result.reason), result.expected if keep_expected else None)
