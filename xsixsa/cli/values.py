"""Values of options: priors and energy ranges."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence

from xsixsa.errors import PriorError, UsageError

__all__ = ["ignored_ranges", "parse_notice", "parse_priors"]

_NUMBER = r"(\d+\.?\d*(?:[eE][+-]?\d+)?|\.\d+(?:[eE][+-]?\d+)?)"
_RANGE = re.compile(rf"^\s*{_NUMBER}\s*-\s*{_NUMBER}\s*$")


def parse_priors(texts: Sequence[str]) -> dict:
    """Parameter name or XSPEC index -> distribution, from ``NAME=DIST:ARGS`` each.

    Raises
    ------
    UsageError
        If a text has no name, or a parameter is named twice.
    PriorError
        If a distribution is unknown or impossible.
    """
    from xsixsa.distributions import as_distribution

    priors: dict = {}
    for text in texts:
        name, equals, distribution = (part.strip() for part in text.partition("="))
        if not (name and equals and distribution):
            raise UsageError(f"--prior {text!r} is not NAME=DIST:ARGS; for example --prior nH=uniform:0:1")
        key = int(name) if name.isdigit() else name
        if key in priors:
            raise UsageError(f"--prior for {name} is given twice")
        try:
            priors[key] = as_distribution(distribution)
        except PriorError as error:
            raise PriorError(f"--prior {text}: {error}") from None
    return priors


def parse_notice(texts: Sequence[str]) -> list[tuple[float, float]]:
    """Energy ranges (keV), ascending and apart, from ``LOW-HIGH`` each.

    Raises
    ------
    UsageError
        If a text is no range, is empty or inverted, or ranges overlap.
    """
    ranges = []
    for text in texts:
        match = _RANGE.match(text)
        if not match:
            raise UsageError(f"--notice {text!r} is not LOW-HIGH in keV; for example --notice 0.5-10")
        low, high = float(match[1]), float(match[2])
        if not low < high:
            raise UsageError(f"--notice {text}: {low:g} keV is not below {high:g} keV; write the lower energy first")
        ranges.append((low, high))
    ranges.sort()
    for (_, end), (start, _) in itertools.pairwise(ranges):
        if start <= end:
            raise UsageError(f"--notice ranges overlap at {start:g} keV; give each energy once")
    return ranges


def _energy(value: float) -> str:
    """A number with a point: without one XSPEC takes it for a channel."""
    text = f"{value:.10g}"
    return text if "." in text or "e" in text else text + ".0"


def ignored_ranges(ranges: Sequence[tuple[float, float]]) -> str:
    """What XSPEC's ``ignore`` has to be told so that only ``ranges`` stay; a bin at a border goes."""
    if not ranges:
        return ""
    edges = [_energy(value) for pair in ranges for value in pair]
    between = [f"{end}-{start}" for end, start in zip(edges[1:-1:2], edges[2::2], strict=True)]
    return " ".join([f"**-{edges[0]}", *between, f"{edges[-1]}-**"])
