"""A second look for modes that owes nothing to the network, and the ridge of a mode followed to its ends."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from xsixsa.correction.descent import FARTHEST, Descent, Hold, end_repetitions, step_all
from xsixsa.inference.problem import Problem
from xsixsa.inference.proposals import StudentMixture
from xsixsa.simulate import Simulator

__all__ = ["Modes", "find_modes", "follow", "starting_points"]

_FIRMNESS = 10.0  # of a held position, in units of the distance between positions
_EXTENSIONS, _HELD_STEPS = 5, 12
# Uphill of all its neighbours by chance: one draw in a thousand.
_NEIGHBOURS = 10


@dataclass(frozen=True)
class Modes:
    """Distinct maxima of the posterior with their Laplace approximations.

    Attributes
    ----------
    z : numpy.ndarray
        Positions, shape (m, d), highest Laplace mass first.
    covariance : numpy.ndarray
        Inverse of Fisher information plus prior precision, shape (m, d, d).
    log_mass : numpy.ndarray
        Laplace approximation to the log-evidence of each, shape (m,).
    descents : int
        Starting points used.
    """

    z: np.ndarray
    covariance: np.ndarray
    log_mass: np.ndarray
    descents: int

    def joined(self, other: Modes) -> Modes:
        """These and those of another search that are not among them."""
        z, covariance, log_mass = list(self.z), list(self.covariance), list(self.log_mass)
        for position, spread, mass in zip(other.z, other.covariance, other.log_mass, strict=True):
            if _elsewhere(position, spread, z, covariance):
                z.append(position)
                covariance.append(spread)
                log_mass.append(mass)
        return Modes(np.array(z), np.array(covariance), np.array(log_mass), self.descents + other.descents)

    def beside(self, other: Modes) -> Modes:
        """All of both."""
        pairs = ((getattr(self, k), getattr(other, k)) for k in ("z", "covariance", "log_mass"))
        return Modes(*(np.concatenate(pair) for pair in pairs), self.descents + other.descents)

    def mixture(self, df: float = 5.0) -> StudentMixture:
        """Proposal over all modes; the weights are flattened, since a Laplace mass may be wrong by far."""
        flat = np.maximum(np.exp(0.5 * (self.log_mass - self.log_mass.max())), 0.02)
        return StudentMixture(flat, self.z, 1.3 * self.covariance, df)


def starting_points(z: np.ndarray, log_posterior: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Points from which descents are likely to end in different modes.

    A narrow mode shows as a point that beats all its neighbours, however poor it is beside the best of a broad one
    (the idea of Rodriguez & Laio 2014). Half of the points are such summits, the highest and the most isolated ones;
    the others are any of the draws.

    Parameters
    ----------
    z, log_posterior
        Draws that reach the whole prior, shape (n, d), and their log posterior up to a constant, ``-inf`` where
        invalid.
    count
        Points wanted; fewer come back where there are fewer valid draws.
    """
    valid = np.flatnonzero(np.isfinite(log_posterior))
    z, height = z[valid], log_posterior[valid]
    if len(z) <= count:
        return z
    k = min(_NEIGHBOURS, len(z) - 1)
    distance, neighbour = cKDTree(z).query(z, k + 1)
    summits = np.flatnonzero((height[neighbour[:, 1:]] <= height[:, None]).all(axis=1))
    # How far the next higher draw is, in units of the spacing of draws there.
    isolation = np.empty(len(summits))
    for i, row in enumerate(summits):
        higher = z[height > height[row]]
        nearest = np.sqrt(((higher - z[row]) ** 2).sum(axis=1).min()) if len(higher) else np.inf
        isolation[i] = nearest / max(distance[row, 1 + k // 3], 1e-300)
    half = count - count // 2
    by_height = summits[np.argsort(-height[summits], kind="stable")]
    by_isolation = summits[np.argsort(-isolation, kind="stable")]
    chosen = list(dict.fromkeys([*by_height[: half // 2], *by_isolation[:half]]))[:half]
    others = rng.permutation(np.setdiff1d(np.arange(len(z)), chosen))
    return z[np.r_[chosen, others[: count - len(chosen)]].astype(int)]


def find_modes(
    problem: Problem,
    simulator: Simulator,
    starts: np.ndarray,
    iterations: int = 20,
    keep: float = 12.0,
    max_evaluations: int | None = None,
) -> Modes | None:
    """Descend from every start and return the distinct modes.

    Parameters
    ----------
    problem
        Prior and likelihood; the statistic it returns decides about every step.
    simulator
        Knows the observation and its background.
    starts
        Shape (m, d).
    iterations
        Steps of every descent at most.
    keep
        Modes whose Laplace mass is below the largest by more than this (in log) are dropped.
    max_evaluations
        No step begins after so many.

    Returns
    -------
    Modes or None
        None if no descent met a valid likelihood.
    """
    runs = [Descent(z) for z in np.clip(starts, -FARTHEST, FARTHEST)]
    spent = problem.n_evaluations + (problem.max_evaluations if max_evaluations is None else max_evaluations)
    for _ in range(iterations):
        active = [r for r in runs if not r.done]
        if not active or problem.n_evaluations >= spent:
            break
        step_all(active, problem, simulator)
        end_repetitions(runs)
    finished = [r for r in runs if r.precision is not None and np.isfinite(r.objective)]
    if not finished:
        return None
    return _distinct(finished, keep, len(starts))


def follow(
    problem: Problem, simulator: Simulator, starts: np.ndarray, axis: np.ndarray, reach: float = 10.0
) -> Modes | None:
    """Where the posterior is highest for given positions along an axis: a degeneracy, followed to its ends.

    Few draws reach the ends of a long and narrow posterior, and what is fitted to the others points past them. Descents
    that are held at their positions do not; from the last one the next ones are extrapolated.

    Parameters
    ----------
    problem, simulator
        As for :func:`find_modes`.
    starts
        Guesses in the order and at equal distances of their positions, which are kept, shape (m, d) with m >= 3.
    axis
        Unit vector, shape (d,).
    reach
        Log posterior below its highest value down to which an end is followed.

    Returns
    -------
    Modes or None
        One entry for each position at which the likelihood was valid: the local approximation with its width along the
        axis bounded by the distance of positions.
    """
    starts = np.clip(starts, -FARTHEST, FARTHEST)
    spacing = float(np.ptp(starts @ axis) / (len(starts) - 1))
    runs = _hold(problem, simulator, starts, axis, spacing)
    for _ in range(_EXTENSIONS):
        if len(runs) < 3:
            break
        least = min(r.height for r in runs)
        low, high = (
            [] if end.height > least + reach else _onwards(end, near) for end, near in (runs[:2], runs[:-3:-1])
        )
        added = [z for z in (*low[::-1], *high) if np.abs(z).max() < FARTHEST]
        if not added:
            break
        runs = sorted(
            [*runs, *_hold(problem, simulator, np.array(added), axis, spacing)], key=lambda r: r.hold.position
        )
    if not runs:
        return None
    z, covariance, log_mass = [], [], []
    for run in runs:
        # Differences of the statistic err by as much as what held the descent; no direction is wider than the prior.
        values, vectors = np.linalg.eigh(run.precision - run.hold.precision)
        free = (vectors * np.maximum(values, 1.0)) @ vectors.T + np.outer(axis, axis) / spacing**2
        z.append(run.z)
        covariance.append(np.linalg.inv(free))
        log_mass.append(-run.height - 0.5 * np.linalg.slogdet(free)[1])
    return Modes(np.array(z), np.array(covariance), np.array(log_mass), len(runs))


def _onwards(end: Descent, near: Descent) -> list[np.ndarray]:
    return [end.z + step * (end.z - near.z) for step in (1, 2, 3)]


def _hold(problem, simulator, starts, axis, spacing) -> list[Descent]:
    """Descents held at the positions of their starts, those that met a valid likelihood, in order."""
    runs = [Descent(z, Hold(axis, float(axis @ z), (_FIRMNESS / spacing) ** 2)) for z in starts]
    for _ in range(_HELD_STEPS):
        active = [r for r in runs if not r.done]
        if not active:
            break
        step_all(active, problem, simulator)
    found = [r for r in runs if r.precision is not None and np.isfinite(r.objective)]
    return sorted(found, key=lambda r: r.hold.position)


def _elsewhere(z, covariance, positions, covariances) -> bool:
    """Whether a mode lies more than five standard deviations from every known one, of that one's or of its own.

    Its own count, since a narrow mode may lie well within a broad one.
    """
    pairs = zip(positions, covariances, strict=True)
    return all(max((z - a) @ np.linalg.solve(c, z - a) for c in (b, covariance)) > 25.0 for a, b in pairs)


def _distinct(runs: list[Descent], keep: float, descents: int) -> Modes:
    z, covariance, log_mass = [], [], []
    scored = []
    for r in runs:
        _, log_det = np.linalg.slogdet(r.precision)
        scored.append((-r.objective - 0.5 * log_det, r))
    scored.sort(key=lambda pair: -pair[0])
    for mass, run in scored:
        if mass < scored[0][0] - keep:
            break
        spread = np.linalg.inv(run.precision)
        if _elsewhere(run.z, spread, z, covariance):
            z.append(run.z)
            covariance.append(spread)
            log_mass.append(mass)
    return Modes(np.array(z), np.array(covariance), np.array(log_mass), descents)
