"""The truncated prior in the forms that BXA, UltraNest and nautilus take, and the way back to the whole prior."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
from scipy import special

from xsixsa.bxa.edges import TOLERANCE, EdgeCheck, check_edges
from xsixsa.bxa.region import Cell, Region, disjoint
from xsixsa.errors import OutputError, UsageError
from xsixsa.files import atomic_path
from xsixsa.prior import Prior

__all__ = ["KINDS", "Evidence", "Truncation"]

KINDS = ("region", "box")
QUANTILE = 1e-4
MARGIN = 0.08
_FORMAT = 2  # what the unit cube means: points of a run are of use with the very same map only
_WIDENING = 0.5  # of the width, for each side that a run found too tight


class Evidence(NamedTuple):
    """Evidence of the whole prior from a run on the truncated one.

    Attributes
    ----------
    log_evidence, log_evidence_err : float
        Under the whole prior.
    log_evidence_truncated, log_evidence_truncated_err : float
        As the run says.
    log_mass : float
        Log of the prior mass kept, known exactly.
    edges : EdgeCheck
        Whether the truncation cut the posterior.
    """

    log_evidence: float
    log_evidence_err: float
    log_evidence_truncated: float
    log_evidence_truncated_err: float
    log_mass: float
    edges: EdgeCheck

    def __str__(self) -> str:
        return (
            f"log-evidence {self.log_evidence:.3f} +- {self.log_evidence_err:.3f} on the whole prior "
            f"({self.log_evidence_truncated:.3f} +- {self.log_evidence_truncated_err:.3f} on the truncated one, "
            f"{self.log_mass:+.3f} for the prior mass kept); {self.edges}"
        )


@dataclass(frozen=True)
class Truncation:
    """A prior restricted to the region that holds the posterior.

    Attributes
    ----------
    prior : Prior
        The whole prior.
    region : Region
        What is kept of it, in the space where the prior is a standard normal.
    kind : str
        ``"box"``: tighter bounds for each parameter. ``"region"``: rotated or bent cells, several where there are
        several modes, or a bent ellipsoid.
    quantile, margin : float
        Posterior mass outside the highest-density region that the outline was drawn around, and the room left.
    lost : float
        Posterior mass outside: as the points that the region was made from say, or, where that is more, as each half of
        them says of the region made from the other.
    n_evaluations : int
        What finding the region cost; 0 where a result brought it along.
    warnings : tuple of str
        What the user has to be told.
    session : object
        The attached session whose models the transformations name; None where there is none yet.
    """

    prior: Prior
    region: Region
    kind: str
    quantile: float = QUANTILE
    margin: float = MARGIN
    lost: float = 0.0
    n_evaluations: int = 0
    warnings: tuple[str, ...] = ()
    session: object = None

    @property
    def names(self) -> list[str]:
        """Parameter names in XSPEC's order."""
        return self.prior.names

    @property
    def log_mass(self) -> float:
        """Log of the prior mass kept: log-evidence(whole) = log-evidence(truncated) + log_mass."""
        return self.region.log_mass

    def __repr__(self) -> str:
        cells = len(self.region.cells)
        what = f"{cells} cells" if cells > 1 else self.kind
        return f"<Truncation to a {what} with exp({self.log_mass:.2f}) of the prior: {', '.join(self.names)}>"

    def transform(self, cube: np.ndarray) -> np.ndarray:
        """XSPEC's values for points of the unit cube, shape (d,) or (n, d): UltraNest's transform, vectorised or not.

        Uniform points of the cube become draws of the truncated prior.
        """
        cube = np.asarray(cube, float)
        return self.prior.from_normal(self.region.from_cube(np.atleast_2d(cube))).reshape(cube.shape)

    def to_cube(self, theta: np.ndarray) -> np.ndarray:
        """Inverse of :meth:`transform`, shape (n, d); rows of NaN for points that were cut off."""
        return self.region.to_cube(self.prior.to_normal(np.asarray(theta, float)))

    @property
    def prior_function(self) -> Callable[[np.ndarray], np.ndarray] | None:
        """BXA's ``prior_function``; None for a box, where BXA makes its own of the transformations."""
        return None if self.kind == "box" else self.transform

    @property
    def transformations(self) -> list[dict]:
        """BXA's ``transformations``, one dictionary for each free parameter.

        All coordinates are XSPEC's own values, logarithms are taken inside the prior: the chain that BXA 5.1 writes
        is right then, which it is not where coordinates differ in kind.

        Raises
        ------
        UsageError
            If the truncation is not tied to a loaded session.
        """
        if self.session is None:
            raise UsageError("this truncation knows no session: use .attached(xspec)")
        models = {(part.source, part.group): part.model for part in self.session._parts}
        bounds = zip(*self._axis_bounds(), strict=True)
        rows = zip(self.session.parameters, self.prior.distributions, bounds, strict=True)
        return [
            {
                "model": models[p.source, p.group],
                "index": p.local_index,
                "name": p.parameter,
                "transform": _quantile(d, low, high),
                "aftertransform": _unchanged,
            }
            for p, d, (low, high) in rows
        ]

    def _axis_bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """Bounds in z along the parameters' own axes of the boxes around all cells, both of shape (d,)."""
        lows, highs = [], []
        for cell in self.region.cells:
            low, high = cell.outer
            middle = cell.rotation @ (0.5 * (low + high))
            reach = np.abs(cell.rotation) @ (0.5 * (high - low))
            lows.append(middle - reach)
            highs.append(middle + reach)
        return np.min(lows, axis=0), np.max(highs, axis=0)

    @property
    def bounds(self) -> dict[str, tuple[float, float]]:
        """Parameter name to (low, high) in XSPEC's units: exact for a box, around the region otherwise."""
        low, high = (self.prior.from_normal(b[None])[0].tolist() for b in self._axis_bounds())
        return {name: (a, b) for name, a, b in zip(self.names, low, high, strict=True)}

    def set_limits(self) -> None:
        """Give the session's parameters these bounds as soft and hard limits, for BXA's own ``create_*_prior_for``.

        This changes the session. Values outside are moved to the middle of their bounds.
        """
        for t, (low, high) in zip(self.transformations, self.bounds.values(), strict=True):
            handle = t["model"](t["index"])
            value, delta = float(handle.values[0]), float(handle.values[1])
            value = value if low < value < high else 0.5 * (low + high)
            handle.values = [value, delta, low, low, high, high]

    def nautilus_prior(self):
        """The box as nautilus' ``Prior``; for a region hand :meth:`transform` to its sampler instead.

        Raises
        ------
        UsageError
            If this is no box, or nautilus is not installed.
        """
        if self.kind != "box":
            raise UsageError("a nautilus Prior is separable: use kind='box', or give its Sampler .transform itself")
        try:
            from nautilus import Prior as NautilusPrior
        except ModuleNotFoundError as error:
            raise UsageError(f"{error.name} is not installed: pip install nautilus-sampler") from None
        prior, (low, high) = NautilusPrior(), self._axis_bounds()
        for name, d, a, b in zip(self.names, self.prior.distributions, low, high, strict=True):
            quantile = _quantile(d, a, b)
            prior.add_parameter(name, SimpleNamespace(isf=lambda q, f=quantile: f(1 - q), ppf=quantile))
        return prior

    def check(self, run, tolerance: float = TOLERANCE) -> EdgeCheck:
        """Posterior mass beside every edge, from a run on this truncated prior.

        Parameters
        ----------
        run
            BXA's or UltraNest's results dictionary, or a :class:`~xsixsa.bxa.BXARun`.
        tolerance
            Mass allowed in the outermost 5 % beside an edge.
        """
        v, weights = self._posterior(run)
        return check_edges(self.region, v, weights, self.names, tolerance)

    def outside(self, z: np.ndarray, weights: np.ndarray) -> float:
        """Weight of points z (n, d) that lie outside."""
        return float(weights[~self.region.contains(z)].sum())

    def _posterior(self, run) -> tuple[np.ndarray, np.ndarray]:
        if isinstance(run, Mapping):
            return run["weighted_samples"]["upoints"], run["weighted_samples"]["weights"]
        if run.u is not None:
            return run.u, run.weights
        v = self.to_cube(run.theta)
        # A point on the very edge may come back outside by rounding; it lies beside the edge all the same.
        return np.nan_to_num(v, nan=0.0), run.weights

    def evidence(self, run, tolerance: float = TOLERANCE) -> Evidence:
        """Evidence of the whole prior, with the edge check, from a run on this truncated prior; see :meth:`check`."""
        if isinstance(run, Mapping):
            value, error = float(run["logz"]), float(run["logzerr"])
        else:
            value, error = run.log_evidence, run.log_evidence_err
        edges = self.check(run, tolerance)
        # What lies just inside the edges says how much may lie beyond: it is an error of the evidence.
        total = float(np.hypot(error, self.lost + sum(e.mass for e in edges.edges)))
        return Evidence(value + self.log_mass, total, value, error, self.log_mass, edges)

    def widened(self, check: EdgeCheck, share: float = _WIDENING) -> Truncation:
        """The truncation with every edge that the check found too tight moved outwards by `share` of the width."""
        cells = list(self.region.cells)
        for edge in check.exceeded:
            cells[edge.cell] = cells[edge.cell].moved(edge.axis, edge.upper, share)
        return replace(self, region=Region(_merged(cells)))

    def attached(self, xspec) -> Truncation:
        """The same for the models of a loaded session (``xspec`` module or :class:`~xsixsa.Session`)."""
        from xsixsa.session import Session

        session = xspec if isinstance(xspec, Session) else Session(xspec)
        ours = [p.name for p in session.parameters]
        if ours != self.names:
            raise UsageError(f"the session's free parameters are {', '.join(ours)}, those here {', '.join(self.names)}")
        return replace(self, session=session)

    def save(self, path: str | os.PathLike) -> Path:
        """Write to a JSON file, so that an interrupted run goes on with the very same prior."""
        plain = {k: getattr(self, k) for k in ("kind", "quantile", "margin", "lost", "n_evaluations", "names")}
        plain |= {"format": _FORMAT, "prior": [str(d) for d in self.prior.distributions], "log_mass": self.log_mass}
        with atomic_path(path) as temporary:
            temporary.write_text(json.dumps(plain | {"region": self.region.as_dict()}) + "\n")
        return Path(path)

    def loaded(self, path: str | os.PathLike) -> Truncation:
        """This truncation with the region of a file written by :meth:`save`.

        Raises
        ------
        OutputError
            If there is no such file, or it holds another prior.
        """
        try:
            plain = json.loads(Path(path).read_text())
            if plain["format"] != _FORMAT:
                raise ValueError(f"format {plain['format']}, not {_FORMAT}: of another version of xsixsa")
            same = plain["prior"] == [str(d) for d in self.prior.distributions] and plain["names"] == self.names
            region = Region.from_dict(plain["region"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise OutputError(f"{path}: not a truncation written here ({error})") from None
        if not same:
            raise OutputError(f"{path} holds a truncation of another prior; name another folder")
        keys = ("kind", "quantile", "margin", "lost", "n_evaluations")
        return replace(self, region=region, **{k: plain[k] for k in keys})


def _unchanged(x):
    return x


def _quantile(distribution, low: float, high: float) -> Callable[[float], float]:
    """Quantile function of `distribution` between two bounds given in z."""
    cell = Cell.box(np.eye(1), [low], [high])

    def transform(x):
        z = cell.from_cube(np.reshape(x, (-1, 1)))[:, 0]
        value = distribution.ppf(np.clip(special.ndtr(z), 1e-16, np.nextafter(1.0, 0.0)))
        return float(value[0]) if np.ndim(x) == 0 else np.reshape(value, np.shape(x))

    return transform


def _merged(cells: list[Cell]) -> list[Cell]:
    """Cells with those that came to overlap put into one box along the parameters' axes."""
    for i, a in enumerate(cells):
        for j in range(i):
            if not disjoint(a, cells[j]):
                boxes = []
                for c in (a, cells[j]):
                    low, high = c.outer
                    middle, reach = c.rotation @ (low + high) / 2, np.abs(c.rotation) @ (high - low) / 2
                    boxes.append((middle - reach, middle + reach))
                low, high = np.min([b[0] for b in boxes], axis=0), np.max([b[1] for b in boxes], axis=0)
                rest = [c for k, c in enumerate(cells) if k not in (i, j)]
                return _merged([*rest, Cell.box(np.eye(a.dim), low, high)])
    return cells
