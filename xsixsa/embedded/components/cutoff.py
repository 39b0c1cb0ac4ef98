"""Power law with an exponential cut-off, with the steps that XSPEC's incomplete gamma function leaves in it."""

from __future__ import annotations

import math

import numpy as np

from xsixsa.embedded.components.base import Component, ModelContext, ParameterSpec
from xsixsa.embedded.components.powerlaws import GAUSS_POINTS, GAUSS_WEIGHTS, photon_index

__all__ = ["CutoffPowerLaw", "upper_gamma"]

#: XSPEC stops its continued fraction at this change; from there come its steps of some 1e-4 in narrow bins.
XSPEC_ACCURACY = 1e-7
#: For negative orders XSPEC's continued fraction begins at this E/HighECut.
FRACTION_STARTS = 0.25
MOST_TERMS = 500


def upper_gamma(order: float, x: np.ndarray, accuracy: float) -> np.ndarray:
    """Upper incomplete gamma function by its continued fraction (Abramowitz & Stegun 1964, 6.5.31; Lentz's method).

    Parameters
    ----------
    order : float
        Any real order.
    x : (k,)
        Positive arguments, ascending.
    accuracy : float
        The fraction of an argument ends when a term changes it by less than this.

    Returns
    -------
    (k,)
    """
    b = x + (1.0 - order)
    d = 1.0 / b
    ratio = np.full_like(x, 1e300)
    value = d.copy()
    alive = len(x)
    for term in range(1, MOST_TERMS):
        a = -term * (term - order)
        b = b[:alive] + 2.0
        d = 1.0 / (a * d[:alive] + b)
        ratio = b + a / ratio[:alive]
        change = d * ratio
        value[:alive] *= change
        # larger arguments converge first, so those that go on are always the head of the array
        unsettled = np.flatnonzero(np.abs(change - 1.0) > accuracy)
        if not len(unsettled):
            break
        alive = int(unsettled[-1]) + 1
    return value * np.exp(order * np.log(x) - x)


class CutoffPowerLaw(Component):
    """cutoffpl: ``E**-PhoIndex exp(-E/HighECut)``, integrated over each bin.

    The integral is a difference of incomplete gamma functions of order ``1 - PhoIndex``. XSPEC takes them from a
    continued fraction cut at 1e-7 of its value where ``E/HighECut`` is above ``1 + order`` (order > 0) or above 1/4
    (order <= 0), and exactly below; that is followed here, so that also its small steps agree.
    """

    name = "cutoffpl"
    kind = "add"
    parameters = (photon_index("PhoIndex", 1.0), ParameterSpec("HighECut", "keV", 15.0, 0.15, 0.01, 1.0, 500.0, 500.0))

    def _grid(self, edges: np.ndarray, context: ModelContext) -> tuple[np.ndarray, np.ndarray]:
        return edges, np.log(edges)

    def _values(self, prepared: tuple[np.ndarray, np.ndarray], p: np.ndarray) -> np.ndarray:
        edges, log_edges = prepared
        flux = np.empty((len(p), len(edges) - 1))
        for row, (index, cutoff) in zip(flux, p, strict=True):
            self._one(edges, log_edges, float(index), float(cutoff), row)
        return flux

    def _one(self, edges: np.ndarray, log_edges: np.ndarray, index: float, cutoff: float, row: np.ndarray) -> None:
        order = 1.0 - index
        start = 1.0 + order if order > 0 else FRACTION_STARTS
        first = int(np.searchsorted(edges, start * cutoff))
        scale = cutoff**order
        row[:first] = quadrature(edges[: first + 1], log_edges[: first + 1], index, cutoff)
        if first < len(edges) - 1:
            gamma = upper_gamma(order, edges[first:] / cutoff, XSPEC_ACCURACY)
            row[first:] = scale * (gamma[:-1] - gamma[1:])
        if 0 < first < len(edges):
            row[first - 1] += scale * step(order, float(edges[first - 1]) / cutoff, float(edges[first]) / cutoff)
        raised = order + np.ceil(-order)
        # between its raised order and 1/4 XSPEC uses the fraction of the raised order and steps down from there
        if order <= 0 and 0 < raised < FRACTION_STARTS:
            entry = int(np.searchsorted(edges, raised * cutoff))
            if 0 < entry < first:
                row[entry - 1] -= scale * lowered_error(order, raised, float(edges[entry]) / cutoff)


def error(order: float, x: float) -> float:
    """How far the continued fraction cut at XSPEC's accuracy is from the gamma function, at one argument."""
    b = x + 1.0 - order
    d, ratio = 1.0 / b, 1e300
    value, cut = d, 0.0
    for term in range(1, MOST_TERMS):
        a = -term * (term - order)
        b += 2.0
        d = 1.0 / (a * d + b)
        ratio = b + a / ratio
        change = d * ratio
        value *= change
        if not cut and abs(change - 1.0) <= XSPEC_ACCURACY:
            cut = value
        if abs(change - 1.0) <= 1e-14:
            break
    return (cut - value) * math.exp(order * math.log(x) - x)


def lowered_error(order: float, raised: float, x: float) -> float:
    """The same error, made at the raised order and carried down by ``Gamma(a) = (Gamma(a+1) - x^a exp(-x)) / a``."""
    result = error(raised, x)
    for lower in range(round(raised - order)):
        result /= raised - 1 - lower
    return result


def step(order: float, lower_x: float, upper_x: float) -> float:
    """What the bin that crosses into the continued fraction gets too much: errors at its lower minus its upper edge."""
    raised = order + np.ceil(-order)
    lower = lowered_error(order, raised, lower_x) if order <= 0 and 0 < raised <= lower_x else 0.0
    return lower - error(order, upper_x)


def quadrature(edges: np.ndarray, log_edges: np.ndarray, index: float, cutoff: float) -> np.ndarray:
    """Integrate over each bin by three Gauss-Legendre points in ln E, better than 1e-8 below the cut-off."""
    middle, half = 0.5 * (log_edges[1:] + log_edges[:-1]), 0.5 * np.diff(log_edges)
    total = np.zeros_like(middle)
    for point, weight in zip(GAUSS_POINTS, GAUSS_WEIGHTS, strict=True):
        x = middle + point * half
        total += weight * np.exp((1.0 - index) * x - np.exp(x) / cutoff)
    return total * half
