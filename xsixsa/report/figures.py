"""Pictures that only the report has: training, the way to the effective size, and predictive checks."""

from __future__ import annotations

import base64
import io

import numpy as np

from xsixsa.report.checks import Checks

__all__ = ["checks_figure", "data_uri", "efficiency_figure", "losses_of", "training_figure"]

_BLUE, _RED, _GREY = "#1d4e89", "#9a3412", "0.35"


def data_uri(figure, dpi: int = 110) -> str:
    """The figure as a PNG inside a ``data:`` address."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=dpi)
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode("ascii")


def _figure(columns: int):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.0, 3.4), layout="constrained")
    return figure, figure.subplots(1, columns)


def losses_of(entry: dict, part: str) -> list[dict]:
    """Epochs of the ``"summary"`` or the ``"posterior"`` of a round; summaries that need no training have none."""
    held = entry.get("posterior") if part == "posterior" else entry.get("autoencoder") or entry.get("compression")
    return [epoch for epoch in held or [] if "training" in epoch or "validation" in epoch]


def training_figure(rounds: list[dict]):
    """Losses of the summary and of the neural posterior, epoch by epoch, all rounds in a row; None without training."""
    parts = [part for part in ("summary", "posterior") if any(losses_of(r, part) for r in rounds)]
    if not parts:
        return None
    figure, panels = _figure(len(parts))
    for axes, part in zip(np.atleast_1d(panels), parts, strict=True):
        start = 0
        for i, entry in enumerate(rounds):
            losses = losses_of(entry, part)
            x = start + np.arange(1, len(losses) + 1)
            for name, colour, style in (("training", _BLUE, "-"), ("validation", _RED, "--")):
                y = [epoch.get(name, np.nan) for epoch in losses]
                axes.plot(x, y, style, color=colour, linewidth=1.2, label=name if i == 0 else None)
            start += len(losses)
            if i + 1 < len(rounds) and len(losses):
                axes.axvline(start + 0.5, color=_GREY, linewidth=0.8, linestyle=":")
        axes.set_title("neural posterior" if part == "posterior" else _summary_title(rounds), fontsize=10)
        axes.set_xlabel("epoch (dotted: next round)" if len(rounds) > 1 else "epoch")
        axes.set_ylabel("loss")
        axes.legend(fontsize=8, frameon=False)
    return figure


def _summary_title(rounds: list[dict]) -> str:
    names = dict.fromkeys(r["summary"]["name"] for r in rounds if r.get("summary"))
    return f"summary: {', '.join(names) or 'autoencoder'}"


def efficiency_figure(refinement: list[dict], wanted: float | None):
    """Effective size of the pool, and efficiency of each step's draws, against evaluations; None without steps."""
    if not refinement:
        return None
    figure, (left, right) = _figure(2)
    x = np.array([e["n_evaluations"] for e in refinement], float)
    left.plot(x, [max(e["pool_ess"], 1.0) for e in refinement], ".-", color=_BLUE, label="pool")
    if wanted:
        left.axhline(wanted, color=_RED, linestyle="--", linewidth=1.0, label="asked for")
    left.set_yscale("log")
    left.set_ylabel("effective sample size")
    left.legend(fontsize=8, frameon=False)
    for step, marker in zip(dict.fromkeys(e["step"] for e in refinement), "osD^vP*X", strict=False):
        of_step = [e for e in refinement if e["step"] == step]
        y = [100 * e["efficiency"] for e in of_step]
        right.plot([e["n_evaluations"] for e in of_step], y, marker, markersize=5, label=step)
    right.set_ylim(0, 105)
    right.set_ylabel("efficiency of the step's draws (%)")
    right.legend(fontsize=8, frameon=False)
    for axes in (left, right):
        axes.set_xlabel("evaluations")
    return figure


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
