"""Workers without fork: each restores the session from its saved text, and must agree on the statistic.

For systems where a loaded session cannot be forked (macOS). The saved text keeps six digits and forgets some settings:
values and limits are set again to the last digit, and a worker whose statistic differs from the parent's refuses.
"""

from __future__ import annotations

import json
import mmap
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from xsixsa.errors import WorkerError
from xsixsa.session.parameters import RawParameter
from xsixsa.session.pool.shared import Shape, readable
from xsixsa.session.pool.supervisor import ErrorFile, Event, next_event
from xsixsa.session.pool.template import DIED, EVENT, STARTED
from xsixsa.session.records import Parameter
from xsixsa.session.settings import captured_output, optional

__all__ = ["SpawnSupervisor"]

_PATIENCE = 300.0


class SpawnSupervisor:
    """Workers in fresh interpreters.

    Parameters
    ----------
    xspec
        The engine's module, imported by name in the workers.
    parameters, raws
        Free parameters, and all of them with their values.
    spectra
        ``(spectrum number, data group, number of noticed bins)`` of every spectrum.
    scale
        (bins,) what turns folded rates into expected counts.
    limits
        Wider hard limits: (source, data group, number) -> (minimum, maximum).
    shape, workers, delay
        As for `ForkSupervisor`.
    """

    def __init__(
        self,
        xspec: ModuleType,
        parameters: Sequence[Parameter],
        raws: Sequence[RawParameter],
        spectra: Sequence[tuple[int, int, int]],
        scale: NDArray[np.float64],
        limits: dict[tuple[str, int, int], tuple[float, float]],
        shape: Shape,
        workers: int,
        delay: float,
    ) -> None:
        self.shape, self.workers, self.pids, self.template = shape, workers, {}, os.getpid()
        self._closed = False
        self._processes: dict[int, subprocess.Popen] = {}
        self._watchers: list[threading.Thread] = []
        self._folder = tempfile.TemporaryDirectory(prefix="xsixsa-")
        self._shared = tempfile.TemporaryFile(dir="/dev/shm" if os.path.isdir("/dev/shm") else None)  # noqa: SIM115
        self._shared.truncate(workers * shape.slot_size)
        self.memory = mmap.mmap(self._shared.fileno(), workers * shape.slot_size)
        self._errors = ErrorFile()
        self.events, self._events_write = os.pipe()
        pipes = [os.pipe() for _ in range(2 * workers)]
        self.commands = [write for _, write in pipes[:workers]]
        self.replies = [read for read, _ in pipes[workers:]]
        self._theirs = [(pipes[i][0], pipes[workers + i][1]) for i in range(workers)]
        self._write_task(xspec, parameters, raws, spectra, scale, limits, delay)
        for number in range(workers):
            self.start(number)
        self._wait_for_first()

    def _write_task(self, xspec, parameters, raws, spectra, scale, limits, delay) -> None:
        folder = Path(self._folder.name)
        with captured_output():
            xspec.Xset.save(str(folder / "session.xcm"), info="a")
        np.save(folder / "scale.npy", scale)
        task = {
            "engine": xspec.__name__,
            "path": [entry for entry in sys.path if entry],
            "weight": str(optional(lambda: xspec.Fit.weight, "")).strip(),
            "model_strings": dict(optional(lambda: dict(xspec.Xset.modelStrings), {})),
            "statistic": float(xspec.Fit.statistic),
            "parameters": [asdict(p) for p in parameters],
            "values": [[r.source, r.group, r.local_index, r.values] for r in raws if not r.link],
            "spectra": [list(entry) for entry in spectra],
            "limits": [[*key, *limit] for key, limit in limits.items()],
            "shape": asdict(self.shape),
            "memory": self.workers * self.shape.slot_size,
            "delay": delay,
            "parent": os.getpid(),
        }
        (folder / "task.json").write_text(json.dumps(task))

    def _wait_for_first(self) -> None:
        """Until one worker is ready, or one has said why it is not."""
        if not readable([self.events], _PATIENCE):
            self.close()
            raise WorkerError(f"no worker could restore the session within {_PATIENCE:.0f} s")
        event = self.next_event()
        if event is None or event.kind == DIED:
            words = self.last_words()
            self.close()
            raise WorkerError(f"a worker could not take over the session{words}")
        # the dispatcher is to hear of it
        os.write(self._events_write, EVENT.pack(*event))

    def start(self, number: int) -> None:
        """Start worker `number` (again)."""
        commands, replies = self._theirs[number]
        while readable([commands], 0):  # not for the new one
            os.read(commands, 4096)
        hello_read, hello_write = os.pipe()
        passed = (self._shared.fileno(), commands, replies, hello_write)
        arguments = [self._folder.name, str(number), *map(str, passed)]
        environment = dict(os.environ, PYTHONPATH=os.pathsep.join(entry for entry in sys.path if entry))
        process = subprocess.Popen(
            [sys.executable, "-m", "xsixsa.session.spawned", *arguments],
            pass_fds=passed,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=self._errors.fileno(),
            env=environment,
        )
        os.close(hello_write)
        self._processes[number] = process
        watcher = threading.Thread(target=self._watch, args=(number, process, hello_read), daemon=True)
        self._watchers.append(watcher)
        watcher.start()

    def _watch(self, number: int, process: subprocess.Popen, hello: int) -> None:
        """Turn a worker's readiness and its end into events."""
        ready = os.read(hello, 1)
        os.close(hello)
        if ready:
            os.write(self._events_write, EVENT.pack(STARTED, number, process.pid))
        code = process.wait()
        if not self._closed:
            os.write(self._events_write, EVENT.pack(DIED, number, code << 8 if code >= 0 else -code))

    def kill(self, number: int) -> None:
        """Kill worker `number`; its death arrives as an event."""
        self._processes[number].kill()

    def next_event(self) -> Event | None:
        """The next event. Blocks: look first whether `events` is readable."""
        return next_event(self.events)

    def last_words(self) -> str:
        """The last line that a worker wrote to its standard error, as the end of a sentence."""
        return self._errors.last_words()

    def trim_errors(self) -> None:
        """Forget what workers wrote once it grows."""
        self._errors.trim()

    def close(self) -> None:
        """End every worker and collect it; safe to call twice."""
        if self._closed:
            return
        self._closed = True
        for process in self._processes.values():
            process.kill()
        for process in self._processes.values():
            process.wait()
        for watcher in self._watchers:
            watcher.join()
        for descriptor in (self.events, self._events_write, *self.commands, *self.replies, *sum(self._theirs, ())):
            os.close(descriptor)
        self._shared.close()
        self._errors.close()
        self._folder.cleanup()
