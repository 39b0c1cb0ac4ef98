"""``Xset``: abundances, cross-sections, cosmology, chatter, and saved sessions."""

from __future__ import annotations

from typing import TextIO

import numpy as np

from xsixsa.embedded.restrict import Restricted
from xsixsa.embedded.state import Engine
from xsixsa.errors import UsageError

__all__ = ["ABUNDANCES", "CROSS_SECTIONS", "XspecSettings"]

ABUNDANCES = ("angr", "aspl", "feld", "aneb", "grsa", "wilm", "lodd")
CROSS_SECTIONS = ("bcmc", "vern")


class _Parallel(Restricted):
    """Numbers of processes, kept for scripts that set them; the engine works in one."""

    def __init__(self) -> None:
        self.leven = 1
        self.error = 1
        self.steppar = 1
        self.goodness = 1
        self.walkers = 1
        self._seal()

    def reset(self) -> None:
        """Set all to 1."""
        self.leven = self.error = self.steppar = self.goodness = self.walkers = 1


class XspecSettings(Restricted):
    """Settings of the session."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._abund = "angr"
        self._xsect = "vern"
        self._cosmo = (70.0, 0.0, 0.73)
        self._strings: dict[str, str] = {}
        self._prompting = True
        self._parallel = _Parallel()
        self._seed: int | None = None
        self._seal()

    @property
    def abund(self) -> str:
        """Abundance table: angr, aspl, feld, aneb, grsa, wilm or lodd."""
        return self._abund

    @abund.setter
    def abund(self, table: str) -> None:
        word = str(table).strip().lower()
        if word not in ABUNDANCES:
            raise UsageError(f"Xset.abund = {table!r}: one of {', '.join(ABUNDANCES)}")
        self._abund = word
        self._engine.restructured()

    @property
    def xsect(self) -> str:
        """Photo-electric cross-sections: bcmc or vern."""
        return self._xsect

    @xsect.setter
    def xsect(self, table: str) -> None:
        word = str(table).strip().lower()
        if word not in CROSS_SECTIONS:
            raise UsageError(f"Xset.xsect = {table!r}: one of {', '.join(CROSS_SECTIONS)}")
        self._xsect = word
        self._engine.restructured()

    @property
    def cosmo(self) -> tuple[str, ...]:
        """(H0, q0, Lambda0) as text, as PyXspec gives them; set ``"70 0 0.73"`` or ``",,0.7"``."""
        return tuple(f"{x:g}" for x in self._cosmo)

    @cosmo.setter
    def cosmo(self, values: str) -> None:
        places = (
            [part.strip() for part in ",".join(str(values).split()).split(",")]
            if "," not in str(values)
            else [part.strip() for part in str(values).split(",")]
        )
        if len(places) > 3:
            raise UsageError(f"Xset.cosmo = {values!r}: H0, q0 and Lambda0")
        try:
            given = [old if not place else float(place) for place, old in zip(places, self._cosmo, strict=False)]
        except ValueError as error:
            raise UsageError(f"Xset.cosmo = {values!r}: numbers, such as '70 0 0.73'") from error
        merged = (*given, *self._cosmo[len(given) :])
        if not merged[0] > 0 or not all(np.isfinite(merged)):
            raise UsageError(f"Xset.cosmo = {values!r}: H0 is above 0 and all are finite")
        self._cosmo = merged
        self._engine.restructured()

    @property
    def chatter(self) -> int:
        """How much is said, 0 for nothing; 10 at start."""
        return self._engine.console.chatter

    @chatter.setter
    def chatter(self, value: int) -> None:
        self._engine.console.chatter = _whole(value, "chatter")

    @property
    def logChatter(self) -> int:
        """How much goes to the log file."""
        return self._engine.console.log_chatter

    @logChatter.setter
    def logChatter(self, value: int) -> None:
        self._engine.console.log_chatter = _whole(value, "logChatter")

    @property
    def allowPrompting(self) -> bool:
        """Kept for scripts that set it; the embedded engine never asks."""
        return self._prompting

    @allowPrompting.setter
    def allowPrompting(self, value: bool) -> None:
        self._prompting = bool(value)

    @property
    def allowNewAttributes(self) -> bool:
        """Whether unknown attributes may be set on the session's objects."""
        return Restricted.allow_new[0]

    @allowNewAttributes.setter
    def allowNewAttributes(self, value: bool) -> None:
        Restricted.allow_new[0] = bool(value)

    @property
    def parallel(self) -> _Parallel:
        """Numbers of processes."""
        return self._parallel

    @property
    def seed(self) -> int | None:
        """Seed of the engine's random numbers (``Chain``); XSPEC only lets it be set."""
        return self._seed

    @seed.setter
    def seed(self, value: int) -> None:
        self._seed = _whole(value, "seed")

    @property
    def version(self) -> tuple[str, str]:
        """Two version strings, both saying that this is the embedded engine."""
        from xsixsa import __version__

        name = f"xsixsa-embedded-{__version__}"
        return name, name

    @property
    def modelStrings(self) -> tuple[tuple[str, str], ...]:
        """Pairs of name and value that models may look up; set a dict or pairs to replace all."""
        return tuple(self._strings.items())

    @modelStrings.setter
    def modelStrings(self, value: dict | tuple) -> None:
        pairs = dict(value)
        if not all(isinstance(k, str) and isinstance(v, str) for k, v in pairs.items()):
            raise UsageError("Xset.modelStrings: names and values are text")
        self._strings = {k.upper(): v for k, v in pairs.items()}
        self._engine.restructured()

    def addModelString(self, key: str, value: str) -> None:
        """Set one pair of `modelStrings`."""
        self.modelStrings = {**self._strings, key.strip(): value.strip()}

    def delModelString(self, key: str) -> None:
        """Remove one pair of `modelStrings`."""
        self._strings.pop(key.strip().upper(), None)
        self._engine.restructured()

    @property
    def dummy_edges(self) -> np.ndarray:
        """Energies of a model without data, keV."""
        return np.geomspace(0.1, 50.0, 5001)

    @property
    def log(self) -> TextIO | None:
        """The open log file, or None."""
        return self._engine.console.log

    def openLog(self, fileName: str) -> TextIO:
        """Open a log file, closing the one before."""
        return self._engine.console.open_log(fileName)

    def closeLog(self) -> None:
        """Close the log file."""
        self._engine.console.close_log()

    def save(self, fileName: str, info: str = "a") -> None:
        """Write the session as an .xcm file: all ("a"), files ("f") or model ("m").

        Raises
        ------
        xsixsa.errors.OutputError
            Where the file exists (XSPEC would ask) or cannot be written.
        """
        from xsixsa.embedded.xcm import save

        save(self._engine, fileName, info)

    def restore(self, fileName: str) -> None:
        """Read an .xcm file, of this engine or of XSPEC; commands it does not know are named, not executed."""
        from xsixsa.embedded.xcm import restore

        restore(self._engine, fileName)

    def show(self) -> None:
        """Say the settings."""
        self._engine.console.tell(f"abund {self.abund}, xsect {self.xsect}, cosmo {' '.join(self.cosmo)}")


def _whole(value: int, name: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise UsageError(f"Xset.{name} = {value!r}: a whole number")
    return value
