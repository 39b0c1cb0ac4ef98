# %% [markdown]
# # A truncated prior
#
# Nested samplers spend most of their evaluations on finding the small part of the prior that holds the posterior.
# After an `xsixsa` run that part is known. `result.bxa` keeps it, with the **exact** logarithm of the prior mass
# kept, so that
#
#     log-evidence(whole prior) = log-evidence(truncated prior) + log(mass kept)
#
# BXA is not needed here: plain Monte Carlo over the truncated prior is enough to see that the two sides agree.
#
# It runs on an embedded engine where PyXspec cannot be imported. To use **PyXspec**, initialise HEASoft before you
# start Jupyter, with the Python for which PyXspec was compiled.

# %%
import os
import tempfile

import numpy as np

import xsixsa
from xsixsa.demo import make_demo

try:
    import xspec
except ImportError:
    from xsixsa.embedded import xspec

# %% tags=["parameters"]
settings = {"preset": "standard", "ess": 5000}
draws = 20_000

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
xspec.Model("TBabs*powerlaw")
prior = {"nH": (0.01, 1.0), "PhoIndex": (0.5, 3.5), "norm": xsixsa.LogUniform(1e-5, 1e-2)}

# %%
result = xsixsa.fit(xspec, prior, seed=1, progress=False, **settings)
print(result.summary())

# %% [markdown]
# ## The part of the prior that is kept
#
# `region` is a box along the posterior's own axes, bent where that pays; `box` has one interval for each parameter.
# Making them from a run costs no evaluation.

# %%
for kind in ("region", "box"):
    t = result.bxa(xspec, kind=kind)
    print(f"{t}")
    for name, (low, high) in t.bounds.items():
        print(f"    {name:10s} {low:10.4g} to {high:10.4g}")

# %% [markdown]
# ## Uniform points of the unit cube are exact draws of it
#
# Any sampler that works on the unit cube can take `t.transform`. Here: plain Monte Carlo, whose mean likelihood is
# the evidence.

# %%
t = result.bxa(xspec)
rng = np.random.default_rng(1)
theta = t.transform(rng.random((draws, len(t.names))))
log_likelihood = -0.5 * xsixsa.Session(xspec).evaluate(theta).statistic
top = np.nanmax(log_likelihood)
likelihood = np.exp(log_likelihood - top)
truncated = top + np.log(likelihood.mean())
error = likelihood.std() / likelihood.mean() / np.sqrt(draws)
print(f"on the truncated prior {truncated:.3f} +- {error:.3f}, mass kept exp({t.log_mass:.3f})")
print(f"on the whole prior     {truncated + t.log_mass:.3f} +- {error:.3f}")
print(f"xsixsa                 {result.log_evidence:.3f} +- {result.log_evidence_err:.3f}")

# %%
sigma = np.hypot(error, result.log_evidence_err)
assert abs(truncated + t.log_mass - result.log_evidence) < 5 * sigma
print(f"{(truncated + t.log_mass - result.log_evidence) / sigma:+.1f} sigma apart")
