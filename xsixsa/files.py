"""Files appear whole or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from xsixsa.errors import OutputError

__all__ = ["atomic_path"]


@contextmanager
def atomic_path(path: str | os.PathLike, *, overwrite: bool = True) -> Iterator[Path]:
    """Write to a temporary neighbour of ``path``, renamed to it when the block ends well.

    Parameters
    ----------
    path : str or path
        The file to write.
    overwrite : bool
        Whether an existing file may be replaced.

    Yields
    ------
    pathlib.Path
        The temporary name, with the same suffix as ``path``.

    Raises
    ------
    OutputError
        If the folder does not exist or cannot be written, or the file exists and ``overwrite`` is false.
    """
    target = Path(path)
    if target.is_dir():
        raise OutputError(f"{target} is a folder: name a file")
    if target.exists() and not overwrite:
        raise OutputError(f"{target} exists: choose another name, or pass overwrite=True")
    try:
        # a folder of its own: some writers refuse names that exist, and the user's umask applies to the file
        scratch = tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent)
    except OSError as error:
        raise OutputError(f"cannot write {target}: {error.strerror}") from error
    temporary = Path(scratch, target.name)
    try:
        yield temporary
        if target.exists() and not overwrite:
            raise OutputError(f"{target} appeared meanwhile: choose another name, or pass overwrite=True")
        os.replace(temporary, target)
    except OSError as error:
        raise OutputError(f"cannot write {target}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
