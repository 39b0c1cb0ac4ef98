"""The prior restricted to where simulations resemble the observation at all, as a classifier sees it.

Which simulations are worth keeping is told by a rule that needs no network: total counts within a range, or the lowest
share of the fit statistic (Barret & Dupourque 2024). A small classifier learns it from the simulations made so far, and
the prior within its region is the next proposal; with the simulations drawn from that, the rule is applied afresh.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from xsixsa.errors import UsageError
from xsixsa.inference.proposals import PriorProposal, RegionPrior, _Box
from xsixsa.inference.torch_state import torch_settings, torch_state
from xsixsa.inference.training import FlowOptions, train

__all__ = ["Classifier", "RestrictedPrior", "Validity", "restrict", "total_counts"]

_HIDDEN = 32
_EPOCHS = 80
_PATIENCE = 8
_BATCH = 256
_LEARNING_RATE = 5e-3
_HELD = 0.2
_CHUNK = 50_000
# Fewer valid or invalid simulations than this teach no classifier.
_FEWEST = 20


@dataclass(frozen=True)
class Validity:
    """Which simulations are worth keeping.

    Parameters
    ----------
    counts
        Lowest and highest total of the expected counts, background included; None for any.
    lowest
        Share with the lowest statistic; None for any. It is taken of the simulations inside the region known so far,
        so that the region shrinks with each repetition.
    """

    counts: tuple[float, float] | None = None
    lowest: float | None = None

    @classmethod
    def of(cls, setting: float | tuple[float, float]) -> Validity:
        """From :attr:`xsixsa.options.Options.restrict`: a share, or a range of counts.

        Raises
        ------
        UsageError
            If it is neither.
        """
        if isinstance(setting, (int, float)):
            if not 0 < setting < 1:
                raise UsageError(f"restrict as a share of the lowest statistic must lie in (0, 1), not {setting!r}")
            return cls(lowest=float(setting))
        if not len(setting) == 2 or not setting[0] < setting[1]:
            raise UsageError(f"restrict as a range of total counts must be (low, high), not {setting!r}")
        return cls(counts=(float(setting[0]), float(setting[1])))

    def __call__(self, totals: np.ndarray, log_likelihood: np.ndarray, inside: np.ndarray) -> np.ndarray:
        """Which simulations are valid, shape (n,).

        Parameters
        ----------
        totals, log_likelihood
            Total expected counts and log-likelihood of every simulation.
        inside
            Those inside the present region.
        """
        valid = np.isfinite(log_likelihood)
        if self.counts is not None:
            valid &= (totals >= self.counts[0]) & (totals <= self.counts[1])
        known = inside & np.isfinite(log_likelihood)
        if self.lowest is not None and known.any():
            valid &= log_likelihood >= np.quantile(log_likelihood[known], 1 - self.lowest)
        return valid


def total_counts(total: np.ndarray, simulator) -> np.ndarray:
    """Counts on source, background included, of noiseless vectors of shape (n, size): shape (n,)."""
    return np.asarray(total[:, : simulator.n_bins], np.float64).sum(axis=1)


class Classifier:
    """A small network that scores how likely a simulation at z is valid.

    Parameters
    ----------
    z, valid
        Points of shape (n, d), and whether each is valid, shape (n,).
    rng
        Source of all randomness.

    Attributes
    ----------
    history : list of dict
        Training and validation loss of every epoch.
    """

    def __init__(self, z: np.ndarray, valid: np.ndarray, rng: np.random.Generator):
        self.history: list[dict] = []
        self.held = rng.random(len(z)) < _HELD
        with torch_state(rng):
            self._fit(z, valid)

    def score(self, z: np.ndarray) -> np.ndarray:
        """Log-odds of being valid, classes balanced, shape (n,)."""
        import torch

        out = np.empty(len(z))
        with torch_settings(), torch.no_grad():
            for start in range(0, len(z), _CHUNK):
                rows = torch.as_tensor(np.asarray(z[start : start + _CHUNK], np.float32))
                out[start : start + _CHUNK] = self._net(rows)[:, 0].numpy()
        return out

    def _fit(self, z, valid) -> None:
        import torch
        from torch import nn
        from torch.nn.functional import binary_cross_entropy_with_logits as cross_entropy

        x = torch.as_tensor(np.asarray(z, np.float32))
        y = torch.as_tensor(valid.astype(np.float32))
        # Both classes weigh the same, however rare one of them is.
        weight = torch.where(y > 0, 0.5 / y.mean(), 0.5 / (1 - y).mean())
        self._net = nn.Sequential(
            nn.Linear(x.shape[1], _HIDDEN), nn.GELU(), nn.Linear(_HIDDEN, _HIDDEN), nn.GELU(), nn.Linear(_HIDDEN, 1)
        )
        held, used = (torch.as_tensor(np.flatnonzero(rows)) for rows in (self.held, ~self.held))

        def loss_of(epoch: int, training: bool):
            if not training:
                yield cross_entropy(self._net(x[held])[:, 0], y[held], weight[held])
                return
            for rows in used[torch.randperm(len(used))].split(_BATCH):
                yield cross_entropy(self._net(x[rows])[:, 0], y[rows], weight[rows])

        options = FlowOptions(epochs=_EPOCHS, patience=_PATIENCE, learning_rate=_LEARNING_RATE)
        self.history = train(self._net, loss_of, -(-len(used) // _BATCH), options)


class RestrictedPrior(RegionPrior):
    """The prior where a classifier finds simulations worth keeping.

    Parameters
    ----------
    z, valid
        Simulations of shape (n, d), and whether each is valid, shape (n,).
    rng
        Source of all randomness.
    missed
        Share of the valid simulations, of those kept apart from the training, that may fall outside the region.
    n_volume
        Accepted points on which the volume rests; its relative error is about one over the square root.

    Attributes
    ----------
    missed : float
        Share of the valid simulations that the region leaves out.

    Raises
    ------
    UsageError
        If fewer than 20 simulations are valid, or not valid: there is nothing to learn.
    """

    name = "restricted prior"

    def __init__(
        self,
        z: np.ndarray,
        valid: np.ndarray,
        rng: np.random.Generator,
        missed: float = 0.01,
        n_volume: int = 20_000,
        max_tries: int = 4_000_000,
    ):
        if min(valid.sum(), (~valid).sum()) < _FEWEST:
            raise UsageError(
                f"{valid.sum()} of {len(valid)} simulations are valid: a classifier needs {_FEWEST} of either kind; "
                "raise simulations or change restrict"
            )
        self.classifier = Classifier(z, valid, rng)
        scores = self.classifier.score(z[valid])
        held = scores[self.classifier.held[valid]]
        # Few held-out simulations determine no small quantile; then all of them have to serve.
        self.threshold = float(np.quantile(held if len(held) * missed >= 1 else scores, missed))
        # The outermost valid simulations are not the end of what is valid: the box is wider than they are.
        self._box = _Box.around(z[valid], margin=0.1)
        self.missed = float(1 - self.contains(z[valid]).mean())
        self._measure_volume(n_volume, max_tries, rng)

    def _exceeds(self, z: np.ndarray) -> np.ndarray:
        return self.classifier.score(z) >= self.threshold


def restrict(problem, simulator, validity: Validity, n: int, rounds: int, rng: np.random.Generator) -> RestrictedPrior:
    """Restriction on its own: simulate, learn what is valid, simulate there, and so on.

    Parameters
    ----------
    problem
        A :class:`~xsixsa.inference.problem.Problem`.
    simulator
        A :class:`~xsixsa.simulate.Simulator`, which adds the background to the counts.
    validity
        Which simulations are worth keeping.
    n
        Simulations in each round.
    rounds
        How often.
    rng
        Source of all randomness.

    Raises
    ------
    UsageError
        If too few simulations of the first round are valid, or all of them.
    """
    z, totals, log_l, region = [], [], [], None
    for number in range(rounds):
        proposal = region or PriorProposal(problem.dim)
        draws = problem.evaluate(proposal.sample(n, rng), keep_expected=True)
        z.append(draws.z)
        totals.append(total_counts(simulator.total(draws.expected), simulator))
        log_l.append(draws.log_likelihood)
        every = np.concatenate(z)
        inside = np.ones(len(every), bool) if region is None else region.contains(every)
        valid = validity(np.concatenate(totals), np.concatenate(log_l), inside)
        if number and min(valid.sum(), (~valid).sum()) < _FEWEST:
            break
        region = RestrictedPrior(every, valid, rng)
    return region
