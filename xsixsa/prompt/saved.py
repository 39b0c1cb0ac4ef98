"""Restore what the prompt's ``save all`` wrote, which ``Xset.restore`` alone cannot.

The prompt's saved sessions change the working directory between their lines, a Tcl command that ``Xset.restore`` does
not know; and names with blanks are escaped there in a way that it splits. So the text is restored in pieces, each from
its folder, and files with names that XSPEC would misread are reached through links with plain names.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

__all__ = ["pieces", "restore_saved"]

_MARK = "#PyXspec: part of a session saved at the prompt\n"
_WITH_FILES = ("data", "backgrnd", "response", "arf", "corfile")
_PLAIN = re.compile(r"[A-Za-z0-9_./+@-]+")


def pieces(text: str, folder: str) -> Iterator[tuple[str, list[str]]]:
    """Split a saved session at its ``cd`` lines.

    Parameters
    ----------
    text
        The saved session.
    folder
        Working directory when it was saved.

    Yields
    ------
    tuple
        Folder, and the lines to restore from there.
    """
    lines: list[str] = []
    for line in text.splitlines():
        words = line.split(None, 1)
        if words[:1] == ["cd"] and len(words) == 2:
            if lines:
                yield folder, lines
            folder = os.path.normpath(os.path.join(folder, _unescaped(words[1].strip())))
            lines = []
        else:
            lines.append(line)
    if lines:
        yield folder, lines


def _unescaped(name: str) -> str:
    return re.sub(r"\\(.)", r"\1", name)


def restore_saved(xspec: ModuleType, saved: str | os.PathLike, folder: str, links: str | os.PathLike) -> None:
    """Restore a session saved at the prompt.

    Parameters
    ----------
    xspec
        The engine.
    saved
        File of ``save all``.
    folder
        The prompt's working directory; this process is there afterwards.
    links
        Folder for links to files with names that XSPEC would misread; it has to stay as long as the session does.
    """
    text = Path(saved).read_text(encoding="utf-8", errors="surrogateescape")
    try:
        for place, lines in pieces(text, folder):
            os.chdir(place)
            lines = [_linked(line, Path(links)) for line in lines]
            with tempfile.TemporaryDirectory(prefix="xsixsa-") as scratch:
                piece = Path(scratch) / "piece.xcm"
                # without the mark PyXspec warns that it may not understand
                piece.write_text(_MARK + "\n".join(lines) + "\n", encoding="utf-8", errors="surrogateescape")
                xspec.Xset.restore(str(piece))
    finally:
        os.chdir(folder)


def _linked(line: str, links: Path) -> str:
    """`line` with a plain name in place of a file's that is not."""
    words = line.split(None, 1)
    if not words or words[0] not in _WITH_FILES or len(words) < 2:
        return line
    head = re.match(r"[\d:]+\s+", words[1])
    name = _unescaped(words[1][head.end() if head else 0 :].strip())
    # a selector behind a name, spectrum{2} or file[EXT], is part of XSPEC's notation: such a file does not exist
    if _PLAIN.fullmatch(name) or not os.path.exists(name):
        return line
    links.mkdir(exist_ok=True)
    link = links / f"{len(list(links.iterdir())) + 1}{_plain_suffix(name)}"
    link.symlink_to(os.path.abspath(name))
    return f"{words[0]} {head[0] if head else ''}{link}"


def _plain_suffix(name: str) -> str:
    suffix = os.path.splitext(name)[1]
    return suffix if _PLAIN.fullmatch(suffix) else ""
