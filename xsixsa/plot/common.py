"""What both figures share: numbers as text, the verdict, and writing."""

from __future__ import annotations

import math
import os
import textwrap
from pathlib import Path

from xsixsa.errors import UsageError
from xsixsa.files import atomic_path

__all__ = ["interval_text", "save_figure", "verdict_text"]

WARNING_COLOUR = "#b3261e"
_MOST_REASONS = 4


def interval_text(low: float, middle: float, high: float) -> str:
    """Median with its two errors as mathtext, two significant digits in the smaller error."""
    up, down = high - middle, middle - low
    smallest = min((e for e in (up, down) if e > 0), default=0.0)
    exponent = math.floor(math.log10(abs(middle))) if middle else 0
    scale = exponent if not -3 <= exponent <= 4 else 0
    factor = 10.0**-scale
    digits = 3 if smallest == 0 else max(0, 1 - math.floor(math.log10(smallest * factor)))
    text = f"{middle * factor:.{digits}f}^{{+{up * factor:.{digits}f}}}_{{-{down * factor:.{digits}f}}}"
    return f"$({text})\\times10^{{{scale}}}$" if scale else f"${text}$"


def verdict_text(result, width: int = 60) -> str:
    """What to print on a figure unless everything is well: the verdict and the first reasons for it."""
    if result.verdict.text == "converged":
        return ""
    lines, reasons = [result.verdict.text.upper()], result.verdict.reasons
    for reason in reasons[:_MOST_REASONS]:
        lines += textwrap.wrap(reason, width, initial_indent="- ", subsequent_indent="  ")
    if len(reasons) > _MOST_REASONS:
        lines.append(f"({len(reasons) - _MOST_REASONS} more in the summary)")
    return "\n".join(lines)


def save_figure(figure, path: str | os.PathLike, overwrite: bool, dpi: int = 150) -> Path:
    """Write ``figure`` in the format of the suffix; the file appears whole or not at all.

    Raises
    ------
    UsageError
        If matplotlib does not write that format.
    OutputError
        If the file cannot be written, or exists and must not be replaced.
    """
    path = Path(path)
    known = figure.canvas.get_supported_filetypes()
    if path.suffix.lstrip(".").lower() not in known:
        raise UsageError(f"{path}: a figure's name ends in one of {', '.join(sorted(known))}")
    with atomic_path(path, overwrite=overwrite) as temporary:
        figure.savefig(temporary, dpi=dpi)
    return path
