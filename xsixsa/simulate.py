"""From expected counts to spectra as the instrument would have recorded them.

Noise is added outside XSPEC: the expected counts of a theta are computed once and can be observed afresh at
every epoch of training. With a background file the on-source spectrum contains the background and an
off-source spectrum is drawn beside it, the way the observation was made.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

__all__ = ["Segment", "Simulator", "smooth_counts"]

# Bins are merged until they hold this many background counts: a relative error of 20 % of the smooth background.
_COUNTS_PER_KNOT = 25.0


def smooth_counts(counts: np.ndarray, widths: np.ndarray) -> np.ndarray:
    """Smooth, strictly positive expectation of a background spectrum with few counts.

    The raw bins must not serve as expectation: an empty bin would stay empty in every simulation.

    Parameters
    ----------
    counts
        Background counts, shape (bins,).
    widths
        Widths of the bins (keV), same shape.

    Returns
    -------
    numpy.ndarray
        Expected counts, same shape, with the same total (half a count if there is none).
    """
    counts, widths = np.asarray(counts, float), np.asarray(widths, float)
    total = counts.sum()
    if total <= 0:
        return 0.5 * widths / widths.sum()
    knots = max(1, int(total // _COUNTS_PER_KNOT))
    # Edges at equal background counts; the density between them is constant, then blurred over its neighbours.
    position = np.concatenate([[0.0], np.cumsum(counts)]) / total
    energy = np.concatenate([[0.0], np.cumsum(widths)])
    edges = np.unique(np.interp(np.linspace(0, 1, knots + 1), position, energy))
    edges[0], edges[-1] = energy[0], energy[-1]
    mass = np.diff(np.interp(edges, energy, position))
    density = mass / np.diff(edges)
    middle = 0.5 * (edges[1:] + edges[:-1])
    smooth = np.interp(0.5 * (energy[1:] + energy[:-1]), middle, density) * widths
    smooth = np.maximum(smooth, 1e-3 * widths / widths.sum())
    return smooth * total / smooth.sum()


class Segment(NamedTuple):
    """One spectrum's place in a simulated vector: its bins are ``vector[start:stop]``."""

    name: str
    start: int
    stop: int
    edges: np.ndarray
    """Energy edges of the bins in keV, shape (bins, 2)."""
    off_source: bool


class Simulator:
    """Draws noisy spectra laid out as the observation is.

    The vector of one spectrum is the concatenation, over the observations, of the on-source counts of all noticed
    bins, followed by the off-source counts of those observations that have a background file.

    Parameters
    ----------
    observations
        The session's observations.

    Attributes
    ----------
    observed : numpy.ndarray
        The observation in this layout, shape (size,).
    n_bins : int
        Noticed bins of all observations, the length of a vector of expected counts.
    background : numpy.ndarray
        Expected background counts on source, shape (n_bins,).
    segments : tuple of Segment
        Where each spectrum, on source and off, lies in a vector, and its energies.
    """

    def __init__(self, observations):
        self.n_bins = sum(len(o.counts) for o in observations)
        on, off, scale, start = [o.counts for o in observations], [], [], 0
        self.background = np.zeros(self.n_bins)
        self._off = np.zeros(self.n_bins, bool)
        for o in observations:
            bins = slice(start, start + len(o.counts))
            start = bins.stop
            if o.background is None:
                continue
            b = o.background
            expected = smooth_counts(b.counts, np.abs(np.diff(o.edges, axis=1)[:, 0]))
            source = o.exposure * o.area_scale * o.back_scale
            ratio = source / (b.exposure * b.area_scale * b.back_scale)
            self.background[bins] = expected * ratio
            self._off[bins] = True
            off.append(b.counts)
            scale.append(expected)
        self._off_expected = np.concatenate(scale) if scale else np.zeros(0)
        self.observed = np.concatenate([*on, *off]).astype(np.float64)
        self.segments = tuple(_segments(observations))

    @property
    def size(self) -> int:
        """Length of a simulated vector."""
        return len(self.observed)

    @property
    def has_background(self) -> bool:
        """Whether any observation has a background file."""
        return bool(self._off.any())

    def total(self, expected: np.ndarray) -> np.ndarray:
        """Noiseless vector, source plus background on source, then background off source.

        Parameters
        ----------
        expected
            Expected source counts, shape (n, n_bins).

        Returns
        -------
        numpy.ndarray
            Shape (n, size), float32.
        """
        on = np.asarray(expected, np.float32) + self.background.astype(np.float32)
        if not self.has_background:
            return on
        off = np.broadcast_to(self._off_expected.astype(np.float32), (len(on), len(self._off_expected)))
        return np.concatenate([on, off], axis=1)

    def draw(self, expected: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Noisy counts, shape (n, size), for expected source counts of shape (n, n_bins)."""
        return rng.poisson(np.minimum(self.total(expected).astype(np.float64), 1e15)).astype(np.float64)


def _segments(observations) -> Iterator[Segment]:
    start = 0
    kinds = [(o, False) for o in observations] + [(o, True) for o in observations if o.background is not None]
    for o, off in kinds:
        stop = start + len(o.counts)
        name = f"{o.index} off source" if off else str(o.index)
        yield Segment(name, start, stop, np.asarray(o.edges, float), off)
        start = stop
