"""The neural posterior: a flow over z conditioned on the summary of a spectrum."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import asdict

import numpy as np
from scipy.special import logsumexp

from xsixsa.errors import OutputError
from xsixsa.inference.many import ManyFlow
from xsixsa.inference.proposals import MixtureProposal, Proposal
from xsixsa.inference.torch_state import torch_settings, torch_state
from xsixsa.inference.training import FlowOptions, build_conditional, train

__all__ = ["FlowProposal", "NeuralPosterior"]

_CHUNK = 50_000
_STATE = "xsixsa neural posterior 1"


class FlowProposal(Proposal):
    """A trained conditional flow at one observation.

    Parameters
    ----------
    net
        zuko's conditional flow.
    condition
        What the flow is conditioned on, after any embedding, shape (k,).
    dim
        Dimension of z.
    """

    name = "neural posterior"

    def __init__(self, net, condition: np.ndarray, dim: int):
        self.net, self.condition, self.dim = net, np.asarray(condition, np.float32), dim

    def _distribution(self):
        import torch

        return self.net(torch.as_tensor(self.condition)[None])

    def sample(self, n, rng):
        import torch

        with torch_state(rng), torch.no_grad():
            drawn = self._distribution().sample((n,)).reshape(n, self.dim).double().numpy()
        return drawn[np.isfinite(drawn).all(axis=1)]

    def log_prob(self, z):
        import torch

        out = np.empty(len(z))
        with torch_settings(), torch.no_grad():
            distribution = self._distribution()
            for start in range(0, len(z), _CHUNK):
                rows = torch.as_tensor(np.asarray(z[start : start + _CHUNK], np.float32))
                out[start : start + _CHUNK] = distribution.log_prob(rows[:, None])[:, 0].numpy()
        return np.where(np.isfinite(out), out, -np.inf)


class NeuralPosterior:
    """Neural posterior estimation: one flow, or the equal mixture of several.

    Parameters
    ----------
    options
        Settings of flow and training.
    embedding
        Torch module from summaries to what the flow is conditioned on, trained with it; its input is taken as it
        comes, whereas summaries without an embedding are standardised. None for none.
    ensemble
        Networks, each from its own start and its own split of the simulations; where they disagree their mixture is
        wide. One by default: what a single one is too sure of, the weights correct, and training costs as many times.

    Attributes
    ----------
    history : list of dict
        Loss of every epoch of the last fit; with an ensemble, of all networks one after the other, each epoch with
        the number of its ``network``.
    """

    def __init__(self, options: FlowOptions | None = None, embedding=None, ensemble: int = 1):
        self.options = options or FlowOptions()
        self.embedding, self.ensemble = embedding, ensemble
        self.history: list[dict] = []
        self._estimators: list = []
        self._fast: list[ManyFlow] = []
        self._mean = self._std = None
        self._dim = 0

    def fit(
        self,
        z: np.ndarray,
        summaries: Callable[[int], np.ndarray],
        rng: np.random.Generator,
        warm: bool = False,
        weights: np.ndarray | None = None,
    ) -> None:
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
        warm
            Start from the weights of the fit before, where there was one for summaries of this length.
        weights
            Of every simulation in the loss, mean 1, shape (n,); None where all weigh the same.
        """
        self.history, self._fast = [], []
        warm = warm and len(self._estimators) == self.ensemble and summaries(0).shape[1] == len(self._mean)
        if not warm:
            self._estimators = []
        for number in range(self.ensemble):
            with torch_state(rng):
                estimator, history = self._fit(
                    z, summaries, weights, self._estimators[number] if warm else None, number
                )
            if not warm:
                self._estimators.append(estimator)
            self.history += [{**h, "network": number} for h in history] if self.ensemble > 1 else history

    def posterior(self, summary: np.ndarray) -> Proposal:
        """Posterior for one observation, summary of shape (k,)."""
        summary = np.asarray(summary)[None]
        # Copies: a warm start trains these networks further, while draws already made keep the density they came from.
        parts = [
            FlowProposal(copy.deepcopy(e.net), self._condition(e, summary)[0], self._dim) for e in self._estimators
        ]
        if len(parts) == 1:
            return parts[0]
        return MixtureProposal(parts, np.ones(len(parts)), name=FlowProposal.name)

    def sample_many(self, summaries: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
        """Draws for many observations at once.

        Parameters
        ----------
        summaries
            Shape (m, k).
        n
            Draws for each observation. Those of an ensemble are shared out evenly, in random order.
        rng
            Source of all randomness: the draws depend neither on torch's state nor on the size of chunks.

        Returns
        -------
        numpy.ndarray
            Shape (m, n, d), in z. Nothing beside it grows with m or n.
        """
        networks = len(self._estimators)
        share = np.full(networks, n // networks)
        share[rng.permutation(networks)[: n % networks]] += 1
        parts = [
            fast.sample(self._condition(e, summaries), int(k), rng)
            for fast, e, k in zip(self._many(), self._estimators, share, strict=True)
            if k
        ]
        if len(parts) == 1:
            return parts[0]
        return np.concatenate(parts, axis=1)[:, rng.permutation(n)]

    def log_prob_many(self, z: np.ndarray, summaries: np.ndarray) -> np.ndarray:
        """Log density of draws of many observations.

        Parameters
        ----------
        z
            Shape (m, n, d).
        summaries
            Shape (m, k).

        Returns
        -------
        numpy.ndarray
            Shape (m, n), of all networks together where there are several.
        """
        pairs = zip(self._many(), self._estimators, strict=True)
        terms = [fast.log_prob(z, self._condition(e, summaries)) for fast, e in pairs]
        return terms[0] if len(terms) == 1 else logsumexp(terms, axis=0) - np.log(len(terms))

    def condition(self, summaries: np.ndarray) -> np.ndarray:
        """What the first flow sees of summaries of shape (m, k): standardised, or what the embedding makes of them."""
        return self._condition(self._estimators[0], summaries)

    def _many(self) -> list[ManyFlow]:
        """The networks in the form for many observations; it holds copies of their weights."""
        if len(self._fast) != len(self._estimators):
            self._fast = [ManyFlow(e.net) for e in self._estimators]
        return self._fast

    def state(self) -> dict[str, np.ndarray | float | int | str]:
        """Everything that :meth:`from_state` needs, as plain arrays, numbers and text."""
        out: dict = {"format": _STATE, "dim": self._dim, "networks": len(self._estimators)}
        out["condition_size"] = len(self._mean)
        out["embedded"] = int(self.embedding is not None)
        out |= {f"options/{k}": v for k, v in asdict(self.options).items()}
        out |= {"mean": self._mean, "std": self._std}
        for number, estimator in enumerate(self._estimators):
            weights = estimator.state_dict()
            out |= {f"network{number}/{k}": v.detach().cpu().numpy().copy() for k, v in weights.items()}
        return out

    @classmethod
    def from_state(cls, state: dict, embedding=None) -> NeuralPosterior:
        """The same neural posterior from its :meth:`state`; densities come out bit for bit.

        Parameters
        ----------
        state
            What :meth:`state` gave.
        embedding
            A module of the architecture that was trained with the flow; it receives the trained weights.

        Raises
        ------
        OutputError
            If the state is not one, or was made with an embedding and none is given.
        """
        import torch

        if state.get("format") != _STATE:
            raise OutputError(f"not a saved neural posterior: format {state.get('format')!r}, expected {_STATE!r}")
        if bool(state["embedded"]) != (embedding is not None):
            raise OutputError("a neural posterior trained with an embedding network needs that network to be restored")
        fields = {k.removeprefix("options/"): v for k, v in state.items() if k.startswith("options/")}
        kinds = {k: type(v) for k, v in asdict(FlowOptions()).items()}
        new = cls(FlowOptions(**{k: kinds[k](v) for k, v in fields.items()}), embedding, int(state["networks"]))
        new._dim = int(state["dim"])
        new._mean, new._std = np.asarray(state["mean"]), np.asarray(state["std"])
        for number in range(new.ensemble):
            prefix = f"network{number}/"
            weights = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
            with torch_state(np.random.default_rng(0)):
                # Whatever it is built with, all its numbers are replaced.
                estimator = build_conditional(
                    new.options,
                    torch.randn(8, new._dim),
                    torch.randn(8, int(state["condition_size"])),
                    new._embedding(number),
                )
            estimator.load_state_dict({k: torch.as_tensor(np.asarray(v)) for k, v in weights.items()})
            estimator.eval()
            new._estimators.append(estimator)
        return new

    def _embedding(self, number: int):
        """The caller's own module for the first network, copies for the others."""
        return self.embedding if number == 0 or self.embedding is None else copy.deepcopy(self.embedding)

    def _scale(self, summaries: np.ndarray) -> np.ndarray:
        return ((summaries - self._mean) / self._std).astype(np.float32)

    def _condition(self, estimator, summaries: np.ndarray) -> np.ndarray:
        """What the flow sees of summaries of shape (m, k)."""
        import torch

        scaled = self._scale(np.asarray(summaries))
        if self.embedding is None:
            return scaled
        with torch_settings(), torch.no_grad():
            parts = torch.as_tensor(scaled).split(4096)
            return torch.cat([estimator.embedding_net(rows) for rows in parts]).numpy()

    def _fit(self, z, summaries, weights, estimator, number: int):
        import torch

        options, self._dim = self.options, z.shape[1]
        first = summaries(0)
        if number == 0:
            self._mean, self._std = first.mean(axis=0), np.maximum(first.std(axis=0), 1e-6)
            if self.embedding is not None:
                self._mean, self._std = np.zeros_like(self._mean), np.ones_like(self._std)
        target = torch.as_tensor(np.asarray(z, np.float32))
        order = torch.randperm(len(z))
        n_val = max(1, int(options.validation * len(z)))
        held, used = order[:n_val], order[n_val:]
        if estimator is None:
            condition = torch.as_tensor(self._scale(first[used.numpy()]))
            estimator = build_conditional(options, target[used], condition, self._embedding(number))
        else:
            _standardise_anew(estimator, target[used])
        validation = torch.as_tensor(self._scale(first[held.numpy()]))

        weights = None if weights is None else torch.as_tensor(np.asarray(weights, np.float32))

        def mean(loss, rows):
            return loss.mean() if weights is None else (weights[rows] * loss).mean()

        def loss_of(epoch: int, training: bool):
            if not training:
                yield mean(estimator.loss(target[held], validation), held)
                return
            condition = torch.as_tensor(self._scale(summaries(epoch + 1)))
            for rows in used[torch.randperm(len(used))].split(options.batch):
                if self.embedding is not None and len(rows) < 2:
                    continue  # no batch normalisation learns from one spectrum
                yield mean(estimator.loss(target[rows], condition[rows]), rows)

        return estimator, train(estimator, loss_of, -(-len(used) // options.batch), options)


def _standardise_anew(estimator, target) -> None:
    """Mean and standard deviation of other targets into the first transform: the rest of the flow keeps its scale."""
    fixed = estimator.net.transform.transforms[0]
    std = target.std(dim=0).clamp(min=1e-6)
    fixed.scale.copy_(1 / std)
    fixed.loc.copy_(-target.mean(dim=0) / std)
