"""Workers in fresh interpreters, which restore the session from its saved text."""

import os
import signal

import numpy as np
import pytest

from tests.session.ogip import counts_like, write_spectrum
from tests.session.test_pool import alive, wait_until
from xsixsa.errors import UsageError, WorkerError
from xsixsa.session import Reason, Session


def test_spawned_workers_agree_with_forked_ones(engine, folder):
    engine.AllData("1:1 plain.pha 2:2 source.pha")
    engine.AllData(1).ignore("1-2")
    # more digits than a saved session keeps
    engine.Model("TBabs*powerlaw", setPars={1: 0.123456789012345, 2: 1.5, 3: 0.0123456789})
    engine.AllModels(2)(3).untie()
    engine.AllModels(2)(3).values = 0.0098765432109
    engine.AllModels(1)(1).frozen = True
    session = Session(engine)
    values = np.array([p.value for p in session.parameters])
    theta = values * np.random.default_rng(0).uniform(0.8, 1.2, (300, values.size))
    with session.pool(1) as pool:
        forked = pool.evaluate(theta)
    with session.pool(2, start="spawn") as pool:
        spawned = pool.evaluate(theta)
        pids = list(pool.pids[:-1])
        os.kill(pids[0], signal.SIGKILL)
        again = pool.evaluate(theta)
        assert pids[0] not in pool.pids
    assert forked.valid.all() and spawned.valid.all() and again.valid.all()
    np.testing.assert_allclose(spawned.statistic, forked.statistic, rtol=1e-10)
    np.testing.assert_allclose(spawned.expected, forked.expected, rtol=1e-10)
    np.testing.assert_array_equal(again.statistic, spawned.statistic)
    wait_until(lambda: not any(alive(pid) for pid in pids))


def test_wider_limits_reach_spawned_workers(loaded):
    session = Session(loaded)
    with session.widened({"nH": (0.0, 20.0)}), session.pool(1, start="spawn") as pool:
        assert pool.evaluate([[7.0, 1.5, 0.01]]).reason.tolist() == [Reason.OK]


def test_a_session_that_cannot_be_restored_is_one_clear_error(loaded, folder):
    session = Session(loaded)
    (folder / "plain.pha").unlink()
    with (
        pytest.raises(WorkerError, match="a worker could not take over the session; it said: "),
        session.pool(1, start="spawn"),
    ):
        pass
    with pytest.raises(UsageError, match="'fork' or 'spawn'"), session.pool(1, start="thread"):
        pass


def test_a_session_that_disagrees_is_refused(loaded, folder):
    session = Session(loaded)
    write_spectrum(folder / "plain.pha", counts_like(77))
    with (
        pytest.raises(WorkerError, match=r"restored session has the fit statistic [\d.e+]+, the loaded one"),
        session.pool(1, start="spawn"),
    ):
        pass
