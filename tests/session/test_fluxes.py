"""Fluxes at many theta."""

import numpy as np
import pytest

from tests.session.test_limits_and_order import two_sources
from xsixsa.errors import UsageError
from xsixsa.session import Session


def test_flux_is_the_engines_own_and_the_session_keeps_its_parameters(loaded):
    session = Session(loaded)
    theta = np.array([[0.2, 1.6, 0.02], [9.0, 1.6, 0.02], [0.1, 1.2, 0.01]])
    before = [list(loaded.AllModels(1)(i).values) for i in (1, 2, 3)]
    fluxes = session.fluxes(theta, (1.0, 5.0))
    assert [list(loaded.AllModels(1)(i).values) for i in (1, 2, 3)] == before
    assert fluxes.labels == ((1, ""),) and fluxes.energy.shape == fluxes.photon.shape == (3, 1)
    assert np.isnan(fluxes.energy[1]).all(), "outside the hard limits"
    for i in (0, 2):
        loaded.AllModels.setPars(loaded.AllModels(1), dict(enumerate(theta[i].tolist(), start=1)))
        loaded.AllModels.calcFlux("1.0 5.0")
        told = loaded.AllData(1).flux
        assert (fluxes.energy[i, 0], fluxes.photon[i, 0]) == pytest.approx((told[0], told[3]), rel=1e-9)


def test_flux_of_a_power_law(loaded):
    session = Session(loaded)
    fluxes = session.fluxes([0.0, 2.0, 0.02], (1.0, 5.0))
    assert fluxes.photon[0, 0] == pytest.approx(0.02 * (1 - 1 / 5), rel=1e-3)
    assert fluxes.energy[0, 0] == pytest.approx(0.02 * np.log(5) * 1.602177e-9, rel=1e-3)


def test_fluxes_of_several_sources_are_told_apart(engine, folder):
    two_sources(engine, folder)
    session = Session(engine)
    values = {p.full_name: p.value for p in session.parameters}
    values |= {"src:powerlaw.PhoIndex@1": 2.0, "src:TBabs.nH@1": 0.0, "src:powerlaw.norm@1": 0.5}
    values |= {"zbkg:powerlaw.PhoIndex@1": 1.0, "zbkg:powerlaw.norm@1": 0.02, "zbkg:powerlaw.norm@2": 0.3}
    fluxes = session.fluxes([[values[p.full_name] for p in session.parameters]], (1.0, 5.0))
    told = dict(zip(fluxes.labels, fluxes.photon[0], strict=True))
    assert told[1, "src"] == told[2, "src"] == pytest.approx(0.5 * (1 - 1 / 5), rel=1e-3)
    assert told[1, "zbkg"] == pytest.approx(0.02 * np.log(5), rel=1e-3)
    assert told[2, "zbkg"] == pytest.approx(0.3 * np.log(5), rel=1e-3)


def test_wrong_ranges(loaded):
    session = Session(loaded)
    with pytest.raises(UsageError, match="5-1 keV are no range"):
        session.fluxes([0.1, 2.0, 0.02], (5.0, 1.0))
    with pytest.raises(UsageError, match="3 free parameters"):
        session.fluxes([0.1, 2.0], (1.0, 5.0))
