"""``xsixsa bxa``: BXA's nested sampling on the part of the prior that holds a run's posterior."""

from __future__ import annotations

import argparse
import math
import os
import sys
from pathlib import Path

from xsixsa.errors import OutputError, UsageError

__all__ = ["add_parser", "run"]

_TEXT = """\
Runs BXA (UltraNest) on the prior truncated to the posterior of a finished run, gives the evidence of the whole prior,
and puts both posteriors side by side. BXA's outputs lie in RUN/bxa, or in the folder that --out names.

  xsixsa fit source.pha --model 'TBabs*powerlaw' ... --out run
  xsixsa bxa run --live-points 400

Where the truncation turns out to cut the posterior, it is widened and BXA runs again.
Needs pip install 'xsixsa[bxa]'."""
_SESSION = "session.xcm"
_SIGMA = 3.0
_FEWEST = 40


def add_parser(commands) -> None:
    """Add the subcommand to a parser's `commands`."""
    parser = commands.add_parser(
        "bxa",
        help="check a run with BXA, on the part of the prior that holds its posterior",
        description=_TEXT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run", metavar="RUN", help="the folder of a finished run")
    parser.add_argument("--out", metavar="FOLDER", help="folder for BXA's outputs (default: RUN/bxa)")
    parser.add_argument("--live-points", type=int, default=400, metavar="N", help="UltraNest's (default: %(default)s)")
    parser.add_argument("--resume", action="store_true", help="go on with an interrupted run in that folder")
    parser.add_argument("--box", action="store_true", help="only tighten each parameter's bounds")
    parser.add_argument("--quantile", type=float, metavar="Q", help="posterior mass that may be cut off (1e-4)")
    parser.add_argument("--margin", type=float, metavar="M", help="room on each side, as a share of the width (0.08)")
    parser.add_argument("--widen", type=int, default=2, metavar="N", help="times to widen and rerun (default: 2)")
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="processes (default: 1, BXA as it is)")
    parser.add_argument("--seed", type=int, help="same seed, same result")
    parser.add_argument("--engine", metavar="NAME", help="xspec or embedded (default: that of the run)")
    parser.add_argument("--quiet", action="store_true", help="no status line of UltraNest")
    parser.set_defaults(command="bxa")


def run(arguments: argparse.Namespace) -> bool:
    """Run BXA for a finished run; whether both agree."""
    import xsixsa

    _check(arguments)
    folder = Path(arguments.run)
    if not folder.is_dir():
        raise OutputError(f"{folder} is not the folder of a finished run")
    result = xsixsa.load(folder)
    session = _session(folder, result, arguments.engine)
    options = {k: getattr(arguments, k) for k in ("quantile", "margin") if getattr(arguments, k) is not None}
    truncation = result.bxa(session, kind="box" if arguments.box else "region", **options)
    for warning in truncation.warnings:
        print(f"xsixsa: warning: {warning}", file=sys.stderr)
    print(f"xsixsa: {math.exp(truncation.log_mass):.2g} of the prior is left to BXA", file=sys.stderr, flush=True)
    return _run_and_report(arguments, folder, result, truncation)


def _check(arguments: argparse.Namespace) -> None:
    if arguments.live_points < _FEWEST:
        raise UsageError(f"--live-points {arguments.live_points} is too few for nested sampling; 400 is usual")
    for option in ("workers", "widen"):
        least = 1 if option == "workers" else 0
        if getattr(arguments, option) < least:
            raise UsageError(f"--{option} must be at least {least}, not {getattr(arguments, option)}")


def _session(folder: Path, result, engine: str | None):
    """The session of the run, restored from what it saved."""
    from xsixsa.cli.load import choose_engine, restore
    from xsixsa.session import Session

    saved = folder / _SESSION
    if not saved.exists():
        raise OutputError(f"{folder} holds no {_SESSION}: BXA needs the session of the run")
    xspec = choose_engine(engine or result.engine["name"])
    xspec.Xset.allowPrompting = False
    xspec.Xset.chatter = 0
    restore(xspec, str(saved))
    return Session(xspec)


def _run_and_report(arguments: argparse.Namespace, folder: Path, result, truncation) -> bool:
    from xsixsa.bxa import compare_runs, plot_runs, run_bxa

    out = Path(arguments.out) if arguments.out else folder / "bxa"
    quiet = {"show_status": False, "viz_callback": False} if arguments.quiet else {}
    outcome = run_bxa(
        truncation,
        out,
        live_points=arguments.live_points,
        resume=arguments.resume,
        widen=arguments.widen,
        workers=arguments.workers,
        seed=arguments.seed,
        run_kwargs=quiet,
    )
    comparison = compare_runs(result, outcome.run)
    figure = plot_runs(result, {"BXA, truncated prior": outcome.run}, out / "comparison.png")
    evidence = outcome.evidence
    apart = abs(evidence.log_evidence - result.log_evidence)
    sigma = apart / math.hypot(evidence.log_evidence_err, result.log_evidence_err)
    agrees = bool(evidence.edges.passed and sigma < _SIGMA)
    print(f"\nBXA      {evidence}")
    print(f"xsixsa   log-evidence {result.log_evidence:.3f} +- {result.log_evidence_err:.3f}")
    print(f"{'agrees' if agrees else 'DIFFERS'}: log-evidences {sigma:.1f} sigma apart")
    print(f"cost     {outcome.n_evaluations} evaluations by BXA, {result.n_evaluations} by xsixsa\n")
    print(comparison.table(("xsixsa", "BXA")))
    print(f"\nwritten to {out}{os.sep}: BXA's outputs, {figure.name}, posterior.fits (a chain for XSPEC)")
    return agrees
