"""From a name in a model expression to a component."""

from __future__ import annotations

from difflib import get_close_matches

from xsixsa.embedded.components import (
    absorption,
    blackbodies,
    comptonisation,
    cutoff,
    factors,
    lines,
    plasma,
    powerlaws,
)
from xsixsa.embedded.components.base import Component
from xsixsa.errors import ModelError

__all__ = ["available", "find"]

# the order decides abbreviations as in XSPEC: additive before multiplicative, each in alphabetical order
_COMPONENTS: tuple[type[Component], ...] = (
    blackbodies.BBody,
    blackbodies.BBodyRad,
    powerlaws.BrokenPowerLaw,
    plasma.Bremss,
    comptonisation.CompTT,
    cutoff.CutoffPowerLaw,
    blackbodies.DiskBB,
    lines.Gaussian,
    powerlaws.LogParabola,
    lines.Lorentz,
    powerlaws.PowerLaw,
    blackbodies.RedshiftedBBody,
    lines.RedshiftedGaussian,
    powerlaws.RedshiftedPowerLaw,
    factors.Constant,
    factors.Edge,
    factors.ExpAbs,
    factors.ExpFac,
    lines.Gabs,
    factors.HighECut,
    absorption.PCFabs,
    absorption.PhAbs,
    absorption.TBabs,
    absorption.Wabs,
    factors.RedshiftedEdge,
    absorption.RedshiftedPhAbs,
    absorption.RedshiftedTBabs,
    absorption.RedshiftedWabs,
)


def available() -> tuple[type[Component], ...]:
    """Every component of the embedded engine, additive ones first."""
    return _COMPONENTS


def find(name: str) -> type[Component]:
    """Find a component by its XSPEC name or an abbreviation of two letters or more, whatever the case.

    Raises
    ------
    ModelError
        When nothing fits; names the nearest components.
    """
    wanted = name.strip().lower()
    for component in _COMPONENTS:
        if component.name.lower() == wanted:
            return component
    matches = [component for component in _COMPONENTS if len(wanted) > 1 and component.name.lower().startswith(wanted)]
    if matches:
        return matches[0]
    names = {component.name.lower(): component.name for component in _COMPONENTS}
    near = [names[key] for key in get_close_matches(wanted, names, n=3)] or [c.name for c in _COMPONENTS]
    raise ModelError(f"the embedded engine has no component {name!r}; nearest: {', '.join(near)}")
