"""A clean embedded session for each test, in a folder with small OGIP files."""

import pytest

from tests.embedded.ogip import variants, write_all, write_pha


def clean(xspec):
    xspec.AllData.clear()
    xspec.AllModels.clear()
    xspec.AllChains.clear()
    xspec.Xset.closeLog()
    xspec.Xset.chatter = 0
    xspec.Xset.abund, xspec.Xset.xsect, xspec.Xset.cosmo = "angr", "vern", "70 0 0.73"
    xspec.Xset.allowNewAttributes = False
    xspec.Xset.modelStrings = {}
    xspec.Fit.statMethod, xspec.Fit.weight, xspec.Fit.bayes = "chi", "standard", "off"
    xspec.Fit.delta, xspec.Fit.query, xspec.Fit.statTest = 0.01, "yes", "chi"
    xspec.AllModels.systematic = 0.0
    xspec.Fit.renorm("none")
    xspec.Plot.xAxis, xspec.Plot.add, xspec.Plot.background = "keV", False, False
    xspec.Plot.setRebin(0.0, 1)


@pytest.fixture(scope="session")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ogip")
    write_all(folder)
    for number, keywords in enumerate(variants().values()):
        write_pha(folder / f"variant{number}.pha", **keywords)
    return folder


@pytest.fixture
def xspec(files, monkeypatch):
    """The engine without data or models, in the folder of the files."""
    from xsixsa.embedded import xspec

    monkeypatch.chdir(files)
    clean(xspec)
    yield xspec
    clean(xspec)


@pytest.fixture
def number():
    """File number of a variant."""
    return {name: i for i, name in enumerate(variants())}


@pytest.fixture
def loaded(xspec, number):
    """Grouped spectrum with background, 0.4-9 keV, absorbed power law near its best fit; C-stat."""
    spectrum = xspec.Spectrum(f"variant{number['background']}.pha")
    spectrum.ignore("**-0.35 9.0-**")
    xspec.Fit.statMethod = "cstat"
    model = xspec.Model("TBabs*powerlaw", setPars=(0.1, 1.7, 5e-4))
    return xspec, spectrum, model
