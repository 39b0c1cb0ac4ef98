"""A network's posterior of many spectra, each made exact with its own likelihood."""

from __future__ import annotations

import hashlib
import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from xsixsa.amortised.correct import Correction, CorrectionOptions
from xsixsa.amortised.folder import Folder
from xsixsa.amortised.pattern import check_session
from xsixsa.amortised.posterior import result_of, verdict_of
from xsixsa.amortised.read import Reading, check_observation, read_spectrum
from xsixsa.amortised.refine import refine as refine_one
from xsixsa.amortised.table import error_row, make_table, result_row, write_tables
from xsixsa.amortised.turns import Asker, correct_in_turns
from xsixsa.errors import SessionError, UsageError, XsixsaError
from xsixsa.progress import Reporter
from xsixsa.result import Result
from xsixsa.session import Observation, Session
from xsixsa.widening import widened_prior

__all__ = ["Applied", "apply"]

log = logging.getLogger(__name__)

# Expected counts of all spectra under way, bytes, and how many these are.
_BYTES_AT_ONCE = 1 << 27
_DRAWS_EACH = 3_000
_MOST_AT_ONCE, _LEAST_AT_ONCE = 48, 2
# Of the evaluations allowed for a spectrum: what its correction may spend before a refinement takes over.
_SHARE = 0.5


@dataclass
class Applied:
    """Posteriors of many spectra.

    Attributes
    ----------
    rows : list of dict
        One for each spectrum, in the order given; those that could not be used have the status ``"error"``.
    parameters : list of dict
        ``name`` and ``unit`` of each free parameter.
    folder : pathlib.Path or None
        Where tables and results are.
    seconds : dict
        Wall-clock seconds by stage.
    n_evaluations : int
        Evaluations of the engine.
    """

    rows: list[dict]
    parameters: list[dict]
    meta: dict
    folder: Path | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    n_evaluations: int = 0
    _results: dict[int, Result] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return len(self.rows)

    def __repr__(self) -> str:
        return f"<Applied to {self.summary()}>"

    @property
    def converged(self) -> bool:
        """Whether every spectrum has a converged posterior."""
        return all(r.get("converged", False) for r in self.rows)

    @property
    def table(self):
        """All rows as an astropy table."""
        return make_table(self.rows, self.parameters, self.meta)

    def result(self, which: int | str) -> Result:
        """Result of one spectrum, by its number from 0 or by its name.

        Raises
        ------
        UsageError
            There is no such spectrum, or it could not be used.
        """
        names = [r["name"] for r in self.rows]
        if isinstance(which, str):
            if which not in names:
                raise UsageError(f"no spectrum {which!r} among these {len(names)}")
            which = names.index(which)
        if not 0 <= which < len(self.rows):
            raise UsageError(f"no spectrum number {which}: there are {len(self.rows)}, counted from 0")
        row = self.rows[which]
        if which in self._results:
            return self._results[which]
        if self.folder is None or not row["result"]:
            raise UsageError(f"{row['name']} has no result: {row['reason']}")
        from xsixsa.result import load

        return load(self.folder / row["result"])

    def summary(self) -> str:
        """How many converged, were flagged, failed."""
        failed = sum(r["status"] == "error" for r in self.rows)
        good = sum(bool(r.get("converged")) for r in self.rows)
        flagged = sum(bool(r.get("flagged")) for r in self.rows)
        text = f"{len(self.rows)} spectra: {good} converged"
        if len(self.rows) - good - failed:
            text += f", {len(self.rows) - good - failed} not converged"
        if flagged:
            text += f", {flagged} unlike the training set"
        return text + (f", {failed} could not be used" if failed else "")


def apply(
    network,
    spectra: Sequence | str | os.PathLike | None = None,
    xspec=None,
    *,
    out: str | os.PathLike | None = None,
    ess: int = 1_000,
    max_evaluations: int = 30_000,
    refine: bool = True,
    regroup: bool = False,
    same_response: bool = False,
    no_background: bool = False,
    seed: int | None = None,
    workers: int | None = None,
    progress: bool | Callable = True,
    delay: float = 0.0,
) -> Applied:
    """Exact posteriors of many spectra, starting from a network.

    Parameters
    ----------
    network
        Of :func:`xsixsa.train` or :func:`xsixsa.load_network`.
    spectra
        Files, or :class:`~xsixsa.session.Observation` objects in the network's bins; None for the loaded spectrum.
    xspec
        The ``xspec`` module or a :class:`~xsixsa.Session` with a spectrum of this kind and the model loaded: it
        computes expected counts, and the statistic of each spectrum follows from them.
    out
        Folder for ``table.fits``, ``table.ecsv`` and one saved result for each spectrum. Given again, finished
        spectra are skipped and the others done. Without it all results are kept in memory.
    ess
        Effective sample size of each posterior.
    max_evaluations
        Evaluations of the engine for one spectrum.
    refine
        Whether a spectrum whose correction does not converge gets a refinement of its own within that number.
    regroup
        Sum the channels of files with another grouping into the network's bins.
    same_response
        Take the network's response for files whose header names another one.
    no_background
        Leave out backgrounds that headers name and the network does not have.
    seed
        Seed of everything random. Each spectrum has its own stream, which does not depend on the others.
    workers
        Worker processes; as many as processors by default.
    progress
        True for a bar, False for silence, or a function that takes :class:`~xsixsa.progress.Event`.
    delay
        Seconds slept per evaluation inside the workers, for benchmarks.

    Returns
    -------
    Applied
        Rows, table, results.

    Raises
    ------
    SessionError
        The session is not what the network was trained for.
    UsageError, OutputError, WorkerError
        One clear line each. What is wrong with a single spectrum is said in its row.
    KeyboardInterrupt
        On Ctrl-C; what was finished is in `out`, and the same call goes on from there.
    """
    if xspec is None:
        raise UsageError("apply needs the loaded session for the exact likelihood: net.apply(spectra, xspec)")
    options = CorrectionOptions(int(ess), int(max_evaluations))
    session = xspec if isinstance(xspec, Session) else Session(xspec)
    notes = check_session(network.layout, session)
    if spectra is None:
        spectra = session.observations
    if isinstance(spectra, (str, os.PathLike)):
        spectra = [spectra]
    spectra = list(spectra)
    if not spectra:
        raise UsageError("no spectra given")
    folder = None if out is None else Folder(out, network, options)
    seed = _seed(seed, folder)
    workers = len(os.sched_getaffinity(0)) if workers is None else int(workers)
    reporter = Reporter(progress, 2 * options.ess * len(spectra), options.ess)
    reading = Reading(regroup, same_response, no_background)
    job = _Job(network, session, options, folder, seed, reporter, reading, refine, notes, len(spectra))
    try:
        with _prior_as_trained(network, session), session.pool(workers=workers, delay=delay) as pool:
            job.run(spectra, pool)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(job.interrupted()) from None
    finally:
        reporter.done()
    return job.applied()


def _seed(seed, folder: Folder | None) -> int:
    if seed is not None and (int(seed) != seed or seed < 0):
        raise UsageError(f"seed must be a whole number of at least 0, not {seed!r}")
    if folder is not None:
        return folder.seed(seed)
    return int(np.random.SeedSequence().entropy % 2**53) if seed is None else int(seed)


def _prior_as_trained(network, session):
    """Hard limits as wide as in the training."""
    spec = {p.full_name: d for p, d in zip(network.prior.parameters, network.prior.distributions, strict=True)}
    return widened_prior(session, spec)


class _Job:
    """Spectra through reading, correction, refinement and saving."""

    def __init__(self, network, session, options, folder, seed, reporter, reading, refine, notes, n):
        self.network, self.session, self.options, self.folder = network, session, options, folder
        self.seed, self.reporter, self.reading, self.refine, self.notes = seed, reporter, reading, refine, notes
        self.reference = session.observations[0]
        self.rows: list[dict | None] = [None] * n
        self.results: dict[int, Result] = {}
        self.seconds: dict[str, float] = {}
        self._network_mark = network.fingerprint
        self._number: dict[Correction, int] = {}
        self.n_evaluations = 0

    def run(self, spectra: list, pool) -> None:
        names = [s.name if isinstance(s, Observation) else str(s) for s in spectra]
        saved = self.folder.names(names) if self.folder else [""] * len(names)
        self._pool, self._names, self._saved, self._last = pool, names, saved, time.perf_counter()
        with Asker(self._ask, pool.check) as self._evaluate, self._clock("correct"):
            correct_in_turns(self._begun(spectra), self._at_once(len(spectra)), self._evaluate, self._finish_all)
        # What was spent on the others in between is theirs.
        self.seconds["correct"] -= sum(self.seconds.get(k, 0.0) for k in ("read", "refine", "judge", "save"))
        if self.folder:
            self._write()

    def _at_once(self, n: int) -> int:
        each = _DRAWS_EACH * self.network.layout.n_bins * 12
        return int(np.clip(_BYTES_AT_ONCE // each, _LEAST_AT_ONCE, min(_MOST_AT_ONCE, max(n, _LEAST_AT_ONCE))))

    def _begun(self, spectra: list) -> Iterator[Correction]:
        """Corrections of those spectra that can be used and are not done already, as they are asked for."""
        for i, spectrum in enumerate(spectra):
            correction = self._start(i, spectrum, self._names[i], self._saved[i])
            if correction is not None:
                self._number[correction] = i
                yield correction

    def _start(self, i: int, spectrum, name: str, saved: str) -> Correction | None:
        """The correction of one spectrum; None where it is done already or cannot be used."""
        try:
            with self._clock("read"):
                observation = self._observation(spectrum)
                mark = self._mark(observation)
                done = self.folder.finished(saved, mark) if self.folder else None
            if done is not None:
                self.rows[i] = self._row(done, name, saved, self._familiar(observation))
                return None
            rng = np.random.default_rng([self.seed, int(mark[:15], 16)])
            share = _SHARE if self.refine else 1.0
            return Correction(self.network, observation, self.reference, self.options, rng, share)
        except XsixsaError as error:
            self._failed(i, name, error)
            return None

    def _observation(self, spectrum) -> Observation:
        if isinstance(spectrum, Observation):
            if len(spectrum.counts) != self.network.layout.n_bins:
                raise SessionError(
                    f"{spectrum.name}: {len(spectrum.counts)} bins, the network's spectra have "
                    f"{self.network.layout.n_bins}"
                )
            check_observation(spectrum, self.network.layout, self.network.exposure)
            return spectrum
        return read_spectrum(spectrum, self.network.layout, self.network.exposure, self.reading)

    def _mark(self, o: Observation) -> str:
        """Fingerprint of a spectrum with the network and the options that it is applied with."""
        digest = hashlib.sha256(f"{self._network_mark} {self.options} {o.exposure!r}".encode())
        arrays = [o.counts, o.area_scale, o.back_scale]
        if o.background is not None:
            b = o.background
            arrays += [b.counts, b.area_scale, b.back_scale, np.array([b.exposure])]
        for array in arrays:
            digest.update(np.ascontiguousarray(array, np.float64).tobytes())
        return digest.hexdigest()

    def _finish_all(self, done: list[Correction]) -> None:
        share = (time.perf_counter() - self._last) / max(len(done), 1)
        for correction in done:
            i = self._number.pop(correction)
            if self.refine and not verdict_of(correction, [])[0].converged:
                log.info("%s: refined on its own", self._names[i])
                with self._clock("refine"):
                    refine_one(correction, self._evaluate)
            self._finish(i, correction, share)
        if done:
            self._last = time.perf_counter()
        self._tell()

    def _ask(self, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        before = self._pool.n_evaluations
        theta = self.network.prior.from_normal(z)
        answer = self._pool.evaluate(theta, progress=lambda done: self._tick(before + done), check=False)
        self.n_evaluations = self._pool.n_evaluations
        return answer.expected, answer.valid

    def _tick(self, done: int) -> None:
        if self._evaluate.stopped:
            raise KeyboardInterrupt
        finished = sum(r is not None for r in self.rows)
        self.reporter.tick(f"{finished}/{len(self.rows)} spectra", done, 0.0)

    def _finish(self, i: int, correction: Correction, share: float) -> None:
        name, saved = self._names[i], self._saved[i]
        with self._clock("judge"):
            familiar = self._familiar(correction.observation)
            warnings = [*self.notes, *self.session.warnings]
            warnings += [f"unlike the training set: {r}" for r in (familiar or {}).get("reasons", [])]
            result = result_of(
                correction,
                self._evaluate,
                warnings=warnings,
                seed=self.seed,
                engine=self.session.engine,
                settings=self.session.settings,
                fingerprint=self.session.fingerprint_with((correction.observation,)),
                mark=self._mark(correction.observation),
                seconds=share,
            )
        with self._clock("save"):
            if self.folder:
                self.folder.save(result, saved)
            else:
                self.results[i] = result
            self.rows[i] = self._row(result, name, saved, familiar)

    def _familiar(self, o: Observation) -> dict | None:
        if self.network.familiarity is None:
            return None
        vector = self.network.vector(o)
        return self.network.familiarity.check(self.network, vector[None], np.array([o.exposure]))[0]

    def _row(self, result: Result, name: str, saved: str, familiar: dict | None) -> dict:
        return result_row(result, name, saved, familiar)

    def _failed(self, i: int, name: str, error: XsixsaError) -> None:
        self.rows[i] = error_row(name, str(error))
        self.reporter.say(f"left out: {error}")

    def _tell(self) -> None:
        self._tick(self.n_evaluations)

    def _write(self) -> None:
        with self._clock("save"):
            write_tables(self.applied().table, self.folder.path)

    def interrupted(self) -> str:
        """What to say after Ctrl-C; the tables hold what was finished."""
        done = sum(r is not None for r in self.rows)
        if self.folder is None or not done:
            return f"{done} of {len(self.rows)} spectra were finished"
        self._write()
        return (
            f"{done} of {len(self.rows)} spectra are finished in {self.folder.path}; the same call goes on from there"
        )

    def applied(self) -> Applied:
        rows = [r for r in self.rows if r is not None]
        parameters = [{"name": p.name, "unit": p.unit} for p in self.network.prior.parameters]
        meta = {"network": self._network_mark, "seed": self.seed, "engine": dict(self.session.engine)}
        meta |= {"model": self.network.layout.facts["model"]["expression"], "ess": self.options.ess}
        meta |= {"prior": {p["name"]: p["prior"] for p in self.network.prior.describe()}}
        seconds = {k: round(v, 3) for k, v in self.seconds.items()}
        folder = self.folder.path if self.folder else None
        return Applied(rows, parameters, meta, folder, seconds, self.n_evaluations, self.results)

    def _clock(self, stage: str):
        return _Clock(self.seconds, stage)


class _Clock:
    """Charges the time inside to a stage."""

    def __init__(self, seconds: dict[str, float], stage: str):
        self._seconds, self._stage = seconds, stage

    def __enter__(self):
        self._start = time.perf_counter()

    def __exit__(self, *_):
        spent = time.perf_counter() - self._start
        self._seconds[self._stage] = self._seconds.get(self._stage, 0.0) + spent
