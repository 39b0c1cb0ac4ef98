"""Calibration of a network at a glance: ranks, coverage, recovered parameters, goodness."""

from __future__ import annotations

import math
import os

import numpy as np

from xsixsa.plot.common import WARNING_COLOUR, save_figure

__all__ = ["calibration_figure", "plot_calibration"]

_COLOURS = {"network": "#9a3412", "corrected": "#1d4e89"}
_COLUMNS = 3
# Kolmogorov-Smirnov: in 1 % of cases uniform values leave a band of this half width over the root of their number.
_BAND = 1.63


def calibration_figure(calibration):
    """Figure of a :class:`~xsixsa.amortised.calibration.Calibration`.

    A panel for the ranks of each parameter (how far their distribution lies above or below the diagonal, with the band
    that 99 % of uniform samples keep to), one for coverage, one for recovered against true values of each parameter
    and, without a background file, one for C-stat.
    """
    from matplotlib.figure import Figure

    names, checks = calibration.names, calibration.checks
    drawn = [lambda axes, k=k: _ranks(axes, calibration, k) for k in range(len(names))]
    drawn.append(lambda axes: _coverage(axes, calibration))
    drawn += [lambda axes, k=k: _recovery(axes, calibration, k) for k in range(len(names))]
    if checks[-1].statistic is not None:
        drawn.append(lambda axes: _goodness(axes, checks))
    rows = math.ceil(len(drawn) / _COLUMNS)
    figure = Figure(figsize=(4.0 * _COLUMNS, 3.2 * rows + 0.5), layout="constrained")
    grid = figure.subplots(rows, _COLUMNS, squeeze=False).ravel()
    for axes, draw in zip(grid, drawn, strict=False):
        draw(axes)
    for axes in grid[len(drawn) :]:
        axes.set_axis_off()
    word = "passed" if calibration.passed else "NOT PASSED"
    colour = "black" if calibration.passed else WARNING_COLOUR
    figure.suptitle(f"Calibration with {len(calibration.truth)} spectra: {word}", color=colour)
    return figure


def plot_calibration(calibration, path: str | os.PathLike | None = None, *, overwrite: bool = True, dpi: int = 110):
    """Draw a calibration; written to `path` where one is given.

    Parameters
    ----------
    calibration
        What :func:`xsixsa.amortised.calibrate.calibrate` returned.
    path
        File to write; its suffix decides the format.
    overwrite
        Replace an existing file.
    dpi
        Resolution of a bitmap.

    Returns
    -------
    matplotlib.figure.Figure
    """
    figure = calibration_figure(calibration)
    if path is not None:
        save_figure(figure, path, overwrite, dpi)
    return figure


def _excess(axes, values: np.ndarray, **style) -> None:
    """Distribution function of values on (0, 1), less the diagonal."""
    x = np.concatenate([[0.0], np.sort(values), [1.0]])
    y = np.concatenate([np.arange(len(values) + 1) / len(values), [1.0]])
    axes.step(x, y - x, where="post", **style)


def _band(axes, n: int) -> None:
    axes.axhspan(-_BAND / math.sqrt(n), _BAND / math.sqrt(n), color="0.92", zorder=0)
    axes.axhline(0, color="0.6", lw=0.8)
    axes.set_xlim(0, 1)


def _ranks(axes, calibration, k: int) -> None:
    name = calibration.names[k]
    _band(axes, min(len(c.rows) for c in calibration.checks))
    for check in calibration.checks:
        _excess(axes, check.ranks[:, k], color=_COLOURS[check.label], label=f"{check.label}, p {check.p[name]:.2g}")
    axes.set(xlabel=f"rank of {name}", ylabel="share below, less rank")
    axes.legend(fontsize=7, frameon=False)


def _coverage(axes, calibration) -> None:
    _band(axes, min(len(c.rows) for c in calibration.checks))
    for check in calibration.checks:
        colour = _COLOURS[check.label]
        _excess(axes, check.distance, color=colour, label=f"{check.label}, distance, p {check.distance_p:.2g}")
        _excess(axes, check.density, color=colour, ls=":", label=f"{check.label}, density, p {check.density_p:.2g}")
    axes.set(xlabel="credible level", ylabel="expected coverage, less level")
    axes.legend(fontsize=7, frameon=False)


def _recovery(axes, calibration, k: int) -> None:
    check = calibration.checks[-1]
    row = check.recovery()[k]
    x, y, error = check.truth[:, k], check.median[:, k], check.deviation[:, k]
    axes.errorbar(x, y, error, fmt=".", ms=2, lw=0.4, alpha=0.5, color=_COLOURS[check.label])
    ends = np.array([x.min(), x.max()])
    axes.plot(ends, ends, color="0.3", lw=0.8)
    label = f"log10 {row['name']}" if calibration.logarithmic[k] else row["name"]
    axes.set(xlabel=f"true {label}", ylabel="median")
    text = f"slope {row['slope']:.3f} (expected {row['slope_expected']:.3f})\nscatter {row['scatter']:.3g}"
    axes.text(0.04, 0.96, text, transform=axes.transAxes, va="top", fontsize=7)


def _goodness(axes, checks) -> None:
    from scipy.stats import norm

    bins = np.linspace(-4, 4, 25)
    for check in checks:
        z = (check.statistic - check.expected_statistic) / check.sigma_statistic
        found = check.goodness()
        label = f"{check.label}: {found['z_mean']:+.2f} ± {found['z_std']:.2f}"
        axes.hist(np.clip(z, -4, 4), bins, density=True, histtype="step", color=_COLOURS[check.label], label=label)
    x = np.linspace(-4, 4, 200)
    axes.plot(x, norm.pdf(x), color="0.6", lw=0.8)
    axes.set(xlabel="C-stat at the median, sigma from expectation", ylabel="density")
    axes.set_ylim(0, 1.25 * axes.get_ylim()[1])
    axes.legend(fontsize=7, frameon=False, loc="upper right")
