"""``xsixsa train``, ``xsixsa apply`` and ``xsixsa calibrate``: one network for many spectra."""

from __future__ import annotations

import argparse
import os
import re
import sys
from pathlib import Path

from xsixsa.errors import OutputError, UsageError

__all__ = ["add_parsers", "apply", "calibrate", "train"]

_TRAIN = """\
Trains one network for all spectra of the response, grouping, energy range and model of a spectrum, the pattern.

  xsixsa train pattern.pha --model 'TBabs*powerlaw' --abund wilm --notice 0.3-10 --counts 1000-20000 \\
      --prior nH=uniform:0:1 --prior PhoIndex=uniform:1:3 --prior norm=loguniform:1e-4:1e-1 --out network.h5

With --counts it learns spectra with so many expected counts, with --for those that are like the given ones."""
_APPLY = """\
Exact posterior of every spectrum, starting from a network. Writes FOLDER/table.fits, table.ecsv and one result for
each spectrum, which `xsixsa show` reads. The same command goes on with what an interrupted one has left.

  xsixsa apply network.h5 segments/*.pha --out posteriors"""
_CALIBRATE = """\
Simulates spectra with known parameters and sees where those fall in the posteriors, before and after correction."""
_RANGE = re.compile(r"^\s*([0-9.eE+]+)\s*-\s*([0-9.eE+]+)\s*$")


def add_parsers(commands) -> None:
    """Add the subcommands to a parser's `commands`."""
    _add_train(commands)
    _add_apply(commands)
    _add_calibrate(commands)


def _add(commands, name: str, text: str, description: str) -> argparse.ArgumentParser:
    parser = commands.add_parser(
        name, help=text, description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, help="same seed, same result")
    parser.add_argument("--workers", type=int, metavar="N", help="worker processes (default: one per core)")
    parser.add_argument("--quiet", action="store_true", help="no progress on stderr")
    parser.add_argument("--rmf", metavar="FILE", help="response matrix, or RSP")
    parser.add_argument("--arf", metavar="FILE", help="effective area")
    parser.set_defaults(command=name)
    return parser


def _add_train(commands) -> None:
    parser = _add(commands, "train", "one network for many spectra like this one", _TRAIN)
    parser.add_argument("pattern", metavar="PHA", help="a spectrum like those to come")
    parser.add_argument("--model", required=True, metavar="EXPRESSION", help="expression, or an .xcm file")
    parser.add_argument("--prior", action="append", default=[], metavar="NAME=DIST", help="as for xsixsa fit")
    parser.add_argument("--notice", action="append", default=[], metavar="LOW-HIGH", help="keV to keep")
    parser.add_argument("--counts", metavar="LOW-HIGH", help="expected counts of the spectra to come")
    parser.add_argument("--for", dest="spectra", nargs="+", metavar="PHA", help="spectra at hand to train for")
    parser.add_argument("--exposure", metavar="LOW-HIGH", help="range of exposures, s (default: the pattern's)")
    parser.add_argument("--simulations", type=int, default=10_000, metavar="N", help="default: %(default)s")
    parser.add_argument("--summary", default="autoencoder", help="autoencoder, pca, spectral, embedding or none")
    parser.add_argument("--background", metavar="FILE", help="background spectrum")
    parser.add_argument("--no-background", action="store_true", help="train without a background file")
    parser.add_argument("--abund", metavar="TABLE", help="abundances: wilm, angr, ...")
    parser.add_argument("--xsect", metavar="TABLE", help="cross-sections: vern or bcmc")
    parser.add_argument("--engine", default="auto", metavar="NAME", help="xspec, embedded or auto (default)")
    parser.add_argument("--out", default="network.h5", metavar="FILE", help="network to write (default: %(default)s)")


def _add_apply(commands) -> None:
    parser = _add(commands, "apply", "exact posteriors of many spectra from a network", _APPLY)
    parser.add_argument("network", metavar="NET", help="a network that xsixsa train wrote")
    parser.add_argument("spectra", nargs="+", metavar="PHA", help="spectra")
    parser.add_argument("--out", default="posteriors", metavar="FOLDER", help="default: %(default)s")
    parser.add_argument("--ess", type=int, default=1_000, metavar="N", help="effective size (default: %(default)s)")
    parser.add_argument("--max-evaluations", type=int, default=30_000, metavar="N", help="for one spectrum")
    parser.add_argument("--no-refine", action="store_true", help="flag poor corrections only")
    parser.add_argument("--regroup", action="store_true", help="sum other groupings into the network's bins")
    parser.add_argument("--same-response", action="store_true", help="take the network's response whatever they name")
    parser.add_argument("--no-background", action="store_true", help="leave out backgrounds that the network has not")
    parser.add_argument("--engine", metavar="NAME", help="xspec or embedded (default: that of the training)")


def _add_calibrate(commands) -> None:
    parser = _add(commands, "calibrate", "is a network calibrated? exit status 3 where it is not", _CALIBRATE)
    parser.add_argument("network", metavar="NET", help="a network that xsixsa train wrote")
    parser.add_argument("-n", type=int, default=300, metavar="N", help="simulated spectra (default: %(default)s)")
    parser.add_argument("--draws", type=int, default=1_000, metavar="N", help="draws of each (default: %(default)s)")
    parser.add_argument("--no-correction", action="store_true", help="the network alone")
    parser.add_argument("--out", metavar="FOLDER", help="folder for numbers and figures")
    parser.add_argument("--engine", metavar="NAME", help="xspec or embedded (default: that of the training)")


def train(arguments: argparse.Namespace) -> bool:
    """Load the pattern, train, write the network."""
    import xsixsa
    from xsixsa.cli.load import Files, load_spectra, notice, set_model
    from xsixsa.cli.values import ignored_ranges, parse_notice, parse_priors

    priors, ignored = parse_priors(arguments.prior), ignored_ranges(parse_notice(arguments.notice))
    counts, exposure = _pair(arguments.counts, "--counts"), _pair(arguments.exposure, "--exposure")
    _positive(arguments, "workers", "simulations")
    if arguments.background and arguments.no_background:
        raise UsageError("--background and --no-background contradict each other")
    if Path(arguments.out).exists():
        raise OutputError(f"{arguments.out} exists: name another file with --out")
    xspec = _engine(arguments.engine)
    for key in ("abund", "xsect"):
        if getattr(arguments, key):
            _set(xspec, key, getattr(arguments, key))
    xspec.Fit.statMethod = "cstat"
    background = ("none",) if arguments.no_background else _given(arguments.background)
    load_spectra(xspec, [arguments.pattern], Files(_given(arguments.rmf), _given(arguments.arf), background))
    notice(xspec, ignored)
    set_model(xspec, arguments.model)
    network = xsixsa.train(
        xspec,
        priors,
        counts=counts,
        spectra=arguments.spectra,
        simulations=arguments.simulations,
        exposure=exposure,
        summary=arguments.summary,
        seed=arguments.seed,
        workers=arguments.workers,
        progress=not arguments.quiet,
        out=arguments.out,
    )
    print(f"{network}\nwritten to {arguments.out} in {sum(network.settings['seconds'].values()):.0f} s")
    return True


def apply(arguments: argparse.Namespace) -> bool:
    """Correct every spectrum, write the folder, print the table."""
    import xsixsa

    _positive(arguments, "workers", "ess", "max_evaluations")
    network = xsixsa.load_network(arguments.network)
    spectra = [os.path.abspath(s) for s in arguments.spectra]
    out = os.path.abspath(arguments.out)
    with _session(network, arguments, [os.path.dirname(s) for s in spectra]) as session:
        applied = network.apply(
            spectra,
            session,
            out=out,
            ess=arguments.ess,
            max_evaluations=arguments.max_evaluations,
            refine=not arguments.no_refine,
            regroup=arguments.regroup,
            same_response=arguments.same_response,
            no_background=arguments.no_background,
            seed=arguments.seed,
            workers=arguments.workers,
            progress=not arguments.quiet,
        )
    _print_rows(applied, network.names)
    print(f"\n{applied.summary()}; written to {arguments.out}: table.fits, table.ecsv and the results")
    return applied.converged


def calibrate(arguments: argparse.Namespace) -> bool:
    """Calibrate, print the numbers, write figures where asked to."""
    import xsixsa

    _positive(arguments, "workers")
    network = xsixsa.load_network(arguments.network)
    out = None if arguments.out is None else Path(arguments.out).absolute()
    with _session(network, arguments, []) as session:
        outcome = network.calibrate(
            arguments.n,
            session,
            draws=arguments.draws,
            correct=not arguments.no_correction,
            seed=arguments.seed,
            workers=arguments.workers,
            progress=not arguments.quiet,
        )
    print(outcome.summary())
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        outcome.to_json(out / "calibration.json", overwrite=True)
        outcome.plot(out / "calibration.png")
        print(f"\nwritten to {arguments.out}: calibration.json, calibration.png")
    return outcome.passed


def _session(network, arguments: argparse.Namespace, folders: list[str]):
    """The network's session, its response looked for here, beside the network and beside the spectra."""
    from xsixsa.amortised.revive import loaded

    xspec = _engine(arguments.engine or network.pattern["engine"]["name"])
    places = [os.getcwd(), os.path.dirname(os.path.abspath(arguments.network)), *dict.fromkeys(folders)]
    given = (os.path.abspath(f) if f else None for f in (arguments.rmf, arguments.arf))
    return loaded(network, xspec, places, *given)


def _engine(name: str):
    from xsixsa.cli.load import choose_engine

    xspec = choose_engine(name)
    xspec.Xset.allowPrompting = False
    xspec.Xset.chatter = 0
    return xspec


def _set(xspec, key: str, value: str) -> None:
    from xsixsa.cli.load import engine_says

    with engine_says(UsageError, f"--{key} {value}"):
        setattr(xspec.Xset, key, value)


def _given(name: str | None) -> tuple[str, ...]:
    return (name,) if name else ()


def _pair(text: str | None, option: str) -> tuple[float, float] | None:
    if text is None:
        return None
    match = _RANGE.match(text)
    try:
        return (float(match[1]), float(match[2])) if match else _no_range(text, option)
    except ValueError:
        return _no_range(text, option)


def _no_range(text: str, option: str):
    raise UsageError(f"{option} {text!r} is not LOW-HIGH; for example {option} 1000-20000")


def _positive(arguments: argparse.Namespace, *options: str) -> None:
    for option in options:
        value = getattr(arguments, option)
        if value is not None and value < 1:
            raise UsageError(f"--{option.replace('_', '-')} must be a positive whole number, not {value}")


def _print_rows(applied, names: list[str]) -> None:
    """One line for each spectrum: medians, and whether they may be read."""
    width = max(len(Path(r["name"]).name) for r in applied.rows)
    print(f"{'spectrum':<{width}} " + " ".join(f"{n:>13}" for n in names) + f" {'ESS':>6}  status")
    for row in applied.rows:
        values = " ".join(f"{row.get(f'{n}_q50', float('nan')):>13.5g}" for n in names)
        status = row["status"] + (", unlike the training set" if row.get("flagged") else "")
        status += f": {row['reason']}" if row["reason"] else ""
        print(f"{Path(row['name']).name:<{width}} {values} {row.get('ess', 0):>6.0f}  {status}")
    sys.stdout.flush()
