"""What PyXspec does not tell: wider limits, limits of fresh components, the fit's order of named models."""

import logging
import os
import time

import numpy as np
import pytest
from astropy.io import fits

from tests.session.fake_xspec import FakeXspec
from tests.session.ogip import counts_like, write_response, write_spectrum
from xsixsa.errors import SessionError, WorkerError
from xsixsa.session import Reason, Session
from xsixsa.session.isolated import isolated


def values_of(xspec):
    return [list(xspec.AllModels(1)(i).values) for i in (1, 2, 3)]


def test_limits_are_widened_for_a_run_and_the_session_keeps_its_own(loaded):
    session = Session(loaded)
    before, mark = values_of(loaded), session.fingerprint
    theta = np.array([[7.0, 1.5, 0.01], [0.1, 1.5, 0.01], [0.1, 1.5, 30.0]])
    assert session.evaluate(theta).reason.tolist() == [Reason.OUT_OF_LIMITS, Reason.OK, Reason.OUT_OF_LIMITS]
    with session.widened({"nH": (0.0, 20.0), "powerlaw.norm": (1e-3, 1.0)}) as granted:
        assert granted == {"nH": (0.0, 20.0), "norm": (1e-6, 10.0)}, "limits are never narrowed"
        assert session.find("nH").max == 20.0
        with session.pool(2) as pool:
            wide = pool.evaluate(theta)
        assert wide.reason.tolist() == [Reason.OK, Reason.OK, Reason.OUT_OF_LIMITS]
        assert wide.expected[0, 0] < wide.expected[1, 0]
    assert session.find("nH").max == 5.0
    assert values_of(loaded) == before and session.fingerprint == mark
    assert session.evaluate(theta).reason[0] == Reason.OUT_OF_LIMITS
    with pytest.raises(SessionError, match="no parameter 'nh2'"), session.widened({"nh2": (0, 1)}):
        pass


def test_limits_that_the_engine_refuses_stay():
    engine = FakeXspec()
    engine.models[0].parameters[0].refuses_limits = True
    session = Session(engine)
    with session.widened({"nH": (0.0, 500.0), "PhoIndex": (-5.0, 12.0)}) as granted:
        assert granted == {"nH": (0.0, 100.0), "PhoIndex": (-5.0, 12.0)}
        answer = session.evaluate([[200.0, 2.0, 1.0], [1.0, 11.0, 1.0]])
        assert answer.reason.tolist() == [Reason.OUT_OF_LIMITS, Reason.OK]


def test_limits_that_crash_the_engine_stay(caplog):
    engine = FakeXspec()
    session = Session(engine)
    engine.misbehave = lambda values: os.abort()
    with caplog.at_level(logging.WARNING), session.widened({"nH": (0.0, 500.0)}) as granted:
        assert granted == {"nH": (0.0, 100.0)}
    assert "not widened" in caplog.text


def test_limits_of_a_fresh_component_that_is_not_in_the_table(engine, folder):
    engine.AllData("1:1 plain.pha")
    model = engine.Model("powerlaw*zedge+bbody" if engine.__name__ != "xspec" else "powerlaw*varabs+bbody")
    number = next(i for i in range(1, model.nParameters + 1) if not model(i).frozen and model(i).name not in "norm kT")
    session = Session(engine)
    known = {p.full_name: p.default_limits for p in session.parameters}
    assert None not in known.values()
    assert known["powerlaw.norm"] == (0.0, 1e24) and known["bbody.kT"] == (1e-4, 200.0)
    assert model(number).values[5] in [limits[1] for limits in known.values()]


def two_sources(xspec, folder):
    """Two spectra; the second source is made first, and its norm differs between the groups."""
    write_response(folder, "second", area=50.0)
    write_spectrum(folder / "other.pha", counts_like(2))
    xspec.AllData("1:1 plain.pha 2:2 other.pha")
    for i in (1, 2):
        xspec.AllData(i).multiresponse[1] = "second.rmf"
        xspec.AllData(i).multiresponse[1].arf = "second.arf"
    xspec.Model("powerlaw", "zbkg", 2)
    xspec.Model("TBabs*powerlaw", "src", 1)
    xspec.AllModels.setPars(xspec.AllModels(1, "src"), {1: 0.1, 2: 1.7, 3: 0.01})
    xspec.AllModels(2, "zbkg")(2).untie()
    xspec.AllModels.setPars(xspec.AllModels(1, "zbkg"), {2: 0.02}, xspec.AllModels(2, "zbkg"), {2: 0.01})


def test_two_sources(engine, folder):
    two_sources(engine, folder)
    session = Session(engine)
    names = {p.name for p in session.parameters}
    assert names == {"nH", "src:PhoIndex", "src:norm", "zbkg:PhoIndex", "zbkg:norm@1", "norm@2"}
    assert session.find("zbkg:powerlaw.norm@2").index == 4
    assert session.find("zbkg:4").name == "norm@2" and session.find("src:2").name == "src:PhoIndex"
    assert session.model_expression.replace(" ", "") == "src:TBabs*powerlaw;zbkg:powerlaw"
    with pytest.raises(SessionError, match="'PhoIndex' is ambiguous: it may be"):
        session.find("PhoIndex")
    theta = np.array([[p.value for p in session.parameters]]) * np.array([[1.0], [1.1]])
    answer = session.evaluate(theta)
    assert answer.statistic[0] == pytest.approx(engine.Fit.statistic, rel=1e-12)
    total = [
        1000.0 * (np.array(engine.AllModels(i, "src").folded(i)) + np.array(engine.AllModels(i, "zbkg").folded(i)))
        for i in (1, 2)
    ]
    np.testing.assert_allclose(answer.expected[0], np.concatenate(total), rtol=1e-12)


def test_order_is_that_of_the_engines_own_chains(engine, folder):
    two_sources(engine, folder)
    session = Session(engine)
    engine.Fit.perform()
    engine.AllChains.defLength, engine.AllChains.defBurn = 10, 0
    engine.Chain("chain.fits")
    engine.AllChains.clear()
    with fits.open("chain.fits") as file:
        columns = file["CHAIN"].columns.names[:-1]
    assert [f"{p.parameter}__{p.source}__{p.index}" for p in session.parameters] == columns


def test_isolated_questions():
    engine = FakeXspec()
    assert isolated(engine, lambda: {"answer": [1, 2.5, "x" * 100_000]}, 5.0)["answer"][:2] == [1, 2.5]
    with pytest.raises(WorkerError, match=r"gave no answer.*ValueError: on purpose"):
        isolated(engine, _raise, 5.0)
    with pytest.raises(WorkerError, match="no answer"):
        isolated(engine, os.abort, 5.0)
    start = time.monotonic()
    with pytest.raises(WorkerError, match="no answer"):
        isolated(engine, lambda: time.sleep(100), 0.2)
    assert time.monotonic() - start < 6.0
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def _raise():
    raise ValueError("on purpose")
