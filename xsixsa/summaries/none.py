"""No summary: the spectrum itself, as standardised log counts."""

from __future__ import annotations

import numpy as np

from xsixsa.summaries.base import Standardiser, Summary, noisy

__all__ = ["NoSummary"]


class NoSummary(Summary):
    """log(1 + counts) of every bin, standardised by noisy draws of the training set.

    For spectra of up to about a hundred bins; with more the flow has to find the few directions that matter by itself.
    """

    name = "none"

    def __init__(self):
        super().__init__()
        self._scale: Standardiser | None = None

    def fit(self, total: np.ndarray, rng: np.random.Generator) -> None:
        """See :meth:`Summary.fit`."""
        self._scale = Standardiser(np.log1p(noisy(total, rng)))
        self.history = [{"used_bins": int(np.count_nonzero(self._scale.scale)), "size": len(self._scale.scale)}]

    def transform(self, counts: np.ndarray) -> np.ndarray:
        """See :meth:`Summary.transform`."""
        return self._scale(np.log1p(np.asarray(counts, np.float32)))

    def state(self) -> dict:
        """See :meth:`Summary.state`."""
        return {"name": self.name, "mean": self._scale.mean, "scale": self._scale.scale}

    @classmethod
    def from_state(cls, state: dict) -> NoSummary:
        """See :meth:`Summary.from_state`."""
        made = cls()
        made._scale = Standardiser.of(state["mean"], state["scale"])
        return made
