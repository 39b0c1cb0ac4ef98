"""Is an amortised network calibrated? Spectra with a known truth, before and after the exact correction.

What the ranks mean depends on where the truths come from. A network is trained on pairs (theta, spectrum) with theta
from its training distribution p: the prior restricted to what matters. Its posterior is that of p, not of the whole
prior, and its ranks are uniform for truths drawn from p. The corrected posterior must then be that of p as well: the
weights are p(theta) L(theta) / q(theta) with the same p, and a theta outside p weighs nothing. Truths from the whole
prior would find a faultless network at fault wherever p excludes them.

Nothing is selected by what the noise made of a spectrum: p restricts theta alone, as in training. Spectra whose
weights degenerate are left out of the corrected ranks, and counted. That choice rests on the spectrum and on draws
that are independent of its truth, so it leaves uniform ranks uniform.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np

from xsixsa.amortised.calibration import Calibration, Check, coordinates
from xsixsa.amortised.likelihood import CountStatistic
from xsixsa.amortised.pattern import check_session
from xsixsa.amortised.ranks import density_rank, distance_rank, effective_sizes, marginal_ranks
from xsixsa.diagnostics.goodness import cash_moments
from xsixsa.distributions import LogUniform
from xsixsa.errors import UsageError
from xsixsa.prior import Prior
from xsixsa.progress import Reporter
from xsixsa.session import Session
from xsixsa.summary_text import weighted_quantile

__all__ = ["calibrate", "wider_limits"]

_LEAST_SPECTRA = 20
_LEAST_DRAWS = 50
# Numbers held at once while draws are corrected: 160 MB of expected counts.
_CHUNK_NUMBERS = 20_000_000


def calibrate(
    net,
    n: int = 300,
    xspec=None,
    *,
    draws: int = 1_000,
    correct: bool = True,
    least_ess: float = 50.0,
    seed: int | None = None,
    workers: int | None = None,
    progress: bool | Callable = False,
) -> Calibration:
    """Simulate `n` spectra from the training distribution and see where their truths fall in the posteriors.

    Parameters
    ----------
    net
        The network.
    n
        Spectra; a few hundred find a width that is wrong by a tenth.
    xspec
        The module with the loaded session, or a :class:`~xsixsa.Session`: it is the simulator, and the likelihood of
        the correction.
    draws
        Draws of the network for each spectrum. With `correct` each is an evaluation of the engine.
    correct
        Whether to calibrate the importance-corrected posterior beside the network's own.
    least_ess
        Effective size below which the correction of a spectrum counts as failed.
    seed
        Seed of everything random; drawn and kept when not given.
    workers
        Worker processes; as many as processors by default.
    progress
        As for :func:`xsixsa.fit`.

    Returns
    -------
    Calibration
        Numbers, verdict, text and figures.

    Raises
    ------
    UsageError
        Numbers out of range, no session, or a statistic whose spectra cannot be simulated.
    SessionError
        The session is not the one that the network was trained for, or its model fails.
    """
    _check_numbers(n, draws, least_ess)
    if xspec is None:
        raise UsageError("calibrate needs the loaded session that the network was trained in: calibrate(net, n, xspec)")
    session = xspec if isinstance(xspec, Session) or hasattr(xspec, "observations") else Session(xspec)
    check_session(net.layout, session)
    seed = int(np.random.SeedSequence().entropy % 2**53) if seed is None else int(seed)
    workers = len(os.sched_getaffinity(0)) if workers is None else int(workers)
    reporter = Reporter(progress, n * (1 + correct * draws), 0)
    wider = wider_limits(net.prior, session)
    with session.widened(wider) if wider else nullcontext(), session.pool(workers=workers) as pool:
        try:
            job = _Job(net, session, pool, reporter, np.random.default_rng(seed), draws)
            return job.run(n, correct, least_ess, seed)
        finally:
            reporter.done()


def _check_numbers(n, draws, least_ess) -> None:
    if int(n) != n or n < _LEAST_SPECTRA:
        raise UsageError(f"n must be a whole number of at least {_LEAST_SPECTRA}, not {n!r}")
    if int(draws) != draws or draws < _LEAST_DRAWS:
        raise UsageError(f"draws must be a whole number of at least {_LEAST_DRAWS}, not {draws!r}")
    if not 1 <= least_ess < draws:
        raise UsageError(f"least_ess must lie between 1 and the number of draws, not {least_ess!r}")


@dataclass(frozen=True)
class _Made:
    """Spectra with what made them: truths in z, exposures, expected source counts at the pattern's exposure, draws."""

    truth: np.ndarray
    exposure: np.ndarray
    expected: np.ndarray
    counts: np.ndarray
    z: np.ndarray


class _Job:
    """Truths, spectra, draws, weights; then the two checks."""

    def __init__(self, net, session, pool, reporter, rng, draws):
        self.net, self.session, self.pool, self.reporter, self.rng = net, session, pool, reporter, rng
        self.draws, self.statistic = draws, CountStatistic(session.observations)
        self.logarithmic = np.array([isinstance(d, LogUniform) for d in net.prior.distributions])
        self.seconds: dict[str, float] = {}
        self.evaluations = self.failed = 0

    def run(self, n: int, correct: bool, least_ess: float, seed: int) -> Calibration:
        made, log_q, log_q_truth, lost = self._draw(n)
        weights = np.where(lost, 0.0, 1.0) / np.maximum((~lost).sum(axis=1, keepdims=True), 1)
        usable = np.flatnonzero((~lost).any(axis=1))
        network = self._check("network", made, usable, log_q, log_q_truth, weights)
        corrected, ess = None, None
        if correct:
            with _Clock(self.seconds, "correct"):
                log_p = self._log_posterior(made, lost)
                log_l_truth = -0.5 * self.statistic.rows(made.counts, self._exposed(made.expected, made.exposure))
                log_p_truth = self.net.proposal.log_prob(made.truth, made.expected, made.exposure) + log_l_truth
                weights = _normalised(log_p - log_q)
            ess = np.where(weights.sum(axis=1) > 0.5, effective_sizes(weights), 0.0)
            healthy = np.flatnonzero(ess >= least_ess)
            if len(healthy) >= _LEAST_SPECTRA:
                corrected = self._check("corrected", made, healthy, log_p, log_p_truth, weights)
        return Calibration(
            names=list(self.net.names),
            logarithmic=self.logarithmic.tolist(),
            truth=self.net.prior.from_normal(made.truth),
            counts=made.counts[:, : self.session.n_bins].sum(axis=1),
            network=network,
            corrected=corrected,
            asked_for_correction=bool(correct),
            ess=ess,
            least_ess=float(least_ess),
            draws=int(self.draws),
            evaluations=int(self.evaluations),
            failed=int(self.failed),
            seed=seed,
            seconds={k: round(v, 3) for k, v in self.seconds.items()},
        )

    def _draw(self, n: int):
        """Truths, spectra and draws; log densities of the network at draws and truths; which draws are unusable."""
        net, rng = self.net, self.rng
        with _Clock(self.seconds, "simulate"):
            drawn = net.proposal.draw(n, rng, self._evaluate)
            counts = net.simulate(drawn.expected, rng, drawn.exposure)
        with _Clock(self.seconds, "network"):
            z = np.asarray(net.sample(counts, self.draws, rng, drawn.exposure), np.float64)
            log_q = np.asarray(net.log_prob(z, counts, drawn.exposure), np.float64)
            log_q_truth = np.asarray(net.log_prob(drawn.z[:, None], counts, drawn.exposure), np.float64)[:, 0]
        lost = ~np.isfinite(z).all(axis=2) | ~np.isfinite(log_q)
        z, log_q = np.where(lost[:, :, None], 0.0, z), np.where(lost, np.inf, log_q)
        return _Made(drawn.z, drawn.exposure, drawn.expected, counts, z), log_q, log_q_truth, lost

    def _evaluate(self, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Expected counts (n, bins) at the pattern's exposure for z (n, d), and which rows are valid."""
        found = self.pool.evaluate(self.net.prior.from_normal(z))
        self.evaluations += len(z)
        self.reporter.tick("calibrate", self.evaluations, 0.0)
        expected = np.asarray(found.expected, np.float64)
        valid = (np.asarray(found.reason) == 0) & np.isfinite(expected).all(axis=1)
        self.failed += int((~valid).sum())
        return np.where(valid[:, None], expected, 1.0), valid

    def _exposed(self, expected: np.ndarray, exposure: np.ndarray | float) -> np.ndarray:
        """Expected source counts at the exposures of the spectra."""
        return expected * (np.atleast_1d(exposure) / self.net.reference)[:, None]

    def _log_posterior(self, made: _Made, lost: np.ndarray) -> np.ndarray:
        """Log of training distribution times likelihood at every draw, shape (m, n)."""
        m, n = lost.shape
        out = np.full((m, n), -np.inf)
        step = max(1, _CHUNK_NUMBERS // (n * max(self.session.n_bins, 1)))
        for start in range(0, m, step):
            rows = np.arange(start, min(start + step, m))
            expected, valid = self._evaluate(made.z[rows].reshape(-1, made.z.shape[2]))
            expected, valid = expected.reshape(len(rows), n, -1), valid.reshape(len(rows), n) & ~lost[rows]
            for i, spectrum in enumerate(rows):
                ok, time_ = valid[i], made.exposure[spectrum]
                z, there = made.z[spectrum][ok], expected[i][ok]
                log_prior = self.net.proposal.log_prob(z, there, np.full(len(z), time_))
                log_l = -0.5 * self.statistic.rows(made.counts[spectrum], self._exposed(there, time_))
                out[spectrum, ok] = log_prior + log_l
        return out

    def _check(self, label: str, made: _Made, rows, log_density, log_density_truth, weights) -> Check:
        """Ranks, medians and deviations of the spectra `rows`, and the statistic at their medians."""
        prior, rng, weights = self.net.prior, self.rng, weights[rows]
        z, truth = made.z[rows], made.truth[rows]
        # the truth of another spectrum: drawn as its own was, and independent of it
        references = np.roll(made.truth, 1, axis=0)[rows]
        theta = prior.from_normal(z.reshape(-1, z.shape[2])).reshape(z.shape)
        median = np.array([[weighted_quantile(x, w, 0.5) for x in t.T] for t, w in zip(theta, weights, strict=True)])
        coordinate = coordinates(self.logarithmic, theta)
        mean = np.einsum("ij,ijk->ik", weights, coordinate)
        variance = np.einsum("ij,ijk->ik", weights, (coordinate - mean[:, None]) ** 2)
        return Check(
            label=label,
            names=list(self.net.names),
            rows=rows,
            truth=coordinates(self.logarithmic, prior.from_normal(truth)),
            ranks=marginal_ranks(z, truth, weights, rng),
            distance=distance_rank(z, truth, references, weights, rng),
            density=density_rank(log_density[rows], log_density_truth[rows], weights, rng),
            median=coordinates(self.logarithmic, median),
            mean=mean,
            deviation=np.sqrt(variance),
            **self._goodness(made, rows, median),
        )

    def _goodness(self, made: _Made, rows, median: np.ndarray) -> dict:
        """C-stat at the medians with its expectation; nothing where a background makes it W-stat."""
        if self.session.statistic != "cstat":
            return {}
        counts, exposure = made.counts[rows], made.exposure[rows]
        with _Clock(self.seconds, "goodness"):
            expected, valid = self._evaluate(self.net.prior.to_normal(median))
            expected = self._exposed(expected, exposure)
            mean, variance = cash_moments(expected)
            return {
                "statistic": np.where(valid, self.statistic.rows(counts, expected), np.nan),
                "expected_statistic": mean.sum(axis=1) - len(self.net.names),
                "sigma_statistic": np.sqrt(variance.sum(axis=1)),
                "statistic_at_truth": self.statistic.rows(counts, self._exposed(made.expected[rows], exposure)),
            }


def _normalised(log_weights: np.ndarray) -> np.ndarray:
    """Weights of each row with sum 1; a row without any finite weight stays 0."""
    top = log_weights.max(axis=1, keepdims=True)
    w = np.exp(log_weights - np.where(np.isfinite(top), top, 0.0))
    return w / np.maximum(w.sum(axis=1, keepdims=True), 1e-300)


def wider_limits(prior: Prior, session) -> dict[str, tuple[float, float]]:
    """Ends of the prior that lie beyond the session's hard limits, by parameter: what training had widened."""
    found = {}
    for p, distribution in zip(session.parameters, prior.distributions, strict=True):
        low, high = distribution.support
        if np.isfinite([low, high]).all() and (low < p.min or high > p.max):
            found[p.name] = (float(low), float(high))
    return found


class _Clock:
    """Adds the seconds spent inside to one entry."""

    def __init__(self, seconds: dict, name: str):
        self._seconds, self._name = seconds, name

    def __enter__(self):
        self._start = time.perf_counter()

    def __exit__(self, *error):
        self._seconds[self._name] = self._seconds.get(self._name, 0.0) + time.perf_counter() - self._start
