"""Multiplicative components that are a simple function of energy."""

from __future__ import annotations

import numpy as np

from xsixsa.embedded.components.base import Component, ParameterSpec, column

__all__ = ["Constant"]


class Constant(Component):
    """constant: the same factor in every bin."""

    name = "constant"
    kind = "mul"
    parameters = (ParameterSpec("factor", "", 1.0, 0.01, 0.0, 0.0, 1e10, 1e10),)

    def evaluate(self, energies, p, context, prepared=None):
        return np.repeat(column(p, 0), len(energies) - 1, axis=1)
