"""Fluxes and luminosities over a posterior: the model integrated by the engine at equal-weight samples."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from xsixsa.errors import UsageError
from xsixsa.session import Session

__all__ = ["PosteriorFluxes", "fluxes"]


@dataclass(frozen=True)
class PosteriorFluxes:
    """Fluxes at n equal-weight posterior samples, for k pairs of spectrum and source; absorbed as the model says.

    Attributes
    ----------
    energies : tuple of float
        The range, keV.
    labels : tuple of (int, str)
        Spectrum number and name of the source ("" for the unnamed model) of each column.
    energy, photon : numpy.ndarray
        erg/cm2/s and photons/cm2/s, shape (n, k); NaN where the engine could not compute.
    luminosity : numpy.ndarray or None
        1e44 erg/s, shape (n, k), where a redshift was given.
    redshift : float or None
        That redshift; the range is then one of the source's frame for the luminosity.
    rows : numpy.ndarray
        Rows of the result's samples that were taken, shape (n,).
    """

    energies: tuple[float, float]
    labels: tuple[tuple[int, str], ...]
    energy: np.ndarray
    photon: np.ndarray
    luminosity: np.ndarray | None
    redshift: float | None
    rows: np.ndarray

    def table(self) -> list[dict]:
        """For each column and quantity: ``spectrum``, ``source``, ``quantity``, ``unit`` and quantiles q05 to q95."""
        from xsixsa.result import QUANTILES

        found = [("energy flux", "erg/cm2/s", self.energy), ("photon flux", "photons/cm2/s", self.photon)]
        if self.luminosity is not None:
            found.append(("luminosity", "1e44 erg/s", self.luminosity))
        rows = []
        for k, (spectrum, source) in enumerate(self.labels):
            for quantity, unit, values in found:
                row = {"spectrum": spectrum, "source": source, "quantity": quantity, "unit": unit}
                quantiles = np.nanquantile(values[:, k], QUANTILES)
                names = [f"q{round(100 * q):02d}" for q in QUANTILES]
                rows.append(row | dict(zip(names, quantiles.tolist(), strict=True)))
        return rows

    def __str__(self) -> str:
        lines = [f"{self.energies[0]:g}-{self.energies[1]:g} keV, {len(self.rows)} samples: median, 68 % and 90 %"]
        for r in self.table():
            where = f"spectrum {r['spectrum']}" + (f" {r['source']}" if r["source"] else "")
            lines.append(
                f"{where:20s} {r['quantity']:12s} {r['q50']:.4g}  {r['q16']:.4g} .. {r['q84']:.4g}  "
                f"{r['q05']:.4g} .. {r['q95']:.4g}  {r['unit']}"
            )
        return "\n".join(lines)


def fluxes(
    session,
    result,
    energies: tuple[float, float],
    *,
    n: int = 1_000,
    redshift: float | None = None,
    rng: np.random.Generator | int | None = 0,
) -> PosteriorFluxes:
    """Fluxes of the posterior in an energy range, computed by the engine at `n` equal-weight samples.

    The session's parameters and settings stay as they are.

    Parameters
    ----------
    session
        The session of the run: a :class:`~xsixsa.Session`, or the ``xspec`` module with the same data and model loaded.
    result
        A :class:`~xsixsa.Result`, also a loaded one.
    energies
        Lower and upper energy, keV.
    n
        Equal-weight samples; repeated ones are computed once.
    redshift
        For luminosities besides, in the same range of the source's frame.
    rng
        Seed or generator of the resampling.

    Raises
    ------
    UsageError
        The session is not that of the run, or the range is none.
    WorkerError
        The engine died.
    """
    session = session if isinstance(session, Session) else Session(session)
    if session.fingerprint != result.fingerprint:
        raise UsageError("this session is not that of the run: load the same data, model and settings (session.xcm)")
    rows = result.sample_index(n, rng)
    distinct, inverse = np.unique(rows, return_inverse=True)
    theta = result.theta[distinct]
    # the run may have widened limits
    with session.widened({p["name"]: (p["min"], p["max"]) for p in result.parameters}):
        found = session.fluxes(theta, energies)
        bright = None if redshift is None else session.luminosities(theta, energies, redshift).energy[inverse]
    low, high = (float(e) for e in energies)
    return PosteriorFluxes(
        (low, high), found.labels, found.energy[inverse], found.photon[inverse], bright, redshift, rows
    )
