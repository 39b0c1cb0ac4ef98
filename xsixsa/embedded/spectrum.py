"""Spectra with their backgrounds and responses, under PyXspec's names."""

from __future__ import annotations

import numpy as np

from xsixsa.embedded.background import Background, Grouped
from xsixsa.embedded.fitsio import exists
from xsixsa.embedded.grouping import compact, group_channels
from xsixsa.embedded.pha import PhaFile, read_pha
from xsixsa.embedded.response import MultiResponse, Response
from xsixsa.embedded.restrict import Restricted
from xsixsa.embedded.state import ENGINE
from xsixsa.errors import DataError

__all__ = ["Spectrum"]


class Spectrum(Restricted):
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
        self._core = Grouped(pha, self.group, self.n_groups)
        self.exposure = pha.exposure
        self.isPoisson = self._core.is_poisson
        self.dataGroup = 1
        self.mask = np.ones(self.n_groups, dtype=bool)
        self.responses: dict[int, Response] = {}
        self.multiresponse = MultiResponse(self)
        self.flux_result: tuple[float, ...] | None = None
        self.lumin_result: tuple[float, ...] | None = None
        self._background: Background | None = None
        # BACKFILE, RESPFILE and ANCRFILE as the header has them, for saving what differs
        self.header_files = (pha.background, pha.response, pha.arf)
        self._load_background(pha, backFile)
        self._load_response(pha, respFile, arfFile)
        self._seal()
        if _register:
            ENGINE.data.append(self)

    def _load_background(self, pha: PhaFile, given: str | None) -> None:
        path = pha.background if given is None else _name(given)
        if path and given is None and not exists(path):
            ENGINE.console.warn(f"{self.fileName}: BACKFILE {path} is not here; loaded without background")
        elif path:
            self._background = Background(self, path)

    def _load_response(self, pha: PhaFile, given: str | None, given_arf: str | None) -> None:
        path = pha.response if given is None else _name(given)
        arf = pha.arf if given_arf is None else _name(given_arf)
        if not path:
            return
        if given is None and not exists(path):
            # XSPEC would ask; with prompting off it goes on without
            ENGINE.console.warn(f"{self.fileName}: RESPFILE {path} is not here; loaded without a response")
            return
        if arf and given_arf is None and not exists(arf):
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
    def background_file(self) -> str:
        """File name of the background, empty for none."""
        return "" if self._background is None else self._background.fileName

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
        return self._core.rate, self._core.weighted()

    @property
    def values(self) -> tuple[float, ...]:
        """Counts/s of the noticed bins, background included."""
        return tuple(self._core.rate[self.mask].tolist())

    @property
    def variance(self) -> tuple[float, ...]:
        """Variance of `values`, without that of the background."""
        return tuple(self._core.weighted()[self.mask].tolist())

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
        """Nominal energies of the noticed bins, keV; raises without a response."""
        bounds = self.bounds()
        if bounds is None:
            raise DataError(f"spectrum {self.index} ({self.fileName}) has no response, so its bins have no energies")
        return list(zip(bounds[0][self.mask].tolist(), bounds[1][self.mask].tolist(), strict=True))

    @property
    def rate(self) -> tuple[float, float, float, float]:
        """Net rate, its error, gross rate and model rate of the noticed bins, counts/s."""
        gross = net = self._core.rate[self.mask].sum()
        noise = sum(self.variance)
        if self._background is not None:
            net, noise = gross - sum(self._background.values), noise + sum(self._background.variance)
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
