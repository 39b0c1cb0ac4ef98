"""A burst in slices: one network for all of them, and the parameters against time.

    python examples/many_bursts.py [FOLDER] [--slices 12] [--simulations 6000] [--ess 1000]

The burst is made here: a black body on a steady power law, hot and bright at first, then cooling. The network is
trained once, with the first slice as pattern, where spectra have 200 to 100 000 counts; each slice is then corrected
with its own exact likelihood. In bursts.png an open symbol is a slice that has not converged or is unlike the
training set: kept, and marked.
"""

import argparse
import contextlib
import sys
import tempfile
from pathlib import Path

import numpy as np

from xsixsa.demo import ogip, true_photons
from xsixsa.demo.instrument import Instrument, ccd

try:
    import xspec
except ImportError:
    from xsixsa.embedded import xspec

import xsixsa

EXPOSURE = 50.0
PRIOR = {"powerlaw.norm": "loguniform:0.01:0.3", "kT": (0.3, 3.0), "bbodyrad.norm": "loguniform:1:3000"}


def make_burst(folder, slices):
    """Spectra of one burst in `slices` equal times, and what made them."""
    fine, rng = ccd(), np.random.default_rng(1)
    # channels eight by eight: as many bins as the detector resolves, and the same in every slice
    coarse = np.add.reduceat(fine.matrix, np.arange(0, 1024, 8), axis=1).astype(np.float32).astype(float)
    telescope = Instrument(fine.energies, fine.channels[::8], fine.area, coarse)
    ogip.write_arf(folder / "burst.arf", telescope)
    ogip.write_rmf(folder / "burst.rmf", telescope)
    truths = []
    for i, time in enumerate(np.linspace(0, 1, slices)):
        truth = {"nH": 0.2, "PhoIndex": 1.7, "powerlaw.norm": 0.05, "kT": 2.2 * np.exp(-time), "bbodyrad.norm": 40.0}
        counts = rng.poisson(EXPOSURE * telescope.fold(true_photons(telescope.energies, truth)))
        names = {"RESPFILE": "burst.rmf", "ANCRFILE": "burst.arf"}
        ogip.write_spectrum(folder / f"slice_{i:02d}.pha", counts, EXPOSURE, **names)
        truths.append(truth)
    return [f"slice_{i:02d}.pha" for i in range(slices)], truths


def load(pattern):
    """One slice and the model; absorption and slope are those of the emission before the burst."""
    xspec.Xset.allowPrompting = False
    xspec.Xset.chatter = 0
    xspec.Xset.abund = "wilm"
    xspec.AllData.clear()
    xspec.AllModels.clear()
    xspec.AllData(f"1:1 {pattern}")
    xspec.AllData.ignore("**-0.4 10.0-**")
    xspec.Fit.statMethod = "cstat"
    model = xspec.Model("TBabs*(powerlaw+bbodyrad)")
    for parameter, value in ((model.TBabs.nH, 0.2), (model.powerlaw.PhoIndex, 1.7)):
        parameter.values = value
        parameter.frozen = True


def plot(table, truths, path):
    """Parameters against time with their central 68 %, truths as lines."""
    from matplotlib.figure import Figure

    time, good = EXPOSURE * (np.arange(len(table)) + 0.5), table["converged"] & ~table["flagged"]
    figure = Figure(figsize=(7, 2 * len(PRIOR)), layout="constrained")
    for axes, name in zip(figure.subplots(len(PRIOR), sharex=True), PRIOR, strict=True):
        low, middle, high = (np.asarray(table[f"{name}_{q}"], float) for q in ("q16", "q50", "q84"))
        axes.plot(time, [truth[name] for truth in truths], color="0.6")
        axes.errorbar(time, middle, [middle - low, high - middle], fmt="none", color="#1d4e89")
        axes.plot(time[good], middle[good], "o", color="#1d4e89")
        axes.plot(time[~good], middle[~good], "o", color="#1d4e89", mfc="white")
        axes.set(ylabel=name, yscale="linear" if name == "kT" else "log")
    axes.set_xlabel("time (s)")
    figure.savefig(path, dpi=120)


def main():
    """Make the burst, train, apply, print a row for each slice, plot."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?")
    parser.add_argument("--slices", type=int, default=12)
    parser.add_argument("--simulations", type=int, default=6000)
    parser.add_argument("--ess", type=int, default=1000)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch, contextlib.chdir(given.folder or scratch):
        slices, truths = make_burst(Path(), given.slices)
        load(slices[0])
        net = xsixsa.train(
            xspec, PRIOR, counts=(200, 100_000), simulations=given.simulations, seed=1, progress=False, out="burst.h5"
        )
        done = net.apply(slices, xspec, ess=given.ess, seed=1, progress=False, out="slices")
        table = done.table
        print(f"{'slice':14s}{'counts':>8s}{'kT (keV), 68 %':>20s}{'truth':>8s}{'ESS':>7s}  verdict")
        for row, truth in zip(table, truths, strict=True):
            interval = f"{row['kT_q16']:.3f} to {row['kT_q84']:.3f}"
            print(
                f"{row['name']:14s}{row['counts']:8.0f}{interval:>20s}{truth['kT']:8.3f}{row['ess']:7.0f}  "
                f"{row['status']}" + (", unlike the training set" if row["flagged"] else "")
            )
        plot(table, truths, "bursts.png")
    if not done.converged:
        print("some slices have not converged: their rows and symbols are marked")
    return 0 if done.converged else 3


if __name__ == "__main__":
    sys.exit(main())
