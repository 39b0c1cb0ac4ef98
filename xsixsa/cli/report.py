"""``xsixsa report``: one self-contained HTML page for a finished run."""

from __future__ import annotations

import argparse
from pathlib import Path

from xsixsa.errors import OutputError

__all__ = ["add_parser", "run"]

_TEXT = """\
Writes one HTML page that holds everything: verdict, parameters, data and model with residuals, corner plot, evidence,
goodness and predictive checks, training and efficiency, settings and versions, and how to repeat the run. It loads
nothing from anywhere, so it can be mailed or archived as it is. The exit status is by verdict, as for `show`."""
_NAME = "report.html"


def add_parser(commands) -> None:
    """Add the subcommand to a parser's `commands`."""
    parser = commands.add_parser(
        "report",
        help="one self-contained HTML page for a finished run",
        description=_TEXT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run", metavar="RUN", help="a run's folder, or its result.h5")
    parser.add_argument("--out", metavar="FILE", help=f"page to write (default: {_NAME} beside the result)")
    parser.add_argument("--title", metavar="TEXT", help="heading of the page (default: the model)")
    parser.add_argument("--overwrite", action="store_true", help="replace an existing page")
    parser.set_defaults(command="report")


def run(arguments: argparse.Namespace) -> bool:
    """Write the page; whether the run converged."""
    import xsixsa
    from xsixsa.report import write_report
    from xsixsa.run import RESULT_FILE

    path = Path(arguments.run)
    if path.is_dir() and not (path / RESULT_FILE).exists():
        raise OutputError(f"{path} holds no {RESULT_FILE}: it is not the folder of a finished run")
    out = Path(arguments.out) if arguments.out else (path if path.is_dir() else path.parent) / _NAME
    if out.exists() and not arguments.overwrite:
        raise OutputError(f"{out} exists: give --overwrite to replace it, or another name with --out")
    result = xsixsa.load(path)
    write_report(result, out, title=arguments.title, overwrite=arguments.overwrite)
    print(f"verdict: {result.verdict.text.upper()}\nwritten: {out}", flush=True)
    return result.verdict.converged
