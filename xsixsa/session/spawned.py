"""A worker in a fresh interpreter: ``python -m xsixsa.session.spawned FOLDER NUMBER descriptors...``."""

from __future__ import annotations

import contextlib
import importlib
import json
import mmap
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from xsixsa.session.evaluator import Evaluator
from xsixsa.session.isolated import set_limits
from xsixsa.session.parameters import Key, read_model, set_arguments
from xsixsa.session.pool.process import detach, one_thread, quiet_engine
from xsixsa.session.pool.shared import Shape, slot_of
from xsixsa.session.pool.worker import serve
from xsixsa.session.records import Parameter
from xsixsa.session.settings import optional

__all__ = ["main"]

AGREEMENT = 1e-8
"""Relative difference allowed between the statistic here and in the parent."""


def main(arguments: list[str]) -> int:
    """Restore the session, check that it is the parent's, and evaluate blocks until told to stop."""
    folder, number = Path(arguments[0]), int(arguments[1])
    memory_descriptor, commands, replies, hello = (int(a) for a in arguments[2:6])
    # the engine's own output is no answer, and its last line no reason
    errors = os.dup(2)
    null = os.open(os.devnull, os.O_WRONLY)
    detach(null)
    one_thread()
    try:
        task = json.loads((folder / "task.json").read_text())
        evaluator = restore(task, folder)
    except Exception as error:
        os.write(errors, f"{type(error).__name__}: {error}".strip().replace("\n", " ").encode() + b"\n")
        return 1
    os.dup2(errors, 2)
    memory = mmap.mmap(memory_descriptor, task["memory"])
    slot = slot_of(memory, Shape(**task["shape"]), number)
    os.write(hello, b"+")
    os.close(hello)
    with contextlib.suppress(BrokenPipeError):
        serve(evaluator, slot, commands, replies, task["delay"], task["parent"])
    return 0


def restore(task: dict[str, Any], folder: Path) -> Evaluator:
    """Load the saved session and everything that saving loses.

    Raises
    ------
    ValueError
        The fit statistic is not the parent's.
    """
    xspec = importlib.import_module(task["engine"])
    quiet_engine(xspec)
    xspec.Xset.restore(str(folder / "session.xcm"))
    quiet_engine(xspec)
    if task["weight"] and optional(lambda: str(xspec.Fit.weight).strip()) != task["weight"]:
        xspec.Fit.weight = task["weight"]
    if task["model_strings"]:
        xspec.Xset.modelStrings = task["model_strings"]
    parts = read_model(xspec)
    set_values(xspec, parts, task["values"])
    if task["limits"]:
        set_limits(xspec, parts, {(s, g, n): (low, high) for s, g, n, low, high in task["limits"]})
    statistic = float(xspec.Fit.statistic)
    if not abs(statistic - task["statistic"]) <= AGREEMENT * abs(task["statistic"]):
        raise ValueError(
            f"the restored session has the fit statistic {statistic:.12g}, the loaded one {task['statistic']:.12g}"
        )
    parameters = [Parameter(**p) for p in task["parameters"]]
    spectra = [tuple(entry) for entry in task["spectra"]]
    return Evaluator(xspec, parts, parameters, spectra, np.load(folder / "scale.npy"))


def set_values(xspec: ModuleType, parts: Any, values: list) -> None:
    """Values and limits to the last digit, in one recalculation."""
    changes: dict[Key, str | float] = {}
    for source, group, number, numbers in values:
        value = float(numbers[0])
        limits = ",".join(repr(float(v)) for v in numbers[2:])
        # switches and scale factors have a value only
        changes[source, group, number] = f"{value!r},,{limits}" if limits else value
    xspec.AllModels.setPars(*set_arguments(parts, changes))


if __name__ == "__main__":
    code = main(sys.argv[1:])
    # not through the engine's exit handlers, which run shell commands
    os._exit(code)
