"""Where a run is: one event type, and a bar that shows it."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["Bar", "Event", "Reporter"]

log = logging.getLogger("xsixsa")


@dataclass(frozen=True)
class Event:
    """State of a run.

    Attributes
    ----------
    stage : str
        ``simulate``, ``summarise``, ``infer``, ``propose``, ``explore``, ``correct``, ``predict``, ``done``.
    n_evaluations : int
        Engine evaluations so far.
    planned : int
        Evaluations expected in all; an estimate that improves on the way.
    ess, ess_wanted : float
        Effective sample size so far and the one asked for.
    message : str
        Something to tell the user; empty for a mere tick.
    """

    stage: str
    n_evaluations: int
    planned: int
    ess: float
    ess_wanted: int
    message: str = ""


class Bar:
    """Progress bar on standard error, with the time left; lines that matter are written above it."""

    def __init__(self):
        self._bar = None

    def __call__(self, event: Event) -> None:
        """Show `event`."""
        from tqdm import tqdm

        if event.message:
            tqdm.write(event.message, file=sys.stderr)
            return
        if event.stage == "done":
            if self._bar is not None:
                self._bar.close()
            return
        if self._bar is None:
            self._bar = tqdm(total=event.planned, unit="eval", file=sys.stderr, dynamic_ncols=True)
        self._bar.total = max(event.planned, event.n_evaluations)
        self._bar.n = event.n_evaluations
        self._bar.set_postfix_str(f"{event.stage}, ESS {event.ess:.0f}/{event.ess_wanted}")


class Reporter:
    """Turns the ticks of a run into events and counts what is still to come."""

    def __init__(self, show: bool | Callable, planned: int, ess_wanted: int):
        self._show = Bar() if show is True else (show or None)
        self.planned, self.ess_wanted = planned, ess_wanted
        self._last = ("start", 0, 0.0)

    def tick(self, stage: str, n_evaluations: int, ess: float) -> None:
        """A stage moved on."""
        self._last = (stage, n_evaluations, ess)
        self._send("")

    def say(self, message: str) -> None:
        """Tell the user something; also logged."""
        log.info(message)
        self._send(message)

    def done(self) -> None:
        """The run has ended."""
        self._last = ("done", *self._last[1:])
        self._send("")

    def _send(self, message: str) -> None:
        if self._show is not None:
            stage, n, ess = self._last
            self._show(Event(stage, n, max(self.planned, n), ess, self.ess_wanted, message))
