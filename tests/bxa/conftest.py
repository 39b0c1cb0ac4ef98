"""A small session of the embedded engine on the demo's observation, and BXA's own priors without its engine."""

import contextlib
import importlib.util
from pathlib import Path

import pytest

from xsixsa import LogUniform, Session
from xsixsa.demo import make_demo

PRIOR = {"nH": (0.0, 1.0), "PhoIndex": (0.5, 3.5), "norm": LogUniform(1e-5, 1e-2)}


@pytest.fixture(scope="session")
def demo_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    make_demo(folder, seed=3, exposure=400.0)
    return folder


@pytest.fixture
def xspec(demo_folder):
    """The embedded engine with the demo's spectrum and an absorbed power law."""
    from xsixsa.embedded import xspec

    xspec.AllData.clear()
    xspec.AllModels.clear()
    xspec.Xset.chatter = 0
    xspec.Xset.abund = "wilm"
    with contextlib.chdir(demo_folder):
        xspec.Spectrum("demo.pha").ignore("**-0.3 10.0-**")
    xspec.Fit.statMethod = "cstat"
    xspec.Model("TBabs*powerlaw")
    yield xspec
    xspec.AllData.clear()
    xspec.AllModels.clear()


@pytest.fixture
def session(xspec):
    return Session(xspec)


@pytest.fixture(scope="session")
def bxa_priors():
    """BXA's ``create_*_prior_for``: their module alone, since the package needs an engine called xspec."""
    found = importlib.util.find_spec("bxa")
    if found is None:
        pytest.skip("bxa is not installed: pip install 'xsixsa[bxa]'")
    path = Path(found.origin).parent / "xspec" / "priors.py"
    spec = importlib.util.spec_from_file_location("bxa_xspec_priors", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
