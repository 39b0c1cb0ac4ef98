"""Small OGIP files made on the fly: a 30-channel instrument whose response blurs a little."""

from pathlib import Path

import numpy as np
from astropy.io import fits

CHANNELS = 30
ENERGIES = np.geomspace(0.4, 10.5, 121)
BOUNDS = np.linspace(0.5, 10.0, CHANNELS + 1)


def _table(name, columns, **keywords):
    hdu = fits.BinTableHDU.from_columns(columns, name=name)
    common = {"TELESCOP": "NONE", "INSTRUME": "NONE", "FILTER": "NONE", "HDUCLASS": "OGIP"}
    for key, value in {**common, **keywords}.items():
        hdu.header[key] = value
    return hdu


def write_response(folder: Path, name: str = "test", area: float = 150.0) -> None:
    """``name.rmf`` and ``name.arf``."""
    low, high = ENERGIES[:-1], ENERGIES[1:]
    middle = np.sqrt(low * high)
    centre = 0.5 * (BOUNDS[1:] + BOUNDS[:-1])
    matrix = np.exp(-0.5 * ((centre - middle[:, None]) / 0.15) ** 2)
    matrix /= np.maximum(matrix.sum(axis=1, keepdims=True), 1.0)
    n = len(middle)
    columns = [
        fits.Column("ENERG_LO", "E", unit="keV", array=low),
        fits.Column("ENERG_HI", "E", unit="keV", array=high),
        fits.Column("N_GRP", "I", array=np.ones(n)),
        fits.Column("F_CHAN", "I", array=np.ones(n)),
        fits.Column("N_CHAN", "I", array=np.full(n, CHANNELS)),
        fits.Column("MATRIX", f"{CHANNELS}E", array=matrix),
    ]
    both = {"CHANTYPE": "PI", "DETCHANS": CHANNELS, "HDUCLAS1": "RESPONSE", "HDUVERS": "1.3.0"}
    rmf = _table("MATRIX", columns, HDUCLAS2="RSP_MATRIX", HDUCLAS3="REDIST", LO_THRES=0.0, **both)
    rmf.header["TLMIN4"] = 1
    columns = [
        fits.Column("CHANNEL", "I", array=np.arange(1, CHANNELS + 1)),
        fits.Column("E_MIN", "E", unit="keV", array=BOUNDS[:-1]),
        fits.Column("E_MAX", "E", unit="keV", array=BOUNDS[1:]),
    ]
    bounds = _table("EBOUNDS", columns, HDUCLAS2="EBOUNDS", **both)
    fits.HDUList([fits.PrimaryHDU(), rmf, bounds]).writeto(folder / f"{name}.rmf", overwrite=True)
    columns = [
        fits.Column("ENERG_LO", "E", unit="keV", array=low),
        fits.Column("ENERG_HI", "E", unit="keV", array=high),
        fits.Column("SPECRESP", "E", unit="cm**2", array=area * np.ones(n)),
    ]
    arf = _table("SPECRESP", columns, HDUCLAS1="RESPONSE", HDUCLAS2="SPECRESP", HDUVERS="1.1.0")
    fits.HDUList([fits.PrimaryHDU(), arf]).writeto(folder / f"{name}.arf", overwrite=True)


def write_spectrum(
    path: Path,
    counts,
    *,
    exposure=1000.0,
    response="test",
    background="none",
    area=1.0,
    back=1.0,
    as_rate=False,
    kind="TOTAL",
):
    """A spectrum of `counts`; `area` and `back` are one number or one per channel."""
    counts = np.asarray(counts, dtype=float)
    n = len(counts)
    columns = [fits.Column("CHANNEL", "I", array=np.arange(1, n + 1))]
    if as_rate:
        columns.append(fits.Column("RATE", "D", unit="count/s", array=counts / exposure))
        columns.append(fits.Column("STAT_ERR", "D", unit="count/s", array=np.sqrt(np.maximum(counts, 1)) / exposure))
    else:
        columns.append(fits.Column("COUNTS", "J", unit="count", array=counts.astype(int)))
    keywords = {
        "HDUCLAS1": "SPECTRUM",
        "HDUCLAS2": kind,
        "HDUCLAS3": "RATE" if as_rate else "COUNT",
        "HDUVERS": "1.2.1",
        "EXPOSURE": exposure,
        "CORRSCAL": 1.0,
        "CORRFILE": "none",
        "BACKFILE": background,
        "RESPFILE": f"{response}.rmf" if response else "none",
        "ANCRFILE": f"{response}.arf" if response else "none",
        "POISSERR": not as_rate,
        "CHANTYPE": "PI",
        "DETCHANS": n,
        "QUALITY": 0,
        "GROUPING": 0,
    }
    for key, value in (("AREASCAL", area), ("BACKSCAL", back)):
        if np.ndim(value):
            columns.append(fits.Column(key, "E", array=value))
        else:
            keywords[key] = float(value)
    table = _table("SPECTRUM", columns, **keywords)
    table.header["TLMIN1"], table.header["TLMAX1"] = 1, n
    fits.HDUList([fits.PrimaryHDU(), table]).writeto(path, overwrite=True)


def counts_like(seed: int, total: float = 3000.0) -> np.ndarray:
    """Poisson counts that fall with energy."""
    shape = (0.5 * (BOUNDS[1:] + BOUNDS[:-1])) ** -1.5
    return np.random.default_rng(seed).poisson(total * shape / shape.sum())
