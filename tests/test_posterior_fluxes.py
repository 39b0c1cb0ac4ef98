"""Fluxes and luminosities over a posterior, and what a result knows about the session it came from."""

import json

import numpy as np
import pytest

import xsixsa
from tests.core.test_fit import TINY
from tests.session.conftest import engine, folder, loaded  # noqa: F401  (fixtures)
from xsixsa.errors import UsageError
from xsixsa.prior import LogUniform
from xsixsa.session import Session

PRIOR = {"nH": (0.0, 0.5), "PhoIndex": (0.5, 3.0), "norm": LogUniform(1e-3, 0.1)}
RUN = {"options": TINY.changed(rounds=0), "seed": 1, "workers": 1, "progress": False}


@pytest.fixture
def embedded_only(loaded):  # noqa: F811
    if loaded.__name__ == "xspec":
        pytest.skip("a fit takes thousands of evaluations; the engine's own fluxes are tested with the session")
    return loaded


def test_fluxes_of_equal_weight_samples(embedded_only, tmp_path):
    xspec = embedded_only
    result = xsixsa.fit(xspec, PRIOR, **RUN)
    before = [list(xspec.AllModels(1)(i).values) for i in (1, 2, 3)]
    found = xsixsa.fluxes(xspec, result, (1.0, 5.0), n=50, redshift=0.1)
    assert [list(xspec.AllModels(1)(i).values) for i in (1, 2, 3)] == before
    assert found.labels == ((1, ""),) and found.energy.shape == found.photon.shape == found.luminosity.shape == (50, 1)
    np.testing.assert_array_equal(found.rows, result.sample_index(50, 0))
    for k in (0, 49):
        row = result.theta[found.rows[k]]
        xspec.AllModels.setPars(xspec.AllModels(1), dict(enumerate(row.tolist(), start=1)))
        xspec.AllModels.calcFlux("1.0 5.0")
        flux = xspec.AllData(1).flux
        xspec.AllModels.calcLumin("1.0 5.0 0.1")
        assert (found.energy[k, 0], found.photon[k, 0]) == pytest.approx((flux[0], flux[3]), rel=1e-9)
        assert found.luminosity[k, 0] == pytest.approx(xspec.AllData(1).lumin[0], rel=1e-9)
    table = found.table()
    assert [r["quantity"] for r in table] == ["energy flux", "photon flux", "luminosity"]
    assert table[0]["q16"] < table[0]["q50"] < table[0]["q84"] and "erg/cm2/s" in str(found)
    # a loaded result gives the same, and a session of another problem is refused
    again = xsixsa.load(result.save(tmp_path / "result.h5")).fluxes(Session(xspec), (1.0, 5.0), n=50)
    np.testing.assert_array_equal(again.energy, found.energy)
    assert again.luminosity is None
    xspec.AllData(1).ignore("1-3")
    with pytest.raises(UsageError, match="not that of the run"):
        result.fluxes(xspec, (1.0, 5.0))


def test_fluxes_beyond_limits_that_were_widened_for_the_run(embedded_only):
    xspec = embedded_only
    xspec.AllModels(1)(2).values = "1.5,0.01,1.48,1.48,1.52,1.52"
    result = xsixsa.fit(xspec, PRIOR, **RUN)
    found = result.fluxes(xspec, (1.0, 5.0), n=40)
    assert (np.abs(result.theta[found.rows, 1] - 1.5) > 0.02).any() and np.isfinite(found.energy).all()


def test_luminosities_of_the_session_are_the_engines_own(loaded):  # noqa: F811
    session = Session(loaded)
    theta = [[0.2, 1.6, 0.02], [0.1, 1.2, 0.01]]
    ours = session.luminosities(theta, (2.0, 6.0), 0.05)
    for row, value in zip(theta, ours.energy[:, 0], strict=True):
        loaded.AllModels.setPars(loaded.AllModels(1), dict(enumerate(row, start=1)))
        loaded.AllModels.calcLumin("2.0 6.0 0.05")
        assert value == pytest.approx(loaded.AllData(1).lumin[0], rel=1e-9) and value > 0
    with pytest.raises(UsageError, match="redshift 0 must be positive"):
        session.luminosities(theta, (2.0, 6.0), 0.0)


def test_a_result_knows_the_session_it_came_from(embedded_only):
    xspec = embedded_only
    xspec.Xset.addModelString("TESTKEY", "42")
    xspec.Xset.cosmo = "67.4 0 0.685"
    settings = xsixsa.fit(xspec, PRIOR, **RUN).settings
    assert settings["abund"] == "wilm" and settings["xsect"] == "vern"
    assert settings["cosmo"] == [67.4, 0.0, 0.685] and settings["model_strings"]["TESTKEY"] == "42"
    assert settings["versions"] and settings["engine"] == "embedded" and settings["noticed"]["1"]
    assert {"stat_method", "stat_test", "weight", "systematic"} <= set(settings)
    json.dumps(settings)
