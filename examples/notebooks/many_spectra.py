# %% [markdown]
# # Many spectra
#
# The same model and prior for one spectrum after the other: a table with a verdict in each row. Rows that have not
# converged are kept and marked: to drop them silently would bias whatever is made from the table.
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
settings = {"preset": "standard", "ess": 2000}
spectra = 5

# %%
os.chdir(tempfile.mkdtemp())
xspec.Xset.allowPrompting = False
xspec.Xset.chatter = 0
xspec.Xset.abund = "wilm"
xspec.Fit.statMethod = "cstat"


def load(name, made):
    """A fresh session for each spectrum."""
    xspec.AllData.clear()
    xspec.AllModels.clear()
    xspec.AllData(f"1:1 {name}")
    xspec.AllData.ignore("bad")
    xspec.AllData.ignore("**-0.3 10.0-**")
    xspec.Model(made.model)


# %% [markdown]
# ## One after the other
#
# Each has a seed of its own, so that the runs are independent and each can be repeated alone.

# %%
rows = []
for number in range(1, spectra + 1):
    made, name = make_demo(".", seed=number), f"s{number}.pha"
    os.replace(made.spectrum, name)
    load(name, made)
    result = xsixsa.fit(xspec, made.prior, seed=number, out=f"run-{number}", progress=False, **settings)
    rows.append((name, result))
    low, high = result.quantile("kT", [0.05, 0.95])
    print(f"{name:8s} kT {low:.3f} to {high:.3f} keV (90 %)   {result.verdict.text}", flush=True)

# %% [markdown]
# ## What the table says
#
# With exact posteriors, 90 % of the 90 % intervals hold the truth. Five spectra are too few to tell; with a hundred
# it is a test of the whole chain.

# %%
held = [low < made.truth["kT"] < high for low, high in (r.quantile("kT", [0.05, 0.95]) for _, r in rows)]
converged = [r.verdict.converged for _, r in rows]
print(f"{np.sum(converged)} of {len(rows)} converged; the truth is inside {np.sum(held)} of {len(rows)} intervals")

# %% [markdown]
# Each run lies in a folder of its own, with everything: load it again, or write its report with `xsixsa report
# run-1`.

# %%
again = xsixsa.load("run-1")
assert np.array_equal(again.theta, rows[0][1].theta)
again

# %% [markdown]
# ## Hundreds of spectra
#
# Spectra with one response, grouping and energy range can share a network: `xsixsa.train` makes it once, with one
# of them as pattern, and `net.apply` gives each its own posterior, corrected with its own exact likelihood.
# `examples/many_bursts.py` does so for the slices of a burst.
