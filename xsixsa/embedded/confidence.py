"""``Fit.error``: how far a parameter can go before the statistic rises by a given amount."""

from __future__ import annotations

import numpy as np

from xsixsa.embedded.minimise import minimise
from xsixsa.embedded.parameter import Parameter
from xsixsa.embedded.state import Engine
from xsixsa.errors import ModelError, SessionError

__all__ = ["error"]

# 90 per cent for one parameter
DEFAULT_DELTA = 2.706
# A fit found on the way that is better by this much becomes the fit.
BETTER = 0.01
MOST_TRIALS = 40


def error(engine: Engine, text: str) -> None:
    """Run ``Fit.error(text)``: ``[stop n tol] [maximum x] [delta] parameters``, such as ``"2.706 1 3-5"``.

    Raises
    ------
    ModelError
        Where the text names no parameters.
    SessionError
        Before a fit.
    """
    delta, parameters = _read(engine, text)
    if engine.chains.in_use:
        engine.chains.set_errors(parameters, delta)
        return
    if engine.fit.covariance_matrix is None:
        raise SessionError("Fit.error needs a fit: Fit.perform first")
    for parameter in parameters:
        if not parameter.free:
            parameter.set_error(0.0, 0.0, "FFFFFTFFF")
            continue
        # a better minimum on the way is taken as the fit, and the search starts again from it
        for _ in range(5):
            if _interval(engine, parameter, delta):
                break


def _read(engine: Engine, text: str) -> tuple[float, list[Parameter]]:
    words = text.replace(",", " ").split()
    delta = DEFAULT_DELTA
    while words and words[0].lower() in ("stop", "maximum", "nonew"):
        keyword = words.pop(0).lower()
        # numbers of the keyword: limits of XSPEC's own search, which this one does not need
        del words[: {"stop": 2, "maximum": 1, "nonew": 0}[keyword]]
    chosen: list[Parameter] = []
    source = ""
    for word in words:
        if "." in word:
            delta = _positive(word, text)
            continue
        if ":" in word:
            source, word = word.split(":", 1)
        first, _, last = word.partition("-")
        if not first.isdigit() or (last and not last.isdigit()):
            raise ModelError(f"Fit.error({text!r}): {word!r} is neither a parameter nor a delta (which has a point)")
        chosen += [engine.models.parameter(source, i) for i in range(int(first), int(last or first) + 1)]
    if not chosen:
        raise ModelError(f"Fit.error({text!r}) names no parameter; write for example '2.706 1 3-5'")
    return delta, chosen


def _positive(word: str, text: str) -> float:
    try:
        value = float(word)
    except ValueError as failure:
        raise ModelError(f"Fit.error({text!r}): {word!r} is not a number") from failure
    if not 0 < value < np.inf:
        raise ModelError(f"Fit.error({text!r}): delta {word} is not above 0")
    return value


def _interval(engine: Engine, parameter: Parameter, delta: float) -> bool:
    """Search both sides; False where a better fit was found and taken."""
    bounds, flags = [], ["F"] * 9
    for side in (-1, 1):
        bound, better = _side(engine, parameter, delta, side, flags)
        if better is not None:
            for other, value in better:
                other.set_best(value)
            engine.revalued()
            flags[0] = "T"
            return False
        bounds.append(bound)
    parameter.set_error(bounds[0], bounds[1], "".join(flags))
    return True


def _side(engine: Engine, parameter: Parameter, delta: float, side: int, flags: list[str]):
    """Return the bound on one side, and the values of a better fit where one turned up."""
    best, value = engine.fit.statistic, parameter.raw
    limit = parameter.hard_limits[0 if side < 0 else 1]
    others = [p for p in engine.models.free_parameters if p is not parameter]
    start = np.array([p.raw for p in others])
    sigma = parameter.sigma if parameter.sigma > 0 else max(abs(parameter.values[1]), 1e-6 * abs(value), 1e-12)
    if value == limit:
        flags[3 if side < 0 else 4] = "T"
        return limit, None

    def rise(x: float, guess: np.ndarray) -> tuple[float, np.ndarray]:
        parameter.set_best(x)
        engine.revalued()
        if not others:
            return engine.fit.statistic - best - delta, guess
        found = minimise(engine, others, guess)
        return found.statistic - best - delta, found.theta

    try:
        inner, inner_rise, outer, guess = value, -delta, value + side * sigma * np.sqrt(delta), start
        for _ in range(MOST_TRIALS):
            outer = max(outer, limit) if side < 0 else min(outer, limit)
            outer_rise, guess = rise(outer, guess)
            if outer_rise < -delta - BETTER:
                return value, [(parameter, outer), *zip(others, guess.tolist(), strict=True)]
            if outer_rise >= 0 or outer == limit:
                break
            inner, inner_rise, outer = outer, outer_rise, value + 1.6 * (outer - value)
        if outer_rise < 0:
            flags[(3 if side < 0 else 4) if outer == limit else (6 if side < 0 else 7)] = "T"
            return outer, None
        return _bisect(rise, inner, inner_rise, outer, outer_rise, guess), None
    finally:
        parameter.set_best(value)
        for other, old in zip(others, start, strict=True):
            other.set_best(float(old))
        engine.revalued()


def _bisect(rise, inner: float, inner_rise: float, outer: float, outer_rise: float, guess: np.ndarray) -> float:
    """Close in on the crossing by the secant of the square root, kept inside the bracket."""
    for _ in range(MOST_TRIALS):
        share = inner_rise / (inner_rise - outer_rise)
        middle = inner + min(max(share, 0.1), 0.9) * (outer - inner)
        value, guess = rise(middle, guess)
        if abs(value) < 1e-3 or abs(outer - inner) < 1e-8 * abs(outer):
            return middle
        if value < 0:
            inner, inner_rise = middle, value
        else:
            outer, outer_rise = middle, value
    return 0.5 * (inner + outer)
