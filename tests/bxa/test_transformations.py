"""BXA's transformations taken as a prior, and the prior of a saved result built again from its texts."""

from types import SimpleNamespace

import numpy as np
import pytest
import scipy.stats

from tests.core.analytic import parameter
from xsixsa import Gaussian, LogUniform, Prior, Uniform
from xsixsa.bxa.transformations import Mapped, prior_of_rows, spec_of
from xsixsa.errors import PriorError


class FakeModel:
    def __init__(self, name="", start=1):
        self.name, self.startParIndex = name, start


def session_of(*parameters):
    def find(key):
        return next(p for p in parameters if key in (p.name, p.full_name))

    return SimpleNamespace(parameters=parameters, find=find)


def transformation(index=1, transform=lambda x: x, after=lambda x: x, name="a", model=None):
    return {
        "model": model or FakeModel(),
        "index": index,
        "name": name,
        "transform": transform,
        "aftertransform": after,
    }


SESSION = session_of(parameter("a", 0.0, 1.0, index=1), parameter("b.norm", 1e-5, 1e-2, is_norm=True, index=2))


def limits(handle, low, high):
    middle = 0.5 * (low + high) if low < 0 else (low * high) ** 0.5
    handle.values = [middle, 1e-4, low, low, high, high]


def test_bxas_own_priors(bxa_priors, xspec, session, capsys):
    m = xspec.AllModels(1)
    limits(m.TBabs.nH, 0.01, 1.0)
    limits(m.powerlaw.PhoIndex, -1.0, 4.0)
    limits(m.powerlaw.norm, 1e-5, 1e-2)
    from xsixsa import Session

    session = Session(xspec)
    listed = [
        bxa_priors.create_loguniform_prior_for(m, m.powerlaw.norm),
        bxa_priors.create_uniform_prior_for(m, m.TBabs.nH),
        bxa_priors.create_gaussian_prior_for(m, m.powerlaw.PhoIndex, 1.8, 0.1),
    ]
    capsys.readouterr()
    prior = Prior.build(session, listed)
    assert prior.names == ["nH", "PhoIndex", "norm"]
    nh, index, norm = prior.distributions
    assert str(nh) == "uniform:0.01:1"
    assert str(norm) == "loguniform:1e-05:0.01"
    assert index.ppf(np.array([0.5]))[0] == pytest.approx(1.8)
    assert set(prior.origins) == {"explicit"}
    assert index.support == (-1.0, 4.0)


def test_recognised():
    spec = spec_of(
        SESSION,
        [
            transformation(1, lambda x: 0.2 + 0.3 * x),
            transformation(2, lambda x: 3 * x - 5, lambda x: 10**x),
        ],
    )
    a, b = spec.values()
    assert isinstance(a, Uniform)
    assert (a.low, a.high) == pytest.approx((0.2, 0.5))
    assert isinstance(b, LogUniform)
    assert (b.low, b.high) == (1e-5, 1e-2)  # the limits themselves, not what logarithms made of them


def test_gaussian_and_clipped_gaussian():
    only = session_of(parameter("a", -10.0, 10.0))
    wide, near = scipy.stats.norm(0.0, 1.0), scipy.stats.norm(9.0, 1.0)
    (found,) = spec_of(only, [transformation(transform=lambda x: max(-10, min(10, wide.ppf(x))))]).values()
    assert isinstance(found, Gaussian)
    assert (found.mean, found.sigma) == pytest.approx((0.0, 1.0))
    # A share of the prior sits at the limit, as in BXA: no Gaussian that is cut there says the same.
    (found,) = spec_of(only, [transformation(transform=lambda x: max(-10, min(10, near.ppf(x))))]).values()
    assert isinstance(found, Mapped)
    assert (found.ppf(np.linspace(0.85, 1, 9)) == 10).all()


def test_any_other_is_taken_as_it_is():
    only = session_of(parameter("a", 0.0, 1.0))
    (found,) = spec_of(only, [transformation(transform=lambda x: x**2)]).values()
    u = np.array([0.01, 0.3, 0.99])
    assert found.ppf(u) == pytest.approx(u**2)
    assert found.cdf(u**2) == pytest.approx(u, abs=1e-12)
    assert found.log_prob(u**2) == pytest.approx(-np.log(2 * u), abs=1e-4)
    assert found.log_prob(np.array([-0.1, 1.1])) == pytest.approx(-np.inf)
    (falling,) = spec_of(only, [transformation(transform=lambda x: 1 - x**2)]).values()
    assert falling.cdf(falling.ppf(u)) == pytest.approx(u, abs=1e-12)
    assert falling.ppf(np.array([0.0, 1.0])) == pytest.approx([0.0, 1.0])


def test_data_groups_by_the_models_first_index():
    two = session_of(parameter("a", 0.0, 1.0, index=1), parameter("c", 0.0, 1.0, index=4))
    listed = [transformation(1, lambda x: x), transformation(2, lambda x: x / 2, model=FakeModel(start=3), name="a")]
    assert spec_of(two, listed)["model.c"].high == 0.5


@pytest.mark.parametrize(
    ("listed", "message"),
    [
        ([transformation(1)], "freeze them"),
        ([transformation(1), transformation(1), transformation(2)], "two transformations for a"),
        ([transformation(7)], "not free"),
        ([transformation(1, lambda x: 1 / x), transformation(2)], "fails on the unit interval"),
        ([transformation(1, lambda x: np.sin(20 * x)), transformation(2)], "monotonic"),
        ([(0, 1), (0, 2)], "must be BXA's transformations"),
    ],
)
def test_refused_in_one_line(listed, message):
    with pytest.raises(PriorError, match=message) as error:
        spec_of(SESSION, listed)
    assert "\n" not in str(error.value)


def test_prior_from_the_texts_of_a_result():
    given = [
        Uniform(0.1, 0.7),
        LogUniform(1e-5, 1e-2),
        Gaussian(1.8, 0.2).truncated(1.5, 3.0),
        scipy.stats.lognorm(0.5, scale=2.0),
        scipy.stats.expon(0.0, 3.0),
    ]
    prior = Prior([parameter(f"p{i}", 0, 100) for i in range(5)], given)
    rows = [{"name": r["name"], "prior": r["prior"], "prior_origin": r["origin"]} for r in prior.describe()]
    again = prior_of_rows(rows)
    u = np.random.default_rng(1).random((50, 5))
    assert again.ppf(u) == pytest.approx(prior.ppf(u), rel=1e-8)


def test_a_function_cannot_be_rebuilt_from_text():
    rows = [{"name": "a", "prior": "BXA transformation a", "prior_origin": "explicit"}]
    with pytest.raises(PriorError, match="hand over the prior"):
        prior_of_rows(rows)
