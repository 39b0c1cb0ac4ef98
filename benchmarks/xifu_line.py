"""The X-IFU line case: a spectrum that is made on the fly, the same one every time.

Case I of Barret & Dupourque 2024, `tbabs*(powerlaw+zgauss)`: the mock spectrum's grouping and responses, the embedded
engine's expected counts at the truth below, the exposure for 100 000 of them, and Poisson noise with a fixed seed.
"""

from __future__ import annotations

import contextlib
import hashlib
from pathlib import Path

import numpy as np
from astropy.io import fits

from xsixsa import Session

__all__ = ["MODEL", "TRUTH", "line_model", "make_spectrum"]

MODEL = "tbabs*(powerlaw+zgauss)"
TRUTH = {"PhoIndex": 2.0, "powerlaw.norm": 0.5, "Sigma": 0.009, "Redshift": 0.31, "zgauss.norm": 0.02}
COUNTS = 100_000
SEED = 20_240
RANGE = "**-0.3 12.0-**"
_TEMPLATE = "spectrum_opt.pha"
_RESPONSES = "athena_xifu_4eV_gaussian_REBUILT.rmf", "athena_xifu_13_rows_no_filter.arf"


def load_responses(spectrum) -> None:
    """The case's responses for a spectrum, from the data folder."""
    spectrum.response, spectrum.response.arf = _RESPONSES


def line_model(xspec) -> None:
    """Abundances, statistic and model, the absorption and the line's rest energy fixed as published."""
    xspec.Xset.abund = "wilm"
    xspec.Fit.statMethod = "cstat"
    model = xspec.Model(MODEL)
    model.TBabs.nH.values = 0.2
    model.TBabs.nH.frozen = True
    model.zgauss.LineE.values = 2.0
    model.zgauss.LineE.frozen = True
    # frozen by default, as redshifts are
    model.zgauss.Redshift.frozen = False


def make_spectrum(data: Path, folder: Path) -> Path:
    """The simulated spectrum, written to `folder` unless it is there.

    Parameters
    ----------
    data
        Folder of the mock spectrum and its responses.
    folder
        Where the file goes; its name depends on truth, counts and seed.
    """
    key = hashlib.sha256(repr((MODEL, TRUTH, COUNTS, SEED, RANGE)).encode()).hexdigest()[:10]
    path = folder / f"xifu_line_{key}.pha"
    if path.exists():
        return path
    from xsixsa.embedded import xspec

    with contextlib.chdir(data):
        spectrum = xspec.Spectrum(_TEMPLATE)
        load_responses(spectrum)
        spectrum.ignore(RANGE)
        line_model(xspec)
        session = Session(xspec)
        theta = np.array([[TRUTH[p.name] for p in session.parameters]])
        expected = session.evaluate(theta).expected[0]
        (observation,) = session.observations
        content = fits.open(_TEMPLATE)
    with content:
        table = content["SPECTRUM"]
        factor = COUNTS / expected.sum()
        counts = np.random.default_rng(SEED).poisson(expected * factor)
        # XSPEC sums the channels of a group: all counts of a group may stand in its first channel.
        first = np.flatnonzero(table.data["GROUPING"] == 1)
        in_channels = np.zeros(len(table.data), np.int32)
        in_channels[first[observation.channels - 1]] = counts
        table.data["COUNTS"] = in_channels
        table.header["EXPOSURE"] = observation.exposure * factor
        for name in ("RESPFILE", "ANCRFILE", "FKARF001", "FKRSP001", "FKSRC001"):
            table.header[name] = "none"
        for name in ("CHECKSUM", "DATASUM"):
            del table.header[name]
        folder.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        content.writeto(part, overwrite=True)
    part.replace(path)
    xspec.AllModels.clear()
    xspec.AllData.clear()
    return path
