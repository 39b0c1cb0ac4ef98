# %% [markdown]
# # A background file, and when not to trust W-stat
#
# With a Poisson background file and `statistic cstat`, XSPEC's likelihood is W-stat. Where background bins are
# empty it pushes the source aside: `xsixsa` warns of a few empty bins, and calls the run **not trustworthy** when
# there are many, however well the posterior was sampled.
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

# %%
os.chdir(tempfile.mkdtemp())
xspec.Xset.allowPrompting = False
xspec.Xset.chatter = 0
xspec.Xset.abund = "wilm"
xspec.Fit.statMethod = "cstat"


def load(group):
    """The demo's observation with a background, in groups of at least so many counts."""
    made = make_demo(".", seed=1, background=True, group=group)
    xspec.AllData.clear()
    xspec.AllModels.clear()
    xspec.AllData(f"1:1 {made.spectrum}")
    xspec.AllData.ignore("bad")
    xspec.AllData.ignore("**-0.3 10.0-**")
    xspec.Model(made.model)
    return made


# %% [markdown]
# ## How empty is the background?
#
# Look before you fit: the same observation in fine and in coarse groups.

# %%
for group in (1, 20, 60):
    load(group)
    (observation,) = xsixsa.Session(xspec).observations
    counts = observation.background.counts
    print(f"groups of {group:2d}: {len(counts):4d} bins, {100 * np.mean(counts == 0):5.1f} % with no background count")

# %% [markdown]
# ## The posterior with coarse groups

# %%
made = load(60)
result = xsixsa.fit(xspec, made.prior, seed=1, progress=False, **settings)
print(result.summary())

# %%
for row in result.table():
    true = made.truth[row["name"]]
    inside = "inside" if row["q05"] < true < row["q95"] else "outside"
    print(f"{row['name']:14s} 90 %: {row['q05']:9.4g} to {row['q95']:9.4g}   truth {true:8.4g} {inside}")

# %% [markdown]
# Where grouping does not help, model the background instead: load it as a second source, with a model of its own,
# and give its parameters priors (`bkg:powerlaw.norm`).
