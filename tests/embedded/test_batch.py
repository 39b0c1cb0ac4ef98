"""Many parameter vectors at once give what one at a time gives, and change nothing."""

import numpy as np
import pytest

from tests.embedded.ogip import write_rmf
from xsixsa.errors import ModelError


def _one_by_one(xspec, keys, theta):
    rows, statistics = [], []
    for values in theta:
        by_model = {}
        for (name, group, index), value in zip(keys, values, strict=True):
            by_model.setdefault((name, group), {})[index] = float(value)
        arguments = [part for (name, group), pars in by_model.items() for part in (xspec.AllModels(group, name), pars)]
        xspec.AllModels.setPars(*arguments)
        statistics.append(xspec.Fit.statistic)
        rows.append({n: np.array(xspec.AllModels(xspec.AllData(n).dataGroup).folded(n)) for n in range(1, 3)})
    return rows, np.array(statistics)


@pytest.fixture
def joint(xspec, number, files):
    """Two data groups with different responses, links across groups, and a second source."""
    write_rmf(files / "second.rmf")
    names = [f"variant{number[n]}.pha" for n in ("background", "several groups per energy")]
    xspec.AllData(f"1:1 {names[0]} 2:2 {names[1]}")
    xspec.AllData.ignore("**-0.35 9.0-**")
    xspec.AllData(1).multiresponse[1] = "second.rmf"
    xspec.Fit.statMethod = "cstat"
    xspec.Model("TBabs(po+bbodyrad)", setPars=(0.1, 1.7, 5e-4, 0.5, 3.0))
    xspec.Model("po", "bkg", 2, setPars=(0.5, 1e-3))
    xspec.AllModels(2)(2).untie()
    xspec.AllModels(2)(3).link = "1.5*p3 + bkg:p2/10."
    return xspec, [("", 1, 1), ("", 1, 2), ("", 1, 3), ("", 2, 2), ("bkg", 1, 2)]


def test_batch_equals_one_at_a_time(joint):
    xspec, keys = joint
    rng = np.random.default_rng(5)
    theta = rng.uniform([0.0, 1.0, 1e-4, 1.0, 1e-4], [0.5, 3.0, 1e-3, 3.0, 1e-2], size=(300, 5))
    before = [p.values for g in (1, 2) for p in xspec.AllModels(g).parameters]
    folded, statistic = xspec.AllModels.evaluateBatch(keys, theta)
    assert [p.values for g in (1, 2) for p in xspec.AllModels(g).parameters] == before
    assert set(folded) == {1, 2} and set(folded[1]) == {"", "bkg"} and set(folded[2]) == {""}
    rows, single = _one_by_one(xspec, keys, theta[:20])
    np.testing.assert_allclose(statistic[:20], single, rtol=1e-12)
    for i, row in enumerate(rows):
        for n in (1, 2):
            np.testing.assert_allclose(folded[n][""][i], row[n], rtol=1e-12)
    again = xspec.AllModels.evaluateBatch(keys, theta[37:61])
    np.testing.assert_allclose(again[1], statistic[37:61], rtol=1e-12)


def test_links_reach_every_row(joint):
    xspec, keys = joint
    theta = np.array([[0.1, 1.7, 5e-4, 2.0, 1e-3], [0.1, 1.7, 1e-3, 2.0, 1e-3]])
    folded, _ = xspec.AllModels.evaluateBatch(keys, theta)
    xspec.AllModels(2)(3).untie()
    wanted, _ = xspec.AllModels.evaluateBatch(
        [*keys, ("", 2, 3)], np.column_stack([theta, 1.5 * theta[:, 2] + theta[:, 4] / 10.0])
    )
    np.testing.assert_allclose(folded[2][""], wanted[2][""], rtol=1e-13)


def test_folding_a_power_law_is_the_matrix_product(loaded):
    xspec, spectrum, model = loaded
    photons, response = np.array(model.values(1)), spectrum.response
    full = response.folding(spectrum.group, np.arange(spectrum.n_groups))
    np.testing.assert_allclose(model.folded(1), (full @ photons)[spectrum.mask], rtol=1e-12)
    edges = np.array(model.energies(1))
    pure = xspec.Model("po", setPars=(2.0, 3.0))
    np.testing.assert_allclose(pure.values(1), 3.0 * (1 / edges[:-1] - 1 / edges[1:]), rtol=1e-9)


def test_batch_follows_every_change_of_the_session(loaded):
    xspec, spectrum, model = loaded
    keys, theta = [("", 1, 1)], np.array([[0.1], [0.3]])

    def now():
        return xspec.AllModels.evaluateBatch(keys, theta)[1]

    first = now()
    assert first[0] == pytest.approx(xspec.Fit.statistic, rel=1e-12)
    spectrum.ignore("1-5")
    fewer = now()
    assert np.all(fewer < first)
    spectrum.notice("all")
    spectrum.ignore("**-0.35 9.0-**")
    assert np.array_equal(now(), first)
    model(2).values = 2.0
    changed = now()
    assert not np.allclose(changed, first)
    xspec.Xset.abund = "wilm"
    assert not np.allclose(now(), changed, rtol=1e-6)
    spectrum.background = None
    assert xspec.Fit.statistic == pytest.approx(now()[0], rel=1e-12)


def test_not_finite_is_not_a_likelihood(loaded):
    xspec, _, _ = loaded
    _, statistic = xspec.AllModels.evaluateBatch([("", 1, 2)], np.array([[1.7], [np.nan]]))
    assert np.isfinite(statistic[0]) and np.isnan(statistic[1])


def test_wrong_keys_and_shapes(loaded):
    xspec, _, _ = loaded
    for keys, theta in (
        ([("", 1, 9)], np.ones((1, 1))),
        ([("x", 1, 1)], np.ones((1, 1))),
        ([("", 3, 1)], np.ones((1, 1))),
        ([("", 1, 1)], np.ones((1, 2))),
        ([("", 1, 1)], np.ones(3)),
    ):
        with pytest.raises(ModelError):
            xspec.AllModels.evaluateBatch(keys, theta)


def test_an_empty_batch(loaded):
    xspec, spectrum, _ = loaded
    folded, statistic = xspec.AllModels.evaluateBatch([("", 1, 1)], np.empty((0, 1)))
    assert statistic.shape == (0,) and folded[1][""].shape == (0, len(spectrum.noticed))


def test_a_matrix_cut_into_blocks_folds_as_the_whole():
    from scipy import sparse

    from xsixsa.embedded.evaluate import _Fold

    rng = np.random.default_rng(3)
    matrix = np.where(np.arange(60) * 6 <= np.arange(400)[:, None], rng.random((400, 60)), 0.0).T
    fold = _Fold(None, 1, 0)
    fold.keep(sparse.csr_array(matrix))
    photons = rng.random((7, 400))
    assert fold.blocks
    np.testing.assert_allclose(fold(photons), photons @ matrix.T, rtol=1e-12)
    # what every energy reaches stays whole
    fold = _Fold(None, 1, 0)
    fold.keep(sparse.csr_array(rng.random((60, 400))))
    assert not fold.blocks and fold(photons).shape == (7, 60)
