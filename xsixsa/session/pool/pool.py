"""The pool that a session hands out."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from types import TracebackType

import numpy as np
from numpy.typing import ArrayLike, NDArray

from xsixsa.errors import UsageError, WorkerError
from xsixsa.session.pool.dispatch import Dispatcher, Timeout
from xsixsa.session.pool.supervisor import Supervisor
from xsixsa.session.records import Evaluation, Failure, Parameter, Reason

__all__ = ["Pool"]

log = logging.getLogger(__name__)

_FAILURES_KEPT = 1000


class Pool:
    """Worker processes that evaluate theta; made by `Session.pool`.

    The result does not depend on the number of workers: theta are cut into blocks of a fixed size, each worker runs
    on one thread, and one worker is a process of its own like any other number.

    Parameters
    ----------
    supervisor
        Keeps the processes.
    parameters
        Columns of theta, with the hard limits that are checked here.
    batch
        Whether the engine takes a block in one call.
    delay, timeout
        See `Session.pool`.
    max_failures
        Theta that may kill or stop their worker before the run is given up; None: 50, or 5 % of all evaluations.
    check
        Called before every evaluation; raises when the session has been changed.
    """

    def __init__(
        self,
        supervisor: Supervisor,
        parameters: Sequence[Parameter],
        *,
        batch: bool,
        delay: float = 0.0,
        timeout: float | None = None,
        max_failures: int | None = None,
        check: Callable[[], None] | None = None,
    ) -> None:
        self._supervisor = supervisor
        self._names = [p.name for p in parameters]
        self._low = np.array([p.min for p in parameters])
        self._high = np.array([p.max for p in parameters])
        self._max_failures = max_failures
        self._check = check
        self._deaths = 0
        self._usable = True
        self._dispatcher = Dispatcher(supervisor, Timeout(timeout), delay, batch, self._note_failure)
        self.workers = supervisor.workers
        """Number of worker processes."""
        self.n_evaluations = 0
        """Theta at which the engine computed, whatever came of it."""
        self.n_failed: Counter[Reason] = Counter()
        """How many theta were invalid, by reason."""
        self.failures: list[Failure] = []
        """The first thousand theta that failed inside the engine or killed their worker."""

    @property
    def pids(self) -> tuple[int, ...]:
        """Process ids of the workers as far as they have reported, and of the template that forks them (last)."""
        return (*self._supervisor.pids.values(), self._supervisor.template)

    def check(self) -> None:
        """Whether data and model are still those that the workers have.

        Raises
        ------
        SessionError
            They were changed meanwhile.
        """
        if self._check is not None:
            self._check()

    def evaluate(
        self,
        theta: ArrayLike,
        progress: Callable[[int], None] | None = None,
        *,
        expected: bool = True,
        dtype: type = np.float64,
        check: bool = True,
    ) -> Evaluation:
        """Expected counts and fit statistic at many theta, in the order given.

        Parameters
        ----------
        theta
            (n, d) values of the free parameters in physical units.
        progress
            Called with the number of theta done so far.
        expected
            False leaves the expected counts out, which saves their memory and time.
        dtype
            Of the expected counts.
        check
            False where the caller has called :meth:`check`: in any thread but the session's own.

        Raises
        ------
        UsageError
            `theta` has another shape.
        WorkerError
            Too many theta killed or stopped their worker, or the workers cannot run at all.
        SessionError
            Data or model were changed meanwhile.
        """
        theta = np.ascontiguousarray(theta, dtype=np.float64)
        if theta.ndim != 2 or theta.shape[1] != len(self._names):
            raise UsageError(f"theta has shape {theta.shape}, but the columns must be ({', '.join(self._names)})")
        if not self._usable:
            raise WorkerError("this pool was closed or interrupted; open another one")
        if check:
            self.check()
        n = len(theta)
        counts = np.full((n, self._supervisor.shape.bins), np.nan, dtype=dtype) if expected else None
        statistic = np.full(n, np.nan)
        reason = np.full(n, Reason.OUT_OF_LIMITS, dtype=np.uint8)
        inside = np.flatnonzero(np.all((theta >= self._low) & (theta <= self._high), axis=1))
        self._usable = False  # until this call ends well: an interrupted one leaves blocks under way
        self.n_evaluations += inside.size
        self._dispatcher.run(theta, counts, statistic, reason, inside, progress)
        self._usable = True
        self._count(theta, reason)
        return Evaluation(counts, statistic, reason)

    def _count(self, theta: NDArray[np.float64], reason: NDArray[np.uint8]) -> None:
        kinds, numbers = np.unique(reason, return_counts=True)
        for kind, number in zip(kinds.tolist(), numbers.tolist(), strict=True):
            if kind != Reason.OK:
                self.n_failed[Reason(kind)] += number
        room = _FAILURES_KEPT - len(self.failures)
        quiet = np.flatnonzero((reason == Reason.FAILED) | (reason == Reason.NOT_FINITE))[: max(room, 0)]
        self.failures += [Failure(tuple(theta[i].tolist()), Reason(int(reason[i]))) for i in quiet]

    def _note_failure(self, failure: Failure) -> None:
        log.warning("a worker was lost: %s", failure.describe(self._names))
        self._deaths += 1
        if len(self.failures) < _FAILURES_KEPT:
            self.failures.append(failure)
        limit = self._max_failures if self._max_failures is not None else max(50, self.n_evaluations // 20)
        if self._deaths > limit:
            raise WorkerError(
                f"{self._deaths} theta killed or stopped their worker, more than the {limit} allowed: "
                f"{self.describe_failures()}; keep away from there with a narrower prior, or raise max_failures"
            )

    def describe_failures(self) -> str:
        """Where in parameter space theta failed: for each reason how many, and the range of each parameter."""
        if not self.failures:
            return "none failed"
        parts = []
        for reason in sorted({f.reason for f in self.failures}):
            points = np.array([f.theta for f in self.failures if f.reason == reason])
            ranges = ", ".join(
                f"{name} {low:.4g}..{high:.4g}"
                for name, low, high in zip(self._names, points.min(axis=0), points.max(axis=0), strict=True)
            )
            last = next((f.detail for f in reversed(self.failures) if f.reason == reason and f.detail), "")
            parts.append(f"{len(points)} {reason.name.lower()} within {ranges}" + (f" ({last})" if last else ""))
        return "; ".join(parts)

    def close(self) -> None:
        """End all workers; safe to call twice."""
        self._usable = False
        self._supervisor.close()

    def __enter__(self) -> Pool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
