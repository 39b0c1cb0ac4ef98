"""Descents to the maxima of the posterior, all in step: one batch of the engine for a step of every one.

The expected counts come with every evaluation, so Fisher scoring (Gauss-Newton on the Poisson likelihood) needs d + 1
evaluations a step for any number of bins. In the prior's standard-normal space the prior adds a unit matrix to the
Fisher information: no direction is ever singular. Where the counts do not tell what the statistic does (another
statistic, a profiled background, a likelihood of another kind), a descent notices by comparing slopes and goes on with
the statistic alone: Newton's method with differences of second order.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from xsixsa.inference.problem import Problem
from xsixsa.simulate import Simulator

__all__ = ["FARTHEST", "Descent", "Hold", "end_repetitions", "step_all"]

FARTHEST = 5.0
"""|z| beyond which the prior holds less than 1e-6."""
_STEP = 1e-3  # of the finite differences, in units of the prior's width
_SMALLEST_STEP, _LARGEST_STEP = 1e-4, 0.05
_LARGEST_MOVE = 1.0
# Slopes of counts and statistic agree when they differ by less than this fraction, besides the error of differences.
_SLOPES_AGREE = 0.3


@dataclass(frozen=True)
class Hold:
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


class Descent:
    """One descent with Levenberg's damping."""

    def __init__(self, z: np.ndarray, hold: Hold | None = None):
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
            self.trial = np.clip(self.z + move, -FARTHEST, FARTHEST)

    def foretells(self, other: Descent) -> bool:
        """Whether the quadratic approximation here holds at another descent within a few standard deviations."""
        move = other.z - self.z
        distance = move @ self.precision @ move
        expected = self.objective + self.gradient @ move + 0.5 * distance
        return bool(distance < 25.0 and abs(expected - other.objective) < 0.1 + 0.1 * distance)

    def distrust_counts(self) -> None:
        """Look at the same point again, with the statistic alone."""
        self.counts_tell, self.trial, self.objective, self.done = False, self.z, np.inf, False
        self.damping, self.gradient, self.precision = 1e-2, None, None


def end_repetitions(runs: list[Descent]) -> None:
    """A descent ends where one that has nearly arrived already foretells both its place and its statistic."""
    arrived = []
    known = (r for r in runs if r.precision is not None and np.isfinite(r.objective))
    for run in sorted(known, key=lambda r: r.objective):
        if not run.done and any(a.foretells(run) for a in arrived):
            run.done = True
        elif run.decrement < 0.1:
            arrived.append(run)


def step_all(active: list[Descent], problem: Problem, simulator: Simulator) -> None:
    """One step of every descent, in one batch."""
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


def _from_statistic(points, objective, run: Descent) -> tuple[np.ndarray, np.ndarray]:
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
