"""OGIP responses: RMF, ARF, and RSP that hold both."""

from __future__ import annotations

import os
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import sparse

from xsixsa.embedded.fitsio import Table, open_tables
from xsixsa.embedded.pha import MAX_CHANNELS
from xsixsa.errors import DataError

__all__ = ["Arf", "Rmf", "read_arf", "read_rmf"]

# A first energy of zero would make a power law infinite; XSPEC takes this part of the bin's upper end.
FIRST_ENERGY = 1e-3
SMALLEST_ENERGY = 1e-10


@dataclass(frozen=True)
class Rmf:
    """A redistribution matrix.

    Attributes
    ----------
    path : str
    edges : (energies + 1,) float64
        Of the photon energy bins, keV, ascending.
    matrix : (channels, energies) scipy.sparse.csr_array
        Probability (RMF) or area in cm2 (RSP).
    e_min, e_max : (channels,) float64
        Nominal channel energies, keV.
    """

    path: str
    edges: np.ndarray
    matrix: sparse.csr_array
    e_min: np.ndarray
    e_max: np.ndarray

    @property
    def n_channels(self) -> int:
        """Number of channels."""
        return self.matrix.shape[0]


@dataclass(frozen=True)
class Arf:
    """An effective area.

    Attributes
    ----------
    path : str
    edges : (energies + 1,) float64
        keV.
    area : (energies,) float64
        cm2.
    """

    path: str
    edges: np.ndarray
    area: np.ndarray


# Responses are large and shared by many spectra: keep the last few, by path, time and size.
_KEPT = 6
_cache: OrderedDict[tuple, Rmf] = OrderedDict()


def read_rmf(path: str) -> Rmf:
    """Read an RMF or RSP file.

    Raises
    ------
    DataError
        With file and keyword or column.
    """
    key = _identity(path)
    if key is not None and key in _cache:
        _cache.move_to_end(key)
        return _cache[key]
    rmf = _read_rmf(path)
    if key is not None:
        _cache[key] = rmf
        while len(_cache) > _KEPT:
            _cache.popitem(last=False)
    return rmf


def _identity(path: str) -> tuple | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return str(Path(path).resolve()), status.st_mtime_ns, status.st_size


def _read_rmf(path: str) -> Rmf:
    tables = open_tables(path)
    matrix_table = _pick(tables, ("MATRIX", "SPECRESP MATRIX"), "RSP_MATRIX")
    ebounds = _pick(tables, ("EBOUNDS",), "EBOUNDS")
    if matrix_table is None or ebounds is None:
        missing = "MATRIX" if matrix_table is None else "EBOUNDS"
        raise DataError(f"{path}: no {missing} extension; is it an RMF?")
    e_min, e_max = ebounds.column("E_MIN"), ebounds.column("E_MAX")
    n_channels = int(matrix_table.number("DETCHANS", e_min.size))
    if not 0 < n_channels <= MAX_CHANNELS:
        raise matrix_table.fail(f"DETCHANS = {n_channels} is no number of channels")
    if e_min.size != n_channels:
        raise ebounds.fail(f"{e_min.size} channels, but DETCHANS of the matrix is {n_channels}")
    if np.any(e_min > e_max) and np.any(e_min < e_max):
        raise ebounds.fail("E_MIN exceeds E_MAX in some channels")
    edges = _energy_edges(matrix_table)
    matrix = _matrix(matrix_table, n_channels)
    low, high = np.minimum(e_min, e_max), np.maximum(e_min, e_max)
    return Rmf(path, edges, matrix, np.maximum(low, SMALLEST_ENERGY), np.maximum(high, SMALLEST_ENERGY))


def _pick(tables: list[Table], names: tuple[str, ...], hduclas2: str) -> Table | None:
    """Return the extension by name, or by HDUCLAS2 where the name is another."""
    for table in tables:
        if table.name in names:
            return table
    for table in tables:
        if table.text("HDUCLAS2").upper() == hduclas2:
            return table
    return None


def _energy_edges(table: Table) -> np.ndarray:
    """Return the m + 1 edges of contiguous ascending bins."""
    low, high = table.column("ENERG_LO"), table.column("ENERG_HI")
    if low.size == 0:
        raise table.fail("holds no energies")
    if np.any(high <= low):
        raise table.fail(f"ENERG_HI is not above ENERG_LO in row {np.flatnonzero(high <= low)[0] + 1}")
    gap = np.abs(low[1:] - high[:-1])
    if np.any(gap > 1e-3 * (high[:-1] - low[:-1]) + 1e-6 * high[:-1]):
        raise table.fail("energy bins do not follow one another without gaps")
    if low[0] < 0:
        raise table.fail(f"ENERG_LO = {low[0]:g} keV is negative")
    edges = np.append(low, high[-1])
    if edges[0] == 0:
        edges[0] = FIRST_ENERGY * edges[1]
    if np.any(np.diff(edges) <= 0):
        raise table.fail("energies do not rise")
    return edges


def _matrix(table: Table, n_channels: int) -> sparse.csr_array:
    """Return the matrix, channels x energies, from its groups."""
    n_groups = table.whole("N_GRP")
    if np.any(n_groups < 0):
        raise table.fail("column N_GRP is negative")
    first_legal = table.first_channel("F_CHAN", 1)
    first = _of_groups(table, "F_CHAN", n_groups) - first_legal
    length = _of_groups(table, "N_CHAN", n_groups)
    if np.any(length < 0):
        raise table.fail("column N_CHAN is negative")
    row = np.repeat(np.arange(table.n_rows), n_groups)
    outside = np.flatnonzero((length > 0) & ((first < 0) | (first + length > n_channels)))
    if outside.size:
        k = outside[0]
        raise table.fail(
            f"row {row[k] + 1} has channels {first[k] + first_legal}..{first[k] + first_legal + length[k] - 1} outside "
            f"{first_legal}..{first_legal + n_channels - 1} (F_CHAN, N_CHAN, TLMIN and DETCHANS disagree)"
        )
    values, lengths = table.rows("MATRIX")
    used = np.bincount(row, weights=length, minlength=table.n_rows).astype(np.int64)
    if np.any(used > lengths):
        k = int(np.flatnonzero(used > lengths)[0])
        raise table.fail(f"column MATRIX has {lengths[k]} values in row {k + 1}, N_CHAN asks for {used[k]}")
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    data = values[_runs(starts, used)]
    if not np.all(np.isfinite(data)):
        raise table.fail("column MATRIX holds NaN or infinities")
    energy = np.repeat(row, length)
    channel = _runs(first, length)
    keep = data != 0
    shape = (n_channels, table.n_rows)
    return sparse.coo_array((data[keep], (channel[keep], energy[keep])), shape=shape).tocsr()


def _runs(start: np.ndarray, length: np.ndarray) -> np.ndarray:
    """Return start, start + 1, ... of every run, end to end."""
    total = int(length.sum())
    before = np.cumsum(length) - length
    return np.repeat(start - before, length) + np.arange(total)


def _of_groups(table: Table, name: str, n_groups: np.ndarray) -> np.ndarray:
    """Return F_CHAN or N_CHAN of all groups, end to end."""
    values, lengths = table.rows(name)
    if np.any(lengths < n_groups):
        k = int(np.flatnonzero(lengths < n_groups)[0])
        raise table.fail(f"column {name} has {lengths[k]} values in row {k + 1}, N_GRP says {n_groups[k]}")
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    picked = values[_runs(starts, n_groups)]
    if np.any(~np.isfinite(picked)) or np.any(np.abs(picked) > 2**31):
        raise table.fail(f"column {name} holds numbers that are no channels")
    return picked.astype(np.int64)


def read_arf(path: str) -> Arf:
    """Read an ARF.

    The extension is found by its columns where name and HDUCLAS2 are wrong, as in published files.

    Raises
    ------
    DataError
        With file and keyword or column.
    """
    tables = open_tables(path)
    table = _pick(tables, ("SPECRESP",), "SPECRESP")
    if table is None:
        table = next((t for t in tables if t.has("SPECRESP") and t.has("ENERG_LO")), None)
    if table is None:
        raise DataError(f"{path}: no SPECRESP extension; is it an ARF?")
    area = table.column("SPECRESP")
    if np.any(area < 0):
        raise table.fail(f"column SPECRESP is negative in row {np.flatnonzero(area < 0)[0] + 1}")
    return Arf(path, _energy_edges(table), area)
