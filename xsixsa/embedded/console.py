"""What the engine says, and to whom: chatter levels instead of print."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TextIO

from xsixsa.errors import OutputError

__all__ = ["Console"]

logger = logging.getLogger("xsixsa.embedded")


class Console:
    """Sends messages to the logger ``xsixsa.embedded`` and to the session's log file.

    A message has a level, as in XSPEC: it goes to the logger when ``chatter`` is at least that level, and to
    the log file, where one is open, when ``log_chatter`` is.

    Attributes
    ----------
    chatter, log_chatter : int
        10 is XSPEC's default, 0 is silence.
    """

    def __init__(self) -> None:
        self.chatter = 10
        self.log_chatter = 10
        self.log: TextIO | None = None

    def tell(self, message: str, level: int = 10) -> None:
        """Say `message` to whoever listens at `level`."""
        if self.chatter >= level:
            logger.info(message)
        if self.log is not None and self.log_chatter >= level:
            self.log.write(message + "\n")
            self.log.flush()

    def warn(self, message: str) -> None:
        """Say something that may change a result; shown from chatter 5 on."""
        if self.chatter >= 5:
            logger.warning(message)
        if self.log is not None and self.log_chatter >= 5:
            self.log.write(f"Warning: {message}\n")
            self.log.flush()

    def open_log(self, path: str) -> TextIO:
        """Open `path` as the log file; closes the one that was open."""
        self.close_log()
        target = Path(path)
        if not target.suffix:
            target = target.with_suffix(".log")
        try:
            self.log = target.open("w", encoding="utf-8")
        except OSError as error:
            raise OutputError(f"cannot write the log file {target}: {error.strerror}") from error
        return self.log

    def close_log(self) -> None:
        """Close the log file, if there is one."""
        if self.log is not None:
            self.log.close()
            self.log = None
