"""The ``xsixsa`` command: ``demo``, ``fit`` and ``show``.

Exit status: 0 converged, 3 not converged, 2 wrong use, 1 internal error, 130 interrupted.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence

from xsixsa.cli.parser import build_parser
from xsixsa.errors import UsageError, WorkerError, XsixsaError

__all__ = ["main"]

CONVERGED, INTERNAL, WRONG_USE, NOT_CONVERGED, INTERRUPTED = 0, 1, 2, 3, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments without the program's name; those of the process when left out.

    Returns
    -------
    int
        0 converged, 3 not converged, 2 wrong use, 1 internal error, 130 interrupted.
    """
    try:
        arguments = build_parser().parse_args(argv)
    except SystemExit as leaving:  # argparse leaves by itself after --help and after its own errors
        return int(leaving.code or 0)
    try:
        from xsixsa.cli import commands

        outcome = getattr(commands, arguments.command)(arguments)
        if not isinstance(outcome, bool):  # a command with a meaning of its own for its exit status
            return int(outcome)
        return CONVERGED if outcome else NOT_CONVERGED
    except BrokenPipeError:
        # the reader of our output (head, less) has left; Python must not complain when it flushes at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return CONVERGED
    except KeyboardInterrupt as interrupt:
        return _report("interrupted" + (f": {interrupt}" if str(interrupt) else ""), INTERRUPTED)
    except WorkerError as error:
        return _report(f"error: {error}", INTERNAL)
    except XsixsaError as error:
        return _report(f"error: {error}", WRONG_USE)
    except Exception as error:
        hint = "run again with XSIXSA_DEBUG=1 for the traceback"
        return _report(f"internal error: {type(error).__name__}: {error} ({hint})", INTERNAL)


def _report(message: str, status: int) -> int:
    if os.environ.get("XSIXSA_DEBUG"):
        traceback.print_exc()
    print(f"xsixsa: {' '.join(message.split())}", file=sys.stderr)
    return status


def require(condition: bool, message: str) -> None:
    """Raise `UsageError` with ``message`` unless ``condition`` holds."""
    if not condition:
        raise UsageError(message)
