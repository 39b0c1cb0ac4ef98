"""The demo's files: what OGIP asks for, the same from the same seed, and what the instrument model says."""

import json

import numpy as np
import pytest
from astropy.io import fits

from xsixsa.demo import TRUTH, make_demo, true_photons
from xsixsa.demo.instrument import ccd, resolution
from xsixsa.demo.ogip import group_min_counts


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    make_demo(folder, seed=5, background=True)
    return folder


def read_matrix(path):
    """Redistribution matrix of an RMF, row by row."""
    with fits.open(path) as hdus:
        table = hdus["MATRIX"]
        matrix = np.zeros((len(table.data), table.header["DETCHANS"]))
        for i, row in enumerate(table.data):
            start = row["F_CHAN"] - table.header["TLMIN4"]
            matrix[i, start : start + row["N_CHAN"]] = row["MATRIX"]
        return matrix


def test_same_seed_same_spectrum(folder, tmp_path):
    again, other = (
        make_demo(tmp_path / "a", seed=5, background=True),
        make_demo(tmp_path / "b", seed=6, background=True),
    )
    first, second, third = (fits.getdata(f"{f}/demo.pha", 1)["COUNTS"] for f in (folder, again.folder, other.folder))
    np.testing.assert_array_equal(first, second)
    assert (first != third).any()


def test_keywords_are_ogip(folder):
    expected = {
        "demo.pha": ("SPECTRUM", ("SPECTRUM", "TOTAL", "COUNT")),
        "demo_bg.pha": ("SPECTRUM", ("SPECTRUM", "BKG", "COUNT")),
        "demo.rmf": ("MATRIX", ("RESPONSE", "RSP_MATRIX", "REDIST")),
        "demo.arf": ("SPECRESP", ("RESPONSE", "SPECRESP", None)),
    }
    for name, (extension, classes) in expected.items():
        header = fits.getheader(folder / name, extension)
        assert header["HDUCLASS"] == "OGIP"
        assert tuple(header.get(f"HDUCLAS{i}") for i in (1, 2, 3)) == classes
    header = fits.getheader(folder / "demo.pha", "SPECTRUM")
    assert (header["RESPFILE"], header["ANCRFILE"], header["BACKFILE"]) == ("demo.rmf", "demo.arf", "demo_bg.pha")
    assert header["DETCHANS"] == len(fits.getdata(folder / "demo.rmf", "EBOUNDS")) == 1024
    assert not list(folder.glob(".*"))


def test_files_hold_the_instrument_that_simulated(folder):
    instrument = ccd()
    np.testing.assert_array_equal(read_matrix(folder / "demo.rmf"), instrument.matrix)
    np.testing.assert_array_equal(fits.getdata(folder / "demo.arf", 1)["SPECRESP"], instrument.area)
    np.testing.assert_allclose(instrument.matrix.sum(axis=1), 1.0, atol=6e-3)


def test_resolution_is_that_of_a_ccd():
    fwhm = 2.355 * resolution(np.array([1.0, 5.9]))
    assert 0.07 < fwhm[0] < 0.1
    assert 0.12 < fwhm[1] < 0.15


def test_counts_follow_the_truth(folder):
    instrument = ccd()
    truth = json.loads((folder / "truth.json").read_text())
    expected = truth["exposure"] * instrument.fold(true_photons(instrument.energies, TRUTH))
    counts = fits.getdata(folder / "demo.pha", 1)["COUNTS"]
    off = fits.getdata(folder / "demo_bg.pha", 1)["COUNTS"]
    net = counts.sum() - off.sum() / fits.getheader(folder / "demo_bg.pha", 1)["BACKSCAL"]
    assert abs(net - expected.sum()) < 4 * np.sqrt(counts.sum())
    assert 5000 < expected.sum() < 10000


def test_grouping_holds_at_least_the_minimum():
    counts = np.random.default_rng(0).poisson(3.0, 200)
    grouping, quality = group_min_counts(counts, 20)
    sums = np.add.reduceat(counts, np.flatnonzero(grouping == 1))
    good = quality[grouping == 1] == 0
    assert (sums[good] >= 20).all()
    assert sums.sum() == counts.sum()
    assert (~good).sum() <= 1
    assert set(np.unique(grouping)) == {-1, 1}


def test_the_embedded_engine_folds_as_the_demo_simulated(folder, monkeypatch):
    from xsixsa.embedded import xspec

    monkeypatch.chdir(folder)
    try:
        xspec.Xset.abund = "wilm"
        xspec.AllData("1:1 demo.pha")
        model = xspec.Model("TBabs*(powerlaw+bbodyrad)")
        xspec.AllModels.setPars(model, dict(enumerate(TRUTH.values(), start=1)))
        spectrum = xspec.AllData(1)
        folded = np.array(model.folded(1)) * spectrum.exposure
        grouping = fits.getdata(folder / "demo.pha", 1)["GROUPING"]
    finally:
        xspec.AllModels.clear()
        xspec.AllData.clear()
        xspec.Xset.abund = "angr"
    instrument = ccd()
    expected = 4000.0 * instrument.fold(true_photons(instrument.energies, TRUTH))
    expected = np.add.reduceat(expected, np.flatnonzero(grouping == 1))
    np.testing.assert_allclose(folded, expected, rtol=1e-5)
