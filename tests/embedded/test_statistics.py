"""Statistics against independent computations: scipy's likelihoods and one-dimensional minimisation."""

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.stats import norm, poisson

from tests.embedded.ogip import write_pha
from xsixsa.errors import UsageError


def _arrays(xspec, spectrum):
    model = sum(np.array(xspec.AllModels(1, name).folded(1)) for name in xspec.AllModels.sources.values())
    scale = np.broadcast_to(spectrum.area_scale[spectrum.mask], model.shape)
    return model, spectrum.counts[spectrum.mask], spectrum.exposure * scale


def test_cstat_is_twice_the_log_likelihood_ratio(xspec, number):
    spectrum = xspec.Spectrum(f"variant{number['grouped']}.pha")
    xspec.Model("TBabs*po", setPars=(0.1, 1.7, 5e-4))
    xspec.Fit.statMethod = "cstat"
    model, counts, time = _arrays(xspec, spectrum)
    expected = np.maximum(model * time, 1e-5)
    ratio = 2 * np.sum(poisson.logpmf(counts, np.maximum(counts, 1e-300)) - poisson.logpmf(counts, expected))
    assert xspec.Fit.statistic == pytest.approx(ratio, rel=1e-9)


def test_cstat_floors_the_model(xspec, number):
    spectrum = xspec.Spectrum(f"variant{number['plain']}.pha")
    xspec.Model("po", setPars=(1.0, 0.0))
    xspec.Fit.statMethod = "cstat"
    counts = spectrum.counts
    floor = 1e-5
    filled = counts[counts > 0]
    wanted = 2 * (counts.size * floor + np.sum(filled * (np.log(filled / floor) - 1)))
    assert xspec.Fit.statistic == pytest.approx(wanted, rel=1e-12)


def test_wstat_profiles_the_background_of_every_bin(loaded):
    xspec, spectrum, _ = loaded
    model, counts, ts = _arrays(xspec, spectrum)
    back = spectrum.background
    b = back.counts[spectrum.mask]
    tb = back.exposure * back.areaScale * back.backScale / spectrum.backScale
    total = 0.0
    for s, n, m, t in zip(counts, b, model, ts, strict=True):

        def cost(log_f, s=s, n=n, m=m, t=t):
            f = np.exp(log_f)
            saturated = poisson.logpmf(s, max(s, 1e-300)) + poisson.logpmf(n, max(n, 1e-300))
            return 2 * (saturated - poisson.logpmf(s, t * (m + f)) - poisson.logpmf(n, tb * f))

        total += minimize_scalar(cost, bounds=(-40, 5), method="bounded", options={"xatol": 1e-10}).fun
    assert xspec.Fit.statistic == pytest.approx(total, rel=1e-6)


def test_wstat_without_background_counts_is_cstat_above_the_kink(xspec, files, number):
    write_pha("empty.pha", np.zeros(64, int), exposure=1e7)
    spectrum = xspec.Spectrum(f"variant{number['grouped']}.pha")
    xspec.Model("po", setPars=(1.7, 1.0))
    xspec.Fit.statMethod = "cstat"
    alone = xspec.Fit.statistic
    spectrum.background = "empty.pha"
    assert xspec.Fit.statistic == pytest.approx(alone, rel=1e-6)


def test_pstat_takes_the_background_as_known(loaded):
    xspec, spectrum, _ = loaded
    xspec.Fit.statMethod = "pstat"
    model, counts, time = _arrays(xspec, spectrum)
    expected = time * (model + np.array(spectrum.background.values))
    ratio = 2 * np.sum(poisson.logpmf(counts, np.maximum(counts, 1e-300)) - poisson.logpmf(counts, expected))
    assert xspec.Fit.statistic == pytest.approx(ratio, rel=1e-9)


def test_pgstat_profiles_a_gaussian_background(loaded):
    xspec, spectrum, _ = loaded
    xspec.Fit.statMethod = "pgstat"
    model, counts, ts = _arrays(xspec, spectrum)
    back = spectrum.background
    b = back.counts[spectrum.mask]
    tb = back.exposure * back.areaScale * back.backScale / spectrum.backScale
    total = 0.0
    for s, n, m, t in zip(counts, b, model, ts, strict=True):
        sigma = np.sqrt(n)
        if n == 0:
            total += 2 * (poisson.logpmf(s, s) - poisson.logpmf(s, t * m))
            continue

        def cost(f, s=s, n=n, m=m, t=t, sigma=sigma):
            known = poisson.logpmf(s, max(s, 1e-300)) + norm.logpdf(n, n, sigma)
            return 2 * (known - poisson.logpmf(s, t * (m + f)) - norm.logpdf(n, tb * f, sigma))

        total += minimize_scalar(cost, bounds=(0, 10 * n / tb), method="bounded", options={"xatol": 1e-12}).fun
    assert xspec.Fit.statistic == pytest.approx(total, rel=1e-6)


def test_chi_is_of_the_net_rate(loaded):
    xspec, spectrum, model = loaded
    xspec.Fit.statMethod = "chi"
    rate = np.array(spectrum.values) - np.array(spectrum.background.values)
    variance = np.array(spectrum.variance) + np.array(spectrum.background.variance)
    chi = np.sum((rate - np.array(model.folded(1))) ** 2 / variance)
    assert xspec.Fit.statistic == pytest.approx(chi, rel=1e-12)
    assert xspec.Fit.testStatistic == pytest.approx(chi, rel=1e-12)


def test_statistics_per_spectrum(xspec, number):
    name = f"variant{number['grouped']}.pha"
    xspec.AllData(f"{name} {name}")
    xspec.Model("po", setPars=(1.7, 1e-3))
    parts = {}
    for method in ("cstat", "chi"):
        xspec.Fit.statMethod = method
        parts[method] = xspec.Fit.statistic / 2
    xspec.Fit.statMethod = "cstat"
    xspec.Fit.statMethod = "chi 2"
    assert xspec.Fit.statMethod == "cstat 1 chi 2"
    assert xspec.Fit.statistic == pytest.approx(parts["cstat"] + parts["chi"], rel=1e-12)
    with pytest.raises(UsageError):
        xspec.Fit.statMethod = "whittle"


def test_bayes_adds_the_priors_of_free_parameters(loaded):
    xspec, _, model = loaded
    plain = xspec.Fit.statistic
    model(1).prior = ("gauss", 0.2, 0.05)
    model(2).prior = ("exp", 0.2)
    model(3).prior = "jeffreys"
    assert xspec.Fit.statistic == plain
    xspec.Fit.bayes = "on"
    wanted = -2 * (norm.logpdf(0.1, 0.2, 0.05) - 1.7 / 0.2 - np.log(0.2) - np.log(5e-4))
    assert xspec.Fit.statistic - plain == pytest.approx(wanted, rel=1e-10)
    model(2).frozen = True
    assert xspec.Fit.statistic - plain == pytest.approx(wanted - 2 * (1.7 / 0.2 + np.log(0.2)), rel=1e-10)
    xspec.Fit.bayes = "cons"
    assert model(1).prior == ("CONS",) and xspec.Fit.statistic == plain


def test_without_data_or_model_the_statistic_is_0(xspec, number):
    assert xspec.Fit.statistic == 0.0 and xspec.Fit.dof == 0
    xspec.Model("po")
    assert xspec.Fit.statistic == 0.0
    xspec.AllModels.clear()
    spectrum = xspec.Spectrum(f"variant{number['plain']}.pha")
    assert xspec.Fit.statistic == 0.0
    xspec.Model("po")
    assert xspec.Fit.statistic > 0 and xspec.Fit.dof == 62
    spectrum.ignore("**")
    assert xspec.Fit.statistic == 0.0


def test_a_failing_component_gives_minus_one(loaded, monkeypatch):
    xspec, _, model = loaded

    def fail(*args, **kwargs):
        raise ValueError("no table")

    monkeypatch.setattr(type(model.parsed.components[1]), "evaluate", fail)
    model(2).values = 1.9
    assert xspec.Fit.statistic == -1.0
