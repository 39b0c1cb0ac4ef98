"""Do two samples stand for the same posterior? Jensen-Shannon divergence of every marginal, side by side.

The divergence is taken in the prior's unit cube, in nat, between Gaussian kernel density estimates that are reflected
at 0 and 1: a posterior that leans on an edge of its prior is not penalised for the mass that a plain estimate would
let leak over it. Below 2e-3 nat two samples of 10 000 draws cannot be told apart by eye or by any use made of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.spatial.distance import jensenshannon
from scipy.stats import gaussian_kde

from xsixsa.errors import UsageError

__all__ = [
    "AGREEMENT",
    "DRAWS",
    "GRID",
    "Comparison",
    "Marginal",
    "compare",
    "divergences",
    "equal_weight",
    "half_divergences",
    "jensen_shannon",
]

AGREEMENT = 2e-3
"""Divergence in nat below which two marginals agree."""
DRAWS = 10_000
"""Equal-weight draws that a divergence is defined on."""
GRID = 200
"""Points of the grid on which densities are compared."""

_FEWEST = 100


def jensen_shannon(a: np.ndarray, b: np.ndarray, grid: int = GRID) -> float:
    """Jensen-Shannon divergence of two one-dimensional samples in the unit interval.

    Parameters
    ----------
    a, b
        Equal-weight draws in [0, 1], shapes (n,) and (m,). The divergence grows with the kernel's noise where there
        are few: 10 000 each is the definition.
    grid
        Points of the grid; they are the middles of equal cells between the lowest and the highest of all draws, so
        that a narrow posterior is resolved as well as a wide one.

    Returns
    -------
    float
        Divergence in nat, between 0 and ln 2 (Lin 1991).

    Raises
    ------
    UsageError
        A sample is too small, has no spread, or leaves the unit interval.
    """
    a, b = _checked(a), _checked(b)
    low, high = min(a.min(), b.min()), max(a.max(), b.max())
    points = low + (high - low) * (np.arange(grid) + 0.5) / grid
    # scipy normalises both and returns the square root of the divergence.
    return float(jensenshannon(_reflected_density(a, points), _reflected_density(b, points)) ** 2)


def divergences(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Divergence of every marginal, shape (d,), of draws in the unit cube of shapes (n, d) and (m, d)."""
    a, b = np.asarray(a, float), np.asarray(b, float)
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1]:
        raise UsageError(f"two samples of the same parameters are needed, not shapes {a.shape} and {b.shape}")
    return np.array([jensen_shannon(a[:, i], b[:, i]) for i in range(a.shape[1])])


def half_divergences(u: np.ndarray, rng: np.random.Generator, weights: np.ndarray | None = None) -> np.ndarray:
    """Divergence of every marginal between two random halves of one sample: what agreement looks like.

    Parameters
    ----------
    u
        Points in the unit cube, shape (n, d).
    rng
        Divides the points.
    weights
        Their weights, shape (n,); each half is then resampled to 10 000 draws. No point is in both halves, whereas
        halves of a resampled set would share the points that it repeats. None: equal weights, nothing is resampled.
    """
    order = rng.permutation(len(u))
    halves = order[: len(u) // 2], order[len(u) // 2 :]
    if weights is None:
        return divergences(*(u[rows] for rows in halves))
    return divergences(*(u[rows][equal_weight(weights[rows], DRAWS, rng)] for rows in halves))


def equal_weight(weights: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    """Rows of `n` equal-weight draws of weighted points, in random order, with the least repetition.

    Systematic resampling (Kitagawa 1996): a point of weight w is taken floor(n w) or ceil(n w) times.
    """
    weights = np.asarray(weights, float)
    cumulative = np.cumsum(weights)
    if not (np.isfinite(cumulative[-1]) and cumulative[-1] > 0 and (weights >= 0).all()):
        raise UsageError("weights must be finite, not negative and not all zero")
    rows = np.searchsorted(cumulative / cumulative[-1], (rng.random() + np.arange(n)) / n, side="right")
    return rng.permutation(np.minimum(rows, len(weights) - 1))


@dataclass(frozen=True)
class Marginal:
    """One parameter in both samples.

    Attributes
    ----------
    name : str
        Parameter.
    divergence : float
        Jensen-Shannon divergence between the samples, nat.
    floor : float
        The same between two halves of the reference.
    mean, std, reference_mean, reference_std : float
        Of both samples, in the parameter's units.
    """

    name: str
    divergence: float
    floor: float
    mean: float
    std: float
    reference_mean: float
    reference_std: float

    @property
    def agrees(self) -> bool:
        """Whether the divergence is that of two samples of one distribution."""
        return self.divergence <= AGREEMENT


@dataclass(frozen=True)
class Comparison:
    """All marginals of two samples."""

    marginals: tuple[Marginal, ...]

    @property
    def agrees(self) -> bool:
        """Whether every marginal agrees."""
        return all(m.agrees for m in self.marginals)

    @property
    def largest(self) -> float:
        """Largest divergence."""
        return max(m.divergence for m in self.marginals)

    def table(self, labels: tuple[str, str] = ("this run", "reference")) -> str:
        """Side by side: mean and standard deviation of both, divergence and floor in 1e-3 nat."""
        width = max(9, *(len(m.name) for m in self.marginals))
        head = f"{'parameter':{width}s}  {labels[0]:>23s}  {labels[1]:>23s}   divergence   floor  (1e-3 nat)"
        rows = [head]
        for m in self.marginals:
            ours = f"{m.mean:.5g} +- {m.std:.3g}"
            theirs = f"{m.reference_mean:.5g} +- {m.reference_std:.3g}"
            word = "agrees" if m.agrees else "DIFFERS"
            rows.append(
                f"{m.name:{width}s}  {ours:>23s}  {theirs:>23s}   {1e3 * m.divergence:10.2f}  "
                f"{1e3 * m.floor:6.2f}  {word}"
            )
        return "\n".join(rows)

    def __str__(self) -> str:
        return self.table()


def compare(
    names: Sequence[str],
    u: np.ndarray,
    reference: np.ndarray,
    rng: np.random.Generator,
    *,
    floor: np.ndarray | None = None,
    to_theta: Callable[[np.ndarray], np.ndarray] | None = None,
) -> Comparison:
    """Compare the marginals of two equal-weight samples of one posterior.

    Parameters
    ----------
    names
        Parameters, d of them.
    u, reference
        Draws in the prior's unit cube, shapes (n, d) and (m, d): both under the same prior.
    rng
        Divides the reference into halves where `floor` is not given.
    floor
        Divergences of two halves of the reference, shape (d,), where they are known.
    to_theta
        Unit cube to parameters, both (n, d) (`Prior.ppf`), for the means and deviations shown; the unit cube without.

    Raises
    ------
    UsageError
        Shapes do not match, or a sample cannot be compared.
    """
    u, reference = np.asarray(u, float), np.asarray(reference, float)
    found = divergences(u, reference)
    if len(names) != len(found):
        raise UsageError(f"{len(names)} names for samples of {len(found)} parameters")
    floor = half_divergences(reference, rng) if floor is None else np.asarray(floor, float)
    x, y = (u, reference) if to_theta is None else (to_theta(u), to_theta(reference))
    columns = (found, floor, x.mean(axis=0), x.std(axis=0), y.mean(axis=0), y.std(axis=0))
    rows = zip(*(c.tolist() for c in columns), strict=True)
    return Comparison(tuple(Marginal(name, *row) for name, row in zip(names, rows, strict=True)))


def _checked(x: np.ndarray) -> np.ndarray:
    x = np.asarray(x, float)
    if x.ndim != 1 or len(x) < _FEWEST:
        raise UsageError(f"a sample of at least {_FEWEST} draws of one parameter is needed, not one of shape {x.shape}")
    if not ((x >= 0) & (x <= 1)).all():
        raise UsageError("draws must lie in the prior's unit interval [0, 1]")
    if x.max() - x.min() <= 1e-12:
        raise UsageError("a sample without spread has no density to compare")
    return x


def _reflected_density(x: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Density estimate whose mass beyond 0 and 1 is folded back; Scott's bandwidth from the draws alone."""
    kde = gaussian_kde(x)
    density = kde(points)
    reach = 10 * float(np.sqrt(kde.covariance[0, 0]))
    # Images farther than ten bandwidths add nothing but time.
    if points[0] + x.min() < reach:
        density += kde(-points)
    if 2 - points[-1] - x.max() < reach:
        density += kde(2 - points)
    return density
