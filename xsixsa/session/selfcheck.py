"""At attach: does our reading of the session give the engine's own statistic?

The statistic is recomputed from observed counts, expected counts and background at a few theta. That determines
whether this version's rates are per AREASCAL, and refuses a session that we would misread.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xsixsa.errors import SessionError
from xsixsa.session.observations import RawSpectrum, area_conventions, to_observation
from xsixsa.session.records import Evaluation, Observation
from xsixsa.session.statistics import chi2, cstat, pgstat, pstat, wstat

__all__ = ["Reading", "read_as_engine_does", "scale_of"]

TOLERANCE = 1e-6
"""Relative difference between the statistic as recomputed and as the engine gives it."""

KNOWN = frozenset({"cstat", "wstat", "pstat", "pgstat", "chi"})
"""Statistics that can be recomputed."""

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Reading:
    """How to read this session: observations, and what turns folded rates into expected counts."""

    observations: tuple[Observation, ...]
    scale: Array
    """(bins,) seconds, times AREASCAL where rates are per AREASCAL."""
    verified: bool
    """False where a statistic has no formula here, so that nothing could be compared."""


def scale_of(spectra: Sequence[RawSpectrum], per_area: bool) -> Array:
    """(bins,) what turns folded rates of all spectra into expected counts."""
    return np.concatenate([s.exposure * (s.area_scale if per_area else np.ones_like(s.area_scale)) for s in spectra])


def read_as_engine_does(
    spectra: Sequence[RawSpectrum], folded: Evaluation, *, model_weighting: bool, systematic: float
) -> Reading:
    """Find the convention under which our statistic is the engine's.

    Parameters
    ----------
    spectra
        As read.
    folded
        The engine's answer at the probe points, with folded rates in place of expected counts.
    model_weighting
        Whether chi-squared takes its variance from the model.
    systematic
        Fractional model error of chi-squared.

    Raises
    ------
    SessionError
        No convention gives the engine's statistic; names both numbers.
    """
    rates, statistics = folded.expected[folded.valid], folded.statistic[folded.valid]
    recomputable = all(s.statistic in KNOWN for s in spectra) and not model_weighting
    refusal: SessionError | None = None
    conventions = area_conventions(tuple(spectra))
    if len(conventions) > 1:
        # chi-squared is the same in all of them: then the counts tell
        conventions = sorted(conventions, key=lambda convention: _fraction(spectra, convention[0]))
    for observed_per_area, folded_per_area in conventions:
        try:
            observations = tuple(to_observation(s, observed_per_area) for s in spectra)
        except SessionError as error:
            refusal = refusal or error
            continue
        reading = Reading(observations, scale_of(spectra, folded_per_area), verified=recomputable)
        if not recomputable:
            return reading
        worst = _disagreement(spectra, reading, rates, statistics, systematic)
        if worst is None:
            return reading
        refusal = SessionError(
            f"the fit statistic recomputed from the data is {worst[0]:.10g}, but the engine says {worst[1]:.10g}: "
            f"this session would be misread ({_suspects(spectra)})"
        )
    raise refusal if refusal is not None else SessionError("the session could not be read")


def _fraction(spectra: Sequence[RawSpectrum], per_area: bool) -> float:
    """How far the counts are from whole numbers, to three digits, so that rounding does not decide."""
    counts = np.concatenate([s.rate * s.exposure * (s.area_scale if per_area else 1.0) for s in spectra])
    return round(float(np.mean(np.abs(counts - np.round(counts)))), 3)


def _suspects(spectra: Sequence[RawSpectrum]) -> str:
    suspects = ["statistic " + ", ".join(sorted({s.statistic for s in spectra}))]
    if any(s.correction is not None for s in spectra):
        suspects.append("a correction file with cornorm different from 0")
    if any(s.has_area_scale for s in spectra):
        suspects.append("AREASCAL different from 1")
    return "; ".join(suspects)


def _disagreement(
    spectra: Sequence[RawSpectrum], reading: Reading, rates: Array, statistics: Array, systematic: float
) -> tuple[float, float] | None:
    """The pair (ours, the engine's) that differ most, or None when all agree."""
    worst: tuple[float, float] | None = None
    excess = 1.0
    for row, theirs in zip(rates, statistics, strict=True):
        # versions differ in the unit of a background's error that pgstat takes
        ours = [_total(spectra, reading, row, systematic, square) for square in (True, False)]
        best = min(ours, key=lambda value, theirs=theirs: abs(value - theirs) if np.isfinite(value) else np.inf)
        off = abs(best - theirs) / (TOLERANCE * max(1.0, abs(theirs)))
        if not off <= excess:
            worst, excess = (best, float(theirs)), off
    return worst


def _total(spectra: Sequence[RawSpectrum], reading: Reading, rates: Array, systematic: float, square: bool) -> float:
    total, start = 0.0, 0
    for spectrum, observation in zip(spectra, reading.observations, strict=True):
        bins = slice(start, start + spectrum.rate.size)
        start = bins.stop
        total += _one(spectrum, observation, rates[bins], reading.scale[bins], systematic, square)
    return total


def _one(
    spectrum: RawSpectrum, observation: Observation, rate: Array, scale: Array, systematic: float, square: bool
) -> float:
    """The statistic of one spectrum at folded rates `rate`."""
    expected, counts = rate * scale, observation.counts
    background, ratio = observation.background, observation.background_ratio
    kind = spectrum.statistic
    if kind == "chi":
        return _chi(spectrum, rate, scale, systematic)
    if background is None or kind == "cstat":
        return cstat(counts, expected)
    if kind == "wstat":
        return wstat(counts, expected, background.counts, ratio)
    if kind == "pstat":
        return pstat(counts, expected, background.counts, ratio)
    # background variance: that of the scaled rate, taken to counts of the background file
    to_counts = np.where(spectrum.background.rate > 0, background.counts / _nonzero(spectrum.background.rate), 0.0)
    variance = spectrum.background.variance * to_counts ** (2 if square else 1)
    return pgstat(counts, expected, background.counts, variance, ratio)


def _nonzero(values: Array) -> Array:
    return np.where(values != 0, values, 1.0)


def _chi(spectrum: RawSpectrum, rate: Array, scale: Array, systematic: float) -> float:
    net, variance = spectrum.rate.copy(), spectrum.variance.copy()
    floor = 1.0 / scale**2
    if spectrum.background is not None:
        b = spectrum.background
        net -= b.rate
        variance += b.variance
        area = b.area_scale if np.array_equal(scale, spectrum.exposure * spectrum.area_scale) else 1.0
        floor = np.minimum(floor, (spectrum.back_scale / b.back_scale / (b.exposure * area)) ** 2)
    if spectrum.correction is not None:
        net -= spectrum.correction
    # XSPEC gives a bin without error that of one count
    variance = np.where(variance == 0, floor, variance)
    return chi2(net, rate, variance + (systematic * rate) ** 2)
