"""Components against numbers of the real XSPEC."""

import json

import numpy as np
import pytest

from xsixsa.embedded.components import ModelContext, available, find
from xsixsa.embedded.components.cross_sections import (
    abundances,
    atomic_data,
    balucinska_church,
    grain_shielding,
    ism_phases,
    verner,
)

CONTEXT = ModelContext(abund="wilm", xsect="vern", cosmo=(70.0, 0.0, 0.73))
NAMES = sorted(component.name for component in available())
# worst relative deviation allowed where the value exceeds 1e-6 of its largest
TOLERANCE = {"compTT": 2e-5, "powerlaw": 2e-6, "gaussian": 1e-6, "bremss": 2e-5, "cutoffpl": 2e-5, "zbbody": 2e-5}
# keV: in the fine structure of O, Fe and Ne the cross-section itself is only known to some 1e-4, times tau
STRUCTURE = ((0.49, 0.585), (0.695, 0.760), (0.855, 0.880))


@pytest.fixture(scope="module")
def reference(shared):
    folder = shared / "reference"
    declared = json.loads((folder / "components.json").read_text(encoding="utf-8"))["components"]
    with np.load(folder / "components.npz") as arrays:
        yield declared, dict(arrays)


def deviation(value, expected):
    """Relative deviation, zero where the expected value is below 1e-6 of the largest of its row."""
    counts = np.abs(expected) > 1e-6 * np.abs(expected).max(axis=1, keepdims=True)
    return np.where(counts, np.abs(value / np.where(counts, expected, 1.0) - 1.0), 0.0)


@pytest.mark.parametrize("grid", ["log", "pn"])
@pytest.mark.parametrize("name", NAMES)
def test_values(reference, name, grid):
    declared, arrays = reference
    edges, vectors = arrays[f"{grid}/energies"], np.array(declared[name.lower()]["parameters"])
    worst = deviation(find(name)().evaluate(edges, vectors, CONTEXT), arrays[f"{grid}/{name.lower()}"])
    if name in ("TBabs", "zTBabs"):
        moved = edges * (1.0 + (vectors[:, 1:] if name == "zTBabs" else np.zeros((6, 1))))
        structure = np.any([(moved[:, 1:] > low) & (moved[:, :-1] < high) for low, high in STRUCTURE], axis=0)
        assert worst[structure].max() < 2e-2
        worst[structure] = 0.0
    assert worst.max() < TOLERANCE.get(name, 1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_declaration(reference, name):
    declared = reference[0][name.lower()]
    component = find(name)
    assert component.name == declared["xspec_name"]
    assert component.kind == declared["kind"]
    names, units, limits = (
        declared[key] for key in ("parameter_names", "units", "default_values_delta_min_bot_top_max")
    )
    if component.kind == "add":
        assert names[-1] == "norm"
        names, units, limits = names[:-1], units[:-1], limits[:-1]
    assert [spec.name for spec in component.parameters] == names
    assert [spec.unit for spec in component.parameters] == units
    for spec, expected in zip(component.parameters, limits, strict=True):
        if spec.name in component.scale:
            assert [spec.value] == expected
        else:
            assert list(spec[2:]) == pytest.approx(expected, rel=1e-12)


def test_nothing_is_missing(reference):
    assert {name.lower() for name in NAMES} == set(reference[0])


@pytest.fixture(scope="module")
def points(shared):
    with np.load(shared / "reference" / "cross_sections_points.npz") as arrays:
        yield dict(arrays)


def without_edges(energy, width=5e-6):
    """Points that do not stand directly beside an edge, where single precision decides the side."""
    gaps = np.diff(energy) / energy[1:]
    close = np.concatenate([[False], gaps < width]) | np.concatenate([gaps < width, [False]])
    return ~close


@pytest.mark.parametrize("abund", ["wilm", "angr", "aspl", "feld", "aneb", "grsa", "lodd"])
def test_interstellar_cross_section(points, abund):
    energy, sigma = 1e3 * points[f"tbabs_{abund}_energy"], points[f"tbabs_{abund}_sigma"]
    gas, grains = ism_phases(energy, abund, dust=True)
    ours = 1e4 * (gas + grain_shielding(grains, abund))
    # the resonances of helium are so narrow that single precision of the energies is seen in them
    helium = (energy > 59) & (energy < 66)
    tables = [nodes for nodes, _ in atomic_data().structure.values()]
    structure = np.any([(energy > 1.0001 * nodes[0]) & (energy < 0.9999 * nodes[-1]) for nodes in tables], axis=0)
    used = ~helium & (structure | without_edges(energy))
    assert used.sum() > 12_000
    np.testing.assert_allclose(ours[used], sigma[used], rtol=2e-5)
    np.testing.assert_allclose(ours[helium], sigma[helium], rtol=2e-2)


@pytest.mark.parametrize("abund", ["wilm", "angr", "aspl"])
@pytest.mark.parametrize("xsect", ["vern", "bcmc"])
def test_neutral_cross_section(points, abund, xsect):
    energy, sigma = 1e3 * points[f"phabs_{xsect}_{abund}_energy"], points[f"phabs_{xsect}_{abund}_sigma"]
    used = without_edges(energy) & ((xsect == "vern") | (energy < 59) | (energy > 66))
    if xsect == "vern":
        ours = sum(number * verner(energy, z) for z, number in abundances(abund).items())
    else:
        ours = balucinska_church(energy * (1 - 1e-7), energy * (1 + 1e-7), abund)
    assert used.sum() > 8000
    np.testing.assert_allclose(1e4 * ours[used], sigma[used], rtol=6e-5 if xsect == "bcmc" else 2e-5)
