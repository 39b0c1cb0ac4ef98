# %% [markdown]
# # A joint fit
#
# Two observations of one source: one spectrum, and a factor between the two calibrations. Each observation is a
# data group; parameters of the second group are linked to the first, as XSPEC does by itself, except
# `constant.factor`.
#
# It runs on an embedded engine where PyXspec cannot be imported. To use **PyXspec**, initialise HEASoft before you
# start Jupyter, with the Python for which PyXspec was compiled.

# %%
import os
import tempfile

from IPython.display import Image

import xsixsa
from xsixsa.demo import make_demo

try:
    import xspec
except ImportError:
    from xsixsa.embedded import xspec

# %% tags=["parameters"]
settings = {"preset": "standard", "ess": 5000}

# %% [markdown]
# ## Two exposures of the same source

# %%
os.chdir(tempfile.mkdtemp())
for name, seed, exposure in (("first.pha", 1, 4000.0), ("second.pha", 2, 1500.0)):
    made = make_demo(".", seed=seed, exposure=exposure)
    os.replace(made.spectrum, name)

# %% [markdown]
# ## The session

# %%
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

# %% [markdown]
# `Session` shows what a run would infer: linked and frozen parameters are not among them.

# %%
for parameter in xsixsa.Session(xspec).parameters:
    print(f"{parameter.name:18s} index {parameter.index}, data group {parameter.group}")

# %% [markdown]
# ## The posterior
#
# A parameter of the second group has `@2` at the end of its name.

# %%
prior = {
    "nH": (0, 1),
    "PhoIndex": (0.5, 3.5),
    "powerlaw.norm": xsixsa.LogUniform(1e-5, 1e-2),
    "kT": (0.1, 2),
    "bbodyrad.norm": xsixsa.LogUniform(0.1, 1000),
    "constant.factor@2": xsixsa.Gaussian(1.0, 0.1),
}
result = xsixsa.fit(xspec, prior, seed=1, progress=False, **settings)
print(result.summary())

# %%
low, middle, high = result.quantile(result.names[-1], [0.05, 0.5, 0.95])
print(f"second instrument over the first: {middle:.3f} (90 %: {low:.3f} to {high:.3f}); the truth is 1")

# %%
result.plot_spectrum("spectrum.png")
Image("spectrum.png", width=600)
