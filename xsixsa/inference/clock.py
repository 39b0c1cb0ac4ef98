"""A deadline that trainings know of without being told by whom.

Between a run with a budget in seconds and the epochs of a network lie many calls that have nothing to do with time.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

__all__ = ["deadline", "time_is_over"]

_DEADLINE: ContextVar[float | None] = ContextVar("deadline", default=None)


@contextmanager
def deadline(at: float | None) -> Iterator[None]:
    """Trainings inside end with the epoch in which :func:`time.perf_counter` passes `at`; None for no limit."""
    token = _DEADLINE.set(at)
    try:
        yield
    finally:
        _DEADLINE.reset(token)


def time_is_over() -> bool:
    """Whether the deadline in force has passed."""
    at = _DEADLINE.get()
    return at is not None and time.perf_counter() >= at
