"""OGIP spectrum files (PHA, type I)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from xsixsa.embedded.fitsio import Table, open_tables
from xsixsa.errors import DataError

__all__ = ["PhaFile", "read_pha"]

# More channels than any instrument has: beyond it the header is damaged.
MAX_CHANNELS = 10_000_000


@dataclass(frozen=True)
class PhaFile:
    """What a spectrum file says, per channel, ungrouped.

    Attributes
    ----------
    path : str
    rate : (channels,) float64
        Counts/s, not divided by the area scale.
    variance : (channels,) float64
        Of `rate`, statistical only.
    systematic : (channels,) float64
        Fractional error.
    present : (channels,) bool
        Whether the file has a row for the channel.
    grouping, quality : (channels,) int64 or None
        None where the file has neither column nor a non-zero keyword.
    area_scale, back_scale : (channels,) float64
    exposure : float
        s.
    first_channel : int
    poisson_errors : bool
        Whether POISSERR is true.
    net : bool
        Whether the background is already subtracted (HDUCLAS2 = NET).
    background, response, arf : str
        As in the header; empty for none.
    """

    path: str
    rate: np.ndarray
    variance: np.ndarray
    systematic: np.ndarray
    present: np.ndarray
    grouping: np.ndarray | None
    quality: np.ndarray | None
    area_scale: np.ndarray
    back_scale: np.ndarray
    scalar_area: bool
    scalar_back: bool
    exposure: float
    first_channel: int
    poisson_errors: bool
    net: bool
    background: str
    response: str
    arf: str

    @property
    def n_channels(self) -> int:
        """Number of channels of the detector."""
        return self.rate.size

    @property
    def name(self) -> str:
        """File name without folders."""
        return Path(self.path).name


def _spectrum_table(path: str) -> Table:
    tables = open_tables(path)
    for table in tables:
        if table.text("HDUCLAS1").upper() == "SPECTRUM" or table.name == "SPECTRUM":
            return table
    names = ", ".join(table.name for table in tables) or "none"
    raise DataError(f"{path}: no SPECTRUM extension (tables: {names}); is it a PHA file?")


def read_pha(path: str) -> PhaFile:
    """Read a PHA file.

    Parameters
    ----------
    path : str
        Against the current directory; ``.gz`` is unpacked.

    Returns
    -------
    PhaFile

    Raises
    ------
    DataError
        With file and keyword or column.
    """
    table = _spectrum_table(path)
    if table.n_rows == 0:
        raise table.fail("holds no channels")
    place, n_channels, first = _channels(table)
    exposure = table.number("EXPOSURE")
    if exposure <= 0:
        raise table.fail(f"EXPOSURE = {exposure:g} s; a rate needs a positive one")
    rate, variance = _rates(table, exposure)
    return PhaFile(
        path=path,
        rate=_spread(rate, place, n_channels),
        variance=_spread(variance, place, n_channels),
        systematic=_spread(_errors(table, "SYS_ERR"), place, n_channels),
        present=_spread(np.ones(table.n_rows), place, n_channels) > 0,
        grouping=_flags(table, "GROUPING", place, n_channels),
        quality=_flags(table, "QUALITY", place, n_channels),
        area_scale=_scale(table, "AREASCAL", place, n_channels),
        back_scale=_scale(table, "BACKSCAL", place, n_channels),
        scalar_area=not table.has("AREASCAL"),
        scalar_back=not table.has("BACKSCAL"),
        exposure=exposure,
        first_channel=first,
        poisson_errors=bool(table.flag("POISSERR")),
        net=table.text("HDUCLAS2").upper() == "NET",
        background=table.text("BACKFILE"),
        response=table.text("RESPFILE"),
        arf=table.text("ANCRFILE"),
    )


def _channels(table: Table) -> tuple[np.ndarray, int, int]:
    """Return where each row belongs, the number of channels, and the number of the first one."""
    channel = table.whole("CHANNEL")
    first = table.first_channel("CHANNEL", 1 if channel[0] > 0 else 0)
    n_channels = int(table.number("DETCHANS", channel.size))
    if not 0 < n_channels <= MAX_CHANNELS:
        raise table.fail(f"DETCHANS = {n_channels} is no number of channels")
    place = channel - first
    if np.any(np.diff(place) <= 0):
        raise table.fail("column CHANNEL does not rise from row to row")
    outside = np.flatnonzero((place < 0) | (place >= n_channels))
    if outside.size:
        raise table.fail(
            f"channel {channel[outside[0]]} is outside {first}..{first + n_channels - 1} (TLMIN and DETCHANS)"
        )
    return place, n_channels, first


def _spread(values: np.ndarray, place: np.ndarray, n_channels: int) -> np.ndarray:
    """Put the rows where their channels are; channels that the file leaves out hold zero."""
    full = np.zeros(n_channels)
    full[place] = values
    return full


def _rates(table: Table, exposure: float) -> tuple[np.ndarray, np.ndarray]:
    """Return counts/s and their variance."""
    if table.has("COUNTS"):
        counts, unit = table.column("COUNTS"), 1.0 / exposure
    elif table.has("RATE"):
        counts, unit = table.column("RATE"), 1.0
    else:
        raise table.fail("neither column COUNTS nor RATE")
    poisson = bool(table.flag("POISSERR"))
    negative = np.flatnonzero(counts < 0)
    if poisson and negative.size:
        raise table.fail(
            f"{counts[negative[0]]:g} counts in row {negative[0] + 1} while POISSERR is true; "
            "set POISSERR = F and give STAT_ERR for a subtracted spectrum"
        )
    rate = counts * unit
    if poisson:
        return rate, rate / exposure
    return rate, (_errors(table, "STAT_ERR") * unit) ** 2


def _errors(table: Table, name: str) -> np.ndarray:
    """Return a column or keyword of errors, zero where absent."""
    if not table.has(name):
        return np.full(table.n_rows, table.number(name, 0.0))
    values = table.column(name)
    if np.any(values < 0):
        raise table.fail(f"column {name} holds negative errors")
    return values


def _flags(table: Table, name: str, place: np.ndarray, n_channels: int) -> np.ndarray | None:
    """Return GROUPING or QUALITY over all channels, None where there is nothing to apply."""
    if table.has(name):
        values = table.whole(name)
    elif table.number(name, 0.0) != 0:
        values = np.full(table.n_rows, int(table.number(name)))
    else:
        return None
    allowed = (-1, 0, 1) if name == "GROUPING" else (0, 1, 2, 3, 4, 5)
    bad = np.flatnonzero(~np.isin(values, allowed))
    if bad.size:
        raise table.fail(f"column {name} is {values[bad[0]]} in row {bad[0] + 1}, not one of {allowed}")
    return _spread(values, place, n_channels).astype(np.int64)


def _scale(table: Table, name: str, place: np.ndarray, n_channels: int) -> np.ndarray:
    """Return AREASCAL or BACKSCAL per channel; channels without a value of their own count as 1."""
    if table.has(name):
        values = table.column(name)
    else:
        values = np.full(table.n_rows, table.number(name, 1.0))
    if np.any(values < 0):
        raise table.fail(f"{name} is negative")
    full = np.ones(n_channels)
    # XSPEC takes a scale of zero, as some tools write it, for "not set".
    full[place] = np.where(values == 0, 1.0, values)
    return full
