"""Memory that parent and workers share, and the small records they send through pipes.

Each worker owns one slot: a block of theta going in, expected counts, statistics and reasons coming out, and the
number of the row it is at, which tells the parent where a worker died.
"""

from __future__ import annotations

import mmap
import os
import select
import struct
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["COMMAND", "REPLY", "WANT_BATCH", "WANT_EXPECTED", "Shape", "Slot", "read_exactly", "readable", "slot_of"]

COMMAND = struct.Struct("<qqqq")
"""Parent to worker: job number, first row, end row, flags."""
REPLY = struct.Struct("<qq")
"""Worker to parent: job number, end row."""
WANT_EXPECTED = 1
WANT_BATCH = 2

_ALIGN = 64


@dataclass(frozen=True)
class Shape:
    """Sizes of a slot: rows of a block, parameters, bins."""

    rows: int
    parameters: int
    bins: int

    def _sizes(self) -> tuple[int, ...]:
        sizes = (8, 8 * self.rows * self.parameters, 8 * self.rows * self.bins, 8 * self.rows, self.rows)
        return tuple(-(-size // _ALIGN) * _ALIGN for size in sizes)

    @property
    def slot_size(self) -> int:
        """Bytes of one slot."""
        return sum(self._sizes())


@dataclass(frozen=True, eq=False)
class Slot:
    """Views into one worker's part of the shared memory."""

    progress: NDArray[np.int64]
    """(1,) row being evaluated."""
    theta: NDArray[np.float64]
    expected: NDArray[np.float64]
    statistic: NDArray[np.float64]
    reason: NDArray[np.uint8]


def slot_of(memory: mmap.mmap, shape: Shape, number: int) -> Slot:
    """The slot of worker `number`."""
    offset = number * shape.slot_size
    views = []
    layout = [
        (np.int64, (1,)),
        (np.float64, (shape.rows, shape.parameters)),
        (np.float64, (shape.rows, shape.bins)),
        (np.float64, (shape.rows,)),
        (np.uint8, (shape.rows,)),
    ]
    for (dtype, dimensions), size in zip(layout, shape._sizes(), strict=True):
        count = int(np.prod(dimensions))
        views.append(np.frombuffer(memory, dtype=dtype, count=count, offset=offset).reshape(dimensions))
        offset += size
    return Slot(*views)


def read_exactly(descriptor: int, size: int) -> bytes:
    """`size` bytes from a pipe; fewer only when its other end is closed."""
    data = b""
    while len(data) < size:
        part = os.read(descriptor, size - len(data))
        if not part:
            break
        data += part
    return data


def readable(descriptors: Sequence[int], seconds: float) -> set[int]:
    """Which of the pipes have something to read, or have been closed, waiting for at most `seconds`."""
    # poll, because select refuses descriptors above 1023, which a busy notebook reaches
    poll = select.poll()
    for descriptor in descriptors:
        poll.register(descriptor, select.POLLIN | select.POLLHUP)
    return {descriptor for descriptor, _ in poll.poll(seconds * 1000.0)}
