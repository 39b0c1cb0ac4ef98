"""The prompt's session in this process, and the proof that it is the same one."""

from __future__ import annotations

import math
import os
import re
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from types import ModuleType

import numpy as np

from xsixsa.cli.load import choose_engine, engine_says
from xsixsa.errors import ModelError, SessionError
from xsixsa.prompt.handover import HandOver, PromptParameter
from xsixsa.prompt.saved import restore_saved
from xsixsa.session import Parameter, Session

__all__ = ["check_statistic", "restore_session", "rounding_allowance"]

_SELECTOR = re.compile(r"[\[{][^/]*$")
_RELATIVE = 1e-6
# The embedded engine's model is not XSPEC's to the last digit: relative to the statistic, and at least.
_OTHER_ENGINE = (1e-4, 0.05)


def restore_session(hand_over: HandOver) -> tuple[ModuleType, Session]:
    """Load the saved session into an engine and attach to it.

    Changes the working directory to the prompt's, from which the names in the saved session are right.

    Returns
    -------
    tuple
        The engine's module and the session, with the priors that ``bayes`` set at the prompt.

    Raises
    ------
    SessionError
        If it cannot be restored, or something is not as it was at the prompt; says what.
    """
    try:
        os.chdir(hand_over.folder)
    except OSError as error:
        raise SessionError(f"the prompt's folder {hand_over.folder} cannot be entered: {error.strerror}") from error
    xspec = choose_engine(hand_over.options.get("engine", "auto"))
    xspec.Xset.allowPrompting = False
    xspec.Xset.chatter = 0
    _repeat(xspec, hand_over, ("lmod", "mdefine"))
    with engine_says(SessionError, "the saved session cannot be restored"):
        restore_saved(xspec, hand_over.saved, hand_over.folder, hand_over.links)
    _repeat(xspec, hand_over, ("energies",))
    _check_data(xspec, hand_over)
    session = Session(xspec)
    _check_session(session, hand_over)
    session.parameters = tuple(
        replace(p, native_prior=hand_over.native.get((p.source, p.index), p.native_prior)) for p in session.parameters
    )
    return xspec, session


def _repeat(xspec: ModuleType, hand_over: HandOver, names: Sequence[str]) -> None:
    """Commands that ``save`` leaves out."""
    for name, *words in hand_over.repeated:
        if name not in names:
            continue
        what = f"{name} {' '.join(words)}, of the prompt"
        method = {"energies": "setEnergies"}.get(name, name)
        if getattr(xspec, "__xsixsa_embedded__", False) and not hasattr(xspec.AllModels, method):
            raise ModelError(f"{what}: the embedded engine has nothing of the kind")
        with engine_says(ModelError, what):
            if name == "lmod":
                xspec.AllModels.lmod(*words)
            elif name == "mdefine":
                _mdefine(xspec, words)
            elif words[0].lower().startswith("ext"):
                xspec.AllModels.setEnergies("extend", ",".join(words[1:]))
            else:
                xspec.AllModels.setEnergies(" ".join(words))


def _mdefine(xspec: ModuleType, words: Sequence[str]) -> None:
    if hasattr(xspec.AllModels, "mdefine"):
        xspec.AllModels.mdefine(" ".join(words))
        return
    # PyXspec 12.9 knows the command in saved sessions alone
    with tempfile.TemporaryDirectory(prefix="xsixsa-") as scratch:
        file = os.path.join(scratch, "mdefine.xcm")
        with open(file, "w", encoding="utf-8") as lines:
            lines.write(f"#PyXspec\nmdefine {' '.join(words)}\n")
        xspec.Xset.restore(file)


def _check_data(xspec: ModuleType, hand_over: HandOver) -> None:
    n = int(xspec.AllData.nSpectra)
    if n != len(hand_over.spectra):
        raise SessionError(
            f"{n} of the prompt's {len(hand_over.spectra)} spectra could be restored; XSPEC's saved session does not "
            "hold names with blanks, brackets and the like: give the files plain names, or load them from their folder"
        )
    for i, name in enumerate(hand_over.spectra, start=1):
        held = str(xspec.AllData(i).fileName)
        if not _same_file(_file(held), _file(name)):
            raise SessionError(f"spectrum {i} is {held}, at the prompt it is {name}")


def _file(name: str) -> str:
    """The file alone: XSPEC appends the number of the spectrum in a file of several."""
    return name if os.path.exists(name) else _SELECTOR.sub("", name)


def _same_file(held: str, name: str) -> bool:
    # an engine may remember a name as it was given, from a folder that is no longer the current one
    if not os.path.isabs(held):
        return os.path.basename(held) == os.path.basename(name)
    return os.path.realpath(held) == os.path.realpath(name)


def _check_session(session: Session, hand_over: HandOver) -> None:
    if session.n_bins != hand_over.bins:
        raise SessionError(f"{session.n_bins} bins are noticed, at the prompt there are {hand_over.bins}")
    here = [(p.source, p.index, p.parameter) for p in session.parameters]
    there = [(p.source, p.index, p.name) for p in hand_over.free]
    if sorted(here) != sorted(there):
        odd = sorted(set(here) ^ set(there))
        raise SessionError(f"the free parameters are not those of the prompt: {_listed(odd)}")


def _listed(parameters: Sequence[tuple[str, int, str]]) -> str:
    return ", ".join(f"{source}:{index} {name}" if source else f"{index} {name}" for source, index, name in parameters)


def rounding_allowance(parameter: PromptParameter) -> float:
    """Half a unit in the sixth digit, with which XSPEC saves values."""
    if parameter.value == 0 or not math.isfinite(parameter.value):
        return 0.0
    return 0.5 * 10.0 ** (math.floor(math.log10(abs(parameter.value))) - 5)


def check_statistic(xspec: ModuleType, session: Session, hand_over: HandOver) -> str:
    """Compare the fit statistic with the prompt's.

    The prompt knows its parameters to all digits, the saved session to six. What that rounding may change is measured:
    each parameter is moved by half a unit in its sixth digit.

    Returns
    -------
    str
        One line for the user.

    Raises
    ------
    SessionError
        If the statistic differs by more than that (a little more for the embedded engine, whose model is not XSPEC's
        to the last digit).
    """
    here, shifts = _statistics(session, hand_over)
    there = hand_over.statistic
    shifts = [*shifts, *_frozen_shifts(xspec, session, hand_over)]
    allowed = _RELATIVE * max(abs(there), 1.0) + 2.0 * float(np.nansum(np.abs(shifts)))
    embedded = session.engine["name"] == "embedded"
    if embedded:
        allowed += max(_OTHER_ENGINE[0] * abs(there), _OTHER_ENGINE[1])
    if not abs(here - there) <= allowed:
        why = "the engine's model differs" if embedded else "something of the session was not carried over"
        raise SessionError(
            f"the restored session has the fit statistic {here:.4f}, the prompt {there:.4f} "
            f"(six digits explain {allowed:.2g}): {why}. Settings that XSPEC neither saves nor shows: "
            "bayes switched on before sixsa was loaded, response gains, extended energies"
        )
    return f"fit statistic {here:.4f}, at the prompt {there:.4f}"


def _statistics(session: Session, hand_over: HandOver) -> tuple[float, np.ndarray]:
    """Statistic at the restored values, and its change as each free parameter moves by what rounding may hide."""
    start = np.array([p.value for p in session.parameters])
    theta = np.vstack([start, *_moved(session.parameters, start, hand_over)])
    statistic = session.evaluate(theta).statistic
    if not np.isfinite(statistic[0]):
        raise SessionError("the restored session has no valid fit statistic at the prompt's parameter values")
    return float(statistic[0]), statistic[1:] - statistic[0]


def _moved(parameters: Sequence[Parameter], start: np.ndarray, hand_over: HandOver) -> Iterator[np.ndarray]:
    known = {(p.source, p.index): p for p in hand_over.parameters}
    for i, parameter in enumerate(parameters):
        step = rounding_allowance(known[parameter.source, parameter.index])
        moved = start.copy()
        moved[i] += step if start[i] + step <= parameter.max else -step
        yield moved


def _frozen_shifts(xspec: ModuleType, session: Session, hand_over: HandOver) -> list[float]:
    """The same for frozen parameters, which are no part of theta."""
    shifts = []
    with session.guard():
        before = float(xspec.Fit.statistic)
        for parameter in hand_over.parameters:
            step = rounding_allowance(parameter)
            if parameter.state != "frozen" or not step:
                continue
            named = (parameter.source,) if parameter.source else ()
            size = int(xspec.AllModels(1, *named).nParameters)
            group, local = divmod(parameter.index - 1, size)
            model = xspec.AllModels(group + 1, *named)
            value = float(model(local + 1).values[0])
            model.setPars({local + 1: value + (step if parameter.value + step <= parameter.limits[-1] else -step)})
            shifts.append(float(xspec.Fit.statistic) - before)
            model.setPars({local + 1: value})
    return shifts
