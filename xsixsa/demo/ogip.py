"""OGIP spectra and responses, as XSPEC reads them (OGIP/92-007 and CAL/GEN/92-002)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from astropy.io import fits

from xsixsa.demo.instrument import Instrument
from xsixsa.files import atomic_path

__all__ = ["group_min_counts", "write_arf", "write_rmf", "write_spectrum"]

_WHO = {"TELESCOP": "XSIXSA", "INSTRUME": "DEMOCCD", "FILTER": "NONE"}


def _write(path: Path, *tables: fits.BinTableHDU) -> Path:
    with atomic_path(path) as temporary:
        fits.HDUList([fits.PrimaryHDU(), *tables]).writeto(temporary)
    return path


def _table(name: str, columns: list[fits.Column], classes: tuple[str, ...], **keywords) -> fits.BinTableHDU:
    table = fits.BinTableHDU.from_columns(columns, name=name)
    versions = {"HDUCLASS": "OGIP", **{f"HDUCLAS{i}": c for i, c in enumerate(classes, start=1)}}
    for key, value in {**_WHO, **versions, **keywords}.items():
        table.header[key] = value
    return table


def write_arf(path: Path, instrument: Instrument) -> Path:
    """Effective area file."""
    energies = instrument.energies
    columns = [
        fits.Column("ENERG_LO", "E", unit="keV", array=energies[:-1]),
        fits.Column("ENERG_HI", "E", unit="keV", array=energies[1:]),
        fits.Column("SPECRESP", "E", unit="cm**2", array=instrument.area),
    ]
    return _write(path, _table("SPECRESP", columns, ("RESPONSE", "SPECRESP"), HDUVERS="1.1.0"))


def write_rmf(path: Path, instrument: Instrument) -> Path:
    """Redistribution file: one group of neighbouring channels per energy, and the channels' nominal energies."""
    energies, channels, matrix = instrument.energies, instrument.channels, instrument.matrix
    n = len(channels) - 1
    first = np.array([np.flatnonzero(row)[0] for row in matrix])
    last = np.array([np.flatnonzero(row)[-1] for row in matrix])
    rows = np.empty(len(matrix), dtype=object)
    rows[:] = [row[a : b + 1].astype(np.float32) for row, a, b in zip(matrix, first, last, strict=True)]
    columns = [
        fits.Column("ENERG_LO", "E", unit="keV", array=energies[:-1]),
        fits.Column("ENERG_HI", "E", unit="keV", array=energies[1:]),
        fits.Column("N_GRP", "I", array=np.ones(len(matrix))),
        fits.Column("F_CHAN", "I", array=first + 1),
        fits.Column("N_CHAN", "I", array=last - first + 1),
        fits.Column("MATRIX", "PE()", array=rows),
    ]
    common = {"CHANTYPE": "PI", "DETCHANS": n}
    sizes = {"NUMGRP": len(matrix), "NUMELT": int((last - first + 1).sum()), "LO_THRES": 1e-7}
    response = _table("MATRIX", columns, ("RESPONSE", "RSP_MATRIX", "REDIST"), HDUVERS="1.3.0", **common, **sizes)
    response.header["TLMIN4"], response.header["TLMAX4"] = 1, n
    columns = [
        fits.Column("CHANNEL", "I", array=np.arange(1, n + 1)),
        fits.Column("E_MIN", "E", unit="keV", array=channels[:-1]),
        fits.Column("E_MAX", "E", unit="keV", array=channels[1:]),
    ]
    bounds = _table("EBOUNDS", columns, ("RESPONSE", "EBOUNDS"), HDUVERS="1.2.0", **common)
    bounds.header["TLMIN1"], bounds.header["TLMAX1"] = 1, n
    return _write(path, response, bounds)


def group_min_counts(counts: np.ndarray, minimum: int) -> tuple[np.ndarray, np.ndarray]:
    """GROUPING (1 starts a group, -1 continues it) and QUALITY (2 for a last group with too few counts), both (c,)."""
    grouping, quality = np.full(len(counts), -1, dtype=np.int16), np.zeros(len(counts), dtype=np.int16)
    start, held = 0, 0.0
    for i, n in enumerate(counts):
        held += n
        if held >= minimum:
            grouping[start] = 1
            start, held = i + 1, 0.0
    if start < len(counts):
        grouping[start], quality[start:] = 1, 2
    return grouping, quality


def write_spectrum(path: Path, counts: np.ndarray, exposure: float, *, kind: str = "TOTAL", group: int = 0, **keywords):
    """Spectrum with integer counts (c,); ``group`` is the least number of counts per group, 0 for none.

    ``kind`` is HDUCLAS2: TOTAL, or BKG for a background. Further ``keywords`` (BACKSCAL, RESPFILE, ...) go to
    the header.
    """
    n = len(counts)
    columns = [
        fits.Column("CHANNEL", "I", array=np.arange(1, n + 1)),
        fits.Column("COUNTS", "J", unit="count", array=counts),
    ]
    if group:
        grouping, quality = group_min_counts(counts, group)
        columns += [fits.Column("QUALITY", "I", array=quality), fits.Column("GROUPING", "I", array=grouping)]
    header = {
        "HDUVERS": "1.2.1",
        "EXPOSURE": exposure,
        "AREASCAL": 1.0,
        "BACKSCAL": 1.0,
        "CORRSCAL": 0.0,
        "RESPFILE": "none",
        "ANCRFILE": "none",
        "BACKFILE": "none",
        "CORRFILE": "none",
        "CHANTYPE": "PI",
        "DETCHANS": n,
        "POISSERR": True,
        "STAT_ERR": 0,
        "SYS_ERR": 0,
    }
    if not group:
        header |= {"GROUPING": 0, "QUALITY": 0}
    table = _table("SPECTRUM", columns, ("SPECTRUM", kind, "COUNT"), **(header | keywords))
    table.header["TLMIN1"], table.header["TLMAX1"] = 1, n
    return _write(path, table)
