"""Small OGIP files made on the fly, with the variants that real files bring."""

from pathlib import Path

import numpy as np
from astropy.io import fits

N_CHANNELS = 64
N_ENERGIES = 96


def energy_edges(n=N_ENERGIES, low=0.1, high=12.0):
    return np.geomspace(low, high, n + 1)


def redistribution(n_channels=N_CHANNELS, edges=None):
    """Gaussian redistribution on linear channels of 0.2 keV, cut to what matters: (energies, channels)."""
    edges = energy_edges() if edges is None else edges
    middle = np.sqrt(edges[1:] * edges[:-1])
    channel = 0.1 + 0.2 * np.arange(n_channels)
    matrix = np.exp(-0.5 * ((middle[:, None] - channel[None, :]) / (0.15 + 0.02 * middle[:, None])) ** 2)
    matrix /= matrix.sum(axis=1, keepdims=True)
    matrix[matrix < 1e-6] = 0.0
    return matrix


def area_of(edges=None):
    edges = energy_edges() if edges is None else edges
    middle = np.sqrt(edges[1:] * edges[:-1])
    return 400.0 * np.exp(-0.5 * (np.log(middle / 1.5) / 0.9) ** 2)


def _groups(row, split):
    """First channel and length of every run of non-zero values; `split` cuts long runs in two."""
    filled = np.flatnonzero(row)
    if filled.size == 0:
        return [], []
    breaks = np.flatnonzero(np.diff(filled) > 1)
    firsts = [int(filled[0]), *(int(filled[i + 1]) for i in breaks)]
    lasts = [*(int(filled[i]) for i in breaks), int(filled[-1])]
    runs = [(a, b - a + 1) for a, b in zip(firsts, lasts, strict=True)]
    if split:
        runs = [part for a, n in runs for part in ([(a, n // 2), (a + n // 2, n - n // 2)] if n > 3 else [(a, n)])]
    return [a for a, _ in runs], [n for _, n in runs]


def write_rmf(
    path,
    matrix=None,
    edges=None,
    first_channel=1,
    variable=True,
    split=False,
    tlmin=True,
    name="MATRIX",
    zero_low=False,
):
    """Write an RMF; `variable` columns or fixed ones, `split` several groups per energy, any `name` of extension."""
    edges = energy_edges() if edges is None else edges
    matrix = redistribution(edges=edges) if matrix is None else matrix
    n_channels = matrix.shape[1]
    starts, lengths, values = [], [], []
    for row in matrix:
        first, length = _groups(row, split)
        starts.append(np.array(first, dtype=np.int16) + first_channel)
        lengths.append(np.array(length, dtype=np.int16))
        values.append(np.concatenate([row[a : a + n] for a, n in zip(first, length, strict=True)] or [[]]))
    low = edges[:-1].copy()
    if zero_low:
        low[0] = 0.0
    columns = [
        fits.Column("ENERG_LO", "E", unit="keV", array=low),
        fits.Column("ENERG_HI", "E", unit="keV", array=edges[1:]),
        fits.Column("N_GRP", "I", array=[len(s) for s in starts]),
        _column("F_CHAN", "I", starts, variable),
        _column("N_CHAN", "I", lengths, variable),
        _column("MATRIX", "E", values, variable),
    ]
    table = fits.BinTableHDU.from_columns(columns, name=name)
    table.header.update(HDUCLASS="OGIP", HDUCLAS1="RESPONSE", HDUCLAS2="RSP_MATRIX", HDUVERS="1.3.0")
    table.header.update(DETCHANS=n_channels, CHANTYPE="PI", TELESCOP="none", INSTRUME="none", FILTER="none")
    if tlmin:
        table.header["TLMIN4"] = first_channel
    width = 0.2
    bounds = fits.BinTableHDU.from_columns(
        [
            fits.Column("CHANNEL", "I", array=np.arange(n_channels) + first_channel),
            fits.Column("E_MIN", "E", unit="keV", array=width * np.arange(n_channels)),
            fits.Column("E_MAX", "E", unit="keV", array=width * (np.arange(n_channels) + 1)),
        ],
        name="EBOUNDS",
    )
    bounds.header.update(HDUCLASS="OGIP", HDUCLAS1="RESPONSE", HDUCLAS2="EBOUNDS", HDUVERS="1.2.0")
    bounds.header.update(DETCHANS=n_channels, CHANTYPE="PI", TELESCOP="none", INSTRUME="none", FILTER="none")
    bounds.header["TLMIN1"] = first_channel
    fits.HDUList([fits.PrimaryHDU(), table, bounds]).writeto(path, overwrite=True)
    return Path(path)


def _column(name, code, rows, variable):
    if variable:
        array = np.empty(len(rows), dtype=object)
        array[:] = [np.asarray(row) for row in rows]
        return fits.Column(name, f"P{code}()", array=array)
    width = max(max(len(row) for row in rows), 1)
    padded = np.zeros((len(rows), width))
    for i, row in enumerate(rows):
        padded[i, : len(row)] = row
    return fits.Column(name, f"{width}{code}", array=padded if width > 1 else padded[:, 0])


def write_arf(path, area=None, edges=None, hduclas2="SPECRESP"):
    edges = energy_edges() if edges is None else edges
    columns = [
        fits.Column("ENERG_LO", "E", unit="keV", array=edges[:-1]),
        fits.Column("ENERG_HI", "E", unit="keV", array=edges[1:]),
        fits.Column("SPECRESP", "E", unit="cm**2", array=area_of(edges) if area is None else area),
    ]
    table = fits.BinTableHDU.from_columns(columns, name="SPECRESP")
    table.header.update(HDUCLASS="OGIP", HDUCLAS1="RESPONSE", HDUCLAS2=hduclas2, HDUVERS="1.1.0")
    table.header.update(TELESCOP="none", INSTRUME="none", FILTER="none")
    fits.HDUList([fits.PrimaryHDU(), table]).writeto(path, overwrite=True)
    return Path(path)


def write_pha(
    path,
    counts,
    exposure=1000.0,
    first_channel=1,
    grouping=None,
    quality=None,
    area_scale=1.0,
    back_scale=1.0,
    background="none",
    response="test.rmf",
    arf="test.arf",
    poisson=True,
    rate=False,
    stat_err=None,
    sys_err=None,
    channels=None,
    **header,
):
    """Write a PHA file; scales are numbers (keywords) or arrays (columns)."""
    counts = np.asarray(counts)
    number = np.arange(counts.size) + first_channel if channels is None else np.asarray(channels)
    columns = [fits.Column("CHANNEL", "J", array=number)]
    if rate:
        columns.append(fits.Column("RATE", "D", unit="count/s", array=counts / exposure))
    else:
        columns.append(fits.Column("COUNTS", "J" if counts.dtype.kind in "iu" else "D", unit="count", array=counts))
    extra = {"STAT_ERR": stat_err, "SYS_ERR": sys_err, "AREASCAL": area_scale, "BACKSCAL": back_scale}
    keywords = {}
    for name, value in extra.items():
        if value is not None and np.ndim(value):
            columns.append(fits.Column(name, "D", array=value))
        elif value is not None:
            keywords[name] = value
    for name, value in (("GROUPING", grouping), ("QUALITY", quality)):
        if value is not None:
            columns.append(fits.Column(name, "I", array=value))
    table = fits.BinTableHDU.from_columns(columns, name="SPECTRUM")
    table.header.update(HDUCLASS="OGIP", HDUCLAS1="SPECTRUM", HDUVERS="1.2.1", CHANTYPE="PI", POISSERR=poisson)
    table.header.update(HDUCLAS2="TOTAL", HDUCLAS3="RATE" if rate else "COUNT", DETCHANS=counts.size)
    table.header.update(TELESCOP="none", INSTRUME="none", FILTER="none", EXPOSURE=exposure, CORRSCAL=1.0)
    table.header.update(BACKFILE=background, RESPFILE=response, ANCRFILE=arf, CORRFILE="none")
    table.header["TLMIN1"] = first_channel
    for name, value in {**keywords, **header}.items():
        table.header[name] = value
    fits.HDUList([fits.PrimaryHDU(), table]).writeto(path, overwrite=True)
    return Path(path)


def source_counts(scale=60.0, n=N_CHANNELS):
    """Counts of a made-up source, without random numbers so that they never change."""
    x = np.arange(n)
    return np.rint(scale * np.exp(-0.5 * ((x - 12) / 9.0) ** 2)).astype(int) + (7 * x) % 5


def background_counts(n=N_CHANNELS):
    return (3 * np.arange(n)) % 8


def write_all(folder):
    """The files that every variant needs."""
    write_rmf(folder / "test.rmf")
    write_rmf(folder / "zero.rmf", first_channel=0, split=True, variable=False, name="SPECRESP MATRIX")
    write_rmf(folder / "split.rmf", split=True)
    write_rmf(folder / "low.rmf", zero_low=True)
    write_rmf(folder / "no_tlmin.rmf", tlmin=False)
    write_arf(folder / "test.arf")
    channel = np.arange(N_CHANNELS)
    write_pha(folder / "back.pha", background_counts(), exposure=3000.0, back_scale=2.5)
    columns = {"back_scale": 2.0 + 0.04 * channel, "area_scale": 0.6 + 0.01 * channel}
    write_pha(folder / "back_columns.pha", background_counts(), exposure=3000.0, **columns)


def variants():
    """Keywords of `write_pha` for every kind of spectrum that XSPEC was asked about."""
    counts, channel = source_counts(), np.arange(N_CHANNELS)
    grouping = np.where(channel % 3 == 0, 1, -1)
    quality = np.zeros(N_CHANNELS, int)
    quality[[0, 1, 7, 9, 10, 11, 40]], quality[[20, 21]], quality[30] = 1, 2, 5
    columns = {"area_scale": 0.5 + 0.01 * channel, "back_scale": 1.0 + 0.02 * channel}
    gehrels = 1.0 + np.sqrt(counts + 0.75)
    net = {"poisson": False, "stat_err": np.sqrt(counts), "HDUCLAS2": "NET"}
    made = {
        "plain": {},
        "grouped": {"grouping": grouping},
        "grouped, quality": {"grouping": grouping, "quality": quality},
        "quality": {"quality": quality},
        "background": {"grouping": grouping, "background": "back.pha", "back_scale": 0.5},
        "area": {"grouping": grouping, "background": "back.pha", "area_scale": 0.7},
        "columns, grouped": {"grouping": grouping, "background": "back_columns.pha", **columns},
        "columns": {"background": "back_columns.pha", **columns},
        "rate": {"grouping": grouping, "rate": True, "poisson": False, "stat_err": np.sqrt(counts + 1.0) / 1000.0},
        "rate, poisson": {"grouping": grouping, "rate": True},
        "errors": {"grouping": grouping, "poisson": False, "stat_err": gehrels},
        "errors, poisson": {"grouping": grouping, "stat_err": gehrels},
        "errors of counts": {"grouping": grouping, "poisson": False, "stat_err": np.sqrt(counts)},
        "systematic column": {"grouping": grouping, "sys_err": 0.01 + 0.001 * channel},
        "systematic keyword": {"sys_err": 0.05},
        "systematic, quality": {"grouping": grouping, "quality": quality, "sys_err": 0.05},
        "no errors": {"poisson": False},
        "channels from 0": {"first_channel": 0, "response": "zero.rmf"},
        "several groups per energy": {"response": "split.rmf"},
        "first energy 0": {"response": "low.rmf"},
        "no TLMIN in response": {"response": "no_tlmin.rmf"},
        "other first channel than response": {"first_channel": 0},
        "some channels": {"counts": counts[3:40], "channels": np.arange(4, 41), "DETCHANS": N_CHANNELS},
        "net": {"counts": counts - 0.3 * background_counts(), "grouping": grouping, **net},
        "scales of 0": {"area_scale": 0.0, "back_scale": 0.0},
        "continuation first": {"grouping": np.where(channel < 2, -1, grouping)},
        "some ungrouped": {"grouping": np.where(channel % 5 == 0, 0, grouping)},
    }
    return {name: {"counts": counts, **keywords} for name, keywords in made.items()}
