"""With the real XSPEC: it reads the demo's files, uses our chains, and answers the command line as the embedded does.

Each test runs it in a process of its own: one process holds one session.
"""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest

from xsixsa.chain import write_chain
from xsixsa.demo import TRUTH, make_demo

pytestmark = pytest.mark.xspec

LOAD = """
import json, sys
import xspec
xspec.Xset.chatter = 0
xspec.Xset.allowPrompting = False
xspec.Xset.abund = "wilm"
xspec.AllData("1:1 demo.pha")
xspec.AllData.ignore("bad")
xspec.AllData.ignore("**-0.3 10.0-**")
xspec.Fit.statMethod = "cstat"
model = xspec.Model("TBabs*(powerlaw+bbodyrad)")
"""


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    folder = tmp_path_factory.mktemp("observation")
    make_demo(folder, seed=2)
    return folder


def in_xspec(code, folder):
    """Run ``code`` after the demo is loaded; the last line it prints is JSON."""
    command = [sys.executable, "-c", LOAD + code]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout.strip().splitlines()[-1])


def test_demo_files_fold_as_they_were_simulated(demo):
    from xsixsa.demo import true_photons
    from xsixsa.demo.instrument import ccd

    code = f"""
xspec.AllModels.setPars(model, dict(enumerate({list(TRUTH.values())}, start=1)))
s = xspec.AllData(1)
print(json.dumps([list(s.noticed), list(model.folded(1)), xspec.Fit.statistic]))
"""
    noticed, folded, statistic = in_xspec(code, demo)
    from astropy.io import fits

    grouping = fits.getdata(demo / "demo.pha", 1)["GROUPING"]
    instrument = ccd()
    expected = instrument.fold(true_photons(instrument.energies, TRUTH))
    expected = np.add.reduceat(expected, np.flatnonzero(grouping == 1))[np.array(noticed) - 1]
    # the bins at the oxygen edge carry the dust, which a made-up response spreads
    np.testing.assert_allclose(folded, expected, rtol=3e-4)
    assert statistic == pytest.approx(len(noticed), abs=5 * np.sqrt(2 * len(noticed)))


def chain(demo, n=400):
    """Rows around the truth, narrower than any fit: what XSPEC answers from them cannot come from elsewhere."""
    rng = np.random.default_rng(1)
    theta = np.array(list(TRUTH.values())) * (1 + 0.002 * rng.standard_normal((n, 5)))
    names, units = ["nH", "PhoIndex", "norm", "kT", "norm"], ["10^22", "", "", "keV", ""]
    parameters = [
        {"parameter": p, "source": "", "index": i, "unit": u}
        for i, (p, u) in enumerate(zip(names, units, strict=True), start=1)
    ]
    write_chain(demo / "chain.fits", parameters, theta, rng.uniform(200, 210, n), overwrite=True)
    return theta


def test_pyxspec_takes_errors_and_fluxes_from_our_chain(demo):
    theta = chain(demo)
    code = """
xspec.Fit.query = "yes"
xspec.Fit.nIterations = 200
xspec.Fit.perform()
xspec.AllChains += "chain.fits"
xspec.Fit.error("1-5")
errors = [model(i).error[:2] for i in range(1, 6)]
xspec.AllModels.calcFlux("2. 10. err 200 90")
print(json.dumps([errors, xspec.AllData(1).flux[:3]]))
"""
    errors, flux = in_xspec(code, demo)
    expected = np.quantile(theta, [0.05, 0.95], axis=0).T
    np.testing.assert_allclose(errors, expected, rtol=5e-4)
    # 0.2 % scatter of the parameters: a flux error from the covariance of the fit would be several per cent
    assert 1.0 < flux[2] / flux[1] < 1.03


def test_the_prompt_uses_our_chain(demo):
    if shutil.which("xspec") is None:
        pytest.skip("PyXspec is there, but no xspec program on the PATH")
    chain(demo)
    script = ["abund wilm", "statistic cstat", "data 1:1 demo.pha", "ignore bad", "ignore **-0.3 10.0-**"]
    script += ["model TBabs(powerlaw+bbodyrad) & 0.2 & 1.8 & 8e-4 & 0.5 & 5", "query yes", "chain load chain.fits"]
    script += ["error 1", "fit", "flux 2 10 err 100 90", "tclexit"]
    (demo / "script.xcm").write_text("\n".join(script) + "\n")
    done = subprocess.run(
        ["xspec", "-", "script.xcm"], cwd=demo, capture_output=True, text=True, timeout=300, check=False
    )
    assert "Errors calculated from chains" in done.stdout
    assert "Parameter distribution is derived from loaded chain files" in done.stdout
    assert "Error range" in done.stdout


def command_line(folder, *arguments):
    done = subprocess.run(
        [sys.executable, "-m", "xsixsa", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    return done


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        (["--model", "TBabs*powerlow"], "No model component named powerlow"),
        (["--model", "powerlaw", "--notice", "20-30"], "no bin"),
        (["--model", "powerlaw", "--arf", "short.arf"], "give another with --arf FILE"),
        (["--model", "powerlaw", "--abund", "milky"], "milky"),
        (["--model", "powerlaw", "--stat", "wat"], "wat"),
        (["--model", "powerlaw", "--prior", "PhoIndx=uniform:0:4"], "PhoIndex"),
    ],
)
def test_wrong_use_is_one_line_although_xspec_prints_more(demo, tmp_path, more, expected):
    from astropy.io import fits

    with fits.open(demo / "demo.arf") as hdus:
        hdus[1].data = hdus[1].data[:-5]
        hdus.writeto(tmp_path / "short.arf")
    done = command_line(tmp_path, "fit", str(demo / "demo.pha"), "--engine", "xspec", "--out", "out", *more)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("xsixsa: error: ")
    assert done.stderr.count("\n") == 1
    assert expected in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_command_line_agrees_between_engines(demo, tmp_path):
    arguments = [
        "fit",
        str(demo / "demo.pha"),
        "--model",
        "powerlaw",
        "--notice",
        "3-9",
        "--preset",
        "quick",
        "--quiet",
    ]
    arguments += ["--prior", "PhoIndex=uniform:0:4", "--prior", "norm=loguniform:1e-5:1e-1", "--seed", "1"]
    summaries = {}
    for engine in ("xspec", "embedded"):
        done = command_line(tmp_path, *arguments, "--engine", engine, "--out", engine)
        assert done.returncode == 0, done.stdout + done.stderr
        summaries[engine] = json.loads((tmp_path / engine / "summary.json").read_text())
        assert summaries[engine]["engine"]["name"] == engine
    ours, theirs = summaries["embedded"], summaries["xspec"]
    error = np.hypot(ours["log_evidence_err"], theirs["log_evidence_err"])
    assert abs(ours["log_evidence"] - theirs["log_evidence"]) < 4 * error + 0.01
    for a, b in zip(ours["parameters"], theirs["parameters"], strict=True):
        assert abs(a["q50"] - b["q50"]) < 0.1 * a["std"]
