"""Denoising auto-encoder of count spectra.

Barret & Dupourque 2024 compress spectra with an auto-encoder trained to reproduce the noisy counts. Here the
noiseless expectation is known, so the network sees a fresh Poisson realisation at every epoch and has to
return the expectation: what it keeps is signal.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import numpy as np

from xsixsa.inference.torch_state import torch_settings, torch_state

__all__ = ["AutoEncoder", "AutoEncoderOptions"]


# Beyond so many Poisson numbers an epoch, noise comes from a few fixed realisations: drawing it would take longer than
# learning from it.
_FRESH_NUMBERS = 4_000_000
_REALISATIONS = 4


@dataclass(frozen=True)
class AutoEncoderOptions:
    """Settings of the auto-encoder.

    Attributes
    ----------
    latent : int or None
        Size of the summary; None: a quarter of the spectrum's length, at least 8, at most 64. Few bins hold few
        independent numbers, and the papers' 64 serve for hundreds of bins.
    hidden : int or None
        Units of the hidden layer; None: half the spectrum's length as published, at most 256, beyond which two
        cores spend longer on training than on simulating.
    batch : int
        Spectra in a training step (smaller where the training set is small).
    epochs, patience : int
        At most so many passes; stop after so many without a better validation loss.
    learning_rate : float
        Of Adam, halved whenever half the patience has passed.
    validation : float
        Share of the simulations kept apart.
    """

    latent: int | None = None
    hidden: int | None = None
    batch: int = 512
    epochs: int = 30
    patience: int = 5
    learning_rate: float = 2e-3
    validation: float = 0.1


class AutoEncoder:
    """Encoder and decoder of log(1 + counts), standardised.

    Parameters
    ----------
    options
        Settings; the defaults suit spectra of tens to thousands of bins.

    Attributes
    ----------
    history : list of dict
        Training and validation loss of every epoch of the last fit.
    """

    name = "autoencoder"

    def __init__(self, options: AutoEncoderOptions | None = None):
        self.options = options or AutoEncoderOptions()
        self.history: list[dict] = []
        self._net = None

    def latent_size(self, size: int) -> int:
        """Length of the summary of a spectrum of `size` numbers."""
        return self.options.latent or int(np.clip(size // 4, 8, 64))

    def fit(self, expected: np.ndarray, rng: np.random.Generator) -> None:
        """Train on noiseless spectra, warm-started where a network of this size exists.

        Parameters
        ----------
        expected
            Expected counts (source and background), shape (n, size).
        rng
            Source of all randomness.
        """
        with torch_state(rng):
            self._fit(expected)

    def transform(self, counts: np.ndarray) -> np.ndarray:
        """Summaries of shape (n, k), float32, for counts of shape (n, size)."""
        import torch

        with torch_settings(), torch.no_grad():
            return self._net.encode(torch.as_tensor(np.asarray(counts, np.float32))).numpy()

    def state(self) -> dict[str, np.ndarray]:
        """Weights and standardisation as plain arrays."""
        return {k: v.numpy().copy() for k, v in self._net.state_dict().items()}

    def _fit(self, expected: np.ndarray) -> None:
        import torch

        options = self.options
        data = torch.as_tensor(np.asarray(expected, np.float32))
        if self._net is None:
            size = data.shape[1]
            hidden = options.hidden or int(np.clip(size // 2, 16, 256))
            self._net = _build(size, hidden, self.latent_size(size))
        self._net.standardise(data)
        order = torch.randperm(len(data))
        self._kept = {} if data.numel() > _FRESH_NUMBERS else None
        n_val = max(1, int(options.validation * len(data)))
        validation, training = data[order[:n_val]], data[order[n_val:]]
        noisy_validation = torch.poisson(validation)
        batch = min(options.batch, max(32, len(training) // 8))
        optimiser = torch.optim.Adam(self._net.parameters(), lr=options.learning_rate)
        schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(optimiser, factor=0.5, patience=options.patience // 2)
        best, best_state, since = np.inf, copy.deepcopy(self._net.state_dict()), 0
        self.history = []
        for epoch in range(options.epochs):
            noisy = self._noise(epoch, training)
            loss = self._epoch(training, noisy, batch, optimiser)
            self._net.eval()
            with torch.no_grad():
                val = float(_loss(self._net, noisy_validation, validation))
            self.history.append({"training": loss, "validation": val})
            schedule.step(val)
            if val < best * (1 - 1e-3):
                best, best_state, since = val, copy.deepcopy(self._net.state_dict()), 0
            else:
                since += 1
            if since >= options.patience:
                break
        self._net.load_state_dict(best_state)
        self._net.eval()
        self._kept = None

    def _noise(self, epoch: int, expected):
        """A realisation of all spectra: fresh at every epoch, or one of a few where drawing it would dominate."""
        import torch

        if self._kept is None:
            return torch.poisson(expected)
        key = epoch % _REALISATIONS
        if key not in self._kept:
            self._kept[key] = torch.poisson(expected)
        return self._kept[key]

    def _epoch(self, training, noisy, batch: int, optimiser) -> float:
        import torch

        self._net.train()
        total, steps = 0.0, 0
        for rows in torch.randperm(len(training)).split(batch):
            if len(rows) < 2:
                continue
            optimiser.zero_grad()
            loss = _loss(self._net, noisy[rows], training[rows])
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self._net.parameters(), 5.0)
            optimiser.step()
            total, steps = total + float(loss.detach()), steps + 1
        return total / max(steps, 1)


def _build(size: int, hidden: int, latent: int):
    import torch
    from torch import nn

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder = nn.Sequential(
                nn.Linear(size, hidden), nn.BatchNorm1d(hidden), nn.GELU(), nn.Linear(hidden, latent)
            )
            self.decoder = nn.Sequential(
                nn.Linear(latent, hidden), nn.BatchNorm1d(hidden), nn.GELU(), nn.Linear(hidden, size)
            )
            self.register_buffer("mean", torch.zeros(size))
            self.register_buffer("std", torch.ones(size))

        def standardise(self, expected):
            x = torch.log1p(expected)
            self.mean.copy_(x.mean(0))
            self.std.copy_(x.std(0).clamp(min=0.05))

        def encode(self, counts):
            return self.encoder((torch.log1p(counts) - self.mean) / self.std)

        def decode(self, latent_values):
            # The clamp keeps exp() finite; no instrument records e^30 counts in a bin.
            return (self.decoder(latent_values) * self.std + self.mean).clamp(-15.0, 30.0)

    return Net()


def _loss(net, noisy, expected):
    """C-stat per bin between expectation and reconstruction, its logarithm averaged over spectra.

    Over a wide prior the counts of simulations differ by orders of magnitude, and so would their C-stat: the
    logarithm lets the faint spectra count as well.
    """
    import torch

    log_model = net.decode(net.encode(noisy))
    expected = expected + 1e-3
    deviance = 2 * (log_model.exp() - expected + expected * (expected.log() - log_model))
    return torch.log1p(deviance.clamp(min=0).mean(dim=1)).mean()
