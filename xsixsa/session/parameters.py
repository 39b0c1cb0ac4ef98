"""Read the model's parameters and give the free ones names that a user can type."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from xsixsa.errors import SessionError, UsageError
from xsixsa.session.defaults import default_limits
from xsixsa.session.records import Parameter

__all__ = [
    "Key",
    "ModelPart",
    "RawParameter",
    "expression_of",
    "find_parameter",
    "free_parameters",
    "key_of",
    "read_model",
    "read_parameters",
    "set_arguments",
    "values_within_limits",
]

Key = tuple[str, int, int]
"""(source, data group, number in the model of that group) of a parameter."""

_LIST_AT_MOST = 12


@dataclass(frozen=True)
class RawParameter:
    """Any parameter of the model: free, frozen or linked."""

    source: str
    group: int
    component: str
    parameter: str
    index: int
    local_index: int
    values: tuple[float, ...]
    """(value, delta, min, bottom, top, max); fewer for switches and scale factors, which cannot be free."""
    frozen: bool
    link: str
    unit: str
    prior: tuple

    @property
    def is_free(self) -> bool:
        """Whether a fit would move it."""
        return not self.frozen and not self.link and len(self.values) >= 6


@dataclass(frozen=True, eq=False)
class ModelPart:
    """The model of one source in one data group: its PyXspec object is asked for once and kept."""

    source_number: int
    source: str
    group: int
    expression: str
    model: Any


def key_of(parameter: RawParameter | Parameter) -> Key:
    """What tells a parameter from all others."""
    return parameter.source, parameter.group, parameter.local_index


def set_arguments(parts: Sequence[ModelPart], values: Mapping[Key, float | str]) -> list[Any]:
    """Arguments of ``AllModels.setPars`` that set parameters of all sources and groups with one recalculation."""
    arguments: list[Any] = []
    for part in parts:
        changes = {
            number: value
            for (source, group, number), value in values.items()
            if (source, group) == (part.source, part.group)
        }
        if changes:
            arguments += [part.model, changes]
    return arguments


def expression_of(parts: Sequence[ModelPart]) -> str:
    """The model; several sources as ``name: expression`` joined by semicolons."""
    by_source = {part.source: part.expression for part in parts}
    if list(by_source) == [""]:
        return by_source[""]
    return "; ".join(f"{name or 'unnamed'}: {expression}" for name, expression in by_source.items())


def values_within_limits(theta: ArrayLike, parameters: Sequence[Parameter]) -> list[float]:
    """One value for each parameter, as XSPEC takes them.

    Raises
    ------
    UsageError
        Their number is wrong, or one is not finite or outside the hard limits, where XSPEC would keep the old one.
    """
    values = np.asarray(theta, dtype=np.float64).ravel().tolist()
    if len(values) != len(parameters):
        names = ", ".join(p.name for p in parameters)
        raise UsageError(f"{len(values)} values for {len(parameters)} free parameters ({names})")
    for p, value in zip(parameters, values, strict=True):
        if not p.min <= value <= p.max:
            raise UsageError(f"{p.name} = {value:.6g} is outside its hard limits [{p.min:.6g}, {p.max:.6g}]")
    return values


def read_model(xspec: ModuleType) -> tuple[ModelPart, ...]:
    """One part per active source and data group, in the order of XSPEC's sources.

    Raises
    ------
    SessionError
        No model is active.
    """
    sources = dict(xspec.AllModels.sources)
    groups = max(1, int(xspec.AllData.nGroups))
    parts = []
    for number, source in sorted(sources.items()):
        for group in range(1, groups + 1):
            # PyXspec raises a plain Exception for a group that this source does not apply to
            try:
                model = xspec.AllModels(group, source)
            except Exception:
                continue
            parts.append(ModelPart(number, source, group, str(model.expression), model))
    if not parts:
        raise SessionError("no model is defined: define one first, for example Model('TBabs*powerlaw')")
    return tuple(parts)


def read_parameters(parts: Sequence[ModelPart]) -> tuple[RawParameter, ...]:
    """Every parameter of every part, in XSPEC's order."""
    return tuple(raw for part in parts for raw in _read_part(part))


def _read_part(part: ModelPart) -> Iterator[RawParameter]:
    first = int(part.model.startParIndex)
    local = 0
    for component_name in part.model.componentNames:
        component = getattr(part.model, component_name)
        for name in component.parameterNames:
            local += 1
            handle = getattr(component, name)
            yield RawParameter(
                source=part.source,
                group=part.group,
                component=str(component_name),
                parameter=str(name),
                index=first + local - 1,
                local_index=local,
                values=tuple(float(v) for v in handle.values),
                frozen=bool(handle.frozen),
                link=str(handle.link or "").strip(),
                unit=str(handle.unit or "").strip(),
                prior=_prior(handle),
            )


def _prior(handle: Any) -> tuple:
    # versions without Bayesian priors have no such attribute
    try:
        prior = handle.prior
    except Exception:
        return ()
    return tuple(prior) if prior else ()


def _native_prior(prior: tuple) -> tuple | None:
    """XSPEC's prior as (kind, hyper-parameters...), or None: an untouched parameter reports "cons"."""
    if not prior:
        return None
    kind = str(prior[0]).lower()
    if kind.startswith("cons"):
        return None
    return (kind, *(float(h) for h in prior[1:]))


def free_parameters(raws: Sequence[RawParameter]) -> tuple[Parameter, ...]:
    """The parameters that a fit would move, named by the shortest form that is unique among them.

    Raises
    ------
    SessionError
        There is none.
    """
    free = [raw for raw in raws if raw.is_free]
    if not free:
        raise SessionError("the model has no free parameter: thaw one, for example AllModels(1)(1).frozen = False")
    several_groups = len({raw.group for raw in raws}) > 1
    every_form = [_forms(raw) for raw in free]
    counts: dict[str, int] = {}
    for forms in every_form:
        for form in forms:
            counts[form] = counts.get(form, 0) + 1
    return tuple(
        Parameter(
            name=next((form for form in forms if counts[form] == 1), _full_name(raw, several_groups)),
            full_name=_full_name(raw, several_groups),
            component=raw.component,
            parameter=raw.parameter,
            unit=raw.unit,
            index=raw.index,
            local_index=raw.local_index,
            source=raw.source,
            group=raw.group,
            value=raw.values[0],
            delta=raw.values[1],
            min=raw.values[2],
            bottom=raw.values[3],
            top=raw.values[4],
            max=raw.values[5],
            native_prior=_native_prior(raw.prior),
            is_norm=raw.parameter.lower() == "norm",
            default_limits=default_limits(raw.component, raw.parameter),
        )
        for raw, forms in zip(free, every_form, strict=True)
    )


def _full_name(raw: RawParameter, with_group: bool) -> str:
    return (
        (f"{raw.source}:" if raw.source else "")
        + f"{raw.component}.{raw.parameter}"
        + (f"@{raw.group}" if with_group else "")
    )


def _forms(raw: RawParameter) -> tuple[str, ...]:
    """Everything that names this parameter, shortest first."""
    long = f"{raw.component}.{raw.parameter}"
    forms = [raw.parameter, long, f"{raw.parameter}@{raw.group}", f"{long}@{raw.group}"]
    if raw.source:
        forms += [f"{raw.source}:{form}" for form in forms]
    return tuple(forms)


def find_parameter(
    wanted: str | int, free: Sequence[Parameter], raws: Sequence[RawParameter], what: str = "the model"
) -> Parameter:
    """The free parameter that `wanted` names: any unique form, or XSPEC's index ("bkg:3" in a named source).

    Raises
    ------
    SessionError
        Nothing, or more than one parameter, has that name; or the parameter is frozen or linked.
    """
    hits = _matches(wanted, raws)
    free_keys = {(p.source, p.index): p for p in free}
    free_hits = [free_keys[raw.source, raw.index] for raw in hits if (raw.source, raw.index) in free_keys]
    if len(free_hits) == 1:
        return free_hits[0]
    if len(free_hits) > 1:
        names = ", ".join(p.name for p in free_hits)
        raise SessionError(f"{wanted!r} is ambiguous: it may be {names}")
    if hits:
        raw = hits[0]
        state = f"is linked ({raw.link})" if raw.link else "is frozen"
        raise SessionError(f"{wanted!r} {state} at {raw.values[0]:.6g}; the free parameters are {_listing(free)}")
    raise SessionError(
        f"{what} has no parameter {wanted!r}{_nearest(wanted, free)}; the free parameters are {_listing(free)}"
    )


def _matches(wanted: str | int, raws: Sequence[RawParameter]) -> list[RawParameter]:
    if not isinstance(wanted, str):
        hits = [raw for raw in raws if raw.index == int(wanted)]
        # an index without a source means the unnamed model, as at XSPEC's prompt
        return [raw for raw in hits if not raw.source] or hits
    text = wanted.strip()
    source, _, number = text.rpartition(":")
    if number.isdigit():
        return [raw for raw in _matches(int(number), raws) if not source or raw.source == source] or [
            raw for raw in raws if raw.source == source and raw.index == int(number)
        ]
    exact = [raw for raw in raws if text in _forms(raw)]
    return exact or [raw for raw in raws if text.lower() in (form.lower() for form in _forms(raw))]


def _listing(free: Sequence[Parameter]) -> str:
    names = [p.name for p in free]
    more = f" and {len(names) - _LIST_AT_MOST} more" if len(names) > _LIST_AT_MOST else ""
    return ", ".join(names[:_LIST_AT_MOST]) + more


def _nearest(wanted: str | int, free: Sequence[Parameter]) -> str:
    forms = {p.name.lower(): p.name for p in free} | {p.parameter.lower(): p.name for p in free}
    close = difflib.get_close_matches(str(wanted).lower(), list(forms), n=1)
    return f" (did you mean {forms[close[0]]}?)" if close else ""
