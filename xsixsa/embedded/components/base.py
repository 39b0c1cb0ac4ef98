"""What a model component is: its parameters, and a function of energy vectorised over theta."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np

__all__ = ["REDSHIFT", "Component", "ModelContext", "ParameterSpec", "column"]

#: Energies at or below zero (some responses start at 0 keV) are taken as this, in keV, so that powers stay finite.
SMALLEST_ENERGY = 1e-10


class ParameterSpec(NamedTuple):
    """One parameter as XSPEC declares it: name, unit, start value, step and the four limits.

    A negative ``delta`` means frozen unless the user thaws it, as in XSPEC.
    """

    name: str
    unit: str
    value: float
    delta: float
    min: float
    bottom: float
    top: float
    max: float


#: The redshift parameter that XSPEC gives to every component with one.
REDSHIFT = ParameterSpec("Redshift", "", 0.0, -0.01, -0.999, -0.999, 10.0, 10.0)


@dataclass(frozen=True)
class ModelContext:
    """Settings of the session that change what a component computes.

    Attributes
    ----------
    abund : str
        Abundance table: wilm, angr, aspl, feld, aneb, grsa or lodd.
    xsect : str
        Photo-ionisation cross-sections: vern or bcmc.
    cosmo : tuple of float
        H0 (km/s/Mpc), q0, Lambda0.
    chatter : int
        How much the engine may say.
    """

    abund: str = "angr"
    xsect: str = "vern"
    cosmo: tuple[float, float, float] = (70.0, 0.0, 0.73)
    chatter: int = 10


class Component:
    """One model component; subclasses set the class attributes and write `evaluate`.

    Attributes
    ----------
    name : str
        XSPEC's name.
    kind : str
        ``"add"`` (photons/cm2/s in each bin, for norm 1) or ``"mul"`` (a factor for each bin).
    parameters : tuple of ParameterSpec
        Without ``norm``, which the model code appends to additive components.
    scale : tuple of str
        Parameters that XSPEC calls scale parameters: never fitted, only a value.
    """

    name: ClassVar[str] = ""
    kind: ClassVar[str] = "add"
    parameters: tuple[ParameterSpec, ...] = ()
    scale: ClassVar[tuple[str, ...]] = ()

    def prepare(self, energies: np.ndarray, context: ModelContext) -> Any:
        """Compute once what does not depend on theta.

        Parameters
        ----------
        energies : (m + 1,) float64
            Bin edges in keV, ascending.
        context : ModelContext
            Settings in force.

        Returns
        -------
        object
            Handed back to `evaluate` as ``prepared``; its type is the component's own affair.
        """
        return None

    def evaluate(self, energies: np.ndarray, p: np.ndarray, context: ModelContext, prepared: Any = None) -> np.ndarray:
        """Evaluate at many parameter vectors at once.

        The array is written row by row with elementwise operations only, so that a row is the same to
        the last bit whatever stands beside it. Callers keep ``n * m`` small enough for the cache
        (some 10^4 to 10^5 values): larger blocks are correct, only slower.

        Parameters
        ----------
        energies : (m + 1,) float64
            Bin edges in keV, ascending.
        p : (n, k) float64
            Parameter values in the order of ``parameters``.
        context : ModelContext
            Settings in force.
        prepared : object, optional
            What `prepare` returned for the same energies and context; computed here when absent.

        Returns
        -------
        (n, m) float64
            Photons/cm2/s in each bin (additive) or the factor of each bin (multiplicative). Always a
            new array that the caller may change in place.
        """
        raise NotImplementedError


def column(p: np.ndarray, index: int) -> np.ndarray:
    """Parameter ``index`` of every theta as an (n, 1) array, contiguous so that results do not depend on strides."""
    return np.ascontiguousarray(p[:, index], dtype=float)[:, None]


def positive(energies: np.ndarray) -> np.ndarray:
    """Bin edges with zero lifted to `SMALLEST_ENERGY`, where logarithms and powers exist."""
    return np.maximum(np.asarray(energies, dtype=float), SMALLEST_ENERGY)
