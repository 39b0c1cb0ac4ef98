"""Flows refitted to weighted points: they follow the shape of the posterior found so far."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from xsixsa.inference.proposals import Proposal, StudentMixture, log_standard_normal
from xsixsa.inference.torch_state import torch_settings, torch_state
from xsixsa.inference.training import FlowOptions, build_unconditional, train

__all__ = ["WhitenedFlow"]

_CHUNK = 50_000
# A share of the draws of a refitted flow starts from a wide Student t in place of the normal it was trained with: it
# follows the flow's curved shape further out in every direction, thin ones included, where a flow trained on few
# points is too sure of itself.
_WIDE_SHARE = 0.25
_WIDE_SCALE = 1.4
_WIDE_DF = 4.0


class WhitenedFlow(Proposal):
    """Autoregressive flow fitted to weighted points, in coordinates whitened by their covariance.

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

        options = self.options
        self._flow = build_unconditional(options, self.dim)
        training, validation = torch.as_tensor(training), torch.as_tensor(validation)

        def loss_of(epoch: int, is_training: bool):
            if not is_training:
                yield -self._flow().log_prob(validation).mean()
                return
            for rows in torch.randperm(len(training)).split(options.batch):
                yield -self._flow().log_prob(training[rows]).mean()

        self.history = train(self._flow, loss_of, -(-len(training) // options.batch), options)

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
