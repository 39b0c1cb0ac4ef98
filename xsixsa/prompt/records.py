"""Small text files that travel between Tcl and Python: one record per line, words without blanks.

A word holds bytes; what is not plain ASCII is written as ``%XX``, the empty word as ``%`` alone. The first record names
the kind of file and its version, the last one is ``end`` and the number of records, so that a file cut short shows.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from xsixsa.errors import DataError
from xsixsa.files import atomic_path

__all__ = ["VERSION", "read_records", "write_records"]

VERSION = 1

_PLAIN = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_./:,=@*()<>^~-")
_WORD = re.compile(rb"%|(?:[A-Za-z0-9_./:,=@*()<>^~-]|%[0-9A-F]{2})+")
_MAX_SIZE = 4_000_000


def encode(text: str) -> bytes:
    """One word for any text; file names keep the bytes that they have on disk."""
    return b"".join(bytes([b]) if b in _PLAIN else b"%%%02X" % b for b in os.fsencode(text)) or b"%"


def decode(word: bytes) -> str:
    """Text of one word.

    Raises
    ------
    ValueError
        If it is not a word of this form.
    """
    if not _WORD.fullmatch(word):
        raise ValueError(f"bad word {word!r}")
    if word == b"%":
        return ""
    return os.fsdecode(re.sub(rb"%([0-9A-F]{2})", lambda m: bytes([int(m[1], 16)]), word))


def write_records(path: str | os.PathLike, kind: str, records: Iterable[Sequence]) -> Path:
    """Write ``records`` between a header that names `kind` and the closing record; the file appears whole.

    Parameters
    ----------
    path
        File to write.
    kind
        What the file is, ``"xsixsa-answer"`` for instance.
    records
        Sequences of values; each is written as ``str`` gives it.
    """
    rows = [(kind, VERSION), *records]
    rows.append(("end", len(rows) + 1))
    with atomic_path(path) as temporary:
        temporary.write_bytes(b"".join(b" ".join(encode(str(v)) for v in row) + b"\n" for row in rows))
    return Path(path)


def read_records(path: str | os.PathLike, kind: str) -> list[list[str]]:
    """Records of a file, without its header and closing record.

    Raises
    ------
    DataError
        If it cannot be read, is of another kind or version, is damaged, or was cut short.
    """
    path = Path(path)
    try:
        if path.stat().st_size > _MAX_SIZE:
            raise DataError(f"{path} is far too large for a {kind}")
        lines = path.read_bytes().split(b"\n")
        if lines.pop() != b"":
            raise DataError(f"{path} is cut short")
        rows = [[decode(word) for word in line.split(b" ")] for line in lines]
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise DataError(f"{path} is not a {kind}: {error}") from None
    if not rows or rows[0][0] != kind:
        raise DataError(f"{path} is not a {kind}")
    if rows[0] != [kind, str(VERSION)]:
        raise DataError(
            f"{path}: this xsixsa reads version {VERSION} of a {kind}, not {' '.join(rows[0][1:])}; "
            "start XSPEC again, so that it loads the Tcl command of this version"
        )
    if rows[-1] != ["end", str(len(rows))]:
        raise DataError(f"{path} is cut short")
    return rows[1:-1]
