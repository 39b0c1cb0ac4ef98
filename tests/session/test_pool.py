"""Workers: the same numbers whatever their count, and no harm from theta that crash, hang or print."""

import os
import resource
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import REPOSITORY
from tests.session.fake_xspec import FakeBatchXspec, FakeXspec
from xsixsa.errors import SessionError, UsageError, WorkerError
from xsixsa.session import Reason, Session
from xsixsa.session.pool.dispatch import Timeout

FAKES = [FakeXspec, FakeBatchXspec]
each_fake = pytest.mark.parametrize("fake", FAKES, ids=["rows", "batch"])


def draw(n, seed=0):
    """(n, 3) nH, PhoIndex, norm inside the fake's limits."""
    rng = np.random.default_rng(seed)
    return np.column_stack([rng.uniform(0.0, 1.0, n), rng.uniform(1.0, 3.0, n), rng.uniform(0.1, 1.0, n)])


def alive(pid):
    """Whether a process exists and is not a zombie."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def wait_until(condition, seconds=10.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


@pytest.mark.parametrize("n", [1, 255, 600])
def test_bit_identical_for_any_number_of_workers(loaded, n):
    session = Session(loaded)
    values = np.array([p.value for p in session.parameters])
    theta = values * np.random.default_rng(n).uniform(0.7, 1.3, (n, 3))
    results = []
    for workers in (1, 4):
        with session.pool(workers) as pool:
            results.append(pool.evaluate(theta))
            assert pool.n_evaluations == n and not pool.n_failed and pool.workers == workers
    first, second = results
    assert first.valid.all()
    np.testing.assert_array_equal(first.statistic, second.statistic)
    np.testing.assert_array_equal(first.expected, second.expected)


@each_fake
def test_order_is_kept_and_progress_told(fake):
    engine = fake()
    session = Session(engine)
    theta = draw(1000)
    theta[500] = [-1.0, 2.0, 0.5]
    seen = []
    with session.pool(3, block=64) as pool:
        ours = pool.evaluate(theta, seen.append)
    assert seen == sorted(seen) and seen[-1] == 1000
    assert ours.reason[500] == Reason.OUT_OF_LIMITS and pool.n_failed == {Reason.OUT_OF_LIMITS: 1}
    assert pool.n_evaluations == 999
    model = engine.AllModels(1)
    for i in (0, 1, 499, 501, 999):
        engine.AllModels.setPars(model, dict(enumerate(theta[i].tolist(), start=1)))
        assert ours.statistic[i] == engine.Fit.statistic
        np.testing.assert_array_equal(ours.expected[i], np.array(model.folded(1)) * 500.0)


def test_one_recalculation_per_theta():
    engine = FakeXspec(groups=2)
    session = Session(engine)
    count = os.pipe()
    engine.misbehave = lambda _: os.write(count[1], b"x") and None
    with session.pool(2) as pool:
        pool.evaluate(np.tile(draw(100), 2))
    assert len(os.read(count[0], 4096)) == 100 + 1  # one more warms the template up


def test_without_expected_counts_and_in_single_precision():
    session = Session(FakeXspec())
    with session.pool(1) as pool:
        plain = pool.evaluate(draw(50))
        bare = pool.evaluate(draw(50), expected=False)
        single = pool.evaluate(draw(50), dtype=np.float32)
        empty = pool.evaluate(np.empty((0, 3)))
    assert bare.expected is None and single.expected.dtype == np.float32 and empty.expected.shape == (0, 20)
    np.testing.assert_array_equal(bare.statistic, plain.statistic)
    np.testing.assert_allclose(single.expected, plain.expected, rtol=1e-6)


def test_parent_engine_is_never_asked():
    engine = FakeXspec()
    session = Session(engine)
    before = engine.calculations
    with session.pool(2) as pool:
        pool.evaluate(draw(300))
    session.evaluate(draw(3))
    assert engine.calculations == before == 1


@each_fake
def test_a_crash_costs_only_its_theta(fake):
    def crash(values):
        if values[1] > 2.9:
            os.abort()

    session = Session(fake(misbehave=crash))
    theta = draw(600, seed=3)
    theta[:, 1] = np.minimum(theta[:, 1], 2.89)
    theta[[0, 63, 64, 599], 1] = 2.95
    with session.pool(3, block=64) as pool:
        ours = pool.evaluate(theta)
        assert pool.n_failed == {Reason.CRASHED: 4}
        assert len(pool.failures) == 4
        assert all(f.theta[1] == 2.95 and "signal 6" in f.detail for f in pool.failures)
        again = pool.evaluate(theta[1:60])
        assert again.valid.all()
    assert np.flatnonzero(ours.reason == Reason.CRASHED).tolist() == [0, 63, 64, 599]
    assert np.isnan(ours.statistic[[0, 63]]).all() and np.isnan(ours.expected[[0, 63]]).all()
    assert ours.valid.sum() == 596
    np.testing.assert_allclose(ours.statistic[1:60], again.statistic, rtol=1e-12)


@each_fake
def test_a_hang_costs_only_its_theta(fake):
    def hang(values):
        if values[1] > 2.9:
            time.sleep(1000)

    session = Session(fake(misbehave=hang))
    theta = draw(40, seed=3)
    theta[:, 1] = np.minimum(theta[:, 1], 2.89)
    theta[17, 1] = 2.95
    with session.pool(2, block=10, timeout=0.5) as pool:
        ours = pool.evaluate(theta)
        assert pool.n_failed == {Reason.HUNG: 1}
    assert np.flatnonzero(~ours.valid).tolist() == [17] and ours.reason[17] == Reason.HUNG


def test_a_passing_death_costs_a_retry_and_no_theta(tmp_path):
    flag = tmp_path / "died"

    def die_once(values):
        if values[1] > 2.9 and not flag.exists():
            flag.touch()
            os.kill(os.getpid(), signal.SIGKILL)

    session = Session(FakeXspec(misbehave=die_once))
    theta = draw(200, seed=3)
    theta[50, 1] = 2.95
    with session.pool(2) as pool:
        ours = pool.evaluate(theta)
        assert ours.valid.all() and not pool.failures and not pool.n_failed
    assert flag.exists()


def test_a_worker_killed_from_outside_is_replaced():
    session = Session(FakeXspec(cost=0.002))
    theta = draw(300)
    with session.pool(2, block=32) as pool:
        before = pool.evaluate(theta[:64])
        victims = list(pool.pids[:-1])
        timer = threading.Timer(0.1, lambda: [os.kill(pid, signal.SIGKILL) for pid in victims])
        timer.start()
        ours = pool.evaluate(theta)
        timer.join()
        assert ours.valid.all()
        assert not set(victims) & set(pool.pids)
    np.testing.assert_array_equal(ours.statistic[:64], before.statistic)


@each_fake
@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        (-1.0, Reason.FAILED),
        (0.0, Reason.FAILED),
        (float("nan"), Reason.NOT_FINITE),
        (float("inf"), Reason.NOT_FINITE),
    ],
)
def test_statistics_that_are_none(fake, wrong, reason):
    session = Session(fake(misbehave=lambda values: wrong if values[1] > 2.5 else None))
    theta = draw(100)
    with session.pool(1) as pool:
        ours = pool.evaluate(theta)
        bad = theta[:, 1] > 2.5
        assert pool.n_failed == {reason: bad.sum()} and len(pool.failures) == bad.sum()
        assert f"{bad.sum()} {reason.name.lower()} within nH" in pool.describe_failures()
    np.testing.assert_array_equal(ours.reason == reason, bad)
    assert np.isnan(ours.statistic[bad]).all() and np.isnan(ours.expected[bad]).all()


@each_fake
def test_an_engine_that_raises_fails_only_that_theta(fake):
    def protest(values):
        if values[1] > 2.5:
            raise Exception("Error: the model said no")

    session = Session(fake(misbehave=protest))
    theta = draw(100)
    with session.pool(2) as pool:
        ours = pool.evaluate(theta)
    np.testing.assert_array_equal(ours.reason == Reason.FAILED, theta[:, 1] > 2.5)


def test_printing_models_stay_quiet(capfd):
    def chatty(values):
        print("tbvabs Version 2.3 " * 50)  # noqa: T201
        os.write(1, b"from compiled code\n" * 50)
        os.write(2, b"warning\n" * 50)
        input_was = sys.stdin.read()
        assert input_was == ""

    engine = FakeXspec()
    engine.misbehave = chatty
    session = Session(engine)
    with session.pool(2) as pool:
        assert pool.evaluate(draw(500)).valid.all()
        assert os.fstat(pool._supervisor._errors.fileno()).st_size < 1 << 20
    out, err = capfd.readouterr()
    assert out == "" and err == ""


def test_too_many_deaths_end_the_run_and_say_where():
    def crash(values):
        if values[1] > 2.0:
            os.write(2, b"terminate called: parameter out of the table\n")
            os._exit(3)

    session = Session(FakeXspec(misbehave=crash))
    with pytest.raises(WorkerError) as caught, session.pool(2, max_failures=3) as pool:
        pool.evaluate(draw(100))
    text = str(caught.value)
    assert text.startswith("4 theta killed or stopped their worker, more than the 3 allowed: 4 crashed within nH ")
    assert "PhoIndex 2." in text and "left with status 3; it said: terminate called: parameter out of the table" in text


def test_attaching_to_a_model_that_crashes_or_fails_is_one_clear_error():
    engine = FakeXspec()
    engine.misbehave = lambda values: os.abort()
    with pytest.raises(SessionError, match="cannot be evaluated at its current values"):
        Session(engine)
    engine.misbehave = lambda values: -1.0
    with pytest.raises(SessionError, match="no valid fit statistic at the current parameter values nor near them"):
        Session(engine)
    engine.misbehave = lambda values: 12345.0
    with pytest.raises(SessionError, match=r"recomputed from the data is [\d.]+, but the engine says 12345"):
        Session(engine)


def test_wrong_use():
    session = Session(FakeXspec())
    for options in ({"workers": 0}, {"block": 0}, {"delay": -1}, {"timeout": 0}):
        with pytest.raises(UsageError, match="at least 1"), session.pool(**options):
            pass
    message = r"theta has shape \(5,\), but the columns must be \(nH, PhoIndex, norm\)"
    with session.pool(1) as pool, pytest.raises(UsageError, match=message):
        pool.evaluate(np.ones(5))
    with pytest.raises(WorkerError, match="closed or interrupted"):
        pool.evaluate(draw(3))


def test_delay_is_slept_per_theta():
    session = Session(FakeXspec())
    with session.pool(2, block=50, delay=0.002) as pool:
        pool.evaluate(draw(100))
        start = time.monotonic()
        pool.evaluate(draw(200))
        took = time.monotonic() - start
    assert took > 0.2


def test_nothing_is_left_behind():
    session = Session(FakeXspec())
    descriptors = set(os.listdir("/proc/self/fd"))
    with session.pool(3) as pool:
        until_all_work(pool, 3)
        pids = pool.pids
        assert len(pids) == 4 and all(alive(pid) for pid in pids)
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids), "neither processes nor zombies"
    assert set(os.listdir("/proc/self/fd")) == descriptors


def until_all_work(pool, workers):
    """Evaluate until every worker has reported: on a busy machine one may finish alone what is asked of both."""
    deadline = time.monotonic() + 60
    while len(pool.pids) < workers + 1:
        assert time.monotonic() < deadline, "a worker never reported"
        pool.evaluate(draw(4))


def test_interrupt_ends_the_pool_promptly():
    session = Session(FakeXspec(cost=0.01))
    pids = []

    def work():
        with session.pool(2) as pool:
            until_all_work(pool, 2)
            pids.extend(pool.pids)
            threading.Timer(0.3, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
            pool.evaluate(draw(5000))

    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        work()
    assert time.monotonic() - start < 10.0
    assert len(pids) == 3 and not any(Path(f"/proc/{pid}").exists() for pid in pids)
    assert session.evaluate(draw(2)).valid.all()


def test_ctrl_c_at_the_terminal_reaches_the_workers_too_and_is_ignored_there():
    session = Session(FakeXspec(cost=0.002))
    with session.pool(2) as pool:
        pool.evaluate(draw(4))
        for pid in pool.pids:
            os.kill(pid, signal.SIGINT)
        assert pool.evaluate(draw(300)).valid.all()
        assert all(alive(pid) for pid in pool.pids)


PARENT = """
    import sys, time
    sys.path.insert(0, {repository!r})
    from tests.session.fake_xspec import FakeXspec
    from tests.session.test_pool import draw
    from xsixsa.session import Session
    session = Session(FakeXspec())
    with session.pool(3) as pool:
        pool.evaluate(draw(500))
        print(*pool.pids, flush=True)
        {then}
"""


@pytest.mark.parametrize("then", ["time.sleep(100)", "pool.evaluate(draw(10_000_000))"], ids=["idle", "working"])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=["kill", "term"])
def test_no_worker_outlives_its_parent(then, number):
    code = textwrap.dedent(PARENT).format(repository=str(REPOSITORY), then=then)
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    pids = [int(pid) for pid in parent.stdout.readline().split()]
    assert len(pids) == 4 and all(alive(pid) for pid in pids)
    time.sleep(0.2)
    parent.send_signal(number)
    parent.wait()
    parent.stdout.close()
    wait_until(lambda: not any(alive(pid) for pid in pids))


def test_a_pool_opened_in_a_thread_that_ends_lives_on():
    session = Session(FakeXspec())
    made = []
    thread = threading.Thread(target=lambda: made.append(session._open_pool(2)))
    thread.start()
    thread.join()
    time.sleep(0.1)
    with made[0] as pool:
        assert pool.evaluate(draw(300)).valid.all()


def test_memory_stays_flat():
    engine = FakeBatchXspec(bins=50)
    session = Session(engine)
    # an engine that costs nothing, so that 100 000 evaluations take no time
    engine.AllModels.evaluateBatch = lambda keys, theta: ({1: {"": np.ones((len(theta), 50))}}, theta.sum(axis=1))
    theta = draw(20_000)
    with session.pool(2) as pool:
        while len(pool.pids) < 3:
            pool.evaluate(theta)
        done = pool.n_evaluations
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        workers = [_resident(pid) for pid in pool.pids]
        for _ in range(4):
            np.testing.assert_array_equal(pool.evaluate(theta).statistic, theta.sum(axis=1))
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 24 * 1024
        after = [_resident(pid) for pid in pool.pids]
        assert max(b - a for a, b in zip(workers, after, strict=True)) < 4 * 1024
        assert pool.n_evaluations == done + 80_000


def _resident(pid):
    """Resident memory in KiB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1])


@pytest.mark.slow
def test_a_pool_opened_after_torch_has_started_its_threads():
    torch = pytest.importorskip("torch")
    a = torch.randn(400, 400, requires_grad=True)
    (a @ a).sum().backward()
    session = Session(FakeXspec())
    with session.pool(2) as pool:
        first = pool.evaluate(draw(300))
        (a @ a).sum().backward()
        os.kill(pool.pids[0], signal.SIGKILL)
        second = pool.evaluate(draw(300))
    np.testing.assert_array_equal(first.statistic, second.statistic)


def test_blocks_shrink_where_bins_are_many_and_nothing_else_matters():
    small, large = Session(FakeBatchXspec()), Session(FakeXspec(bins=200_000))
    for session, rows in ((small, 256), (large, 20)):
        for workers in (1, 3):
            with session.pool(workers) as pool:
                assert pool._supervisor.shape.rows == rows


def test_patience_adapts():
    patience = Timeout(None)
    assert patience.allowed(1) == 300.0
    patience.learn(0.64, 64)
    assert patience.allowed(1) == 60.0
    patience.learn(2.0, 1)
    assert patience.allowed(1) == 600.0 and patience.allowed(10) == 6000.0
    assert Timeout(5.0).allowed(1) == 5.0
