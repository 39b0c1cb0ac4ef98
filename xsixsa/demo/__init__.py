"""An observation that the project makes itself, with a truth to compare with.

A made-up CCD telescope looks at ``TBabs*(powerlaw+bbodyrad)``; the spectrum, its responses and, if asked for, a
background are ordinary OGIP files that XSPEC reads as well.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from xsixsa.files import atomic_path

__all__ = ["Demo", "make_demo"]

MODEL = "TBabs*(powerlaw+bbodyrad)"
TRUTH = {"nH": 0.2, "PhoIndex": 1.8, "powerlaw.norm": 8e-4, "kT": 0.5, "bbodyrad.norm": 5.0}
PRIOR = {
    "nH": "uniform:0:1",
    "PhoIndex": "uniform:0.5:3.5",
    "powerlaw.norm": "loguniform:1e-5:1e-2",
    "kT": "uniform:0.1:2",
    "bbodyrad.norm": "loguniform:0.1:1000",
}
NOTICE = "0.3-10"
ABUND = "wilm"
# Background in counts/s/keV over the source region, and how much larger and longer its own exposure is.
_BACKGROUND_RATE = 0.004
_BACKGROUND_SCALE = 6.0


@dataclass(frozen=True)
class Demo:
    """Where the demo's files are, what made them and how they are meant to be fitted.

    Attributes
    ----------
    folder, spectrum : str
        Folder, and the spectrum's name in it; responses and background are named in its header.
    model, abund, notice : str
        Model expression, abundances and the noticed range as the command line takes it.
    truth : dict
        True values by short parameter name.
    prior : dict
        Prior of each parameter as the command line takes it.
    counts : int
        Counts in the whole spectrum.
    exposure : float
        Seconds.
    seed : int
        What the noise was drawn with.
    """

    folder: str
    spectrum: str
    model: str
    abund: str
    notice: str
    truth: dict
    prior: dict
    counts: int
    exposure: float
    seed: int


def true_photons(energies: np.ndarray, truth: dict) -> np.ndarray:
    """The true model in photons/cm2/s per energy bin (m,), from the embedded engine's components."""
    from xsixsa.embedded.components import ModelContext, find

    context = ModelContext(abund=ABUND)

    def component(name, *values):
        return find(name)().evaluate(energies, np.array([values], dtype=float), context)[0]

    powerlaw = truth["powerlaw.norm"] * component("powerlaw", truth["PhoIndex"])
    blackbody = truth["bbodyrad.norm"] * component("bbodyrad", truth["kT"])
    return component("TBabs", truth["nH"]) * (powerlaw + blackbody)


def make_demo(
    folder: str | os.PathLike, *, seed: int = 1, background: bool = False, exposure: float = 4000.0, group: int = 20
) -> Demo:
    """Simulate the observation and write its files; the same seed writes the same spectrum.

    Parameters
    ----------
    folder : str or path
        Where to write; made if it is not there. Files of the same names are replaced.
    seed : int
        Seed of the Poisson noise.
    background : bool
        Whether to add a background and write its file.
    exposure : float
        Seconds.
    group : int
        Least number of counts per group.

    Returns
    -------
    Demo
        Files, truth and how to fit them; also written as ``truth.json``.
    """
    from xsixsa.demo import ogip
    from xsixsa.demo.instrument import ccd

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    instrument = ccd()
    rng = np.random.default_rng(seed)
    expected = exposure * instrument.fold(true_photons(instrument.energies, TRUTH))
    names = {"RESPFILE": "demo.rmf", "ANCRFILE": "demo.arf"}
    if background:
        middle = 0.5 * (instrument.channels[1:] + instrument.channels[:-1])
        rate = _BACKGROUND_RATE * np.diff(instrument.channels) * (1.0 + 2.0 * np.exp(-middle))
        expected = expected + exposure * rate
        off = rng.poisson(_BACKGROUND_SCALE * exposure * rate)
        ogip.write_spectrum(folder / "demo_bg.pha", off, exposure, kind="BKG", BACKSCAL=_BACKGROUND_SCALE)
        names["BACKFILE"] = "demo_bg.pha"
    counts = rng.poisson(expected)
    ogip.write_arf(folder / "demo.arf", instrument)
    ogip.write_rmf(folder / "demo.rmf", instrument)
    ogip.write_spectrum(folder / "demo.pha", counts, exposure, group=group, **names)
    demo = Demo(
        str(folder), "demo.pha", MODEL, ABUND, NOTICE, dict(TRUTH), dict(PRIOR), int(counts.sum()), exposure, seed
    )
    with atomic_path(folder / "truth.json") as temporary:
        temporary.write_text(json.dumps(asdict(demo) | {"folder": "."}, indent=1) + "\n")
    return demo
