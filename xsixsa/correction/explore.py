"""A second look for modes that owes nothing to the network: many descents from draws of the prior.

The expected counts come with every evaluation, so Fisher scoring (Gauss-Newton on the Poisson likelihood) needs d + 1
evaluations a step for any number of bins, and all descents step together in one batch. In the prior's standard-normal
space the prior adds a unit matrix to the Fisher information: no direction is ever singular. Where the counts do not
tell what the statistic does (another statistic, a profiled background, a likelihood of another kind), a descent notices
by comparing slopes and goes on with the statistic alone: Newton's method with differences of second order.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from xsixsa.inference.problem import Problem
from xsixsa.inference.proposals import StudentMixture
from xsixsa.simulate import Simulator

__all__ = ["Modes", "find_modes", "follow", "starting_points"]

_STEP = 1e-3  # of the finite differences, in units of the prior's width
_SMALLEST_STEP, _LARGEST_STEP = 1e-4, 0.05
_FIRMNESS = 10.0  # of a held position, in units of the distance between positions
_EXTENSIONS, _HELD_STEPS = 5, 12
_FARTHEST = 5.0  # |z| beyond which the prior holds less than 1e-6
_LARGEST_MOVE = 1.0
# Uphill of all its neighbours by chance: one draw in a thousand.
_NEIGHBOURS = 10
# Slopes of counts and statistic agree when they differ by less than this fraction, besides the error of differences.
_SLOPES_AGREE = 0.3


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
    runs = [_Descent(z) for z in np.clip(starts, -_FARTHEST, _FARTHEST)]
    spent = problem.n_evaluations + (problem.max_evaluations if max_evaluations is None else max_evaluations)
    for _ in range(iterations):
        active = [r for r in runs if not r.done]
        if not active or problem.n_evaluations >= spent:
            break
        _step_all(active, problem, simulator)
        _end_repetitions(runs)
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
    starts = np.clip(starts, -_FARTHEST, _FARTHEST)
    spacing = float(np.ptp(starts @ axis) / (len(starts) - 1))
    runs = _hold(problem, simulator, starts, axis, spacing)
    for _ in range(_EXTENSIONS):
        if len(runs) < 3:
            break
        least = min(r.height for r in runs)
        low, high = (
            [] if end.height > least + reach else _onwards(end, near) for end, near in (runs[:2], runs[:-3:-1])
        )
        added = [z for z in (*low[::-1], *high) if np.abs(z).max() < _FARTHEST]
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


def _onwards(end: _Descent, near: _Descent) -> list[np.ndarray]:
    return [end.z + step * (end.z - near.z) for step in (1, 2, 3)]


def _hold(problem, simulator, starts, axis, spacing) -> list[_Descent]:
    """Descents held at the positions of their starts, those that met a valid likelihood, in order."""
    runs = [_Descent(z, _Hold(axis, float(axis @ z), (_FIRMNESS / spacing) ** 2)) for z in starts]
    for _ in range(_HELD_STEPS):
        active = [r for r in runs if not r.done]
        if not active:
            break
        _step_all(active, problem, simulator)
    found = [r for r in runs if r.precision is not None and np.isfinite(r.objective)]
    return sorted(found, key=lambda r: r.hold.position)


@dataclass(frozen=True)
class _Hold:
    """A spring that keeps a descent at a position along an axis."""

    axis: np.ndarray
    position: float
    strength: float

    def energy(self, points: np.ndarray) -> np.ndarray:
        return 0.5 * self.strength * (points @ self.axis - self.position) ** 2

    def slope(self, z: np.ndarray) -> np.ndarray:
        return self.strength * (z @ self.axis - self.position) * self.axis

    @property
    def precision(self) -> np.ndarray:
        return self.strength * np.outer(self.axis, self.axis)


class _Descent:
    """One descent with Levenberg's damping."""

    def __init__(self, z: np.ndarray, hold: _Hold | None = None):
        self.hold = hold
        self.z, self.objective, self.damping = z, np.inf, 1e-2
        self.gradient = self.precision = None
        self.trial, self.done = z, False
        self.counts_tell = True
        self.steps = np.full(len(z), _STEP)

    @property
    def decrement(self) -> float:
        """Twice what a full step promises to gain."""
        return float(self.gradient @ np.linalg.solve(self.precision, self.gradient))

    @property
    def height(self) -> float:
        """Minus log posterior where the descent is, without what holds it."""
        return float(self.objective - (0.0 if self.hold is None else self.hold.energy(self.z)))

    def stencil(self) -> np.ndarray:
        d = len(self.trial)
        if not self.counts_tell:
            steps = np.diag(self.steps)
            pairs = [steps[i] + steps[j] for i in range(d) for j in range(i)]
            return self.trial + np.vstack([np.zeros(d), steps, -steps, *pairs])
        # Steps point inwards, so that a point near the edge of the prior stays inside.
        signs = np.where(self.trial > 0, -1.0, 1.0)
        return np.vstack([self.trial, self.trial + _STEP * np.diag(signs)])

    def receive(self, objective: float, gradient, precision) -> None:
        if objective < self.objective:
            gain = self.objective - objective
            self.z, self.objective = self.trial, objective
            self.gradient, self.precision = gradient, precision
            self.damping = max(self.damping / 5, 1e-6)
            self.done = gain < 1e-3
        else:
            self.damping *= 8
            self.done = self.damping > 1e4 or self.precision is None
            # Nothing is left to gain here.
            self.done |= self.precision is not None and self.decrement < 1e-3
        if not self.done:
            damped = self.precision + self.damping * np.diag(np.diag(self.precision))
            move = -np.linalg.solve(damped, self.gradient)
            move *= min(1.0, _LARGEST_MOVE / max(np.abs(move).max(), 1e-300))
            self.trial = np.clip(self.z + move, -_FARTHEST, _FARTHEST)

    def foretells(self, other: _Descent) -> bool:
        """Whether the quadratic approximation here holds at another descent within a few standard deviations."""
        move = other.z - self.z
        distance = move @ self.precision @ move
        expected = self.objective + self.gradient @ move + 0.5 * distance
        return bool(distance < 25.0 and abs(expected - other.objective) < 0.1 + 0.1 * distance)

    def distrust_counts(self) -> None:
        """Look at the same point again, with the statistic alone."""
        self.counts_tell, self.trial, self.objective, self.done = False, self.z, np.inf, False
        self.damping, self.gradient, self.precision = 1e-2, None, None


def _end_repetitions(runs: list[_Descent]) -> None:
    """A descent ends where one that has nearly arrived already foretells both its place and its statistic."""
    arrived = []
    known = (r for r in runs if r.precision is not None and np.isfinite(r.objective))
    for run in sorted(known, key=lambda r: r.objective):
        if not run.done and any(a.foretells(run) for a in arrived):
            run.done = True
        elif run.decrement < 0.1:
            arrived.append(run)


def _step_all(active: list[_Descent], problem: Problem, simulator: Simulator) -> None:
    stencils = [r.stencil() for r in active]
    draws = problem.evaluate(np.concatenate(stencils), keep_expected=True)
    start = 0
    for run, points in zip(active, stencils, strict=True):
        part = slice(start, start + len(points))
        start = part.stop
        log_l, expected = draws.log_likelihood[part], draws.expected[part]
        if len(log_l) < len(points) or not np.isfinite(log_l[0]):
            run.receive(np.inf, None, None)
            continue
        objective = -log_l + 0.5 * (points**2).sum(axis=1)
        if run.hold is not None:
            objective += run.hold.energy(points)
        if run.counts_tell:
            gradient, precision = _from_counts(points, expected, np.isfinite(log_l), simulator)
            if run.hold is not None:
                gradient, precision = gradient + run.hold.slope(points[0]), precision + run.hold.precision
            better = objective[0] < run.objective
            run.receive(objective[0], gradient, precision)
            # The slopes of the first point say whether counts and statistic belong together; so does a descent that
            # the statistic never follows.
            stuck = run.done and run.damping > 1e4
            if stuck or (better and not _slopes_agree(points, objective, gradient, precision)):
                run.distrust_counts()
        else:
            run.receive(objective[0], *_from_statistic(points, objective, run))


def _from_counts(points, expected, valid, simulator) -> tuple[np.ndarray, np.ndarray]:
    """Gradient and Fisher information of the Poisson likelihood, with the prior's."""
    jacobian = np.where(valid[1:, None], expected[1:].astype(float) - expected[0], 0.0)
    jacobian /= (np.diag(points[1:]) - points[0])[:, None]
    model = expected[0].astype(float) + simulator.background
    observed = simulator.observed[: simulator.n_bins]
    # One count is the least variance: an empty model bin must not decide alone.
    variance = np.maximum(model, 1e-3)
    gradient = -jacobian @ (observed / variance - model / variance) + points[0]
    precision = (jacobian / np.maximum(variance, 0.1 * np.sqrt(observed + 1))) @ jacobian.T + np.eye(len(points[0]))
    return gradient, precision


def _slopes_agree(points, objective, gradient, precision) -> bool:
    """Whether the statistic falls as the counts say, to the accuracy of one-sided differences."""
    if np.diag(precision).max() < 1 + 1e-6:
        return False  # counts that do not change with the parameters tell nothing
    step = np.diag(points[1:]) - points[0]
    valid = np.isfinite(objective[1:])
    slope = (objective[1:] - objective[0])[valid] / step[valid]
    rounding = 1e-12 * abs(objective[0]) / _STEP
    error = np.abs(step[valid]) * np.diag(precision)[valid] + rounding
    # In units of each parameter's own width, so that no direction is drowned by a steeper one.
    width = 1 / np.sqrt(np.diag(precision)[valid])
    difference = np.maximum(np.abs(slope - gradient[valid]) - error, 0.0) * width
    # What moves the minimum by less than half a standard deviation is no matter.
    return bool(np.linalg.norm(difference) <= _SLOPES_AGREE * np.linalg.norm(slope * width) + 0.5)


def _from_statistic(points, objective, run: _Descent) -> tuple[np.ndarray, np.ndarray]:
    """Gradient and curvature from differences of second order; negative curvature counts as positive."""
    d, h = len(points[0]), run.steps
    finite = np.where(np.isfinite(objective), objective, objective[0])
    up, down, pairs = finite[1 : d + 1], finite[d + 1 : 2 * d + 1], finite[2 * d + 1 :]
    gradient = (up - down) / (2 * h)
    hessian = np.diag((up - 2 * finite[0] + down) / h**2)
    n = 0
    for i in range(d):
        for j in range(i):
            mixed = (pairs[n] - up[i] - up[j] + finite[0]) / (h[i] * h[j])
            # Forward in both: what the third derivatives leave is of first order in the steps, as for Fisher scoring.
            hessian[i, j] = hessian[j, i] = mixed
            n += 1
    values, vectors = np.linalg.eigh(hessian)
    values = np.maximum(np.abs(values), 1.0)
    precision = (vectors * values) @ vectors.T
    if objective[0] < run.objective:
        run.steps = np.clip(0.2 / np.sqrt(np.diag(precision)), _SMALLEST_STEP, _LARGEST_STEP)
    return gradient, precision


def _elsewhere(z, covariance, positions, covariances) -> bool:
    """Whether a mode lies more than five standard deviations from every known one, of that one's or of its own.

    Its own count, since a narrow mode may lie well within a broad one.
    """
    pairs = zip(positions, covariances, strict=True)
    return all(max((z - a) @ np.linalg.solve(c, z - a) for c in (b, covariance)) > 25.0 for a, b in pairs)


def _distinct(runs: list[_Descent], keep: float, descents: int) -> Modes:
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
