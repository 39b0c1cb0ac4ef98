"""Joint fits: several spectra and data groups, an untied constant, backgrounds that are too empty to be trusted."""

import numpy as np
import pytest

import xsixsa
from tests.core.test_fit import TINY
from tests.session.conftest import engine, folder  # noqa: F401  (fixtures)
from tests.session.ogip import CHANNELS, counts_like, write_response, write_spectrum
from xsixsa.prior import LogUniform, Prior
from xsixsa.session import Session

PRIOR = {"PhoIndex": (0.8, 2.2), "norm": LogUniform(0.003, 0.05), "factor": LogUniform(0.2, 5.0)}
FACTOR = 1.5


@pytest.fixture
def joint(engine, folder):  # noqa: F811
    """Two instruments, the second with another area, exposure and band, behind a constant that is free for it."""
    write_response(folder, "second", area=60.0)
    truth = np.random.default_rng(11)
    engine.AllData("1:1 plain.pha")
    alone = engine.Model("constant*powerlaw")
    engine.AllModels.setPars(alone, {2: 1.5, 3: 0.012})
    mean = np.array(alone.folded(1)) * 2500.0 * 60.0 / 150.0 * FACTOR
    for name, source in (("plain.pha", np.array(alone.folded(1)) * 1000.0), ("other.pha", mean)):
        which = {"exposure": 2500.0, "response": "second"} if name == "other.pha" else {}
        write_spectrum(folder / name, truth.poisson(source), **which)
    engine.AllModels.clear()
    engine.AllData.clear()
    engine.AllData("1:1 plain.pha 2:2 other.pha")
    engine.AllData(2).ignore("1-5")
    model = engine.Model("constant*powerlaw")
    engine.AllModels.setPars(model, {2: 1.5, 3: 0.012})
    model(1).frozen = True
    other = engine.AllModels(2)(1)
    other.link = ""
    other.frozen = False
    return engine


def test_layout_is_the_concatenation_in_xspecs_order(joint):
    session = Session(joint)
    assert [p.name for p in session.parameters] == ["PhoIndex", "norm", "factor"]
    assert session.find("factor").group == 2 and session.find("factor").full_name == "constant.factor@2"
    assert [o.counts.size for o in session.observations] == [CHANNELS, CHANNELS - 5] and session.n_bins == 55
    np.testing.assert_array_equal(session.observed, np.concatenate([o.counts for o in session.observations]))
    theta = np.array([[1.4, 0.01, 1.0], [1.4, 0.01, 2.0], [1.4, 0.02, 1.0]])
    expected = session.evaluate(theta).expected
    np.testing.assert_allclose(expected[1, :CHANNELS], expected[0, :CHANNELS], rtol=1e-12)
    np.testing.assert_allclose(expected[1, CHANNELS:], 2 * expected[0, CHANNELS:], rtol=1e-10)
    np.testing.assert_allclose(expected[2], 2 * expected[0], rtol=1e-10)


def test_joint_posterior_is_that_of_quadrature(joint):
    if joint.__name__ == "xspec":
        pytest.skip("thousands of evaluations")
    options = TINY.changed(rounds=0, ess=1500)
    result = xsixsa.fit(joint, PRIOR, options=options, seed=2, workers=1, progress=False)
    session = Session(joint)
    prior, m = Prior.build(session, PRIOR), 30
    # a grid over what holds the posterior, in the prior's unit cube
    low, high = (
        np.clip(f(result.u[result.weights > 1e-3 * result.weights.max()], axis=0), 0, 1) for f in (np.min, np.max)
    )
    axes = [a + (b - a) * (np.arange(m) + 0.5) / m for a, b in zip(low, high, strict=True)]
    cube = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    log_l = -0.5 * session.evaluate(prior.ppf(cube)).statistic
    w = np.exp(log_l - log_l.max())
    evidence = log_l.max() + np.log(w.mean() * np.prod(high - low))
    w /= w.sum()
    mean, ours = w @ cube, result.weights @ result.u
    std, our_std = np.sqrt(w @ (cube - mean) ** 2), np.sqrt(result.weights @ (result.u - ours) ** 2)
    np.testing.assert_array_less(np.abs(ours - mean), 0.12 * std)
    np.testing.assert_allclose(our_std, std, rtol=0.1)
    assert result.log_evidence == pytest.approx(evidence, abs=0.1)
    factor = result.names.index("factor")
    value = result.weights @ result.theta[:, factor]
    sigma = np.sqrt(result.weights @ (result.theta[:, factor] - value) ** 2)
    assert abs(value - FACTOR) < 4 * sigma
    assert [o["counts"].size for o in result.observations] == [30, 25]
    assert result.predictive.shape[1] == result.predictive_best.size == 55


def test_empty_backgrounds_end_as_not_trustworthy(engine, folder):  # noqa: F811
    if engine.__name__ == "xspec":
        pytest.skip("thousands of evaluations; the warning is tested with the session")
    rng = np.random.default_rng(4)
    for i in (1, 2):
        write_spectrum(folder / f"back{i}.pha", rng.poisson(0.1, CHANNELS), response=None, kind="BKG")
        write_spectrum(folder / f"faint{i}.pha", counts_like(i, 60.0), background=f"back{i}.pha")
    engine.AllData("1:1 faint1.pha 1:2 faint2.pha")
    engine.AllModels.setPars(engine.Model("powerlaw"), {1: 1.5, 2: 3e-4})
    prior = {"PhoIndex": (0.0, 4.0), "norm": LogUniform(1e-5, 1e-2)}
    result = xsixsa.fit(engine, prior, options=TINY.changed(rounds=0), seed=2, workers=1, progress=False)
    assert result.verdict.text == "not trustworthy" and not result.verdict.converged
    assert sum("background bins" in w and "empty" in w for w in result.verdict.warnings) == 2
    assert "NOT TRUSTWORTHY" in result.summary().upper().splitlines()[0] and "NOT TRUSTWORTHY" in repr(result)
