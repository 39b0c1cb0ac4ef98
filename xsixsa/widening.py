"""Explicit priors that reach beyond the hard limits: the limits are widened for the run, where the model allows it.

A model allows it when the engine takes the limits and can compute at them: a table model outside its grid, for
instance, fails or brings the engine down, and is tried in a process of its own. What is not allowed is cut,
renormalised and said.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np

from xsixsa.prior import Prior, explicit_distributions
from xsixsa.session import Session

__all__ = ["widened_prior"]

# An end that takes less than this off the prior is cut: a temperature from 0 where the component begins at 1e-4.
_WORTH_WIDENING = 1e-3


@contextmanager
def widened_prior(session: Session, spec: Mapping | Sequence[Mapping] | None) -> Iterator[Prior]:
    """The prior of a session, its hard limits wider inside where explicit distributions need it and the model allows.

    Distributions with an end are given all of their range. Those without (a Gaussian) are given what the component
    allows by default: nobody who writes 0.1 +- 0.1 for a column density asks for a negative one.

    Parameters
    ----------
    session
        The session; only its workers have the wider limits, and only inside.
    spec
        As for :meth:`xsixsa.Prior.build`.

    Yields
    ------
    Prior
        With a note for each limit that was widened, and for each distribution that was cut.

    Raises
    ------
    PriorError
        See :meth:`xsixsa.Prior.build`.
    """
    before = {p.name: p for p in session.parameters}
    wanted = _beyond(session, spec)
    allowed = {name: limits for name, limits in wanted.items() if _computes(session, name, limits)}
    with session.widened(allowed):
        prior = Prior.build(session, spec)
        notes = []
        for p in session.parameters:
            old = before[p.name]
            if (p.min, p.max) != (old.min, old.max):
                notes.append(
                    f"prior of {p.name}: hard limits [{old.min:g}, {old.max:g}] widened to [{p.min:g}, {p.max:g}] "
                    "for the run"
                )
        yield Prior(prior.parameters, prior.distributions, prior.origins, (*notes, *prior.notes))


def _beyond(session: Session, spec) -> dict[str, tuple[float, float]]:
    """Limits wanted, by name, of the parameters whose explicit distribution leaves the present ones."""
    explicit, wanted = explicit_distributions(session, spec), {}
    for p in session.parameters:
        if p.full_name not in explicit:
            continue
        distribution = explicit[p.full_name]
        ends, default = distribution.support, p.default_limits or (p.min, p.max)
        below, above = float(distribution.cdf(np.array(p.min))), 1.0 - float(distribution.cdf(np.array(p.max)))
        low, high = (end if np.isfinite(end) else d for end, d in zip(ends, default, strict=True))
        low = min(p.min, low) if below > _WORTH_WIDENING else p.min
        high = max(p.max, high) if above > _WORTH_WIDENING else p.max
        if low < p.min or high > p.max:
            wanted[p.name] = (low, high)
    return wanted


def _computes(session: Session, name: str, limits: tuple[float, float]) -> bool:
    """Whether the engine takes these limits and the model can be computed at both of them."""
    with session.widened({name: limits}):
        k = [p.name for p in session.parameters].index(name)
        p = session.parameters[k]
        ends = [v for v, free in ((limits[0], p.min <= limits[0]), (limits[1], p.max >= limits[1])) if free]
        theta = np.array([[q.value for q in session.parameters]] * len(ends))
        theta[:, k] = ends
        return bool(ends) and bool(session.evaluate(theta).valid.all())
