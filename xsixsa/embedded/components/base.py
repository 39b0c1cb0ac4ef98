"""What a model component is: its parameters, and a function of energy vectorised over theta."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np

__all__ = ["REDSHIFT", "Component", "ModelContext", "ParameterSpec", "column", "redshifted_edges", "trapezoid"]

#: So many values (rows times bins) are computed at once: their arrays stay in the processor's cache.
CACHE_VALUES = 2**15
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
    """One model component; a subclass sets the class attributes and writes ``_values`` and, if useful, ``_grid``.

    Attributes
    ----------
    name : str
        XSPEC's name.
    kind : str
        ``"add"`` (photons/cm2/s in each bin, for norm 1) or ``"mul"`` (a factor for each bin).
    parameters : tuple of ParameterSpec
        Without ``norm``, which the model code appends to additive components.
    scale : tuple of str
        Parameters that XSPEC calls scale parameters: they have a value and can never be thawed.
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
            Bin edges in keV, ascending; zero is lifted to `SMALLEST_ENERGY`.
        context : ModelContext
            Settings in force.

        Returns
        -------
        object
            Handed back to `evaluate` as ``prepared``; its type is the component's own affair.

        Raises
        ------
        ModelError
            When the settings ask for something the component cannot have (an unknown abundance table).
        """
        return self._grid(np.maximum(np.asarray(energies, dtype=float), SMALLEST_ENERGY), context)

    def evaluate(self, energies: np.ndarray, p: np.ndarray, context: ModelContext, prepared: Any = None) -> np.ndarray:
        """Evaluate at many parameter vectors at once.

        A row is the same to the last bit whatever stands beside it in the batch. Large batches are worked
        through in pieces that fit the processor's cache.

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
        if prepared is None:
            prepared = self.prepare(energies, context)
        p, bins = np.asarray(p, dtype=float), len(energies) - 1
        rows = max(CACHE_VALUES // bins, 1)
        if len(p) <= rows:
            return self._values(prepared, p)
        result = np.empty((len(p), bins))
        for start in range(0, len(p), rows):
            result[start : start + rows] = self._values(prepared, p[start : start + rows])
        return result

    def _grid(self, edges: np.ndarray, context: ModelContext) -> Any:
        """Build ``prepared`` from positive bin edges; the edges themselves unless a subclass knows better."""
        return edges

    def _values(self, prepared: Any, p: np.ndarray) -> np.ndarray:
        """Fill the (n, m) array of `evaluate`."""
        raise NotImplementedError


def column(p: np.ndarray, index: int) -> np.ndarray:
    """Parameter ``index`` of every theta as an (n, 1) array, contiguous so that results do not depend on strides."""
    return np.ascontiguousarray(p[:, index])[:, None]


def trapezoid(density: np.ndarray, half_widths: np.ndarray) -> np.ndarray:
    """Integrate a spectrum given at the bin edges by one trapezoid per bin, as many of XSPEC's components do.

    Parameters
    ----------
    density : (n, m + 1)
        Photons/cm2/s/keV at the edges.
    half_widths : (m,) or (n, m)
        Half the bin widths in keV.

    Returns
    -------
    (n, m)
    """
    flux = density[:, 1:] + density[:, :-1]
    flux *= half_widths
    return flux


def redshifted_edges(edges: np.ndarray, redshift: np.ndarray) -> np.ndarray:
    """Bin edges in the source's frame, rounded to single precision as XSPEC's older components hold them.

    In a narrow bin that rounding moves the width, and with it the photons in the bin, by parts in 10^4.

    Parameters
    ----------
    edges : (m + 1,)
        Observed bin edges, keV.
    redshift : (n, 1)

    Returns
    -------
    (n, m + 1) or (1, m + 1) float64
        One row where all redshifts are the same.
    """
    if np.all(redshift == redshift[0]):
        redshift = redshift[:1]
    moved = edges.astype(np.float32) * (np.float32(1.0) + redshift.astype(np.float32))
    return moved.astype(float)
