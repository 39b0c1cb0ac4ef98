# %% [markdown]
# # A first posterior
#
# A spectrum and a model are loaded in a session; `xsixsa` takes it from there and gives the session back as it was.
#
# This notebook runs without HEASoft: where PyXspec cannot be imported, an embedded engine with PyXspec's names
# takes its place. To use **PyXspec**, initialise HEASoft in the shell (`. $HEADAS/headas-init.sh`) and start
# Jupyter from there, with the Python for which PyXspec was compiled; nothing below changes.

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

print(xsixsa.Session.__name__, "of xsixsa", xsixsa.__version__, "| engine:", xspec.Xset.version)

# %% [markdown]
# ## An observation
#
# The data are made on the spot, in a temporary folder, so that there is a truth to compare with. Yours would be
# there already.

# %%
os.chdir(tempfile.mkdtemp())
made = make_demo(".", seed=1)
made.model, made.truth

# %% tags=["parameters"]
settings = {"preset": "standard", "ess": 5000}

# %% [markdown]
# ## The session, as you would set it up anyway

# %%
xspec.Xset.allowPrompting = False
xspec.Xset.chatter = 0
xspec.Xset.abund = "wilm"
xspec.Fit.statMethod = "cstat"
xspec.AllData("1:1 demo.pha")
xspec.AllData.ignore("bad")
xspec.AllData.ignore("**-0.3 10.0-**")
model = xspec.Model("TBabs*(powerlaw+bbodyrad)")

# %% [markdown]
# ## The prior
#
# Priors are never guessed. A pair is a uniform distribution; normalisations over decades want a log-uniform one.

# %%
prior = {
    "nH": (0, 1),
    "PhoIndex": (0.5, 3.5),
    "powerlaw.norm": xsixsa.LogUniform(1e-5, 1e-2),
    "kT": (0.1, 2),
    "bbodyrad.norm": xsixsa.LogUniform(0.1, 1000),
}
result = xsixsa.fit(xspec, prior, seed=1, progress=False, **settings)
print(result.summary())

# %% [markdown]
# The first line is the verdict. Unless it says `CONVERGED`, the numbers are not for use.

# %%
assert result.verdict.text in result.summary().lower()
result.verdict

# %% [markdown]
# ## Numbers
#
# Quantiles come from the weighted samples; anything else from equal-weight draws.

# %%
for name, true in made.truth.items():
    low, middle, high = result.quantile(name, [0.05, 0.5, 0.95])
    print(f"{name:14s} {middle:9.4g}   90 %: {low:9.4g} to {high:9.4g}   truth {true:g}")

# %%
draws = result.sample(1000, rng=1)
index = draws[:, result.names.index("PhoIndex")]
print(f"probability that the photon index is above 2: {(index > 2).mean():.2f}")

# %% [markdown]
# ## Pictures

# %%
result.plot_corner("corner.png", truths=made.truth)
Image("corner.png", width=600)

# %% [markdown]
# The bands hold what the same instrument would record again, Poisson noise included.

# %%
result.plot_spectrum("spectrum.png")
Image("spectrum.png", width=600)

# %% [markdown]
# ## Back into XSPEC
#
# A chain file gives XSPEC's own `error` (and `flux ... err`) the posterior to work with.

# %%
result.to_chain("posterior.fits")
xspec.AllChains += "posterior.fits"
xspec.Fit.error("1")
print("XSPEC's 90 % range of nH, from the chain:", model(1).error[:2])
xspec.AllChains.clear()
