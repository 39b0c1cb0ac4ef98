"""Two observations of one source, fitted together: one spectrum, and a factor between their calibrations.

    python examples/joint_fit.py [FOLDER] [--ess 5000] [--preset standard]

Each spectrum is a data group of its own. Parameters of the second group are linked to those of the first, as XSPEC does
by itself, except `constant.factor`: the first is frozen at 1, the second is free.
"""

import argparse
import contextlib
import os
import sys
import tempfile

import xsixsa
from xsixsa.demo import make_demo

try:
    import xspec
except ImportError:
    from xsixsa.embedded import xspec


def make_data(folder):
    """Two exposures of the demo's source; the instrument is the same."""
    for name, seed, exposure in (("first.pha", 1, 4000.0), ("second.pha", 2, 1500.0)):
        made = make_demo(folder, seed=seed, exposure=exposure)
        os.replace(os.path.join(folder, made.spectrum), os.path.join(folder, name))


def load():
    """Spectrum 1 is data group 1, spectrum 2 is data group 2."""
    xspec.Xset.allowPrompting = False
    xspec.Xset.chatter = 0
    xspec.Xset.abund = "wilm"
    xspec.Fit.statMethod = "cstat"
    xspec.AllData("1:1 first.pha 2:2 second.pha")
    xspec.AllData.ignore("bad")
    xspec.AllData.ignore("**-0.3 10.0-**")
    xspec.Model("constant*TBabs*(powerlaw+bbodyrad)")
    first, second = xspec.AllModels(1), xspec.AllModels(2)
    first.constant.factor = 1.0
    first.constant.factor.frozen = True
    second.constant.factor.untie()
    second.constant.factor.frozen = False


def main():
    """Make the data, fit both, and say how the instruments compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?")
    parser.add_argument("--ess", type=int, default=5000)
    parser.add_argument("--preset", default="standard")
    given = parser.parse_args()
    prior = {
        "nH": (0, 1),
        "PhoIndex": (0.5, 3.5),
        "powerlaw.norm": xsixsa.LogUniform(1e-5, 1e-2),
        "kT": (0.1, 2),
        "bbodyrad.norm": xsixsa.LogUniform(0.1, 1000),
        # a parameter of the second data group
        "constant.factor@2": xsixsa.Gaussian(1.0, 0.1),
    }
    with tempfile.TemporaryDirectory() as scratch:
        folder = given.folder or scratch
        make_data(folder)
        with contextlib.chdir(folder):
            load()
            result = xsixsa.fit(xspec, prior, ess=given.ess, preset=given.preset, seed=1)
    print(result.summary())
    low, middle, high = result.quantile(result.names[-1], [0.05, 0.5, 0.95])
    print(f"\nsecond instrument over the first: {middle:.3f} (90 %: {low:.3f} to {high:.3f}); the truth is 1")
    return 0 if result.verdict.converged else 3


if __name__ == "__main__":
    sys.exit(main())
