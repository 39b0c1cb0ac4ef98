"""Whole sessions as users type them: what one part leaves, the next finds."""

import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest
from astropy.cosmology import FlatLambdaCDM
from scipy.stats import chi2

from tests.conftest import REPOSITORY, shared_path
from tests.embedded.ogip import write_rmf
from xsixsa.chain import write_chain
from xsixsa.errors import ModelError, UsageError

COMPONENTS = """
    powerlaw zpowerlw bknpower cutoffpl bbody bbodyrad zbbody diskbb bremss gaussian zgauss lorentz compTT logpar
    TBabs zTBabs phabs zphabs wabs zwabs constant edge zedge gabs highecut pcfabs expfac expabs
"""


def test_the_components_that_are_promised():
    from xsixsa.embedded.components import available, find

    assert {c.name for c in available()} == set(COMPONENTS.split())
    for name in COMPONENTS.split():
        assert find(name.lower()) is find(name.upper()) is find(name)
    for short, name in {"po": "powerlaw", "bbodyr": "bbodyrad", "ga": "gaussian", "cons": "constant"}.items():
        assert find(short).name == name


def test_a_session_from_data_to_chain(loaded, tmp_path):
    xspec, spectrum, model = loaded
    xspec.Fit.perform()
    d = len([p for p in model.parameters if p.free])
    assert xspec.Fit.dof == len(spectrum.noticed) - d
    assert len(xspec.Fit.covariance) == d * (d + 1) // 2
    xspec.AllModels.calcFlux("0.5 2.0")
    soft = spectrum.flux[0]
    xspec.AllModels.calcFlux("0.5 8.0")
    assert 0 < soft < spectrum.flux[0]
    # a chain made elsewhere, two sigma wide
    parameters = [{"parameter": p.name, "source": "", "index": p.index, "unit": p.unit} for p in model.parameters]
    rng = np.random.default_rng(1)
    theta = np.array([p.values[0] for p in model.parameters]) * (1 + 0.02 * rng.standard_normal((4000, d)))
    path = write_chain(tmp_path / "mine.fits", parameters, theta, rng.uniform(50, 60, 4000))
    xspec.AllChains += str(path)
    assert (xspec.AllChains.nChains, xspec.AllChains.fileNames) == (1, (str(path),))
    xspec.Fit.error("1.0 2")
    low, high, _ = model(2).error
    assert high - low == pytest.approx(2 * 0.02 * model(2).values[0], rel=0.1)
    xspec.AllChains.clear()
    assert xspec.AllChains.nChains == 0 and path.exists()
    with pytest.raises(UsageError):
        xspec.AllChains(1)


def test_fluxes_of_two_sources_and_two_spectra(xspec, number, files):
    write_rmf(files / "second.rmf")
    names = [f"variant{number[n]}.pha" for n in ("plain", "grouped")]
    xspec.AllData(f"1:1 {names[0]} 2:2 {names[1]}")
    xspec.AllData(1).multiresponse[1] = "second.rmf"
    xspec.Model("po", setPars=(2.0, 1.0))
    xspec.Model("po", "bkg", 2, setPars=(2.0, 3.0))
    xspec.AllModels(2)(2).untie()
    xspec.AllModels(2)(2).values = 5.0
    xspec.AllModels.calcFlux("2.0 10.0")
    # six numbers for each source that the spectrum has a response for
    assert sorted(xspec.AllData(1).flux[3::6]) == pytest.approx([0.4, 1.2], rel=1e-3)
    assert xspec.AllData(2).flux[3::6] == pytest.approx([2.0], rel=1e-3)


@pytest.mark.parametrize(("text", "h0", "matter"), [("70 0 0.73", 70.0, 0.27), ("50 0 0.7", 50.0, 0.3)])
def test_luminosity_follows_the_cosmology(loaded, text, h0, matter):
    xspec, spectrum, _ = loaded
    xspec.Model("po", setPars=(2.0, 1.0))
    xspec.Xset.cosmo = text
    xspec.AllModels.calcLumin("2.0 8.0 0.3")
    distance = FlatLambdaCDM(H0=h0, Om0=matter, Tcmb0=0.0).luminosity_distance(0.3).to_value("cm")
    energy = np.log(4.0) * 1.60217663e-9
    assert spectrum.lumin[0] == pytest.approx(4 * np.pi * distance**2 * energy / 1e44, rel=2e-3)


def test_panes_on_the_null_device(loaded):
    xspec, spectrum, _ = loaded
    xspec.Plot.device = "/null"
    xspec.Plot("ldata", "ufspec", "delchi")
    bins = len(spectrum.noticed)
    for pane in (1, 2, 3):
        for array in (xspec.Plot.x, xspec.Plot.y, xspec.Plot.xErr, xspec.Plot.yErr):
            values = np.array(array(1, pane))
            assert values.shape == (bins,) and np.isfinite(values).all()
    # the unfolded spectrum is the data times model over folded model
    data, folded = (np.array(a) for a in (xspec.Plot.y(1, 1), xspec.Plot.model(1, 1)))
    unfolded, model = (np.array(a) for a in (xspec.Plot.y(1, 2), xspec.Plot.model(1, 2)))
    filled = data > 0
    np.testing.assert_allclose(unfolded[filled], (data * model / folded)[filled], rtol=1e-9)


def test_everything_can_show_itself(loaded, caplog):
    xspec, spectrum, model = loaded
    xspec.Xset.chatter = 10
    with caplog.at_level("INFO", logger="xsixsa.embedded"):
        for thing in (xspec.AllData, xspec.AllModels, xspec.AllChains, xspec.Fit, xspec.Xset, spectrum, model):
            thing.show()
    text = caplog.text
    assert "TBabs" in text and "cstat" in text and "variant" in text


def test_a_saved_session_in_a_new_process(loaded, tmp_path):
    xspec, spectrum, model = loaded
    model(2).prior = ("gauss", 1.8, 0.2)
    xspec.Fit.bayes = "on"
    xspec.Xset.save(str(tmp_path / "session.xcm"))
    code = f"""
from xsixsa.embedded import xspec
xspec.Xset.chatter = 0
xspec.Xset.restore({str(tmp_path / "session.xcm")!r})
import json
print(json.dumps([xspec.Fit.statistic, xspec.AllData(1).noticed, xspec.AllModels(1)(2).prior, xspec.Fit.dof]))
"""
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=120)
    assert done.returncode == 0, done.stderr
    statistic, noticed, prior, dof = json.loads(done.stdout)
    assert statistic == pytest.approx(xspec.Fit.statistic, rel=1e-12)
    assert (noticed, dof) == (list(spectrum.noticed), xspec.Fit.dof)
    assert prior == list(model(2).prior)


def test_a_model_that_xspec_saved_on_the_data_it_was_made_for(xspec, monkeypatch):
    monkeypatch.chdir(shared_path("data", "xifu_compTT-mock"))
    case = next(
        c for c in json.loads(shared_path("reference", "statistics.json").read_text()) if c["name"] == "xifu_comptt"
    )
    files = {"respFile": case["spectra"][0]["rmf"], "arfFile": case["spectra"][0]["arf"]}
    spectrum = xspec.Spectrum("spectrum_opt.pha", **files)
    spectrum.ignore(" ".join(case["spectra"][0]["ignore"]))
    xspec.Fit.statMethod = "cstat"
    xspec.Xset.restore("model.xcm")
    assert xspec.Xset.abund[:4] == "wilm" and xspec.Fit.bayes == "off"
    model = xspec.AllModels(1)
    assert [p.index for p in model.parameters if p.free] == case["free_parameter_indices"]
    model.setPars(dict(zip(case["free_parameter_indices"], case["best_fit"]["values"], strict=True)))
    assert xspec.Fit.statistic == pytest.approx(case["best_fit"]["fit_statistic"], abs=0.03)
    assert xspec.Fit.dof == case["best_fit"]["dof"]
    # its hard limits are those of the file
    model.compTT.kT.values = 1.0
    assert model.compTT.kT.values[0] == pytest.approx(case["best_fit"]["values"][2])


def test_a_pool_of_one_and_of_two_give_the_same(loaded):
    from xsixsa import Session

    xspec, _, _ = loaded
    theta = np.random.default_rng(2).uniform([0.0, 1.0, 1e-4], [0.5, 3.0, 1e-3], size=(600, 3))
    session = Session(xspec)
    found = []
    for workers in (1, 2):
        with session.pool(workers=workers) as pool:
            found.append(pool.evaluate(theta))
    np.testing.assert_array_equal(found[0].statistic, found[1].statistic)
    np.testing.assert_array_equal(found[0].expected, found[1].expected)


def test_the_code_of_the_document_runs(xspec, number, monkeypatch, capsys):
    text = (REPOSITORY / "docs" / "embedded.md").read_text()
    session, install, batch = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    names = {"theta": np.array([[0.1, 1.7], [0.2, 2.0]])}
    xspec.Fit.renorm("prefit")
    exec(session.replace("source.pha", f"variant{number['background']}.pha"), names)
    assert capsys.readouterr().out.count("FFFFFFFFF") == 1
    exec(batch, names)
    assert names["folded"][1][""].shape == (2, len(xspec.AllData(1).noticed))
    monkeypatch.setitem(sys.modules, "xspec", xspec)
    exec(install, names)
    assert names["xspec"] is xspec


def test_what_is_not_there_says_whose_it_is(loaded):
    xspec, _, model = loaded
    for thing, name in ((xspec.Fit, "steppar"), (xspec.AllModels, "eqwidth"), (model, "x")):
        assert not hasattr(thing, name)
        with pytest.raises(AttributeError, match=f"embedded engine has no '{name}'"):
            getattr(thing, name)
    with pytest.raises(ModelError, match="chain"):
        xspec.AllModels.calcFlux("0.5 2.0 err")


def test_null_hypothesis(loaded):
    xspec, _, _ = loaded
    assert xspec.Fit.nullhyp == pytest.approx(1.0 - chi2.cdf(xspec.Fit.testStatistic, xspec.Fit.dof), abs=1e-12)
