"""BXA itself on a truncated prior. Each run has a process of its own: BXA is bound to one engine for life."""

import importlib.util
import json
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from xsixsa.bxa import read_run
from xsixsa.chain import read_chain

slow = pytest.mark.slow
needs_bxa = pytest.mark.skipif(importlib.util.find_spec("ultranest") is None, reason="pip install 'xsixsa[bxa]'")

EMBEDDED = "import xsixsa.embedded.xspec as xspec; sys.modules['xspec'] = xspec"
LOAD = f"""
import contextlib, json, sys
{EMBEDDED}
import numpy as np
import xsixsa, xsixsa.bxa
xspec.Xset.allowPrompting = False
xspec.Xset.chatter = 0
xspec.Xset.abund = "wilm"
with contextlib.chdir(DEMO):
    xspec.Spectrum("demo.pha").ignore("**-0.3 10.0-**")
xspec.Fit.statMethod = "cstat"
m = xspec.Model("TBabs*powerlaw")
PRIOR = {{"nH": (0.0, 1.0), "PhoIndex": (0.5, 3.5), "norm": xsixsa.LogUniform(1e-5, 1e-2)}}
QUIET = {{"show_status": False, "viz_callback": False}}
"""


def python(code, demo, tmp_path, fails=False, load=LOAD):
    """What `code` prints last, as JSON; or what it says on standard error when it `fails`."""
    script = tmp_path / "script.py"
    script.write_text(f"DEMO = {str(demo)!r}\n{load}\n{textwrap.dedent(code)}")
    environment = os.environ | {"MPLBACKEND": "Agg", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, script],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=600,
        env=environment,
        stdin=subprocess.DEVNULL,
    )
    if fails:
        assert done.returncode != 0
        return done.stderr.strip().splitlines()[-1]
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.strip().splitlines()[-1])


def test_without_bxa_one_line_says_what_to_install(demo_folder, tmp_path):
    code = """
        sys.modules["bxa"] = None
        t = xsixsa.bxa.truncate(xspec, PRIOR, seed=1, workers=1)
        xsixsa.bxa.run_bxa(t, "out")
    """
    said = python(code, demo_folder, tmp_path, fails=True)
    assert said.endswith("is missing): pip install 'xsixsa[bxa]'")
    assert not (tmp_path / "out").exists()


def test_another_engine_in_the_process(demo_folder, tmp_path):
    code = """
        t = xsixsa.bxa.truncate(xspec, PRIOR, seed=1, workers=1)
        from types import ModuleType
        sys.modules["xspec"] = ModuleType("xspec")
        xsixsa.bxa.run_bxa(t, "out")
    """
    assert "start a process with one engine only" in python(code, demo_folder, tmp_path, fails=True)


@slow
@needs_bxa
@pytest.mark.parametrize("kind", ["region", "box"])
def test_bxa_unmodified(kind, demo_folder, tmp_path):
    """The example of the documentation, and BXA's own names afterwards."""
    code = f"""
        import bxa.xspec as bxa
        np.random.seed(1)
        t = xsixsa.bxa.truncate(xspec, PRIOR, seed=1, workers=1, kind={kind!r})
        solver = bxa.BXASolver(transformations=t.transformations, prior_function=t.prior_function,
                               outputfiles_basename="out")
        solver.run(run_kwargs=QUIET | {{"min_num_live_points": 100}})
        e = t.evidence(solver.results)
        whole = bxa.BXASolver(transformations=[dict(model=m, index=i, name=p.name, transform=d.ppf,
            aftertransform=lambda x: x) for i, p, d in zip((1, 2, 3), t.prior.parameters, t.prior.distributions)],
            outputfiles_basename="whole")
        whole.run(run_kwargs=QUIET | {{"min_num_live_points": 100}}, sampler_kwargs={{"resume": "overwrite"}})
        print(json.dumps([e.log_evidence, e.log_evidence_err, e.edges.passed, solver.results["ncall"],
                          whole.results["logz"], whole.results["logzerr"], whole.results["ncall"],
                          m.TBabs.nH.values[0], m.powerlaw.PhoIndex.values[0]]))
    """
    value, error, passed, ncall, expected, expected_error, ncall_whole, nh, index = python(code, demo_folder, tmp_path)
    assert passed
    assert abs(value - expected) < 3 * np.hypot(error, expected_error)
    assert ncall < ncall_whole
    run = read_run(tmp_path / "whole")
    # BXA leaves the model at the best point
    assert [nh, index] == pytest.approx(run.theta[np.argmax(run.log_likelihood)][:2].tolist(), rel=1e-4)
    # All coordinates are XSPEC's values: BXA's own chain can be read as it is.
    chain = read_chain(tmp_path / "out" / "chain.fits")
    assert [p["parameter"] for p in chain.parameters] == ["nH", "PhoIndex", "norm"]
    assert chain.theta.mean(axis=0) == pytest.approx(read_run(tmp_path / "out").sample(5_000, 0).mean(axis=0), rel=0.05)


@slow
@needs_bxa
def test_run_bxa_with_workers_chain_and_resume(demo_folder, tmp_path):
    code = """
        t = xsixsa.bxa.truncate(xspec, PRIOR, seed=1, workers=2)
        go = dict(live_points=100, workers=2, seed=4, run_kwargs=QUIET)
        o = xsixsa.bxa.run_bxa(t, "out", **go)
        again = xsixsa.bxa.run_bxa(t, "out", resume=True, **go)
        try:
            xsixsa.bxa.run_bxa(t, "out", **go)
        except xsixsa.errors.OutputError as error:
            said = str(error)
        from xsixsa.chain import read_chain
        chain = read_chain("out/posterior.fits")
        session = xsixsa.Session(xspec)
        right = float(abs(session.evaluate(chain.theta[:5]).statistic - chain.statistic[:5]).max())
        print(json.dumps([o.evidence.log_evidence, again.evidence.log_evidence, o.widened, said, right,
                          o.n_evaluations, t.n_evaluations]))
    """
    first, again, widened, said, right, n, before = python(code, demo_folder, tmp_path)
    assert abs(first - again) < 0.5
    assert widened == 0
    assert "resume it" in said
    assert right < 1e-4
    assert n > before


@slow
@needs_bxa
def test_a_wrong_truncation_is_widened_and_run_again(demo_folder, tmp_path):
    code = """
        from dataclasses import replace
        from xsixsa.bxa.region import Cell, Region
        good = xsixsa.bxa.truncate(xspec, PRIOR, seed=1, workers=2)
        cell = good.region.cells[0]
        low, high = cell.outer
        low[0] = 0.5 * (low[0] + high[0])
        wrong = replace(good, region=Region([Cell.box(cell.rotation, low, high)]))
        go = dict(live_points=100, workers=2, seed=4, run_kwargs=QUIET)
        kept = xsixsa.bxa.run_bxa(wrong, "kept", widen=0, **go)
        widened = xsixsa.bxa.run_bxa(wrong, "widened", widen=3, **go)
        right = xsixsa.bxa.run_bxa(good, "right", **go)
        print(json.dumps([kept.evidence.edges.passed, widened.evidence.edges.passed, widened.widened,
            widened.evidence.log_evidence - right.evidence.log_evidence, right.evidence.log_evidence_err]))
    """
    kept, widened, times, apart, error = python(code, demo_folder, tmp_path)
    assert not kept
    assert widened
    assert times >= 1
    assert abs(apart) < 4 * error


@slow
@needs_bxa
def test_a_bxa_script_changes_one_line(demo_folder, tmp_path):
    """BXA's priors go to fit as they are, and its result goes back to BXA, on the command line as well."""
    code = """
        import bxa.xspec as bxa
        limits = (0.01, 1.0), (0.5, 3.5), (1e-5, 1e-2)
        for p, (low, high) in zip((m.TBabs.nH, m.powerlaw.PhoIndex, m.powerlaw.norm), limits):
            p.values = [(low * high) ** 0.5, 1e-4, low, low, high, high]
        transformations = [bxa.create_uniform_prior_for(m, m.TBabs.nH),
                           bxa.create_uniform_prior_for(m, m.powerlaw.PhoIndex),
                           bxa.create_loguniform_prior_for(m, m.powerlaw.norm)]
        result = xsixsa.fit(xspec, prior=transformations, preset="quick", ess=3000, seed=1, workers=2, out="run",
                            progress=False)
        t = result.bxa(xspec)
        print(json.dumps([t.log_mass, [r["prior"] for r in result.parameters]]))
    """
    log_mass, priors = python(code, demo_folder, tmp_path)
    assert log_mass < -1
    assert priors == ["uniform:0.01:1", "uniform:0.5:3.5", "loguniform:1e-05:0.01"]
    command = [
        sys.executable,
        "-m",
        "xsixsa",
        "bxa",
        tmp_path / "run",
        "--live-points",
        "100",
        "--seed",
        "2",
        "--quiet",
    ]
    done = subprocess.run(
        command, cwd=demo_folder, capture_output=True, text=True, timeout=600, env=os.environ | {"MPLBACKEND": "Agg"}
    )
    assert done.returncode in (0, 3), done.stderr[-2000:]
    assert "on the whole prior" in done.stdout
    assert (tmp_path / "run" / "bxa" / "comparison.png").exists()
    run = read_run(tmp_path / "run" / "bxa")
    assert run.names == ["nH", "PhoIndex", "norm"]


@slow
@needs_bxa
def test_the_example_runs(tmp_path):
    example = Path(__file__).resolve().parents[2] / "examples" / "bxa_truncated.py"
    done = subprocess.run(
        [sys.executable, example, tmp_path, "--live", "80", "--whole"],
        capture_output=True,
        text=True,
        timeout=600,
        env=os.environ | {"MPLBACKEND": "Agg"},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    said = re.findall(r"log-evidence (-?[0-9.]+) \+- ([0-9.]+)", done.stdout)
    (value, error), (expected, expected_error) = (map(float, pair) for pair in said)
    assert abs(value - expected) < 3 * np.hypot(error, expected_error)


@slow
@needs_bxa
@pytest.mark.xspec
def test_real_xspec(demo_folder, tmp_path):
    """BXA on PyXspec, and the prompt's `error` from the chain that is left."""
    code = """
        t = xsixsa.bxa.truncate(xspec, PRIOR, seed=1, workers=1)
        o = xsixsa.bxa.run_bxa(t, "out", live_points=60, seed=2, run_kwargs=QUIET)
        xspec.AllChains.clear()
        xspec.AllChains += "out/posterior.fits"
        xspec.Fit.error("1-3")
        print()
        print(json.dumps([o.evidence.edges.passed, o.n_evaluations, list(m.powerlaw.PhoIndex.error[:2])]))
    """
    passed, n, (low, high) = python(code, demo_folder, tmp_path, load=LOAD.replace(EMBEDDED, "import xspec"))
    assert passed
    assert n < 10_000
    assert 1.0 < low < high < 3.0
