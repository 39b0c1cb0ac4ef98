"""True against retrieved parameters."""

from __future__ import annotations

import math
import os

from xsixsa.plot.common import save_figure

__all__ = ["plot_retrieval", "retrieval_figure"]

_COLOUR = {"constrained": "#3f6212", "weakly": "#854d0e", "not": "#b3261e"}
_POINTS, _NEAR, _OBSERVED = "#94a3b8", "#1d4e89", "#c2410c"


def retrieval_figure(retrieval):
    """One panel for each parameter: retrieved against true values of the simulations held out.

    Points on the diagonal are told exactly, a level cloud not at all. Simulations near the observation, on which the
    verdict rests, are dark; the line across is what was retrieved of the observation itself.

    Parameters
    ----------
    retrieval : Retrieval
        What :func:`xsixsa.retrieve` returned.

    Returns
    -------
    matplotlib.figure.Figure
        Not known to pyplot.
    """
    from matplotlib.figure import Figure

    number = len(retrieval.names)
    columns = min(number, max(2, math.ceil(math.sqrt(number))))
    rows = math.ceil(number / columns)
    figure = Figure(figsize=(3.5 * columns, 3.6 * rows + 0.4), layout="constrained")
    for i, name in enumerate(retrieval.names):
        axes = figure.add_subplot(rows, columns, i + 1)
        truth, found = retrieval.truth[:, i], retrieval.retrieved[:, i]
        near, verdict = retrieval.near, retrieval.verdict[name]
        low, high = min(truth.min(), found.min()), max(truth.max(), found.max())
        axes.plot([low, high], [low, high], color="0.3", linewidth=0.8)
        axes.plot(truth, found, ".", color=_POINTS, markersize=2.5, rasterized=True, label="held out")
        axes.plot(truth[near], found[near], ".", color=_NEAR, markersize=3.5, rasterized=True, label="near observation")
        axes.axhline(retrieval.observed[i], color=_OBSERVED, linewidth=1.2, label="observation")
        if retrieval.logarithmic[i]:
            axes.set_xscale("log")
            axes.set_yscale("log")
        word = {"not": "not constrained", "weakly": "weakly constrained"}.get(verdict, verdict)
        axes.set_title(
            f"{name}: {word}\nerror/prior {retrieval.spread[i]:.2f}, R² {retrieval.r_squared[i]:.2f}",
            fontsize=9,
            color=_COLOUR[verdict],
        )
        axes.set_xlabel("true")
        axes.set_ylabel("retrieved")
        if i == 0:
            axes.legend(fontsize=7, frameon=False, loc="upper left")
    figure.suptitle(f"summary: {retrieval.summary_name}", fontsize=10, color="0.25")
    return figure


def plot_retrieval(retrieval, path: str | os.PathLike | None = None, *, overwrite: bool = True):
    """True against retrieved values; see `retrieval_figure`.

    Parameters
    ----------
    retrieval : Retrieval
        What :func:`xsixsa.retrieve` returned.
    path : str or path, optional
        File to write, in the format of its suffix.
    overwrite : bool
        Whether an existing file may be replaced.

    Returns
    -------
    pathlib.Path or matplotlib.figure.Figure
        The file, or the figure where no path is given.
    """
    figure = retrieval_figure(retrieval)
    return figure if path is None else save_figure(figure, path, overwrite)
