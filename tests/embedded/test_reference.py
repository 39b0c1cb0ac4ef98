"""Statistics, folded models and fits of the real XSPEC on real spectra: ../shared/reference/statistics.json."""

import functools
import json

import numpy as np
import pytest

from tests.conftest import shared_path
from tests.embedded.conftest import clean

NAMES = (
    "pn_cstat_nobkg",
    "pn_wstat",
    "pn_chi",
    "nicer_burst",
    "nicer_preburst",
    "xifu_comptt",
    "3c273_wstat",
    "4c1944_joint4_wstat",
    "wfi_cstat",
    "asca_chi",
)
# Set-ups without bad channels were loaded without `ignore bad`, the others with it; it changes nothing for the former.
NO_BAD = ("xifu_comptt", "3c273_wstat", "4c1944_joint4_wstat", "wfi_cstat")
# |dC| near the fit where C is below 10 000; compTT is tabulated in energy, and its values of C reach 4e5
NEAR = dict.fromkeys(NAMES, 0.01) | {"xifu_comptt": 0.03}


@functools.cache
def cases():
    return {c["name"]: c for c in json.loads(shared_path("reference", "statistics.json").read_text())}


@pytest.fixture
def load(monkeypatch):
    from xsixsa.embedded import xspec

    def load(name):
        case = cases()[name]
        monkeypatch.chdir(shared_path("data", case["directory"]))
        clean(xspec)
        xspec.Xset.abund, xspec.Xset.xsect, xspec.Fit.statMethod = case["abund"], case["xsect"], case["statistic"]
        for s in case["spectra"]:
            given = {"respFile": s.get("rmf"), "arfFile": s.get("arf")}
            if "background" in s:
                given["backFile"] = s["background"] or "none"
            xspec.Spectrum(s["pha"], **{k: v for k, v in given.items() if v is not None})
        if name not in NO_BAD:
            xspec.AllData.ignore("bad")
        for number, s in enumerate(case["spectra"], 1):
            xspec.AllData(number).ignore(" ".join(s["ignore"]))
        model = xspec.Model(case["model"])
        for index, value in case["fixed"].items():
            model(int(index)).values = value
            model(int(index)).frozen = True
        return xspec, case, model

    yield load
    clean(xspec)


@pytest.mark.parametrize("name", NAMES)
def test_noticed_bins(load, name):
    xspec, case, model = load(name)
    for number, wanted in enumerate(case["spectra"], 1):
        spectrum = xspec.AllData(number)
        assert len(spectrum.noticed) == wanted["n_noticed"]
        assert (spectrum.noticed[0], spectrum.noticed[-1]) == (wanted["noticed_first"], wanted["noticed_last"])
        assert spectrum.energies[0] == pytest.approx(wanted["first_bin_keV"], rel=1e-9)
        assert spectrum.energies[-1] == pytest.approx(wanted["last_bin_keV"], rel=1e-9)
        assert spectrum.exposure == pytest.approx(wanted["exposure"], rel=1e-7)
        assert spectrum.counts[spectrum.mask].sum() == pytest.approx(wanted["counts_noticed"], rel=1e-9)
    names = {str(p.index): f"{model.component_of(p)}.{p.name}" for p in model.parameters}
    assert names.items() >= case["parameters"].items()
    assert [p.index for p in model.parameters if p.free] == case["free_parameter_indices"]


@pytest.mark.parametrize("name", NAMES)
def test_statistic_and_folded_model(load, name):
    xspec, case, _ = load(name)
    keys = [("", 1, i) for i in case["free_parameter_indices"]]
    folded, wide = xspec.AllModels.evaluateBatch(keys, np.array(case["parameter_values"]))
    np.testing.assert_allclose(wide, case["fit_statistic"], rtol=5e-4)
    _, near = xspec.AllModels.evaluateBatch(keys, np.array(case["near_parameter_values"]))
    wanted = np.array(case["near_fit_statistic"])
    small = wanted < 1e4
    np.testing.assert_allclose(near[small], wanted[small], rtol=0, atol=NEAR[name])
    np.testing.assert_allclose(near[~small], wanted[~small], rtol=5e-6)
    with np.load(shared_path("reference", "statistics.npz")) as stored:
        for number in range(1, len(case["spectra"]) + 1):
            for row in range(3):
                wanted = stored[f"{name}/folded_{number}_{row}"]
                found = folded[number][""][row]
                np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-12 * wanted.max())


@pytest.mark.parametrize("name", ["pn_cstat_nobkg", "nicer_preburst", "3c273_wstat", "asca_chi"])
def test_fit_from_the_default_values_reaches_the_minimum_of_xspec(load, name):
    xspec, case, model = load(name)
    xspec.Fit.renorm("prefit")
    xspec.Fit.perform()
    best = case["best_fit"]
    assert xspec.Fit.statistic <= best["fit_statistic"] + 0.05
    assert xspec.Fit.dof == best["dof"]
    for index, value, sigma in zip(case["free_parameter_indices"], best["values"], best["sigma"], strict=True):
        assert model(index).values[0] == pytest.approx(value, abs=0.2 * sigma)
        assert model(index).sigma == pytest.approx(sigma, rel=0.1)


def test_first_energy_of_zero_and_a_packed_spectrum(monkeypatch):
    from xsixsa.embedded import xspec

    monkeypatch.chdir(shared_path("data", "xrism_Perseus-Resolve"))
    clean(xspec)
    files = {"respFile": "resolve_gauss4.5eV_BUILT.rmf", "arfFile": "rsl_standard_GVclosed.arf"}
    spectrum = xspec.Spectrum("xa_merged_p0px1000_Hp.pi.gz", **files)
    spectrum.ignore("**-2.0 10.0-**")
    xspec.Fit.statMethod, xspec.Xset.abund = "cstat", "wilm"
    model = xspec.Model("TBabs*powerlaw", setPars=(0.1, 2.0, 0.3))
    # measured with XSPEC 12.9.1
    assert xspec.Fit.statistic == pytest.approx(995367.985, abs=0.1)
    assert model.energies(1)[0] == pytest.approx(5.000000237e-07)
    spectrum.notice("all")
    spectrum.ignore("12.0-**")
    model.setPars({2: 2.1})
    assert len(spectrum.noticed) == 23999
    assert xspec.Fit.statistic == pytest.approx(827724.906, abs=0.1)
    clean(xspec)
