"""``xsixsa doctor``: does everything that a run needs work here, and if not, what to do."""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from xsixsa.errors import XsixsaError

__all__ = ["Check", "add_parser", "examine", "run"]

_TEXT = """\
Looks at this installation, a line for each thing: the engine and its model data, this Python and its packages,
libraries that HEASoft puts in their way, how worker processes start, whether a worker computes what this process
computes, and how fast. With FILE, a session saved by XSPEC (`save all FILE`), the last three are tried on it."""
_PACKAGES = ("numpy", "scipy", "astropy", "h5py", "matplotlib", "sbi", "torch")
# Libraries of which a second copy in front of the system's is known to break other programs.
_CLASHING = ("libstdc++.so", "libgcc_s.so", "libcurl.so", "libncurses", "libtinfo.so", "libssl.so", "libcrypto.so")
_AGREEMENT = 1e-8
_PATIENCE = 300.0
_RATE_SECONDS = 2.0


@dataclass(frozen=True)
class Check:
    """One line of the answer.

    Attributes
    ----------
    name : str
        What was looked at.
    ok : bool
        Whether it is as it must be.
    text : str
        What was found.
    remedy : str
        What to do, where there is something to do.
    """

    name: str
    ok: bool
    text: str
    remedy: str = ""

    def __str__(self) -> str:
        line = f"{'OK' if self.ok else 'PROBLEM':8s} {self.name:10s} {self.text}"
        return line + (f"\n{'':19s} -> {self.remedy}" if self.remedy else "")


def add_parser(commands) -> None:
    """Add the subcommand to a parser's `commands`."""
    parser = commands.add_parser(
        "doctor",
        help="check the engine, libraries and workers of this installation",
        description=_TEXT,
        epilog="exit status: 0 all OK, 1 a PROBLEM",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("session", nargs="?", metavar="FILE", help="a session saved by XSPEC, to try workers on")
    parser.add_argument("--engine", default="auto", metavar="NAME", help="xspec, embedded or auto (default: auto)")
    parser.set_defaults(command="doctor")


def run(arguments: argparse.Namespace) -> int:
    """Print every line as soon as it is known; 0 where all are OK, 1 otherwise."""
    from xsixsa.cli.load import choose_engine

    if arguments.engine not in ("auto", "xspec", "embedded"):
        choose_engine(arguments.engine)
    problems = 0
    for check in examine(arguments.engine, arguments.session):
        print(check, flush=True)
        problems += not check.ok
    print("\nall is well" if not problems else f"\n{problems} problem(s): see the lines that begin with ->")
    return int(problems > 0)


def examine(engine: str = "auto", session: str | None = None) -> Iterator[Check]:
    """All checks, one after the other.

    Parameters
    ----------
    engine
        ``"auto"``, ``"xspec"`` or ``"embedded"``.
    session
        Saved session to try the workers on; a made-up observation without.
    """
    yield python()
    yield from packages()
    found, xspec_loads = engines(engine)
    yield found
    yield from libraries()
    if xspec_loads or engine != "xspec":
        yield model_data(xspec_loads)
    yield start_method()
    if found.ok:
        yield from workers("xspec" if xspec_loads else "embedded", session)


def python() -> Check:
    """Which Python this is."""
    text = f"{platform.python_version()} at {sys.executable}, {platform.system()} {platform.machine()}"
    return Check("python", True, text)


def _in_fresh_python(code: str) -> tuple[int, str]:
    """Exit status and last line of `code` run in an interpreter of its own: what crashes there harms nobody."""
    with tempfile.TemporaryDirectory(prefix="xsixsa-") as home:
        # PyXspec leaves files in the home folder of whoever imports it
        environment = {**os.environ, "HOME": home} if "import xspec" in code else None
        try:
            done = subprocess.run(
                [sys.executable, "-c", code],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                timeout=_PATIENCE,
                check=False,
                env=environment,
            )
        except subprocess.TimeoutExpired:
            return -1, f"no answer within {_PATIENCE:.0f} s"
    lines = [line.strip() for line in done.stdout.splitlines() if line.strip()]
    if done.returncode < 0:
        return done.returncode, f"ended by signal {-done.returncode}" + (f" after: {lines[-1]}" if lines else "")
    return done.returncode, lines[-1] if lines else ""


def packages() -> Iterator[Check]:
    """Whether the packages that a run needs can be imported, all in one process as a run does."""
    code = (
        "import importlib, sys\n"
        f"for name in {_PACKAGES!r}:\n"
        "    try:\n        importlib.import_module(name)\n"
        "    except BaseException as error:\n"
        "        print(name, type(error).__name__, ' '.join(str(error).split())[:300]); sys.exit(3)\n"
        "print(' '.join(f'{n} {getattr(sys.modules[n], \"__version__\", \"\")}' for n in "
        f"{_PACKAGES!r}))"
    )
    status, said = _in_fresh_python(code)
    if status == 0:
        yield Check("packages", True, said)
        return
    name = said.split()[0] if status == 3 and said else "one of them"
    remedy = f"install it into this Python: {sys.executable} -m pip install --force-reinstall {name}"
    if os.environ.get("LD_LIBRARY_PATH") or os.environ.get("PYTHONPATH"):
        remedy += "; or HEASoft's LD_LIBRARY_PATH and PYTHONPATH are in the way, see libraries"
    yield Check("packages", False, f"cannot be imported: {said}", remedy)


def engines(wanted: str) -> tuple[Check, bool]:
    """The engine that a run would take, and whether that is XSPEC."""
    if wanted == "embedded":
        return _embedded("asked for"), False
    status, said = _in_fresh_python("import xspec; print(*xspec.Xset.version, sep=' / ')")
    if status == 0:
        return Check("engine", True, f"XSPEC {said} (PyXspec / XSPEC)"), True
    heasoft = os.environ.get("HEADAS")
    if "No module named 'xspec'" in said:
        remedy = (
            f"HEADAS is {heasoft}, but PyXspec is not on PYTHONPATH: source $HEADAS/headas-init.sh, and use the "
            "Python that HEASoft was built with"
            if heasoft
            else "to use XSPEC, initialise HEASoft (source $HEADAS/headas-init.sh) in this shell"
        )
        if wanted == "auto" and not heasoft:
            return _embedded("no PyXspec here", remedy), False
        return Check("engine", False, "PyXspec cannot be imported", remedy), False
    remedy = (
        f"PyXspec is built for one Python version, this is {platform.python_version()}: use the Python that HEASoft "
        "was built with, or rebuild it with this one"
    )
    return Check("engine", False, f"PyXspec is there but does not load: {said[:300]}", remedy), False


def _embedded(why: str, remedy: str = "") -> Check:
    from xsixsa.embedded import xspec

    return Check("engine", True, f"embedded {xspec.Xset.version[-1]} ({why})", remedy)


def libraries() -> Iterator[Check]:
    """Libraries and packages that the environment puts in front of this Python's own."""
    clashes = []
    for folder in os.environ.get("LD_LIBRARY_PATH", "").split(os.pathsep):
        if folder and Path(folder).is_dir():
            names = sorted(p.name for p in Path(folder).iterdir() if p.name.startswith(_CLASHING))
            if names:
                clashes.append(f"{folder} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})")
    shadows = []
    for folder in os.environ.get("PYTHONPATH", "").split(os.pathsep):
        if folder and Path(folder).is_dir():
            shadows += [str(Path(folder, name)) for name in _PACKAGES if Path(folder, name).is_dir()]
    if shadows:
        remedy = "take that folder out of PYTHONPATH, or leave only HEASoft's own in it"
        yield Check("libraries", False, f"PYTHONPATH replaces packages of this Python: {', '.join(shadows)}", remedy)
    if not clashes:
        text = "nothing in LD_LIBRARY_PATH stands in front of the system's libraries"
        if not shadows:
            yield Check("libraries", True, text)
        return
    status, said = _in_fresh_python(
        "import importlib\ntry:\n    import xspec\nexcept ImportError:\n    pass\nimport torch"
    )
    if status == 0:
        yield Check("libraries", True, f"LD_LIBRARY_PATH brings {'; '.join(clashes)}: harmless to XSPEC beside torch")
    else:
        remedy = "take these files out of LD_LIBRARY_PATH (rename them, or list the system's folder first)"
        yield Check("libraries", False, f"LD_LIBRARY_PATH brings {'; '.join(clashes)}: {said[:200]}", remedy)


def model_data(xspec_loads: bool) -> Check:
    """Tables of abundances, cross-sections and spectra that models read."""
    if not xspec_loads:
        import xsixsa.embedded

        folder = Path(xsixsa.embedded.__file__).parent / "data"
        tables = sorted(p.name for p in folder.glob("*.npz")) if folder.is_dir() else []
        if tables:
            return Check("model data", True, f"{len(tables)} tables of the embedded engine in {folder}")
        return Check("model data", False, f"no tables in {folder}", "install xsixsa again")
    heasoft = Path(os.environ.get("HEADAS", ""))
    places = [heasoft.parent / "spectral" / "modelData", heasoft / "spectral" / "modelData"]
    for folder in places:
        files = sum(1 for p in folder.iterdir() if p.is_file()) if folder.is_dir() else 0
        if files:
            return Check("model data", True, f"{files} files in {folder}")
    remedy = "install the model data of your HEASoft version, or set HEADAS; models that read tables will abort"
    return Check("model data", False, f"none in {' or '.join(map(str, places))}", remedy)


def start_method() -> Check:
    """How worker processes begin."""
    if sys.platform.startswith("linux"):
        return Check("start", True, f"workers are forked from the loaded session; {_cores()} processor(s) for them")
    return Check(
        "start",
        True,
        f"workers start afresh (spawn) and restore the session; {_cores()} processor(s)",
        "a script needs the line `if __name__ == '__main__':` around what it does",
    )


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def workers(engine: str, saved: str | None) -> Iterator[Check]:
    """Worker and parent on the same theta, and evaluations a second."""
    import numpy as np

    from xsixsa.cli.load import choose_engine
    from xsixsa.session import Session

    xspec, here = choose_engine(engine), Path.cwd()
    xspec.Xset.allowPrompting = False
    xspec.Xset.chatter = 0
    with tempfile.TemporaryDirectory(prefix="xsixsa-") as folder:
        try:
            what = _load(xspec, saved, folder)
            session = Session(xspec)
            theta = np.array([[p.value for p in session.parameters]])
            found = float(session.evaluate(theta).statistic[0])
            own = float(xspec.Fit.statistic)
            yield _agreement(found, own, what, session.n_bins)
            yield _rate(session, theta)
        except XsixsaError as error:
            remedy = "the message says what to change" if saved else "report it: the made-up observation must load"
            yield Check("workers", False, str(error), remedy)
        finally:
            os.chdir(here)
            xspec.AllModels.clear()
            xspec.AllData.clear()


def _load(xspec, saved: str | None, folder: str) -> str:
    from xsixsa.cli.load import Files, load_spectra, restore, set_model

    if saved:
        restore(xspec, saved)
        return saved
    from xsixsa.demo import make_demo

    made = make_demo(folder)
    xspec.Xset.abund = made.abund
    xspec.Fit.statMethod = "cstat"
    load_spectra(xspec, [str(Path(folder, made.spectrum))], Files())
    set_model(xspec, made.model)
    return f"a made-up observation of {made.model}"


def _agreement(worker: float, own: float, what: str, bins: int) -> Check:
    text = f"statistic of a worker {worker:.10g}, of this process {own:.10g}, on {what}, {bins} bins"
    if abs(worker - own) <= _AGREEMENT * max(1.0, abs(own)):
        return Check("workers", True, text)
    remedy = "a setting does not reach the workers (renorm, bayes?): run with Fit.bayes = 'off', or report it"
    return Check("workers", False, text, remedy)


def _rate(session, theta) -> Check:
    import numpy as np

    scale = 1 + 1e-3 * np.random.default_rng(0).random((64, theta.shape[1]))
    limits = [(p.min, p.max) for p in session.parameters]
    points, done = np.clip(theta * scale, *np.transpose(limits)), 0
    with session.pool(workers=_cores()) as pool:
        pool.evaluate(points[:8])
        start = time.perf_counter()
        while (spent := time.perf_counter() - start) < _RATE_SECONDS:
            done += int(pool.evaluate(points, expected=False).valid.sum())
    remedy = "" if done else "the model fails near its current values: set others"
    return Check("rate", done > 0, f"{done / spent:.0f} evaluations/s with {_cores()} worker(s)", remedy)
