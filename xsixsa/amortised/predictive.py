"""Goodness of fit by simulation, with the network in place of refits.

XSPEC's ``goodness`` simulates spectra from the model, fits each and tells which share has a lower statistic than the
observation. Here theta comes from the posterior, every simulated spectrum goes through the network, and its statistic
is the lowest found in three steps, the same for the observation:

1. the engine computes the expected counts at a few dozen draws of the network's posterior for that spectrum;
2. a quadratic in z, fitted to the logarithm of those expected counts, stands for the model nearby, and the statistic
   is minimised on it;
3. the engine computes the statistic there. The lowest of all values met is kept.

It is never below the true minimum within the prior. Where the network is good it exceeds it by a few hundredths, and
since observation and simulations get the same treatment, most of that cancels. Unlike XSPEC's fits, no theta outside
the prior is tried.
"""

from __future__ import annotations

import os
import time
from contextlib import nullcontext
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np

from xsixsa.amortised.calibrate import wider_limits
from xsixsa.amortised.likelihood import CountStatistic
from xsixsa.amortised.pattern import check_session
from xsixsa.errors import UsageError
from xsixsa.session import Session
from xsixsa.simulate import Simulator

__all__ = ["SimulatedGoodness", "simulated_goodness"]

_LEAST = 20
_FARTHEST = 6.0
# Draws whose C lies farther above the best than this hardly shape the minimum.
_NEAR = 12.0
# A minimum whose C is this far from what its quadratic promised is looked for once more among draws this much closer.
_KEPT, _TIGHTER = 0.02, 0.4


@dataclass(frozen=True)
class SimulatedGoodness:
    """Where the observed statistic lies among those of simulated spectra.

    Attributes
    ----------
    statistic : float
        Lowest statistic of the observation.
    simulated : numpy.ndarray
        Lowest statistic of each simulated spectrum, shape (n,).
    best : numpy.ndarray
        Where it was found, in z, shape (n, d).
    counts : numpy.ndarray
        The simulated spectra, shape (n, size).
    evaluations : int
    seconds : float
    seed : int
    """

    statistic: float
    simulated: np.ndarray
    best: np.ndarray
    counts: np.ndarray
    evaluations: int
    seconds: float
    seed: int

    @property
    def fraction_below(self) -> float:
        """Share of the simulations with a lower statistic: what XSPEC's ``goodness`` prints, as a fraction."""
        return float(np.mean(self.simulated < self.statistic))

    @property
    def p(self) -> float:
        """Probability of a statistic at least as high when the model is right; never 0."""
        return float((1 + np.sum(self.simulated >= self.statistic)) / (1 + len(self.simulated)))

    def __str__(self) -> str:
        return (
            f"{100 * self.fraction_below:.1f} % of {len(self.simulated)} simulated spectra have a statistic below "
            f"{self.statistic:.2f} (median {np.median(self.simulated):.2f}, p {self.p:.3g}; "
            f"{self.evaluations} evaluations, {self.seconds:.1f} s)"
        )


def simulated_goodness(
    net, result, xspec, *, n: int = 500, draws: int | None = None, seed: int | None = None, workers: int | None = None
) -> SimulatedGoodness:
    """Goodness of fit of a result by simulation from its posterior.

    Parameters
    ----------
    net
        The network; the result's spectrum must be one that it is for.
    result
        Posterior of one spectrum, of :func:`Network.apply` or of :func:`xsixsa.fit`.
    xspec
        The module with the loaded session, or a :class:`~xsixsa.Session`.
    n
        Spectra to simulate; the fraction is known to half over the square root of it.
    draws
        Draws of the network for each; enough for the quadratic by default.
    seed
        Seed of everything random; drawn and kept when not given.
    workers
        Worker processes; as many as processors by default.

    Raises
    ------
    UsageError
        Too few spectra or draws, several observations, or a result without a usable sample.
    SessionError
        The session is not the one that the network was trained for.
    """
    dim = net.prior.dim
    terms = 1 + dim + dim * (dim + 1) // 2
    draws = max(64, 4 * terms) if draws is None else draws
    if int(n) != n or n < _LEAST:
        raise UsageError(f"n must be a whole number of at least {_LEAST}, not {n!r}")
    if int(draws) != draws or draws < 2 * terms:
        raise UsageError(f"draws must be a whole number of at least {2 * terms} for {dim} parameters, not {draws!r}")
    if len(result.observations) != 1:
        raise UsageError(f"a network is for one spectrum, the result holds {len(result.observations)}")
    session = xspec if isinstance(xspec, Session) or hasattr(xspec, "observations") else Session(xspec)
    check_session(net.layout, session)
    seed = int(np.random.SeedSequence().entropy % 2**53) if seed is None else int(seed)
    workers = len(os.sched_getaffinity(0)) if workers is None else int(workers)
    rng, start = np.random.default_rng(seed), time.perf_counter()
    observation = _observation(result.observations[0], session.statistic)
    wider = wider_limits(net.prior, session)
    with session.widened(wider) if wider else nullcontext(), session.pool(workers=workers) as pool:
        job = _Job(net, observation, pool, rng, int(draws))
        z = net.prior.to_normal(result.sample(int(n), rng))
        expected, valid = job.evaluate(z)
        own = job.statistic.rows(job.observed, expected)
        z, expected, own = z[valid], expected[valid], own[valid]
        if not len(z):
            raise UsageError("the model fails at every draw of the result: nothing can be simulated")
        counts = job.simulator.draw(expected, rng)
        lowest, best = job.lowest(np.concatenate([job.observed[None], counts]))
    return SimulatedGoodness(
        # the posterior's own draws know the observation better than a network that may never have met its like
        statistic=float(min(lowest[0], own.min())),
        simulated=lowest[1:],
        best=best[1:],
        counts=counts,
        evaluations=job.evaluations,
        seconds=time.perf_counter() - start,
        seed=seed,
    )


def _observation(row: dict, statistic: str) -> SimpleNamespace:
    """What simulator and statistic need of a spectrum, from what a result keeps of it."""
    one = np.ones(len(row["counts"]))
    background, ratio = None, None
    if row.get("background_counts") is not None:
        ratio = np.broadcast_to(np.asarray(row["background_scale"], float), one.shape)
        # only the product of exposure and scales enters: it stands in the area scale
        counts = np.asarray(row["background_counts"], float)
        background = SimpleNamespace(counts=counts, exposure=1.0, area_scale=1.0 / ratio, back_scale=one)
    return SimpleNamespace(
        index=1,
        counts=np.asarray(row["counts"], float),
        edges=np.asarray(row["edges"], float),
        seconds=float(row["exposure"]),
        exposure=1.0,
        area_scale=one,
        back_scale=one,
        statistic=statistic,
        background=background,
        background_ratio=ratio,
    )


class _Job:
    """The lowest statistic of many spectra."""

    def __init__(self, net, observation, pool, rng, draws: int):
        self.net, self.pool, self.rng, self.draws = net, pool, rng, draws
        self.seconds = observation.seconds
        self.statistic, self.simulator = CountStatistic((observation,)), Simulator((observation,))
        self.observed = self.simulator.observed
        self.evaluations = 0

    def evaluate(self, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Expected source counts at the observation's exposure, and which rows are valid."""
        found = self.pool.evaluate(self.net.prior.from_normal(z))
        self.evaluations += len(z)
        expected = np.asarray(found.expected, np.float64) * (self.seconds / self.net.reference)
        valid = (np.asarray(found.reason) == 0) & np.isfinite(expected).all(axis=1)
        return np.where(valid[:, None], expected, 1.0), valid

    def lowest(self, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Lowest statistic of every spectrum, (m,), and where, (m, d)."""
        m, k = len(counts), self.draws
        exposure = np.full(m, self.seconds)
        z = np.asarray(self.net.sample(counts, k, self.rng, exposure), np.float64)
        z = np.clip(np.where(np.isfinite(z), z, 0.0), -_FARTHEST, _FARTHEST)
        expected, valid = self.evaluate(z.reshape(m * k, -1))
        expected, valid = expected.reshape(m, k, -1), valid.reshape(m, k)
        lowest, best, guess = np.empty(m), np.empty((m, z.shape[2])), np.empty((m, z.shape[2]))
        promised = np.empty(m)
        for i in range(m):
            c = np.where(valid[i], self.statistic.rows(counts[i], expected[i]), np.inf)
            first = int(np.argmin(c))
            lowest[i], best[i] = c[first], z[i, first]
            guess[i], promised[i] = self._minimum(counts[i], z[i][valid[i]], expected[i][valid[i]], c[valid[i]])
        found, ok = self.evaluate(guess)
        c = np.where(ok, self.statistic.rows(counts, found), np.inf)
        lowest, best = np.where(c < lowest, c, lowest), np.where((c < lowest)[:, None], guess, best)
        # Where the quadratic does not keep its promise, a tighter one around the best point so far.
        again = np.flatnonzero(~(np.abs(c - promised) < _KEPT))
        if len(again):
            spread = _TIGHTER * np.maximum(z[again].std(axis=1), 1e-6)
            near = best[again, None] + spread[:, None] * self.rng.standard_normal((len(again), k, z.shape[2]))
            near = np.clip(near, -_FARTHEST, _FARTHEST)
            near[:, 0] = best[again]
            expected, valid = self.evaluate(near.reshape(len(again) * k, -1))
            expected, valid = expected.reshape(len(again), k, -1), valid.reshape(len(again), k)
            for j, i in enumerate(again):
                c = np.where(valid[j], self.statistic.rows(counts[i], expected[j]), np.inf)
                guess[i], _ = self._minimum(counts[i], near[j][valid[j]], expected[j][valid[j]], c[valid[j]])
            found, ok = self.evaluate(guess[again])
            c = np.where(ok, self.statistic.rows(counts[again], found), np.inf)
            better = c < lowest[again]
            lowest[again[better]], best[again[better]] = c[better], guess[again[better]]
        return lowest, best

    def _minimum(
        self, counts: np.ndarray, z: np.ndarray, expected: np.ndarray, c: np.ndarray
    ) -> tuple[np.ndarray, float]:
        """Where the statistic is lowest on a quadratic for the logarithm of the expected counts, and how low."""
        from scipy.optimize import minimize

        if len(z) < 2:
            return np.zeros(self.net.prior.dim), np.inf
        first = int(np.argmin(c))
        scale = np.maximum(z.std(axis=0), 1e-6)
        y = (z - z[first]) / scale
        # draws near the best one decide; the others keep the quadratic determined
        weight = np.sqrt(np.maximum(np.exp(-0.5 * (c - c[first]) / _NEAR), 1e-3))[:, None]
        fitted = np.linalg.lstsq(weight * _quadratic(y), weight * np.log(np.maximum(expected, 1e-8)), rcond=1e-8)[0]

        def statistic(point: np.ndarray) -> float:
            nearby = np.exp(np.clip(_quadratic(point[None]) @ fitted, -50.0, 50.0))
            return float(self.statistic.rows(counts, nearby)[0])

        reach = np.abs(y).max(axis=0) + 1.0
        found = minimize(
            statistic, np.zeros(y.shape[1]), method="L-BFGS-B", bounds=list(zip(-reach, reach, strict=True))
        )
        return np.clip(z[first] + scale * found.x, -_FARTHEST, _FARTHEST), float(found.fun)


def _quadratic(y: np.ndarray) -> np.ndarray:
    """All monomials up to the second degree, (n, d) to (n, terms)."""
    i, j = np.triu_indices(y.shape[1])
    return np.concatenate([np.ones((len(y), 1)), y, y[:, i] * y[:, j]], axis=1)
