"""The parameter retriever: what the data say nothing about is found to be so."""

import sys
from pathlib import Path

import numpy as np
import pytest

import xsixsa
from tests.core.analytic import AnalyticSession, cash, parameter
from tests.docs_blocks import blocks
from xsixsa.demo import make_demo
from xsixsa.errors import UsageError
from xsixsa.plot.retriever import plot_retrieval, retrieval_figure
from xsixsa.prior import LogUniform, Prior
from xsixsa.simulate import Simulator
from xsixsa.summaries.autoencoder import AutoEncoder, AutoEncoderOptions
from xsixsa.summaries.base import make_summary
from xsixsa.summaries.retrieval import CONSTRAINED, WEAKLY, _retrieve
from xsixsa.summaries.retriever import ParameterRetriever, RetrieverOptions

BINS = 20
COUNTS = 800.0  # with half of them the slope's verdict would hang on the last digits of a processor
QUICK = RetrieverOptions(epochs=40)


def expected(theta):
    """A brightness, a slope that few counts hardly tell, and a parameter that does nothing."""
    shape = np.arange(1, BINS + 1.0)
    return theta[:, :1] * shape ** (-0.05 * theta[:, 1:2]) / BINS + 0.0 * theta[:, 2:3]


def session(counts=COUNTS):
    parameters = [
        parameter("a.norm", 1.0, 1e4, is_norm=True, index=1),
        parameter("slope", 0.0, 5.0, index=2),
        parameter("nothing", 0.0, 1.0, index=3),
    ]
    observed = np.random.default_rng(1).poisson(expected(np.array([[counts, 2.5, 0.5]]))[0])
    return AnalyticSession(parameters, expected, lambda t: cash(expected(t), observed), observed)


def prior_of(made, low=10.0):
    return Prior.build(made, {"a.norm": LogUniform(low, 1e4), "slope": (0.0, 5.0), "nothing": (0.0, 1.0)})


def retrieved(name="autoencoder", n=1600, seed=3, **kw):
    made = session(**kw)
    return _retrieve(made, prior_of(made), n, name, seed, 1, False, QUICK)


@pytest.fixture(scope="module")
def found():
    return retrieved()


def test_verdict_of_each_parameter(found):
    assert found.verdict == {"a.norm": "constrained", "slope": "weakly", "nothing": "not"}
    assert found.r_squared[0] > 0.95 and found.rank_correlation[0] > 0.95
    assert abs(found.r_squared[2]) < 0.1 and abs(found.rank_correlation[2]) < 0.2
    assert found.spread[0] < 0.1 and WEAKLY < found.spread[2] < 1.2 and found.spread[1] > CONSTRAINED
    assert abs(np.log(found.observed[0] / COUNTS)) < 0.3
    # The middle of the prior is all that can be said of it.
    assert abs(found.observed[2] - 0.5) < 0.15


def test_error_near_the_observation_is_that_of_the_posterior(found):
    """800 counts tell log(norm) to 3.5 %: of a prior of ln(1000) / sqrt(12) that is 0.018, were the slope known."""
    assert 0.02 < found.spread[0] < 0.08


def test_more_counts_constrain_what_few_do_not():
    bright = retrieved(counts=9000.0)
    assert bright.verdict["slope"] == "constrained" and bright.verdict["nothing"] == "not"


def test_simulations_near_the_observation(found):
    assert len(found.near) == 40 and len(found.truth) == 400
    near, all_of_them = found.truth[found.near, 0], found.truth[:, 0]
    assert np.abs(np.log(near / COUNTS)).max() < 1.5 < np.abs(np.log(all_of_them / COUNTS)).max()


@pytest.mark.parametrize("name", ["spectral", "embedding", "none"])
def test_every_kind_of_summary(name):
    found = retrieved(name, n=800)
    assert found.verdict["a.norm"] == "constrained" and found.verdict["nothing"] == "not"
    assert found.summary_name == name


def test_same_seed_same_retrieval(found):
    again = retrieved()
    np.testing.assert_array_equal(again.retrieved, found.retrieved)
    assert again.summary() == found.summary()
    other = retrieved(seed=4)
    assert not np.array_equal(other.retrieved, found.retrieved)


def test_what_it_says(found):
    text = found.summary()
    lines = text.splitlines()
    assert lines[1].startswith("a.norm") and "constrained" in lines[1] and "loguniform:10:10000" in lines[1]
    assert "400 simulations held out, 40 near" in lines[4] and "seed 3" in lines[4]
    assert repr(found) == "<Retrieval a.norm: constrained, slope: weakly, nothing: not>"


def test_an_observation_that_the_prior_does_not_cover_is_said():
    made = session(counts=400.0)
    found = _retrieve(made, prior_of(made, low=3000.0), 400, "pca", 1, 1, False, RetrieverOptions(epochs=3))
    assert any("does not cover" in note for note in found.notes) and "does not cover" in found.summary()


def test_figure(found, tmp_path):
    figure = retrieval_figure(found)
    assert [axes.get_title().splitlines()[0] for axes in figure.axes] == [
        "a.norm: constrained",
        "slope: weakly constrained",
        "nothing: not constrained",
    ]
    assert figure.axes[0].get_xscale() == "log" and figure.axes[1].get_xscale() == "linear"
    marked = [line for line in figure.axes[2].lines if line.get_label() == "observation"]
    assert marked[0].get_ydata()[0] == found.observed[2]
    assert plot_retrieval(found, tmp_path / "retrieved.png").stat().st_size > 10_000
    assert found.plot(tmp_path / "again.pdf").exists()


def test_retriever_without_information_returns_the_middle_of_the_prior():
    rng = np.random.default_rng(1)
    total = np.full((300, BINS), 50.0)
    retriever = ParameterRetriever(
        make_summary(AutoEncoder(AutoEncoderOptions(epochs=3)), Simulator(session().observations)), QUICK
    )
    retriever.fit(rng.random((300, 2)), total, rng)
    assert np.abs(retriever.predict(rng.poisson(total[:100])) - 0.5).mean() < 0.1
    assert np.isfinite(retriever.predict(np.full((1, BINS), 1e9))).all()


def test_wrong_use():
    for wrong in ({"simulations": 10}, {"seed": -1}, {"workers": 0}):
        with pytest.raises(UsageError):
            xsixsa.retrieve(None, **wrong)
    for wrong in ({"epochs": 0}, {"hidden": ()}):
        with pytest.raises(UsageError):
            RetrieverOptions(**wrong)


@pytest.fixture
def loaded(tmp_path, monkeypatch):
    """The demo's spectrum as `source.pha` in the current folder, the embedded engine as `xspec`."""
    from xsixsa.embedded import xspec

    demo = make_demo(tmp_path, seed=1)
    (tmp_path / demo.spectrum).rename(tmp_path / "source.pha")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "xspec", xspec)
    xspec.Xset.chatter = 0
    yield demo, xspec
    xspec.AllModels.clear()
    xspec.AllData.clear()
    xspec.Xset.chatter = 10


def test_on_a_loaded_session(loaded):
    demo, xspec = loaded
    xspec.Spectrum("source.pha").ignore("**-0.5 8.0-**")
    xspec.Fit.statMethod = "cstat"
    xspec.Model(demo.model)
    before = xspec.Fit.statistic
    events = []
    found = xsixsa.retrieve(
        xspec, demo.prior, simulations=600, summary="spectral", seed=2, workers=1, progress=events.append, options=QUICK
    )
    assert found.names == list(demo.prior) and found.verdict["powerlaw.norm"] != "not"
    assert found.r_squared[found.names.index("kT")] > 0.5
    assert events[-1].stage == "done" and found.n_evaluations == 600
    assert xspec.Fit.statistic == before


def test_the_example_in_the_documents(loaded, capsys):
    """The block of summaries.md, with fewer simulations."""
    (block,) = (b for b in blocks("python") if b.document == "summaries.md" and b.by)
    code = block.code.replace("seed=1)", "seed=1, simulations=800, workers=1, progress=False)")
    assert code != block.code
    names = {}
    exec(compile(code, str(block), "exec"), names)
    assert names["found"].verdict["norm"] == "constrained" and "held out" in capsys.readouterr().out
    assert (Path.cwd() / "retrieved.png").exists()
