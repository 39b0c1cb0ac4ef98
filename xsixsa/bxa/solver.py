"""BXA itself, run on a truncated prior: unmodified, its outputs where it puts them."""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from xsixsa.bxa.edges import TOLERANCE
from xsixsa.bxa.files import BXARun, read_run
from xsixsa.bxa.truncation import Evidence, Truncation
from xsixsa.errors import OutputError, UsageError

__all__ = ["TRUNCATION_FILE", "BXAOutcome", "load_bxa", "run_bxa"]

log = logging.getLogger(__name__)

TRUNCATION_FILE = "truncation.json"
CHAIN_FILE = "posterior.fits"
_EXTRA = "BXA is not installed ({name} is missing): pip install 'xsixsa[bxa]'"
_PARTS_OF_BXA = ("bxa", "ultranest", "six", "tqdm", "matplotlib", "corner", "astropy")


@dataclass(frozen=True)
class BXAOutcome:
    """A finished run of BXA on a truncated prior.

    Attributes
    ----------
    run : BXARun
        Posterior and evidence on the truncated prior.
    evidence : Evidence
        Of the whole prior, with the edge check.
    truncation : Truncation
        The one that the run ended with.
    widened : int
        How often it was widened and run again.
    n_evaluations : int
        Of all runs of BXA, and of the truncation where that cost any.
    solver : object
        BXA's own ``BXASolver``, for its plots and flux chains.
    """

    run: BXARun
    evidence: Evidence
    truncation: Truncation
    widened: int
    n_evaluations: int
    solver: object


def load_bxa(module):
    """BXA's XSPEC package, bound to the engine `module`.

    Raises
    ------
    UsageError
        If BXA is not installed, or this process has it bound to another engine.
    """
    if getattr(module, "__xsixsa_embedded__", False):
        from xsixsa.embedded import install

        install()
    if sys.modules.get("xspec") is not module:
        raise UsageError(
            "BXA uses whatever `import xspec` gives, and here that is not the engine of this session: "
            "start a process with one engine only"
        )
    try:
        bxa = importlib.import_module("bxa.xspec")
    except ModuleNotFoundError as error:
        if str(error.name).split(".")[0] in _PARTS_OF_BXA:
            raise UsageError(_EXTRA.format(name=error.name)) from None
        raise
    if importlib.import_module("bxa.xspec.solver").xspec is not module:
        raise UsageError("BXA is bound to another engine in this process: start a new one")
    return bxa


def run_bxa(
    truncation: Truncation,
    out: str | os.PathLike,
    *,
    live_points: int = 400,
    resume: bool = False,
    widen: int = 2,
    tolerance: float = TOLERANCE,
    workers: int = 1,
    seed: int | None = None,
    sampler_kwargs: Mapping | None = None,
    run_kwargs: Mapping | None = None,
    speed: str | int = "safe",
) -> BXAOutcome:
    """Run BXA on a truncated prior, check the edges, and run again with wider ones where they cut the posterior.

    Parameters
    ----------
    truncation
        Tied to a session (``result.bxa(xspec)``, ``xsixsa.bxa.truncate(xspec)``).
    out
        BXA's ``outputfiles_basename``: a folder.
    live_points
        UltraNest's ``min_num_live_points``.
    resume
        Go on with the run in `out`, on the truncated prior that is stored there.
    widen
        How often the truncation may be widened and run again; 0 only says that it should be.
    tolerance
        Posterior mass allowed beside an edge.
    workers
        1: BXA as it is, one evaluation after another. More: the same sampler, its batches of points evaluated by so
        many processes.
    seed
        UltraNest draws from numpy's global generator: seeded so for the run, and put back.
    sampler_kwargs, run_kwargs, speed
        For BXA's ``run``; see there.

    Returns
    -------
    BXAOutcome
        ``outcome.evidence`` is the evidence of the whole prior.

    Raises
    ------
    UsageError
        BXA is not installed; the statistic is not one that it takes.
    OutputError
        `out` holds a run and `resume` was not asked for, or the other way round.
    """
    if truncation.session is None:
        raise UsageError("this truncation knows no session: use .attached(xspec)")
    bxa = load_bxa(truncation.session._xspec)
    out, truncation = _folder(Path(out), truncation, resume)
    spent, widened = truncation.n_evaluations, 0
    while True:
        truncation.save(out / TRUNCATION_FILE)
        with _solver(bxa, truncation, out, workers) as solver, _global_seed(seed):
            _run(solver, live_points, resume, sampler_kwargs, run_kwargs, speed)
        run = read_run(out)
        spent += run.n_evaluations
        evidence = truncation.evidence(run, tolerance)
        if evidence.edges.passed or widened >= widen:
            break
        log.warning("%s; widening and running again", evidence.edges)
        truncation, widened, resume = truncation.widened(evidence.edges), widened + 1, False
    _write_chain(truncation, run, out)
    return BXAOutcome(run, evidence, truncation, widened, spent, solver)


def _folder(out: Path, truncation: Truncation, resume: bool) -> tuple[Path, Truncation]:
    stored = out / TRUNCATION_FILE
    if resume:
        return out, truncation.loaded(stored)
    if stored.exists() or (out / "chains").exists():
        raise OutputError(f"{out} holds a run already: resume it, or name another folder")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot make the folder {out}: {error.strerror}") from None
    return out, truncation


@contextlib.contextmanager
def _solver(bxa, truncation: Truncation, out: Path, workers: int) -> Iterator:
    """BXA's solver; with several workers its likelihood takes batches, which UltraNest makes in any case."""
    solver = bxa.BXASolver(
        transformations=truncation.transformations,
        prior_function=truncation.prior_function,
        outputfiles_basename=str(out),
    )
    if workers <= 1:
        yield solver
        return
    with truncation.session.pool(workers=workers) as pool:

        def log_likelihood(theta: np.ndarray) -> np.ndarray:
            statistic = pool.evaluate(theta, expected=False).statistic
            return np.where(np.isfinite(statistic), -0.5 * statistic, -1e100)

        solver.log_likelihood, solver.vectorized = log_likelihood, True
        solver.prior_function = truncation.transform
        yield solver
    solver.set_best_fit()


def _run(solver, live_points: int, resume: bool, sampler_kwargs, run_kwargs, speed) -> None:
    # BXA keeps what it is given in mutable defaults: both dictionaries are passed, and are our own.
    sampler = {"resume": "resume" if resume else "overwrite"} | dict(sampler_kwargs or {})
    options = {"min_num_live_points": int(live_points), "Lepsilon": 0.1} | dict(run_kwargs or {})
    try:
        solver.run(sampler_kwargs=sampler, run_kwargs=options, speed=speed)
    except RuntimeError as error:
        if "statMethod" in str(error):
            raise UsageError(f"BXA takes {', '.join(solver.allowed_stats)} only: set Fit.statMethod") from None
        raise
    finally:
        # UltraNest leaves its file of points open and locked: neither a wider run nor a resumed one could write it.
        store = getattr(getattr(solver, "sampler", None), "pointstore", None)
        if hasattr(store, "close"):
            store.close()


@contextlib.contextmanager
def _global_seed(seed: int | None) -> Iterator[None]:
    if seed is None:
        yield
        return
    before = np.random.get_state()  # noqa: NPY002 - UltraNest knows no other generator
    np.random.seed(seed)  # noqa: NPY002
    try:
        yield
    finally:
        np.random.set_state(before)  # noqa: NPY002


def _write_chain(truncation: Truncation, run: BXARun, out: Path) -> None:
    """A chain with the statistic, which BXA 5.1 leaves at 0 in its own."""
    from xsixsa.chain import write_chain
    from xsixsa.diagnostics.compare import equal_weight

    rows = equal_weight(run.weights, max(100, int(run.ess)), np.random.default_rng(0))
    parameters = truncation.session.parameters
    write_chain(out / CHAIN_FILE, parameters, run.theta[rows], -2 * run.log_likelihood[rows], overwrite=True)
