"""`xsixsa.fit` on the demo's observation: same seed same samples, the session as before, results that come back."""

import os
import signal
import threading

import h5py
import numpy as np
import pytest

import xsixsa
from xsixsa.demo import make_demo
from xsixsa.embedded import xspec
from xsixsa.errors import OutputError, PriorError, SessionError, UsageError
from xsixsa.inference.flow import FlowOptions
from xsixsa.options import Options
from xsixsa.pipeline import Interrupted
from xsixsa.summaries.autoencoder import AutoEncoderOptions

TINY = Options(
    ess=300,
    simulations=250,
    rounds=2,
    min_draws=400,
    max_evaluations=30_000,
    autoencoder=AutoEncoderOptions(epochs=4),
    posterior=FlowOptions(transforms=2, hidden=16, epochs=4),
    refit=FlowOptions(transforms=2, hidden=16, batch=1024, epochs=15, learning_rate=3e-3),
)


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    return make_demo(tmp_path_factory.mktemp("demo"), seed=1)


@pytest.fixture
def session(demo):
    """The demo's spectrum loaded with settings that are not the defaults."""
    xspec.AllModels.clear()
    xspec.AllData.clear()
    xspec.Xset.abund = demo.abund
    xspec.Xset.chatter = 5
    xspec.Fit.query = "no"
    xspec.Fit.bayes = "on"
    here = os.getcwd()
    os.chdir(demo.folder)
    try:
        spectrum = xspec.Spectrum(demo.spectrum)
    finally:
        os.chdir(here)
    spectrum.ignore("**-0.5 8.0-**")
    xspec.Fit.statMethod = "cstat"
    model = xspec.Model(demo.model)
    model.powerlaw.PhoIndex.values = 1.7234567890123, 0.02, -2, -1, 8, 9
    yield xspec
    xspec.Fit.bayes = "off"
    xspec.AllModels.clear()
    xspec.AllData.clear()
    xspec.Xset.chatter = 10


def state():
    """Everything of the session that a run might touch."""
    model = xspec.AllModels(1)
    values = [p.values for c in model.componentNames for p in _parameters(getattr(model, c))]
    frozen = [p.frozen for c in model.componentNames for p in _parameters(getattr(model, c))]
    return {
        "values": values,
        "frozen": frozen,
        "noticed": xspec.AllData(1).noticed,
        "settings": (xspec.Xset.chatter, xspec.Xset.abund, xspec.Xset.allowPrompting, xspec.Xset.logChatter),
        "fit": (xspec.Fit.statMethod, xspec.Fit.statTest, xspec.Fit.query, xspec.Fit.bayes),
        "expression": model.expression,
        "statistic": xspec.Fit.statistic,
    }


def _parameters(component):
    return [getattr(component, name) for name in component.parameterNames]


def fit(session, demo, **kw):
    kw.setdefault("options", TINY)
    return xsixsa.fit(session, prior=demo.prior, seed=3, progress=kw.pop("progress", False), **kw)


def test_same_samples_with_one_worker_and_four(session, demo):
    before = state()
    one, four = fit(session, demo, workers=1), fit(session, demo, workers=4)
    np.testing.assert_array_equal(one.theta, four.theta)
    np.testing.assert_array_equal(one.weights, four.weights)
    np.testing.assert_array_equal(one.statistic, four.statistic)
    assert one.log_evidence == four.log_evidence
    assert state() == before


def test_run_folder_and_reload(session, demo, tmp_path):
    result = fit(session, demo, out=tmp_path / "run", workers=1)
    names = {p.name for p in (tmp_path / "run").iterdir()}
    assert names == {"summary.json", "chain.fits", "result.h5", "session.xcm", "corner.png", "spectrum.png"}
    again = xsixsa.load(tmp_path / "run")
    np.testing.assert_array_equal(again.theta, result.theta)
    np.testing.assert_array_equal(again.final_log_weights, result.final_log_weights)
    assert again.summary() == result.summary() and repr(again) == repr(result)
    assert again.verdict == result.verdict and again.observations[0]["name"] == result.observations[0]["name"]
    assert result.n_evaluations >= len(result.weights)
    # Weights are prior times likelihood over proposal, from what is stored.
    log_w = result.log_prior + result.log_likelihood - result.log_proposal
    w = np.exp(log_w - log_w.max())
    np.testing.assert_allclose(result.weights, w / w.sum(), rtol=1e-9)
    # and the statistic is the engine's own
    best = result.theta[[np.nanargmin(result.statistic)]]
    xspec.Fit.bayes = "off"
    assert xsixsa.Session(session).evaluate(best).statistic[0] == pytest.approx(result.best_fit_statistic, abs=1e-8)
    with pytest.raises(OutputError, match="exists"):
        result.save(tmp_path / "run" / "result.h5")


def test_session_is_put_back_after_an_exception(session, demo):
    before = state()

    def fail(event):
        if event.stage == "infer":
            raise RuntimeError("from the caller's own progress function")

    with pytest.raises(RuntimeError):
        fit(session, demo, progress=fail)
    assert state() == before


def test_ctrl_c_puts_back_and_saves_what_was_finished(session, demo, tmp_path):
    before = state()

    def interrupt(event):
        if event.stage == "correct":
            os.kill(os.getpid(), signal.SIGINT)

    assert threading.current_thread() is threading.main_thread()
    with pytest.raises(Interrupted, match="xsixsa show"):
        fit(session, demo, out=tmp_path / "run", progress=interrupt)
    assert state() == before
    saved = xsixsa.load(tmp_path / "run")
    assert not saved.verdict.converged and "interrupted" in str(saved.verdict)
    assert (tmp_path / "run" / "summary.json").exists()


def test_nothing_is_deleted(session, demo, tmp_path):
    (tmp_path / "precious.txt").write_text("mine")
    with pytest.raises(OutputError, match="not empty"):
        fit(session, demo, out=tmp_path)
    assert (tmp_path / "precious.txt").read_text() == "mine"


def test_wrong_use_is_one_line(session, demo):
    for prior, message in (
        ({**demo.prior, "kTT": (0, 1)}, "kTT"),
        ({"norm": (0, 1)}, "powerlaw.norm"),
        ({"nH": (0, 1)}, "prior of powerlaw.norm"),
    ):
        with pytest.raises(PriorError, match=message) as caught:
            xsixsa.fit(session, prior=prior, progress=False)
        assert "\n" not in str(caught.value)
    for wrong in ({"seed": -1}, {"workers": 0}, {"ess": 0}, {"preset": "fast"}, {"max_evaluations": 10}):
        with pytest.raises(UsageError):
            xsixsa.fit(session, prior=demo.prior, progress=False, **wrong)


def test_frozen_parameter_is_named(session, demo):
    xspec.AllModels(1).TBabs.nH.frozen = True
    with pytest.raises(PriorError, match=r"nH.*frozen"):
        fit(session, demo)


def test_no_free_parameter(session, demo):
    for number in range(1, 6):
        xspec.AllModels(1)(number).frozen = True
    with pytest.raises(SessionError, match="free"):
        fit(session, demo)


def test_damaged_results_are_refused(tmp_path):
    with pytest.raises(OutputError, match="no such"):
        xsixsa.load(tmp_path / "nothing.h5")
    (tmp_path / "text.h5").write_text("not HDF5")
    with pytest.raises(OutputError, match="damaged"):
        xsixsa.load(tmp_path / "text.h5")
    with h5py.File(tmp_path / "other.h5", "w") as f:
        f["x"] = 1
    with pytest.raises(OutputError, match="not a result"):
        xsixsa.load(tmp_path / "other.h5")


def test_importing_the_package_stays_light():
    import subprocess
    import sys

    code = "import sys, xsixsa; print([m for m in ('torch','sbi','matplotlib','scipy','astropy') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"
