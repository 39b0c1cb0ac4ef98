"""Keep a session's settings while we work, and put every one back, whatever happens."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from xsixsa.session.interrupt import interrupt_later, interruptible
from xsixsa.session.parameters import Key, ModelPart, RawParameter, key_of, read_parameters, set_arguments
from xsixsa.session.settings import captured_output, optional, read_renorm

__all__ = ["Snapshot", "guarded", "take_snapshot"]

log = logging.getLogger(__name__)

_XSET = ("allowPrompting", "chatter", "logChatter", "abund", "xsect", "autosave")
_FIT = ("bayes", "query", "statMethod", "statTest", "weight")
_PARALLEL = ("leven", "error", "goodness", "steppar", "walkers")


@dataclass(frozen=True, eq=False)
class Snapshot:
    """Settings and parameters of a session at one moment."""

    xset: dict[str, Any]
    fit: dict[str, Any]
    parallel: dict[str, Any]
    renorm: str | None
    cosmo: tuple[str, ...]
    model_strings: tuple[tuple[str, str], ...]
    log_name: str | None
    parameters: tuple[RawParameter, ...]


def take_snapshot(xspec: ModuleType, parts: Sequence[ModelPart]) -> Snapshot:
    """Read everything that could change while we work."""
    missing = object()
    parallel = optional(lambda: xspec.Xset.parallel)

    def gather(owner: Any, names: Sequence[str]) -> dict[str, Any]:
        found = {name: optional(lambda name=name: getattr(owner, name), missing) for name in names}
        return {name: value for name, value in found.items() if value is not missing}

    return Snapshot(
        xset=gather(xspec.Xset, _XSET),
        fit=gather(xspec.Fit, _FIT),
        parallel=gather(parallel, _PARALLEL) if parallel is not None else {},
        renorm=read_renorm(xspec),
        cosmo=tuple(str(v) for v in optional(lambda: xspec.Xset.cosmo, ())),
        model_strings=tuple(
            sorted((str(k), str(v)) for k, v in optional(lambda: dict(xspec.Xset.modelStrings), {}).items())
        ),
        log_name=_log_name(xspec),
        parameters=read_parameters(parts),
    )


def _log_name(xspec: ModuleType) -> str | None:
    log_file = optional(lambda: xspec.Xset.log)
    return None if log_file is None else str(getattr(log_file, "name", log_file))


@contextlib.contextmanager
def guarded(xspec: ModuleType, parts: Sequence[ModelPart]) -> Iterator[Snapshot]:
    """Our settings inside; on the way out everything as it was, after an exception or Ctrl-C too."""
    with interruptible(), _guarded(xspec, parts) as before:
        yield before


@contextlib.contextmanager
def _guarded(xspec: ModuleType, parts: Sequence[ModelPart]) -> Iterator[Snapshot]:
    # without prompting first: reading some settings can already ask on the terminal
    prompting = optional(lambda: xspec.Xset.allowPrompting)
    if prompting is not None:
        xspec.Xset.allowPrompting = False
    before = take_snapshot(xspec, parts)
    if prompting is not None:
        before.xset["allowPrompting"] = prompting
    try:
        quieten(xspec, before)
        yield before
    finally:
        with interrupt_later():
            restore(xspec, parts, before)


def quieten(xspec: ModuleType, now: Snapshot) -> None:
    """Switch off what prompts, prints, or changes the likelihood behind one's back."""
    for name in ("chatter", "logChatter"):
        if name in now.xset:
            setattr(xspec.Xset, name, 0)
    if now.xset.get("autosave") not in (None, "off"):
        xspec.Xset.autosave = "off"
    if now.fit.get("query") not in (None, "yes"):
        xspec.Fit.query = "yes"
    if now.fit.get("bayes") not in (None, "off"):
        xspec.Fit.bayes = "off"
    # a setting that cannot be read could not be put back: worker processes switch it off for themselves
    if now.renorm not in (None, "none"):
        _set_renorm(xspec, "none")


def _set_renorm(xspec: ModuleType, setting: str) -> None:
    with captured_output():
        xspec.Fit.renorm(setting)


def restore(xspec: ModuleType, parts: Sequence[ModelPart], before: Snapshot) -> None:
    """Put back whatever differs from `before`; what is unchanged is not touched, so that a valid fit stays valid."""
    problems = []

    def attempt(what: str, action: Callable[[], Any]) -> None:
        try:
            action()
        except Exception as error:
            problems.append(f"{what} ({error})")

    now = take_snapshot(xspec, parts) if optional(lambda: read_parameters(parts)) is not None else None
    if now is None:
        log.warning("the model changed while it was in use; its parameters were left alone")
    # parameters before Fit.bayes and renorm: each change recalculates the model
    if now is not None and now.parameters != before.parameters:
        attempt("parameters", lambda: _restore_parameters(xspec, parts, before.parameters))
    for owner, old in ((xspec.Fit, before.fit), (optional(lambda: xspec.Xset.parallel), before.parallel)):
        for name, value in old.items():
            if optional(lambda owner=owner, name=name: getattr(owner, name)) != value:
                attempt(name, lambda owner=owner, name=name, value=value: setattr(owner, name, value))
    _restore_xset(xspec, before, attempt)
    if before.renorm is not None and (now is None or now.renorm != before.renorm):
        attempt("renorm", lambda: _set_renorm(xspec, before.renorm))
    # chatter last but one: putting the others back prints; prompting last of all: it may ask
    for name in ("chatter", "logChatter", "allowPrompting"):
        if name in before.xset:
            attempt(name, lambda name=name: setattr(xspec.Xset, name, before.xset[name]))
    if problems:
        log.warning("could not put back: %s", "; ".join(problems))


def _restore_xset(xspec: ModuleType, before: Snapshot, attempt: Callable[[str, Callable[[], Any]], None]) -> None:
    for name in ("abund", "xsect", "autosave"):
        if name in before.xset and optional(lambda name=name: getattr(xspec.Xset, name)) != before.xset[name]:
            attempt(name, lambda name=name: setattr(xspec.Xset, name, str(before.xset[name]).split("\n")[0]))
    if before.cosmo and tuple(str(v) for v in optional(lambda: xspec.Xset.cosmo, ())) != before.cosmo:
        attempt("cosmo", lambda: setattr(xspec.Xset, "cosmo", " ".join(before.cosmo)))
    strings = optional(lambda: dict(xspec.Xset.modelStrings), {})
    if {str(k): str(v) for k, v in strings.items()} != dict(before.model_strings):
        attempt("xset strings", lambda: setattr(xspec.Xset, "modelStrings", dict(before.model_strings)))
    if before.log_name is not None and _log_name(xspec) != before.log_name:
        attempt("log", lambda: xspec.Xset.openLog(before.log_name))


def _restore_parameters(xspec: ModuleType, parts: Sequence[ModelPart], old: Sequence[RawParameter]) -> None:
    """Values and limits of the parameters that changed, in one recalculation."""
    current = {key_of(raw): raw for raw in read_parameters(parts)}
    changes: dict[Key, float | str] = {}
    for raw in old:
        new = current.get(key_of(raw))
        if raw.link or new is None or new.values == raw.values:
            continue
        # the step (second value) may follow the value ("xset delta"): writing it would fix it
        if new.values[2:] == raw.values[2:]:
            changes[key_of(raw)] = float(raw.values[0])
        else:
            limits = ",".join(repr(float(v)) for v in raw.values[2:])
            changes[key_of(raw)] = f"{float(raw.values[0])!r},,{limits}"
    if changes:
        xspec.AllModels.setPars(*set_arguments(parts, changes))
