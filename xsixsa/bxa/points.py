"""From weighted points to the truncated prior that holds them, and what may lie outside of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from xsixsa.bxa.edges import check_edges
from xsixsa.bxa.shape import box_region, density_threshold, free_region, outlines
from xsixsa.bxa.truncation import KINDS, MARGIN, QUANTILE, Truncation
from xsixsa.errors import UsageError
from xsixsa.prior import Prior

__all__ = ["truncation_of_points"]

_STEP = 0.1  # of the width, for each side that the points find too tight
_MOST_WIDENINGS = 20
_OWN_TOLERANCE = 1e-4
_FOLDS = 2
_LEAST_FOLD = 100  # points for each dimension


def truncation_of_points(
    prior: Prior,
    z: np.ndarray,
    log_density: np.ndarray,
    weights: np.ndarray,
    *,
    kind: str = "region",
    quantile: float = QUANTILE,
    margin: float = MARGIN,
    rng: np.random.Generator | int = 0,
    **more,
) -> Truncation:
    """Truncate a prior to the highest-density region of weighted points.

    Parameters
    ----------
    prior
        The whole prior.
    z
        Points in its standard-normal space, shape (n, d).
    log_density
        Log of prior times likelihood there, in z, up to a constant, shape (n,).
    weights
        Posterior weights, sum 1, shape (n,).
    kind
        ``"region"`` or ``"box"``.
    quantile
        Share of the posterior that may lie outside the highest-density region.
    margin
        Room around it on each side, as a share of its width.
    rng
        Generator or seed.

    Raises
    ------
    UsageError
        If an option is out of range or the points are too few.
    """
    if kind not in KINDS:
        raise UsageError(f"kind must be one of {', '.join(KINDS)}, not {kind!r}")
    if not 0 < quantile < 0.1 or not 0 <= margin <= 10:
        raise UsageError(f"quantile must lie in (0, 0.1) and margin in [0, 10], not {quantile!r} and {margin!r}")
    rng = np.random.default_rng(rng)
    shape = {"kind": kind, "quantile": quantile, "margin": margin}
    truncation = _around(prior, z, log_density, weights, rng, shape, more)
    lost = truncation.outside(z, weights)
    part = rng.integers(_FOLDS, size=len(z))
    if np.bincount(part[_dense(z, log_density, weights, quantile)], minlength=_FOLDS).min() > _LEAST_FOLD * z.shape[1]:
        lost = max(lost, _lost_elsewhere(prior, z, log_density, weights, part, rng, shape))
    return replace(truncation, lost=lost)


def _dense(z: np.ndarray, log_density: np.ndarray, weights: np.ndarray, quantile: float) -> np.ndarray:
    """Which points belong to the highest-density region."""
    return np.isfinite(log_density) & (log_density >= density_threshold(log_density, weights, quantile, z.shape[1]))


def _around(prior: Prior, z, log_density, weights, rng, shape: Mapping, more: Mapping) -> Truncation:
    inside, margin = _dense(z, log_density, weights, shape["quantile"]), shape["margin"]
    groups = outlines(z[inside], weights[inside], shape["quantile"], margin, rng)
    region = box_region(groups, margin) if shape["kind"] == "box" else free_region(groups, margin, z[inside])
    truncation = Truncation(prior, region, **shape, **more)
    for _ in range(_MOST_WIDENINGS):
        # What the points themselves say: next to no mass may lie beside an edge.
        kept = truncation.region.contains(z) & (weights > 0)
        v = truncation.region.to_cube(z[kept])
        check = check_edges(truncation.region, v, weights[kept], prior.names, _OWN_TOLERANCE)
        if check.passed:
            break
        truncation = truncation.widened(check, _STEP)
    return truncation


def _lost_elsewhere(prior: Prior, z, log_density, weights, part: np.ndarray, rng, shape: Mapping) -> float:
    """Posterior mass outside as points say that the region was not made from: cross-validation."""
    found = 0.0
    for k in range(_FOLDS):
        rest = part != k
        made = _around(prior, z[rest], log_density[rest], weights[rest] / weights[rest].sum(), rng, shape, {})
        found += made.outside(z[~rest], weights[~rest])
    return found
