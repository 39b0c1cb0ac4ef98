"""Comptonisation of soft photons in a hot plasma."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array
from scipy.special import gammainc, gammaln

from xsixsa.embedded.components.base import REDSHIFT, Component, ModelContext, ParameterSpec, column, redshifted_edges

__all__ = ["CompTT", "diffusion_rate", "spectral_index"]

ELECTRON_MASS = 511.0
#: XSPEC bounds the spectral index: a steeper spectrum is a Wien bump and nothing else.
STEEPEST = 10.0
#: The spectrum is smooth in ln E: cubic interpolation between nodes this far apart is better than 1e-6.
NODE_STEP = 0.03


def diffusion_rate(tau: float, sphere: bool) -> float:
    """Escape rate beta of photons from a disc or a sphere of optical depth tau: Titarchuk 1994, ApJ 434, 570, 27-28."""
    if sphere:
        if tau <= 0.1:
            return np.log(4.0 / (3.0 * tau))
        thick = np.pi**2 / 3.0 / (tau + 2.0 / 3.0) ** 2 * -np.expm1(-0.7 * tau)
        return thick + np.exp(-1.4 * tau) * np.log(4.0 / (3.0 * tau))
    if tau <= 0.1:
        return np.log(1.0 / (tau * np.log(1.53 / tau)))
    thick = np.pi**2 / 12.0 / (tau + 2.0 / 3.0) ** 2 * -np.expm1(-1.35 * tau)
    return thick + 0.45 * np.exp(-3.7 * tau) * np.log(10.0 / (3.0 * tau))


def spectral_index(beta: float, theta: float) -> float:
    """Energy index alpha of the Comptonised power law.

    Solves ``beta = alpha ln(1 + (alpha+3) theta/(1+theta) + 4 d0(alpha)^(1/alpha) theta^2)``, equation 17 of
    Titarchuk & Lyubarskij 1995, ApJ 450, 876, by repeated substitution from the non-relativistic value, to 1e-4 as
    XSPEC does.

    Parameters
    ----------
    beta : float
        From `diffusion_rate`.
    theta : float
        Electron temperature in units of the electron's rest energy.
    """
    alpha = min(np.sqrt(2.25 + beta / theta) - 1.5, STEEPEST)
    for _ in range(50):
        d0 = 3.0 * ((alpha + 3.0) * alpha + 4.0) / ((alpha + 3.0) * (alpha + 2.0) ** 2)
        log_gamma = gammaln(2.0 * alpha + 2.0)
        # a first guess can be far too steep: XSPEC's bound on d0 then leads back
        d0 = d0 * np.exp(log_gamma) if log_gamma <= 70.0 else 1e34
        gain = 1.0 + (alpha + 3.0) * theta / (1.0 + theta) + 4.0 * d0 ** (1.0 / alpha) * theta**2
        previous, alpha = alpha, beta / np.log(gain)
        if abs(alpha - previous) <= 1e-4:
            break
    return min(alpha, STEEPEST)


def seed_distribution(te: float, tau: float, sphere: bool) -> float:
    """Part of the photons that the plasma scatters, which shifts the spectrum: Hua & Titarchuk 1995, ApJ 449, 188."""
    tau_effective = tau / (1.0 + (te / 39.2) ** 0.86)
    if tau_effective < 0.01:
        return 0.5 * tau_effective
    escape = -np.expm1(-tau_effective)
    if sphere:
        return 1.0 - 3.0 / tau_effective * (1.0 - 2.0 / tau_effective + 2.0 / tau_effective**2 * escape)
    return 1.0 - escape / tau_effective


LAGUERRE_POINTS, LAGUERRE_WEIGHTS = np.polynomial.laguerre.laggauss(10)


def log_density(x: np.ndarray, seed: float, alpha: float, scattered: float) -> np.ndarray:
    """Natural logarithm of the photon density of a Wien seed spectrum after Comptonisation.

    Titarchuk 1994, ApJ 434, 570: the Green's function of the Kompaneets equation integrated over the seed, whose
    inner integral takes ten Gauss-Laguerre points as in XSPEC.

    Parameters
    ----------
    x : (k,)
        ``E/kT`` of the electrons.
    seed : float
        Seed temperature over electron temperature.
    alpha : float
        From `spectral_index`.
    scattered : float
        From `seed_distribution`.
    """
    y = x / seed
    log_y = np.log(y)
    order = alpha + 3.0
    shifted = x * scattered ** (1.0 / order)
    with np.errstate(divide="ignore"):
        below = np.log(gammainc(order, y)) + gammaln(order)
    # far below the seed's energies the incomplete gamma function underflows: its first term remains
    below = np.where(np.isfinite(below), below, order * log_y - np.log(order))
    total = np.zeros_like(x)
    for point, weight in zip(LAGUERRE_POINTS, LAGUERRE_WEIGHTS, strict=True):
        base = shifted + point
        constant = alpha * np.log(point) - gammaln(2.0 * alpha + 4.0)
        total += weight / alpha * (base - order) * np.exp((alpha + 2.0) * np.log(base) + constant)
    up = np.log(total) - (alpha + 1.0) * log_y - x + np.log(2.0 * alpha + 3.0) + below
    soft = 2.0 * log_y - y - np.log(order)
    return np.logaddexp(up, soft) + np.log(0.5 * alpha * order / ((2.0 * alpha + 3.0) * seed))


@dataclass(frozen=True)
class CompTTGrid:
    """Bin edges, the nodes of the interpolation, and the matrix from nodes to edges."""

    edges: np.ndarray
    nodes: np.ndarray
    matrix: csr_array


def cubic_matrix(positions: np.ndarray, size: int) -> csr_array:
    """Weights of the cubic through the four nodes around each position (in units of the node distance)."""
    start = np.clip(np.floor(positions).astype(np.intp) - 1, 0, size - 4)
    t = positions - start
    weights = np.stack(
        [
            -(t - 1) * (t - 2) * (t - 3) / 6,
            t * (t - 2) * (t - 3) / 2,
            -t * (t - 1) * (t - 3) / 2,
            t * (t - 1) * (t - 2) / 6,
        ],
        axis=1,
    )
    columns = start[:, None] + np.arange(4)
    rows = np.arange(0, 4 * len(positions) + 1, 4)
    return csr_array((weights.ravel(), columns.ravel(), rows), shape=(len(positions), size))


class CompTT(Component):
    """compTT: Wien photons Comptonised in a hot plasma, disc (approx <= 1) or sphere (approx > 1).

    Titarchuk 1994, ApJ 434, 570; Hua & Titarchuk 1995, ApJ 449, 188; Titarchuk & Lyubarskij 1995, ApJ 450, 876.
    One trapezoid per bin, as in XSPEC. The density is computed at nodes in ln E and interpolated to the bin edges.
    """

    name = "compTT"
    kind = "add"
    parameters = (
        REDSHIFT,
        ParameterSpec("T0", "keV", 0.1, 0.001, 0.001, 0.01, 100.0, 100.0),
        ParameterSpec("kT", "keV", 50.0, 0.5, 2.0, 2.0, 500.0, 500.0),
        ParameterSpec("taup", "", 1.0, 0.01, 0.01, 0.01, 100.0, 200.0),
        ParameterSpec("approx", "", 1.0, -0.01, 0.0, 0.0, 5.0, 200.0),
    )

    def _grid(self, edges: np.ndarray, context: ModelContext) -> CompTTGrid:
        # a first edge at (almost) zero would stretch the nodes over many decades where there is nothing to see
        log_edges = np.log(np.maximum(edges, 1e-3 * edges[1]))
        size = max(int(np.ceil((log_edges[-1] - log_edges[0]) / NODE_STEP)) + 1, 4)
        nodes = np.linspace(log_edges[0], log_edges[-1], size)
        positions = (log_edges - nodes[0]) * ((size - 1) / (nodes[-1] - nodes[0]))
        return CompTTGrid(edges, np.exp(nodes), cubic_matrix(positions, size))

    def _values(self, prepared: CompTTGrid, p: np.ndarray) -> np.ndarray:
        logarithms = np.empty((len(p), len(prepared.nodes)))
        for row, (redshift, t0, te, tau, approx) in zip(logarithms, p.tolist(), strict=True):
            sphere = abs(approx) > 1.0
            alpha = spectral_index(diffusion_rate(tau, sphere), te / ELECTRON_MASS)
            x = prepared.nodes * ((1.0 + redshift) / te)
            row[:] = log_density(x, t0 / te, alpha, seed_distribution(te, tau, sphere))
        # one product per theta, so that a row does not depend on the others in the batch
        density = np.stack([prepared.matrix @ row for row in logarithms])
        np.exp(density, out=density)
        redshift = column(p, 0)
        flux = density[:, 1:] + density[:, :-1]
        flux *= np.diff(redshifted_edges(prepared.edges, redshift), axis=1)
        flux *= 0.5 / (1.0 + redshift)
        return flux
