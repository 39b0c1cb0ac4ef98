"""A trained network with everything it depends on: what is applied, calibrated, saved and loaded."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from xsixsa.amortised.pattern import Pattern
from xsixsa.amortised.store import distribution_from, distribution_state, read_tree, tree_hash, write_tree
from xsixsa.amortised.training_prior import TrainingPrior
from xsixsa.errors import UsageError
from xsixsa.inference.proposals import Proposal
from xsixsa.prior import Prior
from xsixsa.session.records import Observation
from xsixsa.simulate import Simulator

__all__ = ["Network", "load_network"]

_KIND, _VERSION = "xsixsa network", 1
# What of a parameter a network needs to name it, to find it in a session and to write a result.
_PARAMETER = ("name", "full_name", "component", "parameter", "unit", "index", "source", "group", "min", "max", "value")


class Network:
    """One neural posterior for all spectra of a response, a grouping and a model.

    Made by :func:`xsixsa.train`, read by :func:`xsixsa.load_network`.

    Attributes
    ----------
    prior : Prior
        Full prior of the free parameters; that of the corrected posteriors.
    layout : Pattern
        The spectrum that it was trained on, and what must be the same in others.
    simulator : Simulator
        Layout of a spectrum as a vector: counts on source, then off source where there is a background.
    summary
        From vectors to what the flow sees.
    posterior : NeuralPosterior
        The flow.
    proposal : TrainingPrior
        What training parameters were drawn from: uncorrected, the network gives the posterior under it.
    history : dict
        Losses of the summary and of the flow.
    training : dict
        Some training spectra, kept to see whether another spectrum is like them: ``z`` (n, d), ``exposure`` (n,),
        and of one noisy realisation the ``summary`` (n, k) and the number of ``counts`` (n,).
    familiarity : Familiarity or None
        What tells whether another spectrum is like those of the training.
    settings : dict
        Seed, number of simulations, options, seconds by stage, versions.
    """

    def __init__(
        self,
        *,
        prior: Prior,
        layout: Pattern,
        summary,
        posterior,
        proposal: TrainingPrior,
        history: dict | None = None,
        training: dict | None = None,
        settings: dict | None = None,
        familiarity=None,
    ):
        self.prior, self.layout, self.summary, self.posterior, self.proposal = (
            prior,
            layout,
            summary,
            posterior,
            proposal,
        )
        self.simulator = Simulator((layout.observation,))
        self.familiarity = familiarity
        self.history, self.training, self.settings = history or {}, training or {}, settings or {}

    def __repr__(self) -> str:
        low, high = self.layout.energies
        counts = self.proposal.counts
        what = f", {counts[0]:g} to {counts[1]:g} counts" if counts else ""
        return (
            f"<Network {self.layout.facts['model']['expression']}: {', '.join(self.names)}; {self.layout.n_bins} bins "
            f"{low:.3g}-{high:.3g} keV{what}, {self._exposures()}>"
        )

    def _exposures(self) -> str:
        low, high = self.exposure
        return f"{low:g} s" if low == high else f"{low:g} to {high:g} s"

    @property
    def names(self) -> list[str]:
        """Parameter names in XSPEC's order."""
        return self.prior.names

    @property
    def pattern(self) -> dict:
        """What the network depends on, as plain values."""
        o, low_high = self.layout.observation, self.layout.energies
        return {
            **self.layout.facts,
            "bins": self.layout.n_bins,
            "channels": len(self.layout.channel_bin),
            "energies": list(low_high),
            "statistic": o.statistic,
            "exposure": list(self.exposure),
            "prior": [{k: row[k] for k in ("name", "prior")} for row in self.prior.describe()],
            "training": self.proposal.describe(),
        }

    @property
    def fingerprint(self) -> str:
        """SHA-256 (hexadecimal) of everything that decides about a posterior: prior, pattern, weights."""
        tree = self.state()
        return tree_hash({k: tree[k] for k in ("prior", "pattern", "summary", "posterior", "proposal")})

    @property
    def exposure(self) -> tuple[float, float]:
        """Range of exposures that it was trained for, s."""
        return self.proposal.exposure

    @property
    def reference(self) -> float:
        """Exposure of the pattern, s: that of expected counts given to :meth:`simulate`."""
        return self.layout.observation.exposure

    def total(self, expected: np.ndarray, exposure: np.ndarray | None = None) -> np.ndarray:
        """Noiseless vectors, background included.

        Parameters
        ----------
        expected
            Expected source counts at the pattern's exposure, shape (n, bins).
        exposure
            Seconds, shape (n,); the pattern's where None. Source and background, on and off source, scale with it.

        Returns
        -------
        numpy.ndarray
            Shape (n, size), float32.
        """
        total = self.simulator.total(expected)
        if exposure is None:
            return total
        return total * (np.asarray(exposure, np.float64) / self.reference)[:, None].astype(np.float32)

    def simulate(
        self, expected: np.ndarray, rng: np.random.Generator, exposure: np.ndarray | None = None
    ) -> np.ndarray:
        """Noisy vectors of shape (n, size) for expected source counts at the pattern's exposure, (n, bins)."""
        total = self.total(expected, exposure).astype(np.float64)
        return rng.poisson(np.minimum(total, 1e15)).astype(np.float64)

    def vector(self, observation: Observation) -> np.ndarray:
        """An observation in the network's bins as a vector, shape (size,)."""
        off = [] if observation.background is None else [observation.background.counts]
        return np.concatenate([observation.counts, *off])

    def summarise(self, counts: np.ndarray, exposure: np.ndarray | None = None) -> np.ndarray:
        """What the flow is conditioned on, shape (m, k), for vectors of shape (m, size).

        Parameters
        ----------
        counts
            Vectors of counts, laid out as :attr:`simulator` has them.
        exposure
            Seconds, shape (m,) or one number: needed where the network was trained over a range.

        Raises
        ------
        UsageError
            The shape is wrong, or an exposure is needed and missing.
        """
        counts = np.atleast_2d(np.asarray(counts))
        if counts.shape[1] != self.simulator.size:
            size = self.simulator.size
            raise UsageError(f"spectra of shape {counts.shape}: the network's vectors have {size} numbers")
        features = self.summary.transform(counts)
        if not self.proposal.varies:
            return features
        if exposure is None:
            raise UsageError(f"this network was trained over {self._exposures()}: give the exposure of each spectrum")
        exposure = np.broadcast_to(np.asarray(exposure, float), len(counts))
        return np.concatenate([features, np.log(exposure / self.reference)[:, None].astype(np.float32)], axis=1)

    def sample(
        self, counts: np.ndarray, n: int, rng: np.random.Generator, exposure: np.ndarray | None = None
    ) -> np.ndarray:
        """`n` draws of the neural posterior of each spectrum, uncorrected: z of shape (m, n, d).

        ``prior.from_normal`` turns rows of z into parameters.
        """
        return self.posterior.sample_many(self.summarise(counts, exposure), n, rng)

    def log_prob(self, z: np.ndarray, counts: np.ndarray, exposure: np.ndarray | None = None) -> np.ndarray:
        """Log density in z of the neural posterior of each spectrum, shape (m, n) for z of shape (m, n, d)."""
        return self.posterior.log_prob_many(z, self.summarise(counts, exposure))

    def at(self, counts: np.ndarray, exposure: float | None = None) -> Proposal:
        """Neural posterior of one spectrum, a vector of shape (size,), as a proposal in z."""
        return self.posterior.posterior(self.summarise(counts[None], exposure)[0])

    def state(self) -> dict:
        """Everything as a tree of arrays and plain values."""
        return {
            "prior": self._prior_state(),
            "pattern": self.layout.state(),
            "summary": self.summary.state(),
            "posterior": self.posterior.state(),
            "proposal": self.proposal.state(),
            "history": self.history,
            "training": self.training,
            "familiarity": None if self.familiarity is None else self.familiarity.state(),
            "settings": self.settings,
        }

    def _prior_state(self) -> dict:
        p = self.prior
        return {
            "parameters": [{k: getattr(q, k) for k in _PARAMETER} for q in p.parameters],
            "distributions": [distribution_state(d) for d in p.distributions],
            "origins": list(p.origins),
            "notes": list(p.notes),
        }

    @classmethod
    def from_state(cls, tree: dict) -> Network:
        """The network whose :meth:`state` this is."""
        from xsixsa.amortised.familiarity import Familiarity
        from xsixsa.inference.flow import NeuralPosterior
        from xsixsa.summaries.base import summary_from_state

        p = tree["prior"]
        summary = summary_from_state(tree["summary"])
        return cls(
            prior=Prior(
                [SimpleNamespace(**row) for row in p["parameters"]],
                [distribution_from(d) for d in p["distributions"]],
                p["origins"],
                p["notes"],
            ),
            layout=Pattern.from_state(tree["pattern"]),
            summary=summary,
            posterior=NeuralPosterior.from_state(tree["posterior"], summary.embedding),
            proposal=TrainingPrior.from_state(tree["proposal"]),
            history=tree["history"],
            training=tree["training"],
            settings=tree["settings"],
            familiarity=None if tree["familiarity"] is None else Familiarity.from_state(tree["familiarity"]),
        )

    def save(self, path: str | os.PathLike, overwrite: bool = False) -> Path:
        """Write everything to one HDF5 file, arrays and JSON with a checksum, nothing pickled.

        Raises
        ------
        OutputError
            If the file exists and `overwrite` is not given, or cannot be written.
        """
        return write_tree(path, _KIND, _VERSION, self.state(), overwrite)

    def apply(self, spectra=None, xspec=None, **options):
        """Exact posteriors of many spectra; see :func:`xsixsa.amortised.apply.apply`."""
        from xsixsa.amortised.apply import apply

        return apply(self, spectra, xspec, **options)

    def calibrate(self, n: int, xspec=None, **options):
        """Simulation-based calibration; see :func:`xsixsa.amortised.calibrate.calibrate`."""
        from xsixsa.amortised.calibrate import calibrate

        return calibrate(self, n, xspec, **options)


def load_network(path: str | os.PathLike) -> Network:
    """Read a network saved by :meth:`Network.save`.

    Raises
    ------
    OutputError
        If there is no such file, or it is not a network, cut short or altered.
    """
    tree = read_tree(path, _KIND, _VERSION)
    try:
        return Network.from_state(tree)
    except (KeyError, TypeError) as error:
        from xsixsa.errors import OutputError

        raise OutputError(f"{path}: a network that this version cannot read ({error}); train it again") from None
