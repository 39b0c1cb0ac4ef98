"""The folder of a finished run: what a user opens, what XSPEC loads, and what `xsixsa.load` reads back."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from xsixsa.errors import OutputError
from xsixsa.files import atomic_path

__all__ = ["RESULT_FILE", "prepare_run_folder", "write_run"]

RESULT_FILE = "result.h5"


def prepare_run_folder(folder: str | os.PathLike) -> Path:
    """Make the folder, or check that it is empty, before minutes are spent on what could not be written.

    Parameters
    ----------
    folder : str or path
        Folder of the run.

    Returns
    -------
    pathlib.Path
        The folder; it exists, is empty and can be written.

    Raises
    ------
    OutputError
        If it holds anything (nothing is deleted), is a file, or cannot be written.
    """
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"{folder} is a file: name a new or empty folder for the run")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        held = sorted(p.name for p in folder.iterdir())
    except OSError as error:
        raise OutputError(f"cannot make the folder {folder}: {error.strerror}") from error
    if held:
        raise OutputError(f"{folder} is not empty ({', '.join(held[:3])}, ...): name a new folder; nothing was changed")
    if not os.access(folder, os.W_OK):
        raise OutputError(f"{folder} cannot be written: name another folder")
    return folder


def _plain(value):
    """Python's own numbers, lists and dicts, which JSON knows."""
    if isinstance(value, Mapping):
        return {str(getattr(k, "name", k)): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def write_run(result, folder: str | os.PathLike, *, truths: Mapping[str, float] | None = None) -> list[Path]:
    """Write result.h5, summary.json, chain.fits, session.xcm, corner.png and spectrum.png into ``folder``.

    The result comes first: should a later file fail, it can be written again from there.

    Parameters
    ----------
    result : Result
        A finished run, converged or not.
    folder : str or path
        An existing folder; files of these names are replaced.
    truths : dict, optional
        Known values to mark in the corner plot.

    Returns
    -------
    list of pathlib.Path
        The files, in the order above.
    """
    folder = Path(folder)
    files = [folder / name for name in (RESULT_FILE, "summary.json", "chain.fits", "session.xcm")]
    result.save(files[0], overwrite=True)
    with atomic_path(files[1]) as temporary:
        temporary.write_text(json.dumps(_plain(result.summary_dict()), indent=1, allow_nan=False) + "\n")
    result.to_chain(files[2], overwrite=True)
    with atomic_path(files[3]) as temporary:
        temporary.write_text(result.session_text)
    from xsixsa.plot import plot_corner, plot_spectrum

    files.append(plot_corner(result, folder / "corner.png", truths))
    files.append(plot_spectrum(result, folder / "spectrum.png"))
    return files
