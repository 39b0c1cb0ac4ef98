"""What a session knows: observations, free parameters, and the outcome of evaluating some theta."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Background", "Evaluation", "Failure", "Observation", "Parameter", "Reason"]


class Reason(IntEnum):
    """Why a theta has no likelihood (0: it has one)."""

    OK = 0
    OUT_OF_LIMITS = 1
    """Outside the hard limits; the engine never saw it."""
    FAILED = 2
    """The engine raised, or returned the statistic -1 or 0."""
    NOT_FINITE = 3
    """Statistic or model is NaN or infinite."""
    CRASHED = 4
    """It killed the worker twice."""
    HUNG = 5
    """The worker did not come back in time, twice."""


@dataclass(frozen=True, eq=False)
class Background:
    """Counts of the background file in the noticed bins, as observed: not scaled to the source region."""

    counts: NDArray[np.float64]
    """(bins,) counts."""
    exposure: float
    """Seconds."""
    area_scale: NDArray[np.float64]
    """(bins,) AREASCAL."""
    back_scale: NDArray[np.float64]
    """(bins,) BACKSCAL."""
    name: str
    """File name."""


@dataclass(frozen=True, eq=False)
class Observation:
    """The noticed bins of one spectrum."""

    index: int
    """XSPEC's spectrum number, from 1."""
    name: str
    """File name."""
    group: int
    """Data group."""
    counts: NDArray[np.float64]
    """(bins,) gross counts, background included."""
    edges: NDArray[np.float64]
    """(bins, 2) lower and upper energy, keV."""
    exposure: float
    """Seconds."""
    area_scale: NDArray[np.float64]
    """(bins,) AREASCAL."""
    back_scale: NDArray[np.float64]
    """(bins,) BACKSCAL."""
    statistic: str
    """"cstat", "wstat" (cstat with a background file), "pstat", "pgstat", "chi" or XSPEC's name of another one."""
    background: Background | None
    channels: NDArray[np.int64]
    """(bins,) number of each noticed bin, from 1, over the groups that the engine kept."""

    @property
    def background_ratio(self) -> NDArray[np.float64] | None:
        """(bins,) background counts expected in the source region per count of the background file.

        exposure x AREASCAL x BACKSCAL of the source over the same of the background; None without a background.
        """
        if self.background is None:
            return None
        b = self.background
        return (self.exposure * self.area_scale * self.back_scale) / (b.exposure * b.area_scale * b.back_scale)


@dataclass(frozen=True)
class Parameter:
    """One free parameter, in XSPEC's units."""

    name: str
    """Shortest form that names one free parameter: ``nH``, ``powerlaw.norm``, ``bkg:powerlaw.norm@2``."""
    full_name: str
    """``[source:]component.parameter[@group]``; the group only where there is more than one."""
    component: str
    parameter: str
    unit: str
    index: int
    """XSPEC's number within the source's model, counted over data groups."""
    local_index: int
    """Number within the model of its data group."""
    source: str
    """Name of the model, "" for the unnamed one."""
    group: int
    value: float
    delta: float
    min: float
    bottom: float
    top: float
    max: float
    native_prior: tuple | None
    """XSPEC's own Bayesian prior, ("gauss", mean, sigma) and the like; None where nobody set one."""
    is_norm: bool
    default_limits: tuple[float, float] | None
    """XSPEC's limits of an untouched parameter, of a component we know."""


class Evaluation(NamedTuple):
    """Outcome of n theta; invalid rows are NaN everywhere."""

    expected: NDArray | None
    """(n, bins) expected counts of all sources in all noticed bins, without background; None when not asked for."""
    statistic: NDArray[np.float64]
    """(n,) fit statistic; log-likelihood is minus half of it."""
    reason: NDArray[np.uint8]
    """(n,) `Reason`."""

    @property
    def valid(self) -> NDArray[np.bool_]:
        """(n,) True where there is a likelihood."""
        return self.reason == Reason.OK


@dataclass(frozen=True)
class Failure:
    """A theta that cost something: what happened, and where in parameter space."""

    theta: tuple[float, ...] = field()
    reason: Reason = field()
    detail: str = ""

    def describe(self, names: tuple[str, ...] | list[str]) -> str:
        """One line with the values by name."""
        where = ", ".join(f"{name} = {value:.6g}" for name, value in zip(names, self.theta, strict=True))
        return f"{self.reason.name.lower()} at {where}" + (f" ({self.detail})" if self.detail else "")
