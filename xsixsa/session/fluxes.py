"""Fluxes of the model at given theta, as XSPEC's ``flux`` command has them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import permutations
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from xsixsa.errors import UsageError
from xsixsa.session.evaluator import Evaluator
from xsixsa.session.isolated import isolated, set_limits
from xsixsa.session.parameters import Key, ModelPart
from xsixsa.session.records import Parameter, Reason

__all__ = ["Fluxes", "compute_fluxes"]

_PER_TUPLE = 6
"""Numbers that XSPEC gives per source: value and two errors, in erg and in photons."""


class Fluxes(NamedTuple):
    """Fluxes at n theta; NaN where the model could not be computed or theta is outside the hard limits."""

    energy: NDArray[np.float64]
    """(n, k) erg/cm2/s; luminosities in 1e44 erg/s."""
    photon: NDArray[np.float64]
    """(n, k) photons/cm2/s; for luminosities what the engine gives in photons."""
    labels: tuple[tuple[int, str], ...]
    """(spectrum number, source name) of the k columns."""


def compute_fluxes(
    xspec: ModuleType,
    parts: Sequence[ModelPart],
    parameters: Sequence[Parameter],
    evaluator: Evaluator,
    theta: ArrayLike,
    energies: tuple[float, float],
    seconds: float,
    redshift: float | None = None,
    widening: Mapping[Key, tuple[float, float]] | None = None,
) -> Fluxes:
    """Fluxes, or luminosities at a redshift, at (n, d) theta in a copy of the session; see `Session.fluxes`."""
    theta = np.atleast_2d(np.asarray(theta, dtype=np.float64))
    if theta.shape[1] != len(parameters):
        raise UsageError(f"theta has shape {theta.shape}, but there are {len(parameters)} free parameters")
    low, high = (float(e) for e in energies)
    if not 0 < low < high:
        raise UsageError(f"energies {low:g}-{high:g} keV are no range")

    def ask() -> dict[str, Any]:
        if widening:
            set_limits(xspec, parts, widening)
        return _in_copy(xspec, parts, evaluator, theta[inside], (low, high), redshift)

    inside = np.all([(p.min <= t) & (t <= p.max) for p, t in zip(parameters, theta.T, strict=True)], axis=0)
    answer = isolated(xspec, ask, seconds)
    values = np.full((len(theta), len(answer["labels"]), 2), np.nan)
    for i, row in zip(np.flatnonzero(inside), answer["values"], strict=True):
        if row is not None:
            values[i] = row
    return Fluxes(values[..., 0], values[..., 1], tuple((number, source) for number, source in answer["labels"]))


def _in_copy(
    xspec: ModuleType,
    parts: Sequence[ModelPart],
    evaluator: Evaluator,
    theta: NDArray[np.float64],
    energies: tuple[float, float],
    redshift: float | None,
) -> dict[str, Any]:
    """``{"labels": (k, 2), "values": (n, k, 2)}`` as lists; None in place of what failed."""
    feeds = _feeds(xspec, parts)
    orders: dict[int, list[int]] = {}
    rows = []
    for row in theta:
        try:
            if evaluator.row(row, None)[1] != Reason.OK:
                rows.append(None)
                continue
            if redshift is None or not orders:
                xspec.AllModels.calcFlux(f"{energies[0]!r} {energies[1]!r}")
            if not orders:
                orders = {i: _order(_tuples(xspec.AllData(i).flux), m, i, energies) for i, m in feeds.items()}
            if redshift is not None:
                xspec.AllModels.calcLumin(f"{energies[0]!r} {energies[1]!r} {redshift!r}")
            answer = []
            for number in feeds:
                spectrum = xspec.AllData(number)
                values = _tuples(spectrum.flux if redshift is None else spectrum.lumin)
                answer += values[orders[number]].tolist()
        # whatever the engine raises costs this theta alone
        except Exception:
            answer = None
        rows.append(answer)
    labels = [[number, part.source] for number, models in feeds.items() for part in models]
    return {"labels": labels, "values": rows}


def _tuples(values: Sequence[float]) -> NDArray:
    """(sources, 2) value in erg and in photons, in XSPEC's order."""
    return np.array(values, dtype=np.float64).reshape(-1, _PER_TUPLE)[:, [0, 3]]


def _feeds(xspec: ModuleType, parts: Sequence[ModelPart]) -> dict[int, list[ModelPart]]:
    """Which sources feed which spectrum."""
    feeds: dict[int, list[ModelPart]] = {}
    for number in range(1, int(xspec.AllData.nSpectra) + 1):
        group = int(xspec.AllData(number).dataGroup)
        for part in parts:
            if part.group != group:
                continue
            # a source without a response for this spectrum raises a plain Exception
            try:
                part.model.folded(number)
            except Exception:
                continue
            feeds.setdefault(number, []).append(part)
    return feeds


def _order(flux: NDArray, models: Sequence[ModelPart], number: int, energies: tuple[float, float]) -> list[int]:
    """Which line of XSPEC's answer belongs to which source: it has an order of its own.

    The flux of each source is integrated here from the model itself, to tell them apart.
    """
    if len(models) == 1:
        return [0]
    own = np.array([_integral(part.model, number, energies) for part in models])
    orders = permutations(range(len(flux)), len(models))
    return list(min(orders, key=lambda order: float(np.abs(flux[list(order), 1] - own).sum())))


def _integral(model: Any, number: int, energies: tuple[float, float]) -> float:
    """Photons/cm2/s between two energies."""
    edges = np.array([float(e) for e in model.energies(number)])
    photons = np.array(model.values(number), dtype=np.float64)
    inside = np.clip(np.minimum(edges[1:], energies[1]) - np.maximum(edges[:-1], energies[0]), 0.0, None)
    return float(np.sum(photons * inside / np.diff(edges)))
