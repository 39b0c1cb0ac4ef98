"""Student t mixtures fitted to weighted points by expectation-maximisation.

Cappe et al. 2008 (M-PMC): the fit minimises the Kullback-Leibler divergence from the target that the weighted points
stand for. No library fits weighted t-mixtures, hence our own.
"""

from __future__ import annotations

import numpy as np
from scipy.special import logsumexp

from xsixsa.inference.proposals import StudentMixture

__all__ = ["fit_student_mixture", "temper"]


def temper(log_weights: np.ndarray, target_ess: float, most: float = 1.0) -> tuple[np.ndarray, float]:
    """Normalised weights raised to the largest power <= `most` that keeps the effective sample size at `target_ess`.

    Parameters
    ----------
    log_weights
        Unnormalised log weights, ``-inf`` allowed, shape (n,).
    target_ess
        Effective sample size to keep.
    most
        Largest power; below 1 what is fitted to the weights has fatter tails than the target.

    Returns
    -------
    weights : numpy.ndarray
        Shape (n,), sum 1.
    power : float
        `most` where those weights already have that size.
    """
    finite = np.isfinite(log_weights)
    log_weights = _clip(log_weights, finite)
    shifted = np.where(finite, log_weights - log_weights[finite].max(), -np.inf)

    def ess(power: float) -> float:
        w = np.exp(power * shifted[finite])
        return float(w.sum() ** 2 / (w @ w))

    low, high = 0.0, most
    if ess(most) < target_ess:
        for _ in range(50):
            middle = 0.5 * (low + high)
            low, high = (middle, high) if ess(middle) >= target_ess else (low, middle)
    else:
        low = most
    weights = np.where(finite, np.exp(low * np.where(finite, shifted, 0.0)), 0.0)
    return weights / weights.sum(), low


def _clip(log_weights: np.ndarray, finite: np.ndarray) -> np.ndarray:
    """Weights cut at sqrt(n) times their mean (Ionides 2008): one lucky draw must not decide a fit alone."""
    n = len(log_weights)
    for _ in range(3):  # the mean falls with every cut
        most = logsumexp(log_weights[finite]) - np.log(n) + 0.5 * np.log(n)
        log_weights = np.minimum(log_weights, most)
    return log_weights


def fit_student_mixture(
    z: np.ndarray,
    weights: np.ndarray,
    rng: np.random.Generator,
    components: int = 5,
    df: float = 8.0,
    iterations: int = 30,
    floor: float = 1e-3,
    lean: np.ndarray | None = None,
) -> StudentMixture:
    """Weighted maximum-likelihood fit of a Student t mixture.

    Parameters
    ----------
    z, weights
        Points of shape (n, d) and their weights, sum 1, shape (n,).
    rng
        Chooses the starting means.
    components
        At most so many, and at most one for 8 d effective points where nothing is there to lean on; those that lose
        their points are dropped.
    df
        Degrees of freedom, fixed.
    iterations
        Steps of expectation-maximisation.
    floor
        Components with less weight than this are dropped.
    lean
        Covariance (d, d) that components of few effective points lean on: one that stands for a single heavy draw gets
        this one. None: the average of the components.
    """
    keep = weights > 1e-12 * weights.max()
    z, w = z[keep], weights[keep] / weights[keep].sum()
    d, size = z.shape[1], max(1.0 / (w @ w), 1.0)
    overall = np.cov(z.T, aweights=w, ddof=0).reshape(d, d) + 1e-10 * np.eye(d)
    if lean is None:
        components = max(1, min(components, int(size / (8 * d))))
    else:
        overall = _leaning(overall, lean, size)
    means = _spread_start(z, w, overall, components, rng)
    k = len(means)
    mixture = StudentMixture(np.full(k, 1.0 / k), means, np.repeat(overall[None] / k ** (2.0 / d), k, axis=0), df)
    # A component needs more effective points than it has numbers to determine.
    fewest = 2.0 * (d + 1) / size
    for _ in range(iterations):
        logs = mixture.log_components(z)
        share = np.exp(logs - logsumexp(logs, axis=1, keepdims=True)) * w[:, None]
        mass = share.sum(axis=0)
        alive = mass > max(floor, min(fewest, 0.5 / k))
        if not alive.any():
            alive = mass == mass.max()
        mixture = _maximise(z, share[:, alive], mixture, alive, overall, size, lean)
    return mixture


def _spread_start(z, w, overall, components, rng) -> np.ndarray:
    """Starting means far from each other: k-means++ seeding in the metric of the overall covariance."""
    white = np.linalg.solve(np.linalg.cholesky(overall), z.T).T
    chosen = [int(rng.choice(len(z), p=w))]
    nearest = ((white - white[chosen[0]]) ** 2).sum(axis=1)
    for _ in range(components - 1):
        p = w * nearest
        if p.sum() <= 0:
            break
        chosen.append(int(rng.choice(len(z), p=p / p.sum())))
        nearest = np.minimum(nearest, ((white - white[chosen[-1]]) ** 2).sum(axis=1))
    return z[chosen]


def _leaning(scales: np.ndarray, on: np.ndarray, n: np.ndarray | float) -> np.ndarray:
    """Scales from `n` effective points under an inverse-Wishart prior around `on`.

    In many dimensions a handful of points fixes no covariance, and a component that is too thin anywhere leaves holes
    that cost more than width does. The prior fades where points suffice: a narrow mode beside a broad one would else
    be taken for far wider than it is.
    """
    d = on.shape[-1]
    prior = 2 * (d + 2) * np.exp(-n / (10 * d))
    return (n * scales + prior * on) / (n + prior)


def _maximise(z, share, old: StudentMixture, alive, overall, size: float, lean) -> StudentMixture:
    """New means and scales; scales lean on `lean`, or on the average, where a component holds few effective points."""
    d, df = old.dim, old.df
    mass = share.sum(axis=0)
    means, scales = [], []
    for j, index in enumerate(np.flatnonzero(alive)):
        r = np.linalg.solve(old._chol[index], (z - old.means[index]).T)
        # Expected precision of the t as a scale mixture of normals (Peel & McLachlan 2000).
        u = share[:, j] * (df + d) / (df + np.einsum("ij,ij->j", r, r))
        mean = u @ z / u.sum()
        centred = z - mean
        means.append(mean)
        scales.append((centred * u[:, None]).T @ centred / mass[j])
    if lean is None:
        lean = np.einsum("j,jab->ab", mass / mass.sum(), np.array(scales))
    floor = 1e-6 * np.diag(np.diag(overall)) + 1e-12 * np.eye(d)
    n = (size * mass / mass.sum())[:, None, None]
    return StudentMixture(mass, np.array(means), _leaning(np.array(scales), lean, n) + floor, df)
