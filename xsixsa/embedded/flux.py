"""``AllModels.calcFlux`` and ``calcLumin``."""

from __future__ import annotations

import numpy as np

from xsixsa.embedded.model import Model
from xsixsa.embedded.state import Engine
from xsixsa.errors import ModelError

__all__ = ["calc_flux", "calc_lumin", "luminosity_distance"]

KEV_IN_ERG = 1.60217646e-9
MPC_IN_CM = 3.0856775807e24
LIGHT_KM_S = 299792.458


def calc_flux(engine: Engine, text: str) -> None:
    """Compute energy flux (erg/cm2/s) and photon flux of every source in ``"low high"``, keV."""
    low, high, *_ = _numbers(text, 2, "calcFlux", "2.0 10.0")
    _each(engine, "flux", low, high, 1.0, f"Model flux {low:g} - {high:g} keV")


def calc_lumin(engine: Engine, text: str) -> None:
    """Compute luminosities (1e44 erg/s) in the rest-frame range ``"low high redshift"``."""
    low, high, redshift = _numbers(text, 3, "calcLumin", "2.0 10.0 0.1")
    if not redshift > 0:
        raise ModelError(f"AllModels.calcLumin({text!r}): the redshift is above 0")
    distance = luminosity_distance(redshift, tuple(float(x) for x in engine.settings.cosmo)) * MPC_IN_CM
    factor = 4.0 * np.pi * distance**2 / 1e44
    name = f"Model luminosity {low:g} - {high:g} keV rest frame at z = {redshift:g}"
    _each(engine, "lumin", low / (1.0 + redshift), high / (1.0 + redshift), factor, name)


def luminosity_distance(redshift: float, cosmo: tuple[float, float, float]) -> float:
    """Return the luminosity distance in Mpc.

    Parameters
    ----------
    redshift : float
    cosmo : (H0, q0, Lambda0)
        With Lambda0 the universe is flat and q0 plays no part, as in XSPEC; without, Mattig's formula for q0.
    """
    hubble, q0, lambda0 = cosmo
    if lambda0 == 0:
        if q0 == 0:
            comoving = redshift * (1.0 + 0.5 * redshift)
        else:
            root = np.sqrt(1.0 + 2.0 * q0 * redshift)
            comoving = (q0 * redshift + (q0 - 1.0) * (root - 1.0)) / q0**2
        return LIGHT_KM_S / hubble * comoving
    from scipy.integrate import quad

    omega = 1.0 - lambda0
    integral, _ = quad(lambda z: 1.0 / np.sqrt(omega * (1.0 + z) ** 3 + lambda0), 0.0, redshift, epsrel=1e-10)
    return LIGHT_KM_S / hubble * (1.0 + redshift) * integral


def _numbers(text: str, wanted: int, name: str, example: str) -> list[float]:
    words = str(text).replace(",", " ").split()
    if "err" in words or "noerr" in words:
        raise ModelError(f"AllModels.{name}: the embedded engine has no errors of fluxes; draw them from a chain")
    try:
        numbers = [float(word) for word in words]
    except ValueError as error:
        raise ModelError(f"AllModels.{name}({text!r}): numbers, such as {example!r}") from error
    if len(numbers) < wanted or not all(np.isfinite(numbers)) or min(numbers[:2]) < 0:
        raise ModelError(f"AllModels.{name}({text!r}): {wanted} numbers, such as {example!r}")
    return [min(numbers[:2]), max(numbers[:2]), *numbers[2:wanted]]


def _each(engine: Engine, kind: str, low: float, high: float, factor: float, title: str) -> None:
    """Compute for every spectrum, or for the models where there is none, and say it."""
    attribute = f"{kind}_result"
    if engine.data.nSpectra == 0:
        for model in engine.models:
            edges = engine.settings.dummy_edges
            setattr(model, attribute, _integral(engine, model, edges, low, high, factor))
        return
    results = {}
    for number, spectrum in enumerate(engine.data, 1):
        parts, sources = [], []
        for model in engine.models:
            response = spectrum.responses.get(model.source)
            if response is not None and model.group == spectrum.dataGroup:
                parts.append(_integral(engine, model, response.edges, low, high, factor))
                sources.append(model.source)
        results[number] = (sources, parts)
    engine.console.tell(title)
    for number, (sources, parts) in results.items():
        setattr(engine.data(number), attribute, tuple(x for part in parts for x in part) or None)
        engine.console.tell(f"Spectrum Number: {number}")
        for source, part in zip(sources, parts, strict=True):
            # a line of its own, which scripts look for in the log
            if len(sources) > 1:
                engine.console.tell(f"Source {source}")
            engine.console.tell(f" {part[3]:.5g} photons, {part[0]:.5g} ({kind})")


def _integral(engine: Engine, model: Model, edges: np.ndarray, low: float, high: float, factor: float) -> tuple:
    """Return (energy, 0, 0, photons, 0, 0) between two energies; bins at the ends count by the part inside."""
    if high <= edges[0] or low >= edges[-1]:
        raise ModelError(
            f"{low:g} - {high:g} keV is outside the energies of the response, {edges[0]:g} - {edges[-1]:g}"
        )
    if low < edges[0] or high > edges[-1]:
        engine.console.warn(f"the range is cut to the response's energies, {edges[0]:g} - {edges[-1]:g} keV")
    photons = engine.evaluator.photons_on(model, edges)
    inside_low, inside_high = np.maximum(edges[:-1], low), np.minimum(edges[1:], high)
    share = np.maximum(inside_high - inside_low, 0.0) / np.diff(edges)
    number = photons * share
    energy = number * 0.5 * (edges[:-1] + edges[1:])
    return float(energy.sum() * KEV_IN_ERG * factor), 0.0, 0.0, float(number.sum()), 0.0, 0.0
