"""Multiplicative components that are a simple function of energy."""

from __future__ import annotations

import numpy as np

from xsixsa.embedded.components.base import REDSHIFT, Component, ModelContext, ParameterSpec, column, redshifted_edges

__all__ = ["Constant", "Edge", "ExpAbs", "ExpFac", "HighECut", "RedshiftedEdge"]


def edge_mean(values: np.ndarray) -> np.ndarray:
    """Mean of the factor at the two edges of each bin, XSPEC's average for most multiplicative components."""
    mean = values[:, 1:] + values[:, :-1]
    mean *= 0.5
    return mean


class Constant(Component):
    """constant: the same factor in every bin."""

    name = "constant"
    kind = "mul"
    parameters = (ParameterSpec("factor", "", 1.0, 0.01, 0.0, 0.0, 1e10, 1e10),)

    def _values(self, prepared: np.ndarray, p: np.ndarray) -> np.ndarray:
        return np.repeat(column(p, 0), len(prepared) - 1, axis=1)


def edge_rows(
    edges: np.ndarray, inverse_cubes: np.ndarray, threshold: np.ndarray, tau: np.ndarray, redshift: np.ndarray
) -> np.ndarray:
    """One below the threshold, ``exp(-tau (E/E_c)^-3)`` above it, by one trapezoid on either side in each bin.

    Parameters
    ----------
    edges, inverse_cubes : (m + 1,)
        Bin edges in keV and their powers of -3.
    threshold, tau, redshift : (n, 1)
        Edge energy in the source's frame (keV), optical depth at it, and z.

    Returns
    -------
    (n, m)
    """
    depth = np.minimum(inverse_cubes * (threshold / (1.0 + redshift)) ** 3, 1.0)
    depth *= -tau
    np.exp(depth, out=depth)
    factor = edge_mean(depth)
    moved = redshifted_edges(edges, redshift)
    moved = np.broadcast_to(moved, (len(factor), moved.shape[1]))
    for row, at_edges, rest, energy in zip(factor, depth, moved, threshold[:, 0].astype(np.float32), strict=True):
        bin_ = int(np.searchsorted(rest, energy, side="right")) - 1
        row[: max(bin_, 0)] = 1.0
        if 0 <= bin_ < len(row):
            below = (energy - rest[bin_]) / (rest[bin_ + 1] - rest[bin_])
            row[bin_] = below + (1.0 - below) * 0.5 * (at_edges[bin_] + at_edges[bin_ + 1])
    return factor


EDGE_ENERGY = ParameterSpec("edgeE", "keV", 7.0, 0.07, 0.0, 0.0, 100.0, 100.0)
EDGE_DEPTH = ParameterSpec("MaxTau", "", 1.0, 0.01, 0.0, 0.0, 5.0, 10.0)


class Edge(Component):
    """edge: an absorption edge, ``exp(-MaxTau (E/edgeE)^-3)`` above edgeE."""

    name = "edge"
    kind = "mul"
    parameters = (EDGE_ENERGY, EDGE_DEPTH)

    def _grid(self, edges: np.ndarray, context: ModelContext) -> tuple[np.ndarray, np.ndarray]:
        return edges, edges**-3

    def _values(self, prepared: tuple[np.ndarray, np.ndarray], p: np.ndarray) -> np.ndarray:
        return edge_rows(*prepared, column(p, 0), column(p, 1), np.zeros((1, 1)))


class RedshiftedEdge(Edge):
    """zedge: `Edge` with its energy in the source's frame."""

    name = "zedge"
    parameters = (EDGE_ENERGY, EDGE_DEPTH, REDSHIFT)

    def _values(self, prepared: tuple[np.ndarray, np.ndarray], p: np.ndarray) -> np.ndarray:
        return edge_rows(*prepared, column(p, 0), column(p, 1), column(p, 2))


class HighECut(Component):
    """highecut: ``exp((cutoffE-E)/foldE)`` above cutoffE, the mean of both edges of the bin.

    Up to 1 eV above the cut-off, and so at all energies below it, XSPEC's factor is that of 1 eV above.
    """

    name = "highecut"
    kind = "mul"
    parameters = (
        ParameterSpec("cutoffE", "keV", 10.0, 0.1, 1e-4, 1e-2, 1e6, 1e6),
        ParameterSpec("foldE", "keV", 15.0, 0.15, 1e-4, 1e-2, 1e6, 1e6),
    )

    def _values(self, prepared: np.ndarray, p: np.ndarray) -> np.ndarray:
        values = prepared - column(p, 0)
        np.maximum(values, 1e-3, out=values)
        values /= -column(p, 1)
        np.exp(values, out=values)
        return edge_mean(values)


class ExpAbs(Component):
    """expabs: ``exp(-LowECut/E)``, the mean of both edges of the bin."""

    name = "expabs"
    kind = "mul"
    parameters = (ParameterSpec("LowECut", "keV", 2.0, 0.02, 0.0, 0.0, 100.0, 200.0),)

    def _grid(self, edges: np.ndarray, context: ModelContext) -> np.ndarray:
        return -1.0 / edges

    def _values(self, prepared: np.ndarray, p: np.ndarray) -> np.ndarray:
        values = column(p, 0) * prepared
        np.exp(values, out=values)
        return edge_mean(values)


class ExpFac(Component):
    """expfac: ``1 + Ampl exp(-Factor E)`` above StartE and 1 below, averaged exactly over each bin."""

    name = "expfac"
    kind = "mul"
    parameters = (
        ParameterSpec("Ampl", "", 1.0, 0.01, 0.0, 0.0, 1e5, 1e6),
        ParameterSpec("Factor", "", 1.0, 0.01, 0.0, 0.0, 1e5, 1e6),
        ParameterSpec("StartE", "keV", 0.5, -0.005, 0.0, 0.0, 1e5, 1e6),
    )

    def _grid(self, edges: np.ndarray, context: ModelContext) -> tuple[np.ndarray, np.ndarray]:
        return edges, 1.0 / np.diff(edges)

    def _values(self, prepared: tuple[np.ndarray, np.ndarray], p: np.ndarray) -> np.ndarray:
        edges, inverse_widths = prepared
        amplitude, rate, start = column(p, 0), column(p, 1), column(p, 2)
        above = np.maximum(edges, start) - start
        # a rate of zero is the limit of a small one, and 1e-12 is small for any energy
        rate = np.maximum(rate, 1e-12)
        integral = above * -rate
        np.expm1(integral, out=integral)
        factor = integral[:, :-1] - integral[:, 1:]
        factor *= inverse_widths
        factor *= amplitude * np.exp(-rate * start) / rate
        factor += 1.0
        return factor
