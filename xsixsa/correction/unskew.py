"""Maps of single coordinates that make lopsided ones symmetric.

A posterior that the prior's edge cuts off runs out slowly towards the edge in z, as the prior itself does, and fast on
the other side. No symmetric density follows both; one in coordinates that are stretched differently on the two sides
of the median does (the idea of the two-piece normal, Fechner 1897, with a smooth seam).
"""

from __future__ import annotations

import numpy as np
from scipy.special import expit

from xsixsa.inference.proposals import Proposal
from xsixsa.summary_text import weighted_quantile

__all__ = ["Unskewed", "Unskewing"]

# Sides whose widths differ by less than this are left alone.
_LOPSIDED = 1.3
_MOST = 20.0
_SEAM = 0.5  # of the narrower side
_NEWTON_STEPS = 60


class Unskewing:
    """Invertible map of every coordinate for itself, fitted to weighted points.

    Parameters
    ----------
    z, weights
        Points of shape (n, d) and normalised weights, shape (n,).
    """

    def __init__(self, z: np.ndarray, weights: np.ndarray):
        d = z.shape[1]
        self._middle = np.array([weighted_quantile(z[:, i], weights, 0.5) for i in range(d)])
        sides = np.empty((2, d))
        for i in range(d):
            away = z[:, i] - self._middle[i]
            for k, side in enumerate((away < 0, away >= 0)):
                total = weights[side].sum()
                sides[k, i] = np.sqrt(weights[side] @ away[side] ** 2 / total) if total > 0 else 0.0
        with np.errstate(all="ignore"):
            ratio = sides[1] / sides[0]
        lopsided = np.isfinite(ratio) & (np.maximum(ratio, 1 / np.maximum(ratio, 1e-300)) > _LOPSIDED)
        root = np.sqrt(np.clip(np.where(lopsided, ratio, 1.0), 1 / _MOST, _MOST))
        self._left, self._right = root, 1 / root
        self._seam = np.where(lopsided, _SEAM * sides.min(axis=0), 1.0)
        self.any = bool(lopsided.any())

    def forward(self, z: np.ndarray) -> np.ndarray:
        """Symmetric coordinates of z, both of shape (n, d)."""
        t = (z - self._middle) / self._seam
        bend = np.logaddexp(0.0, t) - np.log(2.0)
        return self._middle + self._seam * (self._left * t + (self._right - self._left) * bend)

    def log_det(self, z: np.ndarray) -> np.ndarray:
        """Log of the factor by which the map multiplies densities at z, shape (n,)."""
        return np.log(self._slope((z - self._middle) / self._seam)).sum(axis=1)

    def inverse(self, x: np.ndarray) -> np.ndarray:
        """z of symmetric coordinates, both of shape (n, d)."""
        wanted = (x - self._middle) / self._seam
        # The map is convex or concave, so that Newton's steps cannot overshoot twice.
        t = wanted / np.where(wanted < 0, self._left, self._right)
        for _ in range(_NEWTON_STEPS):
            off = self._left * t + (self._right - self._left) * (np.logaddexp(0.0, t) - np.log(2.0)) - wanted
            t = t - off / self._slope(t)
            if np.abs(off).max(initial=0.0) < 1e-13 * (1 + np.abs(wanted).max(initial=0.0)):
                break
        return self._middle + self._seam * t

    def _slope(self, t: np.ndarray) -> np.ndarray:
        return self._left + (self._right - self._left) * expit(t)


class Unskewed(Proposal):
    """A proposal in symmetric coordinates, as a density in z.

    Parameters
    ----------
    unskewing
        The map.
    inner
        Proposal over symmetric coordinates.
    """

    def __init__(self, unskewing: Unskewing, inner: Proposal):
        self.unskewing, self.inner, self.name = unskewing, inner, inner.name

    def sample(self, n, rng):
        return self.unskewing.inverse(self.inner.sample(n, rng))

    def log_prob(self, z):
        return self.inner.log_prob(self.unskewing.forward(z)) + self.unskewing.log_det(z)
