"""The hand-over: what the prompt says about its session."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path

from xsixsa.errors import DataError
from xsixsa.prompt.records import read_records

__all__ = ["HandOver", "PromptParameter", "read_hand_over"]

_KIND = "xsixsa-handover"
_SINGLE = ("task", "tcl", "xspec", "folder", "saved", "out", "statistic", "method", "bins", "model")
_OWN_FORM = ("task", "bins", "statistic")
_TASKS = {"run": 0, "bxa": 1}
_REPEATED = ("spectrum", "parameter", "bayes", "repeat", "prior", "option")
_STATES = ("free", "frozen", "linked")
_HYPERS = {"exp": 1, "jeffreys": 0, "gauss": 2}
_DISTRIBUTIONS = {"uniform": 2, "loguniform": 2, "gaussian": 2}
_COUNTS = ("ess", "seed", "workers", "max-evaluations", "live")
_WORDS = ("preset", "engine", "out")
_FLAGS = ("bg", "nobest", "nochain")
_REPEATABLE = ("energies", "lmod", "mdefine")


@dataclass(frozen=True)
class PromptParameter:
    """A parameter as the prompt shows it, with six digits."""

    source: str
    index: int
    """XSPEC's number within the source's model, counted over data groups."""
    name: str
    unit: str
    state: str
    """``free``, ``frozen`` or ``linked``."""
    value: float
    limits: tuple[float, ...]
    """delta, min, bottom, top, max."""

    @property
    def specifier(self) -> str:
        """``5`` or ``bkg:5``."""
        return f"{self.source}:{self.index}" if self.source else str(self.index)


@dataclass(frozen=True)
class HandOver:
    """Everything that the prompt hands over.

    Attributes
    ----------
    task
        ``("run",)``, or ``("bxa", folder of a run)``.
    folder
        The prompt's working directory, from which names in the saved session are right.
    saved
        File of ``save all``.
    statistic
        Fit statistic at the prompt, without any contribution of ``bayes``.
    bins, dof
        Noticed bins, and bins less free parameters.
    model
        The model as ``tclout model`` gives it.
    spectra
        File of each spectrum.
    native
        (source, index) -> XSPEC's own prior, ``("gauss", mean, sigma)`` and the like.
    repeated
        Commands that ``save`` leaves out, as lists of words.
    priors
        Parameter name or number -> text of a distribution.
    options
        Options of ``sixsa run`` as typed.
    """

    path: Path
    task: tuple[str, ...]
    xspec: str
    tcl: str
    folder: str
    saved: str
    out: str
    statistic: float
    method: str
    bins: int
    dof: int
    model: str
    spectra: tuple[str, ...]
    parameters: tuple[PromptParameter, ...]
    native: dict[tuple[str, int], tuple]
    repeated: tuple[tuple[str, ...], ...]
    priors: dict[str | int, str]
    options: dict[str, str]

    @property
    def free(self) -> tuple[PromptParameter, ...]:
        """Free parameters, in XSPEC's order."""
        return tuple(p for p in self.parameters if p.state == "free")

    @property
    def links(self) -> Path:
        """Folder for links to files with names that XSPEC would misread, as long as the session is restored."""
        return self.path.with_name("links")

    @property
    def background(self) -> bool:
        """Whether nobody follows the run."""
        return "bg" in self.options


def read_hand_over(path: str | os.PathLike) -> HandOver:
    """Read and check a hand-over.

    Raises
    ------
    DataError
        Names the record that is missing, doubled or wrong.
    """
    path = Path(path)
    single: dict[str, list[str]] = {}
    repeated: dict[str, list[list[str]]] = {name: [] for name in _REPEATED}
    for number, (name, *words) in enumerate(read_records(path, _KIND), start=2):
        if name in _REPEATED:
            repeated[name].append(words)
        elif name not in _SINGLE:
            raise DataError(f"{path}, line {number}: unknown record {name!r}")
        elif name in single:
            raise DataError(f"{path}, line {number}: {name} comes twice")
        else:
            single[name] = words
    missing = [name for name in _SINGLE if name not in single]
    if missing:
        raise DataError(f"{path} lacks {', '.join(missing)}")
    try:
        return _checked(path, single, repeated)
    except (ValueError, IndexError) as error:
        raise DataError(f"{path}: {error}") from None


def _checked(path: Path, single: dict[str, list[str]], repeated: dict[str, list[list[str]]]) -> HandOver:
    task, *place = single["task"]
    if len(place) != _TASKS.get(task) or not all(os.path.isabs(p) for p in place):
        raise ValueError(f"task {' '.join(single['task'])!r}")
    bins, dof = (int(word) for word in _words(single["bins"], 2, "bins"))
    parameters = tuple(_parameter(words) for words in repeated["parameter"])
    keys = [(p.source, p.index) for p in parameters]
    if not parameters or len(set(keys)) < len(keys):
        raise ValueError("parameters are missing or doubled")
    for name in ("folder", "saved", "out"):
        if not os.path.isabs(_words(single[name], 1, name)[0]):
            raise ValueError(f"{name} is not an absolute path: {single[name][0]!r}")
    return HandOver(
        path=path,
        task=(task, *place),
        **{name: _words(single[name], 1, name)[0] for name in _SINGLE if name not in _OWN_FORM},
        statistic=_finite(single["statistic"][0]),
        bins=bins,
        dof=dof,
        spectra=_spectra(repeated["spectrum"]),
        parameters=parameters,
        native=dict(_native(words, keys) for words in repeated["bayes"]),
        repeated=tuple(_repeat(words) for words in repeated["repeat"]),
        priors=_priors(repeated["prior"]),
        options=_options(repeated["option"]),
    )


def _words(words: list[str], n: int, name: str) -> list[str]:
    if len(words) != n:
        raise ValueError(f"{name} has {len(words)} values instead of {n}")
    return words


def _finite(word: str) -> float:
    value = float(word)
    if not math.isfinite(value):
        raise ValueError(f"{word} is not finite")
    return value


def _parameter(words: list[str]) -> PromptParameter:
    source, index, name, unit, state, value, *limits = _words(words, 11, "parameter")
    if state not in _STATES:
        raise ValueError(f"parameter {index}: state {state!r}")
    # what XSPEC does not tell (limits of some linked parameters) comes as nan
    return PromptParameter(source, int(index), name, unit, state, _finite(value), tuple(float(v) for v in limits))


def _spectra(rows: list[list[str]]) -> tuple[str, ...]:
    numbers = [int(words[0]) for words in rows]
    if not rows or numbers != list(range(1, len(rows) + 1)):
        raise ValueError(f"spectra are numbered {numbers}")
    return tuple(_words(words, 2, "spectrum")[1] for words in rows)


def _native(words: list[str], known: list[tuple[str, int]]) -> tuple[tuple[str, int], tuple]:
    source, index, kind, *hyper = words
    key = (source, int(index))
    if key not in known or kind not in _HYPERS or len(hyper) != _HYPERS[kind]:
        raise ValueError(f"prior of bayes {' '.join(words)!r}")
    return key, (kind, *(_finite(h) for h in hyper))


def _repeat(words: list[str]) -> tuple[str, ...]:
    if not words or words[0] not in _REPEATABLE:
        raise ValueError(f"command {' '.join(words)!r} is not one to repeat")
    return tuple(words)


def _priors(rows: list[list[str]]) -> dict[str | int, str]:
    priors: dict[str | int, str] = {}
    for name, distribution, *numbers in rows:
        if len(numbers) != _DISTRIBUTIONS.get(distribution):
            raise ValueError(f"prior of {name}: {distribution} {' '.join(numbers)}")
        key = int(name) if name.isdigit() else name
        priors[key] = ":".join([distribution, *(repr(_finite(v)) for v in numbers)])
    return priors


def _options(rows: list[list[str]]) -> dict[str, str]:
    options = {}
    for words in rows:
        name, value = _words(words, 2, "option")
        if name in _COUNTS and not (value.isascii() and value.isdigit()):
            raise ValueError(f"option {name} is {value!r}, not a whole number")
        if name not in (*_COUNTS, *_WORDS, *_FLAGS):
            raise ValueError(f"unknown option {name!r}")
        options[name] = value
    return options
