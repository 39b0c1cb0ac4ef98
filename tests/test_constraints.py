"""The pinned versions are complete, and can be installed with the oldest Python that the project promises."""

import importlib.metadata as metadata
import re
import tomllib

import pytest
from docs_blocks import REPOSITORY
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

PINS = {
    canonicalize_name(line.split("==")[0]): line.split("==")[1].strip()
    for line in (REPOSITORY / "constraints.txt").read_text().splitlines()
    if "==" in line
}
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
# installed with every virtual environment, or by a build
OURS = {"xsixsa", "pip", "setuptools", "wheel"}


def needed():
    """What `pip install -c constraints.txt '.[test]'` brings: the closure of the project's requirements."""
    todo = list(PROJECT["dependencies"])
    seen, extras = set(), ["test"]
    while extras:
        for text in PROJECT["optional-dependencies"][extras.pop()]:
            own = re.fullmatch(r"xsixsa\[(.+)\]", text)
            extras += own[1].split(",") if own else []
            todo += [] if own else [text]
    while todo:
        requirement = Requirement(todo.pop())
        key = canonicalize_name(requirement.name), frozenset(requirement.extras)
        if key in seen:
            continue
        seen.add(key)
        try:
            requires = metadata.requires(requirement.name) or ()
        except metadata.PackageNotFoundError:
            pytest.skip(f"{requirement.name} is not installed (extra test)")
        for inner in map(Requirement, requires):
            wanted = ["", *requirement.extras]
            if inner.marker is None or any(inner.marker.evaluate({"extra": extra}) for extra in wanted):
                todo.append(str(inner).split(";")[0])
    return {name for name, _ in seen} - OURS


def test_everything_that_is_installed_is_pinned():
    assert needed() - set(PINS) == set()


def test_pins_are_needed():
    assert set(PINS) - needed() == set()


@pytest.mark.parametrize("name", sorted(PINS))
def test_pin_works_with_the_oldest_python(name):
    """A version that wants a later Python makes the installation fail with an error that names something else."""
    oldest = PROJECT["requires-python"].removeprefix(">=") + ".0"
    try:
        installed = metadata.distribution(name)
    except metadata.PackageNotFoundError:
        pytest.skip(f"{name} is not installed")
    if installed.version.split("+")[0] != PINS[name]:
        pytest.skip(f"{name} {installed.version} is installed, not the pinned {PINS[name]}")
    assert SpecifierSet(installed.metadata.get("Requires-Python") or "").contains(oldest)
