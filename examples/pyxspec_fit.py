"""A posterior inside a PyXspec session, and the way back into it.

    python examples/pyxspec_fit.py [FOLDER]

Runs with the real PyXspec where it can be imported, else with the embedded engine; which one is printed. The data are
the demo's, made on the spot in FOLDER (a temporary one by default), where the chain is written too.
"""

import contextlib
import sys
import tempfile

import xsixsa
from xsixsa.demo import make_demo

try:
    import xspec
except ImportError:
    from xsixsa.embedded import xspec


def load():
    """What an astronomer types anyway."""
    xspec.Xset.allowPrompting = False
    xspec.Xset.chatter = 0
    xspec.Xset.abund = "wilm"
    xspec.Fit.statMethod = "cstat"
    xspec.AllData("1:1 demo.pha")
    xspec.AllData.ignore("bad")
    xspec.AllData.ignore("**-0.3 10.0-**")
    return xspec.Model("TBabs*(powerlaw+bbodyrad)")


def main():
    """Make the data, then work where they are."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = sys.argv[1] if len(sys.argv) > 1 else scratch
        make_demo(folder, seed=1)
        with contextlib.chdir(folder):
            return infer(load())


def infer(model):
    """Infer, print, and give the posterior back to the session."""
    prior = {
        "nH": xsixsa.Uniform(0, 1),
        "PhoIndex": xsixsa.Uniform(0.5, 3.5),
        "powerlaw.norm": xsixsa.LogUniform(1e-5, 1e-2),
        "kT": xsixsa.Uniform(0.1, 2),
        "bbodyrad.norm": xsixsa.LogUniform(0.1, 1000),
    }
    result = xsixsa.fit(xspec, prior, ess=5000, seed=1)
    print(result.summary())
    if not result.verdict.converged:
        print("do not use these numbers: the run has not converged")
        return 3

    # numbers: quantiles of the weighted samples, or anything computed from equal-weight draws
    low, high = result.quantile("kT", [0.05, 0.95])
    print(f"\nkT between {low:.3f} and {high:.3f} keV (90 %)")
    nh, index = result.sample(1000, rng=1)[:, :2].T
    print(f"probability of a photon index above 2: {(index > 2).mean():.2f}; mean nH there {nh[index > 2].mean():.3f}")

    # back into the session: best values, and a chain from which XSPEC takes its errors
    names = {p["name"]: p["index"] for p in result.parameters}
    model.setPars({names[name]: value for name, value in result.best.items()})
    print(f"statistic at the best draw: {xspec.Fit.statistic:.2f}")
    result.to_chain("posterior.fits", overwrite=True)
    xspec.AllChains += "posterior.fits"
    xspec.Fit.error("1")
    print(f"XSPEC's own 90 % range of nH, from the chain: {model(1).error[0]:.4f} .. {model(1).error[1]:.4f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
