"""Read what governs a session besides data and parameters: versions, tables, statistics, saved text."""

from __future__ import annotations

import contextlib
import io
import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

__all__ = ["captured_output", "engine_of", "optional", "read_renorm", "read_settings", "save_text", "statistic_methods"]


def optional(read: Callable[[], Any], default: Any = None) -> Any:
    """What `read` returns, or `default` where this version of PyXspec has no such thing.

    PyXspec reports everything, absent features included, by a plain ``Exception``.
    """
    try:
        return read()
    except Exception:
        return default


def engine_of(xspec: ModuleType) -> dict[str, str]:
    """Which engine this is: ``{"name": "xspec" | "embedded", "version": ...}``."""
    version = optional(lambda: xspec.Xset.version, "unknown")
    text = version if isinstance(version, str) else str(version[-1])
    name = "embedded" if getattr(xspec, "__xsixsa_embedded__", False) else "xspec"
    return {"name": name, "version": text.strip()}


def read_settings(xspec: ModuleType) -> dict[str, Any]:
    """Everything that changes a likelihood besides data and parameters, as plain values (JSON)."""
    xset, fit, models = xspec.Xset, xspec.Fit, xspec.AllModels
    version = optional(lambda: xset.version, ())
    return {
        "engine": engine_of(xspec)["name"],
        "versions": [version] if isinstance(version, str) else [str(v) for v in version],
        "abund": _first_word(optional(lambda: xset.abund, "")),
        "xsect": _first_word(optional(lambda: xset.xsect, "")),
        "cosmo": [float(v) for v in optional(lambda: xset.cosmo, ())],
        "model_strings": {str(k): str(v) for k, v in optional(lambda: dict(xset.modelStrings), {}).items()},
        "stat_method": str(optional(lambda: fit.statMethod, "")),
        "stat_test": str(optional(lambda: fit.statTest, "")),
        "weight": str(optional(lambda: fit.weight, "")).strip(),
        "systematic": float(optional(lambda: models.systematic, 0.0)),
        "noticed": {
            str(i): str(optional(lambda i=i: xspec.AllData(i).noticedString(), "")).strip()
            for i in range(1, int(optional(lambda: xspec.AllData.nSpectra, 0)) + 1)
        },
    }


def _first_word(text: Any) -> str:
    words = str(text).split()
    return words[0].rstrip(":") if words else ""


def save_text(xspec: ModuleType) -> str:
    """The session as XSPEC commands (``Xset.save``).

    It is written to a new file in a temporary directory, because saving onto an existing one asks on the terminal.
    The working directory stays what it was: the data paths in the text are relative to it.
    """
    with tempfile.TemporaryDirectory(prefix="xsixsa-") as folder:
        path = Path(folder) / "session.xcm"
        with captured_output():
            xspec.Xset.save(str(path), info="a")
        return path.read_text()


def statistic_methods(xspec: ModuleType) -> dict[int, str]:
    """Fit statistic of every spectrum number.

    PyXspec tells only the default; what differs per spectrum stands in the saved text.
    """
    default = _first_word(xspec.Fit.statMethod)
    methods = dict.fromkeys(range(1, int(xspec.AllData.nSpectra) + 1), default)
    if len(methods) < 2:
        return methods
    for line in optional(lambda: save_text(xspec), "").splitlines():
        match = re.match(r"^\s*stat\w*\s+(?!test\b)(\w+)\s+([\d\s,-]+)$", line)
        if match:
            for number in _numbers(match.group(2)):
                methods[number] = match.group(1)
    return methods


def _numbers(text: str) -> Iterator[int]:
    for part in text.replace(",", " ").split():
        first, _, last = part.partition("-")
        yield from range(int(first), int(last or first) + 1)


@contextlib.contextmanager
def captured_output() -> Iterator[Callable[[], str]]:
    """Catch what is printed inside, by Python or by compiled code; yields a function that reads it afterwards.

    Programs without a real standard output (some notebooks, services) are caught at Python's level alone.
    """
    text = io.StringIO()
    parts: list[str] = []
    saved_out = sys.stdout
    copy = optional(lambda: os.dup(1))
    with tempfile.TemporaryFile() as file:
        try:
            optional(saved_out.flush)
            if copy is not None:
                os.dup2(file.fileno(), 1)
            sys.stdout = text
            yield lambda: "".join(parts)
        finally:
            sys.stdout = saved_out
            if copy is not None:
                os.dup2(copy, 1)
                os.close(copy)
            file.seek(0)
            parts += [text.getvalue(), file.read().decode(errors="replace")]


def read_renorm(xspec: ModuleType) -> str | None:
    """``Fit.renorm``'s setting: "auto", "prefit" or "none"; None where it cannot be told.

    It can be set but not read; ``Xset.show`` prints it, if the chatter is high enough.
    """
    known = optional(lambda: xspec.Fit.renorm_setting)
    if isinstance(known, str):
        return known
    xset = xspec.Xset
    chatter, log_chatter = optional(lambda: xset.chatter), optional(lambda: xset.logChatter)
    if chatter is None or not hasattr(xset, "show"):
        return None
    try:
        if log_chatter is not None:
            xset.logChatter = 0
        xset.chatter = 10
        with captured_output() as read:
            optional(xset.show)
    finally:
        xset.chatter = chatter
        if log_chatter is not None:
            xset.logChatter = log_chatter
    shown = read().lower()
    if "auto-renorming" in shown:
        return "auto"
    if "prefit-renorming" in shown:
        return "prefit"
    # an engine that prints its other settings prints nothing about renormalisation when there is none
    return "none" if "querying" in shown else None
