"""What C-stat to expect when the model is right (Kaastra 2017, A&A 605, A51)."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from scipy import special, stats

__all__ = ["Goodness", "cash_moments", "goodness"]

_LARGE = 2e3  # expected counts beyond which the limits 1 and 2 hold to 1e-4


@lru_cache(maxsize=1)
def _table() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean and variance of C for one bin on a grid of log expected counts."""
    grid = np.linspace(np.log(1e-5), np.log(_LARGE), 600)
    mean, variance = np.empty(len(grid)), np.empty(len(grid))
    for i, mu in enumerate(np.exp(grid)):
        half = 12 * np.sqrt(mu) + 40
        k = np.arange(max(0, int(mu - half)), int(mu + half) + 1, dtype=float)
        p = stats.poisson.pmf(k, mu)
        c = 2 * (mu - k + special.xlogy(k, k / mu))
        mean[i] = p @ c
        variance[i] = p @ (c - mean[i]) ** 2
    return grid, mean, variance


def cash_moments(expected: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance of C-stat for bins with the given expected counts.

    Parameters
    ----------
    expected
        Expected counts, any shape.

    Returns
    -------
    mean, variance : numpy.ndarray
        Same shape; they tend to 1 and 2 for many counts.
    """
    grid, mean, variance = _table()
    mu = np.maximum(np.asarray(expected, float), 1e-12)
    log_mu = np.log(mu)
    # Below the table only 0 or 1 count matter: C = 2 mu, or 2 (mu - 1 - ln mu) with probability mu.
    one = 2 * (mu - 1 - log_mu)
    tiny_mean = 2 * mu * np.exp(-mu) + mu * one
    tiny_variance = mu * one**2
    m = np.where(mu > _LARGE, 1 + 1 / (6 * mu), np.interp(log_mu, grid, mean))
    v = np.where(mu > _LARGE, 2.0, np.interp(log_mu, grid, variance))
    tiny = log_mu < grid[0]
    return np.where(tiny, tiny_mean, m), np.where(tiny, tiny_variance, v)


class Goodness(dict):
    """``statistic``, ``expected``, ``sigma`` and ``z``: how many sigma the best fit lies above the expectation."""


def goodness(statistic: float, expected_counts: np.ndarray, n_parameters: int) -> Goodness:
    """Compare the best C-stat with what a right model would give.

    Parameters
    ----------
    statistic
        C at the best parameters.
    expected_counts
        Expected counts there, shape (bins,).
    n_parameters
        Free parameters; each lowers the expectation by one, as for chi-squared.
    """
    mean, variance = cash_moments(expected_counts)
    expected = float(mean.sum()) - n_parameters
    sigma = float(np.sqrt(variance.sum()))
    return Goodness(statistic=float(statistic), expected=expected, sigma=sigma, z=(float(statistic) - expected) / sigma)
