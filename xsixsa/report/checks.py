"""Posterior predictive checks: would the model, seen by the same instrument again, look like the observation?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import xlogy

from xsixsa.simulate import smooth_counts

__all__ = ["Band", "Check", "Checks", "predictive_checks"]

_REPLICATES = 4000
_MOST_NUMBERS = 4_000_000
_BANDS = 8
# A tail that a right model leaves in one of a hundred runs, for a single number; bands share it.
_ALARM = 0.01


@dataclass(frozen=True)
class Check:
    """One number of the observation among those of the replicates.

    Attributes
    ----------
    what : str
        What was compared.
    observed, low, high : float
        The observation, and the central 95 % of the replicates.
    p : float
        Two-sided tail probability (total counts), or the share of replicates at least as bad (statistic).
    alarming : bool
        Whether `p` is below what chance leaves.
    """

    what: str
    observed: float
    low: float
    high: float
    p: float
    alarming: bool


@dataclass(frozen=True)
class Band:
    """Counts of an energy band (keV) beside the replicates; `pit` is the observation's place in their distribution."""

    spectrum: int
    energy_low: float
    energy_high: float
    observed: float
    low: float
    high: float
    pit: float
    alarming: bool


@dataclass(frozen=True)
class Checks:
    """All checks, and the statistics behind the picture.

    Attributes
    ----------
    checks : list of Check
        Totals for each spectrum, then the statistic.
    bands : list of Band
        Energy bands of comparable counts, spectrum by spectrum.
    statistic_observed, statistic_replicated : numpy.ndarray
        Cash statistic of observation and replicate at the same posterior draw, each of shape (replicates,).
    """

    checks: list[Check]
    bands: list[Band]
    statistic_observed: np.ndarray
    statistic_replicated: np.ndarray

    @property
    def alarming(self) -> list[str]:
        """What a right model would rarely give, in words."""
        found = [c.what for c in self.checks if c.alarming]
        return found + [
            f"{b.energy_low:.3g}-{b.energy_high:.3g} keV of spectrum {b.spectrum}" for b in self.bands if b.alarming
        ]


def _cash(counts: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """C-stat (Cash 1979, with the terms of XSPEC) summed over the last axis."""
    expected = np.maximum(expected, 1e-12)
    return 2 * (expected - counts + xlogy(counts, counts / expected)).sum(axis=-1)


def _on_source_background(observation: dict) -> np.ndarray | float:
    raw = observation.get("background_counts")
    if raw is None:
        return 0.0
    widths = np.abs(np.diff(np.asarray(observation["edges"], float), axis=1)[:, 0])
    return np.asarray(observation["background_scale"], float) * smooth_counts(raw, widths)


def _place(value: float, replicates: np.ndarray) -> float:
    """Share of the replicates below, those equal counted by half."""
    return float(np.mean(replicates < value) + 0.5 * np.mean(replicates == value))


def _total(what: str, observed: float, replicates: np.ndarray) -> Check:
    place = _place(observed, replicates)
    low, high = np.quantile(replicates, [0.025, 0.975])
    p = 2 * min(place, 1 - place)
    return Check(what, float(observed), float(low), float(high), p, p < _ALARM)


def _bands(observation: dict, replicates: np.ndarray, number: int) -> list[Band]:
    """Bands of comparable counts, fewer where there are few counts."""
    edges = np.asarray(observation["edges"], float)
    order = np.argsort(edges.min(axis=1))
    mean = replicates.mean(axis=0)[order]
    number = int(np.clip(mean.sum() // 5, 1, min(number, len(order))))
    place = np.minimum((np.cumsum(mean) - 0.5 * mean) / max(mean.sum(), 1e-300) * number, number - 1e-9).astype(int)
    found = []
    for band in np.unique(place):
        bins = order[place == band]
        observed, drawn = float(np.sum(observation["counts"][bins])), replicates[:, bins].sum(axis=1)
        low, high = np.quantile(drawn, [0.025, 0.975])
        pit = _place(observed, drawn)
        alarming = 2 * min(pit, 1 - pit) < _ALARM / number
        energies = float(edges[bins].min()), float(edges[bins].max())
        found.append(Band(observation["index"], *energies, observed, float(low), float(high), pit, alarming))
    return found


def predictive_checks(result, rng: np.random.Generator | int | None = None) -> Checks | None:
    """Compare the observation with replicates drawn from the posterior.

    A replicate is what the same instrument would have recorded: expected counts at a posterior draw, plus background
    on source where there is a background file (its smooth expectation, scaled), with Poisson noise.

    Parameters
    ----------
    result : Result
        A run with posterior predictive spectra.
    rng
        Seed or generator of the noise; the run's seed by default.

    Returns
    -------
    Checks or None
        None for a run that was interrupted before it made predictive spectra.
    """
    expected = np.asarray(result.predictive, float)
    if not len(expected) or not np.isfinite(expected).all():
        return None
    rng = np.random.default_rng(result.seed if rng is None else rng)
    repeats = max(1, min(_REPLICATES, _MOST_NUMBERS // expected.shape[1]) // len(expected))
    checks, bands, start, observed_c, replicated_c = [], [], 0, 0.0, 0.0
    per_spectrum = max(2, _BANDS if len(result.observations) < 4 else _BANDS // 2)
    for observation in result.observations:
        counts = np.asarray(observation["counts"], float)
        stop = start + len(counts)
        mu = np.repeat(np.maximum(expected[:, start:stop], 0.0) + _on_source_background(observation), repeats, axis=0)
        replicates = rng.poisson(mu).astype(float)
        checks.append(_total(f"total counts of spectrum {observation['index']}", counts.sum(), replicates.sum(axis=1)))
        bands += _bands({**observation, "counts": counts}, replicates, per_spectrum)
        observed_c = observed_c + _cash(counts, mu)
        replicated_c = replicated_c + _cash(replicates, mu)
        start = stop
    low, high = np.quantile(replicated_c, [0.025, 0.975])
    p = float(np.mean(replicated_c >= observed_c))
    name = "Cash statistic of the on-source counts"
    checks.append(Check(name, float(np.median(observed_c)), float(low), float(high), p, p < _ALARM))
    return Checks(checks, bands, observed_c, replicated_c)
