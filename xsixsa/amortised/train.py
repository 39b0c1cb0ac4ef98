"""Training: simulate from the prior where it matters, learn the summary, learn the posterior."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from xsixsa.amortised.familiarity import Familiarity
from xsixsa.amortised.network import Network
from xsixsa.amortised.pattern import Pattern, pattern_of
from xsixsa.amortised.read import Reading, read_spectrum
from xsixsa.amortised.region import Region
from xsixsa.amortised.store import as_read
from xsixsa.amortised.training_prior import Drawn, TrainingPrior
from xsixsa.errors import OutputError, UsageError
from xsixsa.inference.flow import FlowOptions, NeuralPosterior
from xsixsa.prior import Prior
from xsixsa.progress import Reporter
from xsixsa.session import Observation, Session
from xsixsa.summaries.base import Summary, check_summary, make_summary
from xsixsa.widening import widened_prior

__all__ = ["TrainOptions", "train"]

_FLOW = FlowOptions(transforms=3, hidden=64, batch=256, epochs=120, patience=20, learning_rate=2e-3, validation=0.1)
_COARSE = FlowOptions(transforms=3, hidden=64, batch=256, epochs=40, patience=8, learning_rate=3e-3)
# Training spectra whose summaries are kept with the network, to compare others with.
_KEPT = 2_000
# Spectra that no training sees, against which others are compared.
_HELD = 2_000
# How much fainter and brighter than the spectra at hand those of the small network may be.
_FAINTER, _BRIGHTER = 4.0, 3.0
# Draws of each coarse posterior that describe the union.
_UNION_DRAWS = 20_000


@dataclass(frozen=True)
class TrainOptions:
    """Settings of a training beyond what :func:`train` takes.

    Attributes
    ----------
    flow : FlowOptions
        Size and training of the flow.
    coarse : FlowOptions
        The same of the network that finds the union of coarse posteriors.
    coarse_simulations : int
        Its training spectra.
    ensemble : int
        Flows, averaged.
    false_alarm : float
        Share of good spectra that are flagged as unlike the training set.
    """

    flow: FlowOptions = _FLOW
    coarse: FlowOptions = _COARSE
    coarse_simulations: int = 4_000
    ensemble: int = 1
    false_alarm: float = 0.01


def train(
    xspec,
    prior: Mapping | Sequence[Mapping] | None = None,
    *,
    counts: tuple[float, float] | None = None,
    spectra: Sequence | None = None,
    simulations: int = 10_000,
    exposure: tuple[float, float] | None = None,
    summary: str | Summary = "autoencoder",
    seed: int | None = None,
    workers: int | None = None,
    progress: bool | Callable = True,
    out: str | os.PathLike | None = None,
    options: TrainOptions | None = None,
    reading: Reading | None = None,
    delay: float = 0.0,
) -> Network:
    """Train one network for all spectra of the response, grouping, energy range and model of a loaded session.

    Parameters
    ----------
    xspec
        The ``xspec`` module (PyXspec) or ``xsixsa.embedded.xspec``, or a :class:`~xsixsa.Session`, with one spectrum,
        the pattern, and the model loaded.
    prior
        As for :func:`xsixsa.fit`.
    counts
        Train where the expected counts of all noticed bins, background included, lie in this range.
    spectra
        Spectra at hand, files or observations: train where they have their posteriors, found by a small network first.
        With neither, train on the whole prior; with both, on the part of the union with such counts.
    simulations
        Training spectra.
    exposure
        Range of exposures (s) of the spectra to come; that of the pattern alone by default. Over a range the exposure
        is given to the network beside the spectrum.
    summary
        What the network sees of a spectrum: ``"autoencoder"``, ``"pca"``, ``"spectral"``, ``"embedding"``,
        ``"none"``, or a :class:`~xsixsa.summaries.base.Summary`.
    seed
        Seed of everything random; drawn and stored when not given.
    workers
        Worker processes; as many as processors by default. They do not change the network.
    progress
        True for a bar, False for silence, or a function that takes :class:`~xsixsa.progress.Event`.
    out
        File to save the network in; must not exist.
    options
        Size and training of the flows.
    reading
        What may be overlooked where `spectra` are read from files.
    delay
        Seconds slept per evaluation inside the workers, for benchmarks.

    Returns
    -------
    Network

    Raises
    ------
    SessionError, PriorError, DataError, UsageError, OutputError
        One clear line each.
    """
    options = options or TrainOptions()
    simulations = _whole(simulations, "simulations", 100)
    counts, exposure = _range(counts, "counts"), _range(exposure, "exposure")
    check_summary(summary)
    if out is not None and Path(out).exists():
        raise OutputError(f"{out} exists: choose another name for the network")
    session = xspec if isinstance(xspec, Session) else Session(xspec)
    layout = pattern_of(session)
    seed = int(np.random.SeedSequence().entropy % 2**53) if seed is None else _whole(seed, "seed", 0)
    workers = len(os.sched_getaffinity(0)) if workers is None else _whole(workers, "workers", 1)
    reporter = Reporter(progress, simulations, 0)
    try:
        with widened_prior(session, prior) as joint, session.pool(workers=workers, delay=delay) as pool:
            job = _Training(session, joint, layout, exposure, options, pool, reporter, seed)
            network = job.run(simulations, counts, spectra, reading, summary)
    finally:
        reporter.done()
    if out is not None:
        network.save(out)
    return network


def _whole(value, name: str, least: int) -> int:
    if int(value) != value or value < least:
        raise UsageError(f"{name} must be a whole number of at least {least}, not {value!r}")
    return int(value)


def _range(value, name: str) -> tuple[float, float] | None:
    if value is None:
        return None
    try:
        low, high = (float(v) for v in value)
    except (TypeError, ValueError):
        raise UsageError(f"{name} must be two numbers (low, high), not {value!r}") from None
    if not 0 < low < high < np.inf:
        raise UsageError(f"{name} must rise from a positive number, not ({low:g}, {high:g})")
    return low, high


class _Training:
    """One training: its random streams, its clock, and the stages in order."""

    def __init__(self, session, prior: Prior, layout: Pattern, exposure, options: TrainOptions, pool, reporter, seed):
        self.session, self.prior, self.layout, self.options = session, prior, layout, options
        self._pool, self._reporter, self.seed = pool, reporter, seed
        self._exposure = exposure or (layout.observation.exposure,) * 2
        self._rng = [np.random.default_rng(s) for s in np.random.SeedSequence(seed).spawn(4)]
        self.seconds: dict[str, float] = {}
        self._stage = "start"

    def run(self, simulations: int, counts, spectra, reading, summary) -> Network:
        region = None
        if spectra is not None:
            region = self._union(self._vectors(spectra, reading), counts)
        network = self._untrained(self._training_prior(counts, region))
        drawn = self._draw(network.proposal, simulations, self._rng[0])
        self._learn(network, drawn, summary, self.options.flow, self._rng[1])
        network.training = self._keep(network, drawn)
        self._acquaint(network)
        network.settings = self._settings(simulations)
        return Network.from_state(as_read(network.state()))

    def _training_prior(self, counts, region) -> TrainingPrior:
        background = float(self._background())
        reference = self.layout.observation.exposure
        return TrainingPrior(self.prior.dim, self._exposure, reference, counts, region, background)

    def _background(self) -> float:
        from xsixsa.simulate import Simulator

        return Simulator((self.layout.observation,)).background.sum()

    def _untrained(self, proposal: TrainingPrior) -> Network:
        plain = Prior(self.prior.parameters, self.prior.distributions, self.prior.origins, self.prior.notes)
        return Network(prior=plain, layout=self.layout, summary=None, posterior=None, proposal=proposal)

    def _draw(self, proposal: TrainingPrior, n: int, rng) -> Drawn:
        with self.stage("simulate"):
            drawn = proposal.draw(n, rng, self._evaluate)
        self._reporter.say(
            f"{n} training spectra, {proposal.tried} evaluations; "
            f"log of the prior volume kept {_log_volume(proposal):.2f}"
        )
        return drawn

    def _evaluate(self, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        before = self._pool.n_evaluations
        answer = self._pool.evaluate(
            self.prior.from_normal(z), progress=lambda done: self._tick(before + done), dtype=np.float32
        )
        return answer.expected, answer.valid

    def _tick(self, done: int) -> None:
        self._reporter.tick(self._stage, done, 0.0)

    def _learn(self, network: Network, drawn: Drawn, summary, options: FlowOptions, rng) -> None:
        total = network.total(drawn.expected, drawn.exposure)
        made = make_summary(summary, network.simulator.segments)
        if made.embedding is not None and network.proposal.varies:
            raise UsageError("an embedding network cannot take an exposure beside the spectrum: choose another summary")
        with self.stage("summarise"):
            made.fit(total, rng)
        network.summary = made
        network.posterior = NeuralPosterior(options, made.embedding, self.options.ensemble)
        last: dict[int, np.ndarray] = {}

        def summaries(epoch: int) -> np.ndarray:
            # The noise of every spectrum is fresh at every epoch; asked twice for the same one, it is the same.
            if epoch not in last:
                last.clear()
                noisy = rng.poisson(np.minimum(total, 1e15)).astype(np.float32)
                last[epoch] = network.summarise(noisy, drawn.exposure)
                self._reporter.tick(f"infer, epoch {epoch}", self._pool.n_evaluations, 0.0)
            return last[epoch]

        with self.stage("infer"):
            network.posterior.fit(drawn.z, summaries, rng)
        network.history = {"summary": made.history, "posterior": network.posterior.history}

    def _vectors(self, spectra: Sequence, reading) -> tuple[np.ndarray, np.ndarray]:
        """The spectra at hand as vectors with their exposures."""
        observations = [
            s if isinstance(s, Observation) else read_spectrum(s, self.layout, self._exposure, reading) for s in spectra
        ]
        if not observations:
            raise UsageError("spectra is empty: name the spectra at hand, or leave it out")
        off = [[] if o.background is None else [o.background.counts] for o in observations]
        vectors = np.stack([np.concatenate([o.counts, *b]) for o, b in zip(observations, off, strict=True)])
        return vectors, np.array([o.exposure for o in observations])

    def _union(self, at_hand: tuple[np.ndarray, np.ndarray], counts) -> Region:
        """Region of the prior where the spectra at hand have their posteriors, by a small network."""
        vectors, exposure = at_hand
        rng = self._rng[2]
        if counts is None:
            # The small network learns where they are from spectra that are about as bright.
            total = vectors[:, : self.layout.n_bins].sum(axis=1)
            counts = float(total.min()) / _FAINTER, float(total.max()) * _BRIGHTER + 10.0
        network = self._untrained(self._training_prior(counts, None))
        drawn = self._draw(network.proposal, self.options.coarse_simulations, rng)
        self._learn(network, drawn, "autoencoder", self.options.coarse, rng)
        with self.stage("restrict"):
            each = max(50, _UNION_DRAWS // len(vectors))
            draws = network.sample(vectors, each, rng, exposure).reshape(-1, self.prior.dim)
            region = Region.around(draws, rng)
        self._reporter.say(
            f"union of {len(vectors)} coarse posteriors: log of the prior volume {region.log_volume:.2f}"
        )
        return region

    def _acquaint(self, network: Network) -> None:
        """Learn from spectra that took no part in training what a spectrum like them looks like."""
        held = self._draw(network.proposal, _HELD, self._rng[3])
        with self.stage("compare"):
            network.familiarity = Familiarity.fit(network, held, self._rng[3], self.options.false_alarm)

    def _keep(self, network: Network, drawn: Drawn) -> dict:
        """Some training spectra with fresh noise, as the network sees them."""
        rng = self._rng[1]
        rows = slice(0, min(_KEPT, len(drawn)))
        exposure = drawn.exposure[rows]
        noisy = network.simulate(drawn.expected[rows], rng, exposure)
        return {
            "z": drawn.z[rows],
            "exposure": exposure,
            "summary": network.summarise(noisy, exposure),
            "counts": noisy.sum(axis=1),
        }

    def _settings(self, simulations: int) -> dict:
        import xsixsa

        return {
            "xsixsa": xsixsa.__version__,
            "seed": self.seed,
            "simulations": simulations,
            "n_evaluations": int(self._pool.n_evaluations),
            "options": asdict(self.options),
            "seconds": {k: round(v, 3) for k, v in self.seconds.items()},
        }

    @contextmanager
    def stage(self, name: str):
        """Charge the time inside to a stage."""
        start, before, self._stage = time.perf_counter(), self._stage, name
        self._tick(self._pool.n_evaluations)
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start
            self._stage = before


def _log_volume(proposal: TrainingPrior) -> float:
    return proposal.log_volume + (0.0 if proposal.region is None else proposal.region.log_volume)
