"""Principal components of log counts."""

from __future__ import annotations

import numpy as np

from xsixsa.errors import UsageError
from xsixsa.summaries.base import Standardiser, Summary, noisy, pack, unpack

__all__ = ["PCA"]


class PCA(Summary):
    """Principal components of standardised log(1 + counts) of noisy draws.

    Parameters
    ----------
    variance
        Share of the variance that the components kept explain; 99.5 % as published.
    most
        Components at most: noise has as many directions as there are bins, and of faint spectra it is most of the
        variance.
    """

    name = "pca"

    def __init__(self, variance: float = 0.995, most: int = 256):
        super().__init__()
        if not 0 < variance <= 1:
            raise UsageError(f"variance kept by PCA must lie in (0, 1], not {variance!r}")
        if int(most) != most or most < 1:
            raise UsageError(f"most components of PCA must be a whole number of at least 1, not {most!r}")
        self.variance, self.most = float(variance), int(most)
        self._scale: Standardiser | None = None
        self._axes: np.ndarray | None = None

    def settings(self) -> dict:
        """See :meth:`Summary.settings`."""
        return {"variance": self.variance, "most": self.most}

    def fit(self, total: np.ndarray, rng: np.random.Generator) -> None:
        """See :meth:`Summary.fit`; every round has components of its own."""
        x = np.log1p(noisy(total, rng))
        self._scale = Standardiser(x)
        x = self._scale(x).astype(np.float64)
        explained, axes = _components(x, min(self.most, *x.shape))
        everything = float((x**2).sum())
        share = np.cumsum(explained) / max(everything, 1e-300)
        # Directions without any variance (fewer spectra than bins) would be divided by nothing.
        real = max(1, int(np.count_nonzero(explained > 1e-9 * everything)))
        kept = min(int(np.searchsorted(share, self.variance)) + 1, real)
        deviation = np.sqrt(np.maximum(explained[:kept] / len(x), 1e-12))
        # Scores of unit variance: the last components would otherwise be lost beside the first.
        self._axes = (axes[:, :kept] / deviation).astype(np.float32)
        self.history = [{"components": kept, "variance": float(min(share[kept - 1], 1.0))}]
        short = share[kept - 1] < self.variance and kept == self.most
        self.notes = ()
        if short:
            self.notes = (f"PCA kept {kept} components, the most allowed, with {share[kept - 1]:.1%} of the variance",)

    def transform(self, counts: np.ndarray) -> np.ndarray:
        """See :meth:`Summary.transform`."""
        return self._scale(np.log1p(np.asarray(counts, np.float32))) @ self._axes

    def state(self) -> dict:
        """See :meth:`Summary.state`."""
        settings = pack(**self.settings())
        scale = self._scale
        return {"name": self.name, "settings": settings, "mean": scale.mean, "scale": scale.scale, "axes": self._axes}

    @classmethod
    def from_state(cls, state: dict) -> PCA:
        """See :meth:`Summary.from_state`."""
        made = cls(**unpack(state["settings"]))
        made._scale = Standardiser.of(state["mean"], state["scale"])
        made._axes = np.asarray(state["axes"], np.float32)
        return made


def _components(x: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The `k` largest eigenvalues of x'x, descending, and their unit vectors, shape (size, k).

    From the smaller of x'x and xx', whose eigenvalues are the same.
    """
    from scipy.linalg import eigh

    n, size = x.shape
    gram = x.T @ x if size <= n else x @ x.T
    values, vectors = eigh(gram, subset_by_index=[len(gram) - k, len(gram) - 1])
    values, vectors = np.maximum(values[::-1], 0.0), vectors[:, ::-1]
    if size > n:
        vectors = x.T @ vectors / np.sqrt(np.maximum(values, 1e-300))
    # The sign of an eigenvector is arbitrary: its largest entry is made positive.
    largest = np.abs(vectors).argmax(axis=0)
    return values, vectors * np.where(vectors[largest, np.arange(k)] < 0, -1.0, 1.0)
