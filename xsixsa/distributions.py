"""One-dimensional prior distributions: normalised over their support, with exact inverse."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import numpy as np
from scipy import special

from xsixsa.errors import PriorError

__all__ = ["Distribution", "Exponential", "Frozen", "Gaussian", "LogUniform", "Uniform", "as_distribution", "parse"]


def _number(value, what: str) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise PriorError(f"{what} must be a number, not {value!r}") from None
    if not math.isfinite(number):
        raise PriorError(f"{what} must be finite, not {number}")
    return number


def _interval(low, high) -> tuple[float, float]:
    low, high = _number(low, "lower bound"), _number(high, "upper bound")
    if low == high:
        raise PriorError(f"zero-width range [{low:g}, {high:g}]; freeze the parameter instead, or widen the range")
    if low > high:
        raise PriorError(f"reversed range [{low:g}, {high:g}]; write the lower bound first")
    return low, high


class Distribution(ABC):
    """A normalised density in one dimension with its inverse cumulative distribution.

    Every method takes and returns arrays of any (equal) shape, in the parameter's own units.
    """

    @property
    @abstractmethod
    def support(self) -> tuple[float, float]:
        """Closed interval outside which the density is zero."""

    @abstractmethod
    def ppf(self, u: np.ndarray) -> np.ndarray:
        """Value below which the probability is `u`, 0 <= u <= 1."""

    @abstractmethod
    def cdf(self, x: np.ndarray) -> np.ndarray:
        """Probability below `x`."""

    @abstractmethod
    def log_prob(self, x: np.ndarray) -> np.ndarray:
        """Natural logarithm of the density, ``-inf`` outside the support."""

    @abstractmethod
    def __str__(self) -> str:
        """Text that :func:`parse` reads back where the distribution has one."""

    def truncated(self, low: float, high: float) -> Distribution:
        """The same distribution cut to [low, high] and normalised again.

        Raises
        ------
        PriorError
            If nothing of the distribution lies in the interval.
        """
        a, b = self.support
        if a >= low and b <= high:
            return self
        return _Truncated(self, max(a, low), min(b, high))

    def __repr__(self) -> str:
        return f"<{self}>"

    def _inside(self, x: np.ndarray, values: np.ndarray) -> np.ndarray:
        a, b = self.support
        return np.where((x >= a) & (x <= b), values, -np.inf)


class Uniform(Distribution):
    """Flat between `low` and `high`."""

    def __init__(self, low: float, high: float):
        self.low, self.high = _interval(low, high)

    @property
    def support(self):
        return self.low, self.high

    def ppf(self, u):
        return np.clip(self.low + np.asarray(u, float) * (self.high - self.low), self.low, self.high)

    def cdf(self, x):
        return np.clip((np.asarray(x, float) - self.low) / (self.high - self.low), 0.0, 1.0)

    def log_prob(self, x):
        x = np.asarray(x, float)
        return self._inside(x, np.full(x.shape, -math.log(self.high - self.low)))

    def truncated(self, low, high):
        _overlap(self, low, high)
        return type(self)(max(self.low, low), min(self.high, high))

    def __str__(self):
        return f"uniform:{self.low:.10g}:{self.high:.10g}"


class LogUniform(Distribution):
    """Flat in the logarithm between two positive bounds; the density is 1 / (x ln(high/low))."""

    def __init__(self, low: float, high: float):
        self.low, self.high = _interval(low, high)
        if self.low <= 0:
            raise PriorError(f"log-uniform range [{self.low:g}, {self.high:g}] must be positive; raise the lower bound")
        self._log = math.log(self.low), math.log(self.high)

    @property
    def support(self):
        return self.low, self.high

    def ppf(self, u):
        a, b = self._log
        return np.clip(np.exp(a + np.asarray(u, float) * (b - a)), self.low, self.high)

    def cdf(self, x):
        a, b = self._log
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.clip((np.log(np.maximum(x, 0.0)) - a) / (b - a), 0.0, 1.0)

    def log_prob(self, x):
        x = np.asarray(x, float)
        a, b = self._log
        with np.errstate(divide="ignore", invalid="ignore"):
            return self._inside(x, -np.log(x) - math.log(b - a))

    def truncated(self, low, high):
        _overlap(self, low, high)
        return type(self)(max(self.low, low), min(self.high, high))

    def __str__(self):
        return f"loguniform:{self.low:.10g}:{self.high:.10g}"


class Gaussian(Distribution):
    """Normal distribution with `mean` and standard deviation `sigma`."""

    def __init__(self, mean: float, sigma: float):
        self.mean, self.sigma = _number(mean, "mean"), _number(sigma, "sigma")
        if self.sigma <= 0:
            raise PriorError(f"sigma of a Gaussian must be positive, not {self.sigma:g}")

    @property
    def support(self):
        return -math.inf, math.inf

    def ppf(self, u):
        return self.mean + self.sigma * special.ndtri(np.asarray(u, float))

    def cdf(self, x):
        return special.ndtr((np.asarray(x, float) - self.mean) / self.sigma)

    def log_prob(self, x):
        t = (np.asarray(x, float) - self.mean) / self.sigma
        return -0.5 * t * t - math.log(self.sigma * math.sqrt(2 * math.pi))

    def __str__(self):
        return f"gaussian:{self.mean:.10g}:{self.sigma:.10g}"


class Exponential(Distribution):
    """XSPEC's ``bayes exp``: density exp(-x/scale)/scale for x >= 0."""

    def __init__(self, scale: float):
        self.scale = _number(scale, "scale")
        if self.scale <= 0:
            raise PriorError(f"scale of an exponential prior must be positive, not {self.scale:g}")

    @property
    def support(self):
        return 0.0, math.inf

    def ppf(self, u):
        return -self.scale * np.log1p(-np.asarray(u, float))

    def cdf(self, x):
        return -np.expm1(-np.maximum(np.asarray(x, float), 0.0) / self.scale)

    def log_prob(self, x):
        x = np.asarray(x, float)
        return self._inside(x, -x / self.scale - math.log(self.scale))

    def __str__(self):
        return f"exponential:{self.scale:.10g}"


class Frozen(Distribution):
    """A frozen continuous distribution of :mod:`scipy.stats`."""

    def __init__(self, frozen):
        if not all(callable(getattr(frozen, name, None)) for name in ("ppf", "cdf", "logpdf", "support")):
            raise PriorError(f"{frozen!r} is not a frozen continuous scipy distribution")
        self.frozen = frozen
        a, b = frozen.support()
        if not (np.ndim(a) == 0 and float(a) < float(b)):
            raise PriorError(f"scipy distribution has the support [{a}, {b}]: it needs one range of positive width")
        middle = float(frozen.ppf(0.5))
        if not math.isfinite(middle):
            raise PriorError(f"scipy distribution with arguments {getattr(frozen, 'args', '')} has no finite median")

    @property
    def support(self):
        a, b = self.frozen.support()
        return float(a), float(b)

    def ppf(self, u):
        return np.asarray(self.frozen.ppf(u), float)

    def cdf(self, x):
        return np.asarray(self.frozen.cdf(x), float)

    def log_prob(self, x):
        return np.asarray(self.frozen.logpdf(x), float)

    def __str__(self):
        name = getattr(getattr(self.frozen, "dist", None), "name", type(self.frozen).__name__)
        arguments = [f"{a:.10g}" for a in getattr(self.frozen, "args", ())]
        arguments += [f"{k}={v:.10g}" for k, v in getattr(self.frozen, "kwds", {}).items()]
        return f"scipy {name}({', '.join(arguments)})"


class _Truncated(Distribution):
    """`base` cut to [low, high] and normalised again."""

    def __init__(self, base: Distribution, low: float, high: float):
        _overlap(base, low, high)
        self.base, self.low, self.high = base, low, high
        self._c0, self._c1 = float(base.cdf(np.array(low))), float(base.cdf(np.array(high)))
        if not self._c1 - self._c0 > 1e-12:
            raise PriorError(f"{base} has no probability inside [{low:g}, {high:g}]")

    @property
    def support(self):
        return self.low, self.high

    def ppf(self, u):
        return np.clip(self.base.ppf(self._c0 + np.asarray(u, float) * (self._c1 - self._c0)), self.low, self.high)

    def cdf(self, x):
        return np.clip((self.base.cdf(x) - self._c0) / (self._c1 - self._c0), 0.0, 1.0)

    def log_prob(self, x):
        x = np.asarray(x, float)
        return self._inside(x, self.base.log_prob(x) - math.log(self._c1 - self._c0))

    def __str__(self):
        return f"{self.base} cut to [{self.low:.10g}, {self.high:.10g}]"


def _overlap(distribution: Distribution, low: float, high: float) -> None:
    a, b = distribution.support
    if not max(a, low) < min(b, high):
        raise PriorError(f"{distribution} lies outside the hard limits [{low:g}, {high:g}]")


_NAMES = {
    "uniform": (Uniform, 2),
    "loguniform": (LogUniform, 2),
    "gaussian": (Gaussian, 2),
    "gauss": (Gaussian, 2),
    "normal": (Gaussian, 2),
    "exponential": (Exponential, 1),
}


def parse(text: str) -> Distribution:
    """Distribution from ``DIST:ARGS``, for instance ``uniform:0:0.5`` or ``gaussian:1.8:0.2``.

    Raises
    ------
    PriorError
        If the name is unknown or its arguments do not fit.
    """
    name, *arguments = str(text).strip().split(":")
    known = _NAMES.get(name.strip().lower())
    if known is None:
        choices = ", ".join(sorted(set(_NAMES) - {"gauss", "normal"}))
        raise PriorError(f"unknown distribution {name!r} in {text!r}; known are {choices} (as in uniform:0:0.5)")
    kind, count = known
    if len(arguments) != count:
        raise PriorError(f"{name} takes {count} argument(s), as in {name}:{':'.join('12'[:count])}; got {text!r}")
    return kind(*arguments)


def as_distribution(value) -> Distribution:
    """Distribution from what a user may write: a distribution, (low, high), text, or a frozen scipy one.

    Raises
    ------
    PriorError
        If `value` is none of these.
    """
    if isinstance(value, Distribution):
        return value
    if isinstance(value, str):
        return parse(value)
    if isinstance(value, (tuple, list, np.ndarray)):
        if len(value) != 2:
            raise PriorError(f"a range needs two numbers (low, high), got {value!r}")
        return Uniform(*value)
    return Frozen(value)
