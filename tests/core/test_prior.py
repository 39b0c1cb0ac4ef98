"""Priors: what is accepted, what is refused and in which words, and the mathematics."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, stats

from tests.core.analytic import parameter
from xsixsa.errors import PriorError, SessionError
from xsixsa.prior import Exponential, Gaussian, LogUniform, Prior, Uniform, as_distribution, parse

CASES = [
    Uniform(-1, 3),
    LogUniform(1e-3, 10),
    Gaussian(1.8, 0.2),
    Gaussian(1.8, 0.2).truncated(1.7, 5),
    Exponential(2.0).truncated(0, 10),
    as_distribution(stats.beta(2, 5)),
    as_distribution(stats.lognorm(0.5, scale=2.0)).truncated(0.5, 4),
]


@pytest.mark.parametrize("d", CASES, ids=str)
def test_distributions_are_normalised_and_inverted(d):
    low, high = d.support
    low, high = max(low, -20.0), min(high, 40.0)
    total, _ = integrate.quad(lambda x: float(np.exp(d.log_prob(np.array(x)))), low, high, limit=200, points=[1.8])
    assert total == pytest.approx(1, rel=1e-6)
    u = np.linspace(0.001, 0.999, 101)
    np.testing.assert_allclose(d.cdf(d.ppf(u)), u, atol=1e-9)
    assert d.log_prob(np.array([low - 50.0]))[0] == -np.inf or not np.isfinite(d.support[0])


@given(st.floats(-4, 4), st.floats(-4, 4))
def test_normal_space_and_back(a, b):
    prior = Prior([SimpleNamespace(name="a"), SimpleNamespace(name="b")], [(0, 2), LogUniform(1e-5, 1e2)])
    z = np.array([[a, b]])
    np.testing.assert_allclose(prior.to_normal(prior.from_normal(z)), z, atol=1e-6)


def test_far_tails_stay_inside_the_support():
    prior = Prior([SimpleNamespace(name="a")], [LogUniform(1e-5, 1e-2)])
    theta = prior.from_normal(np.array([[-40.0], [40.0]]))
    assert theta.min() >= 1e-5 and theta.max() <= 1e-2 and np.isfinite(prior.log_prob(theta)).all()


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ((1, 1), "zero-width"),
        ((2, 1), "reversed"),
        ((0, np.inf), "finite"),
        ("loguniform:0:1", "positive"),
        ("loguniform:-1:1", "positive"),
        ("gaussian:1:0", "sigma"),
        ("gaussian:1:-2", "sigma"),
        ("triangle:1:2", "unknown distribution"),
        ("uniform:1", "takes 2"),
        ("uniform:a:b", "must be a number"),
        ((1, 2, 3), "two numbers"),
        (object(), "scipy"),
    ],
)
def test_refused_with_the_parameter_named(value, message):
    with pytest.raises(PriorError, match=message) as caught:
        Prior.build(_session(parameter("nH", 0, 10)), {"nH": value})
    assert "nH" in str(caught.value) and "\n" not in str(caught.value)


def _session(*parameters):
    def find(name):
        for p in parameters:
            if name in (p.name, p.index):
                return p
        raise SessionError(f"no free parameter {name!r}; there are {', '.join(p.name for p in parameters)}")

    return SimpleNamespace(parameters=parameters, find=find)


def test_rules_for_limits():
    norm = parameter("p.norm", 1e-5, 1e-2, is_norm=True, default_limits=(0, 1e24))
    shape = parameter("PhoIndex", -3, 10, default_limits=(-3, 10))
    prior = Prior.build(_session(norm, shape))
    assert [str(d) for d in prior.distributions] == ["loguniform:1e-05:0.01", "uniform:-3:10"]
    assert prior.origins == ("hard limits", "hard limits")


@pytest.mark.parametrize(
    "p",
    [
        parameter("p.norm", 0, 1e24, is_norm=True, default_limits=(0, 1e24)),
        parameter("p.norm", 0, 1.0, is_norm=True, default_limits=(0, 1e24)),
        parameter("nH", 0, 1e6, default_limits=(0, 1e6)),
    ],
)
def test_default_limits_are_never_guessed_into_a_prior(p):
    with pytest.raises(PriorError, match=f"prior of {p.name}.*--prior {p.name}="):
        Prior.build(_session(p))


def test_native_priors():
    parameters = [
        parameter("a", 0, 10, native_prior=("gauss", 1.8, 0.2), index=1),
        parameter("b", 0.1, 10, native_prior=("jeffreys",), index=2),
        parameter("c", 0, 10, native_prior=("exp", 2.0), index=3),
    ]
    prior = Prior.build(_session(*parameters), {"c": (1, 2)})
    assert list(prior.origins) == ["XSPEC's bayes setting"] * 2 + ["explicit"]
    assert str(prior.distributions[1]) == "loguniform:0.1:10"


def test_cut_at_the_hard_limits_is_said():
    prior = Prior.build(_session(parameter("kT", 1e-4, 200)), {"kT": (0, 2)})
    assert prior.distributions[0].support == (1e-4, 2)
    assert "kT" in prior.notes[0] and "hard limits" in prior.notes[0]


def test_prior_on_an_unknown_parameter_or_twice():
    session = _session(parameter("nH", 0, 10, index=1))
    with pytest.raises(PriorError, match="no free parameter 'NH2'"):
        Prior.build(session, {"NH2": (0, 1)})
    with pytest.raises(PriorError, match="already has one"):
        Prior.build(session, {"nH": (0, 1), 1: (0, 1)})


def test_parse_reads_what_it_writes():
    for d in (Uniform(0, 0.5), LogUniform(1e-5, 1), Gaussian(1, 2), Exponential(3)):
        assert str(parse(str(d))) == str(d)
