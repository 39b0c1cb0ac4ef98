"""The same tests for every engine: embedded always, the real XSPEC where it is installed."""

import importlib

import numpy as np
import pytest

from tests.session.ogip import CHANNELS, counts_like, write_response, write_spectrum

ENGINES = ["xsixsa.embedded.xspec", pytest.param("xspec", marks=pytest.mark.xspec)]


@pytest.fixture(params=ENGINES, ids=["embedded", "xspec"])
def engine(request, tmp_path, monkeypatch):
    """A module with PyXspec's names, empty and with XSPEC's default settings, in a folder of its own."""
    xspec = importlib.import_module(request.param)
    monkeypatch.chdir(tmp_path)

    def reset():
        xspec.Xset.allowPrompting = False
        xspec.Xset.chatter = 0
        xspec.Xset.logChatter = 0
        xspec.AllModels.clear()
        xspec.AllData.clear()
        xspec.Xset.abund, xspec.Xset.xsect, xspec.Xset.cosmo = "wilm", "vern", "70 0 0.73"
        xspec.Xset.modelStrings = {}
        xspec.AllModels.systematic = 0.0
        fit = xspec.Fit
        fit.statMethod, fit.statTest, fit.weight, fit.query, fit.bayes = "cstat", "chi", "standard", "yes", "off"
        fit.renorm("prefit")
        xspec.Xset.parallel.leven = xspec.Xset.parallel.error = 1

    reset()
    yield xspec
    reset()


@pytest.fixture
def folder(tmp_path):
    """Response, plain spectrum, background, and a spectrum with both: ``plain.pha``, ``back.pha``, ``source.pha``."""
    write_response(tmp_path)
    write_spectrum(tmp_path / "plain.pha", counts_like(1))
    back = np.random.default_rng(2).poisson(8.0, CHANNELS)
    write_spectrum(tmp_path / "back.pha", back, exposure=4000.0, back=2.0, response=None, kind="BKG")
    write_spectrum(tmp_path / "source.pha", counts_like(3) + 1, background="back.pha", back=0.5)
    return tmp_path


@pytest.fixture
def loaded(engine, folder):
    """A simple session: one spectrum, absorbed power law, near the data."""
    engine.AllData("1:1 plain.pha")
    model = engine.Model("TBabs*powerlaw")
    engine.AllModels.setPars(model, {1: 0.1, 2: 1.5, 3: 0.01})
    model(1).values = "0.1,0.01,0,0,2,5"
    model(3).values = "0.01,0.001,1e-6,1e-6,1,10"
    return engine
