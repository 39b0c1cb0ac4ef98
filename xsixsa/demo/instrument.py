"""A made-up CCD telescope: effective area with edges, and a Gaussian redistribution that broadens with energy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr

__all__ = ["Instrument", "ccd"]

# Energy to make an electron-hole pair in silicon (keV), Fano factor, and read-out noise in electrons.
_PAIR = 3.65e-3
_FANO = 0.115
_NOISE = 8.0
# Redistribution below this probability per channel is not stored.
_THRESHOLD = 1e-7


@dataclass(frozen=True)
class Instrument:
    """What response files hold.

    Attributes
    ----------
    energies : ndarray (m + 1,)
        Edges of the photon energy bins, keV.
    channels : ndarray (c + 1,)
        Nominal energy edges of the channels, keV.
    area : ndarray (m,)
        Effective area, cm2.
    matrix : ndarray (m, c)
        Probability that a detected photon of each energy lands in each channel.
    """

    energies: np.ndarray
    channels: np.ndarray
    area: np.ndarray
    matrix: np.ndarray

    def fold(self, photons: np.ndarray) -> np.ndarray:
        """Counts/s per channel (c,) of a model in photons/cm2/s per energy bin (m,)."""
        return (photons * self.area) @ self.matrix


def resolution(energy: np.ndarray) -> np.ndarray:
    """Standard deviation of the response (keV): Fano noise and read-out noise of a silicon detector."""
    return _PAIR * np.sqrt(_NOISE**2 + _FANO * energy / _PAIR)


def effective_area(energy: np.ndarray) -> np.ndarray:
    """Effective area in cm2: mirror with a gold M edge, filter with C and O edges, detector with a Si K edge."""

    def transmission(edge, depth, jump):
        return np.exp(-depth * (energy / edge) ** -3 * np.where(energy >= edge, 1.0, jump))

    mirror = 1100.0 / (1.0 + (energy / 7.0) ** 4)
    gold = 1.0 - 0.22 * np.where(energy >= 2.206, np.exp(-(energy - 2.206) / 1.8), 0.0)
    filters = transmission(0.284, 0.5, 0.05) * transmission(0.543, 0.25, 0.05)
    silicon = transmission(1.839, 0.06, 0.1)
    depletion = -np.expm1(-12.0 * (energy / 5.0) ** -3)
    return mirror * gold * filters * silicon * depletion


def ccd() -> Instrument:
    """The demo's instrument: 0.1-12 keV in 10 eV bins, 1024 channels of 12 eV."""
    energies = np.linspace(0.1, 12.0, 1191)
    channels = 0.012 * np.arange(1025)
    middle = 0.5 * (energies[1:] + energies[:-1])
    cumulative = ndtr((channels[None, :] - middle[:, None]) / resolution(middle)[:, None])
    matrix = np.diff(cumulative, axis=1)
    matrix[matrix < _THRESHOLD] = 0.0
    # single precision is what response files hold: what is simulated is exactly what is written
    return Instrument(
        energies.astype(np.float32).astype(float),
        channels.astype(np.float32).astype(float),
        effective_area(middle).astype(np.float32).astype(float),
        matrix.astype(np.float32).astype(float),
    )
