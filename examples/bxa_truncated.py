"""BXA on the part of the prior that holds the posterior: its own script with one line more.

    python examples/bxa_truncated.py [FOLDER] [--live 400] [--whole]

Simulates an observation into FOLDER (by default a temporary one), truncates the prior, and runs BXA; with --whole also
on the whole prior, for comparison. Runs on PyXspec where that can be imported, else on the embedded engine.
"""

import argparse
import contextlib
import os
import tempfile

from xsixsa.demo import make_demo
from xsixsa.embedded import install

LIMITS = {"nH": (0.01, 1.0), "PhoIndex": (0.5, 3.5), "norm": (1e-5, 1e-2)}


def load(xspec, folder):
    """What an astronomer types anyway; the limits are the priors that BXA takes."""
    make_demo(folder, seed=3, exposure=400.0)
    xspec.Xset.allowPrompting = False
    xspec.Xset.chatter = 0
    xspec.Xset.abund = "wilm"
    with contextlib.chdir(folder):
        xspec.Spectrum("demo.pha").ignore("**-0.3 10.0-**")
    xspec.Fit.statMethod = "cstat"
    model = xspec.Model("TBabs*powerlaw")
    parameters = model.TBabs.nH, model.powerlaw.PhoIndex, model.powerlaw.norm
    for parameter, (low, high) in zip(parameters, LIMITS.values(), strict=True):
        parameter.values = [(low * high) ** 0.5, 1e-4, low, low, high, high]
    return model


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?")
    parser.add_argument("--live", type=int, default=400)
    parser.add_argument("--whole", action="store_true", help="BXA on the whole prior as well")
    args = parser.parse_args(arguments)
    folder = args.folder or tempfile.mkdtemp()

    install()
    import xspec

    m = load(xspec, folder)

    import bxa.xspec as bxa

    import xsixsa.bxa

    transformations = [
        bxa.create_uniform_prior_for(m, m.TBabs.nH),
        bxa.create_uniform_prior_for(m, m.powerlaw.PhoIndex),
        bxa.create_loguniform_prior_for(m, m.powerlaw.norm),
    ]
    options = {"min_num_live_points": args.live, "show_status": False, "viz_callback": False}

    t = xsixsa.bxa.truncate(xspec, transformations, seed=1)
    print(f"\n{t}: {t.n_evaluations} evaluations")
    solver = bxa.BXASolver(
        transformations=t.transformations,
        prior_function=t.prior_function,
        outputfiles_basename=os.path.join(folder, "truncated"),
    )
    results = solver.run(run_kwargs=dict(options), sampler_kwargs={"resume": "overwrite"})
    print(f"\nBXA on the truncated prior: {results['ncall']} evaluations\n{t.evidence(results)}")

    if args.whole:
        solver = bxa.BXASolver(transformations=transformations, outputfiles_basename=os.path.join(folder, "whole"))
        results = solver.run(run_kwargs=dict(options), sampler_kwargs={"resume": "overwrite"})
        print(f"\nBXA on the whole prior: {results['ncall']} evaluations")
        print(f"log-evidence {results['logz']:.3f} +- {results['logzerr']:.3f}")


if __name__ == "__main__":
    main()
