"""Explicit priors beyond the hard limits: widened for the run where the model allows it, else cut and said."""

import os

import numpy as np
import pytest

import xsixsa
from tests.core.test_fit import TINY
from tests.session.conftest import engine, folder, loaded  # noqa: F401  (fixtures)
from tests.session.fake_xspec import FakeXspec
from xsixsa.errors import XsixsaWarning
from xsixsa.prior import Gaussian, LogUniform
from xsixsa.session import Session
from xsixsa.widening import widened_prior

PRIOR = {"nH": (0.0, 0.5), "PhoIndex": (0.0, 3.0), "norm": LogUniform(1e-4, 0.1)}


def limits(xspec):
    return [list(xspec.AllModels(1)(i).values) for i in (1, 2, 3)]


def test_limits_that_the_user_narrowed_are_widened_and_put_back(loaded):  # noqa: F811
    loaded.AllModels(1)(1).values = "0.1,0.01,0.05,0.05,0.2,0.2"
    before = limits(loaded)
    session = Session(loaded)
    with widened_prior(session, PRIOR) as prior:
        assert prior.describe()[0]["prior"] == "uniform:0:0.5"
        assert any("nH: hard limits [0.05, 0.2] widened to [0, 0.5] for the run" in n for n in prior.notes)
        theta = prior.ppf(np.array([[0.99, 0.5, 0.5], [0.01, 0.5, 0.5]]))
        assert session.evaluate(theta).valid.all()
    assert limits(loaded) == before and session.find("nH").max == 0.2


def test_a_fit_reaches_beyond_the_narrowed_limits(loaded):  # noqa: F811
    if loaded.__name__ == "xspec":
        pytest.skip("thousands of evaluations; the engine's part is tested above")
    loaded.AllModels(1)(2).values = "1.5,0.01,1.45,1.45,1.55,1.55"
    before = limits(loaded)
    result = xsixsa.fit(loaded, PRIOR, options=TINY.changed(rounds=0), seed=1, workers=1, progress=False)
    slope = result.theta[:, 1]
    assert (result.weights @ (np.abs(slope - 1.5) > 0.05)) > 0.05, "the posterior is wider than the old limits"
    assert any("widened" in w for w in result.verdict.warnings)
    assert limits(loaded) == before


def test_what_the_model_cannot_compute_is_cut_and_said():
    def crash(values):
        if values[1] > 10.5:
            os.abort()

    fake = FakeXspec(misbehave=crash)
    session = Session(fake)
    spec = {"nH": (0.0, 1.0), "PhoIndex": (-2.5, 12.0), "norm": LogUniform(0.1, 1.0)}
    with widened_prior(session, spec) as prior:
        assert prior.describe()[1]["prior"] == "uniform:-2.5:10"
        assert len(prior.notes) == 1 and "PhoIndex" in prior.notes[0]
        assert "was cut there (14 % of it), then renormalised" in prior.notes[0]
    fake.misbehave = None
    with widened_prior(session, spec) as prior:
        assert prior.describe()[1]["prior"] == "uniform:-2.5:12"


def test_limits_that_the_engine_refuses_are_cut():
    fake = FakeXspec()
    fake.models[0].parameters[0].refuses_limits = True
    spec = {"nH": (0.0, 200.0), "PhoIndex": (0.0, 3.0), "norm": LogUniform(0.1, 1.0)}
    with widened_prior(Session(fake), spec) as prior:
        assert prior.describe()[0]["prior"] == "uniform:0:100" and "was cut there" in prior.notes[0]


def test_a_gaussian_gets_the_components_limits_and_no_more(loaded):  # noqa: F811
    loaded.AllModels(1)(1).values = "0.1,0.01,0.05,0.05,0.2,0.2"
    with widened_prior(Session(loaded), {**PRIOR, "nH": Gaussian(0.1, 0.1)}) as prior:
        low, high = prior.distributions[0].support
        assert low == 0.0 and high >= 10.0
        assert sum("widened" in n for n in prior.notes) == 1 and sum("16 % of it" in n for n in prior.notes) == 1


def test_nearly_nothing_is_cut_and_not_widened(loaded):  # noqa: F811
    loaded.AllModels(1)(1).values = "0.1,0.01,1e-4,1e-4,5,5"
    session = Session(loaded)
    with widened_prior(session, PRIOR) as prior:
        assert session.find("nH").min == 1e-4 and prior.describe()[0]["prior"] == "uniform:0.0001:0.5"


def test_best_parameters_are_set_on_request_only(loaded):  # noqa: F811
    if loaded.__name__ == "xspec":
        pytest.skip("thousands of evaluations; set_parameters is tested with the session")
    options = TINY.changed(rounds=0)
    before = limits(loaded)
    run = {"prior": PRIOR, "options": options, "seed": 1, "workers": 1, "progress": False}
    result = xsixsa.fit(loaded, **run)
    assert limits(loaded) == before
    xsixsa.fit(loaded, **run, set_best=True)
    assert [v[0] for v in limits(loaded)] == pytest.approx(list(result.best.values()), rel=1e-12)
    assert loaded.Fit.statistic == pytest.approx(result.best_fit_statistic, abs=1e-6)
    loaded.AllModels(1)(2).values = "2.9,0.01,2.8,2.8,3.0,3.0"
    with pytest.warns(XsixsaWarning, match="best parameters were not set: PhoIndex outside"):
        xsixsa.fit(loaded, **run, set_best=True)
    assert loaded.AllModels(1)(2).values[0] == 2.9
