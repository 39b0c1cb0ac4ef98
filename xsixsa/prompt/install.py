"""Put the ``sixsa`` command where the XSPEC prompt finds it: one line in ``~/.xspec/xspec.rc``."""

from __future__ import annotations

import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path

from xsixsa.errors import OutputError
from xsixsa.files import atomic_path

__all__ = ["Installation", "install_tcl", "remove_tcl", "script_path", "tcl_word"]

_MARK = ";# added by xsixsa install-tcl"
_PLAIN = re.compile(r"[A-Za-z0-9_./:,=@%+~^-]+")


@dataclass(frozen=True)
class Installation:
    """What is, or would be, installed.

    Attributes
    ----------
    rc : pathlib.Path
        XSPEC's start-up file.
    loader : pathlib.Path
        Tcl file that names the interpreter and reads the command.
    line : str
        The line for the start-up file; the one for batch scripts is `batch_line`.
    changes : tuple of str
        What has to be done, in words; empty when all is in place.
    """

    rc: Path
    loader: Path
    line: str
    loader_text: str
    changes: tuple[str, ...]

    @property
    def batch_line(self) -> str:
        """What a script for ``xspec - script.xcm`` has to begin with: XSPEC reads no start-up file there."""
        return f"source {tcl_word(str(self.loader))}"


def script_path() -> Path:
    """The Tcl script of this installation, ``sixsa.tcl``.

    Raises
    ------
    OutputError
        If it is not there.
    """
    package = Path(__file__).resolve().parents[1]
    # in a wheel it lies inside the package, in a checkout beside it
    for folder in (package / "tcl", package.parent / "tcl"):
        if (folder / "sixsa.tcl").is_file():
            return folder / "sixsa.tcl"
    raise OutputError(f"the Tcl files of xsixsa are missing beside {package}: install the package again")


def tcl_word(text: str) -> str:
    """`text` as one word of a Tcl command, whatever characters it holds."""
    if _PLAIN.fullmatch(text):
        return text
    special = {"\n": "\\n", "\t": "\\t", "\r": "\\r"}
    return "".join(c if _PLAIN.fullmatch(c) or ord(c) > 127 else special.get(c, "\\" + c) for c in text) or "{}"


def loader_text(python: str, script: Path) -> str:
    """Tcl that records the interpreter and reads the command."""
    return f"""\
# Written by `xsixsa install-tcl`; removed by `xsixsa install-tcl --remove`.
# XSPEC looks through scripts for lines that begin with `proc`, to tell commands from the parameters of a model.
namespace eval :: {{
    proc sixsa {{args}} {{ return -code error "sixsa was not loaded: run `xsixsa install-tcl` again" }}
}}
namespace eval ::sixsa {{
    variable python {tcl_word(python)}
    variable script {tcl_word(str(script))}
    if {{[file readable $script]}} {{ source $script }} else {{ puts stderr "sixsa: $script is gone" }}
}}
"""


def plan(home: Path | None = None, python: str | None = None) -> Installation:
    """What installing would do.

    Parameters
    ----------
    home
        Home directory; the user's by default.
    python
        Interpreter to record; this one by default, by its absolute path, links kept, as a virtual environment needs.
    """
    home = Path(os.path.expanduser("~")) if home is None else Path(home)
    folder = home / ".xspec"
    loader = folder / "sixsa.tcl"
    rc = folder / "xspec.rc"
    text = loader_text(os.path.abspath(python or sys.executable), script_path())
    line = f"source {tcl_word(str(loader))} {_MARK}"
    changes = []
    if _read(loader) != text:
        changes.append(f"write {loader}")
    if line not in _read(rc).splitlines():
        changes.append(f"add a line to {rc}")
    return Installation(rc, loader, line, text, tuple(changes))


def install_tcl(installation: Installation) -> None:
    """Do what :func:`plan` found; nothing when all is in place.

    Raises
    ------
    OutputError
        If a file cannot be written.
    """
    if not installation.changes:
        return
    _make_folder(installation.loader.parent)
    _write(installation.loader, installation.loader_text)
    # first of all: what comes after it, local models for instance, is seen and carried over
    _write(installation.rc, installation.line + "\n" + _without_ours(_read(installation.rc)))


def remove_tcl(home: Path | None = None) -> list[str]:
    """Take our line and file away again; everything else stays as it is.

    Returns
    -------
    list of str
        What was done, in words; empty when there was nothing.
    """
    installation = plan(home)
    done = []
    old = _read(installation.rc)
    kept = _without_ours(old)
    if kept != old:
        if kept:
            _write(installation.rc, kept)
        else:
            installation.rc.unlink()
        done.append(f"removed the line from {installation.rc}")
    if installation.loader.exists():
        installation.loader.unlink()
        done.append(f"removed {installation.loader}")
    return done


def _without_ours(text: str) -> str:
    return "".join(line for line in text.splitlines(keepends=True) if not line.rstrip("\n").endswith(_MARK))


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="surrogateescape")
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise OutputError(f"{path} cannot be read: {error.strerror}") from error


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot make {folder}: {error.strerror}") from error


def _write(path: Path, text: str) -> None:
    # a start-up file that is a link into someone's collection of such files stays one
    with atomic_path(path.resolve()) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="surrogateescape")
