"""Photo-electric absorption by cold matter.

nH is in 1e22 atoms/cm2, so cross-sections are kept in 1e-22 cm2.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from xsixsa.embedded.components.base import (
    REDSHIFT,
    Component,
    ModelContext,
    ParameterSpec,
    column,
    redshifted_edges,
)
from xsixsa.embedded.components.cross_sections import (
    abundances,
    atomic_data,
    balucinska_church,
    grain_shielding,
    ism_phases,
    verner,
)
from xsixsa.errors import ModelError

__all__ = ["PCFabs", "PhAbs", "RedshiftedPhAbs", "RedshiftedTBabs", "RedshiftedWabs", "TBabs", "Wabs"]

HYDROGEN = ParameterSpec("nH", "10^22", 1.0, 0.01, 0.0, 0.0, 1e5, 1e6)
#: From Mb to 1e-22 cm2.
MEGABARN = 1e4


def edge_mean(values: np.ndarray) -> np.ndarray:
    """Mean of the values at the two edges of each bin."""
    return 0.5 * (values[..., 1:] + values[..., :-1])


def transmission(negative_sigma: np.ndarray, hydrogen: np.ndarray) -> np.ndarray:
    """``exp(-nH sigma)``, from ``-sigma``."""
    exponent = hydrogen * negative_sigma
    return np.exp(exponent, out=exponent)


def for_each_redshift(redshifts: np.ndarray, evaluate: Callable[[float], np.ndarray]) -> np.ndarray:
    """Stack ``evaluate(z)`` for each theta; once for all where z is the same, as it is when frozen.

    Returns
    -------
    (n, m) or (1, m)
    """
    values = redshifts[:1] if np.all(redshifts == redshifts[0]) else redshifts
    return np.stack([evaluate(float(z)) for z in values])


class TBabs(Component):
    """TBabs: gas, molecules and grains of the interstellar medium, Wilms, Allen & McCray 2000, ApJ 542, 914.

    XSPEC takes for a bin the mean of each element's cross-sections at its two edges, then lets the grains shield
    themselves, then ``exp(-nH sigma)``: followed here. The cross-sections are always those of Verner et al. 1996
    whatever ``xsect`` says.
    """

    name = "TBabs"
    kind = "mul"
    parameters = (HYDROGEN,)

    def _grid(self, edges: np.ndarray, context: ModelContext) -> np.ndarray:
        gas, grains = ism_phases(1000.0 * edges, context.abund, dust=True)
        sigma = edge_mean(gas) + grain_shielding(edge_mean(grains), context.abund)
        return -MEGABARN * sigma

    def _values(self, prepared: np.ndarray, p: np.ndarray) -> np.ndarray:
        return transmission(prepared, column(p, 0))


#: Log-log interpolation of a smooth cross-section on this many points is better than 1e-6.
SMOOTH_POINTS = 6000
LOWEST_TABLE, HIGHEST_TABLE = 13.6, 1.2e5


def table_energies(structured: bool) -> np.ndarray:
    """Energies (eV) between which cross-sections may be interpolated: a smooth grid and both sides of each edge."""
    data = atomic_data()
    jumps = [row[1] for shells in data.shells.values() for row in shells] + [13.599, 15.4, 18.0, 24.58, 30.0, 85.0]
    parts = [np.geomspace(LOWEST_TABLE, HIGHEST_TABLE, SMOOTH_POINTS)]
    if structured:
        # the resonances of helium, and the tabulated edges of O, Ne and Fe
        parts.append(np.linspace(59.5, 65.5, 6000))
        for nodes, _ in data.structure.values():
            parts.append(nodes)
            jumps += [nodes[0], nodes[-1]]
    parts += [np.array(jumps) * (1.0 + shift) for shift in (-2e-7, 0.0, 2e-7)]
    return np.unique(np.concatenate(parts))


def log_table(energy: np.ndarray, sigma: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Turn a cross-section (Mb) into ln E (eV) and ln sigma (1e-22 cm2); zero becomes next to nothing."""
    with np.errstate(divide="ignore"):
        return np.log(energy), np.maximum(np.log(MEGABARN * sigma), -200.0)


@lru_cache(maxsize=8)
def gas_table(abund: str) -> tuple[np.ndarray, np.ndarray]:
    """Table for `RedshiftedTBabs`."""
    energy = table_energies(structured=True)
    return log_table(energy, ism_phases(energy, abund, dust=False)[0])


@lru_cache(maxsize=8)
def neutral_table(abund: str) -> tuple[np.ndarray, np.ndarray]:
    """Table for `RedshiftedPhAbs` with the cross-sections of Verner et al."""
    energy = table_energies(structured=False)
    return log_table(energy, sum(number * verner(energy, z) for z, number in abundances(abund).items()))


class RedshiftedTBabs(Component):
    """zTBabs: gas and molecules of `TBabs`, at the energies ``E (1+z)``; no atoms are in grains, as in XSPEC."""

    name = "zTBabs"
    kind = "mul"
    parameters = (HYDROGEN, REDSHIFT)

    def _grid(self, edges: np.ndarray, context: ModelContext) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return np.log(1000.0 * edges), *gas_table(context.abund)

    def _values(self, prepared: tuple[np.ndarray, np.ndarray, np.ndarray], p: np.ndarray) -> np.ndarray:
        log_edges, log_energy, log_sigma = prepared

        def sigma(redshift: float) -> np.ndarray:
            return -edge_mean(np.exp(np.interp(log_edges + np.log1p(redshift), log_energy, log_sigma)))

        return transmission(for_each_redshift(p[:, 1], sigma), column(p, 0))


def neutral_sigma(edges: np.ndarray, context: ModelContext) -> np.ndarray:
    """Cross-section (1e-22 cm2 per hydrogen atom) of neutral atoms in each bin, by abundance table and ``xsect``.

    Raises
    ------
    ModelError
        For cross-sections other than vern and bcmc, or an unknown abundance table.
    """
    # XSPEC's cross-sections know energies in single precision; so an edge of the grid finds its side of a threshold
    energy = (edges.astype(np.float32) * np.float32(1000.0)).astype(float)
    if context.xsect == "vern":
        numbers = abundances(context.abund)
        return MEGABARN * edge_mean(sum(number * verner(energy, z) for z, number in numbers.items()))
    if context.xsect == "bcmc":
        return MEGABARN * balucinska_church(energy[:-1], energy[1:], context.abund)
    raise ModelError(f"no cross-sections {context.xsect!r} for phabs; the embedded engine has vern and bcmc")


class PhAbs(Component):
    """phabs: neutral atoms, ``exp(-nH sigma)``.

    With ``xsect vern`` sigma is the mean at the two edges of the bin (Verner et al. 1996), with ``bcmc`` that at its
    middle (Balucinska-Church & McCammon 1992), as in XSPEC.
    """

    name = "phabs"
    kind = "mul"
    parameters = (HYDROGEN,)

    def _grid(self, edges: np.ndarray, context: ModelContext) -> np.ndarray:
        return -neutral_sigma(edges, context)

    def _values(self, prepared: np.ndarray, p: np.ndarray) -> np.ndarray:
        return transmission(prepared, column(p, 0))


class RedshiftedPhAbs(Component):
    """zphabs: `PhAbs` at the energies ``E (1+z)``."""

    name = "zphabs"
    kind = "mul"
    parameters = (HYDROGEN, REDSHIFT)

    def _grid(self, edges: np.ndarray, context: ModelContext) -> tuple[np.ndarray, ModelContext]:
        neutral_sigma(edges[:2], context)  # an unknown setting is an error now, not at the first theta
        return edges, context

    def _values(self, prepared: tuple[np.ndarray, ModelContext], p: np.ndarray) -> np.ndarray:
        edges, context = prepared

        def sigma(redshift: float) -> np.ndarray:
            moved = redshifted_edges(edges, np.array([[redshift]]))[0]
            # the fits take milliseconds: too long for a redshift that changes with every theta
            if context.xsect != "vern" or redshift == 0.0:
                return -neutral_sigma(moved, context)
            return -edge_mean(np.exp(np.interp(np.log(1000.0 * moved), *neutral_table(context.abund))))

        return transmission(for_each_redshift(p[:, 1], sigma), column(p, 0))


class PCFabs(PhAbs):
    """pcfabs: a part CvrFract of the source behind `PhAbs`: ``1 - f + f exp(-nH sigma)``."""

    name = "pcfabs"
    parameters = (HYDROGEN, ParameterSpec("CvrFract", "", 0.5, 0.005, 0.0, 0.05, 0.95, 1.0))

    def _values(self, prepared: np.ndarray, p: np.ndarray) -> np.ndarray:
        factor = super()._values(prepared, p)
        covered = column(p, 1)
        factor -= 1.0
        factor *= covered
        factor += 1.0
        return factor


#: Morrison & McCammon 1983, ApJ 270, 119, table 2: from this energy (keV) on, c0, c1, c2 in 1e-24 cm2.
MORRISON_MCCAMMON = np.array(
    [
        [0.03, 17.3, 608.1, -2150.0],
        [0.1, 34.6, 267.9, -476.1],
        [0.284, 78.1, 18.8, 4.3],
        [0.4, 71.4, 66.8, -51.4],
        [0.532, 95.5, 145.8, -61.1],
        [0.707, 308.9, -380.6, 294.0],
        [0.867, 120.6, 169.3, -47.7],
        [1.303, 141.3, 146.8, -31.5],
        [1.84, 202.7, 104.7, -17.0],
        [2.471, 342.7, 18.7, 0.0],
        [3.21, 352.2, 18.7, 0.0],
        [4.038, 433.9, -2.4, 0.75],
        [7.111, 629.0, 30.9, 0.0],
        [8.331, 701.2, 25.2, 0.0],
    ]
)
#: Above this energy the cross-section falls as E^-3.
MORRISON_LAST = 10.0


def morrison_mccammon(energy: np.ndarray, side: str = "right") -> np.ndarray:
    """Cross-section of Morrison & McCammon 1983 in 1e-22 cm2; at an edge, its value on this side of it."""
    row = np.clip(np.searchsorted(MORRISON_MCCAMMON[:, 0], energy, side=side) - 1, 0, len(MORRISON_MCCAMMON) - 1)
    c0, c1, c2 = MORRISON_MCCAMMON[row, 1:].T
    inside = np.minimum(energy, MORRISON_LAST)
    return 0.01 * (c0 + inside * (c1 + inside * c2)) / energy**3


@dataclass(frozen=True)
class WabsGrid:
    """Minus the cross-section at the bin edges, and the bins that an absorption edge divides or bounds.

    For each of these: its index, and for each of its pieces minus the cross-sections at the inner side of its two
    ends and half its part of the bin's width.
    """

    negative_sigma: np.ndarray
    divided: tuple[tuple[int, np.ndarray, np.ndarray, np.ndarray], ...]


def wabs_grid(edges: np.ndarray) -> WabsGrid:
    """Prepare `Wabs` on bin edges in keV."""
    jumps = MORRISON_MCCAMMON[1:, 0]
    last = len(edges) - 2
    touched = {int(i) for side in ("left", "right") for i in np.searchsorted(edges, jumps, side=side) - 1}
    divided = []
    for index in sorted(i for i in touched if 0 <= i <= last):
        low, high = edges[index], edges[index + 1]
        ends = np.concatenate([[low], jumps[(jumps > low) & (jumps < high)], [high]])
        half_parts = 0.5 * np.diff(ends) / (high - low)
        after, before = morrison_mccammon(ends[:-1], "right"), morrison_mccammon(ends[1:], "left")
        divided.append((index, -after[:, None], -before[:, None], half_parts[:, None]))
    return WabsGrid(-morrison_mccammon(edges), tuple(divided))


class Wabs(Component):
    """wabs: Morrison & McCammon 1983, ApJ 270, 119, with the abundances of Anders & Ebihara 1982 built in.

    The transmission is averaged by a trapezoid over the bin, and over each part of it where an absorption edge
    divides it, as in XSPEC.
    """

    name = "wabs"
    kind = "mul"
    parameters = (HYDROGEN,)

    def _grid(self, edges: np.ndarray, context: ModelContext) -> WabsGrid:
        return wabs_grid(edges)

    def _values(self, prepared: WabsGrid, p: np.ndarray) -> np.ndarray:
        hydrogen = column(p, 0)
        at_edges = transmission(prepared.negative_sigma, hydrogen)
        factor = at_edges[:, 1:] + at_edges[:, :-1]
        factor *= 0.5
        for index, after, before, half_parts in prepared.divided:
            pieces = np.exp(after * hydrogen.T) + np.exp(before * hydrogen.T)
            pieces *= half_parts
            factor[:, index] = 0.0
            for piece in pieces:
                factor[:, index] += piece
        return factor


class RedshiftedWabs(Wabs):
    """zwabs: `Wabs` at the energies ``E (1+z)``."""

    name = "zwabs"
    parameters = (HYDROGEN, REDSHIFT)

    def _grid(self, edges: np.ndarray, context: ModelContext) -> np.ndarray:
        return edges

    def _values(self, prepared: np.ndarray, p: np.ndarray) -> np.ndarray:
        redshifts = p[:, 1]
        if np.all(redshifts == redshifts[0]):
            return super()._values(wabs_grid(prepared * (1.0 + redshifts[0])), p)
        rows = [Wabs._values(self, wabs_grid(prepared * (1.0 + z)), p[i : i + 1]) for i, z in enumerate(redshifts)]
        return np.concatenate(rows)
