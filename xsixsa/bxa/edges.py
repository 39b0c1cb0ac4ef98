"""Does the posterior lean on an edge that the truncation made? Then the truncation was wrong there."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from xsixsa.bxa.region import Region
from xsixsa.bxa.tube import Tube

__all__ = ["Edge", "EdgeCheck", "check_edges"]

STRIP = 0.05
"""Width of the strip beside an edge, as a share of the prior mass kept along that axis, or within that surface."""
TOLERANCE = 2e-3
"""Posterior mass allowed in one strip."""
_NAMED = 0.3


@dataclass(frozen=True)
class Edge:
    """One edge that cuts the prior.

    Attributes
    ----------
    cell, axis, upper : int, int, bool
        Which cell, which of its axes, which side.
    mass : float
        Posterior mass in the outermost 5 % beside it.
    label : str
        In words.
    """

    cell: int
    axis: int
    upper: bool
    mass: float
    label: str


@dataclass(frozen=True)
class EdgeCheck:
    """Posterior mass beside every edge that cuts the prior.

    Attributes
    ----------
    edges : tuple of Edge
        The heaviest first.
    tolerance : float
        Mass allowed beside one edge.
    """

    edges: tuple[Edge, ...]
    tolerance: float

    @property
    def exceeded(self) -> tuple[Edge, ...]:
        """Edges with more than that."""
        return tuple(e for e in self.edges if not e.mass <= self.tolerance)

    @property
    def passed(self) -> bool:
        """Whether no edge cuts the posterior."""
        return not self.exceeded

    def __str__(self) -> str:
        if not self.edges:
            return "edge check passed: nothing of the prior was cut"
        if self.passed:
            worst = self.edges[0]
            return f"edge check passed: at most {worst.mass:.1e} of the posterior beside an edge ({worst.label})"
        rows = [f"{e.mass:.2g} of the posterior beside the edge {e.label}" for e in self.exceeded]
        return f"edge check FAILED (tolerance {self.tolerance:g}): " + "; ".join(rows)


def check_edges(
    region: Region, v: np.ndarray, weights: np.ndarray, names: list[str], tolerance: float = TOLERANCE
) -> EdgeCheck:
    """Posterior mass in a strip beside every edge that cuts the prior.

    Parameters
    ----------
    region
        The truncation.
    v
        Posterior points in the unit cube of the region, shape (n, d).
    weights
        Their weights, shape (n,), any normalisation.
    names
        Parameters, for the labels.
    tolerance
        Mass allowed in one strip.
    """
    weights = np.asarray(weights, float) / np.sum(weights)
    which, own = region.locate(v)
    edges = []
    for i, cell in enumerate(region.cells):
        for axis in range(cell.dim):
            for upper in (False, True):
                if not cell.cut(axis, upper):
                    continue
                beside = (which == i) & (cell.beyond(own, axis, upper) < STRIP)
                label = _label(cell, axis, upper, names, i if len(region.cells) > 1 else None)
                edges.append(Edge(i, axis, upper, float(weights[beside].sum()), label))
    return EdgeCheck(tuple(sorted(edges, key=lambda e: -e.mass)), tolerance)


def _label(cell, axis: int, upper: bool, names: list[str], number: int | None) -> str:
    """The parameters that an axis is made of, with the side in the sense of the first of them."""
    where = f" of mode {number + 1}" if number is not None else ""
    if isinstance(cell, Tube):
        return cell.label(axis, upper, names) + where
    parts = cell.rotation[:, axis]
    main = np.argsort(-np.abs(parts))
    kept = [j for j in main if abs(parts[j]) > _NAMED] or [main[0]]
    rises = upper == (parts[kept[0]] > 0)
    sign = np.sign(parts[kept[0]])
    combination = names[kept[0]] + "".join(f" {'+' if sign * parts[j] > 0 else '-'} {names[j]}" for j in kept[1:])
    return f"{combination} ({'upper' if rises else 'lower'}){where}"
