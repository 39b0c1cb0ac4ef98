"""Proposals: densities in the standard-normal space of the prior that can be drawn from and evaluated.

All of them are normalised over their support, which the pooled weights rest on.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
from scipy import special
from scipy.special import logsumexp

__all__ = [
    "MixtureProposal",
    "PriorProposal",
    "Proposal",
    "RegionPrior",
    "StudentMixture",
    "TruncatedPrior",
    "log_standard_normal",
]


def log_standard_normal(z: np.ndarray) -> np.ndarray:
    """Log density of the prior in z, shape (n,) for (n, d)."""
    return -0.5 * np.einsum("ij,ij->i", z, z) - 0.5 * z.shape[1] * np.log(2 * np.pi)


class Proposal(ABC):
    """A normalised density in z."""

    #: What the history of a run calls it.
    name = "proposal"

    @abstractmethod
    def sample(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """`n` independent draws, shape (n, d)."""

    @abstractmethod
    def log_prob(self, z: np.ndarray) -> np.ndarray:
        """Log density of shape (n,) for z of shape (n, d)."""


class PriorProposal(Proposal):
    """The prior itself."""

    name = "prior"

    def __init__(self, dim: int):
        self.dim = dim

    def sample(self, n, rng):
        return rng.standard_normal((n, self.dim))

    def log_prob(self, z):
        return log_standard_normal(z)


class MixtureProposal(Proposal):
    """Fixed fractions of several proposals; each draw picks its component at random.

    A part that is the prior, or wide, is defensive (Hesterberg 1995): it bounds the weights of whatever the other
    parts miss.
    """

    def __init__(self, parts: list[Proposal], fractions, name: str = "mixture"):
        fractions = np.asarray(fractions, float)
        self.parts, self.fractions, self.name = list(parts), fractions / fractions.sum(), name

    def sample(self, n, rng):
        counts = rng.multinomial(n, self.fractions)
        drawn = [p.sample(int(c), rng) for p, c in zip(self.parts, counts, strict=True) if c]
        return rng.permutation(np.concatenate(drawn), axis=0)

    def log_prob(self, z):
        terms = [p.log_prob(z) + np.log(f) for p, f in zip(self.parts, self.fractions, strict=True)]
        return logsumexp(np.stack(terms), axis=0)


class StudentMixture(Proposal):
    """Mixture of multivariate Student t densities.

    Parameters
    ----------
    weights, means, scales
        Shapes (k,), (k, d) and (k, d, d): the scale matrices, not the covariances.
    df
        Degrees of freedom, common to all components.
    """

    name = "t-mixture"

    def __init__(self, weights: np.ndarray, means: np.ndarray, scales: np.ndarray, df: float = 8.0):
        self.weights, self.means, self.scales, self.df = weights / weights.sum(), means, scales, df
        self._chol = np.linalg.cholesky(scales)

    @property
    def dim(self) -> int:
        """Dimension d."""
        return self.means.shape[1]

    def sample(self, n, rng):
        which = rng.choice(len(self.weights), size=n, p=self.weights)
        normal = rng.standard_normal((n, self.dim))
        heavy = np.sqrt(self.df / rng.chisquare(self.df, size=n))
        return self.means[which] + heavy[:, None] * np.einsum("nij,nj->ni", self._chol[which], normal)

    def log_prob(self, z):
        return logsumexp(self.log_components(z), axis=1)

    def log_components(self, z: np.ndarray) -> np.ndarray:
        """Log of weight times density of every component, shape (n, k)."""
        d, df = self.dim, self.df
        constant = special.gammaln(0.5 * (df + d)) - special.gammaln(0.5 * df) - 0.5 * d * np.log(df * np.pi)
        out = np.empty((len(z), len(self.weights)))
        for j, (mean, chol) in enumerate(zip(self.means, self._chol, strict=True)):
            r = np.linalg.solve(chol, (z - mean).T)
            distance = np.einsum("ij,ij->j", r, r)
            log_det = np.log(np.diag(chol)).sum()
            out[:, j] = np.log(self.weights[j]) + constant - log_det - 0.5 * (df + d) * np.log1p(distance / df)
        return out

    def widened(self, factor: float, df: float | None = None) -> StudentMixture:
        """The same mixture with all scales multiplied by `factor` (a factor in covariance)."""
        return StudentMixture(self.weights, self.means, self.scales * factor, self.df if df is None else df)


class _Box:
    """Prior restricted to a box whose axes may be rotated: in z the prior is the same in every direction."""

    def __init__(self, rotation: np.ndarray, low: np.ndarray, high: np.ndarray):
        self.rotation, self.low, self.high = rotation, low, high
        # Intervals above zero are mirrored: the lower tail of the normal keeps its digits, the upper does not.
        self._flip = low > 0
        a = np.where(self._flip, -high, low)
        b = np.where(self._flip, -low, high)
        self._pa, self._pb = special.ndtr(a), special.ndtr(b)
        self.log_mass = float(np.log(self._pb - self._pa).sum())

    @classmethod
    def around(cls, points: np.ndarray, margin: float) -> _Box:
        _, rotation = np.linalg.eigh(np.cov(points.T).reshape(points.shape[1], -1))
        y = points @ rotation
        low, high = y.min(axis=0), y.max(axis=0)
        room = margin * (high - low)
        return cls(rotation, low - room, high + room)

    def sample(self, n: int, rng: np.random.Generator) -> np.ndarray:
        u = rng.random((n, len(self.low)))
        y = special.ndtri(self._pa + u * (self._pb - self._pa))
        return np.where(self._flip, -y, y) @ self.rotation.T

    def contains(self, z: np.ndarray) -> np.ndarray:
        y = z @ self.rotation
        return ((y >= self.low) & (y <= self.high)).all(axis=1)


class RegionPrior(Proposal):
    """The prior restricted to a region: indicator times prior over the prior mass of the region, which is measured.

    The region lies within a box that is drawn from exactly; points of the box outside the region are rejected.
    Subclasses set `_box`, say which points `_exceeds`, and call `_measure_volume`.

    Attributes
    ----------
    acceptance : float
        Share of the box that lies in the region.
    log_volume, log_volume_err : float
        Log of the prior mass kept, and its standard error.
    """

    _box: _Box

    def _exceeds(self, z: np.ndarray) -> np.ndarray:
        """Which points of the box lie in the region, shape (n,)."""
        raise NotImplementedError

    def _measure_volume(self, n_volume: int, max_tries: int, rng: np.random.Generator) -> None:
        self._spare: list[np.ndarray] = []
        accepted = tried = 0
        while accepted < n_volume and tried < max_tries:
            z = self._box.sample(50_000, rng)
            kept = z[self._exceeds(z)]
            self._spare.append(kept)
            accepted, tried = accepted + len(kept), tried + len(z)
        self.acceptance = accepted / tried
        self.log_volume = self._box.log_mass + np.log(max(accepted, 1) / tried)
        self.log_volume_err = float(np.sqrt((1 - self.acceptance) / max(accepted, 1)))

    def contains(self, z: np.ndarray) -> np.ndarray:
        """Which points lie in the region, shape (n,)."""
        inside = self._box.contains(z)
        inside[inside] = self._exceeds(z[inside])
        return inside

    def sample(self, n, rng):
        kept, self._spare = self._spare, []
        while sum(map(len, kept)) < n:
            z = self._box.sample(50_000, rng)
            kept.append(z[self._exceeds(z)])
        kept = np.concatenate(kept)
        self._spare = [kept[n:]]
        return kept[:n]

    def log_prob(self, z):
        return np.where(self.contains(z), log_standard_normal(z) - self.log_volume, -np.inf)


class TruncatedPrior(RegionPrior):
    """The prior restricted to the region where another density exceeds a threshold.

    Deistler, Goncalves & Macke 2022 (TSNPE). The region is the highest-density region of `density`, intersected with
    a box around it.

    Parameters
    ----------
    density
        Any proposal; its highest-density region is kept.
    quantile
        Share of the density's own draws that falls outside the region.
    rng
        Source of randomness for the threshold and the volume.
    n_threshold
        Draws of `density` from which threshold and box are taken.
    n_volume
        Accepted points on which the volume rests; its relative error is about one over the square root.
    """

    name = "truncated prior"

    def __init__(
        self,
        density: Proposal,
        rng: np.random.Generator,
        quantile: float = 1e-3,
        n_threshold: int = 10_000,
        n_volume: int = 5_000,
        max_tries: int = 2_000_000,
    ):
        points = density.sample(n_threshold, rng)
        log_density = density.log_prob(points)
        self.density, self.threshold = density, float(np.quantile(log_density, quantile))
        self._box = _Box.around(points[log_density >= self.threshold], margin=0.05)
        self._measure_volume(n_volume, max_tries, rng)

    def _exceeds(self, z: np.ndarray) -> np.ndarray:
        return self.density.log_prob(z) >= self.threshold
