"""Where the shared spectra lie, and one way to skip what this machine cannot run."""

import importlib.util
import os
import shutil
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
SHARED = Path(os.environ.get("XSIXSA_SHARED", REPOSITORY.parent / "shared"))
"""Folder with `data/` (real spectra) and `reference/` (numbers of the real XSPEC); it is not part of the repository."""


def shared_path(*parts: str) -> Path:
    """`SHARED/parts`, or a skip that says what is missing and how to name its place."""
    path = SHARED.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"shared data not found: {path} (set XSIXSA_SHARED to the folder that holds data/ and reference/)")
    return path


@pytest.fixture(scope="session")
def shared() -> Path:
    """The shared folder; the test is skipped where it is absent."""
    return shared_path()


def pytest_collection_modifyitems(items):
    """Skip tests that need a program which is not installed."""
    needs = {
        "xspec": (importlib.util.find_spec("xspec") is not None, "PyXspec is not importable (HEASoft not initialised)"),
        "tcl": (shutil.which("tclsh") is not None, "no tclsh on the PATH"),
    }
    for item in items:
        for marker, (present, reason) in needs.items():
            if item.get_closest_marker(marker) and not present:
                item.add_marker(pytest.mark.skip(reason=reason))
