"""Many spectra, one after the other: a table with a verdict in each row.

    python examples/many_spectra.py [FOLDER] [--spectra 5] [--ess 2000] [--preset standard]

Here they are five observations of the demo's source. Rows that have not converged are kept and marked: to drop them
silently would bias whatever is made from the table.
"""

import argparse
import contextlib
import os
import sys
import tempfile

from xsixsa.demo import make_demo

try:
    import xspec
except ImportError:
    from xsixsa.embedded import xspec

import xsixsa


def load(spectrum, made):
    """A fresh session for each spectrum."""
    xspec.AllData.clear()
    xspec.AllModels.clear()
    xspec.AllData(f"1:1 {spectrum}")
    xspec.AllData.ignore("bad")
    xspec.AllData.ignore("**-0.3 10.0-**")
    xspec.Model(made.model)


def main():
    """Fit each spectrum with the same prior, print a row, and keep every run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?")
    parser.add_argument("--spectra", type=int, default=5)
    parser.add_argument("--ess", type=int, default=2000)
    parser.add_argument("--preset", default="standard")
    given = parser.parse_args()
    xspec.Xset.allowPrompting = False
    xspec.Xset.chatter = 0
    xspec.Xset.abund = "wilm"
    xspec.Fit.statMethod = "cstat"
    failed = 0
    with tempfile.TemporaryDirectory() as scratch:
        folder = given.folder or scratch
        print(f"{'spectrum':12s}{'kT (keV), 90 %':>24s}{'log-evidence':>20s}  verdict")
        for number in range(1, given.spectra + 1):
            made, name = make_demo(folder, seed=number), f"s{number}.pha"
            with contextlib.chdir(folder):
                os.replace(made.spectrum, name)
                load(name, made)
                # a seed for each: the runs are independent, and each can be repeated alone
                options = {"ess": given.ess, "preset": given.preset, "seed": number, "progress": False}
                result = xsixsa.fit(xspec, made.prior, out=f"run-{number}", **options)
            low, high = result.quantile("kT", [0.05, 0.95])
            evidence = f"{result.log_evidence:.2f} +- {result.log_evidence_err:.2f}"
            print(f"{name:12s}{f'{low:.3f} to {high:.3f}':>24s}{evidence:>20s}  {result.verdict.text}", flush=True)
            failed += not result.verdict.converged
    if failed:
        print(f"{failed} of {given.spectra} have not converged: run those again with preset='thorough'")
    return 3 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
