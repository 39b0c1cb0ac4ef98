"""The problems of the benchmarks: how each is loaded, and its prior.

A case is loaded on any module with PyXspec's names, so that the embedded engine and the real XSPEC get the same
commands. The spectra are not part of this repository: they lie in ``$XSIXSA_SHARED/data`` (by default
``../shared/data`` beside the repository) and are read where they are.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from xsixsa import LogUniform, Prior, Session

__all__ = ["CACHE", "CASES", "RESULTS", "Case", "evaluation_rate", "load", "versions", "write_json"]

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"
CACHE = HERE / ".cache"
SHARED = Path(os.environ.get("XSIXSA_SHARED", HERE.parents[1] / "shared"))

TBABS_POWERLAW_BBODYRAD = {
    "nH": (0.15, 0.35),
    "PhoIndex": (1.0, 3.0),
    "powerlaw.norm": LogUniform(0.1, 10),
    "kT": (0.3, 3.0),
    "bbodyrad.norm": LogUniform(100, 1000),
}
"""Model 2 of Barret & Dupourque 2024."""


@dataclass(frozen=True)
class Case:
    """One problem.

    Attributes
    ----------
    title : str
        What is observed, with which model.
    folder : str
        Below the data folder; file names in headers are relative to it.
    commands : callable
        Loads data and model on a module with PyXspec's names, from that folder.
    prior : dict
        Parameter name to distribution.
    bins : int
        Noticed bins that must result: a wrong selection is a wrong problem.
    max_evaluations : int or None
        Bound on the evaluations of a run, where there is one.
    fewer, faster : float
        How many times fewer evaluations and seconds than the reference a run must take; 0 for no bound.
    """

    title: str
    folder: str
    commands: Callable[[Any], None]
    prior: dict = field(hash=False)
    bins: int
    max_evaluations: int | None = None
    fewer: float = 0.0
    faster: float = 0.0


def _pn(xspec) -> None:
    xspec.Xset.abund = "angr"
    spectrum = xspec.Spectrum("PN_spectrum_grp20.fits")
    spectrum.background = None
    xspec.AllData.ignore("bad")
    spectrum.ignore("**-0.5 10.0-**")
    xspec.Fit.statMethod = "cstat"
    xspec.Model("TBabs*(bbodyrad+powerlaw)")


def _nicer(spectrum_file: str, arf: str) -> Callable[[Any], None]:
    def commands(xspec) -> None:
        xspec.Xset.abund = "wilm"
        # The response named in the header is not public; the reconstructed one stands in for it.
        spectrum = xspec.Spectrum(spectrum_file)
        spectrum.response = "nicer_RECONSTRUCTED.rmf"
        spectrum.response.arf = arf
        xspec.AllData.ignore("bad")
        spectrum.ignore("**-0.3 10.0-**")
        xspec.Fit.statMethod = "cstat"
        xspec.Model("TBabs*(powerlaw+bbodyrad)")

    return commands


def _xifu(xspec) -> None:
    xspec.Xset.abund = "wilm"
    spectrum = xspec.Spectrum("spectrum_opt.pha")
    spectrum.response = "athena_xifu_4eV_gaussian_REBUILT.rmf"
    spectrum.response.arf = "athena_xifu_13_rows_no_filter.arf"
    spectrum.ignore("**-0.3 12.0-**")
    xspec.Fit.statMethod = "cstat"
    model = xspec.Model("TBabs(compTT+powerlaw)")
    model.compTT.Redshift.values = 0.0
    model.compTT.Redshift.frozen = True
    model.compTT.approx.values = 1.0
    model.compTT.approx.frozen = True


def _xifu_line(xspec) -> None:
    from xifu_line import RANGE, line_model, load_responses, make_spectrum

    spectrum = xspec.Spectrum(str(make_spectrum(Path.cwd(), CACHE)))
    load_responses(spectrum)
    spectrum.ignore(RANGE)
    line_model(xspec)


def _chandra(xspec) -> None:
    xspec.Xset.abund = "wilm"
    spectrum = xspec.Spectrum("3c273.pi")
    spectrum.ignore("**-0.5 7.0-**")
    xspec.Fit.statMethod = "cstat"
    xspec.Model("TBabs*powerlaw")


CASES: dict[str, Case] = {
    "pn": Case(
        "XMM EPIC-pn, NGC 7793 ULX-4, 0.5-10 keV, C-stat without background, TBabs*(bbodyrad+powerlaw), angr",
        "xmm_NGC7793-ULX4",
        _pn,
        {
            "nH": (0.0, 0.5),
            "kT": (0.0, 2.0),
            "bbodyrad.norm": LogUniform(0.01, 1),
            "PhoIndex": (0.0, 5.0),
            "powerlaw.norm": LogUniform(1e-5, 1e-2),
        },
        104,
        40_000,
    ),
    "nicer_burst": Case(
        "NICER, 4U 1820-303, 0.25 s of a type-I burst, 0.3-10 keV, C-stat, TBabs*(powerlaw+bbodyrad), wilm",
        "nicer_4U1820-303",
        _nicer("b_008_0.25s_raw_opt.pha", "b_008_0.25s.arf"),
        {**TBABS_POWERLAW_BBODYRAD, "bbodyrad.norm": LogUniform(100, 1e5)},
        95,
        40_000,
    ),
    "nicer_preburst": Case(
        "NICER, 4U 1820-303, persistent emission, 0.3-10 keV, C-stat, TBabs*(powerlaw+bbodyrad), wilm",
        "nicer_4U1820-303",
        _nicer("pre_burst_spectrum_opt.pha", "pre_burst_Tint200_raw.arf"),
        TBABS_POWERLAW_BBODYRAD,
        133,
    ),
    "xifu": Case(
        "NewAthena X-IFU mock, 0.3-12 keV, C-stat, TBabs(compTT+powerlaw), wilm",
        "xifu_compTT-mock",
        _xifu,
        {
            "nH": (0.01, 0.2),
            "T0": (0.05, 2.0),
            "kT": (2.1, 4.0),
            "taup": (0.5, 7.0),
            "compTT.norm": LogUniform(0.1, 10),
            "PhoIndex": (0.0, 5.0),
            "powerlaw.norm": LogUniform(0.01, 10),
        },
        2961,
        150_000,
        fewer=10.0,
        faster=5.0,
    ),
    "xifu_line": Case(
        "NewAthena X-IFU, simulated line of 100 000 counts, 0.3-12 keV, C-stat, tbabs*(powerlaw+zgauss), wilm",
        "xifu_compTT-mock",
        _xifu_line,
        {
            "PhoIndex": (0.5, 4.0),
            "powerlaw.norm": LogUniform(0.01, 10),
            "Sigma": (0.005, 0.015),
            "Redshift": (0.1, 0.5),
            "zgauss.norm": LogUniform(0.001, 0.3),
        },
        2961,
    ),
    "chandra_3c273": Case(
        "Chandra ACIS, 3C 273, 0.5-7 keV, W-stat, TBabs*powerlaw, wilm",
        "chandra_3C273",
        _chandra,
        {"nH": (0.0, 0.5), "PhoIndex": (0.0, 5.0), "norm": LogUniform(1e-5, 1e-2)},
        40,
    ),
}


def load(name: str, engine: str = "embedded") -> tuple[Case, Session, Prior]:
    """A case on an engine: the session attached, and its prior.

    Parameters
    ----------
    name
        Key of `CASES`.
    engine
        ``"embedded"``, or ``"xspec"`` for the real one.
    """
    case, xspec = CASES[name], engine_module(engine)
    folder = SHARED / "data" / case.folder
    if not folder.is_dir():
        raise SystemExit(f"no data in {folder}; set XSIXSA_SHARED to the folder that holds data/")
    xspec.Xset.allowPrompting = False
    xspec.Xset.chatter = 0
    xspec.AllData.clear()
    xspec.AllModels.clear()
    with contextlib.chdir(folder):
        case.commands(xspec)
        session = Session(xspec)
    if session.n_bins != case.bins:
        raise SystemExit(f"{name}: {session.n_bins} bins noticed where there must be {case.bins}")
    return case, session, Prior.build(session, case.prior)


def engine_module(engine: str) -> ModuleType:
    """The module with PyXspec's names."""
    return import_module({"embedded": "xsixsa.embedded.xspec", "xspec": "xspec"}[engine])


def evaluation_rate(session: Session, prior: Prior, workers: int, n: int, seed: int = 0) -> float:
    """Evaluations a second of `n` draws from the prior, workers already running."""
    theta = prior.sample(n, np.random.default_rng(seed))
    with session.pool(workers=workers) as pool:
        pool.evaluate(theta[: 16 * workers])
        start = time.perf_counter()
        pool.evaluate(theta)
        return n / (time.perf_counter() - start)


def versions(*names: str) -> dict[str, str]:
    """Versions of Python and of some packages."""
    import platform
    from importlib.metadata import version

    return {"python": platform.python_version()} | {name: version(name) for name in names}


def write_json(path: Path, content: dict) -> None:
    """Write small results under a temporary name first; numbers that are not finite are refused."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n")
    part.replace(path)


def main() -> None:
    """Load cases and measure how fast the engine is."""
    parser = argparse.ArgumentParser(description="Load cases and measure evaluations a second.")
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"of {', '.join(CASES)}; all by default")
    parser.add_argument("--engine", choices=("embedded", "xspec"), default="embedded")
    parser.add_argument("-n", type=int, default=2_000, help="evaluations to time")
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    args = parser.parse_args()
    for name in args.cases or CASES:
        case, session, prior = load(name, args.engine)
        rate = evaluation_rate(session, prior, args.workers, args.n)
        print(f"{name:15s} {session.n_bins:5d} bins  {rate:8.0f} evaluations/s, {args.workers} workers  {case.title}")


if __name__ == "__main__":
    main()
