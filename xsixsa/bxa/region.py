"""Regions of the prior whose mass is known exactly, and the map from the unit cube onto the prior restricted to them.

In the prior's standard-normal space z the prior is the same in every direction. A box may therefore be rotated, and
it may even be bent along one of its axes, its spine: given the coordinate on the spine, the others are independent
truncated normals. The mass is then a product of normal probabilities, integrated over the spine alone, and the
inverse of the map is as cheap. Nothing is rejected and nothing is measured by counting points.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from scipy import special
from scipy.optimize import linprog

__all__ = ["EDGE", "Cell", "Region", "disjoint"]

EDGE = 8.2
"""Beyond this |z| the prior holds 1e-16: an interval that ends here is not cut."""

_NODES = 129  # on the spine between two knots; five Gauss points between two nodes
_GAUSS = np.polynomial.legendre.leggauss(5)


def _log_interval(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Log of the normal probability of [low, high], accurate in both tails."""
    flip = low > 0
    a, b = np.where(flip, -high, low), np.where(flip, -low, high)
    log_b = special.log_ndtr(b)
    with np.errstate(divide="ignore"):
        return log_b + np.log(-np.expm1(special.log_ndtr(a) - log_b))


def _interval_ppf(v: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Point of [low, high] below which a share `v` of the normal probability of the interval lies."""
    # Intervals above zero are mirrored: the lower tail of the normal keeps its digits, the upper does not.
    flip = low > 0
    a, b = np.where(flip, -high, low), np.where(flip, -low, high)
    pa, pb = special.ndtr(a), special.ndtr(b)
    y = special.ndtri(pa + np.where(flip, 1 - v, v) * (pb - pa))
    return np.clip(np.where(flip, -y, y), low, high)


def _interval_cdf(y: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Inverse of :func:`_interval_ppf`; NaN outside."""
    flip = low > 0
    a, b, x = np.where(flip, -high, low), np.where(flip, -low, high), np.where(flip, -y, y)
    pa, pb = special.ndtr(a), special.ndtr(b)
    share = (special.ndtr(x) - pa) / (pb - pa)
    share = np.clip(np.where(flip, 1 - share, share), 0.0, 1.0)
    return np.where((y >= low) & (y <= high), share, np.nan)


class Cell:
    """A box in z with its own axes, straight or bent along the first of them.

    Parameters
    ----------
    rotation
        Orthogonal matrix, shape (d, d); its columns are the axes, the first one the spine.
    knots
        Positions on the spine, ascending, shape (k,) with k >= 2: the first and the last are its ends.
    low, high
        Bounds of the other axes at the knots, shape (k, d - 1); straight lines between them.
    """

    def __init__(self, rotation: np.ndarray, knots: np.ndarray, low: np.ndarray, high: np.ndarray):
        self.rotation = np.asarray(rotation, float)
        self.knots = np.clip(np.asarray(knots, float), -EDGE, EDGE)
        shape = (len(self.knots), self.dim - 1)
        self.low = np.clip(np.asarray(low, float).reshape(shape), -EDGE, EDGE)
        self.high = np.clip(np.asarray(high, float).reshape(shape), -EDGE, EDGE)
        self._bent = bool(np.ptp(self.low, axis=0).any() or np.ptp(self.high, axis=0).any())
        if self._bent:
            self._steps = np.maximum(np.diff(self.knots), 1e-300)
            self._rise_low, self._rise_high = np.diff(self.low, axis=0), np.diff(self.high, axis=0)
            self._tabulate()
        else:
            self.log_mass = float(_log_interval(self.knots[0], self.knots[-1]))
            self.log_mass += float(_log_interval(self.low[0], self.high[0]).sum())

    @classmethod
    def box(cls, rotation: np.ndarray, low: np.ndarray, high: np.ndarray) -> Cell:
        """Straight box with bounds `low` and `high`, both of shape (d,), along the columns of `rotation`."""
        low, high = np.asarray(low, float), np.asarray(high, float)
        return cls(rotation, [low[0], high[0]], np.tile(low[1:], (2, 1)), np.tile(high[1:], (2, 1)))

    @property
    def dim(self) -> int:
        """Dimension d."""
        return len(self.rotation)

    @property
    def outer(self) -> tuple[np.ndarray, np.ndarray]:
        """Bounds of the straight box around it along its own axes, both of shape (d,)."""
        low = np.concatenate([self.knots[:1], self.low.min(axis=0)])
        return low, np.concatenate([self.knots[-1:], self.high.max(axis=0)])

    def _bounds(self, spine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Bounds of the other axes, both of shape (n, d - 1), at n positions on the spine."""
        if not self._bent:
            return self.low[:1], self.high[:1]
        i = np.clip(np.searchsorted(self.knots, spine, side="right") - 1, 0, len(self.knots) - 2)
        t = np.clip((spine - self.knots[i]) / self._steps[i], 0.0, 1.0)[:, None]
        return self.low[i] + t * self._rise_low[i], self.high[i] + t * self._rise_high[i]

    def _log_density(self, spine: np.ndarray) -> np.ndarray:
        """Log of the prior mass of the cell for each unit of length of its spine."""
        low, high = self._bounds(spine)
        return -0.5 * spine**2 - 0.5 * np.log(2 * np.pi) + _log_interval(low, high).sum(axis=1)

    def _tabulate(self) -> None:
        """Mass of short pieces of the spine by Gauss-Legendre quadrature, and the density at their ends."""
        edges = [np.linspace(a, b, _NODES) for a, b in zip(self.knots[:-1], self.knots[1:], strict=True) if b > a]
        self._nodes = np.unique(np.concatenate(edges))
        half, middle = 0.5 * np.diff(self._nodes), 0.5 * (self._nodes[1:] + self._nodes[:-1])
        points = middle[:, None] + half[:, None] * _GAUSS[0]
        log_f = self._log_density(points.ravel()).reshape(points.shape)
        peak = log_f.max()
        mass = half * (np.exp(log_f - peak) @ _GAUSS[1])
        self.log_mass = float(peak + np.log(mass.sum()))
        self._cumulative = np.concatenate([[0.0], np.cumsum(mass)]) / mass.sum()
        self._density = np.exp(self._log_density(self._nodes) - peak)

    def _spine(self, v: np.ndarray) -> np.ndarray:
        if not self._bent:
            return _interval_ppf(v, self.knots[0], self.knots[-1])
        i = np.clip(np.searchsorted(self._cumulative, v, side="right") - 1, 0, len(self._nodes) - 2)
        span = self._cumulative[i + 1] - self._cumulative[i]
        share = np.clip((v - self._cumulative[i]) / np.where(span > 0, span, 1.0), 0.0, 1.0)
        # The density is linear within a piece: its integral is inverted in the form that has no cancellation.
        f0, f1 = self._density[i], self._density[i + 1]
        root = np.sqrt(np.maximum(f0**2 + share * (f1**2 - f0**2), 0.0))
        step = share * (f0 + f1) / np.maximum(f0 + root, 1e-300)
        return self._nodes[i] + np.clip(step, 0.0, 1.0) * (self._nodes[i + 1] - self._nodes[i])

    def _spine_cdf(self, y: np.ndarray) -> np.ndarray:
        if not self._bent:
            return _interval_cdf(y, self.knots[0], self.knots[-1])
        i = np.clip(np.searchsorted(self._nodes, y, side="right") - 1, 0, len(self._nodes) - 2)
        t = (y - self._nodes[i]) / (self._nodes[i + 1] - self._nodes[i])
        f0, f1 = self._density[i], self._density[i + 1]
        share = t * (f0 + 0.5 * t * (f1 - f0)) / (0.5 * (f0 + f1))
        v = self._cumulative[i] + share * (self._cumulative[i + 1] - self._cumulative[i])
        return np.where((y >= self._nodes[0]) & (y <= self._nodes[-1]), np.clip(v, 0.0, 1.0), np.nan)

    def from_cube(self, v: np.ndarray) -> np.ndarray:
        """Points z of the prior restricted to the cell, for points of the unit cube, both of shape (n, d)."""
        spine = self._spine(v[:, 0])
        low, high = self._bounds(spine)
        return np.column_stack([spine, _interval_ppf(v[:, 1:], low, high)]) @ self.rotation.T

    def to_cube(self, z: np.ndarray) -> np.ndarray:
        """Inverse of :meth:`from_cube`; rows of NaN for points outside."""
        y = z @ self.rotation
        low, high = self._bounds(y[:, 0])
        v = np.column_stack([self._spine_cdf(y[:, 0]), _interval_cdf(y[:, 1:], low, high)])
        v[np.isnan(v).any(axis=1)] = np.nan
        return v

    def contains(self, z: np.ndarray) -> np.ndarray:
        """Which points lie inside, shape (n,)."""
        y = z @ self.rotation
        low, high = self._bounds(y[:, 0])
        inside = ((y[:, 1:] >= low) & (y[:, 1:] <= high)).all(axis=1)
        return inside & (y[:, 0] >= self.knots[0]) & (y[:, 0] <= self.knots[-1])

    def cut(self, axis: int, upper: bool) -> bool:
        """Whether that side of the axis cuts the prior at all."""
        low, high = self.outer
        return bool(high[axis] < EDGE) if upper else bool(low[axis] > -EDGE)

    def beyond(self, v: np.ndarray, axis: int, upper: bool) -> np.ndarray:
        """Share of the prior mass, along the axis, between points v of the cell's cube (n, d) and that edge; (n,)."""
        return 1 - v[:, axis] if upper else v[:, axis]

    def moved(self, axis: int, upper: bool, share: float) -> Cell:
        """The cell with one side moved outwards by `share` of its width there."""
        knots, low, high = self.knots.copy(), self.low.copy(), self.high.copy()
        if axis == 0:
            step = share * (knots[-1] - knots[0])
            if self._bent:
                # One more knot: what is known of the bounds stays as it is, the end is continued straight.
                knots = np.append(knots, knots[-1] + step) if upper else np.insert(knots, 0, knots[0] - step)
                low, high = (np.pad(b, ((0, 1), (0, 0)) if upper else ((1, 0), (0, 0)), "edge") for b in (low, high))
            elif upper:
                knots[-1] += step
            else:
                knots[0] -= step
        else:
            step = share * (high[:, axis - 1] - low[:, axis - 1])
            if upper:
                high[:, axis - 1] += step
            else:
                low[:, axis - 1] -= step
        return Cell(self.rotation, knots, low, high)

    def as_dict(self) -> dict:
        """Plain lists, for JSON."""
        return {k: getattr(self, k).tolist() for k in ("rotation", "knots", "low", "high")}


class Region:
    """Union of cells that do not overlap.

    Parameters
    ----------
    cells
        Pairwise disjoint, which is checked for what can be checked: the straight boxes around them.

    Attributes
    ----------
    cells : tuple of Cell
    log_mass : float
        Log of the prior mass of the region.
    """

    def __init__(self, cells: Sequence[Cell]):
        self.cells = tuple(cells)
        if not self.cells:
            raise ValueError("a region needs a cell")
        for i, a in enumerate(self.cells):
            if any(not disjoint(a, b) for b in self.cells[:i]):
                raise ValueError("cells of a region must not overlap: their masses are added")
        logs = np.array([c.log_mass for c in self.cells])
        self.log_mass = float(special.logsumexp(logs))
        # Cells share the first coordinate of the cube in proportion to their mass.
        self._ends = np.concatenate([[0.0], np.cumsum(np.exp(logs - self.log_mass))])
        self._ends[-1] = 1.0

    @property
    def dim(self) -> int:
        """Dimension d."""
        return self.cells[0].dim

    def from_cube(self, v: np.ndarray) -> np.ndarray:
        """Points z of the prior restricted to the region, for points of the unit cube, both of shape (n, d).

        Uniform points of the cube become draws of the restricted prior.
        """
        v = np.asarray(v, float)
        if len(self.cells) == 1:
            return self.cells[0].from_cube(v)
        which = self._which(v)
        z = np.empty_like(v)
        for i, cell in enumerate(self.cells):
            rows = which == i
            if rows.any():
                part = v[rows]
                part[:, 0] = (part[:, 0] - self._ends[i]) / (self._ends[i + 1] - self._ends[i])
                z[rows] = cell.from_cube(part)
        return z

    def to_cube(self, z: np.ndarray) -> np.ndarray:
        """Inverse of :meth:`from_cube`; rows of NaN for points outside."""
        out = np.full(z.shape, np.nan)
        for i, cell in enumerate(self.cells):
            rows = np.isnan(out[:, 0]) & cell.contains(z)
            if rows.any():
                out[rows] = cell.to_cube(z[rows])
                out[rows, 0] = self._ends[i] + out[rows, 0] * (self._ends[i + 1] - self._ends[i])
        return out

    def locate(self, v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Number of the cell, shape (n,), and coordinates in that cell's own cube, (n, d), for points of the cube."""
        v = np.array(v, float)
        which = self._which(v)
        v[:, 0] = (v[:, 0] - self._ends[which]) / (self._ends[which + 1] - self._ends[which])
        return which, np.clip(v, 0.0, 1.0)

    def _which(self, v: np.ndarray) -> np.ndarray:
        return np.clip(np.searchsorted(self._ends, v[:, 0], side="right") - 1, 0, len(self.cells) - 1)

    def contains(self, z: np.ndarray) -> np.ndarray:
        """Which points lie inside, shape (n,)."""
        return np.any([c.contains(z) for c in self.cells], axis=0)

    def as_dict(self) -> dict:
        """Plain lists, for JSON."""
        return {"cells": [c.as_dict() for c in self.cells]}

    @classmethod
    def from_dict(cls, plain: Mapping) -> Region:
        """Inverse of :meth:`as_dict`."""
        from xsixsa.bxa.tube import Tube

        return cls([(Tube if "spine" in c else Cell)(**c) for c in plain["cells"]])


def disjoint(a: Cell, b: Cell) -> bool:
    """Whether the straight boxes around two cells have no point in common: a linear programme says so."""
    rows, limits = [], []
    for cell in (a, b):
        low, high = cell.outer
        rows += [cell.rotation.T, -cell.rotation.T]
        limits += [high, -low]
    found = linprog(
        np.zeros(a.dim), A_ub=np.vstack(rows), b_ub=np.concatenate(limits), bounds=(None, None), method="highs"
    )
    return found.status == 2
