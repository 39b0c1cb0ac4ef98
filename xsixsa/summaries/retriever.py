"""Parameter retriever: a small network from summaries to parameters."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import numpy as np

from xsixsa.errors import UsageError
from xsixsa.inference.torch_state import torch_settings, torch_state
from xsixsa.summaries.base import Standardiser, Summary, noisy

__all__ = ["ParameterRetriever", "RetrieverOptions"]

# Noise is drawn afresh at every epoch while that costs at most so many Poisson numbers an epoch; beyond, and where
# summaries are as long as the spectra, a few realisations are kept.
_FRESH_NUMBERS = 4_000_000
_MOST_KEPT = 60_000_000
_REALISATIONS = 8


@dataclass(frozen=True)
class RetrieverOptions:
    """Settings of the retriever.

    Attributes
    ----------
    hidden : tuple of int
        Units of the hidden layers; 128, 64, 32 as published.
    batch, epochs, patience : int
        As usual; training stops after `patience` epochs without a better validation loss.
    learning_rate : float
        Of Adam, halved whenever half the patience has passed.
    validation : float
        Share of the training set that decides when to stop.
    """

    hidden: tuple[int, ...] = (128, 64, 32)
    batch: int = 128
    epochs: int = 80
    patience: int = 10
    learning_rate: float = 1e-3
    validation: float = 0.15

    def __post_init__(self):
        for name in ("batch", "epochs", "patience"):
            value = getattr(self, name)
            if int(value) != value or value < 1:
                raise UsageError(f"{name} of the retriever must be a whole number of at least 1, not {value!r}")
        if not self.hidden or any(int(n) != n or n < 1 for n in self.hidden):
            raise UsageError(f"hidden layers of the retriever must be whole numbers of at least 1, not {self.hidden!r}")


class ParameterRetriever:
    """Predicts the prior's unit-cube coordinates of the parameters from a spectrum.

    Trained for the least squares, it returns the posterior mean, as well as the summary and the network can tell: the
    middle of the prior for a parameter that the spectrum says nothing of.

    Parameters
    ----------
    summary
        The summary to predict from; it is fitted as well. One with an embedding network is trained with the retriever.
    options
        Settings.

    Attributes
    ----------
    history : list of dict
        Training and validation loss of every epoch, in units of the prior's variance: 1 is no better than its middle.
    """

    def __init__(self, summary: Summary, options: RetrieverOptions | None = None):
        self.summary, self.options = summary, options or RetrieverOptions()
        self.history: list[dict] = []
        self._net = self._scale = None

    def fit(self, u: np.ndarray, total: np.ndarray, rng: np.random.Generator) -> None:
        """Train on simulations.

        Parameters
        ----------
        u
            Parameters in the prior's unit cube, shape (n, d).
        total
            Noiseless spectra, shape (n, size).
        rng
            Source of all randomness.
        """
        self.summary.fit(total, rng)
        first = self.summary.transform(noisy(total, rng))
        self._scale = Standardiser(first)
        with torch_state(rng):
            self._fit(u, total, rng)

    def predict(self, counts: np.ndarray) -> np.ndarray:
        """Unit-cube coordinates of shape (n, d), within [0, 1], for counts of shape (n, size)."""
        import torch

        with torch_settings(), torch.no_grad():
            out = self._net(torch.as_tensor(self._input(counts))).double().numpy()
        return np.clip(_SPREAD * out + 0.5, 0.0, 1.0)

    def _input(self, counts: np.ndarray) -> np.ndarray:
        found = self.summary.transform(counts)
        return found if self.summary.embedding is not None else self._scale(found)

    def _fit(self, u, total, rng) -> None:
        import torch

        options, n = self.options, len(u)
        target = torch.as_tensor(((np.asarray(u) - 0.5) / _SPREAD).astype(np.float32))
        order = torch.randperm(n)
        n_val = max(1, int(options.validation * n))
        held, used = order[:n_val], order[n_val:]
        self._net = net = _build(self.summary.embedding, len(self._scale.mean), options.hidden, target.shape[1])
        inputs = self._inputs(total, rng)
        validation = torch.as_tensor(inputs(0)[held.numpy()])
        optimiser = torch.optim.Adam(net.parameters(), lr=options.learning_rate)
        schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(optimiser, factor=0.5, patience=options.patience // 2)
        best, best_state, since = np.inf, copy.deepcopy(net.state_dict()), 0
        self.history = []
        for epoch in range(options.epochs):
            x, loss_sum = torch.as_tensor(inputs(epoch + 1)), 0.0
            for rows in used[torch.randperm(len(used))].split(options.batch):
                optimiser.zero_grad()
                loss = ((net(x[rows]) - target[rows]) ** 2).mean()
                loss.backward()
                torch.nn.utils.clip_grad_norm_(net.parameters(), 5.0)
                optimiser.step()
                loss_sum += float(loss.detach()) * len(rows)
            with torch.no_grad():
                value = float(((net(validation) - target[held]) ** 2).mean())
            self.history.append({"training": loss_sum / len(used), "validation": value})
            schedule.step(value)
            if value < best:
                best, best_state, since = value, copy.deepcopy(net.state_dict()), 0
            else:
                since += 1
            if since >= options.patience:
                break
        net.load_state_dict(best_state)

    def _inputs(self, total, rng):
        fresh = total.size <= _FRESH_NUMBERS
        kept = int(np.clip(_MOST_KEPT // (len(total) * len(self._scale.mean)), 2, _REALISATIONS))
        cache: dict[int, np.ndarray] = {}

        def inputs(epoch: int) -> np.ndarray:
            if fresh:
                return self._input(noisy(total, rng))
            if epoch % kept not in cache:
                cache[epoch % kept] = self._input(noisy(total, rng))
            return cache[epoch % kept]

        return inputs


# Standard deviation of the prior in its unit cube: targets have mean 0 and variance 1.
_SPREAD = float(np.sqrt(1.0 / 12.0))


def _build(embedding, size: int, hidden: tuple[int, ...], outputs: int):
    """The embedding network, if any, and linear layers with GELU between them."""
    from torch import nn

    modules, width = [], size
    if embedding is not None:
        modules, width = [embedding], embedding[-1].out_features
    for units in hidden:
        modules += [nn.Linear(width, units), nn.GELU()]
        width = units
    return nn.Sequential(*modules, nn.Linear(width, outputs))
