"""The data with the posterior predictive band and residuals, on the axes of XSPEC's ``plot ldata delchi``."""

from __future__ import annotations

import math
import os
import textwrap
from dataclasses import dataclass

import numpy as np

from xsixsa.plot.common import WARNING_COLOUR, save_figure, verdict_text

__all__ = ["plot_spectrum", "spectrum_figure"]

_BANDS = ((0.95, 0.20), (0.68, 0.40))
_COLOURS = ("#1d4e89", "#9a3412", "#3f6212", "#6b21a8", "#155e75", "#854d0e")
# Sparse bins are merged for display, never for the fit, until they hold this many counts: fewer in a spectrum that
# would be left with less than a dozen.
_DISPLAY_COUNTS = 20
_DISPLAY_BINS = 12
_MAX_PANELS = 9


@dataclass(frozen=True)
class _Displayed:
    """One spectrum in displayed bins, everything in counts; ``predictive`` (m, bins) replicates what was observed."""

    edges: np.ndarray
    net: np.ndarray
    error: np.ndarray
    model: np.ndarray
    predictive: np.ndarray
    per_rate: np.ndarray
    merged_to: int

    @property
    def energy(self) -> np.ndarray:
        return self.edges.mean(axis=1)

    @property
    def half_width(self) -> np.ndarray:
        return 0.5 * np.diff(self.edges, axis=1)[:, 0]


def _gaps(edges: np.ndarray) -> np.ndarray:
    """Whether something was ignored between a bin and the next, shape (bins - 1,)."""
    return ~np.isclose(edges[1:, 0], edges[:-1, 1], rtol=1e-6)


def _starts(counts: np.ndarray, edges: np.ndarray, minimum: int) -> np.ndarray:
    """First bin of each displayed bin; never across a gap, and too few counts before one join their neighbour."""
    gap = np.append(_gaps(edges), True)
    starts, held, first = [0], 0.0, True
    for i, n in enumerate(counts):
        held += n
        if not (held >= minimum or gap[i]):
            continue
        if held < minimum and not first:
            starts.pop()
        starts.append(i + 1)
        held, first = 0.0, bool(gap[i])
    return np.array(starts[:-1])


def _background(observation: dict) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Raw counts, their smooth expectation and the factor onto the source's area, zeros where there is none."""
    from xsixsa.simulate import smooth_counts

    zeros = np.zeros(len(observation["counts"]))
    raw = observation.get("background_counts")
    if raw is None:
        return zeros, zeros, zeros
    widths = np.diff(np.asarray(observation["edges"], float), axis=1)[:, 0]
    scale = np.broadcast_to(np.asarray(observation["background_scale"], float), zeros.shape)
    return np.asarray(raw, float), smooth_counts(raw, np.abs(widths)), scale


def _display(observation: dict, expected: np.ndarray, best: np.ndarray, rng: np.random.Generator) -> _Displayed:
    counts = np.asarray(observation["counts"], float)
    edges = np.asarray(observation["edges"], float)
    order = np.argsort(edges[:, 0])
    raw, smooth, scale = _background(observation)
    expected = np.maximum(np.asarray(expected, float), 0.0)
    replicates = rng.poisson(expected + scale * smooth) - scale * rng.poisson(np.broadcast_to(smooth, expected.shape))
    merge_to = 0
    if np.median(counts) < _DISPLAY_COUNTS / 2:
        merge_to = int(np.clip(counts.sum() / _DISPLAY_BINS, 3, _DISPLAY_COUNTS))
    starts = _starts(counts[order], edges[order], merge_to) if merge_to else np.arange(len(counts))

    def add(values):
        return np.add.reduceat(values[..., order], starts, axis=-1)

    stops = np.append(starts[1:], len(counts)) - 1
    edges = np.stack([edges[order][starts, 0], edges[order][stops, 1]], axis=1)
    # an empty bin has an error of one count: its square root would make every residual infinite
    error = np.sqrt(np.maximum(add(counts), 1.0) + add(scale**2 * raw))
    width = add(np.abs(np.diff(np.asarray(observation["edges"], float), axis=1)[:, 0]))
    return _Displayed(
        edges,
        add(counts - scale * raw),
        error,
        add(np.asarray(best, float)),
        add(replicates),
        1.0 / (observation["exposure"] * width),
        merge_to,
    )


def _steps(axes, shown: _Displayed, low: np.ndarray, high: np.ndarray, **style) -> None:
    """A band with one step per bin, broken where bins are missing."""
    edges = shown.edges
    gap = np.append(_gaps(edges), True)
    x = np.stack([edges[:, 0], edges[:, 1], np.where(gap, edges[:, 1], np.nan)], axis=1).ravel()
    keep = np.isfinite(x)
    lower = np.stack([low, low, np.where(gap, np.nan, low)], axis=1).ravel()[keep]
    upper = np.stack([high, high, np.where(gap, np.nan, high)], axis=1).ravel()[keep]
    axes.fill_between(x[keep], lower, upper, linewidth=0, **style)


def _draw(top, bottom, shown: _Displayed, colour: str) -> None:
    rate = shown.per_rate
    for level, alpha in _BANDS if len(shown.predictive) else ():
        low, high = np.quantile(shown.predictive, [0.5 - level / 2, 0.5 + level / 2], axis=0)
        label = f"predictive {level:.0%}".replace("%", " %")
        _steps(top, shown, low * rate, high * rate, color=colour, alpha=alpha, label=label)
        _steps(
            bottom,
            shown,
            (low - shown.model) / shown.error,
            (high - shown.model) / shown.error,
            color=colour,
            alpha=alpha,
        )
    if np.isfinite(shown.model).all():
        line = np.repeat(shown.model * rate, 2)
        top.plot(shown.edges.ravel(), line, color=colour, linewidth=1.0, label="best fit")
    style = {"fmt": ".", "color": "black", "markersize": 3, "elinewidth": 0.8, "capsize": 0}
    x, dx = shown.energy, shown.half_width
    top.errorbar(x, shown.net * rate, shown.error * rate, dx, label="data", **style)
    bottom.errorbar(x, (shown.net - shown.model) / shown.error, 1.0, dx, **style)
    bottom.axhline(0.0, color=colour, linewidth=1.0)


def _finish(top, bottom, shown: _Displayed, observation: dict) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    for axes in (top, bottom):
        axes.set_xscale("log")
        # a first channel that starts at 0 keV has no place on a logarithmic axis
        axes.set_xlim(max(shown.edges[0, 0], 0.2 * shown.edges[0, 1]), shown.edges[-1, 1])
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
    top.set_yscale("log")
    model, data = shown.model * shown.per_rate, shown.net * shown.per_rate
    if np.isfinite(model).all() and (model > 0).any():
        # data scattered about nothing would stretch the axis over decades: the model sets its lower end
        top.set_ylim(0.2 * model[model > 0].min(), 2.5 * max(model.max(), data.max()))
    residuals = np.nan_to_num(np.abs((shown.net - shown.model) / shown.error)).max() + 1.0
    bottom.set_ylim(-max(3.5, 1.1 * residuals), max(3.5, 1.1 * residuals))
    top.tick_params(labelbottom=False)
    bottom.set_xlabel("Energy (keV)")
    bottom.set_ylabel("(data-model)/error")
    top.set_ylabel("counts s$^{-1}$ keV$^{-1}$")
    notes = [f"spectrum {observation['index']}: {os.path.basename(observation['name'])}"]
    if observation.get("background_counts") is not None:
        notes.append("background subtracted from data and bands, for display only")
    if shown.merged_to:
        notes.append(f"bins merged to {shown.merged_to} counts, for display only")
    top.set_title("\n".join(notes), fontsize=9, loc="left", color="0.25")


def spectrum_figure(result):
    """Data, best fit, 68 and 95 % posterior predictive bands, and residuals; one panel per spectrum.

    The bands hold what the same instrument would record again: expected counts at posterior draws, with Poisson
    noise of source and background. They are not the uncertainty of the model alone; 95 % of the data points should
    lie in the wider one. Where there is a background file it is subtracted, scaled, from data and replicates.
    An interrupted run has no predictive spectra: its figure shows the data alone.

    Parameters
    ----------
    result : Result
        Anything with a result's ``observations``, ``predictive`` (m, bins), ``predictive_best`` (bins,),
        ``verdict`` and ``seed``.

    Returns
    -------
    matplotlib.figure.Figure
        Not known to pyplot.
    """
    from matplotlib.figure import Figure

    observations = result.observations[:_MAX_PANELS]
    columns = math.ceil(math.sqrt(len(observations)))
    rows = math.ceil(len(observations) / columns)
    figure = Figure(figsize=(7.5 if columns == 1 else 5.5 * columns, 5.5 * rows + 0.4), layout="constrained")
    grid = figure.add_gridspec(2 * rows, columns, height_ratios=[3, 1.3] * rows)
    rng = np.random.default_rng(result.seed)
    start = 0
    for i, observation in enumerate(observations):
        stop = start + len(observation["counts"])
        shown = _display(observation, result.predictive[:, start:stop], result.predictive_best[start:stop], rng)
        top = figure.add_subplot(grid[2 * (i // columns), i % columns])
        bottom = figure.add_subplot(grid[2 * (i // columns) + 1, i % columns], sharex=top)
        _draw(top, bottom, shown, _COLOURS[i % len(_COLOURS)])
        _finish(top, bottom, shown, observation)
        top.legend(fontsize=8, frameon=False)
        start = stop
    heading = textwrap.fill(str(result.model_expression), 45 * columns + 30)
    hidden = len(result.observations) - len(observations)
    if hidden:
        heading += f"   (first {len(observations)} of {len(result.observations)} spectra)"
    warning = verdict_text(result, width=90)
    figure.suptitle(
        f"{heading}\n{warning}" if warning else heading,
        color=WARNING_COLOUR if warning else "0.25",
        weight="bold" if warning else "normal",
        fontsize=10,
    )
    return figure


def plot_spectrum(result, path: str | os.PathLike | None = None, *, overwrite: bool = True):
    """Data, posterior predictive and residuals of ``result``; see `spectrum_figure`.

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
    figure = spectrum_figure(result)
    return figure if path is None else save_figure(figure, path, overwrite)
