"""Normalising flows: the conditional one of the neural posterior, and those refitted to weighted points."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from xsixsa.inference.proposals import Proposal, StudentMixture, log_standard_normal
from xsixsa.inference.torch_state import torch_settings, torch_state

__all__ = ["FlowOptions", "FlowProposal", "NeuralPosterior", "WhitenedFlow"]

_CHUNK = 50_000
# A share of the draws of a refitted flow starts from a wide Student t in place of the normal it was trained with: it
# follows the flow's curved shape further out in every direction, thin ones included, where a flow trained on few
# points is too sure of itself.
_WIDE_SHARE = 0.25
_WIDE_SCALE = 1.4
_WIDE_DF = 4.0


@dataclass(frozen=True)
class FlowOptions:
    """Settings of a masked autoregressive flow (Papamakarios et al. 2017) and its training.

    Attributes
    ----------
    transforms, hidden : int
        Autoregressive layers, and units in each of their two hidden layers. Five times 64 reach the
        efficiency of the published ten times 100 after correction, at a quarter of the time.
    batch, epochs, patience : int
        As usual; training stops after `patience` epochs without a better validation loss.
    learning_rate : float
        Of Adam; falls along a cosine to a twentieth.
    validation : float
        Share of the simulations kept apart.
    """

    transforms: int = 5
    hidden: int = 64
    batch: int = 512
    epochs: int = 35
    patience: int = 6
    learning_rate: float = 2e-3
    validation: float = 0.15


def _train(estimator, loss_of: Callable, n_steps: int, options: FlowOptions) -> list[dict]:
    """Adam with a cosine schedule and early stopping.

    `loss_of(epoch, training)` yields losses, one a step when training, a single one when not.
    """
    import torch

    optimiser = torch.optim.Adam(estimator.parameters(), lr=options.learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(
        optimiser, T_max=options.epochs * n_steps, eta_min=options.learning_rate / 20
    )
    best, best_state, since, history = np.inf, copy.deepcopy(estimator.state_dict()), 0, []
    for epoch in range(options.epochs):
        estimator.train()
        total, steps = 0.0, 0
        for loss in loss_of(epoch, True):
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(estimator.parameters(), 5.0)
            optimiser.step()
            schedule.step()
            total, steps = total + float(loss.detach()), steps + 1
        estimator.eval()
        with torch.no_grad():
            validation = float(next(iter(loss_of(epoch, False))))
        history.append({"training": total / max(steps, 1), "validation": validation})
        if validation < best:
            best, best_state, since = validation, copy.deepcopy(estimator.state_dict()), 0
        else:
            since += 1
        if since >= options.patience:
            break
    estimator.load_state_dict(best_state)
    estimator.eval()
    return history


class FlowProposal(Proposal):
    """A trained conditional flow at one observation.

    Parameters
    ----------
    estimator
        sbi's conditional density estimator.
    condition
        Summary of the observation, shape (k,).
    """

    name = "neural posterior"

    def __init__(self, estimator, condition: np.ndarray, dim: int):
        self.estimator, self.condition, self.dim = estimator, np.asarray(condition, np.float32), dim

    def _condition(self):
        import torch

        return torch.as_tensor(self.condition)[None]

    def sample(self, n, rng):
        import torch

        with torch_state(rng), torch.no_grad():
            drawn = self.estimator.sample((n,), self._condition()).reshape(n, self.dim).double().numpy()
        return drawn[np.isfinite(drawn).all(axis=1)]

    def log_prob(self, z):
        import torch

        out = np.empty(len(z))
        condition = self._condition()
        with torch_settings(), torch.no_grad():
            for start in range(0, len(z), _CHUNK):
                rows = torch.as_tensor(np.asarray(z[start : start + _CHUNK], np.float32))
                out[start : start + _CHUNK] = self.estimator.log_prob(rows[:, None], condition)[:, 0].numpy()
        return np.where(np.isfinite(out), out, -np.inf)


class NeuralPosterior:
    """Neural posterior estimation: a flow over z conditioned on the summary of a spectrum.

    Parameters
    ----------
    options
        Settings of flow and training.

    Attributes
    ----------
    history : list of dict
        Loss of every epoch.
    """

    def __init__(self, options: FlowOptions | None = None):
        self.options = options or FlowOptions()
        self.history: list[dict] = []
        self._estimator = None

    def fit(self, z: np.ndarray, summaries: Callable[[int], np.ndarray], rng: np.random.Generator) -> None:
        """Train on simulations.

        Parameters
        ----------
        z
            Parameters in the prior's standard-normal space, shape (n, d).
        summaries
            ``summaries(epoch)`` gives the summaries of all n spectra, shape (n, k), with noise that is fresh
            at every epoch.
        rng
            Source of all randomness.
        """
        with torch_state(rng):
            self._fit(z, summaries)

    def posterior(self, summary: np.ndarray) -> FlowProposal:
        """Posterior for one observation, summary of shape (k,)."""
        return FlowProposal(self._estimator, self._scale(summary[None])[0], self._dim)

    def _scale(self, summaries: np.ndarray) -> np.ndarray:
        return ((summaries - self._mean) / self._std).astype(np.float32)

    def _fit(self, z, summaries) -> None:
        import torch
        from sbi.neural_nets.net_builders.flow import build_zuko_maf

        options, self._dim = self.options, z.shape[1]
        first = summaries(0)
        self._mean, self._std = first.mean(axis=0), np.maximum(first.std(axis=0), 1e-6)
        target = torch.as_tensor(np.asarray(z, np.float32))
        order = torch.randperm(len(z))
        n_val = max(1, int(options.validation * len(z)))
        held, used = order[:n_val], order[n_val:]
        estimator = build_zuko_maf(
            target[used],
            torch.as_tensor(self._scale(first[used.numpy()])),
            z_score_x="independent",
            z_score_y="none",
            hidden_features=(options.hidden, options.hidden),
            num_transforms=options.transforms,
        )
        validation = torch.as_tensor(self._scale(first[held.numpy()]))

        def loss_of(epoch: int, training: bool):
            if not training:
                yield estimator.loss(target[held], validation).mean()
                return
            condition = torch.as_tensor(self._scale(summaries(epoch + 1)))
            for rows in used[torch.randperm(len(used))].split(options.batch):
                yield estimator.loss(target[rows], condition[rows]).mean()

        self.history = _train(estimator, loss_of, -(-len(used) // options.batch), options)
        self._estimator = estimator


class WhitenedFlow(Proposal):
    """Masked autoregressive flow fitted to weighted points, in coordinates whitened by their covariance.

    Parameters
    ----------
    z, weights
        Points of shape (n, d) and normalised weights, shape (n,).
    rng
        Source of all randomness.
    n_train
        Points are resampled to this number by their weights; validation keeps whole points apart, so that copies
        of one never stand on both sides.
    options
        Settings of flow and training.
    """

    name = "refitted flow"

    def __init__(self, z, weights, rng, n_train: int = 12_000, options: FlowOptions | None = None):
        self.options = options or FlowOptions()
        self.dim = z.shape[1]
        self.mean = weights @ z
        covariance = np.cov(z.T, aweights=weights, ddof=0).reshape(self.dim, self.dim)
        self._chol = np.linalg.cholesky(covariance + 1e-12 * np.eye(self.dim))
        self._log_det = float(np.log(np.diag(self._chol)).sum())
        held = rng.random(len(z)) < self.options.validation
        n_held = int(n_train * self.options.validation)
        training = self._resample(z, np.where(held, 0.0, weights), n_train - n_held, rng)
        validation = self._resample(z, np.where(held, weights, 0.0), n_held, rng)
        with torch_state(rng):
            self._fit(training, validation)

    def _resample(self, z, weights, n, rng):
        if weights.sum() <= 0:
            weights = np.ones(len(z))
        rows = rng.choice(len(z), size=n, p=weights / weights.sum())
        return np.linalg.solve(self._chol, (z[rows] - self.mean).T).T.astype(np.float32)

    def _fit(self, training, validation) -> None:
        import torch
        import zuko

        options = self.options
        self._flow = zuko.flows.MAF(
            self.dim, 0, transforms=options.transforms, hidden_features=(options.hidden, options.hidden)
        )
        training, validation = torch.as_tensor(training), torch.as_tensor(validation)

        def loss_of(epoch: int, is_training: bool):
            if not is_training:
                yield -self._flow().log_prob(validation).mean()
                return
            for rows in torch.randperm(len(training)).split(options.batch):
                yield -self._flow().log_prob(training[rows]).mean()

        self.history = _train(self._flow, loss_of, -(-len(training) // options.batch), options)

    def sample(self, n, rng):
        import torch

        # Base noise in double precision from our own generator: the draw does not depend on torch's state.
        noise = rng.standard_normal((n, self.dim))
        wide = rng.random(n) < _WIDE_SHARE
        heavy = np.sqrt(_WIDE_DF / rng.chisquare(_WIDE_DF, size=n))
        noise[wide] *= _WIDE_SCALE * heavy[wide, None]
        with torch_settings(), torch.no_grad():
            y = self._flow().transform.inv(torch.as_tensor(noise.astype(np.float32))).double().numpy()
        y = y[np.isfinite(y).all(axis=1)]
        return self.mean + y @ self._chol.T

    def log_prob(self, z):
        import torch

        out = np.empty(len(z))
        with torch_settings(), torch.no_grad():
            for start in range(0, len(z), _CHUNK):
                y = np.linalg.solve(self._chol, (z[start : start + _CHUNK] - self.mean).T).T
                base, log_det = self._flow().transform.call_and_ladj(torch.as_tensor(y.astype(np.float32)))
                out[start : start + _CHUNK] = self._log_base(base.double().numpy()) + log_det.double().numpy()
        return np.where(np.isfinite(out), out - self._log_det, -np.inf)

    def _log_base(self, noise: np.ndarray) -> np.ndarray:
        normal = log_standard_normal(noise) + np.log1p(-_WIDE_SHARE)
        wide = _wide_base(self.dim).log_prob(noise) + np.log(_WIDE_SHARE)
        return np.logaddexp(normal, wide)


@lru_cache
def _wide_base(dim: int) -> StudentMixture:
    return StudentMixture(np.ones(1), np.zeros((1, dim)), _WIDE_SCALE**2 * np.eye(dim)[None], _WIDE_DF)
