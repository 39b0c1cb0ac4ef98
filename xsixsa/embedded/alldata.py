"""``AllData``: the loaded spectra and their data groups."""

from __future__ import annotations

import re

import numpy as np

from xsixsa.embedded.grouping import parse_ranges, select
from xsixsa.embedded.spectrum import Spectrum
from xsixsa.embedded.state import Engine
from xsixsa.errors import DataError

__all__ = ["DataManager"]

_POSITION = re.compile(r"^(?:(\d+):)?(\d+)$")


class DataManager:
    """Container of spectra, numbered from 1.

    ``AllData(1)`` returns a spectrum, ``AllData("1:1 a.pha 2:2 b.pha")`` loads (data group : spectrum number).
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._spectra: list[Spectrum] = []

    def __call__(self, expr: int | str) -> Spectrum | None:
        """Return spectrum number `expr`, or load what a string in the syntax of XSPEC's ``data`` names.

        Raises
        ------
        DataError
            No such spectrum, or a file that cannot be used.
        """
        if isinstance(expr, str):
            self._load(expr)
            return None
        if not isinstance(expr, int) or not 1 <= expr <= len(self._spectra):
            raise DataError(f"no spectrum {expr!r}; {len(self._spectra)} are loaded")
        return self._spectra[expr - 1]

    def __iter__(self):
        return iter(tuple(self._spectra))

    @property
    def nSpectra(self) -> int:
        """Number of loaded spectra."""
        return len(self._spectra)

    @property
    def nGroups(self) -> int:
        """Number of data groups."""
        return max((s.dataGroup for s in self._spectra), default=0)

    def index_of(self, spectrum: Spectrum) -> int:
        """Return the number of a loaded spectrum; raises for one that was removed."""
        for i, mine in enumerate(self._spectra):
            if mine is spectrum:
                return i + 1
        raise DataError(f"{spectrum.fileName} is no longer loaded; take the spectrum from AllData again")

    def append(self, spectrum: Spectrum) -> None:
        """Add a spectrum behind the others."""
        self._spectra.append(spectrum)
        self.changed()

    def changed(self, renumbered: dict[int, int] | None = None) -> None:
        """Tell the others that spectra, groups or responses changed.

        Parameters
        ----------
        renumbered : dict, optional
            Old -> new numbers of the data groups that remain, where their numbers changed.
        """
        self._engine.restructured()
        self._engine.models.follow_data(renumbered)

    def __iadd__(self, spectra: Spectrum | str) -> DataManager:
        if isinstance(spectra, str):
            Spectrum(spectra)
        elif spectra not in self._spectra:
            self.append(spectra)
        return self

    def __isub__(self, spectra: Spectrum | int | str) -> DataManager:
        if spectra == "*":
            self.clear()
            return self
        number = spectra if isinstance(spectra, int) else self.index_of(spectra)
        self(number)
        del self._spectra[number - 1]
        self.changed(self._close_gaps())
        return self

    def _close_gaps(self) -> dict[int, int]:
        """Renumber data groups so that none is empty; return old -> new."""
        numbers = {old: new for new, old in enumerate(sorted({s.dataGroup for s in self._spectra}), 1)}
        for spectrum in self._spectra:
            spectrum.dataGroup = numbers[spectrum.dataGroup]
        return numbers

    def clear(self) -> None:
        """Unload everything."""
        self._spectra = []
        self.changed()

    def _load(self, text: str) -> None:
        """Load by the syntax of the ``data`` command; nothing changes where a file fails.

        Spectra behind the last one named are dropped, unless a slash ends the text, as in XSPEC.
        """
        keep_rest = text.rstrip().endswith("/")
        tokens = text.rstrip().removesuffix("/").replace(",", " ").split()
        spectra, group, number = list(self._spectra), 1, 1
        for token in tokens:
            position = _POSITION.match(token)
            if position:
                group = int(position[1]) if position[1] else group
                number = int(position[2])
                if not 1 <= number <= len(spectra) + 1 or group < 1:
                    raise DataError(f"{token!r} in {text!r}: spectrum numbers run without gaps, {len(spectra)} so far")
            elif token.lower() == "none":
                del spectra[number - 1 : number]
            else:
                loaded = Spectrum(token, _register=False)
                loaded.dataGroup = group
                spectra[number - 1 : number] = [loaded]
                number += 1
        self._spectra = spectra if keep_rest else spectra[: number - 1]
        self.changed(self._close_gaps())

    def apply(self, text: str, noticed: bool, default: list[int] | None = None) -> None:
        """Ignore or notice ranges; nothing changes where the text is wrong."""
        if not isinstance(text, str):
            raise DataError(f"ranges are text such as '**-0.5 10.0-**', not {text!r}")
        if text.strip().lower() == "bad":
            if noticed or default is not None:
                raise DataError("'bad' is for AllData.ignore alone")
            masks = [spectrum.mask & (spectrum.quality == 0) for spectrum in self._spectra]
        else:
            masks = [spectrum.mask.copy() for spectrum in self._spectra]
            for which, part in parse_ranges(text, len(self._spectra), default):
                for number in which:
                    spectrum = self._spectra[number - 1]
                    low, high = spectrum.bounds() or (None, None)
                    masks[number - 1][select(part, low, high, spectrum.n_groups)] = noticed
        for spectrum, mask in zip(self._spectra, masks, strict=True):
            if not np.array_equal(mask, spectrum.mask):
                spectrum.mask = mask
                self._engine.restructured()

    def ignore(self, ignoreRange: str) -> None:
        """Ignore ``"bad"`` or ranges: ``"**-0.5 10.0-**"`` in all spectra, ``"2:1-9"`` in one."""
        self.apply(ignoreRange, noticed=False)

    def notice(self, noticeRange: str) -> None:
        """Notice ``"all"`` or ranges."""
        self.apply("**" if noticeRange.strip().lower() == "all" else noticeRange, noticed=True)

    def show(self) -> None:
        """Say what is loaded."""
        for spectrum in self._spectra:
            spectrum.show()
