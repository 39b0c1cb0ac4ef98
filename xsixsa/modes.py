"""How many modes a weighted posterior has, and how much of it lies in each.

A Gaussian mixture is fitted to the weighted samples, and its components are merged wherever the density between them
does not fall to a valley (Hennig 2010). Between two components all valleys lie on one curve, their ridgeline (Ray &
Lindsay 2005), so a curved degeneracy that takes several components to describe counts as the one mode that it is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import logsumexp, ndtri

__all__ = ["find_modes", "modes_of"]

VALLEY = 0.3
"""Two modes are told apart where the density between them falls below this fraction of the lower peak."""

_ROWS = 2_000
_NEGLIGIBLE = 1e-9
_COMPONENTS = 8
_STARTS = 2
_ITERATIONS = 40
_TOLERANCE = 5e-4
_FEWEST_EFFECTIVE = 60
# A mode holds at least so many effective draws; fewer are scatter of the weights.
_FEWEST_IN_A_MODE = 20
_PATH = 1 / (1 + np.exp(-np.linspace(-14, 14, 113)))


def modes_of(result) -> list[dict]:
    """Modes of a result, heaviest first.

    Parameters
    ----------
    result : Result
        Anything with ``u`` (n, d), ``theta``, ``weights``, ``statistic`` and ``names``.

    Returns
    -------
    list of dict
        ``weight``, ``weight_err``, ``mean``, ``std`` and ``best`` (parameters by name), ``best_statistic``, ``rows``
        (samples with weight in it). One entry where the posterior has a single mode.
    """
    used = np.flatnonzero(result.weights > 0)
    z = ndtri(np.clip(result.u[used], 1e-16, 1 - 1e-16))
    w = result.weights[used] / result.weights[used].sum()
    label = find_modes(z, w)
    theta, statistic = result.theta[used], np.asarray(result.statistic)[used]
    found = []
    for k in range(label.max() + 1):
        inside = label == k
        share = w[inside] / w[inside].sum()
        mean = share @ theta[inside]
        std = np.sqrt(share @ (theta[inside] - mean) ** 2)
        best = np.flatnonzero(inside)[np.nanargmin(statistic[inside])]
        weight = float(w[inside].sum())
        found.append(
            {
                "weight": weight,
                # Standard error of a self-normalised importance-sampling estimate.
                "weight_err": float(np.sqrt(np.sum(w**2 * (inside - weight) ** 2))),
                "mean": dict(zip(result.names, mean.tolist(), strict=True)),
                "std": dict(zip(result.names, std.tolist(), strict=True)),
                "best": dict(zip(result.names, theta[best].tolist(), strict=True)),
                "best_statistic": float(statistic[best]),
                "rows": int(inside.sum()),
            }
        )
    return found


def find_modes(z: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Mode of every point, 0 for the heaviest.

    Parameters
    ----------
    z, weights
        Points (n, d) in a space without edges and their weights, sum 1, shape (n,).

    Returns
    -------
    numpy.ndarray
        Whole numbers, shape (n,).
    """
    nothing = np.zeros(len(z), int)
    if 1 / (weights @ weights) < _FEWEST_EFFECTIVE:
        return nothing
    # The modes are a property of the samples, the same whoever asks; a seed that no run has, since the stream that drew
    # the samples would choose among them in step with what they are.
    rng = np.random.default_rng([0x6D6F646573, len(z)])
    rows, thinned = _thin(weights, rng)
    model, forward = _best_description(z[rows], thinned, rng)
    groups = _merge(model)
    share = model.log_components(forward(z))
    while groups.max() > 0:
        mass = np.stack([logsumexp(share[:, groups == g], axis=1) for g in range(groups.max() + 1)])
        label = mass.argmax(axis=0)
        heavy = np.bincount(label, weights, minlength=len(mass))
        squares = np.bincount(label, weights**2, minlength=len(mass))
        effective = heavy**2 / np.maximum(squares, 1e-300)
        worst = int(np.argmin(effective))
        if effective[worst] >= _FEWEST_IN_A_MODE + 2 * z.shape[1]:
            return np.argsort(np.argsort(-heavy))[label]
        # Too few draws to call it a mode: they go to the one whose density is highest there.
        groups = _without(groups, worst)
        share = np.where(groups[None] < 0, -np.inf, share)
    return nothing


def _without(groups: np.ndarray, gone: int) -> np.ndarray:
    return np.where(groups == gone, -1, groups - (groups > gone))


def _thin(weights: np.ndarray, rng) -> tuple[np.ndarray, np.ndarray]:
    """Fewer rows that stand for the same weighted points: light ones are kept with a probability and count for more."""
    weights = np.where(weights > _NEGLIGIBLE * weights.max(), weights, 0.0)
    used = np.flatnonzero(weights)
    if len(used) <= _ROWS:
        return used, weights[used] / weights[used].sum()
    low, high = 0.0, 1 / weights[used].min()
    for _ in range(80):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if np.minimum(1, middle * weights).sum() < _ROWS else (low, middle)
    keep = np.minimum(1, low * weights)
    rows = np.flatnonzero(rng.random(len(weights)) < keep)
    thinned = weights[rows] / keep[rows]
    return rows, thinned / thinned.sum()


@dataclass
class _Mixture:
    """Gaussian mixture with its Bayesian information criterion."""

    weights: np.ndarray
    means: np.ndarray
    covariances: np.ndarray
    score: float = -np.inf

    def log_components(self, x: np.ndarray) -> np.ndarray:
        out = np.empty((len(x), len(self.weights)))
        for j, (mean, covariance) in enumerate(zip(self.means, self.covariances, strict=True)):
            inverse = np.linalg.inv(np.linalg.cholesky(covariance))
            r = (x - mean) @ inverse.T
            log_det = 0.5 * x.shape[1] * np.log(2 * np.pi) - np.log(np.diag(inverse)).sum()
            out[:, j] = np.log(self.weights[j]) - log_det - 0.5 * np.einsum("ij,ij->i", r, r)
        return out

    def log_prob(self, x: np.ndarray) -> np.ndarray:
        return logsumexp(self.log_components(x), axis=1)


def _best_description(z: np.ndarray, w: np.ndarray, rng) -> tuple[_Mixture, Callable]:
    """The best mixture in whitened coordinates or in straightened ones: both keep volumes, so scores compare."""
    from xsixsa.correction.unfold import Unfolding

    found = []
    for degree in (1, 3):
        if degree > 1 and z.shape[1] == 1:
            continue
        unfolding = Unfolding(z, w, degree)
        model = _fit(unfolding.forward(z), w, rng, unfolding.log_det)
        found.append((model, unfolding.forward))
    return max(found, key=lambda pair: pair[0].score)


def _fit(x: np.ndarray, w: np.ndarray, rng, log_det: float) -> _Mixture:
    """Mixtures of more and more components until the criterion has fallen twice."""
    n, d = 1 / (w @ w), x.shape[1]
    best, worse = None, 0
    for k in range(1, _COMPONENTS + 1):
        tries = [_maximise(x, w, n, k, rng) for _ in range(_STARTS if k > 1 else 1)]
        model = max(tries, key=lambda m: m.score)
        numbers = k * (1 + d + d * (d + 1) / 2) - 1
        model.score = n * (model.score + log_det) - 0.5 * numbers * np.log(n)
        if best is None or model.score > best.score:
            best, worse = model, 0
        else:
            worse += 1
        if worse == 2:
            break
    return best


def _maximise(x: np.ndarray, w: np.ndarray, n: float, k: int, rng) -> _Mixture:
    """Expectation-maximisation from k-means++ seeds; `score` is the mean log density."""
    d = x.shape[1]
    overall = np.cov(x.T, aweights=w, ddof=0).reshape(d, d)
    least = 1e-9 * np.diag(np.diag(overall)) + 1e-12 * np.eye(d)
    seeds = [int(rng.choice(len(x), p=w))]
    nearest = ((x - x[seeds[0]]) ** 2).sum(axis=1)
    while len(seeds) < k and (w * nearest).sum() > 0:
        p = w * nearest
        seeds.append(int(rng.choice(len(x), p=p / p.sum())))
        nearest = np.minimum(nearest, ((x - x[seeds[-1]]) ** 2).sum(axis=1))
    k = len(seeds)
    # Points go to their nearest seed at first: narrow groups start narrow.
    label = np.argmin(((x[:, None] - x[seeds][None]) ** 2).sum(axis=2), axis=1)
    share = np.eye(k)[label]
    model, last = None, -np.inf
    for _ in range(_ITERATIONS):
        mass = w @ share
        alive = mass * n > d + 2
        share, mass = share[:, alive], mass[alive]
        means = (share * w[:, None]).T @ x / mass[:, None]
        covariances = np.empty((len(mass), d, d))
        for j in range(len(mass)):
            centred = x - means[j]
            scatter = (centred * (w * share[:, j])[:, None]).T @ centred
            # Two points' worth of its own trace: enough for a full rank, too little to widen a narrow mode.
            own = np.trace(scatter) / mass[j] / d
            covariances[j] = (scatter + 2 / n * own * np.eye(d)) / (mass[j] + 2 / n) + least
        model = _Mixture(mass / mass.sum(), means, covariances)
        logs = model.log_components(x)
        total = logsumexp(logs, axis=1)
        share = np.exp(logs - total[:, None])
        model.score = float(w @ total)
        if model.score - last < _TOLERANCE:
            break
        last = model.score
    return model


def _merge(model: _Mixture) -> np.ndarray:
    """Group of every component: those between which no valley lies are one mode."""
    k = len(model.weights)
    height = model.log_prob(model.means)
    saddles = [(_saddle(model, i, j), i, j) for i in range(k) for j in range(i)]
    root = np.arange(k)
    # From the highest saddle down, as a lake that falls uncovers the land between islands.
    for saddle, i, j in sorted(saddles, reverse=True):
        a, b = root[i], root[j]
        if a == b:
            continue
        high, low = (a, b) if height[a] >= height[b] else (b, a)
        if height[low] - saddle < -np.log(VALLEY):
            root[root == low] = high
    return np.unique(root, return_inverse=True)[1]


def _saddle(model: _Mixture, i: int, j: int) -> float:
    """Lowest log density on the ridgeline from component i to component j."""
    a, b = np.linalg.inv(model.covariances[i]), np.linalg.inv(model.covariances[j])
    t = _PATH[:, None, None]
    matrix = (1 - t) * a + t * b
    vector = (1 - _PATH)[:, None] * (a @ model.means[i]) + _PATH[:, None] * (b @ model.means[j])
    path = np.linalg.solve(matrix, vector[:, :, None])[:, :, 0]
    return float(model.log_prob(np.vstack([model.means[i], path, model.means[j]])).min())
