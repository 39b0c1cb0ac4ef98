"""Auto-encoder of count spectra, denoising by default.

Barret & Dupourque 2024 compress spectra with an auto-encoder trained to reproduce the noisy counts. Here the
noiseless expectation is known, so the network sees a fresh Poisson realisation at every epoch and has to
return the expectation: what it keeps is signal. The published, plain kind is there for comparison.
"""

from __future__ import annotations

import copy
from dataclasses import asdict, dataclass
from itertools import pairwise

import numpy as np

from xsixsa.errors import UsageError
from xsixsa.inference.clock import time_is_over
from xsixsa.inference.torch_state import torch_settings, torch_state
from xsixsa.summaries.base import Summary, pack, unpack

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
    depth : int
        Hidden layers of the encoder, and of the decoder; one as published.
    denoise : bool
        Reconstruct the noiseless expectation; False: the noisy counts that went in, as published.
    warm : bool
        Go on from the network of the last round; False: train anew in every round.
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
    depth: int = 1
    denoise: bool = True
    warm: bool = True
    batch: int = 512
    epochs: int = 30
    patience: int = 5
    learning_rate: float = 2e-3
    validation: float = 0.1

    def __post_init__(self):
        for name in ("latent", "hidden", "depth", "batch", "epochs", "patience"):
            value = getattr(self, name)
            if value is not None and (int(value) != value or value < 1):
                raise UsageError(f"{name} of the auto-encoder must be a whole number of at least 1, not {value!r}")


class AutoEncoder(Summary):
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
        super().__init__()
        self.options = options or AutoEncoderOptions()
        self._net = None
        self._shape: tuple[int, int, int] | None = None

    def settings(self) -> dict:
        """See :meth:`Summary.settings`."""
        return asdict(self.options)

    def latent_size(self, size: int) -> int:
        """Length of the summary of a spectrum of `size` numbers."""
        return self.options.latent or int(np.clip(size // 4, 8, 64))

    def fit(self, expected: np.ndarray, rng: np.random.Generator) -> None:
        """Train on noiseless spectra, from the network of the last fit where there is one.

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

    def state(self) -> dict:
        """Weights and standardisation as plain arrays, settings and sizes as text."""
        weights = {k: v.numpy().copy() for k, v in self._net.state_dict().items()}
        return {"name": self.name, "settings": pack(options=asdict(self.options), shape=self._shape), **weights}

    @classmethod
    def from_state(cls, state: dict) -> AutoEncoder:
        """See :meth:`Summary.from_state`."""
        import torch

        settings = unpack(state["settings"])
        made = cls(AutoEncoderOptions(**settings["options"]))
        made._make(tuple(settings["shape"]))
        weights = made._net.state_dict()
        made._net.load_state_dict({k: torch.as_tensor(np.asarray(state[k])) for k in weights})
        made._net.eval()
        return made

    def _make(self, shape: tuple[int, int, int]) -> None:
        self._shape = shape
        self._net = _build(*shape, self.options.depth)

    def _fit(self, expected: np.ndarray) -> None:
        import torch

        options = self.options
        data = torch.as_tensor(np.asarray(expected, np.float32))
        if self._net is None or not options.warm:
            size = data.shape[1]
            hidden = options.hidden or int(np.clip(size // 2, 16, 256))
            self._make((size, hidden, self.latent_size(size)))
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
                target = validation if options.denoise else noisy_validation
                val = float(_loss(self._net, noisy_validation, target))
            self.history.append({"training": loss, "validation": val})
            schedule.step(val)
            if val < best * (1 - 1e-3):
                best, best_state, since = val, copy.deepcopy(self._net.state_dict()), 0
            else:
                since += 1
            if since >= options.patience or time_is_over():
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
            target = training if self.options.denoise else noisy
            loss = _loss(self._net, noisy[rows], target[rows])
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self._net.parameters(), 5.0)
            optimiser.step()
            total, steps = total + float(loss.detach()), steps + 1
        return total / max(steps, 1)


def _layers(sizes: tuple[int, ...]):
    """Linear layers with batch normalisation and GELU between them."""
    from torch import nn

    modules = []
    for i, (n_in, n_out) in enumerate(pairwise(sizes)):
        if i:
            modules += [nn.BatchNorm1d(n_in), nn.GELU()]
        modules.append(nn.Linear(n_in, n_out))
    return nn.Sequential(*modules)


def _build(size: int, hidden: int, latent: int, depth: int):
    import torch
    from torch import nn

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder = _layers((size, *(hidden,) * depth, latent))
            self.decoder = _layers((latent, *(hidden,) * depth, size))
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


def _loss(net, noisy, target):
    """C-stat per bin between target and reconstruction, its logarithm averaged over spectra.

    The target is the expectation, or the noisy counts themselves. Over a wide prior the counts of simulations differ
    by orders of magnitude, and so would their C-stat: the logarithm lets the faint spectra count as well.
    """
    import torch

    log_model = net.decode(net.encode(noisy))
    target = target + 1e-3
    deviance = 2 * (log_model.exp() - target + target * (target.log() - log_model))
    return torch.log1p(deviance.clamp(min=0).mean(dim=1)).mean()
