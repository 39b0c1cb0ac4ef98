"""Corner plot of the weighted posterior."""

from __future__ import annotations

import logging
import os
import textwrap
from collections.abc import Mapping, Sequence
from contextlib import contextmanager

import numpy as np

from xsixsa.errors import UsageError
from xsixsa.plot.common import WARNING_COLOUR, interval_text, save_figure, verdict_text
from xsixsa.summary_text import weighted_quantile

__all__ = ["corner_figure", "plot_corner"]

# Panels show the central 99.9 %, with a margin; importance samples reach far beyond what carries weight.
_CENTRAL = (0.0005, 0.9995)
_MARGIN = 0.06
# Below this effective size contours have nothing to follow.
_CONTOUR_ESS = 100
# A parameter whose panel spans more than this factor gets a logarithmic axis.
_LOG_SPAN = 30.0


def _axis_label(parameter: Mapping) -> str:
    return f"{parameter['name']} ({parameter['unit']})" if parameter.get("unit") else parameter["name"]


def _panel_range(values: np.ndarray, weights: np.ndarray) -> tuple[tuple[float, float], str]:
    low, high = weighted_quantile(values, weights, _CENTRAL)
    if low > 0 and high / low > _LOG_SPAN:
        margin = (high / low) ** _MARGIN
        return (low / margin, high * margin), "log"
    margin = _MARGIN * (high - low)
    if margin == 0:
        margin = 0.01 * abs(high) or 1.0
    return (low - margin, high + margin), "linear"


def _truths(truths, names: Sequence[str]) -> list[float | None] | None:
    if truths is None:
        return None
    if isinstance(truths, Mapping):
        unknown = [name for name in truths if name not in names]
        if unknown:
            raise UsageError(f"truth given for {', '.join(unknown)}, the parameters are {', '.join(names)}")
        return [truths.get(name) for name in names]
    if len(truths) != len(names):
        raise UsageError(f"{len(truths)} truths for {len(names)} parameters: {', '.join(names)}")
    return list(truths)


def _caption(result, width: int) -> str:
    return "\n".join(
        [
            *textwrap.wrap(str(result.model_expression), width),
            f"engine {result.engine['name']} {result.engine['version']}",
            f"ln Z = {result.log_evidence:.2f} ± {result.log_evidence_err:.2f}",
            f"ESS {result.ess:.0f} from {result.n_evaluations} evaluations",
        ]
    )


@contextmanager
def _quiet_root_logger():
    """`corner` warns through the root logger, which would install a handler there behind the user's back."""
    handler = logging.NullHandler()
    logging.getLogger().addHandler(handler)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(handler)


def corner_figure(result, truths: Mapping[str, float] | Sequence[float | None] | None = None):
    """Corner plot: 1-D and 2-D marginals of the weighted posterior.

    Titles give the median and the 16-84 % interval. A run that has not converged says so on the figure.

    Parameters
    ----------
    result : Result
        Anything with a result's ``theta`` (n, d), ``weights`` (n,), ``parameters``, ``verdict`` and summary numbers.
    truths : dict or sequence, optional
        Values to mark, by parameter name or in order (None: no mark).

    Returns
    -------
    matplotlib.figure.Figure
        Not known to pyplot.

    Raises
    ------
    UsageError
        If a truth is given for a parameter that is not there.
    """
    import corner
    from matplotlib.figure import Figure

    used = result.weights > 0
    theta, weights = result.theta[used], result.weights[used]
    dim = theta.shape[1]
    if len(theta) <= dim:
        # `corner` takes fewer draws than parameters for a transposed array; a broken run must be drawn all the same
        theta, weights = np.repeat(theta, dim + 1, axis=0), np.repeat(weights, dim + 1)
    truths = _truths(truths, result.names)
    ranges, scales = zip(*(_panel_range(column, weights) for column in theta.T), strict=True)
    if truths is not None:
        ranges = [
            (min(lo, t), max(hi, t)) if t is not None else (lo, hi) for (lo, hi), t in zip(ranges, truths, strict=True)
        ]
    size = max(2.2 * dim + 1.0, 4.5)
    figure = Figure(figsize=(size, size))
    contours = result.ess >= _CONTOUR_ESS
    with _quiet_root_logger():
        corner.corner(
            theta,
            bins=30,
            weights=weights,
            range=ranges,
            axes_scale=list(scales),
            labels=[_axis_label(p) for p in result.parameters],
            quantiles=[0.16, 0.5, 0.84],
            truths=truths,
            truth_color="#c2410c",
            levels=(0.393, 0.68, 0.90),
            plot_datapoints=False,
            plot_contours=contours,
            fill_contours=contours,
            color="#1d4e89",
            max_n_ticks=4,
            smooth=0.8,
            fig=figure,
        )
    panels = np.array(figure.axes).reshape(dim, dim)
    for axes, name, column in zip(panels.diagonal(), result.names, theta.T, strict=True):
        low, middle, high = weighted_quantile(column, weights, [0.16, 0.5, 0.84])
        separator = " = " if len(name) < 10 else " =\n"
        axes.set_title(f"{name}{separator}{interval_text(low, middle, high)}", fontsize=10)
    _plain_ticks(panels, scales)
    _annotate(figure, result, dim)
    _place_labels(figure, panels)
    return figure


def _place_labels(figure, panels: np.ndarray) -> None:
    """Axis labels at a fixed distance: a distance relative to the panel leaves the page when the panel is large."""
    box = panels[0, 0].get_position()
    width, height = figure.get_size_inches() * (box.width, box.height)
    for i in range(len(panels)):
        panels[-1, i].xaxis.set_label_coords(0.5, -0.75 / height)
        panels[i, 0].yaxis.set_label_coords(-0.75 / width, 0.5)


def _plain_ticks(panels: np.ndarray, scales: Sequence[str]) -> None:
    """Whole numbers at the ticks: a common factor would be printed over the neighbouring panel."""
    from matplotlib.ticker import FuncFormatter

    plain = FuncFormatter(lambda value, _: f"{value:.4g}")
    for i, scale in enumerate(scales):
        if scale == "linear":
            panels[-1, i].xaxis.set_major_formatter(plain)
            if i:
                panels[i, 0].yaxis.set_major_formatter(plain)


def _annotate(figure, result, dim: int) -> None:
    """Summary and verdict: in the empty upper triangle, or in a strip above where that is too small."""
    size = figure.get_size_inches()[0]
    width = 50 if dim < 3 else 14 * (dim - 1)
    caption, warning = _caption(result, width), verdict_text(result, width)
    line = 0.19
    strip = line * (len(f"{caption}\n{warning}".splitlines()) + 1) if dim < 3 else 0.0
    height = size + strip
    figure.set_size_inches(size, height)
    figure.subplots_adjust(left=1.0 / size, right=1 - 0.2 / size, bottom=1.0 / height, top=1 - (0.5 + strip) / height)
    x, align = (0.2 / size, "left") if dim < 3 else (1 - 0.2 / size, "right")
    figure.text(x, 1 - 0.15 / height, caption, ha=align, va="top", fontsize=10, color="0.25")
    below = 1 - (0.15 + line * (len(caption.splitlines()) + 0.5)) / height
    if warning:
        figure.text(x, below, warning, ha=align, va="top", fontsize=10, color=WARNING_COLOUR, weight="bold")


def plot_corner(
    result,
    path: str | os.PathLike | None = None,
    truths: Mapping[str, float] | Sequence[float | None] | None = None,
    *,
    overwrite: bool = True,
):
    """Corner plot of ``result``; see `corner_figure`.

    Parameters
    ----------
    result : Result
        The run.
    path : str or path, optional
        File to write, in the format of its suffix.
    truths : dict or sequence, optional
        Values to mark.
    overwrite : bool
        Whether an existing file may be replaced.

    Returns
    -------
    pathlib.Path or matplotlib.figure.Figure
        The file, or the figure where no path is given.
    """
    figure = corner_figure(result, truths)
    return figure if path is None else save_figure(figure, path, overwrite)
