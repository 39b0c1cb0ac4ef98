"""A result beside runs of BXA or UltraNest: divergences of the marginals, and one corner plot over the other."""

from __future__ import annotations

import os
from collections.abc import Mapping

import numpy as np

from xsixsa.bxa.files import BXARun, read_run
from xsixsa.bxa.transformations import prior_of_rows

__all__ = ["compare_runs", "plot_runs"]

_COLOURS = ("#1d4e89", "#c2410c", "#3f7d20", "#7b2d8b", "#8a6d00")
_DRAWS = 10_000
_CENTRAL = (0.0005, 0.9995)


def _as_run(run, parameters) -> BXARun:
    return (run if isinstance(run, BXARun) else read_run(run)).ordered(parameters)


def compare_runs(result, run, *, prior=None, rng: np.random.Generator | int = 0):
    """Divergence of every marginal between a result and a run of BXA or UltraNest.

    Parameters
    ----------
    result : Result
        Ours.
    run : BXARun, str or path
        Theirs.
    prior : Prior, optional
        The prior of the result, where its text does not hold it.
    rng
        Generator or seed of the resampling.

    Returns
    -------
    xsixsa.diagnostics.compare.Comparison
        Prints as a table. The floor says what two halves of the run give: a run of few samples has a high one.

    Raises
    ------
    UsageError
        If the parameters are not the same.
    """
    from xsixsa.diagnostics.compare import compare, equal_weight, half_divergences

    rng = np.random.default_rng(rng)
    run = _as_run(run, result.parameters)
    prior = prior_of_rows(result.parameters) if prior is None else prior
    theirs = prior.cdf(run.theta)
    ours = prior.cdf(result.theta)[equal_weight(result.weights, _DRAWS, rng)]
    floor = half_divergences(theirs, rng, run.weights)
    reference = theirs[equal_weight(run.weights, _DRAWS, rng)]
    return compare(result.names, ours, reference, rng, floor=floor, to_theta=prior.ppf)


def plot_runs(
    result,
    runs: Mapping[str, BXARun | str | os.PathLike],
    path: str | os.PathLike | None = None,
    *,
    overwrite: bool = True,
):
    """Corner plot of a result with runs of BXA or UltraNest over it.

    Parameters
    ----------
    result : Result
        Ours.
    runs : dict
        Label to run, or to where it lies.
    path : str or path, optional
        File to write.
    overwrite : bool
        Whether an existing file may be replaced.

    Returns
    -------
    pathlib.Path or matplotlib.figure.Figure
        The file, or the figure where no path is given.
    """
    import corner
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    from xsixsa.plot.common import save_figure, verdict_text

    sets = {"xsixsa": (result.theta, result.weights, result.log_evidence, result.log_evidence_err)}
    for label, run in runs.items():
        run = _as_run(run, result.parameters)
        sets[label] = (run.theta, run.weights, run.log_evidence, run.log_evidence_err)
    dim = result.theta.shape[1]
    figure = Figure(figsize=(2.2 * dim + 1, 2.2 * dim + 1))
    for colour, (theta, weights, *_) in zip(_colours(len(sets)), sets.values(), strict=True):
        corner.corner(
            theta,
            weights=weights,
            range=_ranges(sets.values()),
            bins=30,
            labels=result.names,
            levels=(0.393, 0.68, 0.90),
            plot_datapoints=False,
            plot_density=False,
            color=colour,
            hist_kwargs={"density": True},
            smooth=0.8,
            max_n_ticks=4,
            fig=figure,
        )
    lines = [Line2D([], [], color=c) for c in _colours(len(sets))]
    labels = [f"{k}: ln Z = {z:.2f} ± {e:.2f}" if np.isfinite(z) else k for k, (_, _, z, e) in sets.items()]
    figure.legend(lines, labels, loc="upper right", frameon=False)
    if verdict_text(result):
        figure.text(0.99, 0.8, verdict_text(result), ha="right", va="top", color="#b3261e", weight="bold")
    return figure if path is None else save_figure(figure, path, overwrite)


def _colours(n: int) -> list[str]:
    return [_COLOURS[i % len(_COLOURS)] for i in range(n)]


def _ranges(sets) -> list[tuple[float, float]]:
    """Common range of every panel: what holds the middle of all of them."""
    from xsixsa.summary_text import weighted_quantile

    ends = [[weighted_quantile(column, weights, _CENTRAL) for column in theta.T] for theta, weights, *_ in sets]
    low, high = np.min(ends, axis=0)[:, 0], np.max(ends, axis=0)[:, 1]
    room = 0.06 * np.maximum(high - low, 1e-12 + 0.01 * np.abs(high))
    return list(zip((low - room).tolist(), (high + room).tolist(), strict=True))
