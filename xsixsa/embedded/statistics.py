"""Fit statistics, vectorised over parameter vectors, with XSPEC's constants.

Notation of XSPEC's manual, appendix B: S and B counts in source and background files, ts and tb their exposures
times area scales (tb also times the ratio of the background scales), m the model rate. Every statistic takes the model
rates (n, bins), counts/s per area scale, and returns the share of each bin, (n, bins); the statistic is their sum.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.special import xlogy

from xsixsa.errors import UsageError

__all__ = ["STATISTICS", "WEIGHTS", "Observed", "statistic_of", "weighted_variance"]

# XSPEC's floor of the expected counts in a bin
FLOOR = 1e-5


@dataclass(frozen=True)
class Observed:
    """What the statistic of one spectrum needs, over its noticed bins.

    Attributes
    ----------
    counts : (bins,) float64
    time : (bins,) float64
        Exposure times area scale, s.
    rate, variance : (bins,) float64
        Net of background, per area scale; the variance without model terms.
    back_counts, back_time : (bins,) float64 or None
        Background counts, and exposure * area scale * background scale over that of the source.
    back_rate : (bins,) float64 or None
        Scaled to the source region.
    back_variance : (bins,) float64 or None
        Of the unscaled background counts.
    systematic : float
        Fractional model error.
    weight : str
    """

    counts: np.ndarray
    time: np.ndarray
    rate: np.ndarray
    variance: np.ndarray
    back_counts: np.ndarray | None
    back_time: np.ndarray | None
    back_rate: np.ndarray | None
    back_variance: np.ndarray | None
    systematic: float
    weight: str

    @cached_property
    def saturated(self) -> tuple[np.ndarray, np.ndarray]:
        """``-counts`` and the share of the saturated model in C, both (bins,)."""
        # subtracted spectra have negative counts, which XSPEC takes as none
        counts = np.maximum(self.counts, 0.0)
        return -counts, xlogy(counts, counts) - counts


def _cash(seen: Observed, expected: np.ndarray) -> np.ndarray:
    """C of Cash (1979) with the saturated model as zero, from expected counts, (n, bins), which are used up."""
    np.maximum(expected, FLOOR, out=expected)
    minus_counts, constant = seen.saturated
    out = np.log(expected)
    out *= minus_counts
    out += expected
    out += constant
    out *= 2.0
    return out


def cstat(model: np.ndarray, seen: Observed) -> np.ndarray:
    """C-statistic, or W-statistic where there is a background."""
    if seen.back_counts is not None:
        return wstat(model, seen)
    return _cash(seen, model * seen.time)


def wstat(model: np.ndarray, seen: Observed) -> np.ndarray:
    """W-statistic: the background rate of each bin at its best value for the model."""
    s, b, ts, tb = seen.counts, seen.back_counts, seen.time, seen.back_time
    total = ts + tb
    m = np.maximum(model, FLOOR / ts)
    out = np.empty_like(m)
    empty = s == 0
    out[:, empty] = ts[empty] * m[:, empty] - xlogy(b[empty], (tb / total)[empty])
    bare = (s > 0) & (b == 0)
    if bare.any():
        below = -tb[bare] * m[:, bare] - s[bare] * np.log((ts / total)[bare])
        above = ts[bare] * m[:, bare] + s[bare] * (np.log(s[bare]) - np.log(ts[bare] * m[:, bare]) - 1.0)
        out[:, bare] = np.where(m[:, bare] <= (s / total)[bare], below, above)
    full = (s > 0) & (b > 0)
    if full.any():
        out[:, full] = _profiled(m[:, full], s[full], b[full], ts[full], tb[full])
    return 2.0 * out


def _profiled(m: np.ndarray, s: np.ndarray, b: np.ndarray, ts: np.ndarray, tb: np.ndarray) -> np.ndarray:
    """Half of W in the bins with counts on both sides."""
    total = ts + tb
    # the background rate f solves total f^2 + half f - b m = 0
    half = total * m - s - b
    root = np.sqrt(half * half + 4.0 * total * b * m)
    with np.errstate(divide="ignore", invalid="ignore"):
        f = np.where(half >= 0, 2.0 * b * m / (half + root), (root - half) / (2.0 * total))
    constant = s * (np.log(s / ts) - 1.0) + b * (np.log(b / tb) - 1.0)
    return ts * m + total * f - s * np.log(m + f) - b * np.log(f) + constant


def pstat(model: np.ndarray, seen: Observed) -> np.ndarray:
    """C-statistic with a background taken as known exactly."""
    expected = model * seen.time
    if seen.back_counts is not None:
        expected = expected + seen.back_counts * seen.time / seen.back_time
    return _cash(seen, expected)


def pgstat(model: np.ndarray, seen: Observed) -> np.ndarray:
    """C-statistic with a Gaussian background at its best value in each bin."""
    if seen.back_counts is None:
        return _cash(seen, model * seen.time)
    s, b, ts, tb, v = seen.counts, seen.back_counts, seen.time, seen.back_time, seen.back_variance
    exact = v == 0
    m = np.maximum(model, FLOOR / ts)
    out = np.empty_like(m)
    known = np.maximum(model + b / tb, FLOOR / ts) * ts
    out[:, exact] = (known - s + xlogy(s, s) - xlogy(s, known))[:, exact]
    noisy, v1 = ~exact, np.where(exact, 1.0, v)
    half = ts * v1 - tb * b + tb * tb * m
    offset = ts * v1 * m - s * v1 - tb * b * m
    q = -0.5 * (half + np.where(half >= 0, 1.0, -1.0) * np.sqrt(half * half - 4.0 * tb * tb * offset))
    with np.errstate(divide="ignore", invalid="ignore"):
        f = np.where(q / (tb * tb) >= 0, q / (tb * tb), offset / q)
        value = ts * (m + f) - xlogy(s, ts * (m + f)) + 0.5 * (b - tb * f) ** 2 / v1 - s + xlogy(s, s)
    nothing = ts * m + b * ts / tb - 0.5 * v1 * (ts / tb) ** 2
    out[:, noisy] = np.where(s == 0, nothing, value)[:, noisy]
    return 2.0 * out


def chi(model: np.ndarray, seen: Observed) -> np.ndarray:
    """Chi-squared of the net rate; with model weighting the variance follows the model."""
    variance = seen.variance
    if seen.weight == "model":
        variance = model / seen.time + (seen.systematic * model) ** 2
        if seen.back_rate is not None:
            variance = variance + seen.back_rate / seen.time + seen.back_variance / seen.back_time**2
    elif seen.systematic > 0:
        variance = variance + (seen.systematic * model) ** 2
    with np.errstate(divide="ignore", invalid="ignore"):
        return (seen.rate - model) ** 2 / variance


STATISTICS: dict[str, Callable[[np.ndarray, Observed], np.ndarray]] = {
    "chi": chi,
    "cstat": cstat,
    "pgstat": pgstat,
    "pstat": pstat,
}

WEIGHTS = ("standard", "gehrels", "churazov", "model")


def statistic_of(name: str) -> str:
    """Return the full name of a statistic from an abbreviation.

    Raises
    ------
    UsageError
        Where the engine has no such statistic.
    """
    wanted = name.strip().lower()
    for full in STATISTICS:
        if wanted and full.startswith(wanted):
            return full
    raise UsageError(f"no statistic {name!r} in the embedded engine; it has {', '.join(STATISTICS)}")


def weighted_variance(weight: str, counts: np.ndarray, time: np.ndarray, variance: np.ndarray) -> np.ndarray:
    """Return the variance of rates that a weighting asks for.

    Parameters
    ----------
    weight : str
        "gehrels": (1 + sqrt(N + 0.75))^2, Gehrels (1986); "churazov": the mean of the smallest symmetric window with
        20 counts, after Churazov et al. (1996); otherwise `variance` as it is.
    counts, time, variance : (bins,) float64
        Counts, exposure times area scale, and the variance of counts / time.

    Returns
    -------
    (bins,) float64
    """
    if weight == "gehrels":
        return ((1.0 + np.sqrt(np.maximum(counts, 0.0) + 0.75)) / time) ** 2
    if weight != "churazov":
        return variance
    running = np.concatenate([[0.0], np.cumsum(counts)])
    place = np.arange(counts.size)
    half = np.zeros(counts.size, dtype=np.int64)
    while True:
        low, high = np.maximum(place - half, 0), np.minimum(place + half, counts.size - 1) + 1
        inside = running[high] - running[low]
        short = (inside < 20.0) & (high - low < counts.size)
        if not short.any():
            return inside / (high - low) / time**2
        half[short] += 1
