"""``python -m xsixsa.prompt HANDOVER``: started by the ``sixsa`` command at the XSPEC prompt, not by hand.

Exit status: 0 converged, 3 not converged, 2 the session or the options do not allow it, 1 internal error,
130 interrupted.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from xsixsa.errors import UsageError, WorkerError, XsixsaError
from xsixsa.prompt.speaker import Speaker

if TYPE_CHECKING:
    from xsixsa.prompt.handover import HandOver
    from xsixsa.session import Session

__all__ = ["main"]

_SCRATCH = ("session.xcm", "handover.txt", "log.txt", "progress.txt")


def main(argv: Sequence[str] | None = None) -> int:
    """Run what a hand-over asks for; returns the exit status."""
    words = sys.argv[1:] if argv is None else list(argv)
    # a shell may have started XSPEC with Ctrl-C ignored, which children inherit
    signal.signal(signal.SIGINT, signal.default_int_handler)
    speaker = Speaker(_own_channel())
    prompt = os.getppid()
    hand_over = None
    try:
        if len(words) != 1:
            raise UsageError("this is the Python side of the sixsa command at the XSPEC prompt")
        from xsixsa.prompt.handover import read_hand_over

        hand_over = read_hand_over(words[0])
        if hand_over.background:
            speaker = _into_background(hand_over)
        return 0 if _carry_out(hand_over, speaker) else 3
    except KeyboardInterrupt as interrupt:
        return _failed(speaker, str(interrupt) or "interrupted: nothing was saved", 130)
    except WorkerError as error:
        return _failed(speaker, str(error), 1)
    except XsixsaError as error:
        return _failed(speaker, str(error), 2)
    except ImportError as error:
        return _failed(speaker, f"the Python of this installation ({sys.executable}) lacks something: {error}", 1)
    except Exception as error:
        return _failed(speaker, f"internal error: {type(error).__name__}: {error}", 1)
    finally:
        if hand_over and hand_over.background and os.getppid() != prompt:
            _remove_scratch(hand_over)


def _failed(speaker: Speaker, message: str, status: int) -> int:
    # standard error is the log that the prompt names when it finds no better word
    traceback.print_exc()
    speaker.fail(message)
    return status


def _own_channel() -> int:
    """Keep standard output for ourselves; what engines print goes to the log with standard error."""
    sys.stdout.flush()
    channel = os.dup(1)
    os.dup2(2, 1)
    return channel


def _into_background(hand_over: HandOver) -> Speaker:
    """Away from the prompt's Ctrl-C and its terminal; speak into a file, since nobody reads the pipe."""
    os.setsid()
    progress = hand_over.path.with_name("progress.txt")
    return Speaker(os.open(progress, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600))


def _carry_out(hand_over: HandOver, speaker: Speaker) -> bool:
    from xsixsa.prompt.restore import check_statistic, restore_session
    from xsixsa.run import prepare_run_folder

    out = prepare_run_folder(hand_over.out)
    try:
        xspec, session = restore_session(hand_over)
        speaker.say(check_statistic(xspec, session, hand_over))
        if hand_over.task[0] == "bxa":
            from xsixsa.prompt.bxa import run_beside

            return run_beside(xspec, session, hand_over, out, speaker)
        return _run(session, hand_over, out, speaker)
    finally:
        shutil.rmtree(hand_over.links, ignore_errors=True)
        # a folder that holds nothing would only stand in the way of the next try
        if out.is_dir() and not any(out.iterdir()):
            out.rmdir()


def _run(session: Session, hand_over: HandOver, out: Path, speaker: Speaker) -> bool:
    from xsixsa.pipeline import Interrupted, fit
    from xsixsa.prompt.answer import write_answer

    counts = {
        name.replace("-", "_"): int(hand_over.options[name])
        for name in ("ess", "seed", "workers", "max-evaluations")
        if name in hand_over.options
    }
    preset = hand_over.options.get("preset", "standard")
    try:
        result = fit(session, hand_over.priors, preset=preset, out=out, progress=speaker, **counts)
    except Interrupted as interrupt:
        if interrupt.result is not None and interrupt.folder is not None:
            write_answer(interrupt.result, hand_over, out)
            raise KeyboardInterrupt(f"interrupted; what was finished is in {out}, see it with sixsa show") from None
        raise KeyboardInterrupt("interrupted: nothing was saved") from None
    write_answer(result, hand_over, out)
    return result.verdict.converged


def _remove_scratch(hand_over: HandOver) -> None:
    """The prompt that would have removed its folder is gone."""
    folder = Path(hand_over.path).parent
    if folder.name.startswith("sixsa."):
        for name in _SCRATCH:
            folder.joinpath(name).unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            folder.rmdir()


if __name__ == "__main__":
    sys.exit(main())
