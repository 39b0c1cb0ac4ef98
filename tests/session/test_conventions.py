"""AREASCAL: the convention of a version is found out, not assumed."""

import numpy as np
import pytest

from tests.session.fake_xspec import FakeXspec
from xsixsa.errors import SessionError
from xsixsa.session import Session
from xsixsa.session.statistics import chi2, cstat, pgstat, pstat, wstat

AREAS = [0.5, np.linspace(0.5, 1.0, 20)]


@pytest.mark.parametrize("per_area", [True, False], ids=["12.9", "12.12"])
@pytest.mark.parametrize("folded_per_area", [True, False])
@pytest.mark.parametrize("area", AREAS, ids=["number", "column"])
@pytest.mark.parametrize("background", [None, 3.0], ids=["alone", "background"])
def test_every_convention_gives_the_same_counts(per_area, folded_per_area, area, background):
    engine = FakeXspec(area=area, per_area=per_area, folded_per_area=folded_per_area, background=background)
    session = Session(engine)
    (observation,) = session.observations
    np.testing.assert_array_equal(observation.counts, engine.spectra[0].counts)
    if background:
        np.testing.assert_array_equal(observation.background.counts, engine.spectra[0].back.counts)
        assert observation.background_ratio == pytest.approx(500.0 * area * 2.0 / (1000.0 * 4.0) * np.ones(20))
    theta = np.array([[0.2, 1.7, 0.3]])
    expected = engine.rate(engine.models[0]) * 500.0 * area
    np.testing.assert_allclose(session.evaluate(theta).expected[0], expected, rtol=1e-12)


@pytest.mark.parametrize("per_area", [True, False])
@pytest.mark.parametrize("statistic", ["chi", "pstat"])
def test_other_statistics_find_it_too(per_area, statistic):
    engine = FakeXspec(area=AREAS[1], per_area=per_area, background=3.0)
    engine.Fit.statMethod = statistic
    engine.calculate()
    session = Session(engine)
    np.testing.assert_allclose(session.observed, engine.spectra[0].counts, rtol=1e-9)


def test_a_statistic_without_a_formula_is_used_with_a_warning():
    engine = FakeXspec()
    engine.Fit.statMethod = "whittle"
    assert any("(whittle) cannot be recomputed" in w for w in Session(engine).warnings)


def test_a_disagreement_names_both_numbers_and_the_suspects():
    engine = FakeXspec(area=0.5, background=3.0)
    engine.misbehave = lambda values: 2.0 * engine.true_statistic()
    with pytest.raises(
        SessionError, match=r"recomputed.* is [\d.]+, but the engine says [\d.]+.*AREASCAL different from 1"
    ):
        Session(engine)


def test_older_and_barer_versions():
    engine = FakeXspec()
    engine.has_priors = False
    del type(engine.Xset).show  # renorm cannot be read
    try:
        session = Session(engine)
        assert session.parameters[0].native_prior is None
        with session.guard():
            assert engine.renorm == "prefit", "what cannot be put back is left alone"
        engine.renorm = "auto"
        np.testing.assert_array_equal(session.evaluate([[0.2, 1.7, 0.3]]).statistic, [engine.true_statistic()])
    finally:
        type(engine.Xset).show = _show


_show = type(FakeXspec().Xset).show


# the formulae, where they can be checked by hand


def test_cstat_floor_and_zero_counts():
    assert cstat(np.array([0.0]), np.array([3.0])) == 6.0
    assert cstat(np.array([2.0]), np.array([2.0])) == pytest.approx(0.0, abs=1e-15)
    assert cstat(np.array([1.0]), np.array([0.0])) == pytest.approx(2 * (1e-5 - 1 - np.log(1e-5)))


@pytest.mark.parametrize("s", [0.0, 1.0, 7.0, 1000.0])
@pytest.mark.parametrize("b", [0.0, 1.0, 30.0])
@pytest.mark.parametrize("m", [1e-3, 0.5, 5.0, 800.0])
@pytest.mark.parametrize("ratio", [0.05, 1.0, 3.0])
def test_wstat_is_the_least_over_the_background(s, b, m, ratio):
    f = np.concatenate([[0.0], np.geomspace(1e-9, 1e4, 400_001)])  # background in the source region
    with np.errstate(divide="ignore", invalid="ignore"):
        on = m + f - s - (s * np.log((m + f) / s) if s else 0.0)
        off = f / ratio - b - (b * np.log(f / ratio / b) if b else 0.0)
    profile = 2.0 * (on + off)
    least = np.nanmin(profile[np.isfinite(profile)])
    ours = wstat(np.array([s]), np.array([m]), np.array([b]), np.array([ratio]))
    assert ours == pytest.approx(least, rel=1e-6, abs=1e-6)


def test_pstat_and_pgstat_agree_when_the_background_is_certain():
    rng = np.random.default_rng(0)
    s, m, b = rng.poisson(20, 10).astype(float), rng.uniform(1, 30, 10), rng.uniform(1, 20, 10)
    ratio = np.full(10, 0.5)
    known = pstat(s, m, b, ratio)
    assert pgstat(s, m, b, np.zeros(10), ratio) == pytest.approx(known)
    assert pgstat(s, m, b, np.full(10, 1e-10), ratio) == pytest.approx(known, rel=1e-6)
    assert pgstat(s, m, b, np.full(10, 4.0), ratio) < known


def test_chi2():
    assert chi2(np.array([1.0, 2.0]), np.array([0.0, 0.0]), np.array([1.0, 4.0])) == 2.0
