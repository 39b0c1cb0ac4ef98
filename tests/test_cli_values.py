"""Options as text: priors and ranges, and how wrong ones are refused."""

import pytest

from xsixsa.cli.values import ignored_ranges, parse_notice, parse_priors
from xsixsa.errors import PriorError, UsageError


def test_priors_by_name_and_index():
    priors = parse_priors(["nH=uniform:0:1", "bkg:powerlaw.norm@2=loguniform:1e-5:1e-2", "5=gaussian:1.7:0.1"])
    assert list(priors) == ["nH", "bkg:powerlaw.norm@2", 5]
    assert priors[5].mean == 1.7
    assert priors["nH"].support == (0.0, 1.0)


@pytest.mark.parametrize("text", ["nH", "=uniform:0:1", "nH="])
def test_priors_need_name_and_distribution(text):
    with pytest.raises(UsageError, match="NAME=DIST"):
        parse_priors([text])


@pytest.mark.parametrize(
    "text", ["nH=uniform:1:0", "nH=flat:0:1", "nH=uniform:0", "n=loguniform:0:1", "x=gaussian:0:-1"]
)
def test_impossible_priors_are_refused_with_their_text(text):
    with pytest.raises(PriorError, match=text):
        parse_priors([text])


def test_a_parameter_has_one_prior():
    with pytest.raises(UsageError, match="twice"):
        parse_priors(["nH=uniform:0:1", "nH=uniform:0:2"])


def test_ranges_become_what_xspec_ignores():
    assert ignored_ranges(parse_notice(["0.5-10"])) == "**-0.5 10.0-**"
    assert ignored_ranges(parse_notice(["3-10.", "0.5-2"])) == "**-0.5 2.0-3.0 10.0-**"
    assert ignored_ranges([]) == ""
    assert ignored_ranges(parse_notice(["1e-1-1e1"])) == "**-0.1 10.0-**"


@pytest.mark.parametrize("text", ["10", "a-b", "10-0.5", "-1-3", "2-2", "0.5:10"])
def test_what_is_no_range_is_refused(text):
    with pytest.raises(UsageError, match="--notice"):
        parse_notice([text])


def test_ranges_must_not_overlap():
    with pytest.raises(UsageError, match="overlap"):
        parse_notice(["0.5-3", "2-10"])
