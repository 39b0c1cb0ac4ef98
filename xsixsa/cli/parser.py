"""Arguments of the ``xsixsa`` command."""

from __future__ import annotations

import argparse
import sys

import xsixsa
from xsixsa.cli.amortised import add_parsers as _add_amortised
from xsixsa.cli.bxa import add_parser as _add_bxa
from xsixsa.cli.doctor import add_parser as _add_doctor
from xsixsa.cli.install_tcl import add_parser as _add_install_tcl
from xsixsa.cli.report import add_parser as _add_report

__all__ = ["build_parser"]

_EPILOG = """\
exit status: 0 converged, 3 not converged, 2 wrong use, 1 internal error, 130 interrupted
XSIXSA_DEBUG=1 shows the traceback of an error."""

_FIT = """\
Posterior and evidence of a model for one or more spectra, or for the session saved in an .xcm file.

  xsixsa fit source.pha --model 'TBabs*powerlaw' --abund wilm --notice 0.5-10 \\
      --prior nH=uniform:0:1 --prior PhoIndex=uniform:0:4 --prior norm=loguniform:1e-6:1e-2 --out run

Several spectra are fitted jointly with the same parameters (one data group); for anything else save the session
from XSPEC with `save all session.xcm` and give that file. Responses and background named in a header are looked
for in the current folder, as XSPEC does, and then beside the spectrum."""

_PRIOR = """\
prior of a parameter: uniform:LOW:HIGH, loguniform:LOW:HIGH or gaussian:MEAN:SIGMA; NAME is a parameter (nH), a
component and parameter (powerlaw.norm) or XSPEC's index (5); repeat for each parameter"""


class _Parser(argparse.ArgumentParser):
    """Errors on one line, like every other error of the program."""

    def error(self, message):
        print(f"xsixsa: error: {message} (see {self.prog} --help)", file=sys.stderr)
        sys.exit(2)


def _run_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("the run")
    group.add_argument("--out", metavar="FOLDER", help="folder to write; new or empty (default: %(default)s)")
    group.add_argument("--seed", type=int, help="same seed, same result (default: %(default)s)")
    group.add_argument("--workers", type=int, metavar="N", help="worker processes (default: one per core)")
    group.add_argument("--ess", type=int, metavar="N", help="effective sample size to reach (default: by preset)")
    group.add_argument("--max-evaluations", type=int, metavar="N", help="most model evaluations (default: by preset)")
    group.add_argument("--max-seconds", type=float, metavar="S", help="most seconds by the clock (default: no limit)")
    group.add_argument(
        "--centre", action="store_true", help="widen the priors of normalisations until they cover the observed counts"
    )
    group.add_argument("--preset", default="standard", help="quick, standard or thorough (default: %(default)s)")
    group.add_argument("--quiet", action="store_true", help="no progress on stderr")


def _engine_option(parser: argparse.ArgumentParser, default: str) -> None:
    parser.add_argument(
        "--engine",
        default=default,
        metavar="NAME",
        help="xspec, embedded, or auto: XSPEC where PyXspec can be imported (default: %(default)s)",
    )


def _add_demo(commands) -> None:
    demo = commands.add_parser("demo", help="simulate an observation, infer its posterior, compare with the truth")
    demo.add_argument("--background", action="store_true", help="observe with a background, fitted with W-stat")
    demo.add_argument("--data-only", action="store_true", help="write the spectrum and its responses, and stop there")
    _engine_option(demo, "embedded")
    _run_options(demo)
    demo.set_defaults(command="demo", out="demo-run", seed=1)


def _add_fit(commands) -> None:
    fit = commands.add_parser(
        "fit",
        help="posterior and evidence for spectra, or for a session saved by XSPEC",
        description=_FIT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    fit.add_argument("files", nargs="+", metavar="FILE", help="spectra (PHA), or one .xcm file")
    fit.add_argument(
        "--model",
        metavar="EXPRESSION",
        help="model expression, or the .xcm file of `save model`; needed unless FILE is a whole session",
    )
    fit.add_argument("--prior", action="append", default=[], metavar="NAME=DIST", help=_PRIOR)
    fit.add_argument(
        "--notice",
        action="append",
        default=[],
        metavar="LOW-HIGH",
        help="keV to keep, as XSPEC's `ignore **-LOW HIGH-**` does; repeat for several ranges. "
        "Channels flagged bad are always ignored",
    )
    loading = fit.add_argument_group("files named here replace those of the header (once, or once per spectrum)")
    loading.add_argument("--rmf", action="append", default=[], metavar="FILE", help="response matrix, or RSP")
    loading.add_argument("--arf", action="append", default=[], metavar="FILE", help="effective area; none for none")
    loading.add_argument("--background", action="append", default=[], metavar="FILE", help="background spectrum")
    loading.add_argument("--no-background", action="store_true", help="fit without a background file")
    settings = fit.add_argument_group("XSPEC's settings")
    settings.add_argument("--abund", metavar="TABLE", help="abundances: wilm, angr, ... (default: the engine's)")
    settings.add_argument("--xsect", metavar="TABLE", help="cross-sections: vern or bcmc (default: the engine's)")
    settings.add_argument("--stat", metavar="NAME", help="fit statistic (default: cstat)")
    _engine_option(fit, "auto")
    _run_options(fit)
    fit.set_defaults(command="fit", out="xsixsa-run", seed=None)


def _add_show(commands) -> None:
    show = commands.add_parser("show", help="summary and verdict of a finished run; exit status by verdict")
    show.add_argument("run", metavar="RUN", help="a run's folder, or its result.h5")
    show.set_defaults(command="show")


def build_parser() -> argparse.ArgumentParser:
    """Parser whose namespace names the function in `xsixsa.cli.commands` to call."""
    parser = _Parser(
        prog="xsixsa",
        description="Exact Bayesian posteriors of X-ray spectra, by simulation-based inference.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"xsixsa {xsixsa.__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    _add_demo(commands)
    _add_fit(commands)
    _add_show(commands)
    _add_report(commands)
    _add_install_tcl(commands)
    _add_bxa(commands)
    _add_amortised(commands)
    _add_doctor(commands)
    return parser
