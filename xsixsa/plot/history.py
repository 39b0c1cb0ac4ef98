"""How a run went: training, what the network saw of the observation, and the way to the effective size."""

from __future__ import annotations

import math
import os

import numpy as np

from xsixsa.plot.common import WARNING_COLOUR, save_figure, verdict_text

__all__ = ["history_figure", "plot_history"]

_BLUE, _RED, _GREY = "#1d4e89", "#c2410c", "0.35"
_MOST_LATENTS = 12
_COLUMNS = 4
# An observation in the outermost half per cent of what was simulated is hardly covered.
_UNCOVERED = 0.005


def history_figure(result):
    """Losses, coverage of the observation, efficiency and effective size step by step, and latent histograms.

    What a run has not recorded is left out: without rounds there are no losses, without summaries no latents.

    Parameters
    ----------
    result : Result
        Anything with a result's ``history``, ``verdict`` and ``options``.

    Returns
    -------
    matplotlib.figure.Figure
        Not known to pyplot.
    """
    from matplotlib.figure import Figure

    rounds = result.history.get("rounds") or []
    steps = result.history.get("refinement") or []
    latents = _latents(rounds)
    draw = []
    for key, title in (("autoencoder", "summary: auto-encoder"), ("compression", _summary_title(rounds))):
        if any("training" in epoch for r in rounds for epoch in r.get(key) or []):
            draw.append(lambda axes, key=key, title=title: _losses(axes, rounds, key, title))
    if any(r.get("posterior") for r in rounds):
        draw.append(lambda axes: _losses(axes, rounds, "posterior", "neural posterior"))
    emulator = (result.history.get("emulator") or {}).get("training")
    if emulator:
        draw.append(lambda axes: _losses(axes, [{"emulator": emulator}], "emulator", "likelihood emulator"))
    if any(r.get("coverage") or r.get("counts_rank") is not None for r in rounds):
        draw.append(lambda axes: _coverage(axes, rounds))
    if any(e.get("efficiency") is not None for e in (*rounds, *steps)):
        draw.append(lambda axes: _efficiency(axes, rounds, steps))
    if any(e.get("pool_ess") is not None for e in (*rounds, *steps)):
        draw.append(lambda axes: _size(axes, rounds, steps, (result.options or {}).get("ess")))
    big = max(math.ceil(len(draw) / 2), 1)
    small = math.ceil(len(latents) / _COLUMNS)
    warning = verdict_text(result)
    strip = 0.4 + 0.19 * len(warning.splitlines())
    figure = Figure(figsize=(9.0, 3.1 * big + 1.7 * small + strip), layout="constrained")
    heights = [3.1 * big] + [1.7 * small] * bool(small)
    upper, *lower = figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
    for i, panel in enumerate(draw):
        panel(upper.add_subplot(big, 2, i + 1))
    if not draw:
        upper.text(0.5, 0.5, "this run recorded no history", ha="center", color=_GREY)
    if lower:
        lower[0].suptitle(
            "what the network saw of the last round's simulations; the line is the observation", fontsize=10
        )
        for i, latent in enumerate(latents):
            _histogram(lower[0].add_subplot(small, _COLUMNS, i + 1), latent)
    if warning:
        figure.suptitle(warning, x=0.01, ha="left", fontsize=9, color=WARNING_COLOUR, weight="bold")
    return figure


def _summary_title(rounds: list[dict]) -> str:
    names = [r["summary"]["name"] for r in rounds if r.get("summary")]
    return f"summary: {names[-1]}" if names else "summary"


def _latents(rounds: list[dict]) -> list[dict]:
    """Histograms of the last round that has any; the most outlying observations first where they are many."""
    for entry in reversed(rounds):
        found = entry.get("latent_histograms") or []
        if found:
            ranks = entry.get("coverage") or [0.5] * len(found)
            order = sorted(range(len(found)), key=lambda i: -abs(ranks[i] - 0.5) if i < len(ranks) else 0.0)
            return [{**found[i], "number": i + 1} for i in sorted(order[:_MOST_LATENTS])]
    return []


def _losses(axes, rounds: list[dict], key: str, title: str) -> None:
    start, labelled = 0, False
    for i, entry in enumerate(rounds):
        losses = entry.get(key) or []
        x = start + np.arange(1, len(losses) + 1)
        for name, colour, style in (("training", _BLUE, "-"), ("validation", _RED, "--")):
            y = [epoch.get(name, np.nan) for epoch in losses]
            axes.plot(x, y, style, color=colour, linewidth=1.2, label=None if labelled or not len(losses) else name)
        labelled = labelled or len(losses) > 0
        start += len(losses)
        if i + 1 < len(rounds) and len(losses):
            axes.axvline(start + 0.5, color=_GREY, linewidth=0.8, linestyle=":")
    axes.set_title(title, fontsize=10)
    axes.set_xlabel("epoch (dotted: next round)" if len(rounds) > 1 else "epoch")
    axes.set_ylabel("loss")
    axes.legend(fontsize=8, frameon=False)


def _coverage(axes, rounds: list[dict]) -> None:
    """Rank of the observation among the simulations of each round: near 0 or 1 they do not surround it."""
    axes.axhspan(_UNCOVERED, 1 - _UNCOVERED, color=_BLUE, alpha=0.08)
    spread, totals = False, False
    for i, entry in enumerate(rounds):
        ranks = np.asarray(entry.get("coverage") or [], float)
        offset = np.linspace(-0.2, 0.2, len(ranks)) if len(ranks) > 1 else np.zeros(len(ranks))
        if len(ranks):
            axes.plot(i + 1 + offset, ranks, ".", color=_BLUE, markersize=4, label=None if spread else "summaries")
            spread = True
        if entry.get("counts_rank") is not None:
            axes.plot(
                i + 1, entry["counts_rank"], "D", color=_RED, markersize=5, label=None if totals else "total counts"
            )
            totals = True
    axes.set_title("rank of the observation among simulations", fontsize=10)
    axes.set_ylim(-0.04, 1.04)
    axes.set_xlim(0.5, len(rounds) + 0.5)
    axes.set_xticks(range(1, len(rounds) + 1))
    axes.set_xlabel("round")
    axes.set_ylabel("share of simulations below")
    axes.legend(fontsize=8, frameon=False)


def _named_steps(rounds: list[dict], steps: list[dict], key: str) -> list[tuple[str, float, float]]:
    """Name, evaluations until then, and value of every step that has `key`."""
    found = [(f"round: {r.get('proposal', 'simulations')}", r.get("n_evaluations"), r.get(key)) for r in rounds]
    found += [(e["step"], e.get("n_evaluations"), e.get(key)) for e in steps]
    return [(name, float(n), float(value)) for name, n, value in found if n is not None and value is not None]


def _efficiency(axes, rounds: list[dict], steps: list[dict]) -> None:
    rows = _named_steps(rounds, steps, "efficiency")
    for name, marker in zip(dict.fromkeys(r[0] for r in rows), "osD^vP*Xhd<>", strict=False):
        own = [(n, 100 * value) for step, n, value in rows if step == name]
        axes.plot(*zip(*own, strict=True), marker, markersize=5, label=name)
    axes.set_ylim(-3, 105)
    axes.set_title("efficiency of each step's draws", fontsize=10)
    axes.set_xlabel("evaluations")
    axes.locator_params(axis="x", nbins=5)
    axes.set_ylabel("%")
    axes.legend(fontsize=7, frameon=False)


def _size(axes, rounds: list[dict], steps: list[dict], wanted) -> None:
    rows = _named_steps(rounds, steps, "pool_ess")
    axes.plot([r[1] for r in rows], [max(r[2], 1.0) for r in rows], ".-", color=_BLUE, label="pool")
    if wanted:
        axes.axhline(wanted, color=_RED, linestyle="--", linewidth=1.0, label="asked for")
    axes.set_yscale("log")
    axes.set_title("effective sample size of all draws", fontsize=10)
    axes.set_xlabel("evaluations")
    axes.locator_params(axis="x", nbins=5)
    axes.legend(fontsize=8, frameon=False)


def _histogram(axes, latent: dict) -> None:
    axes.stairs(latent["counts"], latent["edges"], fill=True, color=_BLUE, alpha=0.45)
    axes.axvline(latent["observed"], color=_RED, linewidth=1.5)
    axes.set_title(f"latent {latent['number']}", fontsize=8, pad=2)
    axes.set_yticks([])
    axes.tick_params(labelsize=7)
    axes.locator_params(axis="x", nbins=4)


def plot_history(result, path: str | os.PathLike | None = None, *, overwrite: bool = True):
    """How the run went, in one figure; see `history_figure`.

    Parameters
    ----------
    result : Result
        The run.
    path : str or path, optional
        File to write, in the format of its suffix.
    overwrite : bool
        Whether an existing file may be replaced.

    Returns
    -------
    pathlib.Path or matplotlib.figure.Figure
        The file, or the figure where no path is given.
    """
    figure = history_figure(result)
    return figure if path is None else save_figure(figure, path, overwrite)
