"""Statistic of simulated spectra from expected counts alone: no spectrum has to be loaded for it.

The session has shown at attach that these formulae give what its engine gives; calibration and goodness by simulation
need them for thousands of spectra that exist in memory only.
"""

from __future__ import annotations

import numpy as np

from xsixsa.errors import UsageError
from xsixsa.session.statistics import cstat, wstat

__all__ = ["CountStatistic"]


class CountStatistic:
    """C-stat, or W-stat where there is a background file, of vectors laid out as the simulator draws them.

    Parameters
    ----------
    observations
        The session's observations.

    Raises
    ------
    UsageError
        An observation has another statistic: its spectra cannot be simulated from counts.
    """

    def __init__(self, observations):
        self._parts, start = [], 0
        off = sum(len(o.counts) for o in observations)
        for o in observations:
            if o.statistic not in ("cstat", "wstat"):
                raise UsageError(
                    f"spectrum {o.index} has statistic {o.statistic!r}; spectra are simulated for cstat (with or "
                    "without a background file): set Fit.statMethod = 'cstat'"
                )
            bins = slice(start, start + len(o.counts))
            start = bins.stop
            background, ratio = None, None
            if o.background is not None:
                background = slice(off, off + len(o.counts))
                off, ratio = background.stop, o.background_ratio
            self._parts.append((bins, background, ratio))
        self.size = off

    def rows(self, counts: np.ndarray, expected: np.ndarray) -> np.ndarray:
        """Statistic at many expectations, shape (n,).

        Parameters
        ----------
        counts
            One spectrum, shape (size,), or one for each expectation, shape (n, size).
        expected
            Expected source counts, shape (n, bins).
        """
        total = np.zeros(len(expected))
        for bins, background, ratio in self._parts:
            s, m = counts[..., bins], expected[:, bins]
            if background is None:
                total += cstat(s, m)
            else:
                total += wstat(s, m, counts[..., background], ratio)
        return total
