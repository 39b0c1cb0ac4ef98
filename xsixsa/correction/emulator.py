"""A network that stands in for the likelihood where the engine is slow, and what keeps the posterior exact.

The pool knows the likelihood at tens of thousands of points. A small network learns it from them, and its error is
measured on points kept apart. It never decides about a weight: it chooses *which* draws the engine evaluates. Drawing
from a proposal q and keeping a draw with a probability a(z) is drawing from q a / A with A the mean of a, a normalised
density like any other, so weights, evidence and verdict are those of exact draws. Larger samples without any further
evaluation are there too (:func:`emulate`), and say what they are.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

import numpy as np

from xsixsa.correction.unfold import Unfolding
from xsixsa.errors import UsageError
from xsixsa.inference.clock import time_is_over
from xsixsa.inference.proposals import Proposal, log_standard_normal
from xsixsa.inference.torch_state import torch_settings, torch_state

__all__ = ["Emulator", "EmulatorOptions", "Screened", "screen"]

log = logging.getLogger(__name__)

_CHUNK = 50_000
_FEWEST = 500
# A draw is kept with at least this fraction of the mean probability: where the emulator is wrong the engine still
# looks, and no weight grows by more than its inverse. With 0.05 a handful of draws in tails it had not learnt carried
# weights twenty times too large beside a bulk of equal ones (efficiency 0.99, Pareto k 0.88 on a real spectrum).
_FLOOR = 0.3
_LEAST_ACCEPTANCE = 0.02
# Share of the emulated posterior below the weight that is always kept.
_CAP = 0.99
_MEASURED = 60_000


@dataclass(frozen=True)
class EmulatorOptions:
    """Network, training and gate of the likelihood emulator.

    Attributes
    ----------
    gate : float
        Largest error of log L on held-out evaluations, weighted by the posterior, with which it is used (0.1).
    hidden : tuple of int
        Units of the layers, GELU between them.
    learning_rate, batch, epochs, patience : float, int, int, int
        Of Adam, along a cosine to a hundredth; training ends after `patience` epochs without a better validation.
    held_out : float
        Share of the evaluations kept apart, half for stopping and half for the error.
    depth : float
        Evaluations within so many natural logarithms of the highest posterior are learnt from.
    dropped : float
        Share of these with the lowest likelihood that is left out.
    rows : int
        Evaluations used at most, the latest ones.
    """

    gate: float = 0.1
    hidden: tuple[int, ...] = (128, 64, 32)
    learning_rate: float = 1e-3
    batch: int = 128
    epochs: int = 150
    patience: int = 50
    held_out: float = 0.2
    depth: float = 25.0
    dropped: float = 0.005
    rows: int = 20_000

    def __post_init__(self):
        if not self.gate > 0:
            raise UsageError(f"gate of the emulator must be positive, not {self.gate!r}")
        if not 0 < self.held_out < 0.9 or not 0 <= self.dropped < 0.5:
            raise UsageError("held_out of the emulator must lie in (0, 0.9) and dropped in [0, 0.5)")


@dataclass
class Emulator:
    """Log-likelihood as a function of z.

    A polynomial of second order in straightened coordinates carries the bulk, the network what is left: an unfamiliar
    point gets the polynomial's value and no more than the largest correction seen.

    Attributes
    ----------
    error : float
        Standard deviation of emulated less exact log L on evaluations that training never saw, under their posterior
        weights.
    bias : float
        Mean of the same.
    held_out : int
        Evaluations on which these rest.
    calls : int
        Values computed so far.
    history : list of dict
        Training and validation loss, epoch by epoch.
    """

    options: EmulatorOptions = EmulatorOptions()
    error: float = np.inf
    bias: float = np.nan
    held_out: int = 0
    calls: int = 0
    history: list[dict] = field(default_factory=list)

    @property
    def passes(self) -> bool:
        """Whether the error on held-out evaluations is below the gate."""
        return bool(self.error <= self.options.gate)

    def fit(self, z: np.ndarray, log_likelihood: np.ndarray, weights: np.ndarray, rng: np.random.Generator) -> Emulator:
        """Learn from evaluations and measure the error on those kept apart.

        Parameters
        ----------
        z, log_likelihood
            Evaluated points, shapes (n, d) and (n,); invalid ones are left out.
        weights
            Their posterior weights, sum 1.

        Raises
        ------
        UsageError
            With fewer than 500 evaluations near the posterior.
        """
        o, log_post = self.options, log_standard_normal(z) + log_likelihood
        used = np.flatnonzero(np.isfinite(log_post) & (log_post > np.max(log_post) - o.depth))
        used = used[log_likelihood[used] >= np.quantile(log_likelihood[used], o.dropped)][-o.rows :]
        if len(used) < _FEWEST:
            raise UsageError(f"the emulator needs {_FEWEST} evaluations near the posterior; there are {len(used)}")
        z, y, w = z[used], log_likelihood[used], weights[used] / weights[used].sum()
        self._unfolding = Unfolding(z, w)
        x = self._unfolding.forward(z)
        order = rng.permutation(len(x))
        apart = int(o.held_out * len(x))
        test, check, train = order[: apart // 2], order[apart // 2 : apart], order[apart:]
        # Half way between the posterior and a level view: the peak matters most, and the flanks must not be forgotten.
        depth = (log_post[used].max() - log_post[used]) / (2 * z.shape[1] + 2)
        emphasis = 1 / (1 + depth) ** 2
        self._polynomial(x[train], y[train], emphasis[train])
        left = y - self._bulk(x)
        self._scale = float(np.sqrt(np.average(left[train] ** 2, weights=emphasis[train]))) + 1e-9
        self._most = 1.5 * float(np.abs(left[train]).max())
        self._train(x, left / self._scale, emphasis, train, check, rng)
        difference = self._evaluate(x[test]) - y[test]
        self.held_out = len(test)
        self.bias = float(np.average(difference, weights=w[test]))
        self.error = float(np.sqrt(np.average((difference - self.bias) ** 2, weights=w[test])))
        return self

    def log_likelihood(self, z: np.ndarray) -> np.ndarray:
        """Emulated log L at z, shape (n,) for (n, d)."""
        self.calls += len(z)
        return self._evaluate(self._unfolding.forward(z))

    def _terms(self, x: np.ndarray) -> np.ndarray:
        i, j = np.triu_indices(x.shape[1])
        x = np.clip(x, -20, 20)
        return np.concatenate([np.ones((len(x), 1)), x, x[:, i] * x[:, j]], axis=1)

    def _polynomial(self, x, y, emphasis) -> None:
        terms, root = self._terms(x), np.sqrt(emphasis)
        self._coefficients = np.linalg.lstsq(terms * root[:, None], y * root, rcond=None)[0]

    def _bulk(self, x) -> np.ndarray:
        return self._terms(x) @ self._coefficients

    def _evaluate(self, x) -> np.ndarray:
        import torch

        out = self._bulk(x)
        with torch_settings(), torch.no_grad():
            for start in range(0, len(x), _CHUNK):
                part = slice(start, start + _CHUNK)
                value = self._network(torch.as_tensor(x[part], dtype=torch.float32))[:, 0].double().numpy()
                out[part] += np.clip(self._scale * value, -self._most, self._most)
        return out

    def _train(self, x, y, emphasis, train, check, rng) -> None:
        import torch

        o = self.options
        with torch_state(rng):
            layers, width = [], x.shape[1]
            for units in o.hidden:
                layers += [torch.nn.Linear(width, units), torch.nn.GELU()]
                width = units
            self._network = torch.nn.Sequential(*layers, torch.nn.Linear(width, 1))
            x, y, emphasis = (torch.as_tensor(a, dtype=torch.float32) for a in (x, y, emphasis))
            rows = torch.as_tensor(train)
            optimiser = torch.optim.Adam(self._network.parameters(), lr=o.learning_rate)
            schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, o.epochs, o.learning_rate / 100)

            def loss(part):
                return (emphasis[part] * (self._network(x[part])[:, 0] - y[part]) ** 2).mean()

            best, best_state, since = np.inf, None, 0
            for _ in range(o.epochs):
                total = 0.0
                shuffled = rows[torch.randperm(len(rows))]
                for part in shuffled.split(o.batch):
                    optimiser.zero_grad()
                    value = loss(part)
                    value.backward()
                    optimiser.step()
                    total += float(value.detach()) * len(part)
                schedule.step()
                with torch.no_grad():
                    validation = float(loss(torch.as_tensor(check)))
                self.history.append({"training": total / len(rows), "validation": validation})
                if validation < best:
                    best, since = validation, 0
                    best_state = {k: v.clone() for k, v in self._network.state_dict().items()}
                else:
                    since += 1
                if since >= o.patience or time_is_over():
                    break
            self._network.load_state_dict(best_state)
            self._network.eval()


class Screened(Proposal):
    """Draws of a proposal, kept with a probability that follows the emulated weight.

    Parameters
    ----------
    proposal
        Where candidates come from.
    emulator
        Trained.
    rng
        Of the candidates by which the normalisation is measured.
    candidates
        So many.

    Attributes
    ----------
    acceptance : float
        Mean probability A to keep a candidate.
    log_volume_err : float
        Standard error of log A, which is one of log-evidence too.
    """

    def __init__(self, proposal: Proposal, emulator: Emulator, rng: np.random.Generator, candidates: int = _MEASURED):
        self.proposal, self.emulator, self.name = proposal, emulator, proposal.name
        z = proposal.sample(candidates, rng)
        log_w = self._log_weight(z)
        order = np.argsort(log_w)
        mass = np.cumsum(np.exp(log_w[order] - log_w.max()))
        cap = log_w[order[min(int(np.searchsorted(mass, _CAP * mass[-1])), len(z) - 1)]]
        mean = np.log(np.mean(np.exp(log_w - log_w.max()))) + log_w.max()
        self._log_cap = min(cap, mean - np.log(_LEAST_ACCEPTANCE))
        self._log_floor = float(np.log(_FLOOR) + min(mean - self._log_cap, 0.0))
        keep = np.exp(self._log_keep(log_w))
        self.acceptance = float(keep.mean())
        self.log_volume_err = float(keep.std() / keep.mean() / np.sqrt(len(z)))

    def _log_weight(self, z: np.ndarray) -> np.ndarray:
        return log_standard_normal(z) + self.emulator.log_likelihood(z) - self.proposal.log_prob(z)

    def _log_keep(self, log_w: np.ndarray) -> np.ndarray:
        return np.clip(log_w - self._log_cap, self._log_floor, 0.0)

    def sample(self, n, rng):
        kept, left = [], n
        while left > 0:
            z = self.proposal.sample(min(int(1.1 * left / self.acceptance) + 100, _CHUNK), rng)
            z = z[np.log(rng.random(len(z))) < self._log_keep(self._log_weight(z))][:left]
            kept.append(z)
            left -= len(z)
        return np.concatenate(kept)

    def log_prob(self, z):
        log_q = self.proposal.log_prob(z)
        log_w = log_standard_normal(z) + self.emulator.log_likelihood(z) - log_q
        # Where the proposal has no density neither has this, whatever the emulator says there.
        keep = self._log_keep(np.where(np.isfinite(log_w), log_w, -np.inf))
        return np.where(np.isfinite(log_q), log_q + keep - np.log(self.acceptance), -np.inf)


def screen(pool, proposal: Proposal, options: EmulatorOptions, rng) -> tuple[Proposal, dict, Emulator]:
    """The proposal screened by an emulator of the pool's likelihoods, or as it is where the gate refuses.

    Returns
    -------
    proposal : Proposal
    record : dict
        ``error``, ``bias``, ``held_out``, ``gate``, ``used``, ``acceptance``, ``training``: for the history of a run.
    emulator : Emulator
        It counts its calls.
    """
    log_w = pool.log_weights()
    emulator = Emulator(options)
    weights = np.exp(log_w - log_w.max())
    record = {"gate": options.gate, "used": False}
    try:
        emulator.fit(pool.z, pool.log_likelihood, weights / weights.sum(), rng)
    except UsageError as error:
        return proposal, {**record, "refused": str(error)}, emulator
    record |= {"error": emulator.error, "bias": emulator.bias, "held_out": emulator.held_out}
    record["training"] = emulator.history
    if not emulator.passes:
        refused = (
            f"its error of log L on held-out evaluations, {emulator.error:.3f}, exceeds the gate of {options.gate:g}"
        )
        log.info("emulator refused: %s", refused)
        return proposal, {**record, "refused": refused}, emulator
    screened = Screened(proposal, emulator, rng)
    log.info("emulator: error %.3f, keeps %.2f of the candidates", emulator.error, screened.acceptance)
    return screened, {**record, "used": True, "acceptance": screened.acceptance}, emulator
