"""Components against closed forms, and what holds for every one of them."""

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import gammaincc, gammaln

from xsixsa.embedded.components import ModelContext, available, find
from xsixsa.embedded.components.cross_sections import grain_shielding, ism_phases
from xsixsa.errors import ModelError

CONTEXT = ModelContext(abund="wilm", xsect="vern")
# bins of 5 to 15 eV like those of a CCD's response
EDGES = np.concatenate([np.arange(0.1, 2.0, 0.005), np.arange(2.0, 12.0, 0.015)])
EVERY = pytest.mark.parametrize("component", [c() for c in available()], ids=lambda c: c.name)


def evaluate(name, *parameters, edges=EDGES, context=CONTEXT):
    component = find(name)()
    return component.evaluate(edges, np.atleast_2d(np.array(parameters, dtype=float)), context)


def draw(component, n, rng):
    """Parameter vectors between the soft limits, where these are sensible, else around the start value."""
    columns = []
    for spec in component.parameters:
        if spec.name in component.scale:
            columns.append(np.full(n, spec.value))
            continue
        low = max(spec.bottom, 0.2 * spec.value if spec.value > 0 else -0.3)
        high = min(spec.top, 4.0 * spec.value if spec.value > 0 else 0.5)
        columns.append(rng.uniform(low, high, n))
    return np.stack(columns, axis=1)


@EVERY
def test_a_row_does_not_depend_on_the_batch(component):
    p = draw(component, 7, np.random.default_rng(1))
    prepared = component.prepare(EDGES, CONTEXT)
    together = component.evaluate(EDGES, p, CONTEXT, prepared)
    assert together.shape == (7, len(EDGES) - 1)
    assert together.dtype == np.float64
    for row, vector in zip(together, p, strict=True):
        np.testing.assert_array_equal(row, component.evaluate(EDGES, vector[None], CONTEXT, prepared)[0])
    # half of a batch that is strided in memory
    np.testing.assert_array_equal(together[::2], component.evaluate(EDGES, p[::2], CONTEXT))


@EVERY
def test_values_are_finite_where_the_response_begins_at_zero(component):
    edges = np.concatenate([[0.0], np.geomspace(0.01, 60.0, 400)])
    values = component.evaluate(edges, draw(component, 4, np.random.default_rng(2)), CONTEXT)
    assert np.isfinite(values).all()
    assert (values >= 0).all()


def draw_extreme(spec, rng):
    """A value between the hard limits, often one of them, over decades where the range has decades."""
    if rng.random() < 0.3:
        return rng.choice([spec.min, spec.max])
    if spec.min > 0:
        return np.exp(rng.uniform(np.log(spec.min), np.log(spec.max)))
    if spec.max > 1e3:
        return 10 ** rng.uniform(-6, np.log10(spec.max))
    return rng.uniform(spec.min, spec.max)


@EVERY
@pytest.mark.parametrize("xsect", ["vern", "bcmc"])
@pytest.mark.parametrize("edges", [np.append(0.0, np.geomspace(0.01, 60, 50)), np.array([1.0, 2.0]), EDGES[500:530]])
@pytest.mark.filterwarnings("error")
def test_every_value_inside_the_hard_limits_has_an_answer(component, edges, xsect):
    rng = np.random.default_rng(6)
    p = np.array([[draw_extreme(spec, rng) for spec in component.parameters] for _ in range(60)])
    values = component.evaluate(edges, p, ModelContext(abund="aspl", xsect=xsect))
    assert np.isfinite(values).all()
    assert (values >= 0).all()


@EVERY
def test_the_result_is_the_callers(component):
    p = draw(component, 2, np.random.default_rng(3))
    prepared = component.prepare(EDGES, CONTEXT)
    first = component.evaluate(EDGES, p, CONTEXT, prepared)
    kept = first.copy()
    first *= 0.0
    np.testing.assert_array_equal(component.evaluate(EDGES, p, CONTEXT, prepared), kept)


@EVERY
def test_limits_are_in_order(component):
    for spec in component.parameters:
        assert spec.min <= spec.bottom <= spec.value <= spec.top <= spec.max
        assert spec.delta != 0


@pytest.mark.parametrize(
    ("shifted", "plain"),
    [
        ("zpowerlw", "powerlaw"),
        ("zbbody", "bbody"),
        ("zgauss", "gaussian"),
        ("zphabs", "phabs"),
        ("zwabs", "wabs"),
        ("zedge", "edge"),
    ],
)
def test_redshift_zero_is_the_plain_component(shifted, plain):
    p = draw(find(plain)(), 3, np.random.default_rng(4))
    with_z = np.concatenate([p, np.zeros((3, 1))], axis=1)
    left = find(shifted)().evaluate(EDGES, with_z, CONTEXT)
    # XSPEC's redshifted components keep energies in single precision
    np.testing.assert_allclose(left, find(plain)().evaluate(EDGES, p, CONTEXT), rtol=2e-4, atol=1e-30)


def test_redshifted_power_law_is_a_shifted_one():
    np.testing.assert_allclose(
        evaluate("zpowerlw", 1.7, 0.5)[0], evaluate("powerlaw", 1.7, edges=1.5 * EDGES)[0] / 1.5, rtol=1e-12
    )


@pytest.mark.parametrize("index", [-1.0, 0.3, 0.99993, 1.0, 1.0 + 1e-9, 1.00011, 2.5])
def test_power_law_is_its_integral(index):
    flux = evaluate("powerlaw", index)[0]
    for j in (0, 200, 900):
        exact = quad(lambda e: e**-index, EDGES[j], EDGES[j + 1], epsrel=1e-13)[0]
        assert flux[j] == pytest.approx(exact, rel=1e-8)


def test_broken_power_law_continues_at_the_break():
    flux = evaluate("bknpower", 1.2, 3.003, 2.4)[0]
    below, above = EDGES[1:] < 3.0, EDGES[:-1] > 3.01
    np.testing.assert_allclose(flux[below], evaluate("powerlaw", 1.2)[0][below], rtol=1e-12)
    np.testing.assert_allclose(flux[above], 3.003**1.2 * evaluate("powerlaw", 2.4)[0][above], rtol=1e-11)
    j = int(np.searchsorted(EDGES, 3.003)) - 1

    def shape(energy):
        return energy**-1.2 if energy < 3.003 else 3.003**1.2 * energy**-2.4

    assert flux[j] == pytest.approx(quad(shape, EDGES[j], EDGES[j + 1], points=[3.003])[0], rel=1e-9)


@pytest.mark.parametrize("index", [-0.5, 0.4])
def test_cut_off_power_law_is_an_incomplete_gamma_function(index):
    order, cutoff = 1.0 - index, 4.0
    upper = gammaincc(order, EDGES / cutoff) * np.exp(gammaln(order)) * cutoff**order
    # XSPEC cuts its continued fraction at 1e-7, which narrow bins feel
    np.testing.assert_allclose(evaluate("cutoffpl", index, cutoff)[0], -np.diff(upper), rtol=1e-4)


def test_log_parabola_without_curvature_is_a_power_law():
    np.testing.assert_allclose(evaluate("logpar", 1.8, 0.0, 2.0)[0], 2.0**1.8 * evaluate("powerlaw", 1.8)[0], rtol=1e-8)


def test_gaussian_holds_one_photon():
    flux = evaluate("gaussian", [6.4, 0.05], [3.3, 0.2], [6.4, 0.0])
    np.testing.assert_allclose(flux.sum(axis=1), 1.0, rtol=1e-12)
    assert flux[2].max() == 1.0
    mean = (flux[:2] * 0.5 * (EDGES[1:] + EDGES[:-1])).sum(axis=1)
    np.testing.assert_allclose(mean, [6.4, 3.3], atol=1e-6)


def test_gaussian_outside_the_grid_is_nothing():
    assert evaluate("gaussian", 30.0, 0.1).sum() == 0.0
    assert evaluate("gaussian", 0.01, 0.001).sum() == 0.0


def test_redshift_dilutes_a_line():
    assert evaluate("zgauss", 6.4, 0.05, 0.6).sum() == pytest.approx(1.0 / 1.6, rel=1e-12)


def test_lorentz_is_normalised_over_positive_energies():
    edges = np.geomspace(1e-6, 1e6, 3000)
    assert evaluate("lorentz", 6.4, 0.3, edges=edges).sum() == pytest.approx(1.0, rel=1e-6)


def test_black_body_luminosity():
    edges = np.geomspace(1e-4, 60.0, 20_000)
    energy = 0.5 * (edges[1:] + edges[:-1])
    received = (evaluate("bbody", 1.3, edges=edges)[0] * energy).sum() * 1.602177e-9
    # norm 1 is 1e39 erg/s at 10 kpc
    assert received == pytest.approx(1e39 / (4.0 * np.pi * (10 * 3.085678e21) ** 2), rel=5e-3)


def test_black_body_of_one_kilometre():
    edges = np.geomspace(1e-4, 60.0, 20_000)
    energy = 0.5 * (edges[1:] + edges[:-1])
    for kt in (0.2, 2.0):
        received = (evaluate("bbodyrad", kt, edges=edges)[0] * energy).sum()
        assert received == pytest.approx(1.0344e-3 * kt**4 * np.pi**4 / 15.0, rel=1e-4)


def test_disc_is_a_sum_of_rings():
    tin, edges = 1.2, np.array([0.5, 0.51, 3.0, 3.05, 9.0, 9.2])
    flux = evaluate("diskbb", tin, edges=edges)[0]

    def density(energy):
        # r dr of rings at T = Tin r^(-3/4)
        return quad(lambda r: r / np.expm1(np.minimum(energy / tin * r**0.75, 700)), 1, np.inf, limit=500)[0]

    for j in (0, 2, 4):
        exact = quad(lambda e: 2.0 * 1.0344e-3 * e**2 * density(e), edges[j], edges[j + 1], epsrel=1e-9)[0]
        assert flux[j] == pytest.approx(1.004237 * exact, rel=1e-6)


def test_disc_at_low_energies_is_a_power_law():
    flux = evaluate("diskbb", 20.0, edges=np.array([1e-4, 1.01e-4, 8e-4, 8.08e-4]))[0]
    assert flux[2] / flux[0] == pytest.approx(8.0 * 8.0 ** (-2.0 / 3.0), rel=2e-3)


def test_bremsstrahlung_cools_smoothly():
    kt = np.array([[0.05], [0.136], [0.1359], [0.54], [0.5431], [1.0], [13.58], [13.59], [90.0]])
    flux = find("bremss")().evaluate(EDGES, kt, CONTEXT)
    assert (flux[:, :200] > 0).all()
    # the pieces of the Gaunt factor meet within a few per cent
    for a, b in ((1, 2), (3, 4), (6, 7)):
        np.testing.assert_allclose(flux[a, :50], flux[b, :50], rtol=0.06)


@pytest.mark.parametrize("approx", [0.5, 1.0, 2.0])
def test_comptonised_photons_follow_the_power_law_of_their_index(approx):
    from xsixsa.embedded.components.comptonisation import diffusion_rate, spectral_index

    edges = np.array([3.0, 3.03, 6.0, 6.06])
    flux = evaluate("compTT", 0.0, 0.02, 300.0, 1.5, approx, edges=edges)[0]
    alpha = spectral_index(diffusion_rate(1.5, approx > 1), 300.0 / 511.0)
    slope = np.log(flux[2] / flux[0] / 2.0) / np.log(2.0)
    assert slope == pytest.approx(-(alpha + 1.0), abs=0.05)


@pytest.mark.parametrize("name", ["TBabs", "phabs", "wabs"])
def test_nothing_in_the_way_absorbs_nothing(name):
    np.testing.assert_array_equal(evaluate(name, 0.0), 1.0)
    factor = evaluate(name, [0.1], [0.2])
    assert (factor[0] > factor[1]).all()
    above_edges = EDGES[:-1] > 7.2
    np.testing.assert_allclose(factor[0, above_edges] ** 2, factor[1, above_edges], rtol=1e-9)


def test_partial_covering_lets_the_rest_through():
    whole = evaluate("phabs", 3.0)
    np.testing.assert_array_equal(evaluate("pcfabs", 3.0, 0.0), 1.0)
    np.testing.assert_allclose(evaluate("pcfabs", 3.0, 1.0), whole, atol=1e-15)
    np.testing.assert_allclose(evaluate("pcfabs", 3.0, 0.25), 0.75 + 0.25 * whole, rtol=1e-14)


def test_grains_hide_atoms_only_where_they_are_opaque():
    energy = np.array([100.0, 540.0, 1000.0, 9000.0])
    _, grains = ism_phases(energy, "wilm", dust=True)
    shielded = grain_shielding(grains, "wilm") / grains
    assert (np.diff(shielded) > 0).all()
    assert shielded[0] < 0.8
    assert shielded[-1] == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize("abund", ["wilm", "angr", "aspl", "feld", "aneb", "grsa", "lodd"])
@pytest.mark.parametrize("name", ["TBabs", "phabs"])
def test_every_abundance_table_absorbs(name, abund):
    factor = evaluate(name, 1.0, context=ModelContext(abund=abund))
    assert 0.0 < factor[0, 400] < factor[0, 900] < 1.0


def test_unknown_settings_name_the_known_ones():
    with pytest.raises(ModelError, match="wilm"):
        evaluate("TBabs", 1.0, context=ModelContext(abund="none"))
    with pytest.raises(ModelError, match="vern and bcmc"):
        evaluate("phabs", 1.0, context=ModelContext(abund="angr", xsect="obcm"))
    with pytest.raises(ModelError, match="vern and bcmc"):
        evaluate("zphabs", 1.0, 0.1, context=ModelContext(abund="angr", xsect="obcm"))


def test_edge_begins_at_its_energy():
    factor = evaluate("edge", 7.1, 1.5)[0]
    assert (factor[EDGES[1:] < 7.1] == 1.0).all()
    j = int(np.searchsorted(EDGES, 8.0))
    middle = 0.5 * (EDGES[j] + EDGES[j + 1])
    assert factor[j] == pytest.approx(np.exp(-1.5 * (middle / 7.1) ** -3), rel=1e-5)


def test_absorption_line_takes_its_equivalent_width():
    # a shallow line removes Strength keV from a flat continuum, however narrow
    for sigma in (0.001, 0.05):
        factor = evaluate("gabs", 5.0, sigma, 1e-5)[0]
        assert ((1.0 - factor) * np.diff(EDGES)).sum() == pytest.approx(1e-5, rel=4e-3)


def test_simple_factors():
    middle = 0.5 * (EDGES[1:] + EDGES[:-1])
    np.testing.assert_array_equal(evaluate("constant", 2.5), 2.5)
    np.testing.assert_allclose(evaluate("expabs", 1.1)[0], np.exp(-1.1 / middle), rtol=5e-2)
    np.testing.assert_allclose(evaluate("expfac", 0.7, 0.4, 0.0)[0], 1 + 0.7 * np.exp(-0.4 * middle), rtol=1e-6)
    np.testing.assert_allclose(evaluate("expfac", 0.7, 0.0, 0.0)[0], 1.7, rtol=1e-6)
    above = EDGES[:-1] > 5.1
    np.testing.assert_allclose(evaluate("highecut", 5.0, 3.0)[0][above], np.exp((5.0 - middle) / 3.0)[above], rtol=1e-5)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("po", "powerlaw"),
        ("TBABS", "TBabs"),
        ("tbabs", "TBabs"),
        ("bb", "bbody"),
        ("bbodyr", "bbodyrad"),
        ("ga", "gaussian"),
        (" wabs ", "wabs"),
        ("const", "constant"),
        ("comptt", "compTT"),
        ("zp", "zpowerlw"),
    ],
)
def test_abbreviations(text, name):
    assert find(text).name == name


def test_unknown_components_name_the_nearest():
    with pytest.raises(ModelError, match="powerlaw"):
        find("powrlaw")
    with pytest.raises(ModelError, match="HEASoft"):
        find("disk")
    with pytest.raises(ModelError):
        find("p")
