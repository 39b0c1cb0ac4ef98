"""Table models: against numbers of the real XSPEC, and files made here."""

import json

import numpy as np
import pytest
from astropy.io import fits

from xsixsa.embedded.components import ModelContext, find
from xsixsa.errors import DataError

CONTEXT = ModelContext()
KEYS = [
    *(f"smod{n}.tmod|{use}" for n in ("000", "001", "010", "011") for use in ("mtable", "etable")),
    *(f"smod1{n}.tmod|atable" for n in ("00", "01", "10", "11")),
    "tables_onepar_test.mod|atable",
    "tables_twopar_test.mod|atable",
    "xspec-tablemodel-RCS.mod|atable",
]


@pytest.fixture(scope="module")
def reference(shared):
    declared = json.loads((shared / "reference" / "tables.json").read_text(encoding="utf-8"))
    with np.load(shared / "reference" / "tables.npz") as arrays:
        yield declared, dict(arrays)


@pytest.mark.parametrize("key", KEYS)
def test_values_and_declaration(reference, shared, key):
    declared, arrays = reference
    assert set(KEYS) == set(declared)
    file, use = key.split("|")
    component = find(f"{use}{{{shared / 'data' / 'tables' / file}}}")
    assert component.name == declared[key]["modlname"]
    names = declared[key]["parameter_names"]
    if component.kind == "add":
        assert names[-1] == "norm"
        names = names[:-1]
    assert [spec.name for spec in component.parameters] == names
    for spec, expected in zip(component.parameters, declared[key]["limits_value_delta_min_bot_top_max"], strict=False):
        assert list(spec[2:]) == pytest.approx(expected, rel=1e-6)
    p = np.array(declared[key]["parameters"])[:, : len(names)]
    values = component.evaluate(arrays["energies"], p, CONTEXT)
    expected = arrays[key]
    counts = expected > 1e-6 * expected.max(axis=1, keepdims=True)
    np.testing.assert_allclose(values[counts], expected[counts], rtol=2e-6)
    np.testing.assert_array_equal(values[expected == 0.0], 0.0)


def write_table(path, *, header=None, parameters=None, spectra=None, grid=((1.0, 10.0),), methods=(1,), extra=0):
    """A small additive table on bins 1-2-3-4 keV; changes to each part by keyword."""
    primary = fits.PrimaryHDU()
    primary.header.update({"MODLNAME": "made", "ADDMODEL": True, "REDSHIFT": False, "HDUCLAS1": "XSPEC TABLE MODEL"})
    primary.header.update(header or {})
    width = max(len(values) for values in grid)
    rows = len(grid) + extra
    filled = [list(values) + [0.0] * (width - len(values)) for values in grid] + [[0.0] * width] * extra
    columns = {
        "NAME": ("12A", [f"par{k + 1}" for k in range(rows)]),
        "METHOD": ("J", list(methods) + [0] * extra),
        "INITIAL": ("E", [values[0] for values in grid] + [0.0] * extra),
        "DELTA": ("E", [0.1] * rows),
        "MINIMUM": ("E", [values[0] for values in grid] + [-5.0] * extra),
        "BOTTOM": ("E", [values[0] for values in grid] + [-5.0] * extra),
        "TOP": ("E", [values[-1] for values in grid] + [5.0] * extra),
        "MAXIMUM": ("E", [values[-1] for values in grid] + [5.0] * extra),
        "NUMBVALS": ("J", [len(values) for values in grid] + [0] * extra),
        "VALUE": (f"{width}E", filled),
    }
    columns.update(parameters or {})
    table = fits.BinTableHDU.from_columns(
        [fits.Column(name, form, array=np.array(values)) for name, (form, values) in columns.items()],
        name="PARAMETERS",
    )
    table.header.update({"NINTPARM": len(grid), "NADDPARM": extra})
    energies = fits.BinTableHDU.from_columns(
        [
            fits.Column("ENERG_LO", "E", array=np.array([1.0, 2.0, 3.0])),
            fits.Column("ENERG_HI", "E", array=np.array([2.0, 3.0, 4.0])),
        ],
        name="ENERGIES",
    )
    points = np.stack(np.meshgrid(*grid, indexing="ij"), axis=-1).reshape(-1, len(grid))
    content = {
        "PARAMVAL": (f"{len(grid)}E", points),
        "INTPSPEC": ("3E", np.outer(10.0 * np.arange(1, len(points) + 1), [1.0, 2.0, 4.0])),
    }
    for k in range(extra):
        content[f"ADDSP{k + 1:03d}"] = ("3E", np.tile([1.0, 0.0, -1.0], (len(points), 1)) * (k + 1))
    content.update(spectra or {})
    values = fits.BinTableHDU.from_columns(
        [fits.Column(name, form, array=np.array(value)) for name, (form, value) in content.items() if form],
        name="SPECTRA",
    )
    fits.HDUList([primary, table, energies, values]).writeto(path, overwrite=True)
    return f"atable{{{path}}}"


EDGES = np.array([1.0, 2.0, 3.0, 4.0])


def test_logarithmic_interpolation(tmp_path):
    component = find(write_table(tmp_path / "log.fits"))
    middle = component.evaluate(EDGES, np.array([[np.sqrt(10.0)], [1.0], [10.0]]), CONTEXT)
    np.testing.assert_allclose(middle, np.outer([15.0, 10.0, 20.0], [1.0, 2.0, 4.0]), rtol=1e-6)


def test_linear_interpolation(tmp_path):
    component = find(write_table(tmp_path / "lin.fits", methods=(0,)))
    np.testing.assert_allclose(component.evaluate(EDGES, np.array([[5.5]]), CONTEXT)[0], [15.0, 30.0, 60.0], rtol=1e-6)


def test_two_parameters_of_different_methods(tmp_path):
    grid = ((1.0, 100.0), (0.0, 1.0, 3.0))
    component = find(write_table(tmp_path / "two.fits", grid=grid, methods=(1, 0)))
    values = component.evaluate(EDGES, np.array([[10.0, 2.0], [100.0, 3.0], [1.0, 0.5]]), CONTEXT)
    np.testing.assert_allclose(values[:, 0], [40.0, 60.0, 15.0], rtol=1e-6)


def test_additional_parameters_add(tmp_path):
    component = find(write_table(tmp_path / "add.fits", methods=(0,), extra=2))
    assert [spec.name for spec in component.parameters] == ["par1", "par2", "par3"]
    values = component.evaluate(EDGES, np.array([[1.0, 2.0, -1.0]]), CONTEXT)
    np.testing.assert_allclose(values[0], [10.0 + 2.0 - 2.0, 20.0, 40.0 - 2.0 + 2.0], rtol=1e-6)


def test_redshift_moves_and_dilutes(tmp_path):
    component = find(write_table(tmp_path / "z.fits", header={"REDSHIFT": True}))
    assert component.parameters[-1].name == "z"
    still = component.evaluate(EDGES, np.array([[1.0, 0.0]]), CONTEXT)
    moved = component.evaluate(EDGES / 1.25, np.array([[1.0, 0.25]]), CONTEXT)
    np.testing.assert_allclose(moved, still / 1.25, rtol=1e-12)


def test_outside_the_grid_there_is_no_value(tmp_path):
    component = find(write_table(tmp_path / "out.fits"))
    values = component.evaluate(EDGES, np.array([[0.5], [2.0], [11.0], [-1.0]]), CONTEXT)
    np.testing.assert_array_equal(np.isnan(values).all(axis=1), [True, False, True, True])
    multiplies = find(write_table(tmp_path / "mul.fits", header={"ADDMODEL": False}).replace("atable", "mtable"))
    assert np.isnan(multiplies.evaluate(EDGES, np.array([[0.5]]), CONTEXT)).all()


def test_a_row_does_not_depend_on_the_batch(tmp_path):
    component = find(write_table(tmp_path / "z.fits", header={"REDSHIFT": True}))
    p = np.random.default_rng(5).uniform([1.0, 0.0], [10.0, 1.0], (6, 2))
    edges = np.geomspace(0.5, 5.0, 40)
    together = component.evaluate(edges, p, CONTEXT)
    for row, vector in zip(together, p, strict=True):
        np.testing.assert_array_equal(row, component.evaluate(edges, vector[None], CONTEXT)[0])


def test_spectra_out_of_order_are_taken_as_they_come(tmp_path, caplog):
    text = write_table(tmp_path / "order.fits", spectra={"PARAMVAL": ("1E", [[10.0], [1.0]])})
    values = find(text).evaluate(EDGES, np.array([[1.0]]), CONTEXT)
    assert values[0, 0] == pytest.approx(10.0)
    assert "PARAMVAL" in caplog.text


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"header": {"NXFLTEXP": 2}}, "NXFLTEXP"),
        ({"grid": ((10.0, 1.0),)}, "do not increase"),
        ({"grid": ((0.0, 1.0),)}, "METHOD 1"),
        ({"spectra": {"INTPSPEC": ("2E", [[1.0, 2.0], [3.0, 4.0]])}}, "INTPSPEC has 2 bins"),
        ({"spectra": {"INTPSPEC": ("", None)}}, "INTPSPEC is missing"),
        ({"spectra": {"PARAMVAL": ("1E", [[1.0]]), "INTPSPEC": ("3E", [[1.0, 2.0, 3.0]])}}, "1 spectra where the grid"),
        ({"parameters": {"TOP": ("E", [20.0])}}, "MAXIMUM does not hold"),
    ],
)
def test_damaged_files_say_what_is_wrong(tmp_path, changes, message):
    with pytest.raises(DataError, match=message):
        find(write_table(tmp_path / "bad.fits", **changes))


def test_files_that_are_no_tables(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        find(f"atable{{{tmp_path / 'missing.fits'}}}")
    (tmp_path / "text.fits").write_text("not FITS")
    with pytest.raises(DataError, match="is not a FITS file"):
        find(f"mtable{{{tmp_path / 'text.fits'}}}")
    fits.PrimaryHDU().writeto(tmp_path / "empty.fits")
    with pytest.raises(DataError, match="ADDMODEL"):
        find(f"atable{{{tmp_path / 'empty.fits'}}}")
    text = write_table(tmp_path / "add.fits")
    with pytest.raises(DataError, match="for atable, not etable"):
        find(text.replace("atable", "etable"))
