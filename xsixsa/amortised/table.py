"""One row for each spectrum: what the posterior says, and whether it may be read."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np

from xsixsa.errors import OutputError
from xsixsa.files import atomic_path
from xsixsa.result import Result

__all__ = ["TABLE_NAMES", "error_row", "make_table", "result_row", "write_tables"]

TABLE_NAMES = ("table.fits", "table.ecsv")
_QUANTILES = ("q05", "q16", "q50", "q84", "q95")
_NUMBERS = {
    "counts": "counts on source in the noticed bins",
    "exposure": "exposure",
    "statistic": "lowest C met",
    "expected_statistic": "what the model predicts for it (Kaastra 2017)",
    "statistic_sigma": "its standard deviation",
    "goodness": "sigma above the expectation",
    "dof": "bins less free parameters",
    "log_evidence": "natural logarithm",
    "log_evidence_err": "its standard error",
    "ess": "effective sample size",
    "efficiency": "of the final draws",
    "network_efficiency": "of the network's own density",
    "pareto_k": "tail of the weights",
    "n_evaluations": "evaluations of the engine",
    "familiar_p": "probability of a training spectrum at least as odd",
}
_UNITS = {"exposure": "s"}
_WORDS = ("name", "status", "reason", "result")
_FLAGS = ("converged", "flagged", "refined")


def result_row(result: Result, name: str, saved: str, familiar: dict | None) -> dict:
    """Row of one spectrum.

    Parameters
    ----------
    result
        Its posterior.
    name
        How the caller named it.
    saved
        Name of the saved result, "" for none.
    familiar
        ``p``, ``flagged`` and ``reasons`` of the comparison with the training set; None where there is none.
    """
    o, good, first = result.observations[0], result.goodness, result.history.get("correction") or [{}]
    familiar = familiar or {"p": np.nan, "flagged": False, "reasons": []}
    row = {
        "name": name,
        "status": result.verdict.text,
        "reason": "; ".join([*result.verdict.reasons, *familiar["reasons"]]),
        "result": saved,
        "converged": result.verdict.converged,
        "flagged": familiar["flagged"],
        "refined": bool(result.history.get("refined")),
        "counts": float(np.sum(o["counts"])),
        "exposure": float(o["exposure"]),
        "statistic": result.best_fit_statistic,
        "expected_statistic": good.get("expected", np.nan),
        "statistic_sigma": good.get("sigma", np.nan),
        "goodness": good.get("z", np.nan),
        "dof": float(result.dof),
        "network_efficiency": first[0].get("efficiency", np.nan),
        "familiar_p": familiar["p"],
    }
    for key in ("log_evidence", "log_evidence_err", "ess", "efficiency", "pareto_k", "n_evaluations"):
        row[key] = float(getattr(result, key))
    for parameter in result.table():
        row |= {f"{parameter['name']}_{q}": parameter[q] for q in _QUANTILES}
        row[f"{parameter['name']}_best"] = result.best[parameter["name"]]
    return row


def error_row(name: str, message: str) -> dict:
    """Row of a spectrum that could not be used."""
    return {"name": name, "status": "error", "reason": message, "result": ""}


def make_table(rows: list[dict], parameters: list[dict], meta: dict):
    """The rows as an astropy table, NaN where a spectrum has no number.

    Parameters
    ----------
    rows
        Of :func:`result_row` and :func:`error_row`.
    parameters
        ``name`` and ``unit`` of each free parameter.
    meta
        Plain values, kept as JSON text with the table.
    """
    from astropy.table import Column, Table

    columns = [Column([r[k] for r in rows], name=k, dtype=str) for k in ("name", "status")]
    columns += [Column([bool(r.get(k, False)) for r in rows], name=k) for k in _FLAGS]
    for p in parameters:
        for suffix in (*_QUANTILES, "best"):
            key = f"{p['name']}_{suffix}"
            values = np.array([r.get(key, np.nan) for r in rows], float)
            columns.append(Column(values, name=key, unit=_unit(p["unit"])))
    for key, text in _NUMBERS.items():
        values = np.array([r.get(key, np.nan) for r in rows], float)
        columns.append(Column(values, name=key, unit=_UNITS.get(key), description=text))
    columns += [Column([r[k] for r in rows], name=k, dtype=str) for k in ("reason", "result")]
    return Table(columns, meta={"xsixsa": json.dumps(meta, default=str)})


def _unit(text: str) -> str | None:
    """XSPEC's unit in astropy's spelling, None where astropy does not know it."""
    from astropy import units

    text = {"10^22": "1e22 cm-2", "10^22 atoms cm^-2": "1e22 cm-2"}.get(text.strip(), text.strip())
    if not text:
        return None
    try:
        return units.Unit(text).to_string()
    except ValueError:
        return None


def write_tables(table, folder: str | os.PathLike) -> list[Path]:
    """Write ``table.fits`` and ``table.ecsv`` into a folder.

    Raises
    ------
    OutputError
        If they cannot be written.
    """
    written = []
    for name in TABLE_NAMES:
        path = Path(folder) / name
        with atomic_path(path) as temporary:
            try:
                table.write(temporary, format=path.suffix[1:] if path.suffix == ".fits" else "ascii.ecsv")
            except (OSError, ValueError) as error:
                raise OutputError(f"cannot write {path}: {error}") from error
        written.append(path)
    return written
