"""Fits, errors, fluxes, chains and plots."""

import numpy as np
import pytest
from scipy.stats import chi2

from xsixsa.errors import DataError, ModelError, SessionError, UsageError


def test_fit_finds_the_minimum_that_scipy_finds(loaded):
    from scipy.optimize import minimize

    xspec, _, model = loaded
    keys = [("", 1, i) for i in (1, 2, 3)]

    def cost(u):
        theta = np.array([[u[0], u[1], np.exp(u[2])]])
        return xspec.AllModels.evaluateBatch(keys, theta)[1][0]

    start = [0.1, 1.7, np.log(5e-4)]
    best = minimize(cost, start, method="Nelder-Mead", options={"maxiter": 4000, "xatol": 1e-7, "fatol": 1e-9}).fun
    model.setPars(1.0, 1.0, 1.0)
    xspec.Fit.renorm("prefit")
    xspec.Fit.perform()
    assert xspec.Fit.statistic == pytest.approx(best, abs=1e-3)
    assert all(model(i).sigma > 0 for i in (1, 2, 3))


def test_sigma_and_covariance_are_the_curvature(loaded):
    xspec, _, model = loaded
    xspec.Fit.perform()
    covariance = xspec.Fit.covariance
    assert len(covariance) == 6
    assert covariance[0] == pytest.approx(model(1).sigma ** 2)
    assert covariance[2] == pytest.approx(model(2).sigma ** 2)
    best = xspec.Fit.statistic
    model(2).frozen = model(1).frozen = True
    model(3).values = model(3).values[0] * 1.01
    rise = xspec.Fit.statistic - best
    alone = 1 / np.sqrt(rise) * 0.01 * model(3).values[0] / 1.01
    model(3).values = model(3).values[0] / 1.01
    xspec.Fit.perform()
    assert model(3).sigma == pytest.approx(alone, rel=0.03)


def test_fit_respects_limits_links_and_frozen(loaded):
    xspec, _, model = loaded
    model(2).values = "2.5,0.01,2.4,2.4,3,3"
    model(1).values = "0.05,-0.01"
    xspec.Fit.perform()
    assert model(1).values[0] == 0.05
    assert model(2).values[0] == 2.4 and model(2).sigma == -1.0
    for i in (1, 2, 3):
        model(i).frozen = True
    with pytest.raises(SessionError):
        xspec.Fit.perform()


def test_fit_with_priors_is_the_posterior_mode(loaded):
    xspec, _, model = loaded
    xspec.Fit.perform()
    free, width = model(2).values[0], model(2).sigma
    model(2).prior = ("gauss", free + 3 * width, width)
    xspec.Fit.bayes = "on"
    xspec.Fit.perform()
    assert model(2).values[0] == pytest.approx(free + 1.5 * width, abs=0.2 * width)


def test_renorm_brings_the_total_to_the_data(loaded):
    xspec, spectrum, model = loaded
    model(3).values = 10.0
    xspec.Fit.renorm()
    net = sum(spectrum.values) - sum(spectrum.background.values)
    assert sum(model.folded(1)) == pytest.approx(net, rel=1e-6)
    xspec.Fit.renorm("auto")
    model(2).values = 2.5
    assert sum(model.folded(1)) == pytest.approx(net, rel=1e-6)
    with pytest.raises(UsageError):
        xspec.Fit.renorm("often")


@pytest.mark.parametrize("delta", [1.0, 2.706])
def test_error_is_where_the_profile_rises_by_delta(loaded, delta):
    xspec, _, model = loaded
    xspec.Fit.perform()
    best, value = xspec.Fit.statistic, model(2).values[0]
    xspec.Fit.error(f"{delta} 2")
    low, high, status = model(2).error
    assert status == "FFFFFFFFF" and low < value < high
    assert model(2).values[0] == value, "the fit stays"
    for bound in (low, high):
        model(2).values = bound
        model(2).frozen = True
        xspec.Fit.perform()
        assert xspec.Fit.statistic - best == pytest.approx(delta, abs=0.02)
        model(2).frozen = False


def test_error_at_a_limit_and_wrong_arguments(loaded):
    xspec, _, model = loaded
    with pytest.raises(SessionError):
        xspec.Fit.error("1")
    model(1).values = "0.001,0.001,0,0,1,1"
    xspec.Fit.perform()
    xspec.Fit.error("stop 10 0.1 50.0 1-2")
    assert model(1).error[1] == 1.0 and model(1).error[2] == "FFFFTFFFF"
    assert model(2).error[0] < model(2).values[0] < model(2).error[1]
    for text in ("", "x", "-1.0 2", "9", "1-"):
        if text == "1-":
            xspec.Fit.error(text)
            continue
        with pytest.raises(ModelError):
            xspec.Fit.error(text)


def test_flux_of_a_power_law(loaded):
    xspec, spectrum, _ = loaded
    xspec.Model("po", setPars=(2.0, 1.0))
    xspec.AllModels.calcFlux("2.0 10.0")
    photons, energy = 1 / 2.0 - 1 / 10.0, np.log(5.0) * 1.60217663e-9
    assert spectrum.flux[3] == pytest.approx(photons, rel=1e-4)
    assert spectrum.flux[0] == pytest.approx(energy, rel=1e-3)
    assert len(spectrum.flux) == 6
    xspec.AllModels.calcFlux("3.0 2.0")
    assert spectrum.flux[3] == pytest.approx(1 / 2.0 - 1 / 3.0, rel=1e-3)
    kept = spectrum.flux
    for text in ("30.0 100.0", "bad", "2.0", "2.0 nan", "1.0 2.0 err 100 90"):
        with pytest.raises(ModelError):
            xspec.AllModels.calcFlux(text)
    assert spectrum.flux == kept
    xspec.AllModels.calcLumin("2.0 10.0 0.1")
    from astropy.cosmology import FlatLambdaCDM

    distance = FlatLambdaCDM(H0=70.0, Om0=0.27, Tcmb0=0.0).luminosity_distance(0.1).to_value("cm")
    assert spectrum.lumin[0] == pytest.approx(energy * 4 * np.pi * distance**2 / 1e44, rel=2e-3)
    with pytest.raises(ModelError):
        xspec.AllModels.calcLumin("2.0 10.0")


def test_flux_without_data_is_the_models(xspec):
    model = xspec.Model("po", setPars=(2.0, 1.0))
    xspec.AllModels.calcFlux("2.0 10.0")
    assert model.flux[3] == pytest.approx(0.4, rel=1e-4)


def test_chain_samples_the_posterior_and_error_uses_it(loaded, tmp_path):
    xspec, _, model = loaded
    model(1).frozen = True
    xspec.Fit.perform()
    xspec.Fit.error("1.0 2")
    low, high, _ = model(2).error
    xspec.Xset.seed = 3
    path = str(tmp_path / "chain.fits")
    chain = xspec.Chain(path, burn=400, runLength=4000, walkers=20)
    assert chain.totalLength == 4000 and xspec.AllChains.nChains == 1
    theta, statistic = xspec.AllChains.rows()
    _, again = xspec.AllModels.evaluateBatch([("", 1, 2), ("", 1, 3)], theta[:50])
    np.testing.assert_allclose(statistic[:50], again, rtol=1e-10)
    rise = statistic - xspec.Fit.statistic
    assert np.median(rise) == pytest.approx(chi2.median(2), rel=0.25)
    xspec.Fit.error("1.0 2")
    np.testing.assert_allclose(model(2).error[:2], [low, high], atol=0.25 * (high - low))
    assert xspec.AllChains.stat("2")[0] == pytest.approx(model(2).values[0], abs=high - low)
    chain.run()
    assert chain.totalLength == 8000
    model(1).frozen = False
    assert not xspec.AllChains.in_use, "its columns are no longer the free parameters"
    xspec.AllChains -= path
    assert xspec.AllChains.nChains == 0
    with pytest.raises(DataError):
        xspec.AllChains += "test.rmf"


def test_plot_arrays(loaded):
    xspec, spectrum, model = loaded
    plot = xspec.Plot
    plot.background = True
    plot("data")
    width = 2 * np.array(plot.xErr())
    net = np.array(spectrum.values) - np.array(spectrum.background.values)
    np.testing.assert_allclose(np.array(plot.y()) * width, net, rtol=1e-12)
    np.testing.assert_allclose(np.array(plot.model()) * width, model.folded(1), rtol=1e-12)
    np.testing.assert_allclose(np.array(plot.backgroundVals()) * width, spectrum.background.values, rtol=1e-12)
    low, high = np.array(spectrum.energies).T
    np.testing.assert_allclose(plot.x(), 0.5 * (low + high))
    plot("counts")
    np.testing.assert_allclose(np.array(plot.y()) * width, net * 1000.0, rtol=1e-12)
    plot("data resid")
    np.testing.assert_allclose(plot.y(1, 2), np.subtract(plot.y(1, 1), plot.model(1, 1)), atol=1e-15)
    plot("delchi")
    sigma = np.sqrt(np.array(model.folded(1)) / 1000.0)
    np.testing.assert_allclose(plot.y(), (net - np.array(model.folded(1))) / sigma, rtol=1e-9)
    plot("ratio")
    np.testing.assert_allclose(plot.y(), net / np.array(model.folded(1)), rtol=1e-12)
    kept = plot.y()
    for wrong in ("foo", ""):
        if wrong:
            with pytest.raises(UsageError):
                plot(wrong)
    assert plot.y() == kept
    with pytest.raises(UsageError):
        plot.model()
    plot.xAxis = "channel"
    plot("data")
    assert plot.x()[0] == spectrum.noticed[0] and plot.xErr()[0] == 0.5


def test_plot_of_components_and_unfolded(loaded):
    xspec, _, _ = loaded
    xspec.Model("TBabs(po+bbodyrad)", setPars=(0.1, 1.7, 5e-4, 0.5, 3.0))
    xspec.Plot.add = True
    for kind in ("data", "counts", "model", "ufspec", "eemodel"):
        xspec.Plot(kind)
        parts = np.array(xspec.Plot.addComp(1)) + np.array(xspec.Plot.addComp(2))
        np.testing.assert_allclose(parts, xspec.Plot.model(), rtol=1e-9)
        with pytest.raises(UsageError):
            xspec.Plot.addComp(3)
    xspec.Plot("model")
    one = np.array(xspec.Plot.model())
    xspec.Plot("eemodel")
    middle = np.array(xspec.Plot.x())
    np.testing.assert_allclose(np.array(xspec.Plot.model()) / one, middle**2, rtol=5e-3)


def test_plot_rebins(loaded):
    xspec, _, _ = loaded
    xspec.Plot("data")
    area = np.sum(np.array(xspec.Plot.y()) * np.array(xspec.Plot.xErr()))
    bins = len(xspec.Plot.x())
    xspec.Plot.setRebin(15.0, 4)
    xspec.Plot("data")
    assert bins / 4 <= len(xspec.Plot.x()) < bins
    assert np.sum(np.array(xspec.Plot.y()) * np.array(xspec.Plot.xErr())) == pytest.approx(area)
