"""Model components of the embedded engine, vectorised over theta.

`find` takes a name from a model expression to its component; `base` says what a component is.
Every formula is checked against numbers of the real XSPEC.
"""

from __future__ import annotations

from xsixsa.embedded.components.base import Component, ModelContext, ParameterSpec
from xsixsa.embedded.components.registry import available, find

__all__ = ["Component", "ModelContext", "ParameterSpec", "available", "find"]
