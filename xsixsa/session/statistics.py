"""Fit statistics of XSPEC, written in counts, to check that we read a session as the engine does.

The likelihood of a run is always the engine's own; these formulae only verify it. They follow the statistics
appendix of the XSPEC manual: Cash (1979, ApJ 228, 939) for C, Wachter, Leach & Kellogg (1979, ApJ 230, 274) for the
profiled background of W. Written in counts they need no exposure: ``expected`` is the source's counts in a bin,
``ratio`` the background counts in the source region per count of the background file.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["FLOOR", "POISSON", "chi2", "cstat", "pgstat", "pstat", "wstat"]

FLOOR = 1e-5
"""Counts per bin below which XSPEC takes no model: 1e-5 / (exposure x AREASCAL) in its rates."""

POISSON = frozenset({"cstat", "wstat", "pstat", "pgstat", "lstat"})
"""Statistics whose source counts are Poisson."""

Array = NDArray[np.float64]


def _total(terms: Array) -> Array | float:
    """Sum over bins: one number for (bins,), (n,) for (n, bins)."""
    total = 2.0 * np.sum(terms, axis=-1)
    return float(total) if np.ndim(total) == 0 else total


def _xlogx(x: Array) -> Array:
    """``x log x``, 0 at 0."""
    return x * np.log(np.where(x > 0, x, 1.0))


def cstat(counts: Array, expected: Array) -> Array | float:
    """C-statistic, ``2 sum(m - s + s log(s / m))``.

    Parameters
    ----------
    counts
        (bins,) observed counts.
    expected
        (bins,) expected counts, which give one number, or (n, bins), which give (n,).
    """
    m = np.maximum(expected, FLOOR)
    return _total(m - counts * (1.0 + np.log(m)) + _xlogx(counts))


def wstat(counts: Array, expected: Array, background: Array, ratio: Array) -> Array | float:
    """C-statistic with the background rate of each bin profiled out (W).

    Parameters
    ----------
    counts
        (bins,) gross counts.
    expected
        (bins,) expected counts of the source alone, or (n, bins), which give (n,).
    background
        (bins,) counts of the background file.
    ratio
        (bins,) background counts in the source region per count of the background file.
    """
    s, b = counts, background
    m = np.maximum(expected, FLOOR)
    off = 1.0 / ratio
    total = 1.0 + off

    # positive root of total f^2 + p f - b m = 0, f the background in the source region; each branch avoids cancellation
    p = total * m - s - b
    root = np.sqrt(p * p + 4.0 * total * b * m)
    sum_ = np.where((p >= 0) & (b > 0), p + root, 1.0)
    f = np.where(p >= 0, 2.0 * b * m / sum_, (root - p) / (2.0 * total))
    safe = np.where(f > 0, f, 1.0)
    full = m + total * f - s * np.log(m + f) - b * np.log(off * safe) - s - b + _xlogx(s) + _xlogx(b)

    no_source = m - b * np.log(off / total)
    below = s * np.log(total) - off * m
    above = m - s * (1.0 + np.log(m)) + _xlogx(s)
    no_background = np.where(m <= s / total, below, above)
    return _total(np.where(s == 0, no_source, np.where(b == 0, no_background, full)))


def pstat(counts: Array, expected: Array, background: Array, ratio: Array) -> float:
    """C-statistic with a background known exactly."""
    return cstat(counts, expected + background * ratio)


def pgstat(counts: Array, expected: Array, background: Array, variance: Array, ratio: Array) -> float:
    """C-statistic with a Gaussian background, profiled out.

    ``variance`` is that of ``background``, counts squared; where it is 0 the background is taken as known.
    """
    s, b = counts, background
    m = np.maximum(expected, 0.0)
    known = variance == 0
    v = np.where(known, 1.0, variance)

    no_source = m + b * ratio - 0.5 * v * ratio**2

    # f, the background in the source region, solves f^2 + p f + q = 0
    p = m + v * ratio**2 - b * ratio
    q = v * ratio**2 * (m - s) - b * ratio * m
    t = -0.5 * (p + np.where(p >= 0, 1.0, -1.0) * np.sqrt(p * p - 4.0 * q))
    f = np.where(t >= 0, t, q / np.where(t == 0, 1.0, t))
    rate = np.where(m + f > 0, m + f, FLOOR)
    full = rate - s * np.log(rate) + 0.5 * (b - f / ratio) ** 2 / v - s + _xlogx(s)

    sure = np.maximum(m + b * ratio, FLOOR)
    exact = sure - s * (1.0 + np.log(sure)) + _xlogx(s)
    return float(2.0 * np.sum(np.where(known, exact, np.where(s == 0, no_source, full))))


def chi2(net: Array, model: Array, variance: Array) -> float:
    """Chi-squared of background-subtracted rates; all three in the engine's own unit."""
    return float(np.sum((net - model) ** 2 / variance))
