"""BXA runs on the embedded engine as it comes from its package."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from tests.conftest import REPOSITORY, shared_path
from xsixsa.diagnostics.compare import AGREEMENT

pytest.importorskip("bxa", reason="BXA is not installed (pip install xsixsa[bxa])")

SCRIPT = """
import json, sys
import matplotlib
matplotlib.use("agg")
from xsixsa.embedded import install
assert install()
import numpy as np
import bxa.xspec as bxa
from xspec import *
import matplotlib.pyplot as plt

np.random.seed(1)
Xset.chatter = 0
spectrum = Spectrum("variant{number}.pha")
spectrum.ignore("**-0.35 9.0-**")
Fit.statMethod = "cstat"
model = Model("TBabs*powerlaw")
model.TBabs.nH.values = "0.4,-0.01,0,0,1,1"
model.powerlaw.PhoIndex.values = "0.6,0.01,0,0,2,2"
model.powerlaw.norm.values = "1e-3,0.01,1e-4,1e-4,1e-2,1e-2"
transformations = [
    bxa.create_uniform_prior_for(model, model.powerlaw.PhoIndex),
    bxa.create_jeffreys_prior_for(model, model.powerlaw.norm),
]
solver = bxa.BXASolver(transformations=transformations, outputfiles_basename="{out}")
quiet = dict(show_status=False, viz_callback=False)
result = solver.run(sampler_kwargs=dict(resume="overwrite"), run_kwargs=dict(min_num_live_points=100, **quiet))
solver.set_best_fit()
flux = solver.create_flux_chain(spectrum, "2.0 8.0", nsamples=20)
plt.figure()
bands = solver.posterior_predictions_convolved(nsamples=10)
plt.figure()
solver.posterior_predictions_unconvolved(nsamples=3)
summary = dict(
    logz=result["logz"], error=result["logzerr"], mean=np.mean(solver.posterior, axis=0).tolist(),
    best=Fit.statistic, flux=np.mean(flux, axis=0).tolist(), models=np.shape(bands["models"]),
    chains=AllChains.nChains, bins=len(spectrum.noticed), columns=flux.shape,
)
print("SUMMARY " + json.dumps(summary))
"""


@pytest.mark.slow
def test_bxa_runs_unmodified(loaded, tmp_path, number):
    xspec, _, model = loaded
    code = SCRIPT.format(number=number["background"], out=str(tmp_path / "out"))
    package = os.path.dirname(os.path.dirname(sys.modules["xsixsa"].__file__))
    environment = {**os.environ, "PYTHONPATH": package, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    line = next(line for line in done.stdout.splitlines() if line.startswith("SUMMARY "))
    found = json.loads(line.removeprefix("SUMMARY "))

    # the same evidence on a grid over the same prior
    model.setPars({1: 0.4})
    index, log_norm = np.meshgrid(np.linspace(0, 2, 301), np.linspace(-4, -2, 301), indexing="ij")
    theta = np.column_stack([index.ravel(), 10 ** log_norm.ravel()])
    half = -0.5 * xspec.AllModels.evaluateBatch([("", 1, 2), ("", 1, 3)], theta)[1]
    weight = np.exp(half - half.max())
    assert found["logz"] == pytest.approx(np.log(weight.mean()) + half.max(), abs=4 * found["error"] + 0.1)
    assert found["best"] == pytest.approx(-2 * half.max(), abs=0.5)
    mean = np.average(theta[:, 0], weights=weight)
    assert found["mean"][0] == pytest.approx(
        mean, abs=0.3 * np.sqrt(np.average((theta[:, 0] - mean) ** 2, weights=weight))
    )
    assert found["columns"] == [20, 2] and found["flux"][0] > 0
    assert found["models"] == [10, 1, found["bins"]] and found["chains"] == 1


EXAMPLE = """
import json, sys
from pathlib import Path
import matplotlib
matplotlib.use("agg")
sys.path.insert(0, "{examples}")
import bxa_embedded
import numpy as np

found, ours, theirs, ess = bxa_embedded.main(Path("{folder}"), {live})
summary = dict(
    divergence=[m.divergence for m in found.marginals],
    shift=[abs(m.mean - m.reference_mean) / m.reference_std for m in found.marginals],
    width=[m.std / m.reference_std for m in found.marginals],
    evidence=[ours.log_evidence, theirs["logz"]], error=theirs["logzerr"], ess=ess,
    converged=ours.verdict.converged, engine=ours.engine["name"],
)
print("SUMMARY " + json.dumps(summary))
"""
LIVE = 400


# minutes on a free core, many where cores are shared
@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_bxa_and_xsixsa_give_one_posterior_of_the_pn_spectrum():
    examples = REPOSITORY / "examples"
    code = EXAMPLE.format(examples=examples, folder=shared_path("data", "xmm_NGC7793-ULX4"), live=LIVE)
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=3500)
    assert done.returncode == 0, done.stderr[-3000:]
    line = next(line for line in done.stdout.splitlines() if line.startswith("SUMMARY "))
    found = json.loads(line.removeprefix("SUMMARY "))
    assert found["engine"] == "embedded" and found["converged"]
    # nested sampling has some 2 400 independent points at 400 live points: that noise adds to the 2e-3 of agreement
    assert max(found["divergence"]) < AGREEMENT * (1 + 2400 / found["ess"])
    assert max(found["shift"]) < 5 / np.sqrt(found["ess"])
    assert found["width"] == pytest.approx([1.0] * 5, abs=5 / np.sqrt(2 * found["ess"]))
    ours, theirs = found["evidence"]
    # BXA 5.1 with the real XSPEC 12.9.1 on the same spectrum, model and prior: -65.04 +- 0.30
    assert ours == pytest.approx(theirs, abs=3 * found["error"])
    assert ours == pytest.approx(-65.04, abs=0.9)
