"""Power laws and their relatives: photon spectra integrated over each bin."""

from __future__ import annotations

import numpy as np

from xsixsa.embedded.components.base import (
    REDSHIFT,
    SMALLEST_ENERGY,
    Component,
    ModelContext,
    ParameterSpec,
    column,
)

__all__ = ["BrokenPowerLaw", "LogParabola", "PowerLaw", "RedshiftedPowerLaw", "power_integral"]

#: Below this |1 - index| the difference of two powers loses digits: the midpoint in ln E is then better than 1e-8.
NEARLY_ONE = 1e-4


def photon_index(name: str, value: float) -> ParameterSpec:
    """Declare a photon index with the limits that XSPEC gives to all of them."""
    return ParameterSpec(name, "", value, 0.01 * value, -3.0, -2.0, 9.0, 10.0)


def power_integral(log_edges: np.ndarray, index: np.ndarray) -> np.ndarray:
    """Integrate ``E**-index`` over each bin.

    Parameters
    ----------
    log_edges : (m + 1,)
        Natural logarithms of the bin edges (keV).
    index : (n, 1)
        Photon indices.

    Returns
    -------
    (n, m)
        ``(E2**(1-index) - E1**(1-index)) / (1-index)``, or the logarithm where index is 1.
    """
    slope = 1.0 - index
    powers = slope * log_edges
    np.exp(powers, out=powers)
    flux = powers[:, 1:] - powers[:, :-1]
    special = np.abs(slope[:, 0]) < NEARLY_ONE
    flux /= np.where(special[:, None], 1.0, slope)
    if special.any():
        middle = 0.5 * (log_edges[1:] + log_edges[:-1])
        flux[special] = np.diff(log_edges) * np.exp(slope[special] * middle)
    return flux


class PowerLaw(Component):
    """powerlaw: ``E**-PhoIndex`` photons/cm2/s/keV, integrated exactly over each bin."""

    name = "powerlaw"
    kind = "add"
    parameters = (photon_index("PhoIndex", 1.0),)

    def _grid(self, edges: np.ndarray, context: ModelContext) -> np.ndarray:
        return np.log(edges)

    def _values(self, prepared: np.ndarray, p: np.ndarray) -> np.ndarray:
        return power_integral(prepared, column(p, 0))


class RedshiftedPowerLaw(PowerLaw):
    """zpowerlw: ``(E (1+z))**-PhoIndex``; the norm stays per observed keV, as in XSPEC."""

    name = "zpowerlw"
    parameters = (photon_index("PhoIndex", 1.0), REDSHIFT)

    def _values(self, prepared: np.ndarray, p: np.ndarray) -> np.ndarray:
        index = column(p, 0)
        flux = power_integral(prepared, index)
        flux *= (1.0 + column(p, 1)) ** -index
        return flux


class BrokenPowerLaw(Component):
    """bknpower: two power laws that meet at BreakE, integrated exactly, also in the bin that holds the break."""

    name = "bknpower"
    kind = "add"
    parameters = (
        photon_index("PhoIndx1", 1.0),
        ParameterSpec("BreakE", "keV", 5.0, 0.05, 0.0, 0.01, 1e6, 1e6),
        photon_index("PhoIndx2", 2.0),
    )

    def _grid(self, edges: np.ndarray, context: ModelContext) -> np.ndarray:
        return np.log(edges)

    def _values(self, prepared: np.ndarray, p: np.ndarray) -> np.ndarray:
        flux = np.empty((len(p), len(prepared) - 1))
        for row, (index1, break_energy, index2) in zip(flux, p, strict=True):
            log_break = np.log(max(break_energy, SMALLEST_ENERGY))
            first, second = np.array([[index1]]), np.array([[index2]])
            # both laws are written relative to the break, where they agree
            low = np.minimum(prepared, log_break) - log_break
            high = np.maximum(prepared, log_break) - log_break
            row[:] = power_integral(low, first)[0]
            row += power_integral(high, second)[0]
            row *= np.exp((1.0 - index1) * log_break)
        return flux


#: Points and weights of the three-point Gauss-Legendre rule on (-1, 1).
GAUSS_POINTS = (-np.sqrt(0.6), 0.0, np.sqrt(0.6))
GAUSS_WEIGHTS = (5.0 / 9.0, 8.0 / 9.0, 5.0 / 9.0)
LARGEST_EXPONENT = 600.0


class LogParabola(Component):
    """logpar: ``(E/pivotE)**(-alpha - beta log10(E/pivotE))``, integrated over each bin.

    Three Gauss-Legendre points in ln E keep the integral better than 1e-7 in bins as wide as a tenth of a decade.
    Massaro et al. 2004, A&A 413, 489.
    """

    name = "logpar"
    kind = "add"
    parameters = (
        ParameterSpec("alpha", "", 1.5, 0.015, 0.0, 0.0, 4.0, 4.0),
        ParameterSpec("beta", "", 0.2, 0.002, -4.0, -4.0, 4.0, 4.0),
        # a scale parameter: XSPEC gives it a value and no limits
        ParameterSpec("pivotE", "", 1.0, -0.01, 1e-10, 1e-10, 1e20, 1e20),
    )
    scale = ("pivotE",)

    def _grid(self, edges: np.ndarray, context: ModelContext) -> tuple[np.ndarray, np.ndarray]:
        log_edges = np.log(edges)
        return 0.5 * (log_edges[1:] + log_edges[:-1]), 0.5 * np.diff(log_edges)

    def _values(self, prepared: tuple[np.ndarray, np.ndarray], p: np.ndarray) -> np.ndarray:
        middle, half = prepared
        alpha, beta, pivot = column(p, 0), column(p, 1) / np.log(10.0), column(p, 2)
        log_pivot = np.log(pivot)
        flux = np.zeros((len(p), len(middle)))
        for point, weight in zip(GAUSS_POINTS, GAUSS_WEIGHTS, strict=True):
            x = (middle + point * half) - log_pivot
            exponent = beta * x
            exponent += alpha - 1.0
            exponent *= x
            np.negative(exponent, out=exponent)
            # a pivot many decades away must not overflow
            np.minimum(exponent, LARGEST_EXPONENT, out=exponent)
            np.exp(exponent, out=exponent)
            exponent *= weight * half
            flux += exponent
        flux *= pivot
        return flux
