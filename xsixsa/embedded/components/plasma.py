"""Thermal bremsstrahlung."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from scipy.special import k0e

from xsixsa.embedded.components.base import Component, ModelContext, ParameterSpec, trapezoid

__all__ = ["Bremss", "gaunt_factor"]

# Free-free Gaunt factors over their Born approximation, as 1.0 + polynomials of second degree in u = E/kT: the
# coefficients published by Kellogg, Baldwin & Koch 1975, ApJ 199, 299, for the values of Karzas & Latter 1961,
# ApJS 6, 167, with the corrections by L. Molnar and J. Hughes that XSPEC names. One row for each node in
# gamma^2 (1, 1.778, 3, 5.623, 10, 30, 100, in units of 1e-3), one column for each range of u.
CONSTANT = np.array(
    [
        [1.001, 1.004, 1.017, 1.036, 1.056, 1.121],
        [1.001, 1.005, 1.017, 1.046, 1.073, 1.115],
        [0.9991, 1.005, 1.030, 1.055, 1.102, 1.176],
        [0.9970, 1.005, 1.035, 1.069, 1.134, 1.186],
        [0.9962, 1.004, 1.042, 1.100, 1.193, 1.306],
        [0.9874, 0.9962, 1.047, 1.156, 1.327, 1.485],
        [0.9681, 0.9755, 1.020, 1.208, 1.525, 1.965],
    ]
)
LINEAR = np.array(
    [
        [0.3029, 0.1616, 0.04757, 0.0130, 0.0049, -0.0032],
        [0.4905, 0.2155, 0.08357, 0.02041, 0.00739, 0.00029],
        [0.6540, 0.2833, 0.08057, 0.03257, 0.00759, -0.00151],
        [1.029, 0.3910, 0.1266, 0.05149, 0.01274, 0.00324],
        [0.9569, 0.4891, 0.1764, 0.05914, 0.01407, -0.00024],
        [1.236, 0.7579, 0.3260, 0.1077, 0.0280, 0.00548],
        [1.327, 1.017, 0.6017, 0.2050, 0.0605, 0.00187],
    ]
)
SQUARE = np.array(
    [
        [-1.323, -0.254, -0.01571, -0.0010, -0.000184, 0.00008],
        [-4.762, -0.3386, -0.03571, -0.001786, -0.0003, 0.00001],
        [-6.349, -0.4206, -0.02571, -0.003429, -0.000234, 0.00005],
        [-13.231, -0.590, -0.04571, -0.005714, -0.000445, -0.00004],
        [-7.672, -0.6852, -0.0643, -0.005857, -0.00042, 0.00004],
        [-7.143, -0.9947, -0.1200, -0.01007, -0.000851, -0.00004],
        [-3.175, -1.116, -0.2270, -0.01821, -0.001729, 0.00023],
    ]
)
#: Upper ends of the ranges of u and of gamma^2 (1e-3), and where and over what width gamma^2 is interpolated.
U_RANGES = (0.03, 0.30, 1.0, 5.0, 15.0)
SMALLEST_U = 0.003
GAMMA_RANGES = (1.773, 3.0, 5.6234, 10.0, 30.0)
GAMMA_NODES = (1.0, 1.7783, 3.0, 5.6234, 10.0, 30.0)
GAMMA_WIDTHS = (0.7783, 1.2217, 2.6234, 4.3766, 20.0, 70.0)

# Cold plasma, gamma^2 > 0.1: R. L. Kurucz's grid, read off Karzas & Latter's figure 5, in steps of half a decade:
# rows u from 10^-4, columns gamma^2 from 10^-1.
COLD = np.array(
    [
        [5.40, 5.25, 5.00, 4.69, 4.48, 4.16, 3.85],
        [4.77, 4.63, 4.40, 4.13, 3.87, 3.52, 3.27],
        [4.15, 4.02, 3.80, 3.57, 3.27, 2.98, 2.70],
        [3.54, 3.41, 3.22, 2.97, 2.70, 2.45, 2.20],
        [2.94, 2.81, 2.65, 2.44, 2.21, 2.01, 1.81],
        [2.41, 2.32, 2.19, 2.02, 1.84, 1.67, 1.50],
        [1.95, 1.90, 1.80, 1.68, 1.52, 1.41, 1.30],
        [1.55, 1.56, 1.51, 1.42, 1.33, 1.25, 1.17],
        [1.17, 1.30, 1.32, 1.30, 1.20, 1.15, 1.11],
        [0.86, 1.00, 1.15, 1.18, 1.15, 1.11, 1.08],
        [0.59, 0.76, 0.97, 1.09, 1.13, 1.10, 1.08],
        [0.38, 0.53, 0.76, 0.96, 1.08, 1.09, 1.09],
    ]
)
#: Ionisation energy (keV) in gamma^2 = Z^2 * this / kT, and the value of sqrt(3)/pi, as XSPEC has them.
RYDBERG = 0.01358
BORN = 0.5513
LARGEST_U = 50.0
#: Helium nuclei per hydrogen nucleus, times Z^2.
HELIUM = 4.0 * 0.085


def cold_gaunt(u: np.ndarray, gamma: float) -> np.ndarray:
    """Interpolate Kurucz's grid bilinearly in the logarithms of u and gamma^2; zero outside it, as in XSPEC."""
    place = 2.0 * np.log10(gamma) + 2.0
    j = int(place)
    if j >= COLD.shape[1] - 1:
        return np.zeros_like(u)
    t = place - j
    grid = (1.0 - t) * COLD[:, j] + t * COLD[:, j + 1]
    steps = 2.0 * np.log10(u) + 8.0
    # below the grid its first two rows are continued
    k = np.clip(np.trunc(steps).astype(np.intp), 0, len(grid) - 2)
    value = grid[k] + (steps - k) * (grid[k + 1] - grid[k])
    return np.where(steps >= len(grid) - 1, 0.0, value)


def gaunt_factor(u: np.ndarray, kt: float, charge: int, born: np.ndarray) -> np.ndarray:
    """Thermally averaged free-free Gaunt factor.

    Parameters
    ----------
    u : (k,)
        ``E/kT``, ascending.
    kt : float
        Temperature, keV.
    charge : int
        Z of the ion.
    born : (k,)
        The Born approximation, from `born_gaunt`.

    Returns
    -------
    (k,)
        Zero where u is above 50.
    """
    gamma = charge**2 * RYDBERG / kt
    thousands = 1000.0 * gamma
    if gamma > 0.1:
        value = cold_gaunt(u, gamma)
    elif thousands < 1.0:
        value = born.copy()
    else:
        m = int(np.searchsorted(GAMMA_RANGES, thousands))
        t = (thousands - GAMMA_NODES[m]) / GAMMA_WIDTHS[m]
        value = np.maximum(u, SMALLEST_U)
        ends = [0, *np.searchsorted(u, U_RANGES, side="right"), len(u)]
        for n, (start, stop) in enumerate(pairwise(ends)):
            a, b, c = ((1.0 - t) * table[m, n] + t * table[m + 1, n] for table in (CONSTANT, LINEAR, SQUARE))
            part = value[start:stop]
            part *= b + c * part
            part += a
        value *= born
    value[np.searchsorted(u, LARGEST_U, side="right") :] = 0.0
    return value


def born_gaunt(u: np.ndarray) -> np.ndarray:
    """Born approximation of the Gaunt factor, ``sqrt(3)/pi exp(u/2) K0(u/2)``."""
    return BORN * k0e(0.5 * u)


class Bremss(Component):
    """bremss: ``(g_1 + 4 * 0.085 g_2) exp(-E/kT) / (E sqrt(kT))`` with the Gaunt factors of hydrogen and helium.

    One trapezoid per bin, as in XSPEC; Kellogg, Baldwin & Koch 1975, ApJ 199, 299, and below 0.14 keV (hydrogen)
    or 0.54 keV (helium) Kurucz's interpolation.
    """

    name = "bremss"
    kind = "add"
    parameters = (ParameterSpec("kT", "keV", 7.0, 0.07, 1e-4, 1e-4, 100.0, 200.0),)

    def _grid(self, edges: np.ndarray, context: ModelContext) -> tuple[np.ndarray, np.ndarray]:
        return edges, 0.5 * np.diff(edges)

    def _values(self, prepared: tuple[np.ndarray, np.ndarray], p: np.ndarray) -> np.ndarray:
        edges, half_widths = prepared
        density = np.empty((len(p), len(edges)))
        for row, kt in zip(density, p[:, 0].tolist(), strict=True):
            u = edges / kt
            born = born_gaunt(u)
            row[:] = gaunt_factor(u, kt, 1, born)
            row += HELIUM * gaunt_factor(u, kt, 2, born)
            row *= np.exp(-u) / (edges * np.sqrt(kt))
        return trapezoid(density, half_widths)
