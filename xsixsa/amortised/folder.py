"""The folder of an application: a result for each spectrum, so that the next call goes on where this one ended."""

from __future__ import annotations

import json
import os
from collections import Counter
from dataclasses import asdict
from pathlib import Path

import numpy as np

from xsixsa.errors import OutputError
from xsixsa.files import atomic_path
from xsixsa.result import Result, load

__all__ = ["Folder"]

_SETTINGS = "apply.json"


class Folder:
    """A folder of results that belongs to one network and one set of options.

    Parameters
    ----------
    path
        New, empty, or of an earlier call with the same network and options.
    network
        The network; its fingerprint is kept.
    options
        Effective size and budget of each spectrum.

    Raises
    ------
    OutputError
        The folder holds something else, or belongs to another network or other options.
    """

    def __init__(self, path: str | os.PathLike, network, options):
        self.path = Path(path)
        self._settings = {"network": network.fingerprint, **asdict(options)}
        if self.path.exists() and not self.path.is_dir():
            raise OutputError(f"{path} is a file: name a folder")
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            held = sorted(p.name for p in self.path.iterdir())
        except OSError as error:
            raise OutputError(f"cannot make the folder {path}: {error.strerror}") from error
        self._found = self._earlier() if _SETTINGS in held else None
        if held and self._found is None:
            raise OutputError(f"{path} is not empty ({', '.join(held[:3])}): name a new folder; nothing was changed")

    def _earlier(self) -> dict:
        try:
            found = json.loads((self.path / _SETTINGS).read_text())
        except (OSError, ValueError) as error:
            raise OutputError(f"{self.path / _SETTINGS} cannot be read ({error}): name a new folder") from None
        for key, value in self._settings.items():
            if found.get(key) != value:
                what = "another network" if key == "network" else f"{key}={found.get(key)}"
                raise OutputError(
                    f"{self.path} holds results of {what}, not of {'this one' if key == 'network' else value}: "
                    "name a new folder; nothing was changed"
                )
        return found

    def seed(self, wanted: int | None) -> int:
        """Seed of the earlier call, else the one wanted or a new one; it is written down.

        Raises
        ------
        OutputError
            The earlier call had another seed.
        """
        if self._found is not None:
            if wanted is not None and wanted != self._found["seed"]:
                raise OutputError(
                    f"{self.path} holds results with seed {self._found['seed']}: leave the seed out, or name a new "
                    "folder"
                )
            return int(self._found["seed"])
        seed = int(np.random.SeedSequence().entropy % 2**53) if wanted is None else int(wanted)
        with atomic_path(self.path / _SETTINGS) as temporary:
            temporary.write_text(json.dumps({**self._settings, "seed": seed}, indent=1) + "\n")
        return seed

    def names(self, spectra: list[str]) -> list[str]:
        """Name of the saved result of each spectrum, unique in the folder."""
        stems = [Path(s).name for s in spectra]
        twice, seen, out = Counter(stems), Counter(), []
        for stem in stems:
            seen[stem] += 1
            out.append(f"{stem}.{seen[stem]}.h5" if twice[stem] > 1 else f"{stem}.h5")
        return out

    def finished(self, name: str, mark: str) -> Result | None:
        """The result of an earlier call for the same spectrum, or None where there is none.

        Raises
        ------
        OutputError
            There is one of another spectrum of that name.
        """
        path = self.path / name
        if not path.exists():
            return None
        try:
            result = load(path)
        except OutputError:
            return None  # cut short by whatever ended that call: done again
        if result.options.get("mark") != mark:
            raise OutputError(f"{path} is the result of another spectrum of this name: name a new folder")
        return result

    def save(self, result: Result, name: str) -> None:
        """Write a result; one of that name is replaced."""
        result.save(self.path / name, overwrite=True)
