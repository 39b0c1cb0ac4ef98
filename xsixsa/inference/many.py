"""A conditional autoregressive flow for many observations at once.

An autoregressive flow is inverted one dimension after the other, and the obvious way runs its whole network for each.
But a masked network orders its hidden units by the dimensions that they depend on: a unit is final once those are
known. Computing each unit once, when its turn comes, makes a draw as cheap as a density. What depends on the condition
alone is computed once for an observation, not for each of its draws.
"""

from __future__ import annotations

import numpy as np

from xsixsa.inference.proposals import log_standard_normal
from xsixsa.inference.torch_state import torch_settings

__all__ = ["ManyFlow"]

# Rows (draws of all observations together) worked on at once: the hidden units of so many stay in a processor's cache.
_ROWS = 8_192
_TRIES = 100


class ManyFlow:
    """Draws from, and density of, a trained conditional flow for many conditions.

    Parameters
    ----------
    net
        zuko's flow as sbi builds it: a standardising transform, then masked autoregressive ones with two hidden
        layers or more, and a standard normal as base.
    """

    def __init__(self, net):
        self._steps = [_step(transform) for transform in net.transform.transforms]

    def sample(self, condition: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
        """`n` draws for each condition of shape (m, k): shape (m, n, d)."""
        dim = self._steps[0].dim
        out = np.empty((len(condition), n, dim))
        for some, part in _chunks(len(condition), n):
            shape = out[some, part].shape
            # Noise in the order of the result, whatever the chunks.
            noise = rng.standard_normal(shape, dtype=np.float32)
            drawn = self._inverse(condition[some], noise)
            for _ in range(_TRIES):
                bad = ~np.isfinite(drawn).all(axis=2)
                if not bad.any():
                    break
                again = self._inverse(condition[some], rng.standard_normal(shape, dtype=np.float32))
                drawn[bad] = again[bad]
            out[some, part] = drawn
        return out

    def log_prob(self, z: np.ndarray, condition: np.ndarray) -> np.ndarray:
        """Log density of z, shape (m, n, d), for conditions of shape (m, k): shape (m, n)."""
        out = np.empty(z.shape[:2])
        for some, part in _chunks(*out.shape):
            out[some, part] = self._density(condition[some], z[some, part])
        return np.where(np.isfinite(out), out, -np.inf)

    def _inverse(self, condition, noise) -> np.ndarray:
        import torch

        with torch_settings(), torch.no_grad():
            x, condition = _first_axis(noise), torch.as_tensor(np.asarray(condition, np.float32))
            for step in reversed(self._steps):
                x = step.inverse(x, condition)
            return np.moveaxis(x.numpy(), 0, -1)

    def _density(self, condition, z) -> np.ndarray:
        import torch

        with torch_settings(), torch.no_grad():
            x, condition = _first_axis(z), torch.as_tensor(np.asarray(condition, np.float32))
            total = torch.zeros(x.shape[1:], dtype=torch.float64)
            for step in self._steps:
                x, log_det = step.forward(x, condition)
                total += log_det
            base = np.moveaxis(x.numpy(), 0, -1).astype(np.float64)
        return log_standard_normal(base.reshape(-1, base.shape[-1])).reshape(base.shape[:2]) + total.numpy()


def _chunks(m: int, n: int):
    """Slices over observations and draws of at most `_ROWS` rows together."""
    if n >= _ROWS:
        for i in range(m):
            for start in range(0, n, _ROWS):
                yield slice(i, i + 1), slice(start, min(start + _ROWS, n))
        return
    several = max(1, _ROWS // max(n, 1))
    for i in range(0, m, several):
        yield slice(i, min(i + several, m)), slice(0, n)


def _first_axis(values: np.ndarray):
    """Tensor of shape (d, m, n) of values of shape (m, n, d): each dimension contiguous."""
    import torch

    return torch.as_tensor(np.ascontiguousarray(np.moveaxis(np.asarray(values, np.float32), -1, 0)))


def _step(transform):
    from torch import nn

    if hasattr(transform, "hyper"):
        masked = [layer for layer in transform.hyper if isinstance(layer, nn.Linear) and hasattr(layer, "mask")]
        return _Autoregressive(transform, masked) if masked else _Elementwise(transform)
    return _Standardise(transform)


class _Standardise:
    """sbi's first transform: an affine one with fixed numbers."""

    def __init__(self, transform):
        fixed = transform(None)
        self.dim = len(fixed.loc)
        self._loc, self._scale = fixed.loc[:, None, None], fixed.scale[:, None, None]

    def inverse(self, y, condition):
        return (y - self._loc) / self._scale

    def forward(self, x, condition):
        return x * self._scale + self._loc, self._scale.abs().log().sum()


class _Elementwise:
    """What zuko makes of a flow in one dimension: a transform that depends on the condition alone."""

    def __init__(self, transform):
        self._transform = transform

    def _of(self, condition):
        # (m, 1, 1, ...) against x of shape (1, m, n), whose dimension is brought to the end.
        return self._transform(condition[:, None])

    def inverse(self, y, condition):
        return self._of(condition).inv(y.movedim(0, -1)).movedim(-1, 0).contiguous()

    def forward(self, x, condition):
        y, log_det = self._of(condition).call_and_ladj(x.movedim(0, -1))
        return y.movedim(-1, 0).contiguous(), log_det.double()


class _Autoregressive:
    """A masked autoregressive transform with its hidden units sorted by how many dimensions they need."""

    def __init__(self, transform, layers):
        import torch

        self._transform, d = transform, len(transform.order)
        self.order = torch.argsort(transform.order)
        # Columns of x in the order in which they become known.
        first = layers[0].weight * layers[0].mask
        x_weights, needs = first[:, :d][:, self.order], layers[0].mask[:, :d]
        self._condition_weights = first[:, d:]
        self._weights, self._biases, self._ends = [], [], []
        columns = None
        for layer in layers[:-1]:
            weights = x_weights if columns is None else (layer.weight * layer.mask)[:, columns]
            if columns is not None:
                needs = (layer.mask[:, columns].float() @ needs.float()) > 0
            level = needs.sum(dim=1)
            columns = torch.argsort(level, stable=True)
            needs = needs[columns]
            self._weights.append(weights[columns].contiguous())
            self._biases.append(layer.bias[columns])
            # Units final once t dimensions are known: the first `ends[t]`.
            self._ends.append([int((level <= t).sum()) for t in range(d)])
        self._condition_weights = self._condition_weights[self._first_columns(layers[0], d)]
        last = layers[-1]
        self._total, self._dim = transform.total, d
        out = (last.weight * last.mask)[:, columns].reshape(d, self._total, -1)
        self._out = out[self.order].contiguous()
        self._out_bias = last.bias.reshape(d, self._total)[self.order]

    @staticmethod
    def _first_columns(layer, d):
        import torch

        return torch.argsort(layer.mask[:, :d].sum(dim=1), stable=True)

    def _given(self, condition):
        """Part of the first layer that the condition decides, shape (hidden, m, 1)."""
        return (self._condition_weights @ condition.T + self._biases[0][:, None])[:, :, None]

    def _univariate(self, phi, shape):
        from zuko.utils import unpack

        return self._transform.univariate(
            *unpack(phi.reshape(self._total, *shape).movedim(0, -1), self._transform.shapes)
        )

    def inverse(self, y, condition):
        import torch

        shape, given = y.shape[1:], self._given(condition)
        rows = shape.numel()
        known = torch.empty_like(y)
        hidden = [torch.empty(len(w), rows) for w in self._weights]
        for t, number in enumerate(self.order.tolist()):
            below = known.reshape(self._dim, rows)[:t]
            for layer, weights in enumerate(self._weights):
                start, end = self._ends[layer][t - 1] if t else 0, self._ends[layer][t]
                if start == end:
                    continue
                block = hidden[layer][start:end]
                if layer == 0:
                    torch.mm(weights[start:end, :t], below, out=block)
                    block.view(end - start, *shape).add_(given[start:end])
                else:
                    used = self._ends[layer - 1][t]
                    torch.addmm(
                        self._biases[layer][start:end, None],
                        weights[start:end, :used],
                        hidden[layer - 1][:used],
                        out=block,
                    )
                block.relu_()
            used = self._ends[-1][t]
            phi = torch.addmm(self._out_bias[t][:, None], self._out[t][:, :used], hidden[-1][:used])
            known[t] = self._univariate(phi, shape).inv(y[number])
        return known[torch.argsort(self.order)]

    def forward(self, x, condition):
        import torch

        shape, given = x.shape[1:], self._given(condition)
        rows = shape.numel()
        sorted_x = x[self.order].reshape(self._dim, rows)
        h = ((self._weights[0] @ sorted_x).view(-1, *shape) + given).relu_().view(-1, rows)
        for weights, bias in zip(self._weights[1:], self._biases[1:], strict=True):
            h = torch.addmm(bias[:, None], weights, h).relu_()
        out, total = torch.empty_like(x), torch.zeros(shape, dtype=torch.float64)
        for t, number in enumerate(self.order.tolist()):
            phi = torch.addmm(self._out_bias[t][:, None], self._out[t], h)
            out[number], log_det = self._univariate(phi, shape).call_and_ladj(x[number])
            total += log_det
        return out, total
