"""The one session of the engine: who knows whom."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xsixsa.embedded.console import Console

if TYPE_CHECKING:
    from xsixsa.embedded.alldata import DataManager
    from xsixsa.embedded.chains import ChainManager
    from xsixsa.embedded.evaluate import Evaluator
    from xsixsa.embedded.fit import FitManager
    from xsixsa.embedded.models import ModelManager
    from xsixsa.embedded.plot import PlotManager
    from xsixsa.embedded.settings import XspecSettings

__all__ = ["ENGINE", "Engine"]


class Engine:
    """Holds the managers and says what is out of date.

    Attributes
    ----------
    structure : int
        Rises with every change that makes prepared responses and expressions stale.
    values : int
        Rises with every change of a parameter value.
    """

    data: DataManager
    models: ModelManager
    fit: FitManager
    settings: XspecSettings
    chains: ChainManager
    plot: PlotManager
    evaluator: Evaluator

    def __init__(self) -> None:
        self.console = Console()
        self.structure = 0
        self.values = 0

    def restructured(self) -> None:
        """Note that data, responses, noticed bins, expressions or settings changed."""
        self.structure += 1
        self.values += 1

    def revalued(self) -> None:
        """Note that parameter values changed."""
        self.values += 1


# PyXspec's objects are singletons and its classes act on them; so do ours.
ENGINE = Engine()
