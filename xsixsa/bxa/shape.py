"""The shape of a posterior as a region of exactly known prior mass: from weighted points to cells.

The region covers every point whose posterior density exceeds that of the highest-density region at a strict quantile,
with a margin: all evaluated points count there, however small their weights.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations

import numpy as np
from scipy.cluster.vq import kmeans2
from scipy.stats import chi2

from xsixsa.bxa.region import EDGE, Cell, Region, disjoint
from xsixsa.bxa.tube import Tube, tube_around
from xsixsa.correction.mixture import fit_student_mixture
from xsixsa.correction.unfold import Unfolded, Unfolding
from xsixsa.errors import UsageError

__all__ = ["box_region", "density_threshold", "free_region", "outlines"]

_FEWEST = 12  # points for each dimension that a cell of its own rests on
_LEAST_GAP = 0.02  # of the spread, for a gap worth a try
_SPLIT_GAIN = 0.7  # several cells instead of one where they hold less than this share of its mass
_BEND_GAIN = 0.5  # the same for a bent cell instead of a straight one
_STRAY = 10.0  # draws that make it larger than this have strayed from the evaluated points
_FREE_GAIN = 1.5  # an edge that could be dropped at this price is no edge: nested sampling hardly notices
_SPINES = 3
_MOST_KNOTS = 9
_COMPONENTS = 5
_NEARLY_GAUSSIAN = 50.0  # degrees of freedom: heavier tails would put the border where nothing is
_DRAWS = 20_000
_WIDE = 1.5


def density_threshold(log_density: np.ndarray, weights: np.ndarray, quantile: float, dim: int) -> float:
    """Density below which a share `quantile` of the posterior lies.

    Parameters
    ----------
    log_density
        Log posterior density up to a constant, in z, shape (n,).
    weights
        Posterior weights of the same points, sum 1, shape (n,).
    quantile
        Share outside, above 0.
    dim
        Dimension d.
    """
    order = np.argsort(log_density)
    below = np.cumsum(weights[order])
    by_weight = log_density[order][min(np.searchsorted(below, quantile), len(order) - 1)]
    # Few points do not resolve a small quantile; a Gaussian says how deep it lies at least.
    gaussian = log_density[order[-1]] - 0.5 * chi2.isf(quantile, dim)
    return float(min(by_weight, gaussian))


def outlines(
    points: np.ndarray, weights: np.ndarray, quantile: float, margin: float, rng: np.random.Generator
) -> list[np.ndarray]:
    """Points that outline the posterior, one array for each mode.

    Evaluated points are too few to reach the border in every direction. A Gaussian mixture fitted to those of a mode
    reaches it: draws from its own region of highest density, which cost no evaluation, are put beside them.

    Parameters
    ----------
    points
        The highest-density region, shape (n, d).
    weights
        Their posterior weights, shape (n,).
    quantile
        Share of the mixture outside its region.
    margin
        Room that the cells will have: modes nearer than that stay together.
    rng
        Source of randomness.
    """
    if len(points) < _FEWEST * points.shape[1]:
        raise UsageError(f"{len(points)} points in the region of highest density: too few to draw its outline")
    found = []
    for rows in _groups(points, np.arange(len(points)), margin, rng):
        w = weights[rows] / weights[rows].sum()
        # Straightened first: components that lie across a bend would put the border where nothing is.
        unfolding = Unfolding.best(points[rows], w)
        fitted = fit_student_mixture(
            unfolding.forward(points[rows]), w, rng, df=_NEARLY_GAUSSIAN, components=_COMPONENTS
        )
        mixture = Unfolded(unfolding, fitted)
        threshold = np.quantile(mixture.log_prob(mixture.sample(_DRAWS, rng)), quantile)
        drawn = Unfolded(unfolding, fitted.widened(_WIDE)).sample(_DRAWS, rng)
        found.append(np.concatenate([points[rows], drawn[mixture.log_prob(drawn) >= threshold]]))
    return found


def box_region(groups: Sequence[np.ndarray], margin: float) -> Region:
    """One box along the parameters' own axes around all points: bounds of each parameter."""
    points = np.concatenate(groups)
    return Region([_without_idle_edges(_straight(points, np.eye(points.shape[1]), margin))])


def free_region(groups: Sequence[np.ndarray], margin: float, points: np.ndarray | None = None) -> Region:
    """Cells that follow the points: rotated, bent where that pays, one for each group where they do not touch.

    Parameters
    ----------
    groups
        Outline of every mode, shapes (n, d).
    margin
        Room on each side, as a share of the width.
    points
        The evaluated ones alone, shape (n, d): a single mode is put into a bent ellipsoid around them where that holds
        less of the prior.
    """
    drawn = np.concatenate(groups)
    whole = _best_cell(drawn, margin)
    if len(groups) > 1:
        cells = [_best_cell(g, margin) for g in groups]
        straight = [_pca_box(g, margin) for g in groups]
        # A bent cell has other axes than the box it replaces, and may reach into a neighbour.
        cells = [
            c if all(disjoint(c, o) for j, o in enumerate(cells) if j != i) else s
            for i, (c, s) in enumerate(zip(cells, straight, strict=True))
        ]
        if all(disjoint(a, b) for a, b in combinations(cells, 2)):
            cells = [_without_idle_edges(c, [o for o in cells if o is not c]) for c in cells]
            region = Region(_in_order(cells))
            if region.log_mass < whole.log_mass + np.log(_SPLIT_GAIN):
                return region
    cell = _without_idle_edges(whole)
    tube = _tube(points, drawn, margin) if points is not None and len(groups) == 1 else None
    if tube is not None and tube.log_mass < cell.log_mass:
        return Region([tube])
    return Region([cell])


def _tube(points: np.ndarray, drawn: np.ndarray, margin: float) -> Tube | None:
    """Around the draws of the mixture as well, unless they stray, as they do where a long posterior bends strongly."""
    tight, wide = tube_around(points, margin), tube_around(drawn, margin)
    if tight is None or wide is None or wide.log_mass > tight.log_mass + np.log(_STRAY):
        return tight
    return wide


def _in_order(cells: list[Cell]) -> list[Cell]:
    """Along the line that spreads their centres most: neighbours in z are neighbours in the cube."""
    centres = np.array([c.rotation @ np.mean(c.outer, axis=0) for c in cells])
    _, _, axes = np.linalg.svd(centres - centres.mean(axis=0))
    return [cells[i] for i in np.argsort(centres @ axes[0])]


def _axes(points: np.ndarray) -> np.ndarray:
    """Principal axes, the longest first, as columns."""
    _, vectors = np.linalg.eigh(np.cov(points.T).reshape(points.shape[1], -1))
    return vectors[:, ::-1]


def _straight(points: np.ndarray, rotation: np.ndarray, margin: float) -> Cell:
    y = points @ rotation
    low, high = y.min(axis=0), y.max(axis=0)
    room = margin * np.maximum(high - low, 1e-9)
    return Cell.box(rotation, low - room, high + room)


def _pca_box(points: np.ndarray, margin: float) -> Cell:
    """Box along the principal axes, or along the parameters' own where that is no larger."""
    candidates = [_straight(points, r, margin) for r in (np.eye(points.shape[1]), _axes(points))]
    return min(candidates, key=lambda c: c.log_mass)


def _best_cell(points: np.ndarray, margin: float) -> Cell:
    """Straight, or bent along one of the longest axes where that holds clearly less of the prior."""
    box = _pca_box(points, margin)
    if points.shape[1] < 2:
        return box
    axes = _axes(points)
    bent = [_bent(points, np.roll(axes, -i, axis=1), margin) for i in range(min(_SPINES, points.shape[1]))]
    best = min(bent, key=lambda c: c.log_mass)
    return best if best.log_mass < box.log_mass + np.log(_BEND_GAIN) else box


def _bent(points: np.ndarray, rotation: np.ndarray, margin: float) -> Cell:
    """Cell along the first column of `rotation`, centred on the local mean of the points."""
    spine = points @ rotation[:, 0]
    knots = np.linspace(spine.min(), spine.max(), int(np.clip(len(points) // 500, 3, _MOST_KNOTS)))
    # Each knot answers for the points up to its neighbours: what holds at both ends of a piece holds between them.
    step = knots[1] - knots[0]
    windows = [np.abs(spine - k) <= 1.0001 * step for k in knots]
    filled = np.array([w.sum() >= _FEWEST * points.shape[1] / 2 for w in windows])
    nearest = [int(np.flatnonzero(filled)[np.argmin(np.abs(np.flatnonzero(filled) - j))]) for j in range(len(knots))]
    centre = np.array([(points[windows[j]] @ rotation[:, 1:]).mean(axis=0) for j in nearest])

    def middle(at):
        return np.stack([np.interp(at, knots, c) for c in centre.T], axis=1)

    # The other axes are those of what is left once the bend is taken out.
    left = points @ rotation[:, 1:] - middle(spine)
    turn = _axes(left) if left.shape[1] > 1 else np.eye(1)
    left, centre = left @ turn, centre @ turn
    low = np.array([left[windows[j]].min(axis=0) for j in nearest])
    high = np.array([left[windows[j]].max(axis=0) for j in nearest])
    for j in np.flatnonzero(~filled):
        if windows[j].any():
            low[j], high[j] = np.minimum(low[j], left[windows[j]].min(0)), np.maximum(high[j], left[windows[j]].max(0))
    room = margin * np.maximum(np.median(high - low, axis=0), 1e-9)
    ends = margin * (knots[-1] - knots[0])
    low, high = centre + low - room, centre + high + room
    knots = np.concatenate([[knots[0] - ends], knots, [knots[-1] + ends]])
    low, high = (np.pad(b, ((1, 1), (0, 0)), "edge") for b in (low, high))
    return Cell(np.column_stack([rotation[:, 0], rotation[:, 1:] @ turn]), knots, low, high)


def _without_idle_edges(cell: Cell, others: Sequence[Cell] = ()) -> Cell:
    """The cell without the edges that save next to nothing: where the prior itself ends, nothing is cut.

    With other cells about it stays as it is: both might be freed towards each other.
    """
    if others:
        return cell
    for axis in range(cell.dim):
        for upper in (False, True):
            if not cell.cut(axis, upper):
                continue
            freed = _freed(cell, axis, upper)
            if freed.log_mass < cell.log_mass + np.log(_FREE_GAIN):
                cell = freed
    return cell


def _freed(cell: Cell, axis: int, upper: bool) -> Cell:
    knots, low, high = cell.knots.copy(), cell.low.copy(), cell.high.copy()
    end = EDGE if upper else -EDGE
    if axis:
        (high if upper else low)[:, axis - 1] = end
    elif len(knots) == 2:
        knots[-1 if upper else 0] = end
    else:
        knots = np.append(knots, end) if upper else np.insert(knots, 0, end)
        low, high = (np.pad(b, ((0, 1), (0, 0)) if upper else ((1, 0), (0, 0)), "edge") for b in (low, high))
    return Cell(cell.rotation, knots, low, high)


def _groups(points: np.ndarray, rows: np.ndarray, margin: float, rng: np.random.Generator) -> list[np.ndarray]:
    """Rows on either side of a gap, and so on within each side: what no gap divides stays together."""
    whole = _pca_box(points[rows], margin)
    for side in _gaps(points[rows], rng):
        parts = rows[side], rows[~side]
        boxes = [_pca_box(points[p], margin) for p in parts]
        gain = np.logaddexp(*(b.log_mass for b in boxes)) - whole.log_mass
        if gain < np.log(_SPLIT_GAIN) and disjoint(*boxes):
            return [g for p in parts for g in _groups(points, p, margin, rng)]
    return [rows]


def _gaps(points: np.ndarray, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Divisions of the points at the widest gap along many directions, the widest relative to the spread first."""
    fewest = _FEWEST * points.shape[1]
    found = []
    for direction in _directions(points, rng):
        x = points @ direction
        order = np.sort(x)[fewest - 1 : len(x) - fewest + 1]
        if len(order) < 2:
            continue
        widest = int(np.argmax(np.diff(order)))
        found.append(((order[widest + 1] - order[widest]) / np.ptp(x), x > 0.5 * (order[widest] + order[widest + 1])))
    for gap, side in sorted(found, key=lambda f: -f[0]):
        if gap < _LEAST_GAP:
            return
        yield side


def _directions(points: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The parameters' axes, the principal ones, and those that best part the clusters of k-means (Fisher 1936)."""
    axes = _axes(points)
    white = (points - points.mean(axis=0)) @ axes
    white /= np.maximum(white.std(axis=0), 1e-12)
    found = [np.eye(points.shape[1]), axes.T]
    for k in (2, 2, 3, 4):
        _, label = kmeans2(white, k, minit="++", seed=rng)
        groups = [g for g in (points[label == i] for i in range(k)) if len(g) > _FEWEST * points.shape[1] / 2]
        for a, b in combinations(groups, 2):
            within = np.cov(a.T).reshape(axes.shape) + np.cov(b.T).reshape(axes.shape)
            within += 1e-9 * np.trace(within) * np.eye(len(axes))
            parting = np.linalg.solve(within, a.mean(axis=0) - b.mean(axis=0))
            found.append(parting[None] / np.linalg.norm(parting))
    return np.concatenate(found)
