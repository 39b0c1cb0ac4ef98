"""What XSPEC does not say: calculations that fail without a word, and Ctrl-C that never arrives."""

import os
import shutil
import signal
import threading
import time

import numpy as np
import pytest

from tests.conftest import shared_path
from tests.session.fake_xspec import FakeXspec
from tests.session.test_pool import draw
from xsixsa.session import Reason, Session


def test_a_table_model_outside_its_grid_has_no_likelihood(engine, folder):
    """XSPEC prints a line and keeps model and statistic of the theta before."""
    shutil.copy(shared_path("data", "tables", "tables_onepar_test.mod"), "table.mod")
    engine.AllData("1:1 plain.pha")
    model = engine.Model("atable{table.mod}")
    model(model.nParameters).values = 0.01
    session = Session(engine)
    first = session.parameters[0].name
    theta = np.array([[0.5, 0.01], [500.0, 0.01], [400.0, 0.01], [0.5, 0.02], [-3.0, 0.02], [0.2, 0.01]])
    with session.widened({first: (-1e3, 1e3)}), session.pool(1) as pool:
        answer = pool.evaluate(theta)
    good = [0, 3, 5]
    assert answer.valid[good].all()
    assert not answer.valid[[1, 2, 4]].any()
    assert np.isnan(answer.statistic[[1, 2, 4]]).all() and np.isnan(answer.expected[[1, 2, 4]]).all()
    np.testing.assert_allclose(answer.statistic[good], session.evaluate(theta[good]).statistic, rtol=1e-12)


def test_a_stale_statistic_is_not_a_likelihood():
    engine = FakeXspec()
    engine.misbehave = lambda values: engine.statistic if values[1] > 2.5 else None
    session = Session(engine)
    theta = draw(300)
    theta[100:104, 1] = 2.9
    with session.pool(2) as pool:
        answer = pool.evaluate(theta)
    np.testing.assert_array_equal(answer.reason == Reason.FAILED, theta[:, 1] > 2.5)
    engine.misbehave = None
    np.testing.assert_array_equal(answer.statistic[answer.valid], session.evaluate(theta[answer.valid]).statistic)


def test_a_flat_model_is_no_failure():
    """Where theta does not matter the same statistic twice is right."""
    engine = FakeXspec()
    session = Session(engine)
    theta = np.array([[0.1, 1.5, 0.0], [0.5, 2.5, 0.0], [0.7, 2.0, 0.0], [0.1, 1.5, 0.3]])
    assert session.evaluate(theta).valid.all()
    engine.misbehave = lambda values: 100.0
    with session.pool(1) as pool:
        assert pool.evaluate(theta).valid.all()


def test_ctrl_c_arrives_while_workers_run(loaded):
    """XSPEC replaces the handler of Ctrl-C as soon as it loads data."""
    session = Session(loaded)
    theta = np.tile([[0.1, 1.5, 0.01]], (4000, 1))
    start = time.monotonic()
    threading.Timer(1.0, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt), session.pool(1, delay=0.005) as pool:
        pool.evaluate(theta)
    assert time.monotonic() - start < 10.0
    assert session.evaluate(theta[:2]).valid.all()


def test_a_model_redefined_while_guarded_does_not_break_the_way_out(loaded):
    session = Session(loaded)
    loaded.Xset.chatter = 5
    with session.guard():
        loaded.Model("powerlaw")
    assert loaded.Xset.chatter == 5
    loaded.Xset.chatter = 0
