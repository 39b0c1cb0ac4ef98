"""Runs of BXA and UltraNest as they lie on disk."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from xsixsa.errors import DataError, UsageError

__all__ = ["BXARun", "read_run"]

_LOG = re.compile(r"log\((.+)\)$")
_WEIGHTED = "weighted_post.txt"
_CUBE = "weighted_post_untransformed.txt"


@dataclass(frozen=True)
class BXARun:
    """Posterior and evidence of a nested-sampling run.

    Attributes
    ----------
    names : list of str
        Parameters, in the run's order; without ``log(...)``.
    theta : numpy.ndarray
        Points in XSPEC's linear values, shape (n, d).
    weights : numpy.ndarray
        Posterior weights, sum 1, shape (n,).
    log_likelihood : numpy.ndarray
        -C/2, shape (n,); NaN where the file does not hold it.
    log_evidence, log_evidence_err : float
        As the run says: of the prior that it ran on. NaN where only a chain is left.
    n_evaluations : int
        Likelihood evaluations; 0 where unknown.
    u : numpy.ndarray or None
        The same points in the unit cube of the prior that it ran on, shape (n, d).
    path : pathlib.Path
        Where it was read.
    """

    names: list[str]
    theta: np.ndarray
    weights: np.ndarray
    log_likelihood: np.ndarray
    log_evidence: float
    log_evidence_err: float
    n_evaluations: int
    u: np.ndarray | None
    path: Path

    @property
    def ess(self) -> float:
        """Kish's effective sample size of the weighted points."""
        return float(1.0 / (self.weights @ self.weights))

    def sample(self, n: int, rng: np.random.Generator | int | None = None) -> np.ndarray:
        """`n` equal-weight draws in XSPEC's units, shape (n, d)."""
        from xsixsa.diagnostics.compare import equal_weight

        return self.theta[equal_weight(self.weights, n, np.random.default_rng(rng))]

    def ordered(self, parameters) -> BXARun:
        """The run with its columns in the order and with the names of a result's parameters.

        Parameters
        ----------
        parameters
            ``Result.parameters``: dictionaries with ``name`` and ``parameter``.

        Raises
        ------
        UsageError
            If they are not the same parameters.
        """
        short, names = [p["parameter"] for p in parameters], [p["name"] for p in parameters]
        bare = [re.sub(r"__\d+$", "", n) for n in self.names]
        for wanted in (names, short):
            if bare == wanted:
                return replace(self, names=names)
            if len(set(bare)) == len(bare) and sorted(bare) == sorted(wanted):
                order = [bare.index(w) for w in wanted]
                u = None if self.u is None else self.u[:, order]
                return replace(self, names=names, theta=self.theta[:, order], u=u)
        raise UsageError(f"{self.path} holds {', '.join(self.names)}, the result {', '.join(names)}")

    def __repr__(self) -> str:
        return (
            f"<BXARun {', '.join(self.names)}: log-evidence {self.log_evidence:.3f} +- {self.log_evidence_err:.3f}, "
            f"{self.n_evaluations} evaluations, ESS {self.ess:.0f}>"
        )


def read_run(path: str | os.PathLike) -> BXARun:
    """Read a run of BXA or UltraNest.

    Parameters
    ----------
    path
        Its folder (BXA's ``outputfiles_basename``, UltraNest's ``log_dir``), a ``weighted_post.txt``, or a
        ``chain.fits`` where nothing else is left.

    Raises
    ------
    DataError
        If there is no finished run, or a file is damaged.
    """
    path = Path(path)
    if path.suffix in (".fits", ".fit"):
        return _read_chain(path)
    return _read_text(_weighted_file(path))


def _weighted_file(path: Path) -> Path:
    if path.is_file():
        return path
    for place in (path / "chains" / _WEIGHTED, path / _WEIGHTED):
        if place.exists():
            return place
    # UltraNest on its own numbers its runs: run1, run2, ...
    runs = [p for p in path.glob("run*/chains/" + _WEIGHTED) if p.parts[-3][3:].isdigit()]
    if runs:
        return max(runs, key=lambda p: int(p.parts[-3][3:]))
    raise DataError(f"{path} holds no finished run of BXA or UltraNest (no chains/{_WEIGHTED})")


def _table(path: Path) -> tuple[list[str], np.ndarray]:
    try:
        with path.open() as f:
            names = f.readline().lstrip("#").split()
            table = np.loadtxt(f, ndmin=2)
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: not a table of UltraNest, or damaged ({error})") from None
    if names[:2] != ["weight", "logl"] or table.shape[1] != len(names):
        raise DataError(f"{path}: columns weight, logl and one for each parameter are expected, not {' '.join(names)}")
    return names[2:], table


def _read_text(path: Path) -> BXARun:
    names, table = _table(path)
    u, results = None, {}
    cube = path.with_name(_CUBE)
    if cube.exists():
        _, cubed = _table(cube)
        u = cubed[:, 2:] if len(cubed) == len(table) else None
    numbers = path.parent.parent / "info" / "results.json"
    if numbers.exists():
        try:
            results = json.loads(numbers.read_text())
        except ValueError as error:
            raise DataError(f"{numbers}: damaged ({error})") from None
    names, theta = _linear(names, table[:, 2:])
    weights = table[:, 0] / table[:, 0].sum()
    value, error = (float(results.get(k, np.nan)) for k in ("logz", "logzerr"))
    return BXARun(names, theta, weights, table[:, 1], value, error, int(results.get("ncall", 0)), u, path)


def _linear(names: list[str], values: np.ndarray) -> tuple[list[str], np.ndarray]:
    """BXA samples the decimal logarithm of what it calls ``log(...)``."""
    found, columns = [], []
    for name, column in zip(names, values.T, strict=True):
        logarithm = _LOG.match(name)
        found.append(logarithm[1] if logarithm else name)
        columns.append(10.0**column if logarithm else column)
    return found, np.stack(columns, axis=1)


def _read_chain(path: Path) -> BXARun:
    """A chain alone: equal weights, and only where all columns are of one kind.

    BXA 5.1 applies the last parameter's ``aftertransform`` to all columns.
    """
    text = path.parent / "chains" / _WEIGHTED
    if text.exists():
        return _read_text(text)
    from xsixsa.chain import read_chain

    chain = read_chain(path)
    names = [p["parameter"] for p in chain.parameters]
    logs = [bool(_LOG.match(n)) for n in names]
    if any(logs) and not all(logs):
        raise DataError(
            f"{path}: BXA's chain mixes linear and log(...) columns, which BXA 5.1 writes wrongly; "
            f"give the run's folder, with chains/{_WEIGHTED}"
        )
    names = [m[1] if (m := _LOG.match(n)) else n for n in names]
    n = len(chain.theta)
    nothing = np.full(n, np.nan)
    return BXARun(names, chain.theta, np.full(n, 1 / n), nothing, np.nan, np.nan, 0, None, path)
