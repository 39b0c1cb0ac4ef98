"""Damaged and absurd files: an error that names the file, or numbers that are finite; never a crash, never a hang."""

import io
import re
import warnings

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.embedded.conftest import clean
from tests.embedded.ogip import source_counts, write_arf, write_pha, write_rmf
from tests.embedded.test_components_tables import write_table
from xsixsa.chain import write_chain
from xsixsa.embedded.components import ModelContext, find
from xsixsa.errors import DataError, XsixsaError

KINDS = ("pha", "rmf", "arf")
KEYWORDS = (
    *("NAXIS1", "NAXIS2", "PCOUNT", "TFIELDS", "TFORM1", "TFORM2", "TFORM6", "TTYPE1", "TTYPE2", "TTYPE4", "TTYPE6"),
    *("EXTNAME", "DETCHANS", "EXPOSURE", "AREASCAL", "BACKSCAL", "TLMIN1", "TLMIN4", "HDUCLAS1", "HDUCLAS2"),
    *("RESPFILE", "ANCRFILE", "BACKFILE", "POISSERR", "GROUPING", "QUALITY", "SYS_ERR", "BITPIX", "GCOUNT", "THEAP"),
)
TEXTS = ("", "none", "1J", "PE(99999999)", "0E", "999999999D", "SPECRESP", "COUNTS", "fuzz.pha", "T", "x" * 60)
NUMBERS = (np.nan, np.inf, -np.inf, -1.0, 0.0, 1e30, -(2.0**31), 65535.0, 0.5)
# Seconds; a case that takes longer hangs
PATIENCE = 20


class Originals(dict):
    """Contents by kind, with a short name in reports, and the folder for the cases."""

    def __init__(self, folder):
        super().__init__({kind: (folder / f"fuzz.{kind}").read_bytes() for kind in KINDS})
        self.folder = folder

    def __repr__(self):
        return "the three files"


@pytest.fixture(scope="module")
def originals(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fuzz")
    write_rmf(folder / "fuzz.rmf")
    write_arf(folder / "fuzz.arf")
    grouping = np.where(np.arange(64) % 2 == 0, 1, -1)
    quality = np.zeros(64, int)
    names = {"response": "fuzz.rmf", "arf": "fuzz.arf", "background": "back.pha"}
    write_pha(folder / "back.pha", source_counts(5.0))
    columns = {"sys_err": np.full(64, 0.01), "area_scale": np.ones(64), "back_scale": np.ones(64)}
    write_pha(folder / "fuzz.pha", source_counts(), grouping=grouping, quality=quality, **names, **columns)
    return Originals(folder)


def damaged(rng, content, keywords=KEYWORDS):
    """Apply one of: cut, overwritten bytes, another keyword value, another number in a column, a column removed."""
    how = rng.choice(["cut", "bytes", "keyword", "number", "removed", "rows"])
    if how == "cut":
        return content[: rng.integers(0, len(content))]
    if how == "bytes":
        broken = bytearray(content)
        for _ in range(rng.integers(1, 9)):
            broken[rng.integers(0, len(broken))] = rng.integers(0, 256)
        return bytes(broken)
    if how == "keyword":
        choices = [int(rng.integers(-(2**31), 2**40)), float(rng.normal() * 10.0 ** rng.integers(-9, 30))]
        value = [*choices, str(rng.choice(TEXTS)), bool(rng.integers(2)), int(rng.integers(0, 100))][rng.integers(5)]
        return patched(content, str(rng.choice(keywords)), value)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return rewritten(rng, content, how)


def rewritten(rng, content, how):
    hdus = fits.open(io.BytesIO(content), memmap=False)
    table = hdus[int(rng.integers(1, len(hdus)))]
    name = str(rng.choice(table.columns.names))
    if how == "removed":
        if rng.integers(2):
            table.columns.del_col(name)
        else:
            key = str(rng.choice(["EXPOSURE", "DETCHANS", "TLMIN1", "TLMIN4", "POISSERR", "EXTNAME"]))
            table.header.remove(key, ignore_missing=True)
    elif how == "rows":
        # astropy cannot take rows out of variable-length columns
        if not any("P" in format for format in table.columns.formats):
            table.data = table.data[rng.random(len(table.data)) < rng.random()]
    else:
        column = table.data.field(name)
        row, value = rng.integers(0, len(column)), rng.choice(NUMBERS)
        cell = column[row] if column.dtype.kind == "O" else column[row : row + 1]
        if cell.dtype.kind in "iu":
            limits = np.iinfo(cell.dtype)
            value = np.clip(np.nan_to_num(value), limits.min, limits.max)
        cell[:] = value
    buffer = io.BytesIO()
    hdus.writeto(buffer, output_verify="ignore")
    return buffer.getvalue()


def patched(content, keyword, value):
    """Replace the value of a keyword in place, without asking what it means."""
    start = content.find(keyword.ljust(8).encode() + b"=", 2880)
    if start < 0:
        return content
    text = {str: f"'{value}'", bool: "T" if value else "F"}.get(type(value), repr(value))
    card = f"{keyword.ljust(8)}= {text:>20}"[:80].ljust(80)
    return content[:start] + card.encode() + content[start + 80 :]


def attempt(originals, kind, content):
    """Load and evaluate; what is wrong must come as one of our errors."""
    from xsixsa.embedded import xspec

    folder = originals.folder
    for name, data in {**originals, kind: content}.items():
        (folder / f"case.{name}").write_bytes(data)
    clean(xspec)
    try:
        spectrum = xspec.Spectrum(
            str(folder / "case.pha"),
            backFile=str(folder / "back.pha"),
            respFile=str(folder / "case.rmf"),
            arfFile=str(folder / "case.arf"),
        )
        xspec.AllData.ignore("bad")
        spectrum.ignore("**-0.5 8.0-**")
        xspec.Fit.statMethod = "cstat"
        model = xspec.Model("powerlaw")
        statistic = xspec.Fit.statistic
        folded = model.folded(1) if spectrum.mask.any() else []
    except XsixsaError as error:
        said = str(error)
    else:
        said = None
    finally:
        clean(xspec)
    if said is not None:
        assert re.search(r"case\.(pha|rmf|arf)", said) and "\n" not in said
        return None
    assert np.all(np.isfinite(folded))
    assert np.isfinite(statistic)
    return statistic


COMMON = {"deadline": PATIENCE * 1000, "suppress_health_check": list(HealthCheck), "database": None}


def one_case(originals, seed):
    rng = np.random.default_rng(seed)
    kind = KINDS[rng.integers(3)]
    attempt(originals, kind, damaged(rng, originals[kind]))


@settings(max_examples=40, derandomize=True, **COMMON)
@given(seed=st.integers(0, 2**32))
def test_damaged_files(originals, seed):
    one_case(originals, seed)


@pytest.mark.slow
@settings(max_examples=2500, **COMMON)
@given(seed=st.integers(0, 2**32))
def test_thousands_of_damaged_files(originals, seed):
    one_case(originals, seed)


TABLE_KEYWORDS = (
    *("ADDMODEL", "REDSHIFT", "LOELIMIT", "HIELIMIT", "NXFLTEXP", "NINTPARM", "NADDPARM", "EXTNAME", "MODLNAME"),
    *("NAXIS1", "NAXIS2", "PCOUNT", "TFIELDS", "TFORM1", "TFORM2", "TFORM7", "TFORM10", "TTYPE1", "TTYPE3", "BITPIX"),
)


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    """A folder with a whole table model and a whole chain."""
    folder = tmp_path_factory.mktemp("fuzz_tables")
    grid = ((1.0, 3.0, 10.0), (0.0, 1.0))
    write_table(folder / "whole.mod", grid=grid, methods=(1, 0), extra=1, header={"REDSHIFT": True})
    rng = np.random.default_rng(1)
    parameters = [{"parameter": "PhoIndex", "source": "", "index": 1, "unit": ""}]
    write_chain(folder / "whole.fits", parameters, rng.uniform(1.0, 2.0, (20, 1)), rng.uniform(90.0, 99.0, 20))
    return folder


def one_table(folder, seed):
    """A damaged table model gives an error that names it, or values that are whole rows of numbers or of nothing."""
    rng = np.random.default_rng(seed)
    path = folder / "case.mod"
    path.write_bytes(damaged(rng, (folder / "whole.mod").read_bytes(), TABLE_KEYWORDS))
    try:
        component = find(f"{rng.choice(['atable', 'mtable'])}{{{path}}}")
        values = np.array([[spec.value for spec in component.parameters]])
        flux = component.evaluate(np.geomspace(0.5, 6.0, 30), values, ModelContext())
    except XsixsaError as error:
        flux, said = np.zeros(0), str(error)
    else:
        said = "case.mod"
    assert "case.mod" in said and "\n" not in said
    assert np.isfinite(flux).all() or np.isnan(flux).all()


def one_chain(folder, seed):
    """A damaged chain gives an error that names it, or is loaded."""
    from xsixsa.embedded import xspec

    rng = np.random.default_rng(seed)
    path = folder / "case.fits"
    path.write_bytes(damaged(rng, (folder / "whole.fits").read_bytes()))
    clean(xspec)
    try:
        xspec.AllChains += str(path)
    except XsixsaError as error:
        said, loaded = str(error), 0
    else:
        said, loaded = "case.fits", 1
    assert "case.fits" in said and "\n" not in said
    assert xspec.AllChains.nChains == loaded
    clean(xspec)


@settings(max_examples=25, derandomize=True, **COMMON)
@given(seed=st.integers(0, 2**32))
def test_damaged_tables_and_chains(tables, seed):
    one_table(tables, seed)
    one_chain(tables, seed)


@pytest.mark.slow
@settings(max_examples=1000, **COMMON)
@given(seed=st.integers(0, 2**32))
def test_a_thousand_damaged_tables_and_chains(tables, seed):
    one_table(tables, seed)
    one_chain(tables, seed)


def test_the_undamaged_files_load(originals):
    assert attempt(originals, "pha", originals["pha"]) > 0


@pytest.mark.parametrize("kind", KINDS)
def test_truncated_files_name_themselves(originals, kind):
    content, whole = originals[kind], attempt(originals, kind, originals[kind])
    found = [attempt(originals, kind, content[:size]) for size in range(0, len(content), len(content) // 12)]
    # the last block may be cut inside its padding, which loses nothing
    assert found[:8] == [None] * 8
    assert set(found) <= {None, whole}


@pytest.mark.parametrize("keyword", ["NAXIS2", "PCOUNT", "NAXIS1", "TFIELDS"])
@pytest.mark.parametrize("kind", KINDS)
def test_absurd_sizes_are_refused_before_memory_is_asked_for(originals, kind, keyword):
    import tracemalloc

    tracemalloc.start()
    assert attempt(originals, kind, patched(originals[kind], keyword, 10**13)) is None
    assert tracemalloc.get_traced_memory()[1] < 200e6
    tracemalloc.stop()


def test_packed_file_cut_short(originals, tmp_path):
    import gzip

    from xsixsa.embedded import xspec

    path = tmp_path / "cut.pha.gz"
    path.write_bytes(gzip.compress(originals["pha"])[:-200])
    with pytest.raises(DataError, match=r"cut\.pha\.gz"):
        xspec.Spectrum(str(path))


def test_odd_paths(tmp_path):
    from xsixsa.embedded import xspec

    (tmp_path / "empty.pha").write_bytes(b"")
    (tmp_path / "text.pha").write_text("hello")
    for name in ("", "empty.pha", "text.pha", "missing.pha", "a\0b"):
        with pytest.raises(DataError):
            xspec.Spectrum(str(tmp_path / name))


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(text=st.text(alphabet="po+*()wabsTBga {}_1.,:-=/\t\n'\"", max_size=40))
def test_expressions_and_ranges_are_read_or_refused(text):
    from xsixsa.embedded.expression import Expression
    from xsixsa.embedded.grouping import parse_ranges
    from xsixsa.embedded.links import Link
    from xsixsa.embedded.parameter import parse_values

    said = "nothing wrong"
    for read in (Expression, lambda t: parse_ranges(t, 2), lambda t: Link(t, ""), parse_values):
        try:
            read(text)
        except XsixsaError as error:
            said = str(error)
    assert said
