"""Prior centring on the embedded engine: what it widens, what it leaves alone, and what it says."""

import os

import numpy as np
import pytest

import xsixsa
from xsixsa.centring import CentredPrior
from xsixsa.cli.parser import build_parser
from xsixsa.demo import make_demo
from xsixsa.distributions import Gaussian, LogUniform, Uniform
from xsixsa.embedded import xspec
from xsixsa.errors import PriorError, UsageError
from xsixsa.inference.coverage import counts_rank
from xsixsa.inference.flow import FlowOptions
from xsixsa.options import Options
from xsixsa.simulate import Simulator
from xsixsa.widening import widened_prior

POWERLAW, BODY = "powerlaw.norm", "bbodyrad.norm"


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    return make_demo(tmp_path_factory.mktemp("demo"), seed=1)


@pytest.fixture
def session(demo):
    """The demo's spectrum, whose black body is too faint to matter where it is frozen."""
    xspec.AllModels.clear()
    xspec.AllData.clear()
    xspec.Xset.abund = demo.abund
    xspec.Fit.statMethod = "cstat"
    here = os.getcwd()
    os.chdir(demo.folder)
    try:
        spectrum = xspec.Spectrum(demo.spectrum)
    finally:
        os.chdir(here)
    spectrum.ignore("**-0.5 8.0-**")
    xspec.Model(demo.model)
    return xspec


def prior(demo, **changes):
    # the name of a component's parameter with an underscore for its dot
    return {**demo.prior, **{name.replace("_", "."): value for name, value in changes.items()}}


def rank_under(spec, n=4000, seed=99):
    """Rank of the observation from fresh draws, far more than the search took."""
    session = xsixsa.Session(xspec)
    with widened_prior(session, spec) as joint, session.pool(workers=1) as pool:
        result = pool.evaluate(joint.sample(n, np.random.default_rng(seed)))
    simulator = Simulator(session.observations)
    valid = result.reason == 0
    return counts_rank(simulator.total(result.expected[valid]), simulator, np.random.default_rng(seed))


def centre(spec, **more):
    return xsixsa.centre(xspec, spec, seed=1, workers=1, draws=300, **more)


def test_a_prior_that_is_too_faint_is_widened_upwards(session, demo):
    wrong = prior(demo, powerlaw_norm=LogUniform(1e-6, 1e-4), bbodyrad_norm=LogUniform(1e-3, 0.1))
    before = rank_under(wrong)
    made = centre(wrong)
    assert before > 0.95 and abs(rank_under(made) - 0.5) < 0.1
    assert isinstance(made, CentredPrior) and len(made.changed) == 2
    for name, low, high in (("powerlaw.norm", 1e-6, 1e-4), ("bbodyrad.norm", 1e-3, 0.1)):
        new = made[next(n for n in made.changed if n.endswith(name))]
        assert isinstance(new, LogUniform) and new.low == low and new.high > high
        assert new.high / high == pytest.approx(made.history[-1]["factor"])
        note = next(n for n in made.notes if n.startswith(f"prior of {name}"))
        assert "upper bound" in note and f"{high:.4g} moved" in note and "evidence" in note
    assert made.n_evaluations == 300 * len(made.history)
    # all that was not a normalisation is as it was asked for
    assert [str(v) for k, v in made.items() if k.endswith((".nH", ".kT"))] == ["uniform:0:1", "uniform:0.1:2"]


def test_a_prior_that_is_too_bright_is_widened_downwards(session, demo):
    wrong = prior(demo, powerlaw_norm=LogUniform(1e-2, 1.0), bbodyrad_norm=LogUniform(500, 1000))
    assert rank_under(wrong) < 0.05
    made = centre(wrong)
    assert abs(rank_under(made) - 0.5) < 0.1
    assert all("lower bound" in n for n in made.notes)
    assert all(made[n].high in (1.0, 1000.0) for n in made.changed)


def test_a_prior_in_the_middle_is_left_as_it_is(session, demo):
    centred = centre(prior(demo, powerlaw_norm=LogUniform(1e-6, 1e-4), bbodyrad_norm=LogUniform(1e-3, 0.1)))
    made = xsixsa.centre(xspec, dict(centred), seed=2, workers=1, draws=1000)
    assert made.changed == () and made.notes == () and len(made.history) == 1
    assert made.history[0]["factor"] == 1.0 and abs(made.rank - 0.5) <= 0.1
    assert {k: str(v) for k, v in made.items()} == {k: str(v) for k, v in centred.items()}


def test_gaussian_priors_are_left_alone_and_said(session, demo):
    wrong = prior(demo, powerlaw_norm=Gaussian(1e-5, 1e-6), bbodyrad_norm=LogUniform(1e-3, 0.1))
    made = centre(wrong)
    assert len(made.changed) == 1 and made.changed[0].endswith("bbodyrad.norm")
    assert any("powerlaw.norm" in n and "left alone" in n for n in made.notes)
    assert abs(rank_under(made) - 0.5) < 0.1
    both = centre(prior(demo, powerlaw_norm=Gaussian(1e-5, 1e-6), bbodyrad_norm=Gaussian(0.1, 0.01)))
    assert both.changed == () and len(both.history) == 1
    assert any("could not be centred" in n for n in both.notes)


def test_a_uniform_prior_goes_up_but_hardly_down(session, demo):
    up = centre(prior(demo, powerlaw_norm=Uniform(0, 1e-5), bbodyrad_norm=Uniform(0, 0.01)))
    assert abs(rank_under(up) - 0.5) < 0.1 and len(up.changed) == 2
    down = centre(prior(demo, powerlaw_norm=Uniform(0.1, 1.0), bbodyrad_norm=Uniform(500, 1000)))
    note = next(n for n in down.notes if "could not be centred" in n)
    assert "log-uniform priors that reach further down" in note
    assert down.rank < 0.4


def test_limits_that_the_engine_keeps_end_the_search(session, demo, monkeypatch):
    wrong = prior(demo, powerlaw_norm=LogUniform(1e-6, 1e-5), bbodyrad_norm=LogUniform(1e-3, 1e-2))
    # an engine that allows no wider limits, as a table model's grid would
    xspec.AllModels(1).powerlaw.norm.values = [5e-6, 1e-8, 1e-7, 1e-7, 2e-5, 2e-5]
    xspec.AllModels(1).bbodyrad.norm.values = [5e-3, 1e-5, 1e-4, 1e-4, 0.02, 0.02]
    monkeypatch.setattr("xsixsa.widening._computes", lambda *_: False)
    made = centre(wrong)
    assert made.rank > 0.9 and len(made.history) < 6
    assert any("could not be centred" in n and "further up" in n for n in made.notes)
    assert any("powerlaw.norm: upper bound 1e-05 moved to 2e-05" in n for n in made.notes)


def test_fit_centres_counts_and_notes(session, demo):
    for name, value in (("nH", 0.2), ("kT", 0.5), ("PhoIndex", 1.8)):
        component = {"nH": "TBabs", "kT": "bbodyrad", "PhoIndex": "powerlaw"}[name]
        parameter = getattr(getattr(xspec.AllModels(1), component), name)
        parameter.values = value
        parameter.frozen = True
    wrong = {POWERLAW: LogUniform(1e-6, 1e-5), BODY: LogUniform(1e-2, 1.0)}
    options = Options(
        simulations=400, rounds=1, ess=500, min_draws=500, exploration=0.0, posterior=FlowOptions(epochs=5)
    )
    result = xsixsa.fit(session, wrong, options=options, centre=True, seed=3, workers=1, progress=False)
    assert result.verdict.converged, str(result.verdict)
    assert result.options["centre"] is True and result.seconds["centre"] > 0
    notes = [w for w in result.verdict.warnings if "centre the prior" in w]
    assert len(notes) == 2 and all("evidence is that of this wider prior" in n for n in notes)
    assert all(p["prior_origin"] == "centred on the observed counts" for p in result.parameters)
    assert abs(result.history["rounds"][0]["counts_rank"] - 0.5) < 0.12
    assert abs(result.best[POWERLAW] / demo.truth[POWERLAW] - 1) < 0.2
    # the same as centring by hand, but for the evaluations that it took
    made = xsixsa.centre(session, wrong, seed=np.random.SeedSequence([3, 1]), workers=1)
    by_hand = xsixsa.fit(session, made, options=options, seed=3, workers=1, progress=False)
    np.testing.assert_array_equal(by_hand.theta, result.theta)
    assert result.n_evaluations - by_hand.n_evaluations == made.n_evaluations
    assert [w for w in by_hand.verdict.warnings if "centre the prior" in w] == notes
    # evidence of the wider prior: the same posterior within it, so the evidence is lower than within the truth's decade
    plain = xsixsa.fit(session, demo_range(made), options=options, seed=4, workers=1, progress=False)
    ratio = np.log(np.log(1e2) ** 2 / np.prod([np.log(made[n].high / made[n].low) for n in made.changed]))
    assert result.log_evidence - plain.log_evidence == pytest.approx(ratio, abs=0.2)


def demo_range(made):
    """Two decades around the truth for each normalisation."""
    return {POWERLAW: LogUniform(8e-5, 8e-3), BODY: LogUniform(0.5, 50)}


def test_wrong_use_is_named(session, demo):
    with pytest.raises(UsageError, match="draws"):
        xsixsa.centre(xspec, demo.prior, draws=3)
    with pytest.raises(UsageError, match="tolerance"):
        xsixsa.centre(xspec, demo.prior, tolerance=0.7)
    with pytest.raises(PriorError, match="nonsense"):
        xsixsa.centre(xspec, {**demo.prior, "nonsense": (0, 1)})
    assert build_parser().parse_args(["fit", "x.pha", "--centre"]).centre is True
