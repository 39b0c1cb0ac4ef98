"""Spectra with their backgrounds and responses, under PyXspec's names."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy import sparse

from xsixsa.embedded.grouping import compact, group_channels, group_scale, sum_groups
from xsixsa.embedded.pha import PhaFile, read_pha
from xsixsa.embedded.rmf import Arf, Rmf, read_arf, read_rmf
from xsixsa.embedded.state import ENGINE
from xsixsa.errors import DataError

__all__ = ["Background", "MultiResponse", "Response", "Spectrum"]


class Response:
    """A response of one source: RMF, and ARF where the RMF does not hold the area.

    Attributes
    ----------
    rmf, arf : str
        File names; `arf` is settable, empty for none.
    energies : tuple of float
        Edges of the photon energies, keV.
    sourceNumber : int
    """

    def __init__(self, spectrum: Spectrum, source: int, rmf: str, arf: str = "") -> None:
        self._spectrum = spectrum
        self._rmf: Rmf = read_rmf(rmf)
        self._arf: Arf | None = None
        self.sourceNumber = source
        if self._rmf.n_channels != spectrum.n_channels:
            raise DataError(
                f"{rmf}: has {self._rmf.n_channels} channels (DETCHANS), {spectrum.fileName} has {spectrum.n_channels}"
            )
        if arf:
            self._load_arf(arf)

    def _load_arf(self, path: str) -> None:
        arf = read_arf(path)
        edges = self._rmf.edges
        if arf.area.size != edges.size - 1:
            raise DataError(
                f"{path}: SPECRESP has {arf.area.size} energies, MATRIX of {self._rmf.path} has {edges.size - 1}"
            )
        apart = np.max(np.abs(arf.edges - edges)[1:] / np.diff(edges))
        if apart > 0.5:
            raise DataError(f"{path}: ENERG_LO/ENERG_HI are not those of {self._rmf.path}")
        self._arf = arf

    @property
    def rmf(self) -> str:
        """File name of the RMF."""
        return self._rmf.path

    @property
    def arf(self) -> str:
        """File name of the ARF; set it to another file, or to "" or None for none."""
        return "" if self._arf is None else self._arf.path

    @arf.setter
    def arf(self, path: str | None) -> None:
        if path is None or not str(path).strip():
            self._arf = None
        else:
            self._load_arf(str(path))
        ENGINE.restructured()

    @property
    def energies(self) -> tuple[float, ...]:
        """Edges of the photon energy bins, keV."""
        return tuple(self._rmf.edges.tolist())

    @property
    def chanEnergies(self) -> tuple[tuple[float, float], ...]:
        """Nominal energies of the ungrouped channels, keV."""
        return tuple(zip(self._rmf.e_min.tolist(), self._rmf.e_max.tolist(), strict=True))

    @property
    def edges(self) -> np.ndarray:
        """Edges of the photon energy bins, (energies + 1,) keV."""
        return self._rmf.edges

    def group_bounds(self, group: np.ndarray, n_groups: int) -> tuple[np.ndarray, np.ndarray]:
        """Return lowest and highest nominal energy of each group, keV."""
        kept = group >= 0
        low, high = np.full(n_groups, np.inf), np.full(n_groups, -np.inf)
        np.minimum.at(low, group[kept], self._rmf.e_min[kept])
        np.maximum.at(high, group[kept], self._rmf.e_max[kept])
        return low, high

    def folding(self, group: np.ndarray, bins: np.ndarray) -> sparse.csr_array:
        """Return the effective response of the wanted groups, (bins, energies) cm2.

        Parameters
        ----------
        group : (channels,) int
            Group of each channel, -1 for none.
        bins : (n,) int
            The wanted groups.
        """
        row_of_group = np.full(int(group.max()) + 1, -1)
        row_of_group[bins] = np.arange(bins.size)
        row = np.where(group >= 0, row_of_group[np.maximum(group, 0)], -1)
        used = np.flatnonzero(row >= 0)
        ones = np.ones(used.size)
        summing = sparse.csr_array((ones, (row[used], used)), shape=(bins.size, group.size))
        matrix = summing @ self._rmf.matrix
        if self._arf is not None:
            matrix = matrix @ sparse.diags_array(self._arf.area)
        matrix = sparse.csr_array(matrix)
        matrix.eliminate_zeros()
        return matrix


class MultiResponse:
    """The responses of a spectrum by source, 0-based as in PyXspec: ``s.multiresponse[1]`` is source 2."""

    def __init__(self, spectrum: Spectrum) -> None:
        self._spectrum = spectrum

    def __getitem__(self, index: int) -> Response:
        found = self._spectrum.responses.get(index + 1)
        if found is None:
            raise DataError(f"spectrum {self._spectrum.index} has no response for source {index + 1}")
        return found

    def __setitem__(self, index: int, path: str | None) -> None:
        self._spectrum.set_response(index + 1, path)


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
        self._core = _Grouped(pha, spectrum.group, spectrum.n_groups)
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
        return tuple((self._core.variance * self.ratio**2)[self._spectrum.mask].tolist())

    @property
    def scaled(self) -> tuple[np.ndarray, np.ndarray]:
        """Rate and variance of every group, scaled to the source region."""
        return self._core.rate * self.ratio, self._core.variance * self.ratio**2


class _Grouped:
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
        self.variance = (statistical + (worst * total) ** 2) / self.area_scale**2
        unit = pha.exposure
        self.is_poisson = bool(np.all(np.abs(self.counts - statistical * unit**2) <= 1e-5))

    @staticmethod
    def shown(scale: np.ndarray, scalar: bool) -> float | tuple[float, ...]:
        return float(scale[0]) if scalar else tuple(scale.tolist())


class Spectrum:
    """A spectrum with its background, responses and noticed bins.

    Made by ``Spectrum(file)``, which also adds it to ``AllData`` in data group 1.

    Parameters
    ----------
    dataFile : str
        PHA file, against the current directory.
    backFile, respFile, arfFile : str, optional
        Instead of the header's BACKFILE, RESPFILE, ANCRFILE; "none" for none.

    Raises
    ------
    xsixsa.errors.DataError
        With file and keyword or column.
    """

    def __init__(
        self,
        dataFile: str,
        backFile: str | None = None,
        respFile: str | None = None,
        arfFile: str | None = None,
        *,
        _register: bool = True,
    ) -> None:
        pha = read_pha(dataFile)
        self.fileName = dataFile
        self.n_channels = pha.n_channels
        self.group, self.quality = group_channels(pha)
        self.n_groups = self.quality.size
        self._core = _Grouped(pha, self.group, self.n_groups)
        self.exposure = pha.exposure
        self.isPoisson = self._core.is_poisson
        self.dataGroup = 1
        self.mask = np.ones(self.n_groups, dtype=bool)
        self.responses: dict[int, Response] = {}
        self.multiresponse = MultiResponse(self)
        self.flux_result: tuple[float, ...] | None = None
        self.lumin_result: tuple[float, ...] | None = None
        self._background: Background | None = None
        self._load_background(pha, backFile)
        self._load_response(pha, respFile, arfFile)
        if _register:
            ENGINE.data.append(self)

    def _load_background(self, pha: PhaFile, given: str | None) -> None:
        path = pha.background if given is None else _name(given)
        if path and given is None and not _exists(path):
            ENGINE.console.warn(f"{self.fileName}: BACKFILE {path} is not here; loaded without background")
        elif path:
            self._background = Background(self, path)

    def _load_response(self, pha: PhaFile, given: str | None, given_arf: str | None) -> None:
        path = pha.response if given is None else _name(given)
        arf = pha.arf if given_arf is None else _name(given_arf)
        if not path:
            return
        if given is None and not _exists(path):
            # XSPEC would ask; with prompting off it goes on without
            ENGINE.console.warn(f"{self.fileName}: RESPFILE {path} is not here; loaded without a response")
            return
        if arf and given_arf is None and not _exists(arf):
            ENGINE.console.warn(f"{self.fileName}: ANCRFILE {arf} is not here; the response has no area")
            arf = ""
        self.responses[1] = Response(self, 1, path, arf)

    @property
    def index(self) -> int:
        """Number in ``AllData``, from 1."""
        return ENGINE.data.index_of(self)

    @property
    def background(self) -> Background:
        """The background; raises where there is none. Set it to a file name, or to None or "" for none."""
        if self._background is None:
            raise DataError(f"spectrum {self.index} ({self.fileName}) has no background")
        return self._background

    @background.setter
    def background(self, path: str | None) -> None:
        path = _name(path)
        self._background = Background(self, path) if path else None
        ENGINE.restructured()

    @property
    def response(self) -> Response:
        """The response of source 1; raises where there is none. Set it to a file name, or to None for none."""
        found = self.responses.get(1)
        if found is None:
            raise DataError(f"spectrum {self.index} ({self.fileName}) has no response; set spectrum.response = file")
        return found

    @response.setter
    def response(self, path: str | None) -> None:
        self.set_response(1, path)

    def set_response(self, source: int, path: str | None) -> None:
        """Give source `source` (from 1) a response file, or none. The ARF of an earlier one is dropped."""
        path = _name(path)
        if path:
            self.responses[source] = Response(self, source, path)
        else:
            self.responses.pop(source, None)
        ENGINE.data.changed()

    @property
    def has_background(self) -> bool:
        """Whether a background file is loaded."""
        return self._background is not None

    @property
    def counts(self) -> np.ndarray:
        """Counts of every group."""
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
        """AREASCAL, a tuple over all groups where the file has a column."""
        return self._core.shown(self.area_scale, self._core.pha.scalar_area)

    @property
    def backScale(self) -> float | tuple[float, ...]:
        """BACKSCAL, a tuple over all groups where the file has a column."""
        return self._core.shown(self.back_scale, self._core.pha.scalar_back)

    @property
    def rates(self) -> tuple[np.ndarray, np.ndarray]:
        """Rate per area scale and its variance, of every group, background included."""
        return self._core.rate, self._core.variance

    @property
    def values(self) -> tuple[float, ...]:
        """Counts/s of the noticed bins, background included."""
        return tuple(self._core.rate[self.mask].tolist())

    @property
    def variance(self) -> tuple[float, ...]:
        """Variance of `values`, with that of the background."""
        total = self._core.variance.copy()
        if self._background is not None:
            total += self._background.scaled[1]
        return tuple(total[self.mask].tolist())

    @property
    def bins(self) -> np.ndarray:
        """Noticed groups, 0-based."""
        return np.flatnonzero(self.mask)

    @property
    def noticed(self) -> list[int]:
        """Noticed groups, 1-based."""
        return (self.bins + 1).tolist()

    @property
    def ignored(self) -> list[int]:
        """Ignored groups, 1-based."""
        return (np.flatnonzero(~self.mask) + 1).tolist()

    def noticedString(self) -> str:
        """Return the noticed groups as ``"1 3-5"``."""
        return compact(self.bins + 1)

    def ignoredString(self) -> str:
        """Return the ignored groups as ``"1 3-5"``."""
        return compact(np.flatnonzero(~self.mask) + 1)

    def bounds(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Return nominal energies of all groups, keV, or None without a response."""
        if not self.responses:
            return None
        return self.responses[min(self.responses)].group_bounds(self.group, self.n_groups)

    @property
    def energies(self) -> list[tuple[float, float]]:
        """Nominal energies of the noticed bins, keV."""
        bounds = self.bounds()
        if bounds is None:
            return [(float(i), float(i) + 1.0) for i in self.bins]
        return list(zip(bounds[0][self.mask].tolist(), bounds[1][self.mask].tolist(), strict=True))

    @property
    def rate(self) -> tuple[float, float, float, float]:
        """Net rate, its error, gross rate and model rate of the noticed bins, counts/s."""
        gross, noise = self._core.rate[self.mask].sum(), sum(self.variance)
        net = gross - (sum(self._background.values) if self._background is not None else 0.0)
        return float(net), float(np.sqrt(noise)), float(gross), float(ENGINE.evaluator.model_rate(self))

    @property
    def flux(self) -> tuple[float, ...]:
        """Six numbers per source of the last ``AllModels.calcFlux``."""
        return self.flux_result or (0.0,) * 6

    @property
    def lumin(self) -> tuple[float, ...]:
        """Six numbers per source of the last ``AllModels.calcLumin``."""
        return self.lumin_result or (0.0,) * 6

    def choose(self, text: str, noticed: bool, default: list[int] | None = None) -> None:
        """Apply the ranges of `text` to this spectrum alone."""
        ENGINE.data.apply(text, noticed, [self.index] if default is None else default)

    def ignore(self, ignoreRange: str) -> None:
        """Ignore channels or energies, in XSPEC's syntax: ``"**-0.5 10.0-**"``, ``"1-9"``."""
        self.choose(ignoreRange, noticed=False)

    def notice(self, noticeRange: str) -> None:
        """Notice channels or energies, or ``"all"``."""
        self.choose("**" if noticeRange.strip().lower() == "all" else noticeRange, noticed=True)

    def show(self) -> None:
        """Say what is loaded."""
        ENGINE.console.tell(
            f"Spectrum {self.index} {self.fileName}: {self.mask.sum()} of {self.n_groups} bins noticed, "
            f"{self._core.counts[self.mask].sum():g} counts in {self.exposure:g} s, data group {self.dataGroup}"
        )


def _name(path: str | None) -> str:
    """Return a file name, empty for none."""
    text = "" if path is None else str(path).strip()
    return "" if text.lower() == "none" else text


def _exists(path: str) -> bool:
    return Path(path).exists() or Path(f"{path}.gz").exists()
