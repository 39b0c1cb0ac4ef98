"""Chain files: the rules XSPEC applies, the way back, and refusals."""

from types import SimpleNamespace

import numpy as np
import pytest
from astropy.io import fits

from xsixsa.chain import read_chain, write_chain
from xsixsa.errors import DataError, OutputError

PARAMETERS = [
    {"parameter": "nH", "source": "", "index": 1, "unit": "10^22"},
    {"parameter": "PhoIndex", "source": "", "index": 2, "unit": ""},
    SimpleNamespace(parameter="norm", source="bkg", index=2, unit="keV"),
]


@pytest.fixture
def rows():
    rng = np.random.default_rng(1)
    return rng.uniform(1e-6, 1, (50, 3)), rng.uniform(90, 110, 50)


def test_layout_is_what_xspec_uses(tmp_path, rows):
    path = write_chain(tmp_path / "chain.fits", PARAMETERS, *rows, comments=["seed 1"])
    with fits.open(path) as hdus:
        table = hdus["CHAIN"]
        assert table.columns.names == ["nH__1", "PhoIndex__2", "norm__bkg__2", "FIT_STATISTIC"]
        assert table.columns.formats == ["D"] * 4
        assert table.columns.units == ["10^22", "", "keV", "C-Statistic"]
        assert (table.header["TEMPR001"], table.header["STROW001"]) == (1.0, 1)
        assert "seed 1" in str(table.header["HISTORY"])


def test_comes_back_as_it_was(tmp_path, rows):
    chain = read_chain(write_chain(tmp_path / "chain.fits", PARAMETERS, *rows))
    np.testing.assert_array_equal(chain.theta, rows[0])
    np.testing.assert_array_equal(chain.statistic, rows[1])
    assert chain.parameters[2] == {"parameter": "norm", "source": "bkg", "index": 2, "unit": "keV"}
    assert chain.statistic_name == "C-Statistic"


def test_existing_file_is_kept(tmp_path, rows):
    path = write_chain(tmp_path / "chain.fits", PARAMETERS, *rows)
    before = path.read_bytes()
    with pytest.raises(OutputError, match="exists"):
        write_chain(path, PARAMETERS, rows[0] + 1, rows[1])
    assert path.read_bytes() == before
    write_chain(path, PARAMETERS, rows[0] + 1, rows[1], overwrite=True)
    assert path.read_bytes() != before
    assert [p.name for p in tmp_path.iterdir()] == ["chain.fits"]


def test_what_cannot_be_a_chain_is_refused(tmp_path, rows):
    theta, statistic = rows
    bad = theta.copy()
    bad[3, 1] = np.nan
    path = tmp_path / "chain.fits"
    for wrong in ((theta[:, :2], statistic), (theta, statistic[1:]), (theta[:0], statistic[:0]), (bad, statistic)):
        with pytest.raises(OutputError):
            write_chain(path, PARAMETERS, *wrong)
    with pytest.raises(OutputError, match="share"):
        write_chain(path, [PARAMETERS[0]] * 3, theta, statistic)
    with pytest.raises(OutputError, match="two underscores"):
        write_chain(path, [PARAMETERS[0] | {"parameter": "a__b"}, *PARAMETERS[1:]], theta, statistic)
    with pytest.raises(OutputError, match="cannot write"):
        write_chain(tmp_path / "nowhere" / "chain.fits", PARAMETERS, theta, statistic)
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_chain_is_not_read(tmp_path):
    with pytest.raises(DataError, match="no chain file"):
        read_chain(tmp_path / "absent.fits")
    (tmp_path / "text.fits").write_text("not FITS")
    with pytest.raises(DataError, match="FITS"):
        read_chain(tmp_path / "text.fits")
    fits.PrimaryHDU().writeto(tmp_path / "empty.fits")
    with pytest.raises(DataError, match="no extension CHAIN"):
        read_chain(tmp_path / "empty.fits")
    columns = [
        fits.Column(name="nH", format="D", array=[1.0]),
        fits.Column(name="FIT_STATISTIC", format="D", array=[1.0]),
    ]
    fits.BinTableHDU.from_columns(columns, name="CHAIN").writeto(tmp_path / "names.fits")
    with pytest.raises(DataError, match="not named"):
        read_chain(tmp_path / "names.fits")
