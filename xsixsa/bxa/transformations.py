"""BXA's transformations as a prior: what a BXA script already holds is all that is needed.

BXA describes the prior of each parameter by a function from the unit interval to the sampled coordinate
(``transform``) and one from there to XSPEC's value (``aftertransform``). Uniform, log-uniform and Gaussian ones are
recognised; any other is taken as it is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace

import numpy as np
from scipy import special, stats

from xsixsa.distributions import Distribution, Frozen, Gaussian, LogUniform, Uniform, parse
from xsixsa.errors import PriorError
from xsixsa.prior import Prior

__all__ = ["Mapped", "prior_of_rows", "spec_of"]

_PROBES = np.concatenate([np.linspace(0.0, 1.0, 41)[1:-1], special.ndtr([-1.0, 1.0])])
_CLOSE = 1e-9
_BISECTIONS = 60


class Mapped(Distribution):
    """A prior given by its quantile function alone.

    Parameters
    ----------
    quantile
        From the unit interval to XSPEC's value, monotonic; called with one number at a time.
    text
        What it is, in words.
    """

    def __init__(self, quantile: Callable[[float], float], text: str):
        ends = float(quantile(0.0)), float(quantile(1.0))
        self._quantile, self._text = quantile, text
        # Falling functions are read backwards: the distribution is the same.
        self._falls = ends[1] < ends[0]
        values = self.ppf(np.linspace(0.0, 1.0, 201)[1:-1])
        if not np.isfinite(values).all() or (np.diff(values) < 0).any() or np.ptp(values) <= 0:
            raise PriorError(f"{text} is not a finite monotonic function of the unit interval")
        self._ends = min(ends), max(ends)

    @property
    def support(self):
        return self._ends

    def ppf(self, u):
        u = np.asarray(u, float)
        flat = (1 - u if self._falls else u).ravel()
        return np.array([float(self._quantile(x)) for x in flat.tolist()]).reshape(u.shape)

    def cdf(self, x):
        x = np.asarray(x, float)
        low, high = np.zeros(x.shape), np.ones(x.shape)
        for _ in range(_BISECTIONS):
            middle = 0.5 * (low + high)
            below = self.ppf(middle) < x
            low, high = np.where(below, middle, low), np.where(below, high, middle)
        return np.where(x <= self._ends[0], 0.0, np.where(x >= self._ends[1], 1.0, 0.5 * (low + high)))

    def log_prob(self, x):
        x = np.asarray(x, float)
        u, step = np.clip(self.cdf(x), 1e-6, 1 - 1e-6), 1e-6
        with np.errstate(divide="ignore"):
            slope = np.log(2 * step) - np.log(self.ppf(u + step) - self.ppf(u - step))
        return self._inside(x, slope)

    def __str__(self):
        return self._text


def spec_of(session, transformations: Sequence[Mapping]) -> dict[str, Distribution]:
    """Distributions by full parameter name, from BXA's list of transformations.

    Parameters
    ----------
    session
        An attached session, which the models of the list belong to.
    transformations
        Dictionaries with ``model``, ``index``, ``name``, ``transform`` and ``aftertransform``.

    Raises
    ------
    PriorError
        If this is no such list, an entry names no free parameter, two name the same, or a free parameter is not in
        the list: BXA leaves such a parameter where it is, which is to freeze it.
    """
    found: dict[str, Distribution] = {}
    for t in transformations:
        if not isinstance(t, Mapping) or not {"model", "index", "transform"} <= set(t):
            raise PriorError(
                "a list given as prior must be BXA's transformations (dictionaries with model, index, name, transform, "
                f"aftertransform), not {t!r}; otherwise write a dictionary of parameter names"
            )
        parameter = _parameter(session, t)
        if parameter.full_name in found:
            raise PriorError(f"two transformations for {parameter.name}")
        found[parameter.full_name] = _recognise(t, parameter)
    missing = [p.name for p in session.parameters if p.full_name not in found]
    if missing:
        raise PriorError(
            f"no transformation for the free parameter(s) {', '.join(missing)}; BXA would leave them where they are: "
            "freeze them, or add a transformation"
        )
    return found


def _parameter(session, t: Mapping):
    """The free parameter of a transformation: its model's first number in XSPEC's count tells data groups apart."""
    model, name = t["model"], t.get("name", "?")
    source, index = str(model.name or ""), int(model.startParIndex) + int(t["index"]) - 1
    for p in session.parameters:
        if (p.source, p.index) == (source, index):
            return p
    raise PriorError(f"transformation {name!r} is for parameter {index}, which is not free in this session")


def _recognise(t: Mapping, parameter) -> Distribution:
    after = t.get("aftertransform", lambda x: x)

    def quantile(u: float) -> float:
        return after(t["transform"](u))

    text = f"BXA transformation {t.get('name', parameter.name)}"
    try:
        low, high = (float(quantile(u)) for u in (0.0, 1.0))
        values = np.array([float(quantile(u)) for u in _PROBES])
    except (ArithmeticError, ValueError, TypeError) as error:
        raise PriorError(f"{text} fails on the unit interval: {error}") from None
    # Limits that went through logarithms and back are put where they were.
    low, high = (_snapped(x, (parameter.min, parameter.max)) for x in (low, high))
    if np.isfinite([low, high]).all() and high > low:
        if np.allclose(values, low + _PROBES * (high - low), rtol=_CLOSE, atol=_CLOSE * (high - low)):
            return Uniform(low, high)
        if low > 0 and np.allclose(np.log(values / low), _PROBES * np.log(high / low), rtol=_CLOSE, atol=_CLOSE):
            return LogUniform(low, high)
    gaussian = _gaussian(values, low, high)
    return gaussian or Mapped(quantile, text)


def _snapped(x: float, targets) -> float:
    return next((t for t in targets if np.isclose(x, t, rtol=_CLOSE, atol=0)), x)


def _gaussian(values: np.ndarray, low: float, high: float) -> Gaussian | None:
    """A Gaussian, unless BXA's clipping at the limits piles up a share of it there that could matter."""
    below, above = values[-2:]
    mean, sigma = 0.5 * (below + above), 0.5 * (above - below)
    if not sigma > 0:
        return None
    expected = mean + sigma * special.ndtri(_PROBES)
    clipped = special.ndtr((low - mean) / sigma) + special.ndtr((mean - high) / sigma)
    if np.allclose(values, expected, rtol=0, atol=1e-7 * sigma) and clipped < _CLOSE:
        return Gaussian(mean, sigma)
    return None


def prior_of_rows(rows: Sequence[Mapping]) -> Prior:
    """The prior of a saved result, from the texts that it holds.

    Parameters
    ----------
    rows
        ``Result.parameters``.

    Raises
    ------
    PriorError
        If a prior was a function that no text can hold.
    """
    distributions = []
    for row in rows:
        try:
            distributions.append(_from_text(row["prior"]))
        except PriorError:
            raise PriorError(
                f"the prior of {row['name']} ({row['prior']}) cannot be rebuilt from its text; "
                "hand over the prior that the run was given: result.bxa(xspec, prior=...)"
            ) from None
    parameters = [SimpleNamespace(**row) for row in rows]
    return Prior(parameters, distributions, [row["prior_origin"] for row in rows])


def _from_text(text: str) -> Distribution:
    cut = re.fullmatch(r"(.*) cut to \[(.+), (.+)\]", text)
    if cut:
        return _from_text(cut[1]).truncated(float(cut[2]), float(cut[3]))
    scipy = re.fullmatch(r"scipy (\w+)\((.*)\)", text)
    if not scipy:
        return parse(text)
    family = getattr(stats, scipy[1], None)
    if not isinstance(family, stats.rv_continuous):
        raise PriorError(f"scipy has no continuous distribution {scipy[1]!r}")
    words = [w.strip().split("=") for w in scipy[2].split(",") if w.strip()]
    return Frozen(family(*(float(w[0]) for w in words if len(w) == 1), **{w[0]: float(w[1]) for w in words if w[1:]}))
