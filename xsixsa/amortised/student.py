"""One Student t density, for thousands of spectra: what a mixture of one component gives, at a tenth of its cost."""

from __future__ import annotations

import numpy as np
from scipy.special import gammaln

from xsixsa.inference.proposals import Proposal

__all__ = ["StudentT"]


class StudentT(Proposal):
    """Multivariate Student t density.

    Parameters
    ----------
    mean
        Shape (d,).
    scale
        Scale matrix, shape (d, d): the covariance times (df - 2) / df.
    df
        Degrees of freedom.
    """

    name = "student t"

    def __init__(self, mean: np.ndarray, scale: np.ndarray, df: float):
        self.mean, self.df, self.dim = mean, df, len(mean)
        self._chol = np.linalg.cholesky(scale)
        self._whiten = np.linalg.inv(self._chol).T
        d = self.dim
        constant = gammaln(0.5 * (df + d)) - gammaln(0.5 * df) - 0.5 * d * np.log(df * np.pi)
        self._constant = float(constant - np.log(np.diag(self._chol)).sum())

    @classmethod
    def around(cls, x: np.ndarray, weights: np.ndarray, factor: float, df: float) -> StudentT:
        """Density with the mean of weighted points and `factor` times their covariance."""
        d = x.shape[1]
        mean = weights @ x
        centred = x - mean
        covariance = (centred * weights[:, None]).T @ centred + 1e-10 * np.eye(d)
        return cls(mean, factor * (df - 2) / df * covariance, df)

    def sample(self, n, rng):
        heavy = np.sqrt(self.df / rng.chisquare(self.df, size=n))
        return self.mean + heavy[:, None] * (rng.standard_normal((n, self.dim)) @ self._chol.T)

    def log_prob(self, z):
        r = (z - self.mean) @ self._whiten
        return self._constant - 0.5 * (self.df + self.dim) * np.log1p((r * r).sum(axis=1) / self.df)
