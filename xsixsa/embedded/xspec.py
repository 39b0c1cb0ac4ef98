"""The embedded engine under PyXspec's names: ``from xsixsa.embedded import xspec``.

It reads OGIP files, knows some thirty common components and C-stat, W-stat and chi-squared. It is not XSPEC, and it
never pretends: ``__xsixsa_embedded__`` is True and ``Xset.version`` names it.
"""

from __future__ import annotations

from xsixsa.embedded.alldata import DataManager
from xsixsa.embedded.background import Background
from xsixsa.embedded.chains import Chain, ChainManager
from xsixsa.embedded.evaluate import Evaluator
from xsixsa.embedded.fit import FitManager
from xsixsa.embedded.model import Model
from xsixsa.embedded.models import ModelManager
from xsixsa.embedded.parameter import Parameter
from xsixsa.embedded.plot import PlotManager
from xsixsa.embedded.response import Response
from xsixsa.embedded.settings import XspecSettings
from xsixsa.embedded.spectrum import Spectrum
from xsixsa.embedded.state import ENGINE

__all__ = [
    "AllChains",
    "AllData",
    "AllModels",
    "Background",
    "Chain",
    "Fit",
    "Model",
    "Parameter",
    "Plot",
    "Response",
    "Spectrum",
    "Xset",
]

__xsixsa_embedded__ = True

Xset = ENGINE.settings = XspecSettings(ENGINE)
Fit = ENGINE.fit = FitManager(ENGINE)
AllData = ENGINE.data = DataManager(ENGINE)
AllModels = ENGINE.models = ModelManager(ENGINE)
AllChains = ENGINE.chains = ChainManager(ENGINE)
Plot = ENGINE.plot = PlotManager(ENGINE)
ENGINE.evaluator = Evaluator(ENGINE)
