"""Thermal spectra of optically thick matter: black bodies and the multi-colour disc."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from xsixsa.embedded.components.base import (
    REDSHIFT,
    Component,
    ModelContext,
    ParameterSpec,
    column,
    redshifted_edges,
    trapezoid,
)

__all__ = ["BBody", "BBodyRad", "DiskBB", "RedshiftedBBody"]

#: Photons/cm2/s/keV of a sphere of 1 km at 10 kpc: this times E^2 / (exp(E/kT) - 1).
RADIUS_CONSTANT = 1.0344e-3
#: The same for 1e39 erg/s at 10 kpc, times E^2 / kT^4 / (exp(E/kT) - 1).
LUMINOSITY_CONSTANT = 8.0525
#: exp() of more than this is not needed: the photon density is zero there.
LARGEST_EXPONENT = 700.0


def temperature(bottom: float) -> ParameterSpec:
    """Declare kT; XSPEC's soft lower limit differs between the black bodies."""
    return ParameterSpec("kT", "keV", 3.0, 0.03, 1e-4, bottom, 100.0, 200.0)


def planck_photons(edges: np.ndarray, squares: np.ndarray, kt: np.ndarray) -> np.ndarray:
    """``E^2 / (exp(E/kT) - 1)`` at the bin edges.

    Parameters
    ----------
    edges, squares : (m + 1,)
        Edges in keV, and their squares.
    kt : (n, 1)
        Temperatures in keV.

    Returns
    -------
    (n, m + 1)
    """
    inverse = 1.0 / kt
    density = edges * inverse
    if edges[-1] * inverse.max() > LARGEST_EXPONENT:
        np.minimum(density, LARGEST_EXPONENT, out=density)
    np.exp(density, out=density)
    density -= 1.0
    np.divide(squares, density, out=density)
    return density


class BBodyRad(Component):
    """bbodyrad: ``1.0344e-3 E^2 / (exp(E/kT) - 1)`` photons/cm2/s/keV, one trapezoid per bin as in XSPEC."""

    name = "bbodyrad"
    kind = "add"
    parameters = (temperature(1e-3),)

    def _grid(self, edges: np.ndarray, context: ModelContext) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return edges, edges**2, 0.5 * RADIUS_CONSTANT * np.diff(edges)

    def _values(self, prepared: tuple[np.ndarray, np.ndarray, np.ndarray], p: np.ndarray) -> np.ndarray:
        edges, squares, half_widths = prepared
        return trapezoid(planck_photons(edges, squares, column(p, 0)), half_widths)


class BBody(Component):
    """bbody: ``8.0525 E^2 / kT^4 / (exp(E/kT) - 1)`` photons/cm2/s/keV, one trapezoid per bin as in XSPEC."""

    name = "bbody"
    kind = "add"
    parameters = (temperature(1e-2),)

    def _grid(self, edges: np.ndarray, context: ModelContext) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return edges, edges**2, 0.5 * LUMINOSITY_CONSTANT * np.diff(edges)

    def _values(self, prepared: tuple[np.ndarray, np.ndarray, np.ndarray], p: np.ndarray) -> np.ndarray:
        edges, squares, half_widths = prepared
        kt = column(p, 0)
        flux = trapezoid(planck_photons(edges, squares, kt), half_widths)
        flux *= kt**-4
        return flux


class RedshiftedBBody(Component):
    """zbbody: `BBody` at the energies ``E (1+z)``, divided by 1+z; one trapezoid per bin as in XSPEC."""

    name = "zbbody"
    kind = "add"
    parameters = (temperature(1e-2), REDSHIFT)

    def _grid(self, edges: np.ndarray, context: ModelContext) -> tuple[np.ndarray, np.ndarray]:
        return edges, edges**2

    def _values(self, prepared: tuple[np.ndarray, np.ndarray], p: np.ndarray) -> np.ndarray:
        edges, squares = prepared
        kt, redshift = column(p, 0), column(p, 1)
        factor = 1.0 + redshift
        widths = np.diff(redshifted_edges(edges, redshift), axis=1)
        flux = trapezoid(planck_photons(edges, squares, kt / factor), widths)
        flux *= 0.5 * LUMINOSITY_CONSTANT * factor * kt**-4
        return flux


#: XSPEC's disc spectrum over its exact integral, the middle of a ripple of +-9e-5 that its look-up table leaves.
DISK_CONSTANT = 1.004237
#: The disc table covers this range of ln(E/Tin) in steps of DISK_STEP.
DISK_FROM, DISK_TO, DISK_STEP = -30.0, 7.0, 0.005


@lru_cache(maxsize=1)
def disk_table() -> np.ndarray:
    """Photons of the multi-colour disc above an energy, as cubic pieces in ln(E/Tin).

    With ``G(x)`` and ``H(x)`` the integrals of ``y^(5/3)/(e^y-1)`` and ``y^2/(e^y-1)`` from x to infinity, the
    photons above ``x = E/Tin`` are ``3 (H(x) - x^(1/3) G(x))`` in units of ``8/3 K Tin^3`` (K that of `BBodyRad`):
    Mitsuda et al. 1984, PASJ 36, 741, eq. 4, integrated by parts.

    Returns
    -------
    (k, 4)
        Coefficients of 1, s, s^2, s^3, with s from 0 to 1 within a step.
    """
    nodes = np.arange(DISK_FROM, DISK_TO + 0.5 * DISK_STEP, DISK_STEP)
    points, weights = np.polynomial.legendre.leggauss(6)
    y = np.exp(nodes[:-1, None] + 0.5 * DISK_STEP * (1.0 + points))
    planck = 0.5 * DISK_STEP * weights * y / np.expm1(np.minimum(y, LARGEST_EXPONENT))

    def tail(power: float) -> np.ndarray:
        pieces = np.append((planck * y**power).sum(axis=1), 0.0)
        return np.cumsum(pieces[::-1])[::-1]

    x = np.exp(nodes)
    g, h = tail(5.0 / 3.0), tail(2.0)
    value = 3.0 * (h - np.cbrt(x) * g)
    slope = -np.cbrt(x) * g * DISK_STEP
    rise = np.diff(value)
    return np.stack(
        [value[:-1], slope[:-1], 3.0 * rise - 2.0 * slope[:-1] - slope[1:], slope[:-1] + slope[1:] - 2.0 * rise], axis=1
    )


class DiskBB(Component):
    """diskbb: the multi-colour disc of Mitsuda et al. 1984 and Makishima et al. 1986, integrated exactly over each bin.

    XSPEC interpolates a table whose ripple of 9e-5 around the exact spectrum, 0.42 % higher in norm, is not followed.
    """

    name = "diskbb"
    kind = "add"
    parameters = (ParameterSpec("Tin", "keV", 1.0, 0.01, 0.0, 0.0, 1000.0, 1000.0),)

    def _grid(self, edges: np.ndarray, context: ModelContext) -> tuple[np.ndarray, np.ndarray]:
        return (np.log(edges) - DISK_FROM) / DISK_STEP, disk_table()

    def _values(self, prepared: tuple[np.ndarray, np.ndarray], p: np.ndarray) -> np.ndarray:
        steps, table = prepared
        tin = np.maximum(column(p, 0), 1e-10)
        place = steps - np.log(tin) / DISK_STEP
        np.clip(place, 0.0, len(table) - 1e-9, out=place)
        piece = place.astype(np.intp)
        place -= piece
        c0, c1, c2, c3 = (table[:, k][piece] for k in range(4))
        c3 *= place
        c3 += c2
        c3 *= place
        c3 += c1
        c3 *= place
        c3 += c0
        flux = c3[:, :-1] - c3[:, 1:]
        flux *= DISK_CONSTANT * RADIUS_CONSTANT * (8.0 / 3.0) * tin**3
        return flux
