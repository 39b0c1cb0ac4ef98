"""Which parameters can this observation constrain? `xsixsa.retrieve`, before any fit."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from xsixsa.errors import SessionError, UsageError
from xsixsa.prior import Prior
from xsixsa.session import Session
from xsixsa.simulate import Simulator
from xsixsa.summaries.base import NAMES, Summary, make_summary, noisy
from xsixsa.summaries.retriever import ParameterRetriever, RetrieverOptions

__all__ = ["CONSTRAINED", "WEAKLY", "Retrieval", "retrieve"]

CONSTRAINED = 0.5
"""Spread of the residuals near the observation, over that of the prior, below which a parameter is constrained."""
WEAKLY = 0.85
"""The same, up to which it is weakly constrained; beyond, it is not."""

_HELD_OUT = 0.25
_NEAR = 0.1
_FEWEST_NEAR = 40
_PRIOR_SPREAD = float(np.sqrt(1.0 / 12.0))


@dataclass(frozen=True)
class Retrieval:
    """What a parameter retriever found on simulations that it has not seen.

    A parameter is *constrained* when, among the simulations that look most like the observation, the retrieved value
    errs by less than half of the prior's own spread (root mean square, both in the prior's unit cube); *weakly* up to
    0.85 of it; and *not* beyond: a retriever that knows nothing returns the middle of the prior, and errs by 1. The
    verdict is on this summary, network and number of simulations: a parameter that is found constrained is, one that is
    not may be with more simulations or another summary.

    Attributes
    ----------
    names : list of str
        Parameters.
    truth, retrieved : numpy.ndarray
        True and retrieved parameters of the simulations held out, shape (n, d).
    observed : numpy.ndarray
        Retrieved parameters of the observation, shape (d,): about the posterior means.
    spread : numpy.ndarray
        Error near the observation over the prior's spread, shape (d,).
    r_squared, rank_correlation : numpy.ndarray
        Over all simulations held out: share of the variance explained, in the unit cube, and Spearman's correlation,
        shape (d,).
    near : numpy.ndarray
        Rows of the simulations that count as near the observation: the tenth with the closest retrieved values.
    priors : list of str
        Prior of each parameter, as text.
    logarithmic : list of bool
        Whether a parameter is best shown on a logarithmic axis.
    summary_name : str
        Summary that was used.
    n_evaluations, seed : int
        Simulations asked of the engine, and the seed.
    notes : tuple of str
        What else has to be known.
    history : list of dict
        Losses of the training.
    """

    names: list[str]
    truth: np.ndarray
    retrieved: np.ndarray
    observed: np.ndarray
    spread: np.ndarray
    r_squared: np.ndarray
    rank_correlation: np.ndarray
    near: np.ndarray
    priors: list[str]
    logarithmic: list[bool]
    summary_name: str
    n_evaluations: int
    seed: int
    notes: tuple[str, ...] = ()
    history: list[dict] = field(default_factory=list)

    @property
    def verdict(self) -> dict[str, str]:
        """``"constrained"``, ``"weakly"`` or ``"not"``, by parameter."""
        words = np.where(self.spread < CONSTRAINED, "constrained", np.where(self.spread < WEAKLY, "weakly", "not"))
        return dict(zip(self.names, words.tolist(), strict=True))

    def summary(self) -> str:
        """A line for each parameter."""
        width = max(9, *(len(name) for name in self.names))
        rows = [f"{'parameter':{width}s}  {'verdict':11s}  error/prior      R2  rank corr.    retrieved  prior"]
        for i, name in enumerate(self.names):
            rows.append(
                f"{name:{width}s}  {self.verdict[name]:11s}  {self.spread[i]:11.2f}  {self.r_squared[i]:6.2f}  "
                f"{self.rank_correlation[i]:10.2f}  {self.observed[i]:11.4g}  {self.priors[i]}"
            )
        rows.append(
            f"{len(self.truth)} simulations held out, {len(self.near)} near the observation; "
            f"summary {self.summary_name}, seed {self.seed}, {self.n_evaluations} evaluations"
        )
        return "\n".join([*rows, *(f"note: {note}" for note in self.notes)])

    def __repr__(self) -> str:
        return f"<Retrieval {', '.join(f'{k}: {v}' for k, v in self.verdict.items())}>"

    def plot(self, path: str | os.PathLike | None = None, **options):
        """True against retrieved values; see :func:`xsixsa.plot.retriever.plot_retrieval`."""
        from xsixsa.plot.retriever import plot_retrieval

        return plot_retrieval(self, path, **options)


def retrieve(
    xspec,
    prior: Mapping | Sequence[Mapping] | None = None,
    *,
    simulations: int = 4_000,
    summary: str | Summary = "autoencoder",
    seed: int | None = None,
    workers: int | None = None,
    progress: bool | Callable = True,
    options: RetrieverOptions | None = None,
) -> Retrieval:
    """Which parameters the loaded observation can constrain, from simulations of the prior alone.

    A small network learns to tell the parameters from noisy simulated spectra; a quarter of them is kept apart to see
    how well. It takes seconds, before any fit, and shows what a fit will have to say about each parameter.

    Parameters
    ----------
    xspec
        The ``xspec`` module, ``xsixsa.embedded.xspec``, or a :class:`~xsixsa.Session`, with data and model loaded.
    prior
        As for :func:`xsixsa.fit`.
    simulations
        Draws from the prior.
    summary
        As ``Options.summary``.
    seed
        Seed of everything random; drawn and stored when not given.
    workers
        Worker processes; as many as processors by default.
    progress
        True for a bar on standard error, False for silence, or a function that takes :class:`~xsixsa.progress.Event`.
    options
        Settings of the network.

    Returns
    -------
    Retrieval
        ``print(found.summary())``, ``found.verdict``, ``found.plot("retrieved.png")``. The session is as it was.

    Raises
    ------
    SessionError, PriorError, UsageError
        One clear line each.
    """
    from xsixsa.widening import widened_prior

    least = 4 * _FEWEST_NEAR
    if int(simulations) != simulations or simulations < least:
        raise UsageError(f"simulations must be a whole number of at least {least}, not {simulations!r}")
    seed = int(np.random.SeedSequence().entropy % 2**53) if seed is None else int(seed)
    workers = len(os.sched_getaffinity(0)) if workers is None else int(workers)
    if seed < 0 or workers < 1:
        raise UsageError(f"seed must not be negative and workers at least 1, not {seed} and {workers}")
    session = xspec if isinstance(xspec, Session) else Session(xspec)
    with widened_prior(session, prior) as joint:
        return _retrieve(session, joint, int(simulations), summary, seed, workers, progress, options)


def _retrieve(session, prior: Prior, n: int, which, seed: int, workers: int, progress, options) -> Retrieval:
    from xsixsa.progress import Reporter

    rng = np.random.default_rng(seed)
    reporter = Reporter(progress, n, 0)
    simulator = Simulator(session.observations)
    summary = make_summary(which, simulator)
    theta = prior.sample(n, rng)
    with session.pool(workers=workers) as pool:
        try:
            found = pool.evaluate(theta, progress=lambda done: reporter.tick("simulate", done, 0.0))
        finally:
            reporter.done()
    valid = (found.reason == 0) & np.isfinite(found.expected).all(axis=1)
    if valid.sum() < max(0.05 * n, 4 * _FEWEST_NEAR):
        raise SessionError(f"only {valid.sum()} of {n} draws from the prior give a spectrum; narrow the prior")
    theta, total = theta[valid], simulator.total(found.expected[valid])
    u = prior.cdf(theta)
    held = np.arange(len(u)) < max(int(_HELD_OUT * len(u)), _FEWEST_NEAR)
    retriever = ParameterRetriever(summary, options)
    retriever.fit(u[~held], total[~held], rng)
    predicted = retriever.predict(noisy(total[held], rng))
    observed = retriever.predict(simulator.observed[None])
    near = _nearest(predicted, observed[0])
    notes = [*prior.notes, *summary.notes, *_outside(total, simulator.observed)]
    return Retrieval(
        prior.names,
        theta[held],
        prior.ppf(predicted),
        prior.ppf(observed)[0],
        np.sqrt(((predicted - u[held])[near] ** 2).mean(axis=0)) / _PRIOR_SPREAD,
        1 - ((predicted - u[held]) ** 2).mean(axis=0) / u[held].var(axis=0),
        _rank_correlation(predicted, u[held]),
        near,
        [row["prior"] for row in prior.describe()],
        [str(d).lower().startswith("loguniform") for d in prior.distributions],
        which if which in NAMES else repr(which),
        n,
        seed,
        tuple(notes),
        retriever.history,
    )


def _nearest(predicted: np.ndarray, observed: np.ndarray) -> np.ndarray:
    """Rows whose retrieved values are closest to the observation's, parameters that are told apart weighing most."""
    distance = ((predicted - observed) ** 2).sum(axis=1)
    number = min(max(int(_NEAR * len(predicted)), _FEWEST_NEAR), len(predicted))
    return np.argsort(distance, kind="stable")[:number]


def _rank_correlation(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    from scipy.stats import rankdata

    x, y = (rankdata(v, axis=0) for v in (a, b))
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    # A constant prediction has no ranks, and no correlation.
    return (x * y).sum(axis=0) / np.sqrt(np.maximum((x**2).sum(axis=0) * (y**2).sum(axis=0), 1e-300))


def _outside(total: np.ndarray, observed: np.ndarray) -> list[str]:
    counts, seen = total.sum(axis=1), float(observed.sum())
    margin = 5 * np.sqrt(seen + 1)
    if counts.min() - margin <= seen <= counts.max() + margin:
        return []
    return [
        f"the observation has {seen:g} counts, simulations {counts.min():.4g} to {counts.max():.4g}: "
        "the prior does not cover it, and nothing here holds for it"
    ]
