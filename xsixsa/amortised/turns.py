"""Engine and corrections at work at the same time.

The worker processes evaluate the points of one group of spectra while the answers to another are worked on here: fits,
verdicts and files of many spectra cost about as much as their evaluations.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice

import numpy as np

from xsixsa.amortised.correct import Correction

__all__ = ["Asker", "correct_in_turns"]


class Asker:
    """Puts questions to the engine from a thread of its own, in their order.

    Parameters
    ----------
    ask
        ``ask(z)`` -> (expected source counts (n, bins) of the reference observation, valid (n,)); run in the thread. It
        has to give up soon once :attr:`stopped` is set.
    check
        Run by whoever asks, before every question: what must not happen in another thread.
    """

    def __init__(self, ask: Callable, check: Callable[[], None]):
        self._ask, self._check = ask, check
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="xsixsa-engine")
        self._stop = threading.Event()

    def __enter__(self) -> Asker:
        return self

    def __exit__(self, *error) -> None:
        self._stop.set()
        self._thread.shutdown(wait=True, cancel_futures=True)

    @property
    def stopped(self) -> bool:
        """Whether nobody waits for answers any more."""
        return self._stop.is_set()

    def begin(self, z: np.ndarray) -> Future:
        """Ask and do not wait."""
        self._check()
        return self._thread.submit(self._ask, z)

    def __call__(self, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Ask and wait, behind all questions before."""
        return self.begin(z).result()


def correct_in_turns(
    corrections: Iterable[Correction],
    at_once: int,
    asker: Asker,
    finish: Callable[[list[Correction]], None],
) -> None:
    """Advance corrections to their ends in two groups; whoever is done makes room for the next.

    Parameters
    ----------
    corrections
        Taken one by one when there is room.
    at_once
        In both groups together, at most; at least two.
    asker
        Asks the engine.
    finish
        Told of those that are done, while the engine works on the others.
    """
    waiting, size = iter(corrections), max(1, at_once // 2)
    under_way: deque[tuple[list[Correction], list[np.ndarray], Future]] = deque()

    def begin(group: list[Correction]) -> None:
        group = [*group, *islice(waiting, size - len(group))]
        if group:
            proposed = [c.propose() for c in group]
            under_way.append((group, proposed, asker.begin(np.concatenate(proposed))))

    begin([])
    begin([])
    while under_way:
        group, proposed, answer = under_way.popleft()
        expected, valid = answer.result()
        start = 0
        for c, z in zip(group, proposed, strict=True):
            rows = slice(start, start + len(z))
            start = rows.stop
            c.receive(expected[rows], valid[rows])
        begin([c for c in group if not c.done])
        finish([c for c in group if c.done])
