"""A component that aborts the process, and one that hangs: the posterior elsewhere is that of a healthy run."""

import os
import time
from pathlib import Path

import numpy as np
import pytest

import xsixsa
from tests.session.fake_xspec import FakeXspec
from xsixsa.diagnostics.compare import DRAWS, compare, equal_weight
from xsixsa.inference.flow import FlowOptions
from xsixsa.options import Options
from xsixsa.prior import LogUniform
from xsixsa.session import Reason, Session

PRIOR = {"nH": (0.0, 2.0), "PhoIndex": (0.0, 4.0), "norm": LogUniform(0.03, 3.0)}
OPTIONS = Options(
    rounds=0,
    simulations=1_000,
    ess=2_000,
    min_draws=1_000,
    max_refits=2,
    exploration=0.0,
    max_evaluations=20_000,
    refit=FlowOptions(transforms=2, hidden=24, batch=1024, epochs=15, learning_rate=3e-3),
)


def aborts(values):
    """1 % of the prior, in the middle of the posterior of the column density."""
    return 0.20 < values[0] < 0.22


def hangs(values):
    """0.1 % of the prior."""
    return 0.30 < values[0] < 0.302


def misbehave(values):
    if aborts(values):
        os.abort()
    if hangs(values):
        time.sleep(3600)


def children():
    """Processes whose parent is this one, zombies included."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rsplit(")", 1)[1].split()
        except FileNotFoundError:
            continue
        if int(fields[1]) == os.getpid():
            found.append(path.parent.name)
    return set(found)


def run(engine, seed=5, **options):
    """A fit whose pool may lose many workers: the posterior is far from losing sight of 1 % of the prior."""
    session = Session(engine)
    pool = session.pool
    session.pool = lambda workers, delay: pool(workers, delay=delay, timeout=1.0, max_failures=100_000)
    return xsixsa.fit(session, PRIOR, options=OPTIONS.changed(**options), seed=seed, workers=2, progress=False)


def test_no_block_is_lost_and_no_process_left():
    before = children()
    session = Session(FakeXspec(misbehave=misbehave))
    theta = np.column_stack([np.linspace(0.001, 1.999, 1000), np.full(1000, 1.7), np.full(1000, 0.3)])
    bad = np.array([aborts(row) for row in theta]), np.array([hangs(row) for row in theta])
    with session.pool(2, timeout=1.5) as pool:
        ours = pool.evaluate(theta)
        pids = pool.pids
    np.testing.assert_array_equal(ours.reason == Reason.CRASHED, bad[0])
    np.testing.assert_array_equal(ours.reason == Reason.HUNG, bad[1])
    assert bad[0].sum() == 10 and bad[1].sum() == 1
    healthy = Session(FakeXspec()).evaluate(theta)
    np.testing.assert_array_equal(ours.statistic[ours.valid], healthy.statistic[ours.valid])
    np.testing.assert_array_equal(ours.expected[ours.valid], healthy.expected[ours.valid])
    assert children() == before and not any(Path(f"/proc/{pid}").exists() for pid in pids)


@pytest.mark.slow
def test_the_posterior_elsewhere_is_unaffected():
    before = children()
    healthy, sick = run(FakeXspec()), run(FakeXspec(misbehave=misbehave))
    assert children() == before
    assert sick.n_failed > 0 and any("crashed within nH 0.2" in w for w in sick.verdict.warnings)
    killed = np.array([aborts(t) or hangs(t) for t in sick.theta])
    np.testing.assert_array_equal(~np.isfinite(sick.statistic), killed)
    assert sick.weights[killed].sum() == 0
    # the healthy run restricted to where the sick one can compute
    outside = np.array([not (aborts(t) or hangs(t)) for t in healthy.theta])
    weights = np.where(outside, healthy.weights, 0.0)
    rng = np.random.default_rng(0)
    u = sick.u[equal_weight(sick.weights, DRAWS, rng)]
    reference = healthy.u[equal_weight(weights, DRAWS, rng)]
    found = compare(sick.names, u, reference, rng)
    assert found.largest < 1e-2, found.table()  # two samples of an effective size of 2000
    # evidence is less by what was lost
    lost = np.log(weights.sum())
    error = float(np.hypot(healthy.log_evidence_err, sick.log_evidence_err))
    assert sick.log_evidence - healthy.log_evidence == pytest.approx(lost, abs=4 * error + 0.01)
