"""An engine with PyXspec's names for machines without HEASoft.

``from xsixsa.embedded import xspec`` gives the module; `install` makes ``import xspec`` find it where the real one is
not there.
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
import sys

__all__ = ["install"]

logger = logging.getLogger(__name__)


def install() -> bool:
    """Let ``import xspec`` find the embedded engine, where the real XSPEC cannot be imported.

    The real one is never replaced; what happened is logged.

    Returns
    -------
    bool
        Whether ``import xspec`` now gives the embedded engine.
    """
    present = sys.modules.get("xspec")
    if present is None and importlib.util.find_spec("xspec") is not None:
        try:
            # HEASoft's module is often on the path while its libraries are not
            importlib.import_module("xspec")
        except ImportError as error:
            logger.warning("the installed xspec cannot be imported (%s)", error)
        else:
            present = sys.modules["xspec"]
    if present is not None:
        embedded = bool(getattr(present, "__xsixsa_embedded__", False))
        logger.info("import xspec gives %s", "the embedded engine" if embedded else "the real XSPEC, which stays")
        return embedded
    sys.modules["xspec"] = importlib.import_module("xsixsa.embedded.xspec")
    logger.warning("no real XSPEC here: import xspec gives the embedded engine of xsixsa")
    return True
