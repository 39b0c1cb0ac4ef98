"""BXA, as it comes from PyPI, on the embedded engine; then the same posterior by xsixsa, side by side.

    python examples/bxa_embedded.py [FOLDER] [--live 400]

FOLDER holds an XMM EPIC-pn spectrum, `PN_spectrum_grp20.fits` with its response: by default that of the shared data
beside this repository, which are not part of it. Takes some minutes. Where a real PyXspec can be imported, it is used.
"""

import argparse
import contextlib
import os
import sys
import tempfile
from pathlib import Path

import numpy as np

import xsixsa
from xsixsa.diagnostics.compare import DRAWS, compare
from xsixsa.embedded import install

HERE = Path(__file__).resolve().parent
SHARED = Path(os.environ.get("XSIXSA_SHARED", HERE.parents[1] / "shared"))
SEED = 1


def load(xspec):
    """What an astronomer types anyway; the limits are the priors that BXA takes."""
    xspec.Xset.allowPrompting = False
    xspec.Xset.chatter = 0
    xspec.Xset.abund = "angr"
    spectrum = xspec.Spectrum("PN_spectrum_grp20.fits")
    spectrum.background = None
    xspec.AllData.ignore("bad")
    spectrum.ignore("**-0.5 10.0-**")
    xspec.Fit.statMethod = "cstat"
    model = xspec.Model("TBabs*(bbodyrad+powerlaw)")
    model.TBabs.nH.values = "0.1,0.01,0,0,0.5,0.5"
    model.bbodyrad.kT.values = "0.5,0.01,1e-4,1e-4,2,2"
    model.bbodyrad.norm.values = "0.1,0.01,1e-2,1e-2,1,1"
    model.powerlaw.PhoIndex.values = "2,0.01,0,0,5,5"
    model.powerlaw.norm.values = "1e-3,0.01,1e-5,1e-5,1e-2,1e-2"
    return spectrum, model


def run_bxa(model, spectrum, folder, live):
    """BXA as its documentation has it.

    Returns
    -------
    solver, result, transformations
    """
    import bxa.xspec as bxa

    transformations = [
        bxa.create_uniform_prior_for(model, model.TBabs.nH),
        bxa.create_uniform_prior_for(model, model.bbodyrad.kT),
        bxa.create_jeffreys_prior_for(model, model.bbodyrad.norm),
        bxa.create_uniform_prior_for(model, model.powerlaw.PhoIndex),
        bxa.create_jeffreys_prior_for(model, model.powerlaw.norm),
    ]
    solver = bxa.BXASolver(transformations=transformations, outputfiles_basename=str(Path(folder) / "bxa"))
    # UltraNest knows no other source of randomness
    np.random.seed(SEED)  # noqa: NPY002
    quiet = {"show_status": False, "viz_callback": False}
    result = solver.run(sampler_kwargs={"resume": "overwrite"}, run_kwargs={"min_num_live_points": live, **quiet})
    solver.set_best_fit()
    flux = solver.create_flux_chain(spectrum, "2.0 10.0", nsamples=100)
    low, middle, high = np.quantile(flux[:, 0], [0.05, 0.5, 0.95])
    print(f"BXA: flux 2-10 keV {middle:.3g} ({low:.3g} .. {high:.3g}) erg/cm2/s")
    return solver, result, transformations


def side_by_side(ours, theirs, prior, rng):
    """Marginals of both in the prior's unit cube: ours from weights, theirs from UltraNest's weighted points."""
    points, weights = theirs["weighted_samples"]["points"], theirs["weighted_samples"]["weights"]
    rows = rng.choice(len(points), DRAWS, p=weights / weights.sum())
    theta = points[rows]
    return compare(prior.names, prior.cdf(ours.sample(DRAWS, rng)), prior.cdf(theta), rng, to_theta=prior.ppf)


def main(folder, live):
    """Run both.

    Returns
    -------
    Comparison, our Result, UltraNest's result, effective sample size of UltraNest's points
    """
    print("engine:", "embedded" if install() else "the real XSPEC")
    import xspec

    with tempfile.TemporaryDirectory() as scratch, contextlib.chdir(folder):
        spectrum, model = load(xspec)
        solver, theirs, transformations = run_bxa(model, spectrum, scratch, live)
        print(f"BXA: log-evidence {theirs['logz']:.2f} +- {theirs['logzerr']:.2f}, {theirs['ncall']} evaluations")
        print(f"BXA: C {xspec.Fit.statistic:.2f} at its best point")
        ours = xsixsa.fit(xspec, transformations, seed=SEED, progress=False)
        prior = xsixsa.Prior.build(xsixsa.Session(xspec), transformations)
        xspec.AllChains.clear()
    # columns of our log-uniform norms are linear, BXA's are log10
    in_log = ["log(" in name for name in solver.paramnames]
    points = theirs["weighted_samples"]["points"]
    points[:, in_log] = 10 ** points[:, in_log]
    found = side_by_side(ours, theirs, prior, np.random.default_rng(SEED))
    weights = theirs["weighted_samples"]["weights"]
    ess = weights.sum() ** 2 / (weights @ weights)
    print(ours)
    print(
        f"ours: log-evidence {ours.log_evidence:.2f} +- {ours.log_evidence_err:.2f}, {ours.n_evaluations} evaluations"
    )
    print(found.table(("xsixsa", "BXA")))
    return found, ours, theirs, ess


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("folder", nargs="?", type=Path, default=SHARED / "data" / "xmm_NGC7793-ULX4")
    parser.add_argument("--live", type=int, default=400, help="live points (400)")
    args = parser.parse_args()
    if not (args.folder / "PN_spectrum_grp20.fits").is_file():
        sys.exit(f"no PN_spectrum_grp20.fits in {args.folder}")
    main(args.folder.resolve(), args.live)
