"""Spectra as XSPEC loads them: grouping, quality, scales, errors, ranges, data groups."""

import gzip
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.embedded.ogip import N_CHANNELS, source_counts, variants, write_arf, write_pha, write_rmf
from xsixsa.errors import DataError, UsageError

MEASURED = json.loads((Path(__file__).parent / "xspec_12_9_1.json").read_text())["variants"]


@pytest.mark.parametrize("name", list(variants()))
def test_variant_agrees_with_xspec(xspec, number, name):
    wanted = MEASURED[name]
    spectrum = xspec.Spectrum(f"variant{number[name]}.pha")
    spectrum.ignore("**-0.35 9.0-**")
    model = xspec.Model("powerlaw", setPars=(1.7, 0.002))
    assert spectrum.noticedString() == wanted["noticed"]
    assert spectrum.isPoisson == wanted["poisson"]
    found = {
        "rate": np.sum(spectrum.values),
        "variance": np.sum(spectrum.variance),
        "area": np.mean(spectrum.areaScale),
        "back": np.mean(spectrum.backScale),
        "folded": np.sum(model.folded(1)),
        "first_energy": model.energies(1)[0],
    }
    assert found == pytest.approx({key: wanted[key] for key in found}, rel=1e-6)
    for setting, statistic in wanted["statistics"].items():
        method, weight = setting.split()
        xspec.Fit.statMethod = method
        xspec.Fit.weight = "standard" if weight == "systematic" else weight
        xspec.AllModels.systematic = 0.07 if weight == "systematic" else 0.0
        assert xspec.Fit.statistic == pytest.approx(statistic, rel=1e-6), setting


def test_header_names_resolve_against_the_current_directory(xspec, number, tmp_path, monkeypatch):
    path = Path(f"variant{number['background']}.pha").resolve()
    monkeypatch.chdir(tmp_path)
    spectrum = xspec.Spectrum(str(path))
    with pytest.raises(DataError, match="no response"):
        _ = spectrum.response
    with pytest.raises(DataError, match="no background"):
        _ = spectrum.background
    with pytest.raises(DataError, match="no response"):
        _ = spectrum.energies
    with pytest.raises(DataError, match="needs a response"):
        spectrum.ignore("**-0.5")
    spectrum.ignore("1-2")
    assert spectrum.noticed[0] == 3


def test_response_background_and_area_can_be_replaced(xspec, number):
    spectrum = xspec.Spectrum(f"variant{number['plain']}.pha", respFile="none")
    spectrum.response = "test.rmf"
    with pytest.raises(DataError, match="no ARF"):
        _ = spectrum.response.arf
    model = xspec.Model("powerlaw")
    without = np.array(model.folded(1))
    spectrum.response.arf = "test.arf"
    assert spectrum.response.rmf == "test.rmf" and spectrum.response.arf == "test.arf"
    assert np.all(np.array(model.folded(1))[5:20] > 50 * without[5:20])
    spectrum.background = "back.pha"
    assert spectrum.background.backScale == 2.5
    assert spectrum.background.values[3] == pytest.approx(1 / 3000.0 / 2.5)
    spectrum.background = None
    with pytest.raises(DataError):
        _ = spectrum.background
    with pytest.raises(DataError, match=r"missing\.rmf"):
        spectrum.response = "missing.rmf"
    assert spectrum.response.rmf == "test.rmf"


def test_constructor_overrides_the_header(xspec, number):
    name = f"variant{number['background']}.pha"
    spectrum = xspec.Spectrum(name, backFile="none", respFile="split.rmf", arfFile="none")
    assert spectrum.response.files == ("split.rmf", "")
    assert not spectrum.has_background


def test_gzipped_files_load(xspec, number, tmp_path):
    for name in (f"variant{number['plain']}.pha", "test.rmf"):
        with open(name, "rb") as source, gzip.open(tmp_path / f"{name}.gz", "wb") as target:
            shutil.copyfileobj(source, target)
    plain = xspec.Spectrum(f"variant{number['plain']}.pha")
    packed = xspec.Spectrum(str(tmp_path / f"variant{number['plain']}.pha.gz"), respFile=str(tmp_path / "test.rmf.gz"))
    assert packed.values == plain.values
    assert packed.energies == plain.energies


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("1-3", "4-64"),
        ("1,3 5-7", "2 4 8-64"),
        ("**-1.0", "6-64"),
        ("9.0-**", "1-44"),
        ("1.05", "1-5 7-64"),
        ("2.0-1.0", "1-4 11-64"),
        ("1-2.0", "1-4 11-64"),
        ("60-**", "1-59"),
        ("0-3", "4-64"),
        ("1:1-3", "4-64"),
        ("1.e0-2.", "1-4 11-64"),
        ("**", ""),
    ],
)
def test_ignore_takes_every_bin_it_overlaps(xspec, number, text, left):
    spectrum = xspec.Spectrum(f"variant{number['plain']}.pha")
    spectrum.ignore(text)
    assert spectrum.noticedString() == left
    everything = set(range(1, N_CHANNELS + 1))
    assert set(spectrum.noticed) | set(spectrum.ignored) == everything
    assert not set(spectrum.noticed) & set(spectrum.ignored)
    spectrum.notice("all")
    assert spectrum.noticedString() == "1-64" and spectrum.ignoredString() == ""


@pytest.mark.parametrize("text", ["foo", "0.5-", "-3", "1-2-3", "3-1", "2:1-3", "bad", "** - 0.5", "1:2:3", "a:1", ":"])
def test_wrong_range_is_one_clear_line_and_changes_nothing(xspec, number, text):
    spectrum = xspec.Spectrum(f"variant{number['plain']}.pha")
    if text == ":":
        spectrum.ignore("")
    else:
        with pytest.raises(DataError):
            spectrum.ignore(f"5 {text}")
    assert spectrum.noticedString() == "1-64"


def test_ranges_of_several_spectra(xspec, number):
    name = f"variant{number['plain']}.pha"
    xspec.AllData(f"{name} {name}")
    xspec.AllData.ignore("2:7-8 9 1:10")
    assert [xspec.AllData(i).ignoredString() for i in (1, 2)] == ["10", "7-9"]
    xspec.AllData.notice("all")
    xspec.AllData.ignore("1-2:4 **:6")
    assert [xspec.AllData(i).ignoredString() for i in (1, 2)] == ["4 6", "4 6"]


def test_ignore_bad_drops_poor_groups(xspec, number):
    spectrum = xspec.Spectrum(f"variant{number['grouped, quality']}.pha")
    before = len(spectrum.noticed)
    xspec.AllData.ignore("bad")
    assert before - len(spectrum.noticed) == 3
    assert np.all(spectrum.quality[spectrum.mask] == 0)


def test_data_groups_and_numbers(xspec, number):
    name = f"variant{number['plain']}.pha"
    xspec.AllData(f"1:1 {name} 2:2 {name} 3:3 {name}")
    assert (xspec.AllData.nSpectra, xspec.AllData.nGroups) == (3, 3)
    second = xspec.AllData(2)
    xspec.AllData -= 1
    assert (second.index, second.dataGroup) == (1, 1)
    xspec.AllData += name
    assert xspec.AllData(3).dataGroup == 1
    removed = xspec.AllData(3)
    xspec.AllData -= removed
    with pytest.raises(DataError, match="no longer loaded"):
        _ = removed.index
    with pytest.raises(DataError, match="no spectrum 3"):
        xspec.AllData(3)
    xspec.AllData(name)
    assert xspec.AllData.nSpectra == 1
    with pytest.raises(DataError, match="without gaps"):
        xspec.AllData(f"1:5 {name}")


def test_a_missing_file_leaves_what_was_loaded(xspec, number):
    name = f"variant{number['plain']}.pha"
    xspec.AllData(f"1:1 {name} 2:2 {name}")
    with pytest.raises(DataError, match=r"nofile\.pha: no such file"):
        xspec.AllData(f"{name} nofile.pha")
    assert xspec.AllData.nSpectra == 2


def test_misspelt_attributes_are_refused(xspec, number):
    spectrum = xspec.Spectrum(f"variant{number['plain']}.pha")
    with pytest.raises(UsageError, match="expozure"):
        spectrum.expozure = 3.0
    xspec.Xset.allowNewAttributes = True
    spectrum.remark = "mine"
    assert spectrum.remark == "mine"


def test_arf_with_wrong_hduclas2_is_found_by_its_columns(xspec, number, tmp_path):
    path = write_arf(tmp_path / "odd.arf", hduclas2="EBOUNDS")
    odd = xspec.Spectrum(f"variant{number['plain']}.pha", arfFile=str(path))
    plain = xspec.Spectrum(f"variant{number['plain']}.pha")
    model = xspec.Model("powerlaw")
    assert model.folded(odd.index) == model.folded(plain.index)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"counts": -source_counts()}, "POISSERR"),
        ({"counts": source_counts().astype(float) * np.nan}, "COUNTS"),
        ({"exposure": 0.0}, "EXPOSURE"),
        ({"exposure": -5.0}, "EXPOSURE"),
        ({"quality": np.ones(N_CHANNELS, int)}, "QUALITY"),
        ({"quality": np.full(N_CHANNELS, 9)}, "QUALITY"),
        ({"grouping": np.full(N_CHANNELS, 4)}, "GROUPING"),
        ({"area_scale": -1.0}, "AREASCAL"),
        ({"back_scale": np.full(N_CHANNELS, np.nan)}, "BACKSCAL"),
        ({"channels": np.arange(N_CHANNELS) + 2}, "TLMIN"),
        ({"channels": np.ones(N_CHANNELS, int)}, "CHANNEL"),
        ({"DETCHANS": -4}, "DETCHANS"),
        ({"DETCHANS": 10**12}, "DETCHANS"),
        ({"stat_err": -np.ones(N_CHANNELS), "poisson": False}, "STAT_ERR"),
        ({"response": "big.rmf"}, "DETCHANS"),
        ({"background": "short.pha"}, "channels"),
        ({"arf": "short.arf"}, "SPECRESP"),
        ({"arf": "moved.arf"}, "ENERG_LO"),
        ({"arf": "negative.arf"}, "SPECRESP"),
        ({"response": "test.arf"}, "RMF"),
        ({"response": "variant0.pha"}, "RMF"),
        ({"arf": "test.rmf"}, "ARF"),
    ],
)
def test_damaged_spectrum_names_file_and_keyword(xspec, tmp_path, files, change, words):
    edges = np.geomspace(0.1, 12.0, 51)
    write_rmf("big.rmf", matrix=np.tile(np.eye(96, 70), 1))
    write_pha("short.pha", source_counts()[:40])
    write_arf("short.arf", edges=edges)
    write_arf("moved.arf", edges=np.geomspace(0.2, 15.0, 97))
    write_arf("negative.arf", area=-np.ones(96))
    write_pha(tmp_path / "broken.pha", **{"counts": source_counts(), **change})
    with pytest.raises(DataError, match=words):
        xspec.Spectrum(str(tmp_path / "broken.pha"))
    assert xspec.AllData.nSpectra == 0
