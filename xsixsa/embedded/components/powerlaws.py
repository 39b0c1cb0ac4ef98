"""Power laws and their relatives: photon spectra integrated over each bin."""

from __future__ import annotations

import numpy as np

from xsixsa.embedded.components.base import Component, ModelContext, ParameterSpec, column, positive

__all__ = ["PowerLaw", "power_integral"]

PHOTON_INDEX = ParameterSpec("PhoIndex", "", 1.0, 0.01, -3.0, -2.0, 9.0, 10.0)

#: Below this |1 - index| the difference of two powers loses digits: the midpoint in ln E is then better than 1e-8.
NEARLY_ONE = 1e-4


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
    edge_values = slope * log_edges
    np.exp(edge_values, out=edge_values)
    special = np.abs(slope[:, 0]) < NEARLY_ONE
    flux = edge_values[:, 1:] - edge_values[:, :-1]
    flux /= np.where(special[:, None], 1.0, slope)
    if special.any():
        width, middle = np.diff(log_edges), 0.5 * (log_edges[1:] + log_edges[:-1])
        flux[special] = width * np.exp(slope[special] * middle)
    return flux


class PowerLaw(Component):
    """powerlaw: ``E**-PhoIndex`` photons/cm2/s/keV, integrated exactly over each bin."""

    name = "powerlaw"
    kind = "add"
    parameters = (PHOTON_INDEX,)

    def prepare(self, energies: np.ndarray, context: ModelContext) -> np.ndarray:
        return np.log(positive(energies))

    def evaluate(self, energies, p, context, prepared=None):
        log_edges = self.prepare(energies, context) if prepared is None else prepared
        return power_integral(log_edges, column(p, 0))
