"""Grouping, quality flags, and the ranges of ``ignore`` and ``notice``."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from xsixsa.embedded.pha import PhaFile
from xsixsa.errors import DataError

__all__ = ["Range", "compact", "group_channels", "group_scale", "parse_ranges", "select", "sum_groups"]

# a number with an optional exponent, or XSPEC's "as far as it goes"
_BOUND = r"(?:\*\*|\d+\.?\d*(?:[eE][+-]?\d+)?|\.\d+(?:[eE][+-]?\d+)?)"
_RANGE = re.compile(rf"^({_BOUND})(?:-({_BOUND}))?$")


def group_channels(pha: PhaFile) -> tuple[np.ndarray, np.ndarray]:
    """Return the group of every channel and the quality of every group.

    Channels of quality 1, and those the file leaves out, belong to no group (-1). A group ends where the quality
    changes, so that poor channels can be ignored without good ones.

    Returns
    -------
    group : (channels,) int64
    quality : (groups,) int64
    """
    n = pha.n_channels
    quality = np.zeros(n, np.int64) if pha.quality is None else pha.quality
    grouping = np.ones(n, np.int64) if pha.grouping is None else pha.grouping
    kept = np.flatnonzero(pha.present & (quality != 1))
    if kept.size == 0:
        raise DataError(f"{pha.path}: QUALITY is 1 in every channel, nothing is left")
    starts = grouping[kept] != -1
    starts[1:] |= np.diff(quality[kept]) != 0
    # a continuation with nothing before it starts a group of its own
    starts[0] = True
    group = np.full(n, -1)
    group[kept] = np.cumsum(starts) - 1
    return group, quality[kept[starts]]


def sum_groups(values: np.ndarray, group: np.ndarray, n_groups: int) -> np.ndarray:
    """Return the sum of `values` (channels,) in each group."""
    kept = group >= 0
    return np.bincount(group[kept], weights=values[kept], minlength=n_groups)


def group_scale(scale: np.ndarray, rate: np.ndarray, group: np.ndarray, n_groups: int) -> np.ndarray:
    """Return AREASCAL or BACKSCAL of each group: the harmonic mean weighted by the rate.

    So counts divided by the scale add up; empty groups take the plain harmonic mean.
    """
    if np.all(scale == scale[0]):
        return np.full(n_groups, scale[0])
    total = sum_groups(rate, group, n_groups)
    divided = sum_groups(rate / scale, group, n_groups)
    number = sum_groups(np.ones_like(scale), group, n_groups)
    inverse = sum_groups(1.0 / scale, group, n_groups)
    usable = divided != 0
    return np.where(usable, total, number) / np.where(usable, divided, inverse)


@dataclass(frozen=True)
class Range:
    """Part of a spectrum: channels (1-based, inclusive) or energies in keV; None is an open end."""

    low: float | None
    high: float | None
    energies: bool


def parse_ranges(text: str, n_spectra: int, default: list[int] | None = None) -> list[tuple[list[int], Range]]:
    """Read XSPEC's range syntax.

    Parameters
    ----------
    text : str
        Such as ``"**-0.5 10.0-**"``, ``"1-9"``, ``"2:3-5,7"``, ``"1-2:0.3-0.5"``. Blanks and commas are alike, spectra
        hold until others are named. Numbers without a point are channels, with a point energies in keV.
    n_spectra : int
        Number of loaded spectra.
    default : list of int, optional
        Spectra that a range without ``number:`` means; all where None.

    Returns
    -------
    list of (spectra, Range)

    Raises
    ------
    DataError
        Where the text is no range.
    """
    spectra = list(range(1, n_spectra + 1)) if default is None else default
    found = []
    for token in filter(None, re.split(r"[\s,]+", _join(text))):
        part = token
        if ":" in token:
            which, part = token.split(":", 1)
            spectra = _spectra(which, n_spectra, text)
        if part:
            found.append((spectra, _range(part, text)))
    return found


def _join(text: str) -> str:
    """Take the blanks out around colons, so that ``1 : 2-3`` is one word."""
    return re.sub(r"\s*:\s*", ":", text.strip())


def _spectra(which: str, n_spectra: int, text: str) -> list[int]:
    match = _RANGE.match(which)
    if match is None or "." in which or "e" in which.lower():
        raise DataError(f"{which!r} in {text!r} names no spectra; write for example '2:0.3-0.5'")
    low = 1 if match[1] == "**" else int(match[1])
    last = match[1] if match[2] is None else match[2]
    high = n_spectra if last == "**" else int(last)
    if not 1 <= low <= high or high > n_spectra:
        raise DataError(f"spectrum {which} in {text!r}: there are {n_spectra} spectra loaded")
    return list(range(low, high + 1))


def _range(part: str, text: str) -> Range:
    match = _RANGE.match(part)
    if match is None:
        raise DataError(f"{part!r} in {text!r} is no range; write for example '**-0.5', '10.0-**', '3-7' or 'bad'")
    energies = "." in part
    low = None if match[1] == "**" else float(match[1])
    if match[2] is None:
        high = low
    else:
        high = None if match[2] == "**" else float(match[2])
    if low is not None and high is not None and low > high:
        if not energies:
            raise DataError(f"{part!r} in {text!r}: the first channel is above the second")
        low, high = high, low
    return Range(low, high, energies)


def select(part: Range, e_min: np.ndarray | None, e_max: np.ndarray | None, n_groups: int) -> np.ndarray:
    """Return which groups a range touches, (groups,) bool.

    Raises
    ------
    DataError
        Energies asked of a spectrum without response.
    """
    if part.energies:
        if e_min is None or e_max is None:
            raise DataError("an energy range needs a response; give channels, or set the spectrum's response first")
        low = -np.inf if part.low is None else part.low
        high = np.inf if part.high is None else part.high
        # a bin that ends where the range begins is in it, as in XSPEC
        return (e_max >= low) & (e_min < high)
    number = np.arange(1, n_groups + 1)
    low = 1 if part.low is None else part.low
    high = n_groups if part.high is None else part.high
    return (number >= low) & (number <= high)


def compact(numbers: np.ndarray) -> str:
    """Return channel numbers as ``"1 3-5 7"``."""
    if len(numbers) == 0:
        return ""
    breaks = np.flatnonzero(np.diff(numbers) != 1)
    firsts = np.concatenate([[numbers[0]], np.asarray(numbers)[breaks + 1]])
    lasts = np.concatenate([np.asarray(numbers)[breaks], [numbers[-1]]])
    return " ".join(f"{a}" if a == b else f"{a}-{b}" for a, b in zip(firsts, lasts, strict=True))
