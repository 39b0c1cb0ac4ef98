"""What the subcommands do; each returns whether the run converged."""

from __future__ import annotations

import contextlib
import os
import shlex
import sys
from argparse import Namespace
from pathlib import Path

from xsixsa.cli.amortised import apply, calibrate, train
from xsixsa.cli.bxa import run as bxa
from xsixsa.cli.doctor import run as doctor
from xsixsa.cli.install_tcl import install as install_tcl
from xsixsa.cli.load import Files, choose_engine, engine_says, load_spectra, notice, restore, set_model
from xsixsa.cli.report import run as report
from xsixsa.cli.values import ignored_ranges, parse_notice, parse_priors
from xsixsa.errors import OutputError, UsageError
from xsixsa.files import atomic_path
from xsixsa.run import RESULT_FILE, prepare_run_folder

__all__ = ["apply", "bxa", "calibrate", "demo", "doctor", "fit", "install_tcl", "report", "show", "train"]


def _say(text: str) -> None:
    print(text, flush=True)


def _note(text: str) -> None:
    print(f"xsixsa: {text}", file=sys.stderr, flush=True)


def show(arguments: Namespace) -> bool:
    """Print the summary and the verdict of a saved run."""
    import xsixsa

    path = Path(arguments.run)
    if path.is_dir() and not (path / RESULT_FILE).exists():
        raise OutputError(f"{path} holds no {RESULT_FILE}: it is not the folder of a finished run")
    result = xsixsa.load(path)
    _say(result.summary())
    return result.verdict.converged


def fit(arguments: Namespace) -> bool:
    """Load what the command line names, run, and write the run's folder."""
    priors, ignored = parse_priors(arguments.prior), ignored_ranges(parse_notice(arguments.notice))
    saved = _saved_session(arguments)
    _check_run_options(arguments)
    xspec = _engine(arguments.engine)
    place, out = Path.cwd(), Path(arguments.out).absolute()
    if saved:
        place = restore(xspec, saved)
        _settings(xspec, arguments, arguments.stat)
        if ignored:
            notice(xspec, ignored)
    else:
        _settings(xspec, arguments, arguments.stat or "cstat")
        load_spectra(xspec, arguments.files, _files(arguments))
        notice(xspec, ignored)
        set_model(xspec, arguments.model)
    # where the names of the session are right: what is saved of it names its files as they were loaded
    with contextlib.chdir(place):
        result = _run(xspec, priors, arguments, out)
    if place != Path.cwd():
        with atomic_path(out / "session.xcm") as temporary:
            temporary.write_text(f"cd {place}\n{result.session_text}")
    _say(result.summary())
    _say(f"\nwritten to {arguments.out}: " + ", ".join(sorted(p.name for p in Path(arguments.out).iterdir())))
    return result.verdict.converged


def demo(arguments: Namespace) -> bool:
    """Make the demo's observation, run on it, and put the truth beside the answer."""
    from xsixsa.demo import make_demo

    _check_run_options(arguments)
    folder = prepare_run_folder(arguments.out)
    data, run = folder / "data", folder / "run"
    made = make_demo(data, seed=arguments.seed, background=arguments.background)
    _note(f"{made.counts} counts in {made.exposure:g} s of {made.model}, written to {data}")
    if arguments.data_only:
        _say(_fit_command(made, data, run))
        return True
    xspec = _engine(arguments.engine)
    xspec.Xset.abund = made.abund
    xspec.Fit.statMethod = "cstat"
    load_spectra(xspec, [str(data / made.spectrum)], Files())
    notice(xspec, ignored_ranges(parse_notice([made.notice])))
    set_model(xspec, made.model)
    result = _run(xspec, parse_priors([f"{name}={text}" for name, text in made.prior.items()]), arguments, run)
    from xsixsa.plot import plot_corner

    plot_corner(result, run / "corner.png", made.truth)
    _say(result.summary())
    _say("\n" + _against_truth(result, made.truth))
    _say(f"\nplots    {run / 'corner.png'}\n         {run / 'spectrum.png'}")
    _say(f"again    xsixsa show {run}\nby hand  {_fit_command(made, data, run.with_name('again'))}")
    return result.verdict.converged


def _saved_session(arguments: Namespace) -> str | None:
    """The one ``.xcm`` file among the positional arguments, checked against the options that it replaces."""
    saved = [name for name in arguments.files if name.endswith(".xcm")]
    if not saved:
        if not arguments.model:
            raise UsageError("--model is needed with spectra; for example --model 'TBabs*powerlaw'")
        if arguments.background and arguments.no_background:
            raise UsageError("--background and --no-background contradict each other")
        return None
    if len(arguments.files) > 1:
        raise UsageError("one .xcm file holds a whole session: give it alone")
    for option in ("model", "rmf", "arf", "background", "no_background"):
        if getattr(arguments, option):
            raise UsageError(f"--{option.replace('_', '-')} is for spectra; {saved[0]} brings its own")
    return saved[0]


def _check_run_options(arguments: Namespace) -> None:
    """Refuse what cannot be before anything is loaded or written."""
    for option in ("workers", "ess", "max_evaluations"):
        value = getattr(arguments, option)
        if value is not None and value < 1:
            raise UsageError(f"--{option.replace('_', '-')} must be a positive whole number, not {value}")
    if arguments.max_seconds is not None and not arguments.max_seconds > 0:
        raise UsageError(f"--max-seconds must be positive, not {arguments.max_seconds:g}")
    if arguments.seed is not None and arguments.seed < 0:
        raise UsageError(f"--seed must not be negative, it is {arguments.seed}")
    from xsixsa.options import preset

    preset(arguments.preset)


def _engine(name: str):
    """The engine, silenced and never asking; which one it is is said."""
    xspec = choose_engine(name)
    xspec.Xset.allowPrompting = False
    xspec.Xset.chatter = 0
    embedded = getattr(xspec, "__xsixsa_embedded__", False)
    if embedded and name == "auto":
        _note("no PyXspec here (HEASoft is not initialised): the embedded engine takes its place")
    return xspec


def _settings(xspec, arguments: Namespace, statistic: str | None) -> None:
    for option, owner, attribute, value in (
        ("--abund", xspec.Xset, "abund", arguments.abund),
        ("--xsect", xspec.Xset, "xsect", arguments.xsect),
        ("--stat", xspec.Fit, "statMethod", statistic),
    ):
        if value is None:
            continue
        with engine_says(UsageError, f"{option} {value}"):
            setattr(owner, attribute, value)


def _files(arguments: Namespace) -> Files:
    background = ("none",) if arguments.no_background else tuple(arguments.background)
    return Files(tuple(arguments.rmf), tuple(arguments.arf), background)


def _run(xspec, priors: dict, arguments: Namespace, out: Path):
    """Run and write ``out``; an interruption says what is there."""
    import xsixsa

    given = {name: getattr(arguments, name) for name in ("max_evaluations", "max_seconds", "ess")}
    try:
        return xsixsa.fit(
            xspec,
            prior=priors,
            seed=arguments.seed,
            workers=arguments.workers,
            preset=arguments.preset,
            centre=arguments.centre or None,
            out=out,
            progress=not arguments.quiet,
            **{name: value for name, value in given.items() if value is not None},
        )
    except KeyboardInterrupt:
        if (out / RESULT_FILE).exists():
            saved = f"what was finished is in {out}, see it with: xsixsa show {shlex.quote(str(out))}"
        else:
            saved = "nothing was saved"
        raise KeyboardInterrupt(saved) from None
    finally:
        # a folder that holds nothing would only stand in the way of the next try
        if out.is_dir() and not any(out.iterdir()):
            out.rmdir()


def _against_truth(result, truth: dict[str, float]) -> str:
    """Truth, median and its distance in units of the 68 % half-width on that side, one line per parameter."""
    lines = [f"{'parameter':<16}{'truth':>11}{'median':>11}{'68 % interval':>25}{'off by':>12}"]
    for row in result.table():
        true = truth[row["name"]]
        side = row["q84"] - row["q50"] if true > row["q50"] else row["q50"] - row["q16"]
        interval = f"{row['q16']:.5g} .. {row['q84']:.5g}"
        off = f"{(true - row['q50']) / side:+.1f} sigma" if side > 0 else "-"
        lines.append(f"{row['name']:<16}{true:>11.5g}{row['q50']:>11.5g}{interval:>25}{off:>12}")
    return "\n".join(lines)


def _fit_command(made, data: Path, out: Path) -> str:
    """The same run by hand."""
    words = ["xsixsa", "fit", os.path.join(data, made.spectrum), "--model", made.model, "--abund", made.abund]
    words += ["--notice", made.notice]
    for name, text in made.prior.items():
        words += ["--prior", f"{name}={text}"]
    return shlex.join([*words, "--out", str(out)])
