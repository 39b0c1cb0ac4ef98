"""What the benchmarks of amortised networks share: sessions, priors, simulated spectra in memory and in files."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from astropy.io import fits
from cases import CACHE, RESULTS, SHARED, TBABS_POWERLAW_BBODYRAD, engine_module, versions, write_json

import xsixsa
from xsixsa import LogUniform, Session
from xsixsa.amortised.network import Network, load_network
from xsixsa.embedded.grouping import group_channels
from xsixsa.embedded.pha import read_pha

__all__ = [
    "BRIGHT",
    "BURST",
    "FIGURES",
    "MINUTES_5",
    "MODEL_1",
    "TWO_COMPONENTS",
    "Bounds",
    "Kind",
    "cached_network",
    "cost",
    "describe",
    "keep",
    "observations",
    "session_of",
    "simulated",
    "write_segments",
]

FOLDER = SHARED / "data" / "nicer_4U1820-303"
FIGURES = Path(__file__).resolve().parents[1] / "docs" / "figures"
GROUPED = "Reference_pha_tbabs_powerlaw_20000counts_groupconstant_5.pha"
"""NICER channels grouped by five; only its grouping, exposure and response matter here, not its counts."""


@dataclass(frozen=True)
class Kind:
    """A response, grouping and model with its prior.

    Attributes
    ----------
    spectrum, arf : str
        Files of the NICER folder.
    model : str
        Expression.
    frozen : dict
        XSPEC index of frozen parameters -> value.
    prior : dict
        Of the free ones.
    bins : int
        Noticed bins in 0.3-10 keV that must result.
    """

    spectrum: str
    arf: str
    model: str
    frozen: dict[int, float] = field(hash=False)
    prior: dict = field(hash=False)
    bins: int


MODEL_1 = Kind(
    GROUPED,
    "pre_burst_Tint200_raw.arf",
    "TBabs*powerlaw",
    {},
    {"nH": (0.1, 0.3), "PhoIndex": (0.5, 2.5), "norm": LogUniform(0.01, 100)},
    193,
)
"""Model 1 of Barret & Dupourque 2024, channels grouped by five."""

TWO_COMPONENTS = Kind(
    GROUPED, "pre_burst_Tint200_raw.arf", "TBabs*(powerlaw+bbodyrad)", {}, TBABS_POWERLAW_BBODYRAD, 193
)
"""Model 2, channels grouped by five."""

BURST = Kind(
    "b_008_0.25s_raw_opt.pha",
    "b_008_0.25s.arf",
    "TBabs*(powerlaw+bbodyrad)",
    {1: 0.2, 2: 1.7},
    {"powerlaw.norm": LogUniform(0.1, 10), "kT": (0.1, 4.5), "bbodyrad.norm": LogUniform(0.1, 1e5)},
    95,
)
"""Model 3: a segment of a type-I burst, absorption and slope of the persistent emission fixed."""

MINUTES_5 = 300.0
BRIGHT = {"high": ((1e4, 1e5), 10_000), "low": ((1e3, 1e4), 20_000)}
"""Range of expected counts, and training spectra."""


def session_of(kind: Kind, spectrum: str | os.PathLike | None = None) -> Session:
    """A session on the embedded engine, attached; `spectrum` stands in for the kind's own file."""
    if not FOLDER.is_dir():
        raise SystemExit(f"no data in {FOLDER}; set XSIXSA_SHARED to the folder that holds data/")
    xspec = engine_module("embedded")
    xspec.Xset.allowPrompting = False
    xspec.Xset.chatter = 0
    xspec.AllModels.clear()
    xspec.AllData.clear()
    xspec.Xset.abund = "wilm"
    path = FOLDER / kind.spectrum if spectrum is None else Path(spectrum).resolve()
    # file names in headers are relative to the folder of the spectrum, and may name what is not public
    with contextlib.chdir(path.parent):
        loaded = xspec.Spectrum(str(path))
    loaded.response = str(FOLDER / "nicer_RECONSTRUCTED.rmf")
    loaded.response.arf = str(FOLDER / kind.arf)
    xspec.AllData.ignore("bad")
    loaded.ignore("**-0.3 10.0-**")
    xspec.Fit.statMethod = "cstat"
    model = xspec.Model(kind.model)
    for index, value in kind.frozen.items():
        model(index).values = value
        model(index).frozen = True
    session = Session(xspec)
    if session.n_bins != kind.bins:
        raise SystemExit(f"{session.n_bins} bins noticed where there must be {kind.bins}")
    return session


def cost() -> np.ndarray:
    """Seconds by the clock and of the processors, finished workers included: on a busy machine they differ."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return np.array([time.perf_counter(), sum(u.ru_utime + u.ru_stime for u in used)])


def cached_network(name: str, session: Session, kind: Kind, args, **training) -> Network:
    """A network from benchmarks/.cache, trained where it is not there or ``--fresh`` is given.

    ``settings["cost"]`` holds the seconds of the training by the clock and of the processors.
    """
    path = CACHE / f"network_{name}_{args.seed}.h5"
    if path.exists() and not args.fresh:
        return load_network(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    before = cost()
    network = xsixsa.train(session, kind.prior, seed=args.seed, workers=args.workers, progress=False, **training)
    network.settings["cost"] = [float(v) for v in cost() - before]
    network.save(path, overwrite=True)
    return network


def simulated(network: Network, session: Session, n: int, rng, workers: int):
    """Fresh draws of the training distribution with their expected counts, and noisy vectors (n, size)."""
    with session.pool(workers=workers) as pool:

        def evaluate(z):
            found = pool.evaluate(network.prior.from_normal(z))
            return found.expected, found.valid

        drawn = network.proposal.draw(n, rng, evaluate)
    return drawn, network.simulate(drawn.expected, rng, drawn.exposure)


def observations(session: Session, counts: np.ndarray, stem: str) -> list:
    """Spectra in memory: the session's observation with other counts (n, bins)."""
    one = session.observations[0]
    return [replace(one, counts=np.asarray(row, float), name=f"{stem}{i:04d}") for i, row in enumerate(counts)]


def write_segments(folder: Path, kind: Kind, session: Session, counts: np.ndarray) -> list[Path]:
    """Spectrum files with these counts in the noticed bins and the kind's grouping.

    What a bin holds is put into its first channel: only sums over groups are ever used.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    group, _ = group_channels(read_pha(FOLDER / kind.spectrum))
    first = np.array([np.flatnonzero(group == g)[0] for g in session.observations[0].channels - 1])
    with fits.open(FOLDER / kind.spectrum) as pattern:
        spectrum = next(h for h in pattern if h.name == "SPECTRUM")
        for i, row in enumerate(counts):
            path = folder / f"segment_{i:02d}.pha"
            values = np.zeros(len(group), np.int32)
            values[first] = row
            spectrum.data["COUNTS"] = values
            spectrum.header["RESPFILE"], spectrum.header["ANCRFILE"] = "none", "none"
            pattern.writeto(path, overwrite=True)
            paths.append(path)
    return paths


def describe(net) -> dict:
    """Size of the network and how long each part was trained."""
    flow = net.settings["options"]["flow"]
    clock, processors = net.settings["cost"]
    return {
        "flow": flow,
        "summary": net.summary.name,
        "n_evaluations": net.settings["n_evaluations"],
        "training_seconds": clock,
        "training_processor_seconds": processors,
        "stages": net.settings["seconds"],
    }


class Bounds:
    """Lines of PASS and FAIL, and what to return."""

    def __init__(self):
        self.missed: list[str] = []

    def check(self, ok: bool, text: str) -> None:
        """Print one bound."""
        print(("PASS  " if ok else "FAIL  ") + text, flush=True)
        if not ok:
            self.missed.append(text)


def keep(part: str, content: dict, bounds: Bounds, args) -> int:
    """Write the results of a part; its exit status."""
    content |= {"missed": bounds.missed, "seed": args.seed, "workers": args.workers}
    content |= {"versions": versions("xsixsa", "torch", "sbi", "numpy")}
    write_json(RESULTS / f"amortised_{part}.json", json.loads(json.dumps(content, default=float)))
    return int(bool(bounds.missed))
