"""The answer: what the prompt needs of a finished run, beside it in the run's folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from xsixsa.prompt.handover import HandOver
from xsixsa.prompt.records import write_records

if TYPE_CHECKING:
    from xsixsa.result import Result

__all__ = ["ANSWER_FILE", "write_answer"]

ANSWER_FILE = "prompt.txt"


def write_answer(result: Result, hand_over: HandOver, folder: Path) -> Path:
    """Write the answer for the prompt into the run's folder.

    Parameters
    ----------
    result
        Of the run, finished or interrupted.
    hand_over
        Where the run came from: its model is written, so that the prompt can tell whether it still has it.
    folder
        Folder of the run.
    """
    return write_records(folder / ANSWER_FILE, "xsixsa-answer", _records(result, hand_over))


def _records(result: Result, hand_over: HandOver) -> Iterator[tuple]:
    yield "model", hand_over.model
    yield "converged", int(result.verdict.converged)
    yield "verdict", result.verdict
    yield "evidence", f"{result.log_evidence:.3f} +- {result.log_evidence_err:.3f}"
    yield "statistic", repr(result.best_fit_statistic)
    yield "engine", f"{result.engine.get('name')} {result.engine.get('version')}"
    for parameter in result.parameters:
        best = repr(float(result.best[parameter["name"]]))
        yield "parameter", parameter["source"], parameter["index"], parameter["name"], best
    for line in result.summary().splitlines():
        yield "summary", line
