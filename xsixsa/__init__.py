"""Exact Bayesian posteriors of X-ray spectra from the XSPEC session you already have.

The heavy parts (torch, sbi, matplotlib) load when they are first used, so that importing this
package inside a running session costs nothing and changes nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0"

# name -> module that holds it
_EXPORTS = {
    "Gaussian": "xsixsa.prior",
    "LogUniform": "xsixsa.prior",
    "Prior": "xsixsa.prior",
    "Result": "xsixsa.result",
    "Session": "xsixsa.session",
    "Uniform": "xsixsa.prior",
    "centre": "xsixsa.centring",
    "fit": "xsixsa.pipeline",
    "fluxes": "xsixsa.fluxes",
    "load": "xsixsa.result",
    "load_network": "xsixsa.amortised.network",
    "retrieve": "xsixsa.summaries.retrieval",
    "train": "xsixsa.amortised.train",
}

__all__ = [
    "Gaussian",
    "LogUniform",
    "Prior",
    "Result",
    "Session",
    "Uniform",
    "__version__",
    "centre",
    "fit",
    "fluxes",
    "load",
    "load_network",
    "retrieve",
    "train",
]

if TYPE_CHECKING:
    from xsixsa.amortised.network import load_network
    from xsixsa.amortised.train import train
    from xsixsa.centring import centre
    from xsixsa.fluxes import fluxes
    from xsixsa.pipeline import fit
    from xsixsa.prior import Gaussian, LogUniform, Prior, Uniform
    from xsixsa.result import Result, load
    from xsixsa.session import Session
    from xsixsa.summaries.retrieval import retrieve


def __getattr__(name: str):
    if name in _EXPORTS:
        value = getattr(import_module(_EXPORTS[name]), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'xsixsa' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
