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
def interruptible() -> Iterator[None]:
    """Ctrl-C raises KeyboardInterrupt (or does what the caller's Python handler does) inside."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    libc = optional(lambda: ctypes.CDLL(None))
    before = ctypes.create_string_buffer(_SIGACTION_SIZE)
    known = libc is not None and optional(lambda: libc.sigaction(signal.SIGINT, None, before), -1) == 0
    handler = signal.getsignal(signal.SIGINT)
    # setting the same handler again puts Python's own function back underneath
    signal.signal(signal.SIGINT, signal.default_int_handler if handler is None else handler)
    try:
        yield
    finally:
        if known:
            libc.sigaction(signal.SIGINT, before, None)


@contextlib.contextmanager
def interrupt_later() -> Iterator[None]:
    """Hold Ctrl-C back, so that an impatient second one does not leave the session half restored."""
    old = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, old)
