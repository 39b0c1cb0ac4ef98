"""FITS tables read with every doubt turned into a `DataError` that names file and keyword."""

from __future__ import annotations

import gzip
import io
import os
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from astropy.io import fits

from xsixsa.errors import DataError

__all__ = ["Table", "damage", "exists", "open_hdus", "open_tables"]

# A spectrum or a response is megabytes; what unpacks to more than this is damaged or hostile.
MAX_BYTES = 4 << 30
# The FITS standard has no more columns.
MAX_FIELDS = 999

# What astropy and the decompressors raise on damaged input.
_DAMAGE = (
    OSError,
    EOFError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    OverflowError,
    MemoryError,
    AssertionError,
    ArithmeticError,
    RuntimeError,
    struct.error,
    zlib.error,
    fits.VerifyError,
)


class Table:
    """One binary table of a file: keywords and columns, checked.

    Parameters
    ----------
    path : str
        Named in every message.
    hdu : astropy.io.fits.BinTableHDU
        The extension.
    """

    def __init__(self, path: str, hdu: fits.BinTableHDU) -> None:
        self.path = path
        self.name = str(hdu.name).strip().upper()
        self._header = hdu.header
        self._hdu = hdu
        self._columns = {name.upper(): i for i, name in enumerate(hdu.columns.names)}
        self.n_rows = int(hdu.header["NAXIS2"])

    def fail(self, what: str) -> DataError:
        """Return the error that says `what` about this table."""
        return DataError(f"{self.path}[{self.name}]: {what}")

    def has(self, column: str) -> bool:
        """Whether there is a column of that name, in any case."""
        return column.upper() in self._columns

    def _keyword(self, keyword: str, default):
        """Return a keyword's value; a card that cannot be parsed is damage too."""
        with damage(self.path):
            return self._header.get(keyword, default)

    def number(self, keyword: str, default: float | None = None) -> float:
        """Return a finite number from the header, `default` where the keyword is absent."""
        value = self._keyword(keyword, default)
        if value is None:
            raise self.fail(f"keyword {keyword} is missing")
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.fail(f"keyword {keyword} = {value!r} is not a number")
        if not np.isfinite(value):
            raise self.fail(f"keyword {keyword} is {value}")
        return float(value)

    def text(self, keyword: str) -> str:
        """Return a keyword as text, empty for absent, blank and ``none``."""
        value = str(self._keyword(keyword, "")).strip()
        return "" if value.lower() == "none" else value

    def flag(self, keyword: str) -> bool | None:
        """Return a logical keyword, None where absent or of another type."""
        value = self._keyword(keyword, None)
        return value if isinstance(value, bool) else None

    def first_channel(self, column: str, default: int) -> int:
        """Return TLMIN of `column`, the number of the first legal channel."""
        if not self.has(column):
            raise self.fail(f"column {column} is missing (there are {', '.join(self._columns) or 'none'})")
        number = self._columns[column.upper()] + 1
        value = self.number(f"TLMIN{number}", default)
        if not 0 <= value <= 2**31:
            raise self.fail(f"TLMIN{number} = {value:g} of column {column} is no channel number")
        return int(value)

    def column(self, name: str) -> np.ndarray:
        """Return a column with one number per row as float64.

        Raises
        ------
        DataError
            Where it is missing, of another shape, or holds NaN or infinities.
        """
        values = self.raw(name)
        if values.ndim == 2 and values.shape[1] == 1:
            values = values[:, 0]
        if values.ndim != 1 or values.dtype.kind not in "iufb":
            raise self.fail(f"column {name} does not hold one number per row")
        values = values.astype(np.float64)
        bad = np.flatnonzero(~np.isfinite(values))
        if bad.size:
            raise self.fail(f"column {name} is {values[bad[0]]} in row {bad[0] + 1} ({bad.size} such rows)")
        return values

    def whole(self, name: str) -> np.ndarray:
        """Return a column of whole numbers as int64."""
        values = self.column(name)
        if np.any(values != np.rint(values)) or np.any(np.abs(values) > 2**40):
            raise self.fail(f"column {name} holds numbers that are not whole")
        return values.astype(np.int64)

    def raw(self, name: str) -> np.ndarray:
        """Return a column as astropy gives it."""
        if not self.has(name):
            raise self.fail(f"column {name} is missing (there are {', '.join(self._columns) or 'none'})")
        with damage(self.path):
            return np.asarray(self._hdu.data.field(self._columns[name.upper()]))

    def rows(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Return a column of vectors, fixed or variable, as (all values end to end float64, length of each row)."""
        values = self.raw(name)
        with damage(self.path):
            if values.dtype.kind == "O":
                parts = [np.atleast_1d(np.asarray(row, dtype=np.float64)).ravel() for row in values]
                lengths = np.array([part.size for part in parts], dtype=np.int64)
                flat = np.concatenate(parts) if parts else np.zeros(0)
            else:
                flat = values.reshape(self.n_rows, -1).astype(np.float64)
                lengths = np.full(self.n_rows, flat.shape[1], dtype=np.int64)
                flat = flat.ravel()
        return flat, lengths


@contextmanager
def damage(path: str) -> Iterator[None]:
    """Turn whatever a damaged file makes astropy raise into a `DataError`."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except DataError:
        raise
    except _DAMAGE as error:
        said = " ".join(str(error).split())
        raise DataError(f"{path}: cannot be read as FITS ({type(error).__name__}: {said})") from error


def _read(path: Path) -> bytes:
    """Return the file's bytes, unpacked."""
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file") from error
    except (OSError, ValueError) as error:
        raise DataError(f"{str(path)!r}: cannot be read ({error})") from error
    if content[:2] != b"\x1f\x8b":
        return content
    with damage(str(path)), gzip.GzipFile(fileobj=io.BytesIO(content)) as packed:
        content = packed.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise DataError(f"{path}: unpacks to more than {MAX_BYTES >> 30} GiB")
    return content


def exists(path: str) -> bool:
    """Whether there is a file of that name, or its packed form."""
    try:
        return Path(path).exists() or Path(f"{path}.gz").exists()
    except (OSError, ValueError):
        # names that no file can have
        return False


def _find(path: str) -> Path:
    """Return the file itself or its packed form."""
    plain = Path(path)
    return Path(f"{path}.gz") if not os.path.exists(plain) and exists(path) else plain


def open_tables(path: str) -> list[Table]:
    """Read every binary table of a FITS file, plain or gzipped.

    Parameters
    ----------
    path : str
        Against the current directory.

    Returns
    -------
    list of Table

    Raises
    ------
    DataError
        Missing, truncated or damaged file.
    """
    hdus = open_hdus(path)
    with damage(path):
        return [Table(path, hdu) for hdu in hdus if isinstance(hdu, fits.BinTableHDU)]


def open_hdus(path: str) -> fits.HDUList:
    """Read a FITS file, plain or gzipped, whose tables are no larger than the file.

    Raises
    ------
    DataError
        Missing, truncated or damaged file.
    """
    found = _find(path)
    if os.path.isdir(found):
        raise DataError(f"{path}: is a folder, not a FITS file")
    content = _read(found)
    if content[:6] != b"SIMPLE":
        raise DataError(f"{path}: is not a FITS file")
    with damage(path):
        # Not closed: the tables read their columns later, from the bytes in memory.
        hdus = fits.open(io.BytesIO(content), memmap=False, lazy_load_hdus=False)
        for hdu in hdus:
            if isinstance(hdu, fits.BinTableHDU):
                _check_size(path, hdu, len(content))
        return hdus


def _check_size(path: str, hdu: fits.BinTableHDU, available: int) -> None:
    """Refuse a table that claims more bytes than the file has, before anything is allocated for it."""
    width, rows, heap = (hdu.header.get(key, 0) for key in ("NAXIS1", "NAXIS2", "PCOUNT"))
    if not all(isinstance(n, int) and n >= 0 for n in (width, rows, heap)):
        raise DataError(f"{path}[{hdu.name}]: NAXIS1, NAXIS2 or PCOUNT is not a size")
    fields = hdu.header.get("TFIELDS", 0)
    if not isinstance(fields, int) or not 0 <= fields <= MAX_FIELDS:
        raise DataError(f"{path}[{hdu.name}]: TFIELDS = {fields!r} is no number of columns")
    start = hdu._data_offset
    if start + width * rows + heap > available:
        raise DataError(
            f"{path}[{hdu.name}]: truncated; the header promises {width * rows + heap} bytes of table, "
            f"the file has {max(available - start, 0)} left"
        )
