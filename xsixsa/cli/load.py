"""Spectra, responses and model into an engine's session, through the names that PyXspec has."""

from __future__ import annotations

import atexit
import ctypes
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from xsixsa.errors import DataError, ModelError, SessionError, UsageError, XsixsaError
from xsixsa.prompt.saved import pieces, restore_saved

__all__ = ["Files", "choose_engine", "engine_says", "load_spectra", "notice", "restore", "set_model"]

# A spectrum of a file with several, or an extension: XSPEC's and FITSIO's notation behind the name.
_SELECTOR = re.compile(r"[\[{].*$")
_NONE = ("", "none")
_ROLES = {"RESPFILE": "--rmf", "ANCRFILE": "--arf", "BACKFILE": "--background"}


@dataclass(frozen=True)
class Files:
    """Files that the command line names in place of those of the headers; empty where it names none.

    Attributes
    ----------
    rmf, arf, background : tuple of str
        One for all spectra or one for each; ``none`` for none.
    """

    rmf: tuple[str, ...] = ()
    arf: tuple[str, ...] = ()
    background: tuple[str, ...] = ()


def choose_engine(name: str):
    """Module with PyXspec's names: the real one, the embedded one, or for ``auto`` the real one where there is one.

    Raises
    ------
    UsageError
        If the name is unknown, or PyXspec is asked for and cannot be imported.
    """
    if name not in ("auto", "xspec", "embedded"):
        raise UsageError(f"unknown engine {name!r}; choose auto, xspec or embedded")
    if name != "embedded":
        try:
            import xspec

            return xspec
        except ModuleNotFoundError as error:
            if error.name != "xspec":
                raise _broken(error) from error
            if name == "xspec":
                raise UsageError("PyXspec cannot be imported: initialise HEASoft, or use --engine embedded") from error
        except ImportError as error:
            # present but broken: taking another engine instead would be a silent change of what was asked for
            raise _broken(error) from error
    from xsixsa.embedded import xspec as embedded

    return embedded


def _broken(error: ImportError) -> UsageError:
    return UsageError(f"PyXspec is installed but does not load ({error}); repair it, or use --engine embedded")


@contextmanager
def engine_says(kind: type[XsixsaError], what: str) -> Iterator[None]:
    """What the engine prints is held back; if it fails, one error of ours says what it said.

    PyXspec raises bare `Exception`, often without the reason, which XSPEC has written to the terminal.
    """
    with tempfile.TemporaryFile() as printed:
        try:
            with _redirected(printed):
                yield
        except XsixsaError:
            raise
        except Exception as error:
            printed.seek(0)
            reason = _reason(printed.read().decode(errors="replace")) or str(error).strip()
            reason = reason or type(error).__name__
            raise kind(f"{what}: {reason}") from error


@contextmanager
def _redirected(file) -> Iterator[None]:
    """Standard output and error of the process, C++ and Fortran included, into ``file``."""
    sys.stdout.flush()
    sys.stderr.flush()
    flush = ctypes.CDLL(None).fflush
    saved = [os.dup(fd) for fd in (1, 2)]
    try:
        for fd in (1, 2):
            os.dup2(file.fileno(), fd)
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        flush(None)
        for fd, copy in zip((1, 2), saved, strict=True):
            os.dup2(copy, fd)
            os.close(copy)


def _reason(printed: str) -> str:
    """XSPEC's own words for an error, on one line."""
    lines = [line.strip(" *") for line in printed.splitlines()]
    start = next(
        (i for i, line in enumerate(lines) if "error" in line.lower() or "warning" in line.lower()), len(lines)
    )
    said = [line.removeprefix("XSPEC Error:").removeprefix("Warning:").strip() for line in lines[start:]]
    return " ".join(line for line in dict.fromkeys(said) if line)[:400]


def _existing(name: str, role: str) -> str:
    """``name`` as the engine can read it from here.

    Raises
    ------
    DataError
        If there is no such file, or XSPEC would split its name at a blank.
    """
    path = Path(_SELECTOR.sub("", name))
    selector = name[len(str(path)) :] if name.startswith(str(path)) else ""
    # FITSIO finds a compressed file under its plain name
    if not path.exists() and not Path(f"{path}.gz").exists():
        raise DataError(f"no such file: {name} ({role})")
    if path.is_dir():
        raise DataError(f"{name} is a folder, not a file ({role})")
    # an absolute name stays right in the saved session wherever that is opened; blanks end a name in XSPEC
    for candidate in (os.path.abspath(path), os.path.relpath(path)):
        if not re.search(r"\s", candidate + selector):
            return candidate + selector
    raise DataError(f"XSPEC cannot read a name with a blank in it: rename {name}")


def _named_in_header(spectrum: str) -> dict[str, str]:
    """Files that the header of a spectrum names, by keyword; those it leaves open are left out."""
    from astropy.io import fits

    path = _SELECTOR.sub("", spectrum)
    path = path if os.path.exists(path) else f"{path}.gz"
    try:
        with fits.open(path) as hdus:
            tables = [h.header for h in hdus[1:] if "SPECTRUM" in (h.header.get("HDUCLAS1"), h.header.get("EXTNAME"))]
    except OSError as error:
        raise DataError(f"{spectrum} cannot be read as a FITS file; a spectrum (PHA) is expected") from error
    if not tables:
        raise DataError(f"{spectrum} holds no spectrum (no extension SPECTRUM); is it a response?")
    named = {key: str(tables[0].get(key, "")).strip() for key in _ROLES}
    return {key: value for key, value in named.items() if value.lower() not in _NONE}


def _locate(spectrum: str, keyword: str, name: str) -> tuple[str, bool]:
    """Where the file that a header names is, and whether XSPEC finds it by itself: in the current folder."""
    bare = _SELECTOR.sub("", name)
    for folder, found_by_xspec in (("", True), (os.path.dirname(spectrum), False)):
        path = os.path.join(folder, bare)
        if os.path.exists(path) or os.path.exists(f"{path}.gz"):
            return _existing(os.path.join(folder, name), f"{keyword} of {spectrum}"), found_by_xspec
    option = _ROLES[keyword]
    without = "" if keyword == "RESPFILE" else f", or do without by {option} none"
    raise DataError(
        f"{spectrum} names {keyword} = {name}, which is neither here nor beside it: give it with {option} FILE{without}"
    )


def _for_each(names: Sequence[str], n: int, option: str) -> list[str | None]:
    if len(names) not in (0, 1, n):
        raise UsageError(f"{option} is given {len(names)} times for {n} spectra: once for all, or once for each")
    return list(names) * n if len(names) == 1 else list(names) or [None] * n


@dataclass(frozen=True)
class _Plan:
    """For one spectrum, by keyword: what to set by hand, and what must be there in the end."""

    chosen: dict[str, str | None]
    expected: frozenset[str]


def _plan(spectrum: str, given: dict[str, str | None]) -> _Plan:
    named = _named_in_header(spectrum)
    chosen: dict[str, str | None] = {}
    for keyword, option in _ROLES.items():
        name = given[keyword]
        if name is not None:
            chosen[keyword] = None if name.lower() in _NONE else _existing(name, option)
        elif keyword in named:
            path, found_by_xspec = _locate(spectrum, keyword, named[keyword])
            # a response set by hand takes the effective area of the header away
            if not found_by_xspec or (keyword == "ANCRFILE" and "RESPFILE" in chosen):
                chosen[keyword] = path
    expected = frozenset(keyword for keyword in _ROLES if chosen.get(keyword, named.get(keyword)))
    if "RESPFILE" not in expected:
        raise DataError(f"{spectrum} has no response (its header names none): give one with --rmf FILE")
    return _Plan(chosen, expected)


def load_spectra(xspec, names: Sequence[str], files: Files) -> None:
    """Load spectra into data group 1, with responses and backgrounds found beside them where XSPEC would miss them.

    Parameters
    ----------
    xspec : module
        The engine.
    names : sequence of str
        Spectra, as named from the current folder.
    files : Files
        What the command line gives in place of the headers' files.

    Raises
    ------
    DataError
        If a file is missing, unreadable or does not match the others.
    UsageError
        If the numbers of files disagree.
    """
    options = {"RESPFILE": files.rmf, "ANCRFILE": files.arf, "BACKFILE": files.background}
    columns = {key: _for_each(value, len(names), _ROLES[key]) for key, value in options.items()}
    paths = [_existing(name, "spectrum") for name in names]
    plans = [_plan(name, {k: v[i] for k, v in columns.items()}) for i, name in enumerate(names)]
    with engine_says(DataError, f"loading {', '.join(names)}"):
        xspec.AllData(" ".join(f"1:{i} {path}" for i, path in enumerate(paths, start=1)))
    if xspec.AllData.nSpectra != len(names):
        raise DataError(f"{xspec.AllData.nSpectra} of {len(names)} spectra were loaded: {', '.join(names)}")
    for i, (name, plan) in enumerate(zip(names, plans, strict=True), start=1):
        _attach(xspec.AllData(i), name, plan)


def _attach(spectrum, name: str, plan: _Plan) -> None:
    """Set what the header does not, and check that everything is there: XSPEC goes on without what does not fit."""
    steps = {
        "RESPFILE": ("response", lambda file: setattr(spectrum, "response", file), lambda: spectrum.response.rmf),
        "ANCRFILE": (
            "effective area",
            lambda file: setattr(spectrum.response, "arf", file),
            lambda: spectrum.response.arf,
        ),
        "BACKFILE": (
            "background",
            lambda file: setattr(spectrum, "background", file),
            lambda: spectrum.background.fileName,
        ),
    }
    for keyword, (role, put, get) in steps.items():
        file = plan.chosen.get(keyword)
        what = f"{role} {file or 'of the header'} cannot be used for {name}; give another with {_ROLES[keyword]} FILE"
        with engine_says(DataError, what):
            if keyword in plan.chosen:
                put(file)
            # XSPEC does not raise where a file does not match: what it holds then is the old one, or nothing
            held = get() if keyword in plan.expected else ""
            if keyword in plan.expected and (not held or (file and os.path.basename(held) != os.path.basename(file))):
                raise ValueError(f"the engine holds {held or 'none'}")


def notice(xspec, ignored: str) -> None:
    """Ignore bad channels and what ``ignored`` says in XSPEC's words.

    Raises
    ------
    DataError
        If a spectrum has no bin left.
    """
    for words in ("bad", ignored):
        if words:
            with engine_says(DataError, f"ignore {words}"):
                xspec.AllData.ignore(words)
    for i in range(1, xspec.AllData.nSpectra + 1):
        spectrum = xspec.AllData(i)
        if not len(spectrum.noticed):
            raise DataError(f"no bin of {spectrum.fileName} is left after `ignore bad` and `ignore {ignored}`")


def set_model(xspec, expression: str) -> None:
    """Define the model for the loaded spectra: an expression, or an ``.xcm`` file that XSPEC's ``save model`` wrote.

    Raises
    ------
    ModelError
        If the engine does not take it.
    """
    with engine_says(ModelError, f"model {expression!r}"):
        if expression.endswith(".xcm"):
            xspec.Xset.restore(_existing(expression, "--model"))
        else:
            xspec.Model(expression)
    if not xspec.AllModels.sources:
        raise ModelError(f"{expression} defines no model")


def _missing_spectrum(text: str, folder: Path) -> str | None:
    """First spectrum of a saved session that is not there when its names are read from ``folder``."""
    for place, lines in pieces(text, str(folder)):
        for words in (line.split() for line in lines):
            name = _SELECTOR.sub("", words[-1]) if words[:1] == ["data"] and len(words) > 1 else ""
            path = os.path.join(place, name)
            if name and not os.path.exists(path) and not os.path.exists(f"{path}.gz") and "\\" not in name:
                return name
    return None


def _restore_folder(path: Path) -> Path:
    """Folder from which the relative names in a saved session are right: here, or where the file is."""
    text = path.read_text(errors="replace")
    missing = None
    for folder in (Path.cwd(), path.parent):
        missing = _missing_spectrum(text, folder)
        if missing is None:
            return folder
    raise DataError(f"{path} loads {missing}, which is neither here nor beside it: go where the session was saved")


def restore(xspec, name: str) -> Path:
    """Restore a session that PyXspec's ``Xset.save`` or the prompt's ``save all`` wrote.

    Names in it may be relative to the current folder or to the file's.

    Returns
    -------
    pathlib.Path
        The folder from which the names in it are right; the current folder is as it was.

    Raises
    ------
    DataError
        If a spectrum is not there.
    SessionError
        If the engine cannot restore it, or nothing was loaded.
    """
    path, here = Path(_existing(name, "saved session")).resolve(), Path.cwd()
    links = Path(tempfile.gettempdir(), f"xsixsa-links-{os.getpid()}")
    atexit.register(shutil.rmtree, links, ignore_errors=True)
    folder = _restore_folder(path)
    try:
        with engine_says(SessionError, f"restoring {name}"):
            restore_saved(xspec, path, str(folder), links)
    finally:
        os.chdir(here)
    if not xspec.AllData.nSpectra:
        raise SessionError(f"{name} loads no spectrum: save the session with `save all FILE`")
    if not xspec.AllModels.sources:
        raise SessionError(f"{name} defines no model: save the session with `save all FILE`")
    return folder
