"""Hard limits that XSPEC gives a parameter nobody has touched.

A parameter still at these limits was never given a range by its user: a limit like [0, 1e6] for nH is the end of
the number line, not knowledge. The numbers were read from XSPEC 12.9.1.
"""

from __future__ import annotations

import re

__all__ = ["default_limits"]

_NORM = (0.0, 1e24)

# component (lower case): parameter: (minimum, maximum)
_LIMITS: dict[str, dict[str, tuple[float, float]]] = {
    "bbody": {"kT": (0.0001, 200.0)},
    "bbodyrad": {"kT": (0.0001, 200.0)},
    "bknpower": {"PhoIndx1": (-3.0, 10.0), "BreakE": (0.0, 1000000.0), "PhoIndx2": (-3.0, 10.0)},
    "bremss": {"kT": (0.0001, 200.0)},
    "comptt": {
        "Redshift": (-0.999, 10.0),
        "T0": (0.001, 100.0),
        "kT": (2.0, 500.0),
        "taup": (0.01, 200.0),
        "approx": (0.0, 200.0),
    },
    "constant": {"factor": (0.0, 10000000000.0)},
    "cutoffpl": {"PhoIndex": (-3.0, 10.0), "HighECut": (0.01, 500.0)},
    "diskbb": {"Tin": (0.0, 1000.0)},
    "edge": {"edgeE": (0.0, 100.0), "MaxTau": (0.0, 10.0)},
    "expabs": {"LowECut": (0.0, 200.0)},
    "expfac": {"Ampl": (0.0, 1000000.0), "Factor": (0.0, 1000000.0), "StartE": (0.0, 1000000.0)},
    "gabs": {"LineE": (0.0, 1000000.0), "Sigma": (0.0, 20.0), "Strength": (0.0, 1000000.0)},
    "gaussian": {"LineE": (0.0, 1000000.0), "Sigma": (0.0, 20.0)},
    "highecut": {"cutoffE": (0.0001, 1000000.0), "foldE": (0.0001, 1000000.0)},
    "logpar": {"alpha": (0.0, 4.0), "beta": (-4.0, 4.0)},
    "lorentz": {"LineE": (0.0, 1000000.0), "Width": (0.0, 20.0)},
    "pcfabs": {"nH": (0.0, 1000000.0), "CvrFract": (0.0, 1.0)},
    "phabs": {"nH": (0.0, 1000000.0)},
    "powerlaw": {"PhoIndex": (-3.0, 10.0)},
    "tbabs": {"nH": (0.0, 1000000.0)},
    "wabs": {"nH": (0.0, 1000000.0)},
    "zbbody": {"kT": (0.0001, 200.0), "Redshift": (-0.999, 10.0)},
    "zedge": {"edgeE": (0.0, 100.0), "MaxTau": (0.0, 10.0), "Redshift": (-0.999, 10.0)},
    "zgauss": {"LineE": (0.0, 1000000.0), "Sigma": (0.0, 20.0), "Redshift": (-0.999, 10.0)},
    "zphabs": {"nH": (0.0, 1000000.0), "Redshift": (-0.999, 10.0)},
    "zpowerlw": {"PhoIndex": (-3.0, 10.0), "Redshift": (-0.999, 10.0)},
    "ztbabs": {"nH": (0.0, 1000000.0), "Redshift": (-0.999, 10.0)},
    "zwabs": {"nH": (0.0, 1000000.0), "Redshift": (-0.999, 10.0)},
}


def default_limits(component: str, parameter: str) -> tuple[float, float] | None:
    """XSPEC's own hard limits of a parameter, or None for a component that is not in the table.

    Parameters
    ----------
    component
        Name as PyXspec gives it, with or without the position suffix of repeats (``powerlaw_3``).
    parameter
        Name of the parameter. ``norm`` has the same limits in every additive component.

    Returns
    -------
    (minimum, maximum) in the parameter's unit, or None.
    """
    if parameter == "norm":
        return _NORM
    known = _LIMITS.get(component.lower()) or _LIMITS.get(re.sub(r"_\d+$", "", component).lower())
    return None if known is None else known.get(parameter)
