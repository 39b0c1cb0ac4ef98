"""From a name in a model expression to a component."""

from __future__ import annotations

import re
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
from xsixsa.embedded.components.tables import TableModel
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


#: Whole names in XSPEC that would pass for abbreviations of components here.
OTHERS_OF_XSPEC = frozenset({"disk"})
TABLE = re.compile(r"^(atable|mtable|etable)\s*\{(.+)\}$", re.IGNORECASE)


def find(name: str) -> type[Component] | Component:
    """Find a component by its XSPEC name, whatever the case, or an abbreviation of two letters or more.

    Parameters
    ----------
    name : str
        ``"powerlaw"``, ``"po"``, ``"tbabs"``, or a table model: ``"atable{file}"``, ``"mtable{file}"``,
        ``"etable{file}"``.

    Returns
    -------
    type or Component
        A class, or for a table model an instance that holds the file. An abbreviation means the first component that
        it fits, additive ones before multiplicative ones, each in alphabetical order, as in XSPEC.

    Raises
    ------
    ModelError
        When nothing fits; names the nearest components.
    DataError
        When the file of a table model is missing or damaged.
    """
    wanted = name.strip()
    if table := TABLE.match(wanted):
        return TableModel(table[2].strip(), table[1].lower())
    wanted = wanted.lower()
    names = {component.name.lower(): component for component in _COMPONENTS}
    if wanted in names:
        return names[wanted]
    if wanted in OTHERS_OF_XSPEC:
        raise ModelError(f"{name!r} is a component of XSPEC that the embedded engine lacks; it needs HEASoft")
    fits = [component for key, component in names.items() if len(wanted) > 1 and key.startswith(wanted)]
    if fits:
        return fits[0]
    near = get_close_matches(wanted, names, n=3) or list(names)
    raise ModelError(
        f"the embedded engine has no component {name!r}; nearest: {', '.join(names[key].name for key in near)}"
    )
