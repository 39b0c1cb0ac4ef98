"""Minimisation of the fit statistic: Levenberg-Marquardt on the rates of the bins.

The derivative of the rates is numerical (central differences, one batch), that of each bin's share of the statistic
too, so that one code serves all statistics. With r the rates, J their derivative and f the share of a bin, the step
solves (J' f'' J + lambda diag) x = -J' f', the second derivative of the rates left out as usual.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from xsixsa.embedded.parameter import Parameter
from xsixsa.embedded.priors import minus_two_log_prior
from xsixsa.embedded.revive import revive
from xsixsa.embedded.state import Engine
from xsixsa.embedded.statistics import STATISTICS

__all__ = ["Minimum", "minimise", "perform", "rescale_norms"]

# Relative step of the rates for derivatives of the statistic: its square stays far above rounding.
RATE_STEP = 1e-4
# A fit that has not settled by then does not settle.
MOST_STEPS = 400


@dataclass
class Minimum:
    """Where a minimisation ended.

    Attributes
    ----------
    theta : (d,) float64
    statistic : float
    curvature : (d, d) float64
        Half the second derivative of the statistic.
    held : (d,) bool
        Parameters at a hard limit that would go beyond it.
    steps : int
    """

    theta: np.ndarray
    statistic: float
    curvature: np.ndarray
    held: np.ndarray
    steps: int


class _Problem:
    """The statistic as a function of some of the free parameters."""

    def __init__(self, engine: Engine, parameters: list[Parameter]) -> None:
        self._engine = engine
        self.parameters = parameters
        self.keys = [(p.model.name, p.model.group, p.index) for p in parameters]
        limits = np.array([p.hard_limits for p in parameters]).reshape(-1, 2)
        self.low, self.high = limits[:, 0], limits[:, 1]
        self._own_step = np.array([abs(p.raw_delta) for p in parameters])
        self._is_norm = np.array([p.name == "norm" for p in parameters], dtype=bool)

    def longest(self, theta: np.ndarray) -> np.ndarray:
        """Return how far a step may go: shapes by half their value, so that a bad start does not throw them away."""
        return np.where(self._is_norm, np.inf, 0.5 * np.abs(theta) + 10.0 * self._own_step)

    def statistic(self, theta: np.ndarray) -> float:
        return float(self._engine.models.evaluateBatch(self.keys, theta[None, :])[1][0])

    def local(self, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
        """Return half the gradient, half the curvature and the statistic."""
        d = theta.size
        # steps like XSPEC's: a small part of the value, or of the parameter's own delta at zero
        step = 1e-3 * np.where(theta != 0, np.abs(theta), np.where(self._own_step > 0, self._own_step, 1.0))
        up = np.minimum(theta + step, self.high)
        down = np.maximum(theta - step, self.low)
        points = np.repeat(theta[None, :], 2 * d + 1, axis=0)
        points[1 : d + 1][np.diag_indices(d)] = up
        points[d + 1 :][np.diag_indices(d)] = down
        folded, statistics = self._engine.models.evaluateBatch(self.keys, points)
        gradient, curvature = np.zeros(d), np.zeros((d, d))
        for number, (name, seen) in self._engine.evaluator.spectra_in_use.items():
            rates = sum(folded[number].values())
            slope = (rates[1 : d + 1] - rates[d + 1 :]) / (up - down)[:, None]
            first, second = _derivatives(name, seen, rates[0])
            gradient += 0.5 * slope @ first
            curvature += 0.5 * (slope * second) @ slope.T
        if self._engine.fit.bayes == "on":
            self._add_prior(gradient, curvature, theta, up, down)
        return gradient, curvature, float(statistics[0])

    def _add_prior(self, gradient, curvature, theta, up, down) -> None:
        """Add the derivatives of -2 ln prior, which is a sum over parameters."""
        models = self._engine.models
        points = np.stack([theta, up, down])
        for j, parameter in enumerate(self.parameters):
            table = np.repeat(models.table(parameter.model.name)[None, :], 3, axis=0)
            table[:, parameter.global_index - 1] = points[:, j]
            middle, above, below = minus_two_log_prior([parameter], {parameter.model.name: table})
            width = 0.5 * (up[j] - down[j])
            gradient[j] += 0.5 * (above - below) / (2.0 * width)
            curvature[j, j] += max(0.5 * (above - 2.0 * middle + below) / width**2, 0.0)


def _derivatives(name: str, seen, rates: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return first and second derivative of each bin's share with respect to its rate."""
    h = RATE_STEP * np.maximum(np.abs(rates), 1e-3 / seen.time)
    with np.errstate(all="ignore"):
        below, middle, above = STATISTICS[name](np.stack([rates - h, rates, rates + h]), seen)
    first = (above - below) / (2.0 * h)
    second = (above - 2.0 * middle + below) / h**2
    # bins in which the statistic bends down would make the step go uphill
    return first, np.maximum(second, 0.0)


def minimise(
    engine: Engine, parameters: list[Parameter], start: np.ndarray, most: int = MOST_STEPS, tolerance: float = 1e-4
) -> Minimum:
    """Minimise the statistic over `parameters` inside their hard limits.

    Parameters
    ----------
    engine : Engine
    parameters : list of Parameter
    start : (d,) float64
    most : int
        Steps at most.
    tolerance : float
        Change of the statistic below which it has converged.

    Returns
    -------
    Minimum
        The engine's current values are unchanged.
    """
    problem = _Problem(engine, parameters)
    theta = np.clip(start, problem.low, problem.high)
    damping, small, steps = 1e-3, 0, 0
    gradient, curvature, best = problem.local(theta)
    held = _held(theta, gradient, problem)
    while steps < most and small < 2 and damping < 1e10 and not held.all():
        steps += 1
        trial = _step(theta, gradient, curvature, held, damping, problem)
        value = problem.statistic(trial)
        if not value < best:
            # converged where no damping finds anything lower
            damping *= 10.0
            small = small + 1 if abs(value - best) < tolerance and damping > 1e2 else small
            continue
        # a strongly damped step gains little wherever it is
        small = small + 1 if best - value < tolerance and damping < 1.0 else 0
        theta, damping = trial, max(damping / 10.0, 1e-9)
        gradient, curvature, best = problem.local(theta)
        held = _held(theta, gradient, problem)
    return Minimum(theta, best, curvature, held, steps)


def _held(theta: np.ndarray, gradient: np.ndarray, problem: _Problem) -> np.ndarray:
    """Return which parameters sit at a limit that the statistic pushes them against."""
    return ((theta <= problem.low) & (gradient > 0)) | ((theta >= problem.high) & (gradient < 0))


def _step(theta, gradient, curvature, held, damping, problem: _Problem) -> np.ndarray:
    """Return the damped step, cut at the limits."""
    free = ~held
    matrix = curvature[np.ix_(free, free)]
    # scaled to unit diagonal, so that the damping means the same for every parameter
    scale = np.sqrt(np.maximum(np.diag(matrix), 1e-300))
    scaled = matrix / np.outer(scale, scale) + damping * np.eye(scale.size)
    move = np.linalg.lstsq(scaled, -gradient[free] / scale, rcond=None)[0] / scale
    longest = problem.longest(theta)[free]
    move = np.clip(move, -longest, longest)
    trial = theta.copy()
    trial[free] = np.clip(theta[free] + move, problem.low[free], problem.high[free])
    return trial


def perform(engine: Engine) -> np.ndarray:
    """Fit: set the free parameters to the minimum found, and their sigmas.

    Returns
    -------
    (d, d) float64
        Covariance of the free parameters; zero rows for those held at a limit.
    """
    parameters = engine.models.free_parameters
    most = engine.fit.nIterations if engine.fit.query == "no" else MOST_STEPS
    start = np.array([p.raw for p in parameters])
    found = minimise(engine, parameters, start, most)
    if engine.fit.query != "no":
        found = revive(engine, parameters, start, found, minimise)
    for parameter, value in zip(parameters, found.theta, strict=True):
        parameter.set_best(float(value))
    engine.revalued()
    covariance = _covariance(found)
    for parameter, variance, held in zip(parameters, np.diag(covariance), found.held, strict=True):
        parameter.set_sigma(-1.0 if held else float(np.sqrt(variance)))
    engine.console.tell(f"fit: statistic {found.statistic:.6g} after {found.steps} steps")
    return covariance


def _covariance(found: Minimum) -> np.ndarray:
    """Invert the curvature of the parameters that are free to move."""
    free = ~found.held & (np.diag(found.curvature) > 0)
    covariance = np.zeros_like(found.curvature)
    if free.any():
        matrix = found.curvature[np.ix_(free, free)]
        scale = np.sqrt(np.diag(matrix))
        covariance[np.ix_(free, free)] = np.linalg.pinv(matrix / np.outer(scale, scale)) / np.outer(scale, scale)
    return covariance


def rescale_norms(engine: Engine) -> None:
    """Multiply the free norms by one factor that brings the model to the data."""
    norms = [p for p in engine.models.free_parameters if p.name == "norm"]
    if not norms or not engine.evaluator.spectra_in_use:
        return
    keys = [(p.model.name, p.model.group, p.index) for p in norms]
    now = np.array([p.raw for p in norms])
    folded, _ = engine.models.evaluateBatch(keys, np.stack([now, np.zeros_like(now)]))
    wanted = changed = 0.0
    for number, (name, seen) in engine.evaluator.spectra_in_use.items():
        full, fixed = sum(folded[number].values())
        weight = (full - fixed) / seen.variance if name == "chi" else seen.time
        wanted += float(((seen.rate - fixed) * weight).sum())
        changed += float(((full - fixed) * weight).sum())
    if not (np.isfinite(wanted) and np.isfinite(changed)) or wanted <= 0 or changed <= 0:
        return
    for parameter, value in zip(norms, now, strict=True):
        low, high = parameter.hard_limits
        parameter.set_best(float(np.clip(value * wanted / changed, low, high)))
    engine.revalued()
