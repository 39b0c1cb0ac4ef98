"""Parent side of the helper processes: pipes, starting, killing, and news of deaths."""

from __future__ import annotations

import mmap
import os
import signal
import tempfile
import time
from collections.abc import Callable
from typing import NamedTuple, Protocol

from xsixsa.errors import WorkerError
from xsixsa.session.evaluator import Evaluator
from xsixsa.session.pool.process import fork, forked_by_main_thread, thread_control
from xsixsa.session.pool.shared import Shape, read_exactly, readable, slot_of
from xsixsa.session.pool.template import CONTROL, EVENT, READY, Channels, run_template
from xsixsa.session.pool.worker import serve

__all__ = ["ErrorFile", "Event", "ForkSupervisor", "Supervisor", "next_event"]

_PATIENCE = 300.0
"""Seconds that the engine may take for its first evaluation, which can load large tables."""
_WORDS_KEPT = 1 << 18


class Event(NamedTuple):
    """News of a worker: `READY`, `STARTED` (value: process id) or `DIED` (value: exit status)."""

    kind: bytes
    worker: int
    value: int


class Supervisor(Protocol):
    """What a pool needs of those who keep its workers."""

    shape: Shape
    workers: int
    pids: dict[int, int]
    template: int
    memory: mmap.mmap
    events: int
    commands: list[int]
    replies: list[int]

    def start(self, number: int) -> None: ...
    def kill(self, number: int) -> None: ...
    def next_event(self) -> Event | None: ...
    def last_words(self) -> str: ...
    def trim_errors(self) -> None: ...
    def close(self) -> None: ...


def next_event(descriptor: int) -> Event | None:
    """Read an event; None when nobody can send one any more."""
    record = read_exactly(descriptor, EVENT.size)
    return Event(*EVENT.unpack(record)) if len(record) == EVENT.size else None


class ErrorFile:
    """Nameless file that takes the standard error of helper processes."""

    def __init__(self) -> None:
        # appending, so that processes do not write over each other, and nothing remains of what was cut off
        descriptor, name = tempfile.mkstemp(prefix="xsixsa-")
        os.close(descriptor)
        self._descriptor = os.open(name, os.O_RDWR | os.O_APPEND)
        os.unlink(name)

    def fileno(self) -> int:
        """Descriptor to write to."""
        return self._descriptor

    def last_words(self) -> str:
        """The last line, as the end of a sentence."""
        size = os.fstat(self._descriptor).st_size
        text = os.pread(self._descriptor, 4096, max(0, size - 4096)).decode(errors="replace")
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        return f"; it said: {lines[-1][:300]}" if lines else ""

    def trim(self) -> None:
        """Forget everything once it grows: some models print at every evaluation."""
        if os.fstat(self._descriptor).st_size > _WORDS_KEPT:
            os.ftruncate(self._descriptor, 0)

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._descriptor)


class ForkSupervisor:
    """Workers forked from the loaded session, through a template process.

    Parameters
    ----------
    evaluator
        Inherited by the workers.
    shape
        Of the shared slots.
    workers
        How many.
    delay
        Seconds slept per theta in the worker.
    prepare
        Run once in the template before it forks any worker.
    """

    def __init__(
        self, evaluator: Evaluator, shape: Shape, workers: int, delay: float, prepare: Callable[[], None]
    ) -> None:
        self.shape = shape
        self.workers = workers
        self.pids: dict[int, int] = {}
        self._closed = False
        self.memory = mmap.mmap(-1, workers * shape.slot_size)
        self._errors = ErrorFile()
        control_read, self._control = os.pipe()
        self.events, events_write = os.pipe()
        pipes = [os.pipe() for _ in range(2 * workers)]
        self.commands = [write for _, write in pipes[:workers]]
        self.replies = [read for read, _ in pipes[workers:]]
        theirs = [read for read, _ in pipes[:workers]], [write for _, write in pipes[workers:]]
        channels = Channels(
            control=control_read,
            events=events_write,
            commands=tuple(theirs[0]),
            replies=tuple(theirs[1]),
            errors=self._errors.fileno(),
            parent_ends=(self._control, self.events, *self.commands, *self.replies),
        )
        parent, kernel, memory = os.getpid(), forked_by_main_thread(), self.memory

        def work(number: int, commands: int, replies: int, template: int) -> None:
            serve(evaluator, slot_of(memory, shape, number), commands, replies, delay, template)

        thread_control()
        self.template = fork(lambda: run_template(channels, parent, kernel, prepare, work))
        for descriptor in (control_read, events_write, *theirs[0], *theirs[1]):
            os.close(descriptor)
        self._wait_until_ready()
        for number in range(workers):
            self.start(number)

    def _wait_until_ready(self) -> None:
        if not readable([self.events], _PATIENCE):
            self.close()
            raise WorkerError(f"the engine did not evaluate its current parameters within {_PATIENCE:.0f} s")
        event = self.next_event()
        if event is None or event.kind != READY:
            words = self.last_words()
            self.close()
            raise WorkerError(f"the engine stopped its process at the current parameter values{words}")

    def start(self, number: int) -> None:
        """Fork worker `number` (again)."""
        self._tell(b"S", number)

    def kill(self, number: int) -> None:
        """Kill worker `number`; its death arrives as an event."""
        self._tell(b"K", number)

    def _tell(self, verb: bytes, number: int) -> None:
        try:
            os.write(self._control, CONTROL.pack(verb, number))
        except BrokenPipeError as error:
            raise WorkerError(f"the process that keeps the workers has died{self.last_words()}") from error

    def next_event(self) -> Event | None:
        """The next event; None when the template is gone. Blocks: look first whether `events` is readable."""
        return next_event(self.events)

    def last_words(self) -> str:
        """The last line that a helper wrote to its standard error, as the end of a sentence."""
        return self._errors.last_words()

    def trim_errors(self) -> None:
        """Forget what helpers wrote once it grows."""
        self._errors.trim()

    def close(self) -> None:
        """End every helper process and collect it; safe to call twice."""
        if self._closed:
            return
        self._closed = True
        for descriptor in (self._control, *self.commands):
            os.close(descriptor)  # the template reads the end of its pipe and takes its workers along
        _collect(self.template)
        for descriptor in (self.events, *self.replies):
            os.close(descriptor)
        self._errors.close()


def _collect(pid: int, patience: float = 2.0) -> None:
    """Wait for a child to end, and end it when it does not."""
    deadline = time.monotonic() + patience
    while True:
        try:
            done, _ = os.waitpid(pid, os.WNOHANG)
        except ChildProcessError:  # somebody else in this process waits for all children
            return
        if done:
            return
        if time.monotonic() > deadline:
            os.kill(pid, signal.SIGKILL)
            deadline = float("inf")
        time.sleep(0.001)
