"""Expressions, parameters, links and data groups, as PyXspec has them."""

import numpy as np
import pytest

from tests.embedded.ogip import write_rmf
from xsixsa.errors import ModelError, UsageError


@pytest.mark.parametrize(
    ("given", "text", "names"),
    [
        ("const*TBabs(bbodyrad+po)+ga+po", "constant*TBabs(bbodyrad + powerlaw) + gaussian + powerlaw", "powerlaw_6"),
        ("TBabs * (po + ga)", "TBabs(powerlaw + gaussian)", "gaussian"),
        ("(po+ga)*TBabs", "(powerlaw + gaussian)TBabs", "TBabs"),
        ("TBabs(po)", "TBabs*powerlaw", "powerlaw"),
        ("TBabs*(phabs*(po+ga)+bbodyrad)", "TBabs(phabs(powerlaw + gaussian) + bbodyrad)", "bbodyrad"),
        ("(TBabs)po", "TBabs*powerlaw", "powerlaw"),
        ("TBabs(po+ga)const", "TBabs(powerlaw + gaussian)constant", "constant"),
        ("((po))", "powerlaw", "powerlaw"),
        ("TBabs*po + (ga+po)", "TBabs*powerlaw + gaussian + powerlaw", "powerlaw_4"),
        ("TBabs*TBabs*po", "TBabs*TBabs*powerlaw", "TBabs_2"),
        ("(TBabs*phabs)*(po+ga)", "(TBabs*phabs)(powerlaw + gaussian)", "phabs"),
        ("TBabs*(phabs*po)", "TBabs(phabs*powerlaw)", "phabs"),
    ],
)
def test_expressions_read_as_in_xspec(xspec, given, text, names):
    model = xspec.Model(given)
    assert model.expression == text
    assert names in model.componentNames


@pytest.mark.parametrize(
    "text", ["", "TBabs", "po*po", "po+TBabs", "TBabs*(po", "po)", "po+", "*po", "po+nosuch", "a b"]
)
def test_wrong_expressions_leave_the_model(xspec, text):
    model = xspec.Model("po")
    with pytest.raises(ModelError):
        xspec.Model(text)
    assert model(1).values[0] == 1.0


def test_deep_parentheses_are_refused_not_a_crash(xspec):
    with pytest.raises(ModelError, match="parentheses"):
        xspec.Model("(" * 5000 + "po" + ")" * 5000)


def test_expression_is_what_it_computes(xspec):
    whole = xspec.Model("const*(TBabs(po+bbodyrad)+ga)", setPars=(2.0, 0.3, 1.5, 1.0, 0.7, 3.0, 6.4, 0.3, 0.01))
    edges = np.array(whole.energies(0))
    total = np.array(whole.values(0))
    parts = {}
    for text, pars in [
        ("TBabs*po", (0.3, 1.5, 1.0)),
        ("TBabs*bbodyrad", (0.3, 0.7, 3.0)),
        ("ga", (6.4, 0.3, 0.01)),
    ]:
        parts[text] = np.array(xspec.Model(text, setPars=pars).values(0))
    assert edges.size == total.size + 1
    np.testing.assert_allclose(total, 2.0 * sum(parts.values()), rtol=1e-12)


def test_values_delta_and_limits(xspec):
    model = xspec.Model("TBabs*po")
    nh = model.TBabs.nH
    assert nh.values == [1.0, 0.01, 0.0, 0.0, 1e5, 1e6]
    nh.frozen = True
    assert nh.values[1] == -0.01 and nh.frozen
    nh.values = "0.5, 0.02"
    assert not nh.frozen and nh.values[:2] == [0.5, pytest.approx(0.005)]
    xspec.Fit.delta = 0.0
    assert nh.values[1] == 0.02
    nh.values = (0.7, -0.01, 0.1, 0.2, 10, 20)
    assert nh.frozen and nh.values[2:] == [0.1, 0.2, 10.0, 20.0]
    nh.values = "3.2,,,,8, 9"
    assert nh.values[0] == 3.2 and nh.values[2:] == [0.1, 0.2, 8.0, 9.0]
    nh.values = 8.5
    assert nh.values[0] == 8.5, "between soft and hard limit is fine"


def test_outside_the_hard_limits_keeps_the_old_value_without_raising(xspec):
    model = xspec.Model("TBabs*po", setPars=(0.5, 1.5, 0.01))
    model.setPars({1: 2e6, 2: 2.5, 3: 0.02})
    assert [model(i).values[0] for i in (1, 2, 3)] == [0.5, 2.5, 0.02]
    model(1).values = -1.0
    assert model(1).values[0] == 0.5
    model(1).values = "0.01,0.01,1,1,10,20"
    assert model(1).values == [0.5, pytest.approx(0.005), 0.0, 0.0, 1e5, 1e6]
    model(1).values = "0.6,,5,,1,"
    assert model(1).values == [0.6, pytest.approx(0.006), 0.0, 0.0, 1e5, 1e6], "limits out of order are not taken"


@pytest.mark.parametrize(
    "value", ["nan", "inf", "abc", "1 2 3 4 5 6 7", (np.float64(1.0), np.float64(0.1)), float("nan"), True]
)
def test_values_that_are_no_numbers_raise_and_change_nothing(xspec, value):
    model = xspec.Model("TBabs*po")
    with pytest.raises(ModelError):
        model(1).values = value
    assert model(1).values[0] == 1.0


@pytest.mark.parametrize("value", [np.float32(1.2), np.int64(1), np.array(1.0), None, float("nan"), float("-inf"), "x"])
def test_setpars_takes_what_pyxspec_takes(xspec, value):
    model = xspec.Model("TBabs*po")
    with pytest.raises(ModelError):
        model.setPars({2: 1.5, 1: value})
    assert [model(i).values[0] for i in (1, 2)] == [1.0, 1.0], "nothing is changed"
    model.setPars({1: np.float64(1.3), 2: "1.4"})
    assert [model(i).values[0] for i in (1, 2)] == [1.3, 1.4]


def test_setpars_forms(xspec):
    model = xspec.Model("TBabs(bbodyrad+po)")
    model.setPars(0.1, {3: 3.3}, 4.4)
    assert [model(i).values[0] for i in range(1, 6)] == [0.1, 3.0, 3.3, 4.4, 1.0]
    model.setPars([0.2, 1.2], (3.2, "4.2,-0.1"))
    assert [model(i).values[0] for i in range(1, 6)] == [0.2, 1.2, 3.2, 4.2, 1.0]
    assert model(4).frozen
    other = xspec.Model("po", "bkg", 2)
    xspec.AllModels.setPars(model, {1: 0.4}, 1.4, other, 2.5)
    assert (model(1).values[0], model(2).values[0], other(1).values[0]) == (0.4, 1.4, 2.5)
    with pytest.raises(ModelError, match="no parameter 9"):
        model.setPars({1: 9.0, 9: 1.0})
    assert model(1).values[0] == 0.4
    with pytest.raises(ModelError):
        xspec.AllModels.setPars({1: 0.4})


@pytest.mark.parametrize(
    ("link", "text", "value"),
    [
        ("1", "= p1", 0.2),
        ("p1", "= p1", 0.2),
        ("2.*p1", "= 2.*p1", 0.4),
        ("2*p1", "= p2*p1", 0.24),
        ("2.0*p1 + 1", "= 2.0*p1 + p1", 0.6),
        ("p1/2.", "= p1/2.", 0.1),
        ("sqrt(p1)", "= sqrt(p1)", 0.2**0.5),
        ("-p1", "=  - p1", -0.2),
        ("exp(p1)", "= exp(p1)", np.exp(0.2)),
        ("p1*1.5e0", "= p1*1.5e0", 0.3),
        ("p1^2.", "= p1^2.", 0.04),
    ],
)
def test_links_read_as_in_xspec(xspec, link, text, value):
    model = xspec.Model("TBabs(bbodyrad+po)", setPars=(0.2, 1.2, 3.0, 4.0, 1.0))
    model(3).link = link
    assert model(3).link == text
    assert model(3).values[0] == pytest.approx(value)
    model(3).untie()
    assert model(3).link == "" and model(3).values[0] == pytest.approx(value)


@pytest.mark.parametrize(
    "link", ["p99", "2.3", "foo", "p3", "p1)", "__import__('os')", "p1.real", "p1**p1**", "exp(p1,p2)", "p"]
)
def test_wrong_links_raise_and_keep_the_old(xspec, link):
    model = xspec.Model("TBabs(bbodyrad+po)")
    model(3).link = "p1"
    with pytest.raises(ModelError):
        model(3).link = link
    assert model(3).link == "= p1"


def test_circular_links_are_refused(xspec):
    model = xspec.Model("TBabs(bbodyrad+po)")
    model(3).link = "p4"
    with pytest.raises(ModelError, match="itself"):
        model(4).link = "p3"
    model(3).values = 9.0
    assert model(3).link == "", "a value unties"


def test_priors(xspec):
    model = xspec.Model("TBabs*po")
    assert model(1).prior == ("CONS",)
    model(1).prior = ("gauss", 1.0, 0.2)
    assert model(1).prior == ("GAUSS", 1.0, 0.2)
    model(1).prior = "jeffreys"
    assert model(1).prior == ("JEFFREYS",)
    for wrong in ("foo", ("gauss",), ("gauss", 1.0, -1.0), 3, ()):
        with pytest.raises(ModelError):
            model(1).prior = wrong
    assert model(1).prior == ("JEFFREYS",)


def test_component_access(xspec):
    model = xspec.Model("TBabs*po")
    model.TBabs.nH = 0.4
    model.TBabs.nH += 0.1
    assert model(1).values[0] == pytest.approx(0.5) and float(model(1)) == pytest.approx(0.5)
    assert (model(1).name, model(1).unit, model(1).index, model.TBabs.parameterNames) == ("nH", "10^22", 1, ["nH"])
    with pytest.raises(ModelError, match="nH"):
        model.TBabs.nh = 1.0
    with pytest.raises(UsageError):
        model.tbabs = 1.0
    with pytest.raises(ModelError):
        model.TBabs = 1.0
    with pytest.raises(ModelError):
        model(4)


def test_redefinition_makes_handles_stale(xspec):
    model = xspec.Model("TBabs*po")
    par = model(1)
    xspec.Model("po")
    for use in (lambda: model(1), lambda: par.values, lambda: model.folded(1), lambda: model.setPars(1.0)):
        with pytest.raises(ModelError, match="replaced"):
            use()
    xspec.AllModels -= ""
    assert xspec.AllModels.sources == {}
    with pytest.raises(ModelError):
        xspec.AllModels(1)


def _values(xspec):
    groups = range(1, xspec.AllData.nGroups + 1)
    return [[xspec.AllModels(g)(i).values[0] for i in (1, 2, 3)] for g in groups]


def _links(xspec):
    groups = range(1, xspec.AllData.nGroups + 1)
    return [[xspec.AllModels(g)(i).link for i in (1, 2, 3)] for g in groups]


def test_data_groups_are_linked_and_follow_the_data(xspec, number):
    name = f"variant{number['plain']}.pha"
    xspec.AllData(f"1:1 {name} 2:2 {name} 3:3 {name}")
    xspec.Model("TBabs*po")
    assert [xspec.AllModels(g).startParIndex for g in (1, 2, 3)] == [1, 4, 7]
    assert _links(xspec)[2] == ["= p1", "= p2", "= p3"]
    xspec.AllModels(2).setPars(0.2, 2.2, 0.02)
    xspec.AllModels(3).setPars(0.3, 2.3)
    xspec.AllModels(3)(3).link = "p6"
    xspec.AllData -= 1
    assert _values(xspec) == [[0.2, 2.2, 0.02], [0.3, 2.3, 0.02]]
    assert _links(xspec) == [["", "", ""], ["", "", "= p3"]]
    xspec.AllData -= 1
    assert _values(xspec) == [[0.3, 2.3, 0.02]]
    assert _links(xspec) == [["", "", ""]]
    xspec.AllData(f"1:1 {name} 2:2 {name}")
    assert _links(xspec) == [["", "", ""], ["= p1", "= p2", "= p3"]]


def test_a_group_without_response_has_no_model(xspec, number):
    name = f"variant{number['plain']}.pha"
    xspec.AllData(f"1:1 {name} 2:2 {name}")
    xspec.Model("TBabs*po", setPars=(0.1, 1.1, 1e-3))
    xspec.AllModels(2).setPars({2: 2.2})
    both = xspec.Fit.statistic
    xspec.AllData(1).response = None
    with pytest.raises(ModelError):
        xspec.AllModels(1)
    assert [xspec.AllModels(2)(i).values[0] for i in (1, 2, 3)] == [0.1, 2.2, 1e-3]
    assert xspec.AllModels(2).startParIndex == 1
    assert 0 < xspec.Fit.statistic < both


def test_two_sources_add_up(xspec, number, files):
    write_rmf(files / "second.rmf")
    spectrum = xspec.Spectrum(f"variant{number['plain']}.pha")
    first = xspec.Model("po")
    alone = np.array(first.folded(1))
    spectrum.multiresponse[1] = "second.rmf"
    second = xspec.Model("po", "bkg", 2)
    assert xspec.AllModels.sources == {1: "", 2: "bkg"}
    xspec.Fit.statMethod = "cstat"
    extra = np.array(second.folded(1))
    np.testing.assert_array_equal(first.folded(1), alone)
    expected = np.maximum((alone + extra) * 1000.0, 1e-5)
    counts = np.array(spectrum.values) * 1000.0
    c = 2 * np.sum(expected - counts + np.where(counts > 0, counts * np.log(np.maximum(counts, 1) / expected), 0))
    assert xspec.Fit.statistic == pytest.approx(c, rel=1e-12)
    first(2).link = "bkg:p2"
    second(2).values = 3.0
    assert first(2).values[0] == 3.0
    xspec.AllModels -= "bkg"
    assert first(2).link == "" and first(2).values[0] == 3.0
