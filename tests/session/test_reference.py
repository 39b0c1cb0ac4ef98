"""Real spectra, loaded as a user loads them, against the fit statistics that XSPEC gave."""

import json
import shutil

import numpy as np
import pytest

from tests.conftest import shared_path
from xsixsa.session import Session

NAMES = [
    "pn_cstat_nobkg",
    "pn_wstat",
    "pn_chi",
    "nicer_burst",
    "nicer_preburst",
    pytest.param("xifu_comptt", marks=pytest.mark.slow),
    "3c273_wstat",
    "4c1944_joint4_wstat",
    "wfi_cstat",
    "asca_chi",
]
# what XSPEC leaves as it is
NO_BAD_CHANNELS = ("xifu", "3c273", "4c1944", "wfi")


def load(xspec, case, monkeypatch, tmp_path):
    """Load one set-up of ``statistics.json`` from a copy of its folder."""
    folder = tmp_path / case["directory"]
    shutil.copytree(shared_path("data", case["directory"]), folder)
    monkeypatch.chdir(folder)
    xspec.Xset.abund, xspec.Xset.xsect = case["abund"], case["xsect"]
    for i, told in enumerate(case["spectra"], start=1):
        xspec.AllData(f"1:{i} {told['pha']}")
        spectrum = xspec.AllData(i)
        if told.get("rmf"):
            spectrum.response = told["rmf"]
        if told.get("arf"):
            spectrum.response.arf = told["arf"]
        if "background" in told and told["background"] is None:
            spectrum.background = None
    if not case["name"].startswith(NO_BAD_CHANNELS):
        xspec.AllData.ignore("bad")
    for i, told in enumerate(case["spectra"], start=1):
        for ignored in told["ignore"]:
            xspec.AllData(i).ignore(ignored)
    xspec.Fit.statMethod = case["statistic"]
    model = xspec.Model(case["model"])
    for number, value in case["fixed"].items():
        model(int(number)).values = float(value)
        model(int(number)).frozen = True
    values = dict(zip(case["free_parameter_indices"], case["best_fit"]["values"], strict=True))
    for number in range(1, model.nParameters + 1):
        model(number).frozen = number not in values
    xspec.AllModels.setPars(model, values)


@pytest.mark.parametrize("name", NAMES)
def test_statistics_of_real_data(engine, name, monkeypatch, tmp_path):
    cases = json.loads(shared_path("reference", "statistics.json").read_text())
    arrays = np.load(shared_path("reference", "statistics.npz"))
    case = next(c for c in cases if c["name"] == name)
    load(engine, case, monkeypatch, tmp_path)
    session = Session(engine)

    assert [o.counts.size for o in session.observations] == [s["n_noticed"] for s in case["spectra"]]
    # XSPEC keeps the exposure in single precision
    assert [o.exposure for o in session.observations] == pytest.approx(
        [s["exposure"] for s in case["spectra"]], rel=1e-7
    )
    for o, told in zip(session.observations, case["spectra"], strict=True):
        assert o.counts.sum() == pytest.approx(told["counts_noticed"], rel=1e-6)
        np.testing.assert_allclose(o.edges[[0, -1]], [told["first_bin_keV"], told["last_bin_keV"]], rtol=1e-6)
    assert session.dof == engine.Fit.dof
    assert [p.index for p in session.parameters] == case["free_parameter_indices"]

    theta = np.array(case["parameter_values"] + case["near_parameter_values"])
    told = np.array(case["fit_statistic"] + case["near_fit_statistic"])
    ours = session.evaluate(theta)
    assert ours.valid.all()
    exact = engine.__name__ == "xspec"
    # how close the embedded engine comes is its own tests' business; here it must be the same likelihood
    np.testing.assert_allclose(ours.statistic, told, rtol=1e-7 if exact else 3e-3, atol=1e-6 if exact else 0.3)
    for vector in range(3):
        folded = np.concatenate([arrays[f"{name}/folded_{i + 1}_{vector}"] for i in range(len(session.observations))])
        scale = np.concatenate([o.exposure * o.area_scale for o in session.observations])
        close = {"rtol": 1e-7} if exact else {"rtol": 2e-2, "atol": 1e-3 * (folded * scale).max()}
        np.testing.assert_allclose(ours.expected[vector], folded * scale, **close)
