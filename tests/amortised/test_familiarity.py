"""Good spectra are flagged at the stated rate, spectra of another model always."""

import numpy as np
import pytest
from scipy.stats import binomtest

from tests.amortised.exact import PowerLaw
from xsixsa.amortised.familiarity import Familiarity, _components, _local, _reproduce
from xsixsa.amortised.ranks import uniform_p
from xsixsa.errors import UsageError

LINE = slice(40, 43)


@pytest.fixture(scope="module")
def net():
    return PowerLaw()


@pytest.fixture(scope="module")
def known(net):
    return Familiarity.fit(net, net.drawn(4_000, 1), np.random.default_rng(2))


def spectra(net, n, seed, spoil=None):
    drawn, rng = net.drawn(n, seed), np.random.default_rng(seed + 1)
    expected = drawn.expected.copy()
    if spoil:
        spoil(expected)
    return rng.poisson(expected).astype(float)


def test_false_alarm_rate(net, known):
    found = known.check(net, spectra(net, 3_000, 10))
    assert binomtest(int(found.flagged.sum()), 3_000, 0.01).pvalue > 1e-3
    # the probability is one: uniform for good spectra
    assert uniform_p(found.p) > 1e-3
    assert known.check(net, spectra(net, 200, 11)).flagged.sum() <= 8


@pytest.mark.parametrize("rate", [0.05, 0.002])
def test_other_rates(net, rate):
    known = Familiarity.fit(net, net.drawn(8_000, 3), np.random.default_rng(4), false_alarm=rate)
    flagged = int(known.check(net, spectra(net, 4_000, 12)).flagged.sum())
    assert binomtest(flagged, 4_000, rate).pvalue > 1e-3


def test_line_that_the_model_lacks(net, known):
    def line(expected):
        expected[:, LINE] += 0.05 * expected.sum(axis=1, keepdims=True)

    found = known.check(net, spectra(net, 200, 20, line))
    bright = found.total > 500
    assert bright.sum() > 100
    assert found.flagged[bright].all()
    strongest = " ".join(found.reasons[int(np.argmax(found.total))])
    assert "more counts at 40-4" in strongest and "sigma" in strongest


def test_line_is_seen_where_the_summary_ignores_it(net):
    """A summary of two numbers knows nothing about a line: the counts do."""
    blind = PowerLaw(size=2)
    known = Familiarity.fit(blind, blind.drawn(4_000, 1), np.random.default_rng(2))

    def absorbed(expected):
        expected[:, LINE] *= 0.2

    counts = spectra(blind, 1_500, 21, absorbed)
    counts = counts[counts[:, 37:40].sum(axis=1) > 150]
    found = known.check(blind, counts)
    assert len(counts) > 30 and found.flagged.all()
    assert (found.tests["distance"] > 0.01).mean() > 0.5
    assert any("fewer counts" in reason for reason in found.reasons[0])


def test_other_continuum(net, known):
    """A steeper spectrum than any of the prior, without a feature."""
    expected = net.expected(np.array([[4.5, 300.0]]))
    counts = np.random.default_rng(5).poisson(expected, (20, expected.shape[1])).astype(float)
    found = known.check(net, counts)
    assert found.flagged.all()
    assert all(reasons for reasons in found.reasons)


def test_counts_outside_the_range(net, known):
    many = spectra(net, 3, 30) + 50_000
    found = known.check(net, many)
    assert found.flagged.all() and "was trained on spectra of" in found.reasons[0][0]
    none = known.check(net, np.zeros((1, 60)))
    assert none.flagged.all() and none.reasons[0][0].startswith("0 counts")


def test_one_spectrum_is_enough(net, known):
    counts = spectra(net, 5, 40)
    together = known.check(net, counts)
    for i, one in enumerate(counts):
        alone = known.check(net, one)
        assert len(alone) == 1 and alone[0] == together[i]


def test_state_comes_back(net, known):
    again = Familiarity.from_state(known.state())
    counts = spectra(net, 100, 50)
    np.testing.assert_array_equal(again.check(net, counts).p, known.check(net, counts).p)
    plain = known.state()
    assert all(isinstance(v, (np.ndarray, float, int, list, dict)) for v in plain.values())


def test_too_few_simulations_for_the_rate(net):
    with pytest.raises(UsageError, match="400 can"):
        Familiarity.fit(net, net.drawn(300, 1), np.random.default_rng(1))
    with pytest.raises(UsageError, match="must lie between"):
        Familiarity.fit(net, net.drawn(300, 1), np.random.default_rng(1), false_alarm=0.0)


def test_components_reproduce_what_the_model_makes(net):
    """Noiseless spectra to a fraction of one in C-stat, so that noise alone is left in the residual."""
    total = net.drawn(500, 60).expected
    basis = _components(total)
    assert len(basis) < 12
    again = _reproduce(basis, total)
    loss = 2 * (again - total + total * np.log(total / again)).sum(axis=1)
    assert np.quantile(loss, 0.99) < 1.0
    # the most likely expectation: no better one in the span
    counts = np.random.default_rng(1).poisson(total).astype(float)
    found = _reproduce(basis, counts)
    slope = (counts / np.sqrt(found) - np.sqrt(found)) @ basis.T
    assert np.quantile(np.abs(slope), 0.99) < 0.05


def test_local_excess_is_where_it_was_put():
    expected = np.full((2, 50), 10.0)
    counts = expected.copy()
    counts[0, 20:22] += 20
    counts[1, 5] = 0
    sigma, place = _local(counts, expected, 50)
    assert place[0][:2] == (20, 21) and place[0][2] == pytest.approx(sigma[0])
    assert place[1][:2] == (5, 5) and place[1][2] == pytest.approx(-np.sqrt(20))
