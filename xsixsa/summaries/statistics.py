"""The statistics of a spectrum that :class:`~xsixsa.summaries.spectral.Spectral` is made of.

All are finite for any counts, zero included, and those that span orders of magnitude are taken as logarithms.
"""

from __future__ import annotations

import numpy as np

__all__ = ["PERCENTILES", "Intervals", "interval_statistics", "whole_statistics"]

PERCENTILES = (5, 25, 50, 75, 95)
"""Percentiles of the counts per bin."""


class Intervals:
    """Bins of one spectrum shared out to energy intervals, as evenly as their number allows.

    Parameters
    ----------
    edges
        Energy edges of the bins in keV, shape (bins, 2), in any order.
    number
        Intervals; at most one for each bin.
    """

    def __init__(self, edges: np.ndarray, number: int):
        edges = np.sort(np.asarray(edges, float), axis=1)
        self.order = np.argsort(edges[:, 0], kind="stable")
        edges = edges[self.order]
        number = min(number, len(edges))
        self.starts = np.linspace(0, len(edges), number + 1).astype(int)[:-1]
        stops = np.append(self.starts[1:], len(edges))
        self.energy = edges.mean(axis=1)
        self.low, self.high = edges[self.starts, 0], edges[stops - 1, 1]
        # Bins only: where something was ignored inside an interval, it is no wider for it.
        self.width = np.maximum(self._add(edges[:, 1] - edges[:, 0]), 1e-12)
        self.centre = self._add(self.energy) / (stops - self.starts)

    def _add(self, values: np.ndarray) -> np.ndarray:
        return np.add.reduceat(values, self.starts, axis=-1)

    def sums(self, counts: np.ndarray) -> np.ndarray:
        """Counts of every interval, shape (n, intervals)."""
        return self._add(counts[:, self.order])

    def mean_energy(self, counts: np.ndarray, sums: np.ndarray) -> np.ndarray:
        """Count-weighted mean energy within every interval (keV), shape (n, intervals)."""
        moment = self._add(counts[:, self.order] * self.energy)
        return np.where(sums > 0, moment / np.maximum(sums, 1e-300), self.centre)


def whole_statistics(counts: np.ndarray) -> tuple[list[str], np.ndarray]:
    """Statistics of the counts over all bins of a spectrum.

    Parameters
    ----------
    counts
        Shape (n, bins).

    Returns
    -------
    names, values
        Values of shape (n, k). Mean, standard deviation, total, percentiles and interquartile range as log(1 + x);
        skewness m3 / m2^1.5; Shannon entropy (nat) of the spectrum normalised to one, zero for an empty one.
    """
    mean, std = counts.mean(axis=1), counts.std(axis=1)
    total = counts.sum(axis=1)
    # Bins that all hold the same have no skewness, whatever rounding leaves of their deviation.
    deviation = (counts - mean[:, None]) / np.maximum(std, 1e-9 * (1.0 + mean))[:, None]
    skewness = (deviation**3).mean(axis=1)
    share = counts / np.maximum(total, 1e-300)[:, None]
    entropy = -(share * np.log(np.where(share > 0, share, 1.0))).sum(axis=1)
    percentiles = np.percentile(counts, PERCENTILES, axis=1)
    iqr = percentiles[PERCENTILES.index(75)] - percentiles[PERCENTILES.index(25)]
    names = ["mean", "std", "total", "skewness", "entropy", *(f"percentile {p}" for p in PERCENTILES), "IQR"]
    logarithmic = [np.log1p(mean), np.log1p(std), np.log1p(total)]
    values = [*logarithmic, skewness, entropy, *np.log1p(percentiles), np.log1p(iqr)]
    return names, np.stack(values, axis=1)


def interval_statistics(counts: np.ndarray, intervals: Intervals) -> tuple[list[str], np.ndarray]:
    """Statistics of the counts in energy intervals.

    Parameters
    ----------
    counts
        Shape (n, bins).
    intervals
        How the bins are shared out.

    Returns
    -------
    names, values
        Values of shape (n, k). With S the counts of an interval and r = (S + 1/2) / width its rate per keV:

        - *sum*: log(1 + S);
        - *excess*: of S over the mean e of its neighbours' rates times its own width, (S - e) / sqrt(S + e + 1): a
          line stands out of it whatever the continuum;
        - *energy*: count-weighted mean energy (keV), the middle where there are no counts;
        - *hardness*: of an interval and the next, (S' - S) / (S' + S + 1);
        - *slope* (differential ratio): (log r' - log r) / (log E' - log E), minus the local photon index but for
          the instrument.
    """
    sums = intervals.sums(counts)
    mean_energy = intervals.mean_energy(counts, sums)
    number = sums.shape[1]
    label = [f"{low:.4g}-{high:.4g} keV" for low, high in zip(intervals.low, intervals.high, strict=True)]
    names = [f"{what} {where}" for what in ("sum", "energy") for where in label]
    values = [np.log1p(sums), mean_energy]
    if number > 1:
        rate = sums / intervals.width
        left, right = np.roll(rate, 1, axis=1), np.roll(rate, -1, axis=1)
        left[:, 0], right[:, -1] = right[:, 0], left[:, -1]
        expected = 0.5 * (left + right) * intervals.width
        low, high = sums[:, :-1], sums[:, 1:]
        density = np.log((sums + 0.5) / intervals.width)
        # Intervals follow one another in energy; a first bin from 0 keV has a positive middle.
        step = np.diff(np.log(np.maximum(intervals.centre, 1e-6)))
        values += [
            (sums - expected) / np.sqrt(sums + expected + 1.0),
            (high - low) / (high + low + 1.0),
            np.diff(density, axis=1) / np.maximum(step, 1e-6),
        ]
        names += [f"excess {where}" for where in label]
        names += [f"{what} from {where}" for what in ("hardness", "slope") for where in label[:-1]]
    return names, np.concatenate(values, axis=1)
