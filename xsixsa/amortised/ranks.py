"""Where the truth falls among posterior draws: uniform in every direction when the posterior is right.

sbi offers the same ranks and coverage (``run_sbc``, ``run_tarp``), but takes its own posterior objects and draws of
equal weight only, and compares a histogram of coverage with its grid. Here draws may carry importance weights, and
every number is one value per spectrum that is uniform on (0, 1) under a right posterior, so one Kolmogorov-Smirnov
test judges them all. Without weights the ranks are sbi's.
"""

from __future__ import annotations

import numpy as np
from scipy import stats

__all__ = ["density_rank", "distance_rank", "effective_sizes", "marginal_ranks", "uniform_p"]


def uniform_p(values: np.ndarray) -> float:
    """Probability that uniform values lie at least this far from uniform (Kolmogorov-Smirnov)."""
    return float(stats.kstest(values, "uniform").pvalue)


def effective_sizes(weights: np.ndarray) -> np.ndarray:
    """Kish's effective size of each row of normalised weights, (m, n) to (m,)."""
    return 1.0 / np.maximum(np.einsum("ij,ij->i", weights, weights), 1e-300)


def marginal_ranks(draws: np.ndarray, truth: np.ndarray, weights: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Rank of the truth in every marginal (Talts et al. 2018), as a number between 0 and 1.

    Parameters
    ----------
    draws
        Posterior draws of m spectra, shape (m, n, d).
    truth
        What made the spectra, shape (m, d).
    weights
        Normalised weights of the draws, shape (m, n); 1/n each for a plain posterior.
    rng
        Spreads a rank evenly over its step: with equal weights the result is uniform exactly, for any n.

    Returns
    -------
    numpy.ndarray
        Shape (m, d).
    """
    below = np.einsum("ij,ijk->ik", weights, draws < truth[:, None])
    return _spread(below, effective_sizes(weights)[:, None], rng)


def distance_rank(
    draws: np.ndarray, truth: np.ndarray, references: np.ndarray, weights: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Expected coverage by distance to random points (TARP, Lemos et al. 2023), shape (m,).

    The posterior mass that lies closer to a reference point than the truth does. The reference must not depend on the
    truth of its spectrum. Shapes as for :func:`marginal_ranks`, references (m, d).
    """
    scale = np.maximum(truth.std(axis=0), 1e-12)
    far = np.linalg.norm((draws - references[:, None]) / scale, axis=2)
    limit = np.linalg.norm((truth - references) / scale, axis=1)
    below = np.einsum("ij,ij->i", weights, far < limit[:, None])
    return _spread(below, effective_sizes(weights), rng)


def density_rank(
    log_density: np.ndarray, log_density_truth: np.ndarray, weights: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Level of the highest-density region on whose border the truth lies (Deistler et al. 2022), shape (m,).

    Too narrow posteriors have values near 1, too wide ones near 0; unlike the marginal ranks it sees all parameters
    together.

    Parameters
    ----------
    log_density
        Log of the posterior at its draws, up to a constant for each spectrum, shape (m, n).
    log_density_truth
        The same at the truth, shape (m,).
    weights
        Normalised weights of the draws, shape (m, n).
    rng
        As in :func:`marginal_ranks`.
    """
    above = np.einsum("ij,ij->i", weights, log_density > log_density_truth[:, None])
    return _spread(above, effective_sizes(weights), rng)


def _spread(share: np.ndarray, size: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A share of `size` equal draws, k of them, as (k + uniform) / (size + 1).

    That is uniform on (0, 1) when the truth is one more draw of the same posterior. With weights the effective size
    stands for the number: the step that they leave is spread in the same way.
    """
    return (share * size + rng.random(share.shape)) / (size + 1.0)
