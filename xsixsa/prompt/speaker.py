"""What the Python side says to the prompt: a letter, a tab and a text, one line each."""

from __future__ import annotations

import contextlib
import os
import time

from xsixsa.progress import Event

__all__ = ["Speaker"]

_INTERVAL = 0.5


class Speaker:
    """Writes lines to a file descriptor of its own, which nothing else in this process knows.

    Parameters
    ----------
    descriptor
        Where the prompt listens; -1 for nowhere.

    Notes
    -----
    ``P`` progress, ``M`` message, ``W`` warning, ``E`` the one reason for which there is no answer.
    """

    def __init__(self, descriptor: int):
        self._descriptor = descriptor
        self._last = 0.0
        self._start = time.monotonic()
        self._warned: set[str] = set()

    def __call__(self, event: Event) -> None:
        """Progress of a run."""
        if event.message:
            if event.message.startswith("warning: "):
                self.warn(event.message.removeprefix("warning: "))
            else:
                self.say(event.message)
        elif event.stage != "done":
            self.progress(progress_text(event, time.monotonic() - self._start))

    def progress(self, text: str) -> None:
        """Where the work is; seldom enough to read."""
        if time.monotonic() - self._last >= _INTERVAL:
            self._last = time.monotonic()
            self._write("P", text)

    def say(self, text: str) -> None:
        """Something to tell the user."""
        self._write("M", text)

    def warn(self, text: str) -> None:
        """Something to beware of; once."""
        if text not in self._warned:
            self._warned.add(text)
            self._write("W", text)

    def fail(self, text: str) -> None:
        """Why there is no answer."""
        self._write("E", text)

    def _write(self, kind: str, text: str) -> None:
        line = f"{kind}\t{' '.join(text.split())}\n".encode(errors="backslashreplace")
        # the prompt may be gone; the run goes on and leaves its result
        with contextlib.suppress(OSError):
            while line and self._descriptor >= 0:
                line = line[os.write(self._descriptor, line) :]


def progress_text(event: Event, seconds: float) -> str:
    """``simulate  12 000 of 40 000 evaluations, ESS 120 of 10000, 0:42``."""
    clock = f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
    return (
        f"{event.stage}: {event.n_evaluations} of about {max(event.planned, event.n_evaluations)} evaluations, "
        f"ESS {event.ess:.0f} of {event.ess_wanted}, {clock}"
    )
