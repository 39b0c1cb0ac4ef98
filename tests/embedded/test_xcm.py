"""Saved sessions: what is saved comes back, XSPEC's own files are read, what is unknown is named."""

import logging

import numpy as np
import pytest

from tests.conftest import shared_path
from tests.embedded.conftest import clean
from xsixsa.errors import DataError, OutputError, UsageError


@pytest.fixture
def session(xspec, number):
    """Two groups, two sources, links, priors, limits, overrides: everything that a file must carry."""
    names = [f"variant{number[n]}.pha" for n in ("background", "grouped")]
    xspec.AllData(f"1:1 {names[0]} 2:2 {names[1]}")
    xspec.AllData(1).background = None
    xspec.AllData(2).response = "split.rmf"
    xspec.AllData(2).background = "back.pha"
    xspec.AllData(1).multiresponse[1] = "split.rmf"
    xspec.AllData.ignore("1:**-0.35 2:9.0-**")
    xspec.Fit.statMethod = "cstat"
    xspec.Fit.statMethod = "chi 2"
    xspec.Xset.abund, xspec.Xset.xsect, xspec.Xset.cosmo = "wilm", "bcmc", "50 0.1 0.5"
    xspec.Xset.addModelString("APECROOT", "3.0.9")
    xspec.AllModels.systematic = 0.03
    xspec.Model("TBabs(po+bbodyrad)", setPars=("0.1234567890123 -0.01", 1.7, "5e-4,0.01,1e-6,1e-5,1,10", 0.5, 3.0))
    xspec.Model("po", "bkg", 2, setPars=(0.5, 1e-3))
    xspec.AllModels(2)(2).untie()
    xspec.AllModels(2)(2).values = 2.5
    xspec.AllModels(2)(3).link = "1.5*p3"
    xspec.AllModels(1)(5).link = "p8/1.e-2"
    xspec.AllModels(1, "bkg")(1).link = "bkg:p2*100."
    xspec.AllModels(1)(4).prior = ("gauss", 0.5, 0.05)
    xspec.Fit.bayes = "on"
    return xspec


def _state(xspec):
    parameters = [
        (p.full_name, p.values, p.frozen, p.link, p.prior)
        for name in sorted(xspec.AllModels.sources.values())
        for p in xspec.AllModels.of(name)[0].parameters + (xspec.AllModels.of(name)[-1].parameters)
    ]
    spectra = [
        (s.fileName, s.noticedString(), s.dataGroup, s.background_file, {k: r.files for k, r in s.responses.items()})
        for s in xspec.AllData
    ]
    settings = xspec.Xset.abund, xspec.Xset.xsect, xspec.Xset.cosmo, xspec.Xset.modelStrings, xspec.AllModels.systematic
    return parameters, spectra, settings, xspec.Fit.statMethod, xspec.Fit.bayes, xspec.AllModels.sources


def test_save_and_restore_bring_everything_back(session, tmp_path):
    xspec = session
    before, statistic = _state(xspec), xspec.Fit.statistic
    xspec.Xset.save(str(tmp_path / "all.xcm"))
    clean(xspec)
    xspec.Xset.restore(str(tmp_path / "all.xcm"))
    after = _state(xspec)
    for old, new in zip(before, after, strict=True):
        assert new == old
    assert xspec.Fit.statistic == pytest.approx(statistic, rel=1e-12)


def test_files_and_model_apart(session, tmp_path):
    xspec = session
    statistic = xspec.Fit.statistic
    xspec.Xset.save(str(tmp_path / "files"), info="f")
    xspec.Xset.save(str(tmp_path / "model"), info="m")
    assert "model" not in (tmp_path / "files.xcm").read_text()
    assert "data" not in (tmp_path / "model.xcm").read_text()
    clean(xspec)
    xspec.Xset.restore(str(tmp_path / "files.xcm"))
    assert xspec.AllModels.sources == {}
    xspec.Xset.restore(str(tmp_path / "model"))
    assert xspec.Fit.statistic == pytest.approx(statistic, rel=1e-12)


def test_save_overwrites_nothing(session, tmp_path):
    path = tmp_path / "there.xcm"
    path.write_text("precious")
    with pytest.raises(OutputError, match="exists"):
        session.Xset.save(str(path))
    assert path.read_text() == "precious"
    with pytest.raises(OutputError):
        session.Xset.save(str(tmp_path / "nowhere" / "x.xcm"))
    with pytest.raises(UsageError):
        session.Xset.save(str(tmp_path / "y.xcm"), info="x")


def test_a_file_that_xspec_wrote(xspec, number, tmp_path, caplog):
    text = f"""#PyXspec: Output generated from Xset.save().  DO NOT MODIFY.

statistic cstat
data 1:1 variant{number["grouped"]}.pha
backgrnd 1 back.pha

data 2:2 variant{number["grouped"]}.pha
arf 1:2 none
ignore 2:5-9,12
statistic chi 2


method leven 10 0.01
abund wilm
xsect vern
cosmo 70 0 0.73
xset delta 0.01
xset APECROOT  1.3
systematic 0
model  TBabs(bbodyrad + powerlaw)
            0.1     -0.001          0          0     100000      1e+06
/
            0.1       0.01          0          0      1e+20      1e+24
              2       0.01         -3         -2          9         10
         0.0003       0.01          0          0      1e+20      1e+24
= p1
            1.5       0.01     0.0001      0.001        100        200
= p3
= p4
= p5
newpar 2 = p4
bayes off
setplot energy
parallel leven 4
"""
    path = tmp_path / "theirs.xcm"
    path.write_text(text)
    xspec.Xset.chatter = 10
    with caplog.at_level(logging.WARNING, logger="xsixsa.embedded"):
        xspec.Xset.restore(str(path))
    named = [record.getMessage() for record in caplog.records]
    assert any("setplot energy" in m for m in named) and any("parallel leven 4" in m for m in named)
    assert len(named) == 2
    first, second = xspec.AllModels(1), xspec.AllModels(2)
    assert first(1).values[0] == 0.1 and first(1).frozen
    assert first(2).link == "= p4" and first(2).values[0] == 2.0
    assert second(2).values[0] == 1.5 and second(2).link == "" and second(1).link == "= p1"
    assert xspec.AllData(1).background.fileName == "back.pha"
    assert xspec.AllData(2).ignoredString() == "5-9 12"
    assert xspec.AllData(2).response.files == ("test.rmf", "")
    assert xspec.Fit.statMethod == "cstat 1 chi 2"
    assert xspec.Xset.modelStrings == (("APECROOT", "1.3"),)


def test_the_shared_model_file(xspec):
    xspec.Xset.restore(str(shared_path("data", "xifu_compTT-mock", "model.xcm")))
    model = xspec.AllModels(1)
    assert model.expression == "TBabs(compTT + powerlaw)"
    np.testing.assert_allclose([p.values[0] for p in model.parameters], [0.1, 0, 0.55, 2.5, 2.5, 1, 1, 2, 0.275])
    assert model(2).frozen and model(6).frozen and model(1).values[2:] == [0.05, 0.07, 0.13, 0.15]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("model nosuch\n1 1 1", "line 1"),
        ("abund foo", "abund"),
        ("data nofile.pha", "nofile.pha"),
        ("systematic x", "line 1"),
        ("\n\nnewpar 3 1.0", "line 3"),
        ("model po\nabc", "line 1"),
        ("backgrnd", "line 1"),
    ],
)
def test_what_is_wrong_in_a_file_is_named_with_its_line(xspec, tmp_path, text, words):
    path = tmp_path / "wrong.xcm"
    path.write_text(text)
    with pytest.raises(Exception, match=words) as caught:
        xspec.Xset.restore(str(path))
    assert type(caught.value).__module__ == "xsixsa.errors"
    with pytest.raises(DataError):
        xspec.Xset.restore(str(tmp_path / "missing.xcm"))
