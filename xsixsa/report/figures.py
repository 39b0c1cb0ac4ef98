"""Pictures for a page, and the one that only the report has: predictive checks."""

from __future__ import annotations

import base64
import io

import numpy as np

from xsixsa.report.checks import Checks

__all__ = ["checks_figure", "data_uri", "losses_of"]

_BLUE, _RED = "#1d4e89", "#9a3412"


def data_uri(figure, dpi: int = 110) -> str:
    """The figure as a PNG inside a ``data:`` address."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=dpi)
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode("ascii")


def _figure(columns: int):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.0, 3.4), layout="constrained")
    return figure, figure.subplots(1, columns)


def losses_of(entry: dict) -> list[dict]:
    """Epochs of a round's neural posterior."""
    return [epoch for epoch in entry.get("posterior") or [] if "training" in epoch or "validation" in epoch]


def checks_figure(checks: Checks):
    """The statistic of replicates with the observation's, and the place of each energy band among its replicates."""
    figure, (left, right) = _figure(2)
    both = np.concatenate([checks.statistic_replicated, checks.statistic_observed])
    bins = np.linspace(both.min(), both.max() + 1e-9, 60)
    left.hist(checks.statistic_replicated, bins, density=True, color=_BLUE, alpha=0.5, label="replicates")
    left.hist(checks.statistic_observed, bins, density=True, color=_RED, histtype="step", label="observed")
    left.set_xlabel("Cash statistic at posterior draws")
    left.set_yticks([])
    left.legend(fontsize=8, frameon=False)
    right.axhspan(0.025, 0.975, color=_BLUE, alpha=0.15, label="central 95 %")
    for spectrum in dict.fromkeys(b.spectrum for b in checks.bands):
        bands = [b for b in checks.bands if b.spectrum == spectrum]
        energy = [np.sqrt(max(b.energy_low, 1e-6) * b.energy_high) for b in bands]
        right.plot(energy, [b.pit for b in bands], "o-", markersize=5, linewidth=0.7, label=f"spectrum {spectrum}")
    right.set_xscale("log")
    right.set_ylim(-0.03, 1.03)
    right.set_xlabel("energy (keV)")
    right.set_ylabel("place among the replicates")
    if len(right.lines) < 9:
        right.legend(fontsize=8, frameon=False)
    from matplotlib.ticker import FuncFormatter, NullFormatter

    right.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    right.xaxis.set_minor_formatter(NullFormatter())
    return figure
