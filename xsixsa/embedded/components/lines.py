"""Emission lines."""

from __future__ import annotations

import numpy as np
from scipy.special import ndtr

from xsixsa.embedded.components.base import Component, ParameterSpec, column

__all__ = ["Gaussian"]

LINE_ENERGY = ParameterSpec("LineE", "keV", 6.5, 0.065, 0.0, 0.0, 1e6, 1e6)
LINE_SIGMA = ParameterSpec("Sigma", "keV", 0.1, 0.001, 0.0, 0.0, 10.0, 20.0)

#: A line of zero width still falls into one bin: its sigma is lifted to this (keV), far below any bin.
SMALLEST_SIGMA = 1e-12


class Gaussian(Component):
    """gaussian: one photon/cm2/s in a normal profile, the difference of the error function at the bin edges."""

    name = "gaussian"
    kind = "add"
    parameters = (LINE_ENERGY, LINE_SIGMA)

    def evaluate(self, energies, p, context, prepared=None):
        centre, sigma = column(p, 0), np.maximum(column(p, 1), SMALLEST_SIGMA)
        cumulative = ndtr((energies - centre) / sigma)
        return cumulative[:, 1:] - cumulative[:, :-1]
