"""Ctrl-C while an engine is loaded.

XSPEC puts a handler of its own in place as soon as it reads data, and Python never hears of Ctrl-C again. While we
work Python's is back; afterwards XSPEC's.
"""

from __future__ import annotations

import contextlib
import ctypes
import signal
import threading
from collections.abc import Iterator

from xsixsa.session.settings import optional

__all__ = ["interrupt_later", "interruptible"]

_SIGACTION_SIZE = 512
"""Bytes: more than ``struct sigaction`` has anywhere."""


@contextlib.contextmanager
def _handled_by(handler) -> Iterator[None]:
    """A Python handler of Ctrl-C inside, and afterwards whatever was there, another language's included."""
    libc = optional(lambda: ctypes.CDLL(None))
    before = ctypes.create_string_buffer(_SIGACTION_SIZE)
    known = libc is not None and optional(lambda: libc.sigaction(signal.SIGINT, None, before), -1) == 0
    python = signal.getsignal(signal.SIGINT)
    # setting the same handler again puts Python's own function back underneath
    signal.signal(signal.SIGINT, handler or (signal.default_int_handler if python is None else python))
    try:
        yield
    finally:
        if handler is not None:
            signal.signal(signal.SIGINT, signal.default_int_handler if python is None else python)
        if known:
            libc.sigaction(signal.SIGINT, before, None)


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Ctrl-C raises KeyboardInterrupt (or does what the caller's Python handler does) inside."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    with _handled_by(None):
        yield


@contextlib.contextmanager
def interrupt_later() -> Iterator[None]:
    """Hold Ctrl-C back, so that an impatient second one does not leave the session half restored."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    # Blocking the signal would not do: where there are other threads (Jupyter, torch) one of them takes it.
    held: list[int] = []
    try:
        with _handled_by(lambda number, frame: held.append(number)):
            yield
    finally:
        if held:
            signal.raise_signal(signal.SIGINT)
