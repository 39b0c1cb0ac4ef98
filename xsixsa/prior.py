"""The prior: independent distributions of the free parameters, with the unit cube and the standard normal behind them.

Inference works in ``z``, where the prior is a standard normal in every dimension (theta = ppf(Phi(z))).
That space is unbounded, so no density leaks over an edge; a posterior that piles up at an edge of the
prior has Gaussian tails there, as the base of a flow has; and the weight of a draw is N(z) L / q(z)
without any Jacobian.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from scipy import special

from xsixsa.distributions import Distribution, Exponential, Gaussian, LogUniform, Uniform, as_distribution, parse
from xsixsa.errors import PriorError, XsixsaError

__all__ = [
    "Distribution",
    "Exponential",
    "Gaussian",
    "LogUniform",
    "Prior",
    "Uniform",
    "as_distribution",
    "explicit_distributions",
    "parse",
]

# A range that a component brings by default is no statement about the source when it spans more than this.
WIDEST_DEFAULT = 1e3
# Beyond |z| = 8.2 the unit cube has no more digits next to 1.
_EDGE = np.nextafter(1.0, 0.0)
# Probability beyond the hard limits of a prior without an end from which the user is told.
_WORTH_SAYING = 1e-6


class Prior:
    """Joint prior of independent parameters.

    Parameters
    ----------
    parameters
        Free parameters in XSPEC's order; each needs ``name``.
    distributions
        One distribution for each of them.
    origins
        Where each came from, in words; stored with a result.
    notes
        What the user has to be told (cuts at hard limits, ...).
    """

    def __init__(
        self,
        parameters: Sequence,
        distributions: Iterable,
        origins: Iterable[str] | None = None,
        notes: Iterable[str] = (),
    ):
        self.parameters = tuple(parameters)
        self.distributions = tuple(as_distribution(d) for d in distributions)
        self.origins = tuple(origins) if origins is not None else ("explicit",) * len(self.parameters)
        self.notes = tuple(notes)
        if not len(self.parameters) == len(self.distributions) == len(self.origins):
            raise PriorError(f"{len(self.distributions)} distributions for {len(self.parameters)} parameters")

    @classmethod
    def build(cls, session, spec: Mapping | Sequence[Mapping] | None = None) -> Prior:
        """Prior of a session's free parameters by fixed rules; nothing is guessed.

        Explicit distributions of `spec` come first, then XSPEC's own (``bayes``), then the hard limits where those are
        a sensible range: log-uniform for a norm with a positive minimum, uniform for the rest.

        Parameters
        ----------
        session
            Offers ``parameters`` and ``find(name)``.
        spec
            Parameter name or XSPEC index -> (low, high), distribution, text such as ``"loguniform:1e-5:1e-2"``,
            or a frozen scipy distribution; or BXA's list of transformations, whole.

        Raises
        ------
        PriorError
            Names the parameter that has no usable prior, with an example of what to write.
        """
        explicit = explicit_distributions(session, spec)
        distributions, origins, notes = [], [], []
        for parameter in session.parameters:
            try:
                distribution, origin, note = _choose(parameter, explicit.get(parameter.full_name))
            except PriorError as error:
                raise PriorError(f"prior of {parameter.name}: {error}") from None
            distributions.append(distribution)
            origins.append(origin)
            notes.extend(f"prior of {parameter.name}: {n}" for n in note)
        return cls(session.parameters, distributions, origins, notes)

    @property
    def names(self) -> list[str]:
        """Parameter names in XSPEC's order."""
        return [p.name for p in self.parameters]

    @property
    def dim(self) -> int:
        """Number of parameters."""
        return len(self.parameters)

    def ppf(self, u: np.ndarray) -> np.ndarray:
        """Parameters for points of the unit cube, both of shape (n, d)."""
        u = self._columns(u)
        return np.stack([d.ppf(u[:, i]) for i, d in enumerate(self.distributions)], axis=1)

    def cdf(self, theta: np.ndarray) -> np.ndarray:
        """Points of the unit cube for parameters, both of shape (n, d)."""
        theta = self._columns(theta)
        return np.stack([d.cdf(theta[:, i]) for i, d in enumerate(self.distributions)], axis=1)

    def from_normal(self, z: np.ndarray) -> np.ndarray:
        """Parameters for points of the space in which the prior is a standard normal, both of shape (n, d)."""
        return self.ppf(np.clip(special.ndtr(self._columns(z)), 1 - _EDGE, _EDGE))

    def to_normal(self, theta: np.ndarray) -> np.ndarray:
        """Inverse of :meth:`from_normal`."""
        return special.ndtri(np.clip(self.cdf(theta), 1 - _EDGE, _EDGE))

    def log_prob(self, theta: np.ndarray) -> np.ndarray:
        """Log density of shape (n,) for theta of shape (n, d); ``-inf`` outside the support."""
        theta = self._columns(theta)
        return sum(d.log_prob(theta[:, i]) for i, d in enumerate(self.distributions))

    def sample(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """`n` independent draws, shape (n, d)."""
        return self.from_normal(rng.standard_normal((n, self.dim)))

    def describe(self) -> list[dict]:
        """One dictionary for each parameter: ``name``, ``prior`` as text, ``origin``."""
        rows = zip(self.parameters, self.distributions, self.origins, strict=True)
        return [{"name": p.name, "prior": str(d), "origin": o} for p, d, o in rows]

    def _columns(self, x) -> np.ndarray:
        x = np.asarray(x, dtype=np.float64)
        if x.ndim != 2 or x.shape[1] != self.dim:
            raise PriorError(f"expected an array of shape (n, {self.dim}), got {x.shape}")
        return x


def explicit_distributions(session, spec: Mapping | Sequence[Mapping] | None) -> dict[str, Distribution]:
    """What the user wrote, by full name of the parameter; see :meth:`Prior.build`.

    Raises
    ------
    PriorError
        Names the parameter that is not one, or is given twice, or whose distribution is none.
    """
    if isinstance(spec, (list, tuple)):
        from xsixsa.bxa.transformations import spec_of

        spec = spec_of(session, spec)
    return _resolve(session, spec or {})


def _resolve(session, spec: Mapping) -> dict[str, Distribution]:
    resolved: dict[str, Distribution] = {}
    for key, value in spec.items():
        try:
            parameter = session.find(key)
        except XsixsaError as error:
            raise PriorError(f"prior for {key!r}: {error}") from None
        if parameter.full_name in resolved:
            raise PriorError(f"prior for {key!r}: {parameter.name} already has one under another name")
        try:
            resolved[parameter.full_name] = as_distribution(value)
        except PriorError as error:
            raise PriorError(f"prior of {parameter.name}: {error}") from None
    return resolved


def _choose(parameter, explicit: Distribution | None) -> tuple[Distribution, str, list[str]]:
    if explicit is not None:
        distribution, origin = explicit, "explicit"
    elif parameter.native_prior:
        distribution, origin = _native(parameter), "XSPEC's bayes setting"
    else:
        return _from_limits(parameter), "hard limits", []
    low, high = parameter.min, parameter.max
    a, b = distribution.support
    cut = distribution.truncated(low, high)
    notes = []
    lost = 1.0 - float(distribution.cdf(np.array(high)) - distribution.cdf(np.array(low)))
    if np.isfinite(a) and a < low or np.isfinite(b) and b > high or lost > _WORTH_SAYING:
        notes.append(
            f"{distribution} reaches beyond the hard limits [{low:g}, {high:g}] and was cut there "
            f"({100 * lost:.2g} % of it), then renormalised"
        )
    return cut, origin, notes


def _native(parameter) -> Distribution:
    kind, *hyper = parameter.native_prior
    kind = str(kind).lower()
    if kind.startswith("exp"):
        return Exponential(hyper[0])
    if kind.startswith("jeff"):
        return LogUniform(parameter.min, parameter.max)
    if kind.startswith("gauss"):
        return Gaussian(hyper[0], hyper[1])
    raise PriorError(f"XSPEC prior {parameter.native_prior!r} is not known here; give an explicit one")


def _from_limits(parameter) -> Distribution:
    low, high, name = parameter.min, parameter.max, parameter.name
    if parameter.is_norm:
        if low > 0:
            return LogUniform(low, high)
        raise PriorError(
            f"none given, and the hard limits [{low:g}, {high:g}] of a norm are no prior; "
            f'write for instance {{"{name}": LogUniform(1e-5, 1e-2)}} or --prior {name}=loguniform:1e-5:1e-2'
        )
    untouched = parameter.default_limits is None or np.allclose(parameter.default_limits, (low, high), rtol=1e-6)
    if untouched and high - low > WIDEST_DEFAULT:
        raise PriorError(
            f"none given, and the limits [{low:g}, {high:g}] are the component's defaults, too wide to be a prior; "
            f'write for instance {{"{name}": (low, high)}} or --prior {name}=uniform:LOW:HIGH'
        )
    return Uniform(low, high)
