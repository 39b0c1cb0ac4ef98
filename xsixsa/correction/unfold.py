"""A map that takes the bends out of a posterior.

Fitted to weighted points: coordinates along the principal axes, longest first, each less a polynomial in the longer
ones. Whatever the polynomials are, such a triangular shift keeps volumes and is inverted one coordinate after the
other, so that a density fitted in the straightened space is exact and normalised in the original one (the idea of
triangular transport maps, Marzouk et al. 2016, at its simplest). A degeneracy that curves through the prior becomes
nearly a straight one, which few Student t components or a small flow describe well.
"""

from __future__ import annotations

import numpy as np

from xsixsa.correction.mixture import fit_student_mixture
from xsixsa.inference.proposals import Proposal

__all__ = ["Unfolded", "Unfolding", "unfolded_mixture"]

# Polynomials are used within this many standard deviations and held constant beyond, where they would run away.
_RANGE = 4.0
_DEGREE = 3
# Tried as well: degeneracies that cross the whole prior bend more often than once on each side.
_HIGH_DEGREE = 5
# Only the longest axes bend the others; two hold every product up to degree three in ten terms, up to five in 21.
_BENDING = 2
_RIDGE = 1e-3


class Unfolding:
    """Invertible, up to one constant volume-preserving map from z to straightened, whitened coordinates.

    Parameters
    ----------
    z, weights
        Points of shape (n, d) and normalised weights, shape (n,).
    degree
        Degree of the polynomials; 1 leaves the whitening by the covariance alone.
    """

    def __init__(self, z: np.ndarray, weights: np.ndarray, degree: int = _DEGREE):
        d = z.shape[1]
        self.degree = degree
        self._mean = weights @ z
        covariance = np.cov(z.T, aweights=weights, ddof=0).reshape(d, d) + 1e-12 * np.eye(d)
        values, axes = np.linalg.eigh(covariance)
        # Longest axis first: it is the one along which the others change.
        self._axes, self._scale = axes[:, ::-1], np.sqrt(values[::-1])
        y = (z - self._mean) @ self._axes / self._scale
        self._coefficients = [self._regress(y, weights, i) for i in range(d)]
        residual = y - self._shift(y)
        spread = np.cov(residual.T, aweights=weights, ddof=0).reshape(d, d) + 1e-10 * np.eye(d)
        self._chol = np.linalg.cholesky(spread)
        #: Log of the factor by which the map to straightened coordinates multiplies densities.
        self.log_det = float(-np.log(self._scale).sum() - np.log(np.diag(self._chol)).sum())

    @classmethod
    def best(cls, z: np.ndarray, weights: np.ndarray) -> Unfolding:
        """Of degrees three and five, the one that straightens points better that it was not fitted to.

        Fitted to the even ones of the points and judged by the volume that the odd ones fill, and the other way round.
        """
        halves = slice(0, None, 2), slice(1, None, 2)
        if not all((weights[half] > 0).sum() > 10 * z.shape[1] for half in halves):
            return cls(z, weights)

        def volume(degree: int) -> float:
            total = 0.0
            for fitted, held in (halves, halves[::-1]):
                unfolding = cls(z[fitted], weights[fitted] / weights[fitted].sum(), degree)
                x, w = unfolding.forward(z[held]), weights[held] / weights[held].sum()
                # About the origin: what is shifted counts as much as what is spread.
                total += np.linalg.slogdet((x * w[:, None]).T @ x)[1] - 2 * unfolding.log_det
            return total

        return cls(z, weights, min((_DEGREE, _HIGH_DEGREE), key=volume))

    def forward(self, z: np.ndarray) -> np.ndarray:
        """Straightened coordinates of z, both of shape (n, d)."""
        y = (z - self._mean) @ self._axes / self._scale
        return np.linalg.solve(self._chol, (y - self._shift(y)).T).T

    def inverse(self, x: np.ndarray) -> np.ndarray:
        """z of straightened coordinates, both of shape (n, d)."""
        residual = x @ self._chol.T
        y = np.zeros_like(residual)
        for i in range(y.shape[1]):
            y[:, i] = residual[:, i] + self._polynomial(y, i)
        return self._mean + (y * self._scale) @ self._axes.T

    def along(self, axis: int, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Points in the middle of the posterior along its longest axis (0) or the next one (1).

        Parameters
        ----------
        axis
            Number of the axis.
        positions
            Standard deviations of the points that the map was fitted to, shape (n,).

        Returns
        -------
        points, direction : numpy.ndarray
            Shape (n, d), and the axis as a unit vector in z, shape (d,).
        """
        y = np.zeros((len(positions), len(self._mean)))
        y[:, axis] = positions
        for i in range(axis + 1, y.shape[1]):
            y[:, i] = self._polynomial(y, i)
        return self._mean + (y * self._scale) @ self._axes.T, self._axes[:, axis]

    def _terms(self, y: np.ndarray, i: int) -> np.ndarray | None:
        """Monomials of degree two and more in the longer axes; None where there is nothing to fit."""
        used = min(i, _BENDING)
        if not used or self.degree < 2:
            return None
        t = np.clip(y[:, :used], -_RANGE, _RANGE)
        second = t[:, 1] if used > 1 else None
        columns = [np.ones(len(y)), *t.T]
        for power in range(2, self.degree + 1):
            columns.append(t[:, 0] ** power)
            if second is not None:
                columns += [t[:, 0] ** (power - j) * second**j for j in range(1, power + 1)]
        return np.stack(columns, axis=1)

    def _regress(self, y, weights, i) -> np.ndarray | None:
        terms = self._terms(y, i)
        if terms is None:
            return None
        weighted = terms * weights[:, None]
        gram = weighted.T @ terms
        return np.linalg.solve(gram + _RIDGE * np.eye(len(gram)), weighted.T @ y[:, i])

    def _polynomial(self, y, i) -> np.ndarray:
        if self._coefficients[i] is None:
            return np.zeros(len(y))
        return self._terms(y, i) @ self._coefficients[i]

    def _shift(self, y) -> np.ndarray:
        return np.stack([self._polynomial(y, i) for i in range(y.shape[1])], axis=1)


class Unfolded(Proposal):
    """A proposal in straightened coordinates, as a density in z.

    Parameters
    ----------
    unfolding
        The map.
    inner
        Proposal over straightened coordinates.
    """

    def __init__(self, unfolding: Unfolding, inner: Proposal):
        self.unfolding, self.inner, self.name = unfolding, inner, inner.name

    def sample(self, n, rng):
        return self.unfolding.inverse(self.inner.sample(n, rng))

    def log_prob(self, z):
        return self.inner.log_prob(self.unfolding.forward(z)) + self.unfolding.log_det


def unfolded_mixture(
    unfolding: Unfolding,
    z: np.ndarray,
    weights: np.ndarray,
    rng: np.random.Generator,
    factor: float,
    df: float = 5.0,
    **options,
) -> Unfolded:
    """Student t mixture of weighted points, fitted in straightened coordinates: its tails follow a bend.

    Parameters
    ----------
    unfolding
        The coordinates.
    z, weights
        Points of shape (n, d) and their weights, sum 1, shape (n,).
    rng
        Source of randomness.
    factor, df
        Its scales are multiplied by the one, its degrees of freedom set to the other, after the fit.
    **options
        For :func:`~xsixsa.correction.mixture.fit_student_mixture`.
    """
    used = weights > 0
    mixture = fit_student_mixture(unfolding.forward(z[used]), weights[used], rng, **options)
    return Unfolded(unfolding, mixture.widened(factor, df=df))
