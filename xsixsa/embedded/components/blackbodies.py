"""Thermal spectra without lines: black bodies."""

from __future__ import annotations

import numpy as np

from xsixsa.embedded.components.base import Component, ModelContext, ParameterSpec, column, positive

__all__ = ["BBodyRad"]

#: bbodyrad: photons/cm2/s/keV of a sphere of 1 km at 10 kpc are this times E^2 / (exp(E/kT) - 1).
RADIUS_CONSTANT = 1.0344e-3


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
    x = edges * (1.0 / kt)
    # beyond exp(700) a photon density is zero anyway, and exp must not overflow
    np.minimum(x, 700.0, out=x)
    density = np.exp(x)
    density -= 1.0
    # exp(x) - 1 loses digits where x is small: x (1 + x/2 + x^2/6) is exact to 1e-13 there
    small = int(np.searchsorted(edges, SMALL_X * float(kt.max())))
    if small:
        head = x[:, :small]
        series = head * (1.0 + head * (0.5 + head * (1.0 / 6.0 + head * (1.0 / 24.0))))
        np.copyto(density[:, :small], series, where=head < SMALL_X)
    np.divide(squares, density, out=density)
    return density


SMALL_X = 1e-3


def trapezoid(density: np.ndarray, half_widths: np.ndarray) -> np.ndarray:
    """XSPEC's black bodies are integrated by one trapezoid per bin, whatever its width."""
    flux = density[:, 1:] + density[:, :-1]
    flux *= half_widths
    return flux


class BBodyRad(Component):
    """bbodyrad: ``1.0344e-3 E^2 / (exp(E/kT) - 1)`` photons/cm2/s/keV, one trapezoid per bin as in XSPEC."""

    name = "bbodyrad"
    kind = "add"
    parameters = (ParameterSpec("kT", "keV", 3.0, 0.03, 1e-4, 1e-3, 100.0, 200.0),)

    def prepare(self, energies: np.ndarray, context: ModelContext):
        edges = positive(energies)
        return edges, edges**2, 0.5 * RADIUS_CONSTANT * np.diff(edges)

    def evaluate(self, energies, p, context, prepared=None):
        edges, squares, half_widths = self.prepare(energies, context) if prepared is None else prepared
        return trapezoid(planck_photons(edges, squares, column(p, 0)), half_widths)
