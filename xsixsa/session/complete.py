"""Free parameters with what PyXspec does not tell: the fit's order of named models, and limits of fresh components."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from types import ModuleType

from xsixsa.errors import WorkerError
from xsixsa.session.isolated import default_limits_of, isolated, order_of_sources
from xsixsa.session.parameters import ModelPart, RawParameter, free_parameters
from xsixsa.session.records import Parameter

__all__ = ["complete"]

log = logging.getLogger(__name__)

_PATIENCE = 60.0


def complete(xspec: ModuleType, parts: Sequence[ModelPart], raws: Sequence[RawParameter]) -> tuple[Parameter, ...]:
    """Free parameters in the order of XSPEC's fits, each with the limits of an untouched one where they are known.

    Raises
    ------
    SessionError
        There is no free parameter.
    """
    parameters = _in_fit_order(xspec, raws, free_parameters(raws))
    if all(p.default_limits for p in parameters):
        return parameters
    try:
        answer = isolated(xspec, lambda: default_limits_of(xspec, parts), _PATIENCE)
    except WorkerError as error:
        log.info("limits of fresh components are not known: %s", error)
        return parameters
    limits = {(source, component, name): (low, high) for source, component, name, low, high in answer}
    return tuple(
        replace(p, default_limits=p.default_limits or limits.get((p.source, p.component, p.parameter)))
        for p in parameters
    )


def _in_fit_order(
    xspec: ModuleType, raws: Sequence[RawParameter], parameters: tuple[Parameter, ...]
) -> tuple[Parameter, ...]:
    if len({p.source for p in parameters}) < 2:
        return parameters
    try:
        order = isolated(xspec, lambda: order_of_sources(xspec, raws), _PATIENCE)
    except WorkerError as error:
        log.info("parameters are in the order of the sources: %s", error)
        return parameters
    return tuple(sorted(parameters, key=lambda p: (order.index(p.source), p.index)))
