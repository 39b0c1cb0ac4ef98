"""A source with a background file, by W-stat, and how the number of background counts decides whether to trust it.

    python examples/background.py [FOLDER] [--ess 5000] [--preset standard]

With a Poisson background file and `statistic cstat`, XSPEC's likelihood is W-stat. It pushes the source down where
background bins are empty: xsixsa warns of a few, and calls the run not trustworthy when they are many.
"""

import argparse
import contextlib
import sys
import tempfile

import numpy as np

import xsixsa
from xsixsa.demo import make_demo

try:
    import xspec
except ImportError:
    from xsixsa.embedded import xspec


def load(made):
    """Spectrum, responses and background as the header names them."""
    xspec.Xset.allowPrompting = False
    xspec.Xset.chatter = 0
    xspec.Xset.abund = made.abund
    xspec.Fit.statMethod = "cstat"
    xspec.AllData(f"1:1 {made.spectrum}")
    xspec.AllData.ignore("bad")
    xspec.AllData.ignore("**-0.3 10.0-**")
    xspec.Model(made.model)


def main():
    """Look at the background first, then fit."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?")
    parser.add_argument("--ess", type=int, default=5000)
    parser.add_argument("--preset", default="standard")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = given.folder or scratch
        # coarse groups: hardly any of them is left without background counts
        made = make_demo(folder, seed=1, background=True, group=60)
        with contextlib.chdir(folder):
            load(made)
            (observation,) = xsixsa.Session(xspec).observations
            empty = np.mean(observation.background.counts == 0)
            print(f"statistic {observation.statistic}; {100 * empty:.0f} % of the background bins are empty")
            result = xsixsa.fit(xspec, made.prior, ess=given.ess, preset=given.preset, seed=1)
    print(result.summary())
    for row in result.table():
        print(f"{row['name']:16s} truth {made.truth[row['name']]:8.4g}   90 %: {row['q05']:.4g} to {row['q95']:.4g}")
    return 0 if result.verdict.converged else 3


if __name__ == "__main__":
    sys.exit(main())
