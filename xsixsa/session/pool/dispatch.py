"""Hand blocks of theta to workers, collect what comes back, and deal with workers that die or hang."""

from __future__ import annotations

import math
import os
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from xsixsa.errors import WorkerError
from xsixsa.session.pool.shared import COMMAND, REPLY, WANT_BATCH, WANT_EXPECTED, Slot, readable, slot_of
from xsixsa.session.pool.supervisor import Event, Supervisor
from xsixsa.session.pool.template import DIED, STARTED
from xsixsa.session.records import Failure, Reason

__all__ = ["Dispatcher", "Timeout"]

_FRUITLESS_STARTS = 5
"""Times in a row that a worker may die without having evaluated anything."""


class Timeout:
    """How long a worker may be silent before it counts as hung.

    Parameters
    ----------
    seconds
        Per theta; None adapts: 300 s at first, then 300 times the slowest theta so far and at least 60 s.
    """

    def __init__(self, seconds: float | None) -> None:
        self._seconds = seconds
        self._slowest = 0.0

    def learn(self, seconds: float, rows: int) -> None:
        """Remember how long `rows` theta took."""
        self._slowest = max(self._slowest, seconds / max(rows, 1))

    def allowed(self, rows_at_once: int) -> float:
        """Seconds for `rows_at_once` theta that are evaluated in one call."""
        if self._seconds is not None:
            # one call for a block costs far less than its theta one by one
            return self._seconds * (1.0 + (rows_at_once - 1) / 16.0)
        if self._slowest == 0.0:
            return 300.0
        return max(60.0, 300.0 * self._slowest * rows_at_once)


@dataclass
class _Job:
    """A block: rows [start, start + size) of the theta of this call; `at` is where the next attempt begins."""

    start: int
    size: int
    batch: bool
    batch_again: bool = True
    at: int = 0
    number: int = -1
    strikes: dict[int, int] = field(default_factory=dict)
    began: float = 0.0
    seen_row: int = -1
    seen_time: float = 0.0


@dataclass
class _Worker:
    job: _Job | None = None
    ready: bool = False
    hung: bool = False
    fruitless: int = 0


class Dispatcher:
    """Runs calls over the workers of one supervisor.

    Parameters
    ----------
    supervisor
        Keeps the processes.
    timeout
        When a worker counts as hung.
    delay
        Seconds that a worker sleeps per theta, which is not hanging.
    batch
        Whether the engine takes a block in one call.
    on_failure
        Told of every theta that was given up; may raise to stop the call.
    """

    def __init__(
        self,
        supervisor: Supervisor,
        timeout: Timeout,
        delay: float,
        batch: bool,
        on_failure: Callable[[Failure], None],
    ) -> None:
        self._supervisor = supervisor
        self._timeout = timeout
        self._delay = delay
        self._batch = batch
        self._on_failure = on_failure
        self._slots: list[Slot] = [slot_of(supervisor.memory, supervisor.shape, i) for i in range(supervisor.workers)]
        self._workers = [_Worker() for _ in range(supervisor.workers)]
        self._next_number = 0

    def run(
        self,
        theta: NDArray[np.float64],
        expected: NDArray | None,
        statistic: NDArray[np.float64],
        reason: NDArray[np.uint8],
        rows: NDArray[np.intp],
        progress: Callable[[int], None] | None,
    ) -> None:
        """Evaluate ``theta[rows]`` into the same rows of the other arrays.

        Blocks are consecutive entries of `rows` of a fixed size, whatever the number of workers.
        """
        size = self._supervisor.shape.rows
        waiting = deque(_Job(start, min(size, rows.size - start), self._batch) for start in range(0, rows.size, size))
        self._call = (theta, expected, statistic, reason, rows)
        self._done, self._reported = 0, -1
        unfinished = rows.size
        while self._done < unfinished:
            for number, worker in enumerate(self._workers):
                if waiting and worker.job is None and worker.ready:
                    self._give(number, waiting.popleft())
            self._wait()
            if progress is not None and self._done != self._reported:
                self._reported = self._done
                progress(len(theta) - rows.size + self._done)
            self._look_for_hung()

    def _give(self, number: int, job: _Job) -> None:
        """Send a block, or what is left of it, to a worker."""
        theta, expected, _, _, rows = self._call
        worker, slot = self._workers[number], self._slots[number]
        if job.at == 0:
            slot.theta[: job.size] = theta[rows[job.start : job.start + job.size]]
        job.number = self._next_number
        self._next_number += 1
        job.began = job.seen_time = time.monotonic()
        job.seen_row = job.at
        slot.progress[0] = job.at
        worker.job, worker.hung = job, False
        flags = (WANT_EXPECTED if expected is not None else 0) | (WANT_BATCH if job.batch else 0)
        try:
            os.write(self._supervisor.commands[number], COMMAND.pack(job.number, job.at, job.size, flags))
        except BrokenPipeError as error:
            words = self._supervisor.last_words()
            raise WorkerError(f"the process that keeps the workers has died{words}") from error

    def _wait(self) -> None:
        """Deal with whatever arrives next: replies first, so that a worker's last one is not lost with it."""
        descriptors = [*self._supervisor.replies, self._supervisor.events]
        ready = readable(descriptors, 0.25)
        for number, descriptor in enumerate(self._supervisor.replies):
            if descriptor in ready:
                self._take_reply(number)
        if self._supervisor.events in ready:
            event = self._supervisor.next_event()
            if event is None:
                words = self._supervisor.last_words()
                raise WorkerError(f"the process that keeps the workers has died{words}")
            self._take_event(event)

    def _take_reply(self, number: int) -> None:
        record = os.read(self._supervisor.replies[number], REPLY.size)
        worker = self._workers[number]
        if len(record) == REPLY.size and worker.job is not None:
            job_number, end = REPLY.unpack(record)
            if job_number == worker.job.number and end == worker.job.size:
                now = time.monotonic()
                worker.fruitless = 0
                rows = worker.job.size - worker.job.at
                self._timeout.learn(now - worker.job.began - self._delay * rows, rows)
                self._collect(number)
                return
            if job_number < worker.job.number:
                return  # of an attempt that was given up already
        # nonsense: a process that was damaged but lives; its death brings the block back
        self._supervisor.kill(number)

    def _collect(self, number: int) -> None:
        """Copy a finished block out of shared memory."""
        _, expected, statistic, reason, rows = self._call
        worker, slot = self._workers[number], self._slots[number]
        job = worker.job
        where = rows[job.start : job.start + job.size]
        statistic[where] = slot.statistic[: job.size]
        reason[where] = slot.reason[: job.size]
        if expected is not None:
            expected[where] = slot.expected[: job.size]
        worker.job = None
        self._done += job.size
        self._supervisor.trim_errors()

    def _take_event(self, event: Event) -> None:
        worker = self._workers[event.worker]
        if event.kind == STARTED:
            self._supervisor.pids[event.worker] = event.value
            worker.ready = True
            if worker.job is not None:
                self._give(event.worker, worker.job)
            return
        if event.kind != DIED:
            return
        # the reply may have been written just before the end
        if readable([self._supervisor.replies[event.worker]], 0):
            self._take_reply(event.worker)
        worker.ready = False
        if worker.job is None:
            worker.fruitless += 1
            if worker.fruitless > _FRUITLESS_STARTS:
                raise WorkerError(f"worker processes die as soon as they start{self._supervisor.last_words()}")
        else:
            self._strike(event.worker, os.waitstatus_to_exitcode(event.value))
        self._supervisor.start(event.worker)

    def _strike(self, number: int, exit_code: int) -> None:
        """A worker died in a block: try again from the row where it was; the second time give up that row alone."""
        worker, slot = self._workers[number], self._slots[number]
        job = worker.job
        row = int(slot.progress[0])
        row = min(max(row, job.at), job.size - 1)
        reason = Reason.HUNG if worker.hung else Reason.CRASHED
        if job.batch:
            # one call for all rows does not tell which it was: once more, then one by one, each having had its chance
            job.batch, job.batch_again = job.batch_again, False
            job.strikes = dict.fromkeys(range(job.size), 1)
            return
        job.strikes[row] = job.strikes.get(row, 0) + 1
        job.at = row
        if job.strikes[row] < 2:
            return
        slot.statistic[row] = np.nan
        slot.expected[row] = np.nan
        slot.reason[row] = reason
        job.at = row + 1
        detail = "no answer in time" if worker.hung else _how(exit_code) + self._supervisor.last_words()
        failure = Failure(tuple(slot.theta[row].tolist()), reason, detail)
        if job.at >= job.size:
            self._collect(number)
        self._on_failure(failure)

    def _look_for_hung(self) -> None:
        now = time.monotonic()
        for number, worker in enumerate(self._workers):
            job = worker.job
            if job is None or worker.hung or not worker.ready:
                continue
            row = int(self._slots[number].progress[0])
            if row != job.seen_row:
                job.seen_row, job.seen_time = row, now
                continue
            at_once = job.size - job.at if job.batch else 1
            # the worker sleeps for the whole block at its end
            sleeping = self._delay * (job.size - job.at)
            allowed = self._timeout.allowed(at_once) + sleeping
            if math.isfinite(allowed) and now - job.seen_time > allowed:
                worker.hung = True
                self._supervisor.kill(number)


def _how(exit_code: int) -> str:
    if exit_code < 0:
        return f"killed by signal {-exit_code}"
    return f"left with status {exit_code}"
