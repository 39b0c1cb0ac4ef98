"""Where training spectra come from: normalised densities, and a region that holds what it should."""

import numpy as np
import pytest

from xsixsa.amortised.region import Region
from xsixsa.amortised.training_prior import TrainingPrior
from xsixsa.errors import UsageError
from xsixsa.inference.proposals import PriorProposal


def evaluate(z):
    """Two bins whose counts grow with the first coordinate."""
    return np.exp(z[:, :1] + np.log([[30.0, 70.0]])), np.ones(len(z), bool)


def test_the_range_of_counts_is_exact_and_the_density_normalised():
    prior = TrainingPrior(2, (10.0, 10.0), 10.0, counts=(100.0, 200.0), background=5.0)
    drawn = prior.draw(4_000, np.random.default_rng(1), evaluate)
    total = drawn.expected.sum(axis=1) + 5.0
    assert len(drawn) == 4_000 and total.min() >= 100.0 and total.max() <= 200.0
    # the mass of log(0.95) < z < log(1.95) under a normal
    from scipy.stats import norm

    mass = norm.cdf(np.log(1.95)) - norm.cdf(np.log(0.95))
    assert prior.log_volume == pytest.approx(np.log(mass), abs=0.05)
    z = PriorProposal(2).sample(200_000, np.random.default_rng(2))
    expected, _ = evaluate(z)
    ratio = np.exp(prior.log_prob(z, expected, np.full(len(z), 10.0)) - PriorProposal(2).log_prob(z))
    assert ratio.mean() == pytest.approx(1.0, abs=0.03)


def test_exposures_are_log_uniform_within_the_range_of_counts():
    free = TrainingPrior(1, (10.0, 1_000.0), 100.0)
    logs = np.log10(free.draw(5_000, np.random.default_rng(1), evaluate).exposure)
    assert logs.mean() == pytest.approx(2.0, abs=0.03) and logs.std() == pytest.approx(2 / 12**0.5, abs=0.02)
    bound = TrainingPrior(1, (10.0, 1_000.0), 100.0, counts=(50.0, 500.0))
    drawn = bound.draw(2_000, np.random.default_rng(1), evaluate)
    total = drawn.expected.sum(axis=1) * drawn.exposure / 100.0
    assert 50.0 <= total.min() < 60.0 and 420.0 < total.max() <= 500.0
    rng = np.random.default_rng(3)
    z, exposure = rng.standard_normal((200_000, 1)), 10 ** rng.uniform(1, 3, 200_000)
    density = np.exp(bound.log_prob(z, evaluate(z)[0], exposure) - PriorProposal(1).log_prob(z))
    assert (density * np.log(100.0)).mean() == pytest.approx(1.0, abs=0.05)


def test_failing_models_are_left_out_and_counted():
    def failing(z):
        expected, valid = evaluate(z)
        return expected, valid & (z[:, 1] > 0)

    prior = TrainingPrior(2, (1.0, 1.0), 1.0)
    drawn = prior.draw(1_000, np.random.default_rng(1), failing)
    assert (drawn.z[:, 1] > 0).all() and prior.accepted == pytest.approx(0.5 * prior.tried, rel=0.1)
    with pytest.raises(UsageError, match="valid statistic"):
        prior.draw(5_000, np.random.default_rng(1), lambda z: (evaluate(z)[0], np.zeros(len(z), bool)))


def test_a_range_that_nothing_reaches():
    prior = TrainingPrior(2, (1.0, 1.0), 1.0, counts=(1e6, 2e6))
    with pytest.raises(UsageError, match=r"of the prior gives 1e\+06 to 2e\+06 counts: widen"):
        prior.draw(3_000, np.random.default_rng(1), evaluate)


@pytest.mark.parametrize("width", [0.3, 0.004], ids=["box", "resampled"])
def test_the_region_is_the_prior_inside_the_union(width):
    rng = np.random.default_rng(1)
    # three posteriors along a bend; the narrow ones fill next to nothing of the box around them
    centres = np.array([[-1.0, 1.0, 0.0], [0.0, 0.0, 0.5], [1.2, 1.4, -1.0]])
    draws = np.concatenate([c + width * rng.standard_normal((4_000, 3)) for c in centres])
    region = Region.around(draws, rng)
    assert (region.acceptance >= 2e-3) == (width > 0.1)
    assert region.contains(draws).mean() > 0.99
    z = region.sample(4_000, rng)
    assert region.contains(z).all()
    again = Region.from_state(region.state())
    np.testing.assert_array_equal(again.log_prob(z), region.log_prob(z))
    # what the region holds of the prior, from the region's own draws: a known density integrates over it alike
    near = np.abs(z - centres[1]).max(axis=1) < 3.0 * width
    box = centres[1] + 6.0 * width * (rng.random((200_000, 3)) - 0.5)
    inside = np.exp(region.log_prob(box)).mean() * (6.0 * width) ** 3
    assert near.mean() == pytest.approx(inside, rel=0.12)
    # and it is normalised
    log_q = region.mixture.widened(3.0)
    points = log_q.sample(300_000, rng)
    assert np.exp(region.log_prob(points) - log_q.log_prob(points)).mean() == pytest.approx(1.0, abs=0.08)
