"""The template: a quiet, single-threaded copy of the loaded session that forks the workers.

It is forked once, when the pool starts, and never evaluates for the caller. Workers that die are forked again from it,
not from the parent, which may by then run threads (torch, OpenMP, a notebook) that make forking unsafe.
"""

from __future__ import annotations

import os
import signal
import struct
from collections.abc import Callable
from dataclasses import dataclass

from xsixsa.session.pool.process import detach, die_with_parent, fork, one_thread
from xsixsa.session.pool.shared import readable

__all__ = ["CONTROL", "DIED", "EVENT", "READY", "STARTED", "Channels", "run_template"]

CONTROL = struct.Struct("<cxH")
"""Parent to template: b"S"tart, b"K"ill or b"Q"uit, and a worker's number."""
EVENT = struct.Struct("<cxHi")
"""Template to parent: what happened, worker, process id or exit status."""
READY, STARTED, DIED = b"R", b"U", b"D"

_LOOK_AT_PARENT = 0.5


@dataclass(frozen=True)
class Channels:
    """Pipe ends of the helper side, by worker where there are several."""

    control: int
    events: int
    commands: tuple[int, ...]
    replies: tuple[int, ...]
    errors: int
    parent_ends: tuple[int, ...]
    """The parent's ends of the same pipes: closed here, or nobody would see the parent's death."""


def run_template(
    channels: Channels,
    parent: int,
    kernel: bool,
    prepare: Callable[[], None],
    work: Callable[[int, int, int, int], None],
) -> None:
    """Fork, kill and bury workers as told, until the parent says quit or is gone.

    Parameters
    ----------
    channels
        Pipes.
    parent
        Its process id.
    kernel
        Whether the kernel may be asked to kill us with the parent's thread.
    prepare
        Called once before any worker is forked: silences the engine, loads its tables into shared pages.
    work
        ``work(worker, commands, replies, template)``, the worker's life.
    """
    for descriptor in channels.parent_ends:
        os.close(descriptor)
    detach(channels.errors)
    die_with_parent(parent, kernel=kernel)
    one_thread()
    wake_read, wake_write = os.pipe()
    os.set_blocking(wake_read, False)
    os.set_blocking(wake_write, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
    prepare()
    os.write(channels.events, EVENT.pack(READY, 0, 0))

    workers: dict[int, int] = {}  # process id -> number
    try:
        while True:
            ready = readable([channels.control, wake_read], _LOOK_AT_PARENT)
            if wake_read in ready:
                _drain(wake_read)
            _bury(workers, channels.events)
            if os.getppid() != parent:
                return
            if channels.control in ready:
                record = os.read(channels.control, CONTROL.size)
                if len(record) < CONTROL.size:
                    return
                verb, number = CONTROL.unpack(record)
                if verb == b"Q":
                    return
                if verb == b"S":
                    _start(workers, number, channels, (wake_read, wake_write), work)
                elif verb == b"K":
                    for pid in [p for p, n in workers.items() if n == number]:
                        os.kill(pid, signal.SIGKILL)
    finally:
        for pid in workers:
            os.kill(pid, signal.SIGKILL)
        for pid in workers:
            os.waitpid(pid, 0)


def _start(
    workers: dict[int, int],
    number: int,
    channels: Channels,
    own: tuple[int, ...],
    work: Callable[[int, int, int, int], None],
) -> None:
    # a command that the last worker of this number did not live to read is not for the next one
    os.set_blocking(channels.commands[number], False)
    _drain(channels.commands[number])
    os.set_blocking(channels.commands[number], True)
    template = os.getpid()

    def life() -> None:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        die_with_parent(template)
        mine = (channels.commands[number], channels.replies[number])
        others = {*channels.commands, *channels.replies, channels.control, channels.events, *own} - set(mine)
        for descriptor in others:
            os.close(descriptor)
        work(number, *mine, template)

    pid = fork(life)
    workers[pid] = number
    os.write(channels.events, EVENT.pack(STARTED, number, pid))


def _drain(descriptor: int) -> None:
    try:
        while os.read(descriptor, 4096):
            pass
    except BlockingIOError:
        pass


def _bury(workers: dict[int, int], events: int) -> None:
    """Collect dead workers, so that none stays a zombie, and tell the parent."""
    while workers:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        number = workers.pop(pid, None)
        if number is not None:
            os.write(events, EVENT.pack(DIED, number, status))
