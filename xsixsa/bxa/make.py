"""Truncations: from a finished run, or straight from a session in a minute."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

import numpy as np

from xsixsa.bxa.explore import explore
from xsixsa.bxa.points import truncation_of_points
from xsixsa.bxa.transformations import prior_of_rows
from xsixsa.bxa.truncation import MARGIN, QUANTILE, Truncation
from xsixsa.errors import SessionError, UsageError
from xsixsa.inference.problem import Problem
from xsixsa.inference.proposals import log_standard_normal
from xsixsa.prior import Prior
from xsixsa.progress import Reporter
from xsixsa.session import Session
from xsixsa.simulate import Simulator

__all__ = ["from_result", "truncate", "truncate_session"]

_HEALTHY = 100.0
_SAME_STATISTIC = 1e-4
_MAX_EVALUATIONS = 50_000


def truncate(
    xspec,
    prior=None,
    *,
    kind: str = "region",
    quantile: float = QUANTILE,
    margin: float = MARGIN,
    ess: float | None = None,
    seed: int | None = None,
    workers: int | None = None,
    max_evaluations: int = _MAX_EVALUATIONS,
    progress: bool | Callable = False,
    delay: float = 0.0,
) -> Truncation:
    """Truncated prior of a loaded session without a whole run: some thousand evaluations, no network.

    Parameters
    ----------
    xspec
        The ``xspec`` module, ``xsixsa.embedded.xspec``, or a :class:`~xsixsa.Session`.
    prior
        As for :func:`xsixsa.fit`: a dictionary, or BXA's list of transformations.
    kind
        ``"region"``: cells that follow the posterior. ``"box"``: tighter bounds for each parameter.
    quantile
        Share of the posterior that may lie outside the highest-density region.
    margin
        Room around that on each side, as a share of its width.
    ess
        Effective size of the exploration at which it stops; 120 for each parameter by default.
    seed
        Seed of everything random.
    workers
        Worker processes; as many as processors by default.
    max_evaluations
        Evaluations allowed.
    progress, delay
        As for :func:`xsixsa.fit`.

    Returns
    -------
    Truncation
        Tied to the session: ``BXASolver(transformations=t.transformations, prior_function=t.prior_function)``.
    """
    session = xspec if isinstance(xspec, Session) else Session(xspec)
    workers = len(os.sched_getaffinity(0)) if workers is None else int(workers)
    shape = {"kind": kind, "quantile": quantile, "margin": margin}
    rng = np.random.default_rng(seed)
    joint = Prior.build(session, prior)
    return truncate_session(session, joint, rng, ess, workers, max_evaluations, progress, delay, **shape)


def truncate_session(
    session,
    joint: Prior,
    rng: np.random.Generator,
    ess: float | None = None,
    workers: int = 1,
    max_evaluations: int = _MAX_EVALUATIONS,
    progress: bool | Callable = False,
    delay: float = 0.0,
    **shape,
) -> Truncation:
    """:func:`truncate` for an attached session and a prior that is built; `shape` as there."""
    wanted = 120.0 * joint.dim if ess is None else float(ess)
    reporter = Reporter(progress, max_evaluations, wanted)
    with session.pool(workers=workers, delay=delay) as pool:
        problem = Problem(
            joint, lambda theta, tick: pool.evaluate(theta, progress=tick), max_evaluations, reporter.tick
        )
        try:
            found = explore(problem, Simulator(session.observations), wanted, rng)
        finally:
            reporter.done()
    notes = [*joint.notes, *session.warnings]
    if not found.reached:
        notes.append(
            f"the exploration ended with an effective size of {found.pool.ess:.0f} where {wanted:.0f} was asked for: "
            "the region may be too small, mind the edge check"
        )
    log_w = found.pool.log_weights()
    weights = np.exp(log_w - log_w.max())
    return truncation_of_points(
        joint,
        found.pool.z,
        log_standard_normal(found.pool.z) + found.pool.log_likelihood,
        weights / weights.sum(),
        rng=rng,
        **shape,
        n_evaluations=problem.n_evaluations,
        warnings=tuple(notes),
        session=session,
    )


def from_result(
    result,
    xspec=None,
    prior=None,
    *,
    kind: str = "region",
    quantile: float = QUANTILE,
    margin: float = MARGIN,
    rng: np.random.Generator | int = 0,
) -> Truncation:
    """Truncated prior from the posterior of a finished run; see :meth:`xsixsa.Result.bxa`.

    Parameters
    ----------
    result
        The run.
    xspec
        The session with the same data and model, for BXA's transformations; the ``xspec`` module that is already
        imported by default. Without any, bounds and transform can still be had.
    prior
        The prior that the run was given; needed only where it was a function that a saved result cannot hold.
    kind, quantile, margin
        As for :func:`truncate`.
    rng
        Generator or seed.

    Raises
    ------
    SessionError
        If the loaded session is not the one of the run.
    """
    xspec = sys.modules.get("xspec") if xspec is None else xspec
    session = xspec if xspec is None or isinstance(xspec, Session) else Session(xspec)
    if session is not None:
        _check_same(result, session)
    if prior is not None:
        if session is None:
            raise UsageError("a prior is read with the names of a loaded session: give xspec as well")
        joint = Prior.build(session, prior)
    else:
        joint = prior_of_rows(result.parameters)
    notes = [] if result.verdict.converged else [f"the run has not converged: {'; '.join(result.verdict.reasons)}"]
    if result.ess < _HEALTHY:
        raise UsageError(f"the run's effective size is {result.ess:.0f}: too few points to draw a region around")
    return truncation_of_points(
        joint,
        joint.to_normal(result.theta),
        result.log_prior + result.log_likelihood,
        result.weights,
        kind=kind,
        quantile=quantile,
        margin=margin,
        rng=rng,
        warnings=tuple(notes),
        session=session,
    )


def _check_same(result, session: Session) -> None:
    """The session must give the run's statistic at the run's best point, or all that follows is about another problem.

    A session restored from text has six digits: fingerprints may differ where problems do not.
    """
    ours = [p.name for p in session.parameters]
    if ours != result.names:
        raise SessionError(
            f"the session's free parameters are {', '.join(ours)}, those of the run {', '.join(result.names)}"
        )
    if session.fingerprint == result.fingerprint:
        return
    best = np.array([[result.best[name] for name in result.names]])
    there, wanted = float(session.evaluate(best).statistic[0]), result.best_fit_statistic
    if not abs(there - wanted) <= _SAME_STATISTIC * max(abs(wanted), 100.0):
        raise SessionError(
            f"the session gives a statistic of {there:.4f} at the run's best point, the run had {wanted:.4f}: "
            "load the data and model of the run"
        )
