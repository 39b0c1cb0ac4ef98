# %% [markdown]
# # BXA beside `xsixsa`
#
# The same likelihood, sampled by somebody else's code: BXA, with UltraNest, on the part of the prior that holds the
# posterior. Evidence and marginals have to agree.
#
# Install it with `pip install 'xsixsa[bxa]'`. The notebook runs on an embedded engine where PyXspec cannot be
# imported. To use **PyXspec**, initialise HEASoft before you start Jupyter, with the Python for which PyXspec was
# compiled.

# %%
import os
import tempfile

from xsixsa.demo import make_demo
from xsixsa.embedded import install

# BXA imports `xspec` by name: `install` puts the embedded engine there if there is no PyXspec
install()

import bxa.xspec as bxa
import xspec
from IPython.display import Image

import xsixsa
import xsixsa.bxa

# %% tags=["parameters"]
settings = {"preset": "standard", "ess": 5000}
live_points = 400

# %%
os.chdir(tempfile.mkdtemp())
make_demo(".", seed=3, exposure=400.0)
xspec.Xset.allowPrompting = False
xspec.Xset.chatter = 0
xspec.Xset.abund = "wilm"
xspec.Fit.statMethod = "cstat"
xspec.AllData("1:1 demo.pha")
xspec.AllData.ignore("bad")
xspec.AllData.ignore("**-0.3 10.0-**")
m = xspec.Model("TBabs*powerlaw")
m.TBabs.nH.values = [0.1, 1e-4, 0.01, 0.01, 1.0, 1.0]
m.powerlaw.PhoIndex.values = [1.5, 1e-4, 0.5, 0.5, 3.5, 3.5]
m.powerlaw.norm.values = [1e-3, 1e-4, 1e-5, 1e-5, 1e-2, 1e-2]

# %% [markdown]
# ## One list of priors for both
#
# `xsixsa.fit` takes BXA's own transformations.

# %%
transformations = [
    bxa.create_uniform_prior_for(m, m.TBabs.nH),
    bxa.create_uniform_prior_for(m, m.powerlaw.PhoIndex),
    bxa.create_loguniform_prior_for(m, m.powerlaw.norm),
]
result = xsixsa.fit(xspec, transformations, seed=1, progress=False, **settings)
print(result.summary())

# %% [markdown]
# ## BXA on the truncated prior
#
# Two lines change in a BXA script: its list of transformations, and the prior function.

# %%
t = result.bxa(xspec)
solver = bxa.BXASolver(
    transformations=t.transformations, prior_function=t.prior_function, outputfiles_basename="truncated"
)
results = solver.run(
    run_kwargs={"min_num_live_points": live_points, "show_status": False, "viz_callback": False},
    sampler_kwargs={"resume": "overwrite"},
)
evidence = t.evidence(results)
print(f"{results['ncall']} evaluations\n{evidence}")

# %%
print(f"xsixsa: {result.log_evidence:.3f} +- {result.log_evidence_err:.3f}, {result.n_evaluations} evaluations")
sigma = (evidence.log_evidence_err**2 + result.log_evidence_err**2) ** 0.5
apart = abs(evidence.log_evidence - result.log_evidence) / sigma
assert apart < 4, f"{apart:.1f} sigma apart"

# %% [markdown]
# ## Every marginal
#
# The divergence of each marginal in nat, with its floor: the divergence between two halves of BXA's own points.

# %%
run = xsixsa.bxa.read_run("truncated")
print(xsixsa.bxa.compare_runs(result, run))
xsixsa.bxa.plot_runs(result, {"BXA, truncated": run}, "both.png")
Image("both.png", width=600)
