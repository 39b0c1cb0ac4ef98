"""The loop of a worker: take a block of theta, evaluate it, say so."""

from __future__ import annotations

import os
import time

from xsixsa.session.evaluator import Evaluator
from xsixsa.session.pool.shared import COMMAND, REPLY, WANT_BATCH, WANT_EXPECTED, Slot, read_exactly, readable

__all__ = ["serve"]

_LOOK_AT_PARENT = 2.0
"""Seconds between two looks at whether the parent still lives."""


def serve(evaluator: Evaluator, slot: Slot, commands: int, replies: int, delay: float, parent: int) -> None:
    """Evaluate blocks until the command pipe is closed or the parent is gone.

    Parameters
    ----------
    evaluator
        Works on this process's copy of the session.
    slot
        Shared memory of this worker.
    commands, replies
        Pipe ends.
    delay
        Seconds to sleep per theta, which puts a slower engine's cost back in benchmarks.
    parent
        Process id to keep company.
    """
    while True:
        while not readable([commands], _LOOK_AT_PARENT):
            if os.getppid() != parent:
                return
        record = read_exactly(commands, COMMAND.size)
        if len(record) < COMMAND.size:
            return
        job, first, end, flags = COMMAND.unpack(record)
        slot.progress[0] = first
        evaluate_rows(evaluator, slot, first, end, flags)
        if delay > 0:
            time.sleep(delay * (end - first))
        slot.progress[0] = end
        os.write(replies, REPLY.pack(job, end))


def evaluate_rows(evaluator: Evaluator, slot: Slot, first: int, end: int, flags: int) -> None:
    """Fill rows [first, end) of the slot."""
    want_expected = bool(flags & WANT_EXPECTED)
    if flags & WANT_BATCH:
        expected = slot.expected[first:end] if want_expected else None
        try:
            evaluator.batch(slot.theta[first:end], expected, slot.statistic[first:end], slot.reason[first:end])
            return
        # one bad theta may spoil the call for all: then each for itself
        except Exception:
            pass
    for row in range(first, end):
        slot.progress[0] = row
        expected = slot.expected[row] if want_expected else None
        slot.statistic[row], slot.reason[row] = evaluator.row(slot.theta[row], expected)
