"""What a session reads, on every engine."""

import numpy as np
import pytest

from tests.session.ogip import CHANNELS, counts_like, write_spectrum
from xsixsa.errors import SessionError
from xsixsa.session import Reason, Session


def theta_near(session, n=8, seed=0):
    values = np.array([p.value for p in session.parameters])
    return values * np.random.default_rng(seed).uniform(0.8, 1.2, (n, len(values)))


def test_observation_holds_the_counts_of_the_file(loaded):
    session = Session(loaded)
    (observation,) = session.observations
    np.testing.assert_array_equal(observation.counts, counts_like(1))
    np.testing.assert_array_equal(session.observed, counts_like(1))
    np.testing.assert_array_equal(observation.channels, np.arange(1, CHANNELS + 1))
    assert observation.edges.shape == (CHANNELS, 2)
    assert observation.edges[0] == pytest.approx([0.5, 0.5 + 9.5 / CHANNELS], rel=1e-6)
    assert observation.exposure == 1000.0
    assert observation.background is None and observation.background_ratio is None
    assert (observation.statistic, session.statistic, session.n_bins) == ("cstat", "cstat", CHANNELS)
    assert session.dof == loaded.Fit.dof == CHANNELS - 3
    assert session.warnings == ()


def test_noticed_range(loaded):
    loaded.AllData(1).ignore("1-3 25-**")
    (observation,) = Session(loaded).observations
    np.testing.assert_array_equal(observation.channels, np.arange(4, 25))
    np.testing.assert_array_equal(observation.counts, counts_like(1)[3:24])


def test_background_counts_are_those_of_its_file(engine, folder):
    engine.AllData("1:1 source.pha")
    engine.Model("powerlaw")
    engine.AllModels(1)(2).values = 0.01
    session = Session(engine)
    (observation,) = session.observations
    np.testing.assert_array_equal(observation.background.counts, np.random.default_rng(2).poisson(8.0, CHANNELS))
    assert observation.background.exposure == 4000.0
    assert observation.background_ratio == pytest.approx(1000.0 * 0.5 / (4000.0 * 2.0))
    assert session.statistic == "wstat"


@pytest.mark.parametrize("area", [0.25, np.linspace(0.4, 1.0, CHANNELS)], ids=["keyword", "column"])
@pytest.mark.parametrize("with_background", [False, True])
def test_area_scale(engine, folder, area, with_background):
    write_spectrum(
        folder / "scaled.pha", counts_like(3), area=area, background="back.pha" if with_background else "none"
    )
    engine.AllData("1:1 scaled.pha")
    engine.Model("powerlaw", setPars={1: 1.5, 2: 0.03})
    session = Session(engine)
    (observation,) = session.observations
    np.testing.assert_array_equal(observation.counts, counts_like(3))
    assert observation.area_scale == pytest.approx(area * np.ones(CHANNELS))
    ours = session.evaluate([[1.5, 0.03]])
    assert ours.statistic[0] == pytest.approx(engine.Fit.statistic, rel=1e-12)
    # expected counts are on the scale of the data
    scaled = session.evaluate([[1.5, 0.03 * observation.counts.sum() / ours.expected.sum()]])
    assert scaled.expected.sum() == pytest.approx(observation.counts.sum(), rel=1e-9)
    assert scaled.statistic[0] < ours.statistic[0] or with_background


def test_rate_spectrum(engine, folder):
    write_spectrum(folder / "rate.pha", counts_like(5), as_rate=True)
    engine.AllData("1:1 rate.pha")
    engine.Model("powerlaw", setPars={2: 0.01})
    np.testing.assert_array_equal(Session(engine).observed, counts_like(5))


def test_counts_that_are_not_whole_are_refused_for_cstat(engine, folder):
    write_spectrum(folder / "rate.pha", counts_like(5) + 0.3, as_rate=True)
    engine.AllData("1:1 rate.pha")
    engine.Model("powerlaw", setPars={2: 0.01})
    with pytest.raises(SessionError, match=r"rate\.pha.*cstat needs counts.*noticed bin 1"):
        Session(engine)
    engine.Fit.statMethod = "chi"
    assert Session(engine).statistic == "chi"


@pytest.mark.parametrize("spectrum", ["plain.pha", "source.pha"])
@pytest.mark.parametrize("statistic", ["cstat", "chi", "pstat", "pgstat"])
@pytest.mark.parametrize("weight", ["standard", "churazov"])
def test_statistics_agree_with_the_engine(engine, folder, spectrum, statistic, weight):
    try:
        engine.Fit.statMethod = statistic
        engine.Fit.weight = weight
    except Exception as error:
        assert engine.__name__ != "xspec"
        pytest.skip(f"this engine has no {statistic} with {weight} weights: {error}")
    engine.AllData(f"1:1 {spectrum}")
    engine.Model("TBabs*powerlaw", setPars={1: 0.1, 2: 1.5, 3: 0.01})
    session = Session(engine)
    with_background = spectrum == "source.pha"
    assert session.statistic == ("wstat" if statistic == "cstat" and with_background else statistic)
    assert not any("cannot be recomputed" in w for w in session.warnings)
    assert any("chi-squared, but counts are Poisson" in w for w in session.warnings) == (statistic == "chi")
    assert any("background-subtracted" in w for w in session.warnings) == (statistic == "chi" and with_background)


def test_empty_background_bins_are_counted(engine, folder):
    back = np.where(np.arange(CHANNELS) < 7, 0, 5)
    write_spectrum(folder / "back.pha", back, response=None, kind="BKG")
    engine.AllData("1:1 source.pha")
    engine.Model("powerlaw", setPars={2: 0.01})
    (warning,) = Session(engine).warnings
    assert "7 of 30 background bins are empty" in warning


def test_statistic_and_model_are_the_engines_own(loaded):
    session = Session(loaded)
    theta = theta_near(session)
    ours = session.evaluate(theta)
    assert ours.valid.all()
    model = loaded.AllModels(1)
    for row, statistic, expected in zip(theta, ours.statistic, ours.expected, strict=True):
        loaded.AllModels.setPars(model, {1: float(row[0]), 2: float(row[1]), 3: float(row[2])})
        assert statistic == pytest.approx(loaded.Fit.statistic, rel=1e-12)
        np.testing.assert_allclose(expected, 1000.0 * np.array(model.folded(1)), rtol=1e-12)


def test_two_spectra_in_two_groups_with_links(engine, folder):
    engine.AllData("1:1 plain.pha 2:2 source.pha")
    engine.Model("TBabs*powerlaw", setPars={1: 0.1, 2: 1.5, 3: 0.01})
    engine.AllModels(2)(3).untie()
    engine.AllModels(2)(3).values = 0.02
    session = Session(engine)
    assert [p.name for p in session.parameters] == ["nH", "PhoIndex", "norm@1", "norm@2"]
    assert [p.full_name for p in session.parameters][-1] == "powerlaw.norm@2"
    assert [p.index for p in session.parameters] == [1, 2, 3, 6]
    assert [o.group for o in session.observations] == [1, 2]
    assert session.statistic == "cstat+wstat" and session.n_bins == 2 * CHANNELS
    theta = theta_near(session)
    ours = session.evaluate(theta)
    first, second = engine.AllModels(1), engine.AllModels(2)
    for row, statistic, expected in zip(theta, ours.statistic, ours.expected, strict=True):
        values = [float(v) for v in row]
        engine.AllModels.setPars(first, {1: values[0], 2: values[1], 3: values[2]}, second, {3: values[3]})
        assert statistic == pytest.approx(engine.Fit.statistic, rel=1e-12)
        folded = np.concatenate([first.folded(1), second.folded(2)])
        np.testing.assert_allclose(expected, 1000.0 * folded, rtol=1e-12)
    with pytest.raises(SessionError, match=r"'norm' is ambiguous: it may be norm@1, norm@2"):
        session.find("norm")
    with pytest.raises(SessionError, match=r"'nH@2' is linked"):
        session.find("nH@2")
    assert session.find("powerlaw.norm@2") == session.find(6) == session.parameters[3]


def test_different_statistics_per_spectrum(engine, folder):
    engine.AllData("1:1 plain.pha 2:2 source.pha")
    engine.Model("powerlaw", setPars={1: 1.5, 2: 0.01})
    try:
        engine.Fit.statMethod = "chi 2"
    except Exception as error:
        assert engine.__name__ != "xspec"
        pytest.skip(f"this engine has one statistic for all: {error}")
    assert Session(engine).statistic == "cstat+chi"


def test_out_of_limits_never_reaches_the_engine(loaded):
    session = Session(loaded)
    theta = theta_near(session, 4)
    theta[1, 0] = 5.1
    theta[2, 2] = np.nan
    ours = session.evaluate(theta)
    assert ours.reason.tolist() == [Reason.OK, Reason.OUT_OF_LIMITS, Reason.OUT_OF_LIMITS, Reason.OK]
    assert np.isnan(ours.statistic[1:3]).all() and np.isnan(ours.expected[1:3]).all()
    assert np.isfinite(ours.expected[[0, 3]]).all()


def test_names_find_and_their_errors(loaded):
    loaded.AllModels(1)(2).frozen = True
    session = Session(loaded)
    assert [p.name for p in session.parameters] == ["nH", "norm"]
    p = session.parameters[1]
    assert (p.component, p.parameter, p.index, p.source, p.group) == ("powerlaw", "norm", 3, "", 1)
    assert (p.min, p.max, p.is_norm, p.default_limits) == (1e-6, 10.0, True, (0.0, 1e24))
    assert session.find("powerlaw.norm") is session.find("NORM") is session.find(3) is session.find("3") is p
    with pytest.raises(SessionError, match=r"'PhoIndex' is frozen at 1\.5; the free parameters are nH, norm"):
        session.find("PhoIndex")
    with pytest.raises(SessionError, match=r"no parameter 'nH1' \(did you mean nH\?\); the free parameters are nH"):
        session.find("nH1")
    with pytest.raises(SessionError, match="no parameter 17"):
        session.find(17)


def test_native_priors(loaded):
    assert all(p.native_prior is None for p in Session(loaded).parameters)
    loaded.AllModels(1)(1).prior = ("gauss", 0.1, 0.02)
    assert Session(loaded).parameters[0].native_prior == ("gauss", 0.1, 0.02)
    loaded.AllModels(1)(1).prior = "cons"
    assert Session(loaded).parameters[0].native_prior is None


def test_settings_fingerprint_and_saved_text(loaded):
    session = Session(loaded)
    settings = session.settings
    assert (settings["abund"], settings["xsect"], settings["cosmo"]) == ("wilm", "vern", [70.0, 0.0, 0.73])
    assert settings["engine"] == session.engine["name"] == ("xspec" if loaded.__name__ == "xspec" else "embedded")
    assert session.model_expression.replace(" ", "").lower() == "tbabs*powerlaw"
    text = session.saved_text()
    assert "plain.pha" in text and "powerlaw" in text.lower()
    mark = session.fingerprint
    assert len(mark) == 64 and Session(loaded).fingerprint == mark
    loaded.AllModels(1)(2).values = 1.7
    assert Session(loaded).fingerprint == mark, "the value of a free parameter is not part of the problem"
    loaded.AllModels(1)(2).frozen = True
    frozen = Session(loaded).fingerprint
    assert frozen != mark
    loaded.AllModels(1)(2).frozen = False
    loaded.AllData(1).ignore("1-2")
    assert Session(loaded).fingerprint not in (mark, frozen)
    loaded.AllData(1).notice("1-2")
    assert Session(loaded).fingerprint == mark
    loaded.Xset.abund = "angr"
    assert Session(loaded).fingerprint != mark


# what a user can do wrong


def test_no_spectrum(engine):
    with pytest.raises(SessionError, match="no spectrum is loaded"):
        Session(engine)


def test_no_model(engine, folder):
    engine.AllData("1:1 plain.pha")
    with pytest.raises(SessionError, match="no model is defined"):
        Session(engine)


def test_no_free_parameter(loaded):
    for i in (1, 2, 3):
        loaded.AllModels(1)(i).frozen = True
    with pytest.raises(SessionError, match="no free parameter"):
        Session(loaded)


def test_missing_response_names_the_spectrum(engine, folder):
    write_spectrum(folder / "lost.pha", counts_like(1), response="nowhere")
    engine.AllData("1:1 plain.pha 1:2 lost.pha")
    engine.Model("powerlaw")
    with pytest.raises(SessionError, match=r"spectrum 2 \(lost\.pha\) has no response"):
        Session(engine)


def test_empty_noticed_range(loaded):
    loaded.AllData(1).ignore("**")
    with pytest.raises(SessionError, match=r"spectrum 1 \(plain\.pha\) has no noticed bins"):
        Session(loaded)


def test_attaching_leaves_the_session_as_it_was(loaded):
    loaded.Fit.perform()
    before = [list(loaded.AllModels(1)(i).values) for i in (1, 2, 3)], loaded.Fit.statistic
    sigma = loaded.AllModels(1)(2).sigma
    session = Session(loaded)
    session.evaluate(theta_near(session))
    assert ([list(loaded.AllModels(1)(i).values) for i in (1, 2, 3)], loaded.Fit.statistic) == before
    assert loaded.AllModels(1)(2).sigma == sigma


def test_a_fitted_gain_is_refused(loaded):
    try:
        loaded.AllData(1).response.gain.slope = 1.05
    except Exception as error:
        assert loaded.__name__ != "xspec"
        pytest.skip(f"this engine has no gain: {error}")
    with pytest.raises(SessionError, match="the response gain of spectrum 1 is free to vary"):
        Session(loaded)
    gain = loaded.AllData(1).response.gain
    gain.slope.frozen = gain.offset.frozen = True
    session = Session(loaded)
    assert session.evaluate([[0.1, 1.5, 0.01]]).statistic[0] == pytest.approx(loaded.Fit.statistic, rel=1e-12)
    mark = session.fingerprint
    gain.off()
    assert Session(loaded).fingerprint != mark
    with pytest.raises(SessionError, match="have changed"):
        session.evaluate([[0.1, 1.5, 0.01]])
