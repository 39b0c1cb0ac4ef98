"""Modes of weighted samples: two where there are two, one however curved where there is one."""

from types import SimpleNamespace

import numpy as np
import pytest
from scipy.special import ndtr

from xsixsa.modes import find_modes, modes_of


def number(z, weights=None):
    weights = np.ones(len(z)) if weights is None else weights
    return find_modes(z, weights / weights.sum()).max() + 1


def banana(n, d, rng):
    z = rng.standard_normal((n, d))
    z[:, 0] *= 2
    z[:, 1] = 0.2 * z[:, 1] + 0.2 * (z[:, 0] ** 2 - 4)
    return z


def arc(n, d, rng):
    """Most of a thin ring."""
    angle, z = rng.standard_normal(n), rng.standard_normal((n, d))
    radius = 1 + 0.04 * z[:, 0]
    return np.stack([radius * np.cos(angle), radius * np.sin(angle), *z[:, 2:].T], axis=1)


def funnel(n, d, rng):
    z = rng.standard_normal((n, d))
    z[:, 1:] *= np.exp(z[:, :1])
    return z


SHAPES = {
    "normal": lambda n, d, rng: rng.standard_normal((n, d)) @ rng.standard_normal((d, d)),
    "student": lambda n, d, rng: rng.standard_normal((n, d)) / np.sqrt(rng.chisquare(4, size=(n, 1)) / 4),
    "box": lambda n, d, rng: rng.random((n, d)),
    "exponential": lambda n, d, rng: rng.exponential(size=(n, d)),
    "banana": banana,
    "arc": arc,
    "funnel": funnel,
}


@pytest.mark.parametrize("shape", SHAPES)
def test_one_mode_is_one(shape):
    rng = np.random.default_rng(1)
    z = SHAPES[shape](3000, 3, rng)
    assert number(z) == 1
    assert number(z, rng.exponential(size=len(z))) == 1


def two(rng, n, d, share, separation, width=1.0):
    z = rng.standard_normal((n, d))
    second = rng.random(n) < share
    z[second] *= width
    z[second, 0] += separation
    return z, second


@pytest.mark.parametrize("d", [1, 2, 5])
@pytest.mark.parametrize(("share", "separation", "width"), [(0.3, 6, 1), (0.05, 8, 1), (0.3, 5, 0.03), (0.45, 4.6, 1)])
def test_two_modes_and_their_weights(share, separation, width, d):
    rng = np.random.default_rng(2)
    z, second = two(rng, 4000, d, share, separation, width)
    label = find_modes(z, np.full(len(z), 1 / len(z)))
    assert label.max() == 1
    assert (label[second] == 1).mean() > 0.97 and (label[~second] == 0).mean() > 0.97


def test_humps_without_a_valley_are_one_mode():
    rng = np.random.default_rng(3)
    # Between two normals 3 sigma apart the density falls to 0.65 of the peaks only.
    assert number(two(rng, 4000, 2, 0.5, 3.0)[0]) == 1


def test_three_modes_on_a_curve():
    rng = np.random.default_rng(4)
    centres = np.array([[0, 0], [6, 3], [12, 0]])
    which = rng.choice(3, p=[0.5, 0.3, 0.2], size=4000)
    label = find_modes(centres[which] + rng.standard_normal((4000, 2)), np.full(4000, 1 / 4000))
    np.testing.assert_allclose(np.bincount(label) / 4000, np.bincount(which) / 4000, atol=0.01)


def test_scatter_of_a_few_heavy_draws_is_no_mode():
    rng = np.random.default_rng(5)
    z = np.vstack([rng.standard_normal((2000, 2)), 8 + 0.01 * rng.standard_normal((3, 2))])
    weights = np.r_[np.ones(2000), np.full(3, 20.0)]
    assert number(z, weights) == 1
    assert number(z[:40]) == 1 and number(np.zeros((500, 2))) == 1


def weighted_result(rng, n=30_000, share=0.3):
    """Two modes drawn too widely and weighted, as a pool is."""
    centres, q_share = np.array([[-1.0, 0.5], [1.0, -0.5]]), 0.5
    second = rng.random(n) < q_share
    z = centres[second.astype(int)] + 0.25 * rng.standard_normal((n, 2))

    def density(width, p):
        r = [((z - c) ** 2).sum(axis=1) / width**2 for c in centres]
        return ((1 - p) * np.exp(-0.5 * r[0]) + p * np.exp(-0.5 * r[1])) / width**2

    w = density(0.2, share) / density(0.25, q_share)
    return SimpleNamespace(
        names=["a", "b"],
        theta=10 * z,
        u=ndtr(z),
        weights=w / w.sum(),
        statistic=-2 * np.log(density(0.2, share)),
    )


def test_numbers_of_each_mode():
    pulls = []
    for seed in range(8):
        modes = modes_of(weighted_result(np.random.default_rng(seed)))
        assert len(modes) == 2
        assert modes[0]["weight"] + modes[1]["weight"] == pytest.approx(1)
        for mode, centre in zip(modes, ((-10, 5), (10, -5)), strict=True):
            assert mode["mean"]["a"] == pytest.approx(centre[0], abs=0.1)
            assert mode["mean"]["b"] == pytest.approx(centre[1], abs=0.1)
            assert mode["std"]["a"] == pytest.approx(2, abs=0.1)
            assert mode["best"]["a"] == pytest.approx(centre[0], abs=0.5)
        assert modes[0]["best_statistic"] < modes[1]["best_statistic"]
        pulls.append((modes[1]["weight"] - 0.3) / modes[1]["weight_err"])
    assert np.abs(pulls).max() < 3.5 and np.std(pulls) > 0.2


def test_summary_file_and_reload_name_the_modes(tmp_path):
    import json

    import xsixsa
    from tests.core.analytic import two_modes
    from tests.core.test_analytic import NO_NETWORK, solve
    from xsixsa.run import write_run

    result = solve(two_modes(share=0.3)[0], NO_NETWORK)
    write_run(result, tmp_path)
    assert "2 modes, holding 0." in result.summary() and "mode 2 " in result.summary()
    again = xsixsa.load(tmp_path)
    assert again.modes == result.modes and again.summary() == result.summary()
    stored = json.loads((tmp_path / "summary.json").read_text())["modes"]
    assert [m["weight"] for m in stored] == [m["weight"] for m in result.modes]
    assert stored[1]["weight"] == pytest.approx(0.3, abs=0.05)
