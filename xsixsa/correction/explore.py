"""A second look for modes that owes nothing to the network: many descents from the prior.

The expected counts come with every evaluation, so Fisher scoring (Gauss-Newton on the Poisson likelihood) needs d + 1
evaluations a step for any number of bins, and all descents step together in one batch. In the prior's standard-normal
space the prior adds a unit matrix to the Fisher information: no direction is ever singular.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from xsixsa.inference.problem import Problem
from xsixsa.inference.proposals import StudentMixture
from xsixsa.simulate import Simulator

__all__ = ["Modes", "find_modes"]

_STEP = 1e-3  # of the finite differences, in units of the prior's width
_FARTHEST = 5.0  # |z| beyond which the prior holds less than 1e-6
_LARGEST_MOVE = 1.0


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

    def mixture(self, df: float = 5.0) -> StudentMixture:
        """Proposal over all modes; the weights are flattened, since a Laplace mass may be wrong by far."""
        flat = np.maximum(np.exp(0.5 * (self.log_mass - self.log_mass.max())), 0.02)
        return StudentMixture(flat, self.z, 1.3 * self.covariance, df)


def find_modes(
    problem: Problem, simulator: Simulator, starts: np.ndarray, iterations: int = 14, keep: float = 12.0
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

    Returns
    -------
    Modes or None
        None if no descent met a valid likelihood.
    """
    runs = [_Descent(z) for z in np.clip(starts, -_FARTHEST, _FARTHEST)]
    for _ in range(iterations):
        active = [r for r in runs if not r.done]
        if not active:
            break
        _step_all(active, problem, simulator)
    finished = [r for r in runs if r.precision is not None and np.isfinite(r.objective)]
    if not finished:
        return None
    return _distinct(finished, keep, len(starts))


class _Descent:
    """One descent with Levenberg's damping."""

    def __init__(self, z: np.ndarray):
        self.z, self.objective, self.damping = z, np.inf, 1e-2
        self.gradient = self.precision = None
        self.trial, self.done = z, False

    def stencil(self) -> np.ndarray:
        d = len(self.trial)
        # Steps point inwards, so that a point near the edge of the prior stays inside.
        signs = np.where(self.trial > 0, -1.0, 1.0)
        return np.vstack([self.trial, self.trial + _STEP * np.diag(signs) * np.ones((d, d)) * np.eye(d)])

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
        if not self.done:
            damped = self.precision + self.damping * np.diag(np.diag(self.precision))
            move = -np.linalg.solve(damped, self.gradient)
            move *= min(1.0, _LARGEST_MOVE / max(np.abs(move).max(), 1e-300))
            self.trial = np.clip(self.z + move, -_FARTHEST, _FARTHEST)


def _step_all(active: list[_Descent], problem: Problem, simulator: Simulator) -> None:
    stencils = [r.stencil() for r in active]
    draws = problem.evaluate(np.concatenate(stencils), keep_expected=True)
    rows = len(stencils[0])
    for number, (run, points) in enumerate(zip(active, stencils, strict=True)):
        part = slice(number * rows, (number + 1) * rows)
        log_l, expected = draws.log_likelihood[part], draws.expected[part]
        if len(log_l) < rows or not np.isfinite(log_l[0]):
            run.receive(np.inf, None, None)
            continue
        jacobian = np.where(np.isfinite(log_l[1:])[:, None], expected[1:].astype(float) - expected[0], 0.0)
        jacobian /= (np.diag(points[1:]) - points[0])[:, None]
        model = expected[0].astype(float) + simulator.background
        observed = simulator.observed[: simulator.n_bins]
        # One count is the least variance: an empty model bin must not decide alone.
        variance = np.maximum(model, 1e-3)
        gradient = -jacobian @ (observed / variance - model / variance) + points[0]
        precision = (jacobian / np.maximum(variance, 0.1 * np.sqrt(observed + 1))) @ jacobian.T + np.eye(len(points[0]))
        run.receive(-log_l[0] + 0.5 * points[0] @ points[0], gradient, precision)


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
        # The same mode where the midpoint is no worse in either's quadratic approximation than a few sigma.
        if all(((run.z - a) @ np.linalg.solve(c, run.z - a)) > 25.0 for a, c in zip(z, covariance, strict=True)):
            z.append(run.z)
            covariance.append(np.linalg.inv(run.precision))
            log_mass.append(mass)
    return Modes(np.array(z), np.array(covariance), np.array(log_mass), descents)
