"""XSPEC table models, OGIP 92-009: spectra on a grid of parameters, in a FITS file."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import product
from pathlib import Path

import numpy as np
from astropy.io import fits

from xsixsa.embedded.components.base import Component, ModelContext, ParameterSpec
from xsixsa.embedded.fitsio import damage, open_hdus
from xsixsa.errors import DataError

logger = logging.getLogger(__name__)

__all__ = ["TableFile", "TableModel", "read_table"]

#: The redshift parameter that XSPEC adds to a table whose file says REDSHIFT = T.
TABLE_REDSHIFT = ParameterSpec("z", "", 0.0, -0.001, 0.0, 0.0, 5.0, 5.0)
#: PARAMVAL and the grid are taken as equal when they differ by less than this part of the range of the grid.
SAME_VALUE = 1e-4


@dataclass(frozen=True)
class TableFile:
    """What a table model file holds.

    Attributes
    ----------
    name : str
        MODLNAME.
    additive, redshift : bool
        ADDMODEL, REDSHIFT.
    below, above : float
        Values of a multiplicative model outside its energies: LOELIMIT, HIELIMIT.
    edges : (m + 1,) float64
        Energies, keV.
    parameters : tuple of ParameterSpec
        Interpolated parameters, then additional ones.
    grid : tuple of (k_i,) float64
        Values of each interpolated parameter, its logarithms where METHOD is 1.
    logarithmic : tuple of bool
        Which parameters are interpolated in their logarithm.
    spectra : (1 + additional, number of grid points, m) float32
        The spectra, and for each additional parameter what one unit of it adds.
    """

    name: str
    additive: bool
    redshift: bool
    below: float
    above: float
    edges: np.ndarray = field(repr=False)
    parameters: tuple[ParameterSpec, ...]
    grid: tuple[np.ndarray, ...]
    logarithmic: tuple[bool, ...]
    spectra: np.ndarray = field(repr=False)


def table_parameter(path: Path, row: fits.FITS_record, unit: str) -> ParameterSpec:
    """Read one row of the PARAMETERS extension; XSPEC replaces the step by a hundredth of the value."""
    value, delta = float(row["INITIAL"]), float(row["DELTA"])
    step = 0.01 * abs(value) if value else abs(delta)
    limits = [float(row[key]) for key in ("MINIMUM", "BOTTOM", "TOP", "MAXIMUM")]
    name = str(row["NAME"]).strip()
    if not np.isfinite([value, delta, *limits]).all():
        raise DataError(f"{path}: extension PARAMETERS holds a number that is not finite for parameter {name!r}")
    if not limits[0] <= limits[1] <= limits[2] <= limits[3]:
        raise DataError(f"{path}: MINIMUM <= BOTTOM <= TOP <= MAXIMUM does not hold for parameter {name!r}")
    return ParameterSpec(name, unit, value, -step if delta < 0 else step, *limits)


def extension(path: Path, hdus: fits.HDUList, name: str) -> fits.BinTableHDU:
    """Find an extension with at least one row."""
    if name not in hdus:
        raise DataError(f"{path}: no extension {name}; this is not an XSPEC table model (OGIP 92-009)")
    if not len(hdus[name].data):
        raise DataError(f"{path}: extension {name} has no rows")
    return hdus[name]


def table_edges(path: Path, hdu: fits.BinTableHDU) -> np.ndarray:
    """Read the bin edges, which must follow each other without gaps."""
    low, high = (np.asarray(hdu.data[key], dtype=float) for key in ("ENERG_LO", "ENERG_HI"))
    if not (np.all(high > low) and np.isfinite(high).all() and low[0] >= 0):
        raise DataError(f"{path}: ENERG_LO and ENERG_HI in extension ENERGIES are not ascending energies")
    if not np.allclose(low[1:], high[:-1], rtol=1e-5, atol=0.0):
        raise DataError(f"{path}: the bins of extension ENERGIES have gaps or overlap")
    return np.append(low, high[-1])


def table_grid(path: Path, hdu: fits.BinTableHDU, count: int) -> tuple[list[np.ndarray], list[bool]]:
    """Read the values of each interpolated parameter."""
    grid, logarithmic = [], []
    for row in hdu.data[:count]:
        values = np.atleast_1d(np.asarray(row["VALUE"], dtype=float))[: int(row["NUMBVALS"])]
        name = str(row["NAME"]).strip()
        if len(values) < 1 or not np.all(np.diff(values) > 0) or not np.isfinite(values).all():
            raise DataError(f"{path}: the values of parameter {name!r} do not increase (columns NUMBVALS, VALUE)")
        log = int(row["METHOD"]) == 1
        if log and values[0] <= 0:
            raise DataError(
                f"{path}: parameter {name!r} is interpolated in its logarithm (METHOD 1) and has a value <= 0"
            )
        grid.append(np.log(values) if log else values)
        logarithmic.append(log)
    return grid, logarithmic


def check_order(path: Path, wanted: np.ndarray, grid: list[np.ndarray], logarithmic: list[bool]) -> None:
    """Check that there is one spectrum for each grid point, and say so where they are not in the standard's order.

    XSPEC takes the rows as they come, the last parameter fastest, and does not look at PARAMVAL; so do we.
    """
    expected = np.stack(np.meshgrid(*grid, indexing="ij"), axis=-1).reshape(-1, len(grid))
    if len(wanted) != len(expected):
        raise DataError(
            f"{path}: extension SPECTRA has {len(wanted)} spectra where the grid has {len(expected)} points"
        )
    found = np.where(logarithmic, np.log(np.maximum(wanted, 1e-300)), wanted)
    scale = np.maximum(np.ptp(expected, axis=0), 1e-30)
    if np.any(np.abs(found - expected) > SAME_VALUE * scale):
        logger.warning("%s: PARAMVAL is not in the order of the grid; as in XSPEC the order of the rows counts", path)


@lru_cache(maxsize=16)
def _read(path: Path, modified: int) -> TableFile:
    with open_hdus(str(path)) as hdus:
        header = hdus[0].header
        if "ADDMODEL" not in header:
            raise DataError(f"{path}: keyword ADDMODEL is missing in the primary header; not an XSPEC table model")
        if int(header.get("NXFLTEXP", 1)) > 1:
            raise DataError(f"{path}: keyword NXFLTEXP: tables with several spectra per grid point are not supported")
        parameters = extension(path, hdus, "PARAMETERS")
        interpolated = int(parameters.header.get("NINTPARM", len(parameters.data)))
        additional = int(parameters.header.get("NADDPARM", 0))
        if interpolated + additional != len(parameters.data) or interpolated < 1:
            raise DataError(f"{path}: keywords NINTPARM and NADDPARM do not add up to the rows of extension PARAMETERS")
        edges = table_edges(path, extension(path, hdus, "ENERGIES"))
        grid, logarithmic = table_grid(path, parameters, interpolated)
        spectra = extension(path, hdus, "SPECTRA").data
        wanted = np.asarray(spectra["PARAMVAL"], dtype=float).reshape(len(spectra), -1)[:, :interpolated]
        check_order(path, wanted, grid, logarithmic)
        columns = ["INTPSPEC"] + [f"ADDSP{k:03d}" for k in range(1, additional + 1)]
        values = np.empty((len(columns), len(spectra), len(edges) - 1), dtype=np.float32)
        for k, name in enumerate(columns):
            if name not in spectra.columns.names:
                raise DataError(f"{path}: column {name} is missing in extension SPECTRA")
            column = np.asarray(spectra[name])
            if column.shape != values.shape[1:]:
                raise DataError(
                    f"{path}: column {name} has {column.shape[-1]} bins, extension ENERGIES {len(edges) - 1}"
                )
            bad = np.flatnonzero(~np.isfinite(column).all(axis=1))
            if bad.size:
                raise DataError(f"{path}: column {name} of extension SPECTRA is not finite in row {bad[0] + 1}")
            values[k] = column
        units = (
            parameters.columns["UNITS"].array if "UNITS" in parameters.columns.names else [""] * len(parameters.data)
        )
        return TableFile(
            name=str(header.get("MODLNAME", path.stem)).strip(),
            additive=bool(header["ADDMODEL"]),
            redshift=bool(header.get("REDSHIFT", False)),
            below=float(header.get("LOELIMIT", 0.0)),
            above=float(header.get("HIELIMIT", 0.0)),
            edges=edges,
            parameters=tuple(
                table_parameter(path, row, str(unit).strip()) for row, unit in zip(parameters.data, units, strict=True)
            ),
            grid=tuple(grid),
            logarithmic=tuple(logarithmic),
            spectra=values,
        )


def read_table(path: str | Path) -> TableFile:
    """Read a table model file; a file that has not changed is read once.

    Raises
    ------
    DataError
        When the file is missing or is not a table model; names the keyword, column or extension.
    """
    path = Path(path).expanduser()
    try:
        modified = path.stat().st_mtime_ns
    except (OSError, ValueError) as problem:
        raise DataError(f"{path}: no such file ({problem})") from problem
    with damage(str(path)):
        return _read(path, modified)


class TableModel(Component):
    """atable, mtable or etable: a spectrum, a factor or an optical depth interpolated in a file's grid.

    Interpolation is linear in each parameter or its logarithm, as the file says; what additional parameters add is
    interpolated in the same way. Outside its grid a table has no value: the row is NaN (XSPEC's process dies there).
    As in XSPEC, a bin that begins below the table's energies has the value for lower energies; a factor is averaged
    over the table's bins, weighted by the part of each that the bin holds. ESCALE has no effect in XSPEC 12.9.1 nor
    here.

    Parameters
    ----------
    path : str or Path
        The FITS file.
    usage : str
        ``"atable"``, ``"mtable"`` or ``"etable"``.
    """

    def __init__(self, path: str | Path, usage: str) -> None:
        self.file = read_table(path)
        if self.file.additive != (usage == "atable"):
            proper = "atable" if self.file.additive else "mtable or etable"
            raise DataError(f"{path}: keyword ADDMODEL says that this table is for {proper}, not {usage}")
        self.usage = usage
        self.name = self.file.name
        self.kind = "add" if self.file.additive else "mul"
        self.parameters = self.file.parameters + ((TABLE_REDSHIFT,) if self.file.redshift else ())

    def _grid(self, edges: np.ndarray, context: ModelContext) -> np.ndarray:
        return edges

    def _weights(self, p: np.ndarray) -> tuple[list[np.ndarray], list[np.ndarray], np.ndarray]:
        """Lower grid index and place above it for each interpolated parameter, and which rows are inside the grid."""
        starts, parts, inside = [], [], np.ones(len(p), dtype=bool)
        for column, nodes, log in zip(p.T, self.file.grid, self.file.logarithmic, strict=False):
            with np.errstate(divide="ignore", invalid="ignore"):
                value = np.log(column) if log else column
            margin = 1e-6 * (np.ptp(nodes) or 1.0)
            inside &= (value >= nodes[0] - margin) & (value <= nodes[-1] + margin)
            value = np.clip(np.where(np.isfinite(value), value, nodes[0]), nodes[0], nodes[-1])
            start = np.clip(np.searchsorted(nodes, value, side="right") - 1, 0, max(len(nodes) - 2, 0))
            width = nodes[np.minimum(start + 1, len(nodes) - 1)] - nodes[start]
            starts.append(start)
            parts.append((value - nodes[start]) / np.where(width > 0, width, 1.0))
        return starts, parts, inside

    def interpolate(self, p: np.ndarray) -> np.ndarray:
        """Spectrum in the table's own bins.

        Parameters
        ----------
        p : (n, k) float64
            Parameter values in the order of ``parameters``.

        Returns
        -------
        (n, m) float64
            NaN in rows outside the grid.
        """
        file = self.file
        starts, parts, inside = self._weights(p)
        count = len(file.grid)
        result = np.zeros((len(p), file.spectra.shape[2]))
        extra = p[:, count : count + len(file.spectra) - 1]
        for corner in product((0, 1), repeat=count):
            place, weight = np.zeros(len(p), dtype=np.intp), np.ones(len(p))
            for up, start, part, nodes in zip(corner, starts, parts, file.grid, strict=True):
                place = place * len(nodes) + np.minimum(start + up, len(nodes) - 1)
                weight = weight * (part if up else 1.0 - part)
            used = np.flatnonzero(weight)
            result[used] += weight[used, None] * file.spectra[0, place[used]]
            for k in range(1, len(file.spectra)):
                result[used] += (weight[used] * extra[used, k - 1])[:, None] * file.spectra[k, place[used]]
        result[~inside] = np.nan
        return result

    def _values(self, prepared: np.ndarray, p: np.ndarray) -> np.ndarray:
        file, edges = self.file, prepared
        redshift = p[:, -1] if file.redshift else np.zeros(len(p))
        spectra = self.interpolate(p)
        # photons below each edge of the table, and below any energy by linear interpolation in the edge's number
        total = np.zeros((len(p), len(file.edges)))
        np.cumsum(spectra, axis=1, out=total[:, 1:])
        numbers = np.arange(len(file.edges), dtype=float)
        result = np.empty((len(p), len(edges) - 1))
        for row, sums, z in zip(result, total, redshift, strict=True):
            moved = edges * (1.0 + z)
            place = np.interp(moved, file.edges, numbers)
            photons = np.diff(np.interp(place, numbers, sums))
            self._fill(row, photons, np.diff(place), moved)
            if self.kind == "add":
                row /= 1.0 + z
        return result

    def _fill(self, row: np.ndarray, photons: np.ndarray, bins: np.ndarray, moved: np.ndarray) -> None:
        """Turn photons and numbers of table bins in each bin into the model's value there."""
        early = moved[:-1] < self.file.edges[0] * (1.0 - 1e-9)
        if self.kind == "add":
            row[:] = photons
            row[early] = 0.0
            return
        covered = bins > 0
        np.divide(photons, bins, out=row, where=covered)
        if self.usage == "etable":
            np.negative(row, out=row, where=covered)
            np.exp(row, out=row, where=covered)
        row[~covered] = self.file.above
        row[early] = self.file.below
        if np.isnan(photons).any():
            row[:] = np.nan
