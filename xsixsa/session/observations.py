"""Read the loaded spectra: rates as the engine gives them, turned into counts."""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xsixsa.errors import SessionError
from xsixsa.session.records import Background, Observation
from xsixsa.session.settings import optional
from xsixsa.session.statistics import POISSON

__all__ = [
    "RawBackground",
    "RawSpectrum",
    "area_conventions",
    "gain_of",
    "read_spectra",
    "refuse_free_gain",
    "to_observation",
]

WHOLE = 1e-3
"""How far from a whole number counts may be."""
SINGLE_PRECISION = 3e-7
"""Relative error of rates that were stored in single precision."""

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class RawBackground:
    """A background as the engine gives it, noticed bins only."""

    rate: Array
    """(bins,) counts/s, scaled by the engine to the source region's BACKSCAL."""
    variance: Array
    exposure: float
    area_scale: Array
    back_scale: Array
    name: str


@dataclass(frozen=True, eq=False)
class RawSpectrum:
    """A spectrum as the engine gives it, noticed bins only; rates are divided by AREASCAL in some versions."""

    index: int
    name: str
    group: int
    rate: Array
    """(bins,) gross counts/s."""
    variance: Array
    edges: Array
    exposure: float
    area_scale: Array
    back_scale: Array
    channels: NDArray[np.int64]
    statistic: str
    background: RawBackground | None
    correction: Array | None
    """(bins,) rate to subtract from both sides of chi-squared: cornorm x correction file."""
    response: tuple[str, str, str]
    """Names of RMF and ARF, and the gain applied to them ("" for none)."""

    @property
    def has_area_scale(self) -> bool:
        """Whether AREASCAL differs from 1 anywhere, so that versions of XSPEC differ in their rates."""
        areas = [self.area_scale] if self.background is None else [self.area_scale, self.background.area_scale]
        return any(bool(np.any(area != 1.0)) for area in areas)


def read_spectra(xspec: ModuleType, statistics: dict[int, str]) -> tuple[RawSpectrum, ...]:
    """All loaded spectra.

    Parameters
    ----------
    xspec
        Module with PyXspec's names.
    statistics
        Fit statistic of each spectrum number, in XSPEC's words.

    Raises
    ------
    SessionError
        No spectrum is loaded, one has no response, or one has no noticed bins.
    """
    number = int(xspec.AllData.nSpectra)
    if number == 0:
        raise SessionError("no spectrum is loaded: load one first, for example Spectrum('source.pha')")
    return tuple(_read_spectrum(xspec.AllData(i), i, statistics[i]) for i in range(1, number + 1))


def _read_spectrum(spectrum: Any, index: int, statistic: str) -> RawSpectrum:
    name = str(spectrum.fileName)
    label = f"spectrum {index} ({name})"
    noticed = np.array(spectrum.noticed, dtype=np.int64)
    if noticed.size == 0:
        raise SessionError(
            f"{label} has no noticed bins: notice a range, for example AllData({index}).notice('0.5-10.0')"
        )
    response = _response_names(spectrum, label)
    rate = np.array(spectrum.values, dtype=np.float64)
    if statistic == "cstat" and _has_background(spectrum):
        statistic = "wstat"
    # energies arrive as numbers or as strings, ascending or (gratings) descending
    edges = np.sort(np.array([[float(low), float(high)] for low, high in spectrum.energies]), axis=1)
    return RawSpectrum(
        index=index,
        name=name,
        group=int(spectrum.dataGroup),
        rate=rate,
        variance=np.array(spectrum.variance, dtype=np.float64),
        edges=edges,
        exposure=float(spectrum.exposure),
        area_scale=_per_bin(spectrum.areaScale, noticed),
        back_scale=_per_bin(spectrum.backScale, noticed),
        channels=noticed,
        statistic=statistic,
        background=_read_background(spectrum, noticed),
        correction=_read_correction(spectrum),
        response=response,
    )


def _response_names(spectrum: Any, label: str) -> tuple[str, str, str]:
    # PyXspec raises a plain Exception where there is none
    try:
        response = spectrum.response
    except Exception as error:
        response = _other_response(spectrum)
        if response is None:
            raise SessionError(
                f"{label} has no response: set one, for example AllData({spectrum.index}).response = 'source.rmf'"
            ) from error
    try:
        arf = str(response.arf or "")
    except Exception:
        arf = ""
    return str(getattr(response, "rmf", "")), arf, gain_of(spectrum)


def gain_of(spectrum: Any) -> str:
    """Slope and offset of the first source's response gain as text, "" where it is off or unknown."""

    def read() -> str:
        gain = spectrum.response.gain
        return f"{float(gain.slope.values[0])!r} {float(gain.offset.values[0])!r}" if gain.isOn else ""

    return optional(read, "")


def _other_response(spectrum: Any) -> Any:
    """The response of a source other than the first, or None."""
    for source in range(1, 10):
        try:
            response = spectrum.multiresponse[source]
        except Exception:
            continue
        if response is not None:
            return response
    return None


def _has_background(spectrum: Any) -> bool:
    try:
        return spectrum.background is not None
    except Exception:
        return False


def _read_background(spectrum: Any, noticed: NDArray[np.int64]) -> RawBackground | None:
    if not _has_background(spectrum):
        return None
    background = spectrum.background
    rate = np.array(background.values, dtype=np.float64)
    variance = np.array(background.variance, dtype=np.float64)
    return RawBackground(
        rate=rate,
        variance=variance if variance.shape == rate.shape else np.zeros_like(rate),
        exposure=float(background.exposure),
        area_scale=_per_bin(background.areaScale, noticed),
        back_scale=_per_bin(background.backScale, noticed),
        name=str(background.fileName),
    )


def _read_correction(spectrum: Any) -> Array | None:
    try:
        correction, factor = spectrum.correction, float(spectrum.cornorm)
    except Exception:
        return None
    if correction is None or factor == 0.0:
        return None
    return factor * np.array(correction.values, dtype=np.float64)


def _per_bin(scale: Any, noticed: NDArray[np.int64]) -> Array:
    """(bins,) values of a scale that is one number, or one per channel."""
    values = np.atleast_1d(np.array(scale, dtype=np.float64))
    if values.size == 1:
        return np.full(noticed.size, values[0])
    return values[noticed - 1]


def area_conventions(spectra: tuple[RawSpectrum, ...]) -> tuple[tuple[bool, bool], ...]:
    """Possibilities to try: whether observed rates, and whether folded ones, are per AREASCAL.

    Only one where AREASCAL is 1 everywhere; the first is XSPEC 12.9's, the second that of 12.12 and later.
    """
    if any(s.has_area_scale for s in spectra):
        return (True, True), (False, False), (False, True), (True, False)
    return ((True, True),)


def to_observation(spectrum: RawSpectrum, per_area: bool) -> Observation:
    """Counts of one spectrum.

    Parameters
    ----------
    spectrum
        Rates as read.
    per_area
        Whether the engine's rates are divided by AREASCAL (12.9) or not (12.12 and later).

    Raises
    ------
    SessionError
        The counts are not whole numbers although the statistic wants Poisson data.
    """
    area = spectrum.area_scale if per_area else np.ones_like(spectrum.area_scale)
    counts = spectrum.rate * spectrum.exposure * area
    label = f"spectrum {spectrum.index} ({spectrum.name})"
    if spectrum.statistic in POISSON:
        counts = _whole(counts, label, spectrum.statistic)
    return Observation(
        index=spectrum.index,
        name=spectrum.name,
        group=spectrum.group,
        counts=counts,
        edges=spectrum.edges,
        exposure=spectrum.exposure,
        area_scale=spectrum.area_scale,
        back_scale=spectrum.back_scale,
        statistic=spectrum.statistic,
        background=_background_counts(spectrum, per_area),
        channels=spectrum.channels,
    )


def _whole(counts: Array, label: str, statistic: str) -> Array:
    nearest = np.round(counts)
    wrong = (np.abs(counts - nearest) > np.maximum(WHOLE, SINGLE_PRECISION * np.abs(counts))) | (nearest < 0)
    if np.any(wrong):
        first = int(np.flatnonzero(wrong)[0])
        name = "cstat" if statistic == "wstat" else statistic
        raise SessionError(
            f"{label}: {name} needs counts, but noticed bin {first + 1} holds {counts[first]:.6g} "
            f"({int(wrong.sum())} of {counts.size} bins are not whole numbers); "
            "load an unsubtracted spectrum of counts, or use Fit.statMethod = 'chi'"
        )
    return nearest


def _background_counts(spectrum: RawSpectrum, per_area: bool) -> Background | None:
    raw = spectrum.background
    if raw is None:
        return None
    seconds = raw.rate * raw.exposure * raw.back_scale / spectrum.back_scale
    # the engine's background is scaled to the source region; which of AREASCAL it scales by differs between versions
    if per_area:
        candidates = [seconds * raw.area_scale]
    else:
        candidates = [seconds, seconds * raw.area_scale / spectrum.area_scale]
    off = [np.max(np.abs(c - np.round(c)) - SINGLE_PRECISION * np.abs(c), initial=0.0) for c in candidates]
    best = int(np.argmin(off))
    counts = candidates[best]
    if off[best] <= WHOLE:
        counts = np.round(counts)
    elif spectrum.statistic == "wstat":
        raise SessionError(
            f"spectrum {spectrum.index} ({spectrum.name}): cstat needs counts, but its background {raw.name} does not "
            "hold whole numbers; use an unsubtracted background of counts, or remove it: "
            f"AllData({spectrum.index}).background = None"
        )
    return Background(counts, raw.exposure, raw.area_scale, raw.back_scale, raw.name)


def refuse_free_gain(xspec: ModuleType) -> None:
    """Refuse a response gain that is fitted: theta does not hold it.

    Raises
    ------
    SessionError
        Names the spectrum.
    """
    for i in range(1, int(xspec.AllData.nSpectra) + 1):

        def free_gain(i: int = i) -> bool:
            gain = xspec.AllData(i).response.gain
            return bool(gain.isOn) and not (gain.slope.frozen and gain.offset.frozen)

        if optional(free_gain, False):
            raise SessionError(f"the response gain of spectrum {i} is free to vary: freeze it, or switch it off")
