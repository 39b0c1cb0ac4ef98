"""Whatever we do, the user's session is afterwards what it was before."""

import os
import signal
import threading

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.session.fake_xspec import FakeXspec
from xsixsa.errors import SessionError
from xsixsa.session import Session
from xsixsa.session.guard import take_snapshot
from xsixsa.session.parameters import read_model

CHANGES = {
    "chatter": ("Xset", st.integers(0, 40)),
    "logChatter": ("Xset", st.integers(0, 40)),
    "allowPrompting": ("Xset", st.booleans()),
    "query": ("Fit", st.sampled_from(["on", "yes", "no"])),
    "bayes": ("Fit", st.sampled_from(["on", "off"])),
    "statTest": ("Fit", st.sampled_from(["chi", "pchi", "ks"])),
    "weight": ("Fit", st.sampled_from(["standard", "churazov", "gehrels"])),
    "renorm": (None, st.sampled_from(["auto", "prefit", "none"])),
    "leven": ("parallel", st.integers(1, 4)),
    "error": ("parallel", st.integers(1, 4)),
    "abund": ("Xset", st.sampled_from(["angr", "wilm"])),
    "xsect": ("Xset", st.sampled_from(["vern", "bcmc"])),
    "cosmo": ("Xset", st.sampled_from(["70 0 0.73", "50 0.5 0.0"])),
    "modelStrings": ("Xset", st.sampled_from([{}, {"APECROOT": "3.0.9", "NEIVERS": "2.0"}])),
}


def set_up(xspec, changes):
    for name, value in changes.items():
        owner = CHANGES[name][0]
        if name == "renorm":
            xspec.Fit.renorm(value)
        elif owner == "parallel":
            setattr(xspec.Xset.parallel, name, value)
        else:
            setattr(getattr(xspec, owner), name, value)


def state(xspec):
    """Everything of a session, parameters to the last digit."""
    snapshot = vars(take_snapshot(xspec, read_model(xspec)))
    return {name: value for name, value in snapshot.items() if name != "parameters"}, snapshot["parameters"]


@settings(
    max_examples=12,
    deadline=None,
    # a failure says enough as it is: shrinking it would restart processes for minutes
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    changes=st.fixed_dictionaries({}, optional={name: values for name, (_, values) in CHANGES.items()}),
    value=st.floats(1.0, 3.0),
    end=st.sampled_from(["normally", "error", "interrupt"]),
)
def test_every_setting_is_put_back(loaded, changes, value, end):
    set_up(loaded, {"allowPrompting": False, "renorm": "none", "bayes": "off"})
    loaded.AllModels(1)(2).values = value
    set_up(loaded, changes)
    session = Session(loaded)
    before = state(loaded)
    assert loaded.Xset.allowPrompting == changes.get("allowPrompting", False)
    try:
        with session.guard():
            assert loaded.Xset.allowPrompting is False
            assert loaded.Xset.chatter == 0 and loaded.Fit.bayes == "off"
            loaded.AllModels.setPars(loaded.AllModels(1), {1: 0.3, 2: 2.2, 3: 0.5})
            if end == "error":
                raise RuntimeError("on purpose")
            if end == "interrupt":
                raise KeyboardInterrupt
    except (RuntimeError, KeyboardInterrupt):
        assert end != "normally"
    assert state(loaded) == before
    assert loaded.AllModels(1)(2).values[0] == value
    loaded.Xset.allowPrompting = False


def test_pool_leaves_every_setting(loaded):
    set_up(loaded, {"bayes": "on", "renorm": "auto", "chatter": 7, "query": "no", "leven": 2})
    session = Session(loaded)
    before = state(loaded)
    with session.pool(2) as pool:
        theta = np.array([[p.value for p in session.parameters]])
        evaluation = pool.evaluate(np.repeat(theta, 3, axis=0))
        assert evaluation.valid.all()
    assert state(loaded) == before


def test_bayes_and_renorm_do_not_reach_the_likelihood(loaded):
    session = Session(loaded)
    theta = np.array([[0.2, 1.6, 0.02], [0.1, 1.2, 0.01]])
    plain = session.evaluate(theta)
    loaded.AllModels(1)(1).prior = ("gauss", 0.1, 0.01)
    set_up(loaded, {"bayes": "on", "renorm": "auto"})
    session = Session(loaded)
    np.testing.assert_array_equal(session.evaluate(theta).statistic, plain.statistic)
    with session.pool(1) as pool:
        np.testing.assert_array_equal(pool.evaluate(theta).expected, plain.expected)


@pytest.mark.parametrize("threads", [0, 1])
def test_ctrl_c_is_held_back_until_the_session_is_restored(threads):
    """Also where another thread, as Jupyter and torch have them, takes the signal."""
    stop = threading.Event()
    others = [threading.Thread(target=stop.wait, daemon=True) for _ in range(threads)]
    for other in others:
        other.start()
    fake = FakeXspec()
    session = Session(fake)
    received = []
    fake.Fit.renorm("auto")

    class Impatient(type(fake.Fit)):
        def renorm(self, setting=None):
            if setting == "auto":
                os.kill(os.getpid(), signal.SIGINT)
                received.append(setting)
            super().renorm(setting)

    fake.Fit.__class__ = Impatient
    with pytest.raises(KeyboardInterrupt), session.guard():
        pass
    stop.set()
    assert received == ["auto"] and fake.renorm == "auto" and fake.Xset.chatter == 10


@pytest.mark.parametrize(
    "change",
    [
        lambda x: x.AllData(1).ignore("1-2"),
        lambda x: setattr(x.AllModels(1)(2), "frozen", True),
        lambda x: setattr(x.AllModels(1)(3), "values", "0.01,0.001,1e-5,1e-5,1,10"),
        lambda x: x.Model("powerlaw"),
        lambda x: x.AllModels.clear(),
        lambda x: x.AllData.clear(),
        lambda x: setattr(x.Fit, "statMethod", "chi"),
        lambda x: setattr(x.Xset, "abund", "angr"),
    ],
    ids=["ignore", "freeze", "limits", "model", "no model", "no data", "statistic", "abund"],
)
def test_a_changed_session_is_noticed(loaded, change):
    session = Session(loaded)
    theta = np.array([[0.2, 1.6, 0.02]])
    change(loaded)
    with pytest.raises(SessionError, match="have changed since it was attached"):
        session.evaluate(theta)


def test_a_change_while_the_pool_lives_is_noticed(loaded):
    session = Session(loaded)
    theta = np.array([[0.2, 1.6, 0.02]])
    with session.pool(1) as pool:
        pool.evaluate(theta)
        loaded.AllData(1).ignore("1-2")
        with pytest.raises(SessionError, match="have changed"):
            pool.evaluate(theta)


def test_values_of_free_parameters_may_change(loaded):
    session = Session(loaded)
    theta = np.array([[0.2, 1.6, 0.02]])
    before = session.evaluate(theta)
    loaded.AllModels(1)(2).values = 2.5
    np.testing.assert_array_equal(session.evaluate(theta).statistic, before.statistic)


def test_set_parameters(loaded):
    session = Session(loaded)
    session.set_parameters([0.2, 1.6, 0.02])
    assert [loaded.AllModels(1)(i).values[0] for i in (1, 2, 3)] == [0.2, 1.6, 0.02]
    session.set_parameters({"PhoIndex": 1.9})
    assert [p.value for p in session.parameters] == [0.2, 1.9, 0.02]
    assert loaded.Fit.statistic == session.evaluate([[0.2, 1.9, 0.02]]).statistic[0]
