"""XSPEC chain files: the posterior where ``chain load``, ``error`` and ``flux ... err`` find it.

What XSPEC asks of such a file beyond being readable: an extension ``CHAIN`` with columns of format ``D`` only,
one per free parameter in its own order, named ``<parName>__[<modelName>__]<index>`` and with the parameter's unit;
last a column ``FIT_STATISTIC``; and temperature and first row of each tempering stage in ``TEMPR001``, ``STROW001``.
A column that disagrees with the loaded model in name, number or unit makes XSPEC ignore the whole chain.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from xsixsa.errors import DataError, OutputError
from xsixsa.files import atomic_path

__all__ = ["ChainFile", "read_chain", "write_chain"]

_EXTENSION = "CHAIN"
_STATISTIC = "FIT_STATISTIC"
_DELIMITER = "__"


@dataclass(frozen=True)
class ChainFile:
    """A chain as read from a file.

    Attributes
    ----------
    parameters : tuple of dict
        ``parameter``, ``source`` (empty when unnamed), ``index`` and ``unit`` of each column.
    theta : ndarray (n, d)
        Linear values, one row per step.
    statistic : ndarray (n,)
        XSPEC's fit statistic of each row.
    statistic_name : str
        What the file says the statistic is, ``"C-Statistic"`` for instance.
    """

    parameters: tuple[dict, ...]
    theta: np.ndarray
    statistic: np.ndarray
    statistic_name: str = ""


def column_name(parameter: str, source: str, index: int) -> str:
    """Name of a parameter's column: ``PhoIndex__2``, or ``PhoIndex__bkg__2`` in the model named ``bkg``."""
    for part in (parameter, source):
        if _DELIMITER in part:
            raise OutputError(
                f"{part!r} holds two underscores in a row, with which XSPEC separates names in chain files"
            )
    return _DELIMITER.join([parameter, *([source] if source else []), str(index)])


def _get(parameter, key: str):
    """Entry of a mapping or attribute of an object: results hold the one, sessions the other."""
    return parameter[key] if isinstance(parameter, Mapping) else getattr(parameter, key)


def _checked(parameters: Sequence, theta, statistic) -> tuple[np.ndarray, np.ndarray]:
    theta, statistic = np.asarray(theta, dtype=float), np.asarray(statistic, dtype=float)
    if theta.ndim != 2 or theta.shape[1] != len(parameters) or not len(parameters):
        raise OutputError(
            f"a chain of {len(parameters)} parameters needs theta (n, {len(parameters)}), not {theta.shape}"
        )
    if statistic.shape != theta.shape[:1]:
        raise OutputError(f"{len(theta)} chain rows need as many values of the statistic, not {statistic.shape}")
    if not len(theta):
        raise OutputError("a chain needs at least one row: XSPEC refuses an empty one")
    if not (np.isfinite(theta).all() and np.isfinite(statistic).all()):
        raise OutputError("a chain holds finite numbers only; leave out the rows where the model failed")
    return theta, statistic


def write_chain(
    path: str | os.PathLike,
    parameters: Sequence,
    theta: np.ndarray,
    statistic: np.ndarray,
    overwrite: bool = False,
    *,
    statistic_name: str = "C-Statistic",
    comments: Sequence[str] = (),
) -> Path:
    """Write a chain that XSPEC uses, not merely loads.

    Parameters
    ----------
    path : str or path
        File to write; it appears whole or not at all.
    parameters : sequence
        The free parameters in XSPEC's order: objects or dicts with ``parameter`` (XSPEC's name), ``source``
        (name of the model, empty for the unnamed one), ``index`` (global index in that model) and ``unit``.
    theta : ndarray (n, d)
        Equal-weight draws, linear values in XSPEC's units (never the logarithm of a norm); repeats are legal.
    statistic : ndarray (n,)
        XSPEC's fit statistic of each row, without any prior term.
    overwrite : bool
        Whether an existing file may be replaced.
    statistic_name : str
        Unit of the last column; XSPEC writes the statistic's full name there.
    comments : sequence of str
        Lines kept in the header, such as the settings that made the chain.

    Returns
    -------
    pathlib.Path
        The file.

    Raises
    ------
    OutputError
        On rows that are empty or not finite, shapes that disagree, or a file that exists.
    """
    from astropy.io import fits

    theta, statistic = _checked(parameters, theta, statistic)
    names = [column_name(*(_get(p, key) for key in ("parameter", "source", "index"))) for p in parameters]
    if len(set(names)) < len(names):
        raise OutputError(f"two parameters would share a chain column: {', '.join(names)}")
    units = [_get(p, "unit") or "" for p in parameters]
    columns = [
        fits.Column(name=name, format="D", unit=unit or None, array=values)
        for name, unit, values in zip(names, units, theta.T, strict=True)
    ]
    columns.append(fits.Column(name=_STATISTIC, format="D", unit=statistic_name, array=statistic))
    table = fits.BinTableHDU.from_columns(columns, name=_EXTENSION)
    table.header["CHAINTYP"] = ("MetropolisHastings", "plain rows of equal weight")
    table.header["TEMPR001"] = (1.0, "temperature of the first stage")
    table.header["STROW001"] = (1, "its first row")
    for line in comments:
        table.header["HISTORY"] = line
    with atomic_path(path, overwrite=overwrite) as temporary:
        fits.HDUList([fits.PrimaryHDU(), table]).writeto(temporary)
    return Path(path)


def _parse(name: str, path: Path) -> dict:
    parts = name.strip().split(_DELIMITER)
    if len(parts) not in (2, 3) or not parts[-1].isdigit():
        raise DataError(f"{path}: column {name!r} is not named like a chain's, <parameter>__[<model>__]<index>")
    return {"parameter": parts[0], "source": parts[1] if len(parts) == 3 else "", "index": int(parts[-1])}


def read_chain(path: str | os.PathLike) -> ChainFile:
    """Read a chain file, ours or XSPEC's own.

    Parameters
    ----------
    path : str or path
        A FITS chain.

    Returns
    -------
    ChainFile
        Its parameters, rows and statistic.

    Raises
    ------
    DataError
        If the file is missing or is not a chain.
    """
    from astropy.io import fits

    path = Path(path)
    try:
        with fits.open(path, memmap=False) as hdus:
            if _EXTENSION not in hdus:
                raise DataError(f"{path} has no extension {_EXTENSION}: it is not an XSPEC chain file")
            columns, data = hdus[_EXTENSION].columns, hdus[_EXTENSION].data
            if columns.names[-1] != _STATISTIC or len(columns) < 2:
                raise DataError(f"{path}: the last column of a chain is {_STATISTIC}, here it is {columns.names[-1]}")
            parameters = tuple(_parse(c.name, path) | {"unit": c.unit or ""} for c in columns[:-1])
            table = np.stack([np.asarray(data[name], dtype=float) for name in columns.names], axis=1)
            return ChainFile(parameters, table[:, :-1], table[:, -1], columns[-1].unit or "")
    except FileNotFoundError as error:
        raise DataError(f"no chain file {path}") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read as FITS: {error}") from error
