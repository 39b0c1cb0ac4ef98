"""Files for a network: what differs is refused in one line that names it and the way out."""

import numpy as np
import pytest
from astropy.io import fits

from tests.amortised.networks import inside, load, write_files
from tests.session.ogip import CHANNELS, counts_like, write_response, write_spectrum
from xsixsa import Session
from xsixsa.amortised.pattern import pattern_of
from xsixsa.amortised.read import Reading, read_spectrum
from xsixsa.errors import DataError

EXPOSURE = (500.0, 2_000.0)


@pytest.fixture
def folder(tmp_path):
    write_files(tmp_path)
    with inside(tmp_path):
        yield tmp_path


def group(path, starts, quality=None):
    """Give a spectrum a grouping: channels (from 0) at which groups start."""
    with fits.open(path, mode="update") as f:
        table = f["SPECTRUM"]
        flags = np.full(CHANNELS, -1, np.int16)
        flags[list(starts)] = 1
        columns = [fits.Column("GROUPING", "I", array=flags)]
        columns.append(fits.Column("QUALITY", "I", array=np.zeros(CHANNELS) if quality is None else quality))
        header = table.header.copy()
        for key in ("GROUPING", "QUALITY"):
            header.remove(key, ignore_missing=True)
        new = fits.BinTableHDU.from_columns(table.columns + fits.ColDefs(columns), header=header, name="SPECTRUM")
        f[1] = new


@pytest.fixture
def pattern(folder):
    return pattern_of(Session(load("plain.pha")))


def test_a_file_is_read_as_the_engine_reads_it(pattern):
    read = read_spectrum("other.pha", pattern, EXPOSURE)
    o = Session(load("other.pha")).observations[0]
    for name in ("counts", "edges", "area_scale", "back_scale", "channels"):
        np.testing.assert_array_equal(getattr(read, name), getattr(o, name))
    assert (read.exposure, read.statistic, read.background) == (o.exposure, o.statistic, None)


def test_a_background_is_read_as_the_engine_reads_it(folder):
    pattern = pattern_of(Session(load("source.pha")))
    write_spectrum("new.pha", counts_like(9) + 3, background="back.pha", back=0.7, exposure=900.0)
    read = read_spectrum("new.pha", pattern, EXPOSURE)
    o = Session(load("new.pha")).observations[0]
    np.testing.assert_array_equal(read.background.counts, o.background.counts)
    np.testing.assert_allclose(read.background_ratio, o.background_ratio, rtol=1e-12)


def test_a_grouped_file_is_read_as_the_engine_reads_it(folder):
    write_spectrum("grouped.pha", counts_like(4))
    group("grouped.pha", range(0, CHANNELS, 3))
    pattern = pattern_of(Session(load("grouped.pha")))
    assert pattern.n_bins < 10
    np.testing.assert_array_equal(read_spectrum("grouped.pha", pattern, EXPOSURE).counts, pattern.observation.counts)
    with pytest.raises(DataError, match=r"plain\.pha: grouped in another way .* regroup=True"):
        read_spectrum("plain.pha", pattern, EXPOSURE)
    summed = read_spectrum("plain.pha", pattern, EXPOSURE, Reading(regroup=True))
    assert len(summed.counts) == pattern.n_bins
    write_spectrum("same.pha", counts_like(1))
    group("same.pha", range(0, CHANNELS, 3))
    np.testing.assert_array_equal(summed.counts, Session(load("same.pha")).observations[0].counts)


@pytest.mark.parametrize("starts", [range(0, CHANNELS, 2), [*range(0, 11), *range(12, CHANNELS)]])
def test_another_grouping(pattern, starts):
    write_spectrum("new.pha", counts_like(4))
    group("new.pha", starts)
    with pytest.raises(DataError, match="grouped in another way"):
        read_spectrum("new.pha", pattern, EXPOSURE)


def test_a_channel_flagged_bad_is_another_grouping(pattern):
    write_spectrum("new.pha", counts_like(4))
    quality = np.zeros(CHANNELS)
    quality[12] = 1
    group("new.pha", range(CHANNELS), quality)
    with pytest.raises(DataError, match="grouped in another way"):
        read_spectrum("new.pha", pattern, EXPOSURE)


def test_another_response(pattern):
    write_spectrum("new.pha", counts_like(4), response="else")
    with pytest.raises(DataError, match=r"RESPFILE else\.rmf is another response than the network's \(test\.rmf\)"):
        read_spectrum("new.pha", pattern, EXPOSURE)
    assert read_spectrum("new.pha", pattern, EXPOSURE, Reading(same_response=True)).counts.sum() > 0
    write_spectrum("none.pha", counts_like(4), response=None)
    assert read_spectrum("none.pha", pattern, EXPOSURE).counts.sum() > 0


def test_a_response_of_the_same_name_with_another_content(pattern, folder):
    write_response(folder, area=99.0)
    with pytest.raises(DataError, match=r"ANCRFILE test\.arf is another response"):
        read_spectrum("other.pha", pattern, EXPOSURE)


def test_exposures(pattern):
    for exposure in (100.0, 5_000.0):
        write_spectrum("new.pha", counts_like(4), exposure=exposure)
        with pytest.raises(DataError, match=rf"exposure {exposure:g} s, the network was trained for 500 to 2000 s"):
            read_spectrum("new.pha", pattern, EXPOSURE)
    with pytest.raises(DataError, match=r"trained for 1000 s; train with exposure=\(1000, 5000\)"):
        read_spectrum("new.pha", pattern, (1_000.0, 1_000.0))


def test_empty_spectra_and_files_that_are_none(pattern, folder):
    write_spectrum("empty.pha", np.zeros(CHANNELS))
    with pytest.raises(DataError, match=r"empty\.pha: an empty spectrum"):
        read_spectrum("empty.pha", pattern, EXPOSURE)
    with pytest.raises(DataError, match="no such file"):
        read_spectrum("nosuch.pha", pattern, EXPOSURE)
    (folder / "text.pha").write_text("nothing")
    with pytest.raises(DataError, match=r"text\.pha"):
        read_spectrum("text.pha", pattern, EXPOSURE)
    with pytest.raises(DataError, match="no SPECTRUM extension"):
        read_spectrum("test.rmf", pattern, EXPOSURE)


def test_subtracted_counts_and_other_scales(pattern):
    write_spectrum("net.pha", counts_like(4) + 0.3, as_rate=True)
    with pytest.raises(DataError, match="no whole number of counts"):
        read_spectrum("net.pha", pattern, EXPOSURE)
    write_spectrum("area.pha", counts_like(4), area=0.8)
    with pytest.raises(DataError, match=r"AREASCAL 0\.8, the network's spectra have 1"):
        read_spectrum("area.pha", pattern, EXPOSURE)


def test_another_detector(pattern):
    write_spectrum("long.pha", np.ones(CHANNELS + 10))
    with pytest.raises(DataError, match="40 channels from 1, the network's spectra have 30 from 1"):
        read_spectrum("long.pha", pattern, EXPOSURE)


def test_backgrounds_that_only_one_side_has(pattern):
    with pytest.raises(DataError, match=r"names the background back\.pha, but the network was trained without"):
        read_spectrum("source.pha", pattern, EXPOSURE)
    assert read_spectrum("source.pha", pattern, EXPOSURE, Reading(no_background=True)).background is None
    with_background = pattern_of(Session(load("source.pha")))
    with pytest.raises(DataError, match="names no background"):
        read_spectrum("other.pha", with_background, EXPOSURE)
    write_spectrum("lost.pha", counts_like(4), background="lost_back.pha")
    with pytest.raises(DataError, match="neither here nor beside it"):
        read_spectrum("lost.pha", with_background, EXPOSURE)
