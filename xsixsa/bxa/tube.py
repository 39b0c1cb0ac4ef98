"""A bent ellipsoid of exactly known prior mass, and the map from the unit cube onto it.

In u, the prior's own unit cube, the prior is uniform: any map that keeps volumes carries a solid whose volume is known
onto a region whose prior mass is known. The solid is a ball; the map stretches and turns it, and shifts each coordinate
by a polynomial in those before it (a triangular map, whose Jacobian is that of its linear part). Parameters along which
the posterior reaches the ends of the prior, the spine, keep their own interval, and the ball moves along with them.

Boxes waste room in their corners, more than nine tenths of it in five dimensions, and what they keep of the prior is
the box that nested sampling has to shrink from. A ball has no corners.
"""

from __future__ import annotations

from itertools import combinations_with_replacement

import numpy as np
from scipy import special

from xsixsa.bxa.region import EDGE, Cell

__all__ = ["Tube", "tube_around"]

# Polynomials are held constant beyond this many standard deviations, where they would run away.
_RANGE = 3.5
# Degrees along the spine, and across it in at most so many coordinates.
_ALONG, _ACROSS, _BENDING = 5, 3, 3
_RIDGE = 1e-4
# Beyond this |z| a coordinate of the unit cube has too few digits left.
_FARTHEST = 6.0
# An end nearer to that of the prior than this share of the width is no end.
_NEAR_END = 0.1
_PROBES = 20_000
_STEPS = 400  # towards the smallest ellipsoid
_OUTERMOST = 2_000  # points that it is fitted to
_BELOW_ONE = float(np.nextafter(1.0, 0.0))
_LEAST = 1e-100


class Tube:
    """Ball, mapped into the prior's unit cube by a map of constant Jacobian, times intervals of the spine.

    Parameters
    ----------
    spine
        Numbers of the parameters that keep an interval of their own, shape (k,), k >= 0.
    low, high
        Their intervals in u, shape (k,).
    along
        Coefficients of the polynomials in the spine that the others' centres follow, shape (terms, m), m = d - k >= 2.
    turn
        Matrix from what is left of the others to whitened coordinates y, shape (m, m).
    across
        Coefficients of the shift of each y by a polynomial in the spine and the y before it; m lists, the first empty.
    centre, matrix
        The ball is g = matrix @ (x - centre), |g| <= 1, in the shifted coordinates x; shapes (m,) and (m, m).
    """

    def __init__(self, spine, low, high, along, turn, across, centre, matrix):
        self.spine, self.low, self.high = [int(i) for i in spine], np.asarray(low, float), np.asarray(high, float)
        self.along, self.turn = np.asarray(along, float), np.asarray(turn, float)
        self.across = [np.asarray(c, float) for c in across]
        self.centre, self.matrix = np.asarray(centre, float), np.asarray(matrix, float)
        m, k = len(self.centre), len(self.spine)
        self.others = [i for i in range(m + k) if i not in self.spine]
        log_ball = 0.5 * m * np.log(np.pi) - special.gammaln(0.5 * m + 1)
        self.log_mass = float(
            np.log(self.high - self.low).sum()
            + log_ball
            - np.linalg.slogdet(self.turn)[1]
            - np.linalg.slogdet(self.matrix)[1]
        )
        self._order = [*self.spine, *self.others]

    @property
    def dim(self) -> int:
        """Dimension d."""
        return len(self._order)

    @property
    def rotation(self) -> np.ndarray:
        """The parameters' own axes, those of the spine first, as columns."""
        return np.eye(self.dim)[:, self._order]

    @property
    def outer(self) -> tuple[np.ndarray, np.ndarray]:
        """Bounds in z of the straight box around it along its own axes, both of shape (d,), from points inside."""
        z = _to_normal(self._surface(np.random.default_rng(0), _PROBES))[:, self._order]
        low, high = z.min(axis=0), z.max(axis=0)
        room = 0.05 * (high - low)
        low, high = low - room, high + room
        k = len(self.spine)
        low[:k], high[:k] = _to_normal(self.low), _to_normal(self.high)
        return np.clip(low, -EDGE, EDGE), np.clip(high, -EDGE, EDGE)

    @property
    def leaves_the_prior(self) -> np.ndarray:
        """Share of it that lies outside the prior along each parameter, shape (d,): must be 0 everywhere."""
        rng, half = np.random.default_rng(1), _PROBES // 2
        u = np.concatenate([self._surface(rng, half), self._to_u(rng.random((half, self.dim)))])
        return ((u <= 0) | (u >= 1)).mean(axis=0)

    def _surface(self, rng: np.random.Generator, n: int) -> np.ndarray:
        """Random points u of the surface, shape (n, d)."""
        g = rng.standard_normal((n, len(self.centre)))
        g /= np.sqrt((g**2).sum(axis=1))[:, None]
        return self._place(rng.random((n, len(self.spine))), g)

    def _middle(self, s: np.ndarray) -> np.ndarray:
        return _monomials(s, _ALONG) @ self.along

    def _shift(self, s: np.ndarray, y: np.ndarray, i: int) -> np.ndarray:
        if not len(self.across[i]):
            return np.zeros(len(y))
        return _monomials(_inputs(s, y, i), _ACROSS) @ self.across[i]

    def _on_spine(self, u: np.ndarray) -> np.ndarray:
        return (2 * u[:, self.spine] - self.high - self.low) / (self.high - self.low)

    def _to_u(self, v: np.ndarray) -> np.ndarray:
        k = len(self.spine)
        return self._place(v[:, :k], _ball(v[:, k:]))

    def _place(self, share: np.ndarray, g: np.ndarray) -> np.ndarray:
        """Points u for shares of the spine's intervals, shape (n, k), and points of the ball, shape (n, m)."""
        u = np.empty((len(g), self.dim))
        u[:, self.spine] = self.low + share * (self.high - self.low)
        s = self._on_spine(u)
        x = self.centre + np.linalg.solve(self.matrix, g.T).T
        y = np.zeros_like(x)
        for i in range(x.shape[1]):
            y[:, i] = x[:, i] + self._shift(s, y, i)
        u[:, self.others] = self._middle(s) + np.linalg.solve(self.turn, y.T).T
        return u

    def from_cube(self, v: np.ndarray) -> np.ndarray:
        """Points z of the prior restricted to the tube, for points of the unit cube, both of shape (n, d)."""
        return _to_normal(self._to_u(np.asarray(v, float)))

    def _to_ball(self, u: np.ndarray) -> np.ndarray:
        s = self._on_spine(u)
        y = (u[:, self.others] - self._middle(s)) @ self.turn.T
        x = np.stack([y[:, i] - self._shift(s, y, i) for i in range(y.shape[1])], axis=1)
        return (x - self.centre) @ self.matrix.T

    def to_cube(self, z: np.ndarray) -> np.ndarray:
        """Inverse of :meth:`from_cube`; rows of NaN for points outside."""
        u = special.ndtr(z)
        v = np.column_stack([(u[:, self.spine] - self.low) / (self.high - self.low), _ball_inverse(self._to_ball(u))])
        v[~self.contains(z)] = np.nan
        return v

    def contains(self, z: np.ndarray) -> np.ndarray:
        """Which points lie inside, shape (n,)."""
        u = special.ndtr(z)
        inside = ((u[:, self.spine] >= self.low) & (u[:, self.spine] <= self.high)).all(axis=1)
        return inside & ((self._to_ball(u) ** 2).sum(axis=1) <= 1.0)

    def cut(self, axis: int, upper: bool) -> bool:
        """Whether that side of an axis of the cube cuts the prior: ends of the spine, and the surface of the ball."""
        if axis < len(self.spine):
            return bool(self.high[axis] < 1.0) if upper else bool(self.low[axis] > 0.0)
        return axis == len(self.spine) and upper

    def beyond(self, v: np.ndarray, axis: int, upper: bool) -> np.ndarray:
        """Share of the tube between points v of its cube and that edge, shape (n,); see :meth:`Cell.beyond`."""
        k = len(self.spine)
        if axis < k:
            return 1 - v[:, axis] if upper else v[:, axis]
        radius = np.sqrt((_normal(v[:, k:]) ** 2).sum(axis=1))
        return special.gammaincc(0.5 * len(self.centre), 0.5 * radius**2)

    def label(self, axis: int, upper: bool, names: list[str]) -> str:
        """What an edge is called."""
        if axis < len(self.spine):
            return f"{names[self.spine[axis]]} ({'upper' if upper else 'lower'})"
        return "of the bent ellipsoid in " + ", ".join(names[i] for i in self.others)

    def moved(self, axis: int, upper: bool, share: float) -> Tube | Cell:
        """The tube with the ball larger by `share`; a box around it where that leaves the prior, or for an end."""
        if axis == len(self.spine):
            wider = Tube(
                self.spine,
                self.low,
                self.high,
                self.along,
                self.turn,
                self.across,
                self.centre,
                self.matrix / (1 + share),
            )
            if not wider.leaves_the_prior.any():
                return wider
        low, high = self.outer
        room = share * (high - low)
        return Cell.box(self.rotation, low - room, high + room)

    def as_dict(self) -> dict:
        """Plain lists, for JSON."""
        plain = {k: getattr(self, k).tolist() for k in ("low", "high", "along", "turn", "centre", "matrix")}
        return plain | {"spine": self.spine, "across": [c.tolist() for c in self.across]}


def _to_normal(u: np.ndarray) -> np.ndarray:
    return np.clip(special.ndtri(np.clip(u, 0.0, 1.0)), -EDGE, EDGE)


def _monomials(x: np.ndarray, degree: int) -> np.ndarray:
    """All monomials up to a degree, the constant first, shape (n, terms)."""
    columns = [np.ones(len(x)), *x.T]
    for power in range(2, degree + 1):
        columns += [
            np.prod(x[:, c], axis=1) for c in map(list, combinations_with_replacement(range(x.shape[1]), power))
        ]
    return np.stack(columns, axis=1)


def _inputs(s: np.ndarray, y: np.ndarray, i: int) -> np.ndarray:
    """What the shift of y_i depends on."""
    return np.clip(np.column_stack([s, y[:, : min(i, _BENDING)]]), -_RANGE, _RANGE)


def _normal(v: np.ndarray) -> np.ndarray:
    return special.ndtri(np.clip(v, 1e-300, _BELOW_ONE))


def _ball(v: np.ndarray) -> np.ndarray:
    """Uniform points of the unit ball for points of the unit cube, both of shape (n, m).

    By way of the standard normal, whose radius follows a chi distribution. The map is smooth and, about the middle, a
    mere scaling: ellipsoids there are nearly ellipsoids in the cube. Polar coordinates would tear them apart, and what
    samples the cube builds its regions from ellipsoids.
    """
    m, x = v.shape[1], _normal(v)
    radius = np.sqrt((x**2).sum(axis=1))
    return x * (special.gammainc(0.5 * m, 0.5 * radius**2) ** (1 / m) / np.maximum(radius, _LEAST))[:, None]


def _ball_inverse(g: np.ndarray) -> np.ndarray:
    """Inverse of :func:`_ball`; points outside come to lie on the surface."""
    m, radius = g.shape[1], np.sqrt((g**2).sum(axis=1))
    far = np.sqrt(2 * special.gammaincinv(0.5 * m, np.minimum(radius**m, _BELOW_ONE)))
    return special.ndtr(g * (far / np.maximum(radius, _LEAST))[:, None])


def tube_around(z: np.ndarray, margin: float) -> Tube | None:
    """Tube around points, with room on every side.

    Parameters
    ----------
    z
        Outline of one mode, shape (n, d).
    margin
        Room, as a share of the width.

    Returns
    -------
    Tube or None
        None where fewer than two parameters stay clear of the prior's ends.
    """
    u, d = special.ndtr(z), z.shape[1]
    low, high = u.min(axis=0), u.max(axis=0)
    near = _NEAR_END * (high - low)
    spine = [i for i in range(d) if low[i] < near[i] or high[i] > 1 - near[i]]
    while d - len(spine) >= 2:
        others = [i for i in range(d) if i not in spine]
        if np.abs(z[:, others]).max() > _FARTHEST:
            return None
        tube = _fitted(u, spine, margin)
        outside = tube.leaves_the_prior
        if not outside.any():
            return tube
        spine = sorted([*spine, int(np.argmax(outside))])
    return None


def _fitted(u: np.ndarray, spine: list[int], margin: float) -> Tube:
    d = u.shape[1]
    others = [i for i in range(d) if i not in spine]
    low, high = u[:, spine].min(axis=0), u[:, spine].max(axis=0)
    room = margin * (high - low)
    low, high = low - room, high + room
    # What reaches near an end of the prior is not cut there.
    low, high = (
        np.where(low < _NEAR_END * (high - low), 0.0, low),
        np.where(high > 1 - _NEAR_END * (high - low), 1.0, high),
    )
    s = (2 * u[:, spine] - high - low) / (high - low)
    along = _regress(_monomials(s, _ALONG), u[:, others])
    left = u[:, others] - _monomials(s, _ALONG) @ along
    values, axes = np.linalg.eigh(np.cov(left.T))
    # Longest axis first: it is the one along which the others change.
    turn = axes[:, ::-1].T / np.sqrt(np.maximum(values[::-1], 1e-30))[:, None]
    y = left @ turn.T
    across, x = [np.empty(0)], y.copy()
    if spine:
        terms = _monomials(_inputs(s, y, 0), _ACROSS)
        across[0] = _regress(terms, y[:, :1])[:, 0]
        x[:, 0] -= terms @ across[0]
    for i in range(1, len(others)):
        terms = _monomials(_inputs(s, y, i), _ACROSS)
        across.append(_regress(terms, y[:, i : i + 1])[:, 0])
        x[:, i] -= terms @ across[i]
    centre, matrix = _smallest_ellipsoid(x)
    return Tube(spine, low, high, along, turn, across, centre, matrix / (1 + margin))


def _regress(terms: np.ndarray, y: np.ndarray) -> np.ndarray:
    gram = terms.T @ terms / len(terms)
    return np.linalg.solve(gram + _RIDGE * np.eye(len(gram)), terms.T @ y / len(terms))


def _smallest_ellipsoid(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Centre and matrix of nearly the smallest ellipsoid |matrix (x - centre)| <= 1 around points (Khachiyan 1996)."""
    d = x.shape[1]
    white = np.linalg.solve(np.linalg.cholesky(np.cov(x.T)), (x - x.mean(axis=0)).T).T
    outermost = np.argsort(-(white**2).sum(axis=1))[:_OUTERMOST]
    points = x[outermost]
    lifted, share = np.column_stack([points, np.ones(len(points))]), np.full(len(points), 1 / len(points))
    for _ in range(_STEPS):
        moment = (lifted * share[:, None]).T @ lifted
        far = np.einsum("ij,ij->i", lifted, np.linalg.solve(moment, lifted.T).T)
        worst = int(np.argmax(far))
        step = (far[worst] - d - 1) / ((d + 1) * (far[worst] - 1))
        share *= 1 - step
        share[worst] += step
    centre = share @ points
    shape = np.linalg.cholesky(((points - centre) * share[:, None]).T @ (points - centre))
    matrix = np.linalg.inv(shape)
    return centre, matrix / np.sqrt((((x - centre) @ matrix.T) ** 2).sum(axis=1).max())
