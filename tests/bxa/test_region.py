"""Cells and regions: the mass is exact, the map is the restricted prior, and its inverse is its inverse."""

import json

import numpy as np
import pytest
from scipy.stats import kstest, norm, ortho_group

from xsixsa.bxa.region import EDGE, Cell, Region, disjoint


def straight(rng, d=3, centre=0.5):
    rotation = ortho_group.rvs(d, random_state=rng)
    return Cell.box(rotation, np.full(d, centre - 0.6), np.full(d, centre + 0.9))


def bent(rng, d=3):
    rotation = ortho_group.rvs(d, random_state=rng)
    knots = np.linspace(-1.0, 1.5, 5)
    middle = np.column_stack([0.7 * knots**2, 0.3 * np.sin(2 * knots)])[:, : d - 1]
    width = np.array([0.3, 0.5, 0.4, 0.6, 0.2])[:, None]
    return Cell(rotation, knots, middle - width, middle + width)


CELLS = {"straight": straight, "bent": bent}


@pytest.mark.parametrize("kind", CELLS)
def test_mass_is_that_of_the_prior_inside(kind):
    rng = np.random.default_rng(3)
    cell = CELLS[kind](rng)
    share = cell.contains(rng.standard_normal((400_000, 3))).mean()
    error = np.sqrt((1 - share) / share / 400_000)
    assert cell.log_mass == pytest.approx(np.log(share), abs=4 * error)


@pytest.mark.parametrize("kind", CELLS)
def test_map_and_inverse(kind):
    rng = np.random.default_rng(4)
    cell = CELLS[kind](rng)
    v = rng.random((2_000, 3))
    z = cell.from_cube(v)
    assert cell.contains(z).all()
    assert cell.to_cube(z) == pytest.approx(v, abs=1e-9)
    assert np.isnan(cell.to_cube(z + 20)).all()


@pytest.mark.parametrize("kind", CELLS)
def test_uniform_points_become_the_restricted_prior(kind):
    """Against rejection from the whole prior, along the parameters' own axes."""
    rng = np.random.default_rng(5)
    cell = CELLS[kind](rng)
    mapped = cell.from_cube(rng.random((20_000, 3)))
    prior = rng.standard_normal((1_000_000, 3))
    rejected = prior[cell.contains(prior)]
    for axis in range(3):
        assert kstest(mapped[:, axis], rejected[:, axis]).pvalue > 1e-3


def test_quadrature_along_the_spine_is_exact():
    """A bent cell with straight sides in disguise: the product of probabilities."""
    knots = np.array([-0.5, 0.2, 1.0])
    cell = Cell(np.eye(2), knots, np.array([[-1.0], [-1.0], [-1.0 - 1e-12]]), np.ones((3, 1)))
    expected = np.log(norm.cdf(1) - norm.cdf(-0.5)) + np.log(norm.cdf(1) - norm.cdf(-1))
    assert cell.log_mass == pytest.approx(expected, abs=1e-10)


def test_far_tails_keep_their_digits():
    for low, high in ((6.0, 7.0), (-7.0, -6.0)):
        cell = Cell.box(np.eye(2), [low, -1.0], [high, 1.0])
        mass = norm.logsf(6) + np.log1p(-norm.sf(7) / norm.sf(6)) + np.log(norm.cdf(1) - norm.cdf(-1))
        assert cell.log_mass == pytest.approx(mass, abs=1e-9)
        v = np.random.default_rng(0).random((500, 2))
        assert cell.to_cube(cell.from_cube(v)) == pytest.approx(v, abs=1e-6)


def test_region_of_several_cells():
    rng = np.random.default_rng(6)
    cells = [straight(rng, centre=-2.0), bent(rng), straight(rng, centre=3.0)]
    region = Region(cells)
    assert np.exp(region.log_mass) == pytest.approx(sum(np.exp(c.log_mass) for c in cells))
    v = rng.random((5_000, 3))
    z = region.from_cube(v)
    assert region.to_cube(z) == pytest.approx(v, abs=1e-9)
    which, own = region.locate(v)
    assert np.bincount(which, minlength=3) / 5_000 == pytest.approx(
        [np.exp(c.log_mass - region.log_mass) for c in cells], abs=0.03
    )
    for i, cell in enumerate(cells):
        assert cell.from_cube(own[which == i]) == pytest.approx(z[which == i], abs=1e-9)


def test_overlapping_cells_are_refused():
    rng = np.random.default_rng(7)
    a, b = straight(rng), straight(rng, centre=0.7)
    assert not disjoint(a, b)
    with pytest.raises(ValueError, match="overlap"):
        Region([a, b])


def test_an_edge_at_the_end_of_the_prior_is_no_cut():
    cell = Cell.box(np.eye(2), [-20.0, -1.0], [0.0, 1.0])
    assert not cell.cut(0, upper=False)
    assert cell.cut(0, upper=True)
    assert cell.outer[0][0] == -EDGE


@pytest.mark.parametrize("kind", CELLS)
@pytest.mark.parametrize("axis", [0, 2])
@pytest.mark.parametrize("upper", [False, True])
def test_moving_an_edge_only_adds(kind, axis, upper):
    rng = np.random.default_rng(8)
    cell = CELLS[kind](rng)
    wider = cell.moved(axis, upper, 0.5)
    assert wider.log_mass > cell.log_mass
    inside = cell.from_cube(rng.random((2_000, 3)))
    assert wider.contains(inside).all()


def test_survives_json():
    rng = np.random.default_rng(9)
    region = Region([straight(rng, centre=-2.0), bent(rng)])
    again = Region.from_dict(json.loads(json.dumps(region.as_dict())))
    v = rng.random((100, 3))
    assert np.array_equal(region.from_cube(v), again.from_cube(v))
    assert region.log_mass == again.log_mass
