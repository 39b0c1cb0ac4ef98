"""Photo-electric absorption by cold matter."""

from __future__ import annotations

from functools import lru_cache
from importlib.resources import files

import numpy as np

from xsixsa.embedded.components.base import Component, ModelContext, ParameterSpec, column
from xsixsa.errors import ModelError

__all__ = ["TBabs"]

HYDROGEN = ParameterSpec("nH", "10^22", 1.0, 0.01, 0.0, 0.0, 1e5, 1e6)


@lru_cache(maxsize=32)
def load_table(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Read ln E (keV) and ln sigma (1e-22 cm2 per hydrogen atom) of one packaged cross-section table."""
    with (files("xsixsa") / "embedded" / "data" / "cross_sections.npz").open("rb") as stream, np.load(stream) as tables:
        if f"{name}_energy" not in tables:
            have = sorted(key.removesuffix("_energy") for key in tables.files if key.endswith("_energy"))
            raise ModelError(f"no cross-sections for {name!r}; there are {', '.join(have)}")
        return np.log(tables[f"{name}_energy"].astype(float)), tables[f"{name}_log_sigma"].astype(float)


class TBabs(Component):
    """TBabs: ``exp(-nH sigma)``, sigma the mean of the cross-sections at the two edges of the bin, as in XSPEC."""

    name = "TBabs"
    kind = "mul"
    parameters = (HYDROGEN,)

    def _grid(self, edges: np.ndarray, context: ModelContext) -> np.ndarray:
        log_energy, log_sigma = load_table(f"tbabs_{context.abund}")
        sigma = np.exp(np.interp(np.log(edges), log_energy, log_sigma))
        return -0.5 * (sigma[1:] + sigma[:-1])

    def _values(self, prepared: np.ndarray, p: np.ndarray) -> np.ndarray:
        exponent = column(p, 0) * prepared
        return np.exp(exponent, out=exponent)
