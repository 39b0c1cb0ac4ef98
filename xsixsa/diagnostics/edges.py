"""Posteriors that lean on the edge of their prior, or fill all of it."""

from __future__ import annotations

import numpy as np

__all__ = ["edge_warnings"]

_BINS = 50
_EDGE_DENSITY = 0.3
_FILLS = 0.9


def edge_warnings(prior, cube: np.ndarray, weights: np.ndarray) -> list[str]:
    """Warnings for parameters whose posterior is cut by the prior, or that the data do not constrain.

    Parameters
    ----------
    prior
        Offers ``names`` and ``distributions``.
    cube
        Samples in the prior's unit cube, shape (n, d).
    weights
        Their weights, sum 1, shape (n,).
    """
    found = []
    for i, (name, distribution) in enumerate(zip(prior.names, prior.distributions, strict=True)):
        u = cube[:, i]
        mean = weights @ u
        spread = np.sqrt(weights @ (u - mean) ** 2) * np.sqrt(12.0)
        if spread > _FILLS:
            found.append(f"{name}: the data say next to nothing; its posterior is the prior {distribution}")
            continue
        # Bins over the range that holds the posterior: their edge bins are resolved however narrow it is.
        low, high = _range(u, weights)
        density, _ = np.histogram(u, bins=_BINS, range=(low, high), weights=weights)
        leaning = _EDGE_DENSITY * density.max()
        width = (high - low) / _BINS
        if low < width and density[0] > leaning:
            found.append(f"{name}: the posterior piles up at the lower edge of {distribution}; read its upper limit")
        if high > 1 - width and density[-1] > leaning:
            found.append(f"{name}: the posterior piles up at the upper edge of {distribution}; read its lower limit")
    return found


def _range(u: np.ndarray, weights: np.ndarray) -> tuple[float, float]:
    order = np.argsort(u)
    cumulative = np.cumsum(weights[order])
    low = float(u[order][np.searchsorted(cumulative, 0.001)])
    high = float(u[order][min(np.searchsorted(cumulative, 0.999), len(u) - 1)])
    room = 0.01 * max(high - low, 1e-9)
    return max(0.0, low - room), min(1.0, high + room)
