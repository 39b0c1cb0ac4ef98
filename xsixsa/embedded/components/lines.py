"""Lines: emission and absorption."""

from __future__ import annotations

import numpy as np
from scipy.special import ndtr

from xsixsa.embedded.components.base import REDSHIFT, Component, ParameterSpec, column

__all__ = ["Gabs", "Gaussian", "Lorentz", "RedshiftedGaussian"]

EMISSION_ENERGY = ParameterSpec("LineE", "keV", 6.5, 0.065, 0.0, 0.0, 1e6, 1e6)
EMISSION_SIGMA = ParameterSpec("Sigma", "keV", 0.1, 0.001, 0.0, 0.0, 10.0, 20.0)

#: A line of zero width still falls into one bin: its width is lifted to this (keV), far below any bin.
SMALLEST_WIDTH = 1e-12
#: XSPEC walks away from a line until less than this part of it is left, and puts the rest into the last bin.
GAUSSIAN_REST = 1e-8
LORENTZ_REST = 1e-6
#: Beyond this many sigma less than `GAUSSIAN_REST` is left.
GAUSSIAN_REACH = 5.7


def gaussian_rows(edges: np.ndarray, centre: np.ndarray, sigma: np.ndarray) -> np.ndarray:
    """Normal profiles, each of unit area, only computed where they are not zero.

    Parameters
    ----------
    edges : (m + 1,)
        Bin edges, keV.
    centre, sigma : (n,)
        keV.

    Returns
    -------
    (n, m)
        Photons in each bin: differences of the error function, with XSPEC's treatment of the far tails.
    """
    flux = np.zeros((len(centre), len(edges) - 1))
    sigma = np.maximum(sigma, SMALLEST_WIDTH)
    first = np.searchsorted(edges, centre - GAUSSIAN_REACH * sigma)
    last = np.searchsorted(edges, centre + GAUSSIAN_REACH * sigma)
    for row, mid, width, low, high in zip(flux, centre, sigma, first, last, strict=True):
        low = max(low - 1, 0)
        part = edges[low : high + 1] - mid
        part *= 1.0 / width
        ndtr(part, out=part)
        part[part < GAUSSIAN_REST] = 0.0
        part[part > 1.0 - GAUSSIAN_REST] = 1.0
        np.subtract(part[1:], part[:-1], out=row[low : low + len(part) - 1])
    return flux


class Gaussian(Component):
    """gaussian: one photon/cm2/s in a normal profile, the difference of the error function at the bin edges.

    Where less than 1e-8 of the line lies beyond an edge, XSPEC puts that rest into the bin before it.
    """

    name = "gaussian"
    kind = "add"
    parameters = (EMISSION_ENERGY, EMISSION_SIGMA)

    def _values(self, prepared: np.ndarray, p: np.ndarray) -> np.ndarray:
        return gaussian_rows(prepared, p[:, 0], p[:, 1])


class RedshiftedGaussian(Component):
    """zgauss: `Gaussian` with energy and width in the source's frame, divided by 1+z."""

    name = "zgauss"
    kind = "add"
    parameters = (EMISSION_ENERGY, EMISSION_SIGMA, REDSHIFT)

    def _values(self, prepared: np.ndarray, p: np.ndarray) -> np.ndarray:
        factor = 1.0 + p[:, 2]
        flux = gaussian_rows(prepared, p[:, 0] / factor, p[:, 1] / factor)
        flux /= factor[:, None]
        return flux


class Lorentz(Component):
    """lorentz: ``(W/2pi) / ((E-E_L)^2 + (W/2)^2)``, normalised over positive energies.

    XSPEC leaves out the far bins that together hold less than 1e-6 of the line and adds them to the last one kept.
    """

    name = "lorentz"
    kind = "add"
    parameters = (EMISSION_ENERGY, ParameterSpec("Width", "keV", 0.1, 0.001, 0.0, 0.0, 10.0, 20.0))

    def _values(self, prepared: np.ndarray, p: np.ndarray) -> np.ndarray:
        edges = prepared
        centre, half = column(p, 0), 0.5 * np.maximum(column(p, 1), SMALLEST_WIDTH)
        whole = 0.5 * np.pi + np.arctan(centre / half)
        part = (edges - centre) / half
        np.arctan(part, out=part)
        part /= whole
        first, last = part[:, :1].copy(), part[:, -1:].copy()
        below = edges < centre
        np.copyto(part, first, where=below & (part - first < LORENTZ_REST))
        np.copyto(part, last, where=~below & (last - part < LORENTZ_REST))
        return part[:, 1:] - part[:, :-1]


#: Outside this many sigma an absorption line changes nothing.
GABS_REACH = 9.0


class Gabs(Component):
    """gabs: ``exp(-Strength/(sigma sqrt(2 pi)) exp(-(E-E_L)^2/(2 sigma^2)))``, averaged over each bin.

    The average of the transmission, not the transmission of the average, is what XSPEC gives.
    """

    name = "gabs"
    kind = "mul"
    parameters = (
        ParameterSpec("LineE", "keV", 1.0, 0.01, 0.0, 0.0, 1e6, 1e6),
        ParameterSpec("Sigma", "keV", 0.01, 0.0001, 0.0, 0.0, 10.0, 20.0),
        ParameterSpec("Strength", "", 1.0, 0.01, 0.0, 0.0, 1e6, 1e6),
    )

    def _values(self, prepared: np.ndarray, p: np.ndarray) -> np.ndarray:
        factor = np.ones((len(p), len(prepared) - 1))
        for row, (centre, sigma, strength) in zip(factor, p, strict=True):
            self._one(prepared, float(centre), max(float(sigma), SMALLEST_WIDTH), float(strength), row)
        return factor

    def _one(self, edges: np.ndarray, centre: float, sigma: float, strength: float, row: np.ndarray) -> None:
        reach = GABS_REACH * sigma
        low = max(int(np.searchsorted(edges, centre - reach)) - 1, 0)
        high = int(np.searchsorted(edges, centre + reach))
        used = edges[low : high + 1]
        if len(used) < 2:
            return
        # in units of sigma; wide bins are cut to where the line is, then into pieces of at most one sigma
        inside = np.clip((used - centre) / sigma, -GABS_REACH, GABS_REACH)
        pieces = max(int(np.ceil(np.diff(inside).max())), 1)
        points, weights = np.polynomial.legendre.leggauss(6)
        half = 0.5 * np.diff(inside) / pieces
        depth = strength / (sigma * np.sqrt(2.0 * np.pi))
        lost = np.zeros(len(half))
        for piece in range(pieces):
            middle = inside[:-1] + (2 * piece + 1) * half
            for point, weight in zip(points, weights, strict=True):
                x = middle + point * half
                lost -= weight * half * np.expm1(-depth * np.exp(-0.5 * x * x))
        kept = 1.0 - lost * sigma / np.diff(used)
        # rounding must not make a black line negative
        np.maximum(kept, 0.0, out=row[low : low + len(lost)])
