"""Embedding network: the compression is learnt together with the posterior."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np

from xsixsa.errors import UsageError
from xsixsa.inference.torch_state import torch_state
from xsixsa.summaries.base import Standardiser, Summary, noisy, pack, unpack

__all__ = ["Embedding", "EmbeddingOptions"]


@dataclass(frozen=True)
class EmbeddingOptions:
    """Settings of the embedding network.

    Attributes
    ----------
    features : int or None
        Numbers handed to the flow; None: as the latent size of the auto-encoder, a quarter of the spectrum's length,
        at least 8, at most 64.
    hidden : int or None
        Units of the hidden layers; None: half the spectrum's length, at least 16, at most 256.
    depth : int
        Hidden layers.
    warm : bool
        Go on from the network of the last round.
    """

    features: int | None = None
    hidden: int | None = None
    depth: int = 2
    warm: bool = True

    def __post_init__(self):
        for name in ("features", "hidden", "depth"):
            value = getattr(self, name)
            if value is not None and (int(value) != value or value < 1):
                raise UsageError(f"{name} of the embedding must be a whole number of at least 1, not {value!r}")


class Embedding(Summary):
    """Standardised log counts, and a fully connected network that the flow trains with itself.

    :meth:`transform` gives the network's input. :meth:`fit` standardises and makes the network; its weights are learnt
    where the flow is, in place, so that the next round goes on from them.

    Parameters
    ----------
    options
        Settings.
    """

    name = "embedding"

    def __init__(self, options: EmbeddingOptions | None = None):
        super().__init__()
        self.options = options or EmbeddingOptions()
        self._scale: Standardiser | None = None
        self._shape: tuple[int, int, int] | None = None

    def settings(self) -> dict:
        """See :meth:`Summary.settings`."""
        return asdict(self.options)

    def fit(self, total: np.ndarray, rng: np.random.Generator) -> None:
        """See :meth:`Summary.fit`."""
        self._scale = Standardiser(np.log1p(noisy(total, rng)))
        size = total.shape[1]
        if self.embedding is None or not self.options.warm:
            hidden = self.options.hidden or int(np.clip(size // 2, 16, 256))
            self._shape = (size, hidden, self.options.features or int(np.clip(size // 4, 8, 64)))
            with torch_state(rng):
                self.embedding = _build(*self._shape, self.options.depth)
        self.history = [{"features": self._shape[2], "size": size}]

    def transform(self, counts: np.ndarray) -> np.ndarray:
        """Input of the network, shape (n, size); see :meth:`Summary.transform`."""
        return self._scale(np.log1p(np.asarray(counts, np.float32)))

    def state(self) -> dict:
        """See :meth:`Summary.state`."""
        weights = {f"network.{k}": v.numpy().copy() for k, v in self.embedding.state_dict().items()}
        return {
            "name": self.name,
            "settings": pack(options=asdict(self.options), shape=self._shape),
            "mean": self._scale.mean,
            "scale": self._scale.scale,
            **weights,
        }

    @classmethod
    def from_state(cls, state: dict) -> Embedding:
        """See :meth:`Summary.from_state`."""
        import torch

        settings = unpack(state["settings"])
        made = cls(EmbeddingOptions(**settings["options"]))
        made._scale = Standardiser.of(state["mean"], state["scale"])
        made._shape = tuple(settings["shape"])
        made.embedding = _build(*made._shape, made.options.depth)
        names = made.embedding.state_dict()
        made.embedding.load_state_dict({k: torch.as_tensor(np.asarray(state[f"network.{k}"])) for k in names})
        made.embedding.eval()
        return made


def _build(size: int, hidden: int, features: int, depth: int):
    """Linear layers; layer normalisation, since the last batch of an epoch may hold a single spectrum."""
    from torch import nn

    modules, width = [], size
    for _ in range(depth):
        modules += [nn.Linear(width, hidden), nn.LayerNorm(hidden), nn.GELU()]
        width = hidden
    return nn.Sequential(*modules, nn.Linear(width, features))
