"""A second chance for additive components that a fit has lost.

From a poor start the norm of a component goes to nothing and its shape, on which the statistic then no longer depends,
wanders off: a minimum, but not the one wanted. So the shapes of such components are searched on a grid with the others
where they are, and the fit goes on from the best place.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import numpy as np

from xsixsa.embedded.parameter import Parameter
from xsixsa.embedded.state import Engine
from xsixsa.embedded.statistics import STATISTICS

__all__ = ["revive"]

# A component whose removal costs less than this is lost.
NOTHING = 1.0
# Where shapes are looked for: photon energies of X-ray instruments (keV) and indices, within the soft limits.
LOW, HIGH, POINTS = 0.03, 30.0, 25
MOST_PLACES = 1000
# Places to go on from, different by this factor (in the logarithm) in some shape.
MOST_STARTS, APART = 4, 0.7


def revive(engine: Engine, parameters: list[Parameter], start: np.ndarray, found, minimise: Callable):
    """Return a better minimum where a lost component finds a place, `found` otherwise.

    Parameters
    ----------
    engine : Engine
    parameters : list of Parameter
        The free ones.
    start : (d,) float64
        Where the fit began: its shapes are tried too.
    found : Minimum
    minimise : callable
        ``minimise(engine, parameters, start)``.
    """
    for norm in [i for i, p in enumerate(parameters) if p.name == "norm"]:
        if not _is_lost(engine, parameters, found, norm):
            continue
        # several places: the nearest basin is not always the deepest
        trials = [minimise(engine, parameters, p) for p in _places(engine, parameters, start, found.theta, norm)]
        found = min([found, *trials], key=lambda minimum: minimum.statistic)
    return found


def _keys(parameters: list[Parameter]) -> list[tuple[str, int, int]]:
    return [(p.model.name, p.model.group, p.index) for p in parameters]


def _is_lost(engine: Engine, parameters: list[Parameter], found, norm: int) -> bool:
    without = found.theta.copy()
    without[norm] = 0.0
    if parameters[norm].hard_limits[0] > 0:
        return False
    _, statistic = engine.models.evaluateBatch(_keys(parameters), without[None, :])
    return bool(statistic[0] - found.statistic < NOTHING)


def _places(
    engine: Engine, parameters: list[Parameter], start: np.ndarray, theta: np.ndarray, norm: int
) -> list[np.ndarray]:
    """Return parameters with the shapes and the norm that promise the lowest statistics, apart from one another."""
    component = parameters[norm].model.component_of(parameters[norm])
    shapes = [
        i
        for i, p in enumerate(parameters)
        if i != norm and p.model is parameters[norm].model and p.model.component_of(p) == component
    ]
    grids = [np.append(_grid(parameters[i]), [start[i], theta[i]]) for i in shapes]
    places = np.array(list(product(*grids)))[:MOST_PLACES]
    unit = np.repeat(theta[None, :], len(places), axis=0)
    unit[:, shapes] = places
    unit[:, norm] = 1.0
    folded, _ = engine.models.evaluateBatch(_keys(parameters), unit)
    unit[:, norm] = 0.0
    bare, _ = engine.models.evaluateBatch(_keys(parameters), unit)
    gain, best = np.zeros(len(places)), np.zeros(len(places))
    slope, bend = np.zeros(len(places)), np.zeros(len(places))
    for number, (name, seen) in engine.evaluator.spectra_in_use.items():
        base = sum(bare[number].values())
        added = sum(folded[number].values()) - base
        h = 1e-3 * np.maximum(base, 1e-3 / seen.time)
        with np.errstate(all="ignore"):
            below, middle, above = (STATISTICS[name](r, seen) for r in (base - h, base, base + h))
            slope += np.nansum((above - below) / (2 * h) * added, axis=1)
            bend += np.nansum(np.maximum((above - 2 * middle + below) / h**2, 0.0) * added**2, axis=1)
    usable = (slope < 0) & (bend > 0) & np.isfinite(slope) & np.isfinite(bend)
    gain[usable] = 0.5 * slope[usable] ** 2 / bend[usable]
    best[usable] = -slope[usable] / bend[usable]
    chosen: list[np.ndarray] = []
    size = np.log(np.maximum(np.abs(places), 1e-10))
    for i in np.argsort(-gain):
        apart = all(np.any(np.abs(size[i] - np.log(np.maximum(np.abs(o[shapes]), 1e-10))) > APART) for o in chosen)
        if gain[i] >= NOTHING and (apart or not shapes) and len(chosen) < MOST_STARTS:
            unit[i, norm] = min(best[i], parameters[norm].hard_limits[1])
            chosen.append(unit[i])
    return chosen


def _grid(parameter: Parameter) -> np.ndarray:
    """Return places inside the soft limits, even in the logarithm where they are positive."""
    _, _, _, bottom, top, _ = parameter.values
    low, high = max(bottom, LOW if bottom >= 0 else -5.0), min(top, HIGH)
    if not low < high:
        return np.empty(0)
    return np.geomspace(low, high, POINTS) if low > 0 else np.linspace(low, high, POINTS)
