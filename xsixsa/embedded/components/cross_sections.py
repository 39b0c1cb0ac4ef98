"""Photo-ionisation cross-sections of atoms, molecules and dust grains.

Energies are in eV and cross-sections in 1e-18 cm2 (Mb), per hydrogen atom where a sum over elements is meant.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files

import numpy as np
from scipy.special import gamma, gammainc

from xsixsa.errors import ModelError

__all__ = ["AtomicData", "abundances", "atomic_data", "balucinska_church", "grain_shielding", "ism_phases", "verner"]

OXYGEN, NEON, IRON = 8, 10, 26
#: Azimuthal quantum number of the shells 1s 2s 2p 3s 3p 3d 4s.
AZIMUTHAL = (0, 0, 1, 0, 1, 2, 0)


@dataclass(frozen=True)
class AtomicData:
    """The packaged fit parameters, by atomic number."""

    elements: tuple[int, ...]
    weight: dict[int, float]
    depletion: dict[int, float]
    abundances: dict[str, dict[int, float]]
    shells: dict[int, list[list[float]]]
    outer: dict[int, list[float]]
    bcmc: dict[int, dict]
    structure: dict[int, tuple[np.ndarray, np.ndarray]]


@lru_cache(maxsize=1)
def atomic_data() -> AtomicData:
    """Read the packaged files once; their sources are in `data/README.md`."""
    folder = files("xsixsa") / "embedded" / "data"
    raw = json.loads((folder / "photoionisation.json").read_text(encoding="utf-8"))
    elements = tuple(raw["elements"])
    with (folder / "edge_structure.npz").open("rb") as stream, np.load(stream) as tables:
        structure = {
            z: (tables[f"{z}_energy"].astype(float), tables[f"{z}_sigma"].astype(float)) for z in (OXYGEN, NEON, IRON)
        }
    return AtomicData(
        elements=elements,
        weight=dict(zip(elements, raw["weight"], strict=True)),
        depletion=dict(zip(elements, raw["depletion"], strict=True)),
        abundances={name: dict(zip(elements, values, strict=True)) for name, values in raw["abundances"].items()},
        shells={z: [row[1:] for row in raw["shells"] if row[0] == z] for z in elements},
        outer={row[0]: row[1:] for row in raw["outer"]},
        bcmc={int(z): entry for z, entry in raw["bcmc"].items()},
        structure=structure,
    )


def abundances(table: str) -> dict[int, float]:
    """Number of atoms per hydrogen atom, by atomic number.

    Raises
    ------
    ModelError
        For a table that is not packaged.
    """
    known = atomic_data().abundances
    if table not in known:
        raise ModelError(f"no abundance table {table!r}; the embedded engine has {', '.join(sorted(known))}")
    return known[table]


def outermost(z: int) -> int:
    """Index of the outermost shell of the neutral atom (1s = 1 ... 4s = 7), as its fits count them."""
    if z > 18:
        return 7
    for last, shell in ((2, 1), (4, 2), (10, 3), (12, 4)):
        if z <= last:
            return shell
    return 5


def verner(energy: np.ndarray, z: int) -> np.ndarray:
    """Cross-section of a neutral atom.

    Verner & Yakovlev 1995, A&AS 109, 125 for the inner shells, and for all shells above the ionisation energy of the
    last inner one; below it the outer shells together are one fit of Verner et al. 1996, ApJ 465, 487. Energies are
    rounded to single precision, which decides on which side of a threshold they lie, as in XSPEC.

    Parameters
    ----------
    energy : (k,)
        eV.
    z : int
        Atomic number.

    Returns
    -------
    (k,)
        Mb.
    """
    data = atomic_data()
    energy = energy.astype(np.float32).astype(float)
    shells, outer = data.shells[z], data.outer.get(z)
    last = outermost(z)
    inner = 0 if z <= 2 else 1 if z <= 10 else 3 if z <= 18 else 5
    switch = 0.0
    if outer is not None:
        switch = np.inf if z <= 2 else next(float(np.float32(row[1])) for row in shells if row[0] == inner)
    total = np.zeros_like(energy)
    for shell, threshold, e0, sigma0, ya, power, yw in shells:
        if shell <= inner:
            used = energy >= np.float32(threshold)
        else:
            used = energy >= max(float(np.float32(threshold)), switch)
        y = energy[used] / e0
        slope = 0.5 * power - AZIMUTHAL[shell - 1] - 5.5
        total[used] += sigma0 * ((y - 1.0) ** 2 + yw**2) * y**slope * (1.0 + np.sqrt(y / ya)) ** -power
    if outer is not None:
        threshold = next(row[1] for row in shells if row[0] == last)
        used = (energy >= np.float32(threshold)) & (energy < switch)
        e0, sigma0, ya, power, yw, y0, y1 = outer
        x = energy[used] / e0 - y0
        y = np.sqrt(x * x + y1 * y1)
        total[used] += sigma0 * ((x - 1.0) ** 2 + yw**2) * y ** (0.5 * power - 5.5) * (1 + np.sqrt(y / ya)) ** -power
    return total


def polynomial(x: np.ndarray, coefficients: tuple[float, ...]) -> np.ndarray:
    """Evaluate ``c0 + c1 x + c2 x^2 ...``."""
    return np.polynomial.polynomial.polyval(x, coefficients)


def hydrogen(energy: np.ndarray) -> np.ndarray:
    """Atomic hydrogen: Band et al. 1990, A&A 237, 267."""
    y = 2.0 * energy / 13.599
    return np.where(energy < 13.599, 0.0, 605.0 / (y**1.5 * (1.0 + np.sqrt(y)) ** 4))


#: Auto-ionisation resonances of helium: Fano's q (Fernley et al. 1987), effective quantum number and width (Oza 1986).
HELIUM_RESONANCES = (
    (2.81, 1.610, 2.64061e-3),
    (2.51, 2.795, 6.20116e-4),
    (2.45, 3.817, 2.56061e-4),
    (2.44, 4.824, 1.320159e-4),
)
HELIUM_FIT = (1.0, -4.7416, 14.8200, -30.8678, 37.3584, -23.4585, 5.9133)


def helium(energy: np.ndarray, rydberg: float = 13.598) -> np.ndarray:
    """Helium: Yan, Sadeghpour & Dalgarno 1998, ApJ 496, 1044, equation 14, times its auto-ionisation resonances.

    ``rydberg`` (eV) is the unit in which the resonances are placed; XSPEC's components differ in it.
    """
    sigma = 733e-6 * (1e-3 * energy) ** -3.5 * polynomial(np.sqrt(24.58 / energy), HELIUM_FIT)
    for q, nu, width in HELIUM_RESONANCES:
        x = 2.0 * (energy / rydberg - (3.0 - 1.0 / nu**2 + 1.807317)) / width
        sigma = sigma * (x - q) ** 2 / (1.0 + x * x)
    return np.where(energy < 24.58, 0.0, sigma)


def molecular_hydrogen(energy: np.ndarray) -> np.ndarray:
    """H2: Yan, Sadeghpour & Dalgarno 1998, ApJ 496, 1044; between 30 and 85 eV Wilms, Allen & McCray 2000."""
    x = energy / 15.4
    pieces = [
        100.0 * polynomial(x, (-37.895, 99.723, -87.227, 25.4)),
        20.0 * x**-0.252 * polynomial(1.0 / x, (0.071, -0.673, 1.977, -0.692)),
        polynomial(1.0 / x, (0.664, -11.768, 78.118, -231.339, 368.053, -189.953)),
        45.57e-6
        * (1e-3 * energy) ** -3.5
        * polynomial(1.0 / np.sqrt(x), (1.0, -2.003, -4.806, 50.577, -171.044, 231.608, -81.885)),
    ]
    return np.select([energy <= 15.4, energy < 18.0, energy < 30.0, energy < 85.0], [0.0, *pieces[:3]], pieces[3])


def with_structure(energy: np.ndarray, z: int) -> np.ndarray:
    """`verner`, with the fine structure of O, Ne and Fe near their edges."""
    sigma = verner(energy, z)
    if z in atomic_data().structure:
        nodes, values = atomic_data().structure[z]
        near = (energy >= nodes[0]) & (energy <= nodes[-1])
        sigma[near] = np.interp(energy[near], nodes, values)
    return sigma


#: Part of the hydrogen that is molecular, and XSPEC's highest energy with any absorption (eV).
MOLECULAR, HIGHEST = 0.2, 1e5


def ism_phases(energy: np.ndarray, table: str, dust: bool) -> tuple[np.ndarray, np.ndarray]:
    """Cross-sections of the interstellar medium per hydrogen atom: gas with molecules, and the atoms in grains.

    Wilms, Allen & McCray 2000, ApJ 542, 914, with the depletions of their table 2 and a fifth of the hydrogen in
    molecules; the grains' self-shielding is not in it (`grain_shielding`).

    Parameters
    ----------
    energy : (k,)
        eV.
    table : str
        Abundances.
    dust : bool
        False: all atoms heavier than hydrogen are in the gas.

    Returns
    -------
    gas, grains : (k,), (k,)
        Mb per hydrogen atom.
    """
    data, numbers = atomic_data(), abundances(table)
    gas = numbers[2] * helium(energy)
    gas += (1.0 - MOLECULAR) * hydrogen(energy) + 0.5 * MOLECULAR * molecular_hydrogen(energy)
    grains = np.zeros_like(energy)
    for z in data.elements[2:]:
        sigma = numbers[z] * with_structure(energy, z)
        if dust:
            gas += data.depletion[z] * sigma
            grains += (1.0 - data.depletion[z]) * sigma
        else:
            gas += sigma
    absorbs = energy < HIGHEST
    return gas * absorbs, grains * absorbs


#: Grains: smallest and largest radius (cm), slope of the size distribution, density (g/cm3); Mathis et al. 1977.
GRAIN_SMALLEST, GRAIN_LARGEST, GRAIN_SLOPE, GRAIN_DENSITY = 0.025e-4, 0.25e-4, 3.5, 1.0
ATOMIC_MASS = 1.6605655e-24


def grain_shielding(grains: np.ndarray, table: str) -> np.ndarray:
    """Cross-section of the grains per hydrogen atom, from that of the atoms in them.

    Spheres with a power-law distribution of radii, each as opaque as its geometric cross-section times the mean of
    ``1 - exp(-column)``: appendix A of Wilms, Allen & McCray 2000, ApJ 542, 914.

    Parameters
    ----------
    grains : (k,)
        The atoms in grains, Mb per hydrogen atom.
    table : str
        Abundances.

    Returns
    -------
    (k,)
        Mb per hydrogen atom, smaller than the input.
    """
    data, numbers = atomic_data(), abundances(table)
    in_grains = {z: numbers[z] * (1.0 - data.depletion[z]) for z in data.elements}
    mass = ATOMIC_MASS * sum(number * data.weight[z] for z, number in in_grains.items())
    # optical depth through a grain per centimetre of radius: 4/3 density * cross-section / mass
    depth = 4.0 / 3.0 * GRAIN_DENSITY * grains * 1e-18 / mass
    three, four = 3.0 - GRAIN_SLOPE, 4.0 - GRAIN_SLOPE
    number = 0.75 * mass * four / (GRAIN_DENSITY * (GRAIN_LARGEST**four - GRAIN_SMALLEST**four))
    small, large = depth * GRAIN_SMALLEST, depth * GRAIN_LARGEST
    surface = GRAIN_LARGEST**three * np.expm1(-large) - GRAIN_SMALLEST**three * np.expm1(-small)
    inside = depth**-three * gamma(four) * (gammainc(four, large) - gammainc(four, small))
    return 1e18 * number / -three * (surface + inside)


#: XSPEC turns helium into cm2/g and back with two different weights of its atom.
HELIUM_ATOM = 6.646 * 0.6022045 / 4.0026
#: The polynomials end at 30 eV; far below, where they run away, everything is opaque anyway.
HIGHEST_EXPONENT = 100.0


def balucinska_church(low: np.ndarray, high: np.ndarray, table: str) -> np.ndarray:
    """Mean cross-section in bins, per hydrogen atom: Balucinska-Church & McCammon 1992, ApJ 400, 699.

    Helium is that of Yan et al. 1998. The polynomials are taken at the middle of the bin; in a bin with an absorption
    edge, at the middle of each part, and their values (logarithms) are averaged by the widths, as in XSPEC.

    Parameters
    ----------
    low, high : (m,)
        Bin edges in eV.
    table : str
        Abundances.

    Returns
    -------
    (m,)
        Mb per hydrogen atom.
    """
    numbers = abundances(table)
    middle, width = 0.5 * (low + high), high - low
    total = HELIUM_ATOM * numbers[2] * helium(middle, rydberg=12398.54 / 911.2671)
    for z, entry in atomic_data().bcmc.items():
        exponent = np.zeros_like(middle)
        limits = [0.0, *entry["edges"], np.inf]
        for start, stop, coefficients in zip(limits, limits[1:], entry["polynomials"], strict=False):
            first, last = np.maximum(low, start), np.minimum(high, stop)
            part = last > first
            value = polynomial(np.log(0.5 * (first[part] + last[part])), coefficients)
            exponent[part] += value * (last[part] - first[part]) / width[part]
        total += (
            numbers[z]
            * entry["atom"]
            * 1e18
            * np.exp(np.minimum(exponent, HIGHEST_EXPONENT) - 3.0 * np.log(middle) - 55.26204)
        )
    return total
