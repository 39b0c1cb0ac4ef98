"""Spectrum files summed into groups, and backgrounds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from xsixsa.embedded.grouping import group_scale, sum_groups
from xsixsa.embedded.pha import PhaFile, read_pha
from xsixsa.embedded.state import ENGINE
from xsixsa.embedded.statistics import weighted_variance
from xsixsa.errors import DataError

if TYPE_CHECKING:
    from xsixsa.embedded.spectrum import Spectrum

__all__ = ["Background", "Grouped"]


class Grouped:
    """A spectrum file summed into groups: rates per area scale, as XSPEC keeps them."""

    def __init__(self, pha: PhaFile, group: np.ndarray, n_groups: int) -> None:
        self.pha = pha
        self.area_scale = group_scale(pha.area_scale, pha.rate, group, n_groups)
        self.back_scale = group_scale(pha.back_scale, pha.rate, group, n_groups)
        self.counts = sum_groups(pha.rate * pha.exposure, group, n_groups)
        if pha.poisson_errors or np.allclose(self.counts, np.rint(self.counts), rtol=0, atol=1e-6):
            self.counts = np.where(np.abs(self.counts - np.rint(self.counts)) < 1e-6, np.rint(self.counts), self.counts)
        total = sum_groups(pha.rate, group, n_groups)
        statistical = sum_groups(pha.variance, group, n_groups)
        worst = np.zeros(n_groups)
        kept = group >= 0
        np.maximum.at(worst, group[kept], pha.systematic[kept])
        self.rate = total / self.area_scale
        # a systematic error makes it not Poisson, as in XSPEC
        noise = statistical + (worst * total) ** 2
        self.variance = noise / self.area_scale**2
        self.is_poisson = bool(np.all(np.abs(self.counts - noise * pha.exposure**2) <= 1e-5))

    def weighted(self) -> np.ndarray:
        """Return the variance of the rate that ``Fit.weight`` asks for."""
        return weighted_variance(ENGINE.fit.weight, self.counts, self.pha.exposure * self.area_scale, self.variance)

    @staticmethod
    def shown(scale: np.ndarray, scalar: bool) -> float | tuple[float, ...]:
        return float(scale[0]) if scalar else tuple(scale.tolist())


class Background:
    """The background file of a spectrum, grouped as the spectrum is.

    Attributes
    ----------
    fileName : str
    exposure : float
        s.
    areaScale, backScale : float or tuple
    isPoisson : bool
    counts : (groups,) float64
        As in the file, unscaled, of all groups.
    """

    def __init__(self, spectrum: Spectrum, path: str) -> None:
        pha = read_pha(path)
        if pha.n_channels != spectrum.n_channels:
            raise DataError(f"{path}: has {pha.n_channels} channels, {spectrum.fileName} has {spectrum.n_channels}")
        self._spectrum = spectrum
        self._core = Grouped(pha, spectrum.group, spectrum.n_groups)
        self.fileName = path
        self.exposure = pha.exposure
        self.isPoisson = self._core.is_poisson

    @property
    def counts(self) -> np.ndarray:
        """Counts of every group, as in the file."""
        return self._core.counts

    @property
    def area_scale(self) -> np.ndarray:
        """AREASCAL of every group."""
        return self._core.area_scale

    @property
    def back_scale(self) -> np.ndarray:
        """BACKSCAL of every group."""
        return self._core.back_scale

    @property
    def areaScale(self) -> float | tuple[float, ...]:
        """AREASCAL, a tuple where the file has a column."""
        return self._core.shown(self.area_scale, self._core.pha.scalar_area)

    @property
    def backScale(self) -> float | tuple[float, ...]:
        """BACKSCAL, a tuple where the file has a column."""
        return self._core.shown(self.back_scale, self._core.pha.scalar_back)

    @property
    def ratio(self) -> np.ndarray:
        """Factor from this background to the source region, of every group."""
        return self._spectrum.back_scale / self.back_scale

    @property
    def values(self) -> tuple[float, ...]:
        """Counts/s of the noticed bins, scaled to the source region."""
        return tuple((self._core.rate * self.ratio)[self._spectrum.mask].tolist())

    @property
    def variance(self) -> tuple[float, ...]:
        """Variance of `values`."""
        return tuple((self._core.weighted() * self.ratio**2)[self._spectrum.mask].tolist())

    @property
    def scaled(self) -> tuple[np.ndarray, np.ndarray]:
        """Rate and variance of every group, scaled to the source region."""
        return self._core.rate * self.ratio, self._core.weighted() * self.ratio**2
