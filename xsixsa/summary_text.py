"""A result as text for a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from xsixsa.result import Result

__all__ = ["weighted_quantile", "write_summary"]


def weighted_quantile(x: np.ndarray, weights: np.ndarray, q) -> np.ndarray:
    """Quantiles of weighted samples, interpolated between the midpoints of the cumulative weights.

    Parameters
    ----------
    x, weights
        Shape (n,).
    q
        Probabilities, any shape.
    """
    used = weights > 0
    x, weights = x[used], weights[used]
    order = np.argsort(x)
    x, weights = x[order], weights[order]
    cumulative = np.cumsum(weights) - 0.5 * weights
    return np.interp(np.asarray(q) * weights.sum(), cumulative, x)


def write_summary(result: Result) -> str:
    """Text of :meth:`xsixsa.Result.summary`."""
    r = result
    lines = [f"verdict: {r.verdict.text.upper()}"]
    lines += [f"  because {reason}" for reason in r.verdict.reasons]
    lines += [f"warning: {warning}" for warning in r.verdict.warnings]
    lines += ["", f"model {r.model_expression}", ""]
    lines += _table(r)
    lines += _modes(r)
    lines += [
        "",
        f"log-evidence    {r.log_evidence:.3f} +- {r.log_evidence_err:.3f}   (whole pool: {r.log_evidence_pooled:.3f})",
        f"best statistic  {r.best_fit_statistic:.2f} for {r.dof} degrees of freedom" + _expected(r.goodness),
        f"samples         ESS {r.ess:.0f} from {len(r.weights)} weighted draws, efficiency {r.efficiency:.2f}, "
        f"Pareto k {r.pareto_k:.2f}",
        f"cost            {r.n_evaluations} evaluations ({r.n_failed} failed), "
        f"{sum(r.seconds.values()):.1f} s: " + ", ".join(f"{k} {v:.1f}" for k, v in r.seconds.items()),
        *_emulator(r.history.get("emulator")),
        f"engine          {r.engine.get('name')} {r.engine.get('version')}, seed {r.seed}",
    ]
    return "\n".join(lines)


def _emulator(record: dict | None) -> list[str]:
    if not record:
        return []
    if not record["used"]:
        return [f"emulator        not used: {record['refused']}"]
    return [
        f"emulator        chose the final draws, error of log L {record['error']:.3f} on {record['held_out']} held-out "
        f"evaluations, {record['n_emulated']} emulator calls; all weights are from the engine"
    ]


def _expected(goodness: dict) -> str:
    if not goodness:
        return ""
    return f"; expected {goodness['expected']:.1f} +- {goodness['sigma']:.1f}"


def _modes(result: Result) -> list[str]:
    """How many modes and what they hold; nothing for a single one."""
    modes = result.modes
    if len(modes) < 2:
        return []
    shares = ", ".join(f"{m['weight']:.3f} +- {m['weight_err']:.3f}" for m in modes)
    lines = [
        "",
        f"{len(modes)} modes, holding {shares} of the posterior; medians and intervals above are over all of them",
    ]
    for i, m in enumerate(modes, 1):
        where = ", ".join(f"{name} {m['mean'][name]:.5g} +- {m['std'][name]:.2g}" for name in result.names)
        lines.append(f"mode {i}          {where}; best statistic {m['best_statistic']:.2f}")
    return lines


def _table(result: Result) -> list[str]:
    head = ("parameter", "unit", "median", "68 % interval", "90 % interval", "prior")
    rows = [head]
    for row in result.table():
        rows.append(
            (
                row["name"],
                row["unit"] or "-",
                f"{row['q50']:.5g}",
                f"{row['q16']:.5g} .. {row['q84']:.5g}",
                f"{row['q05']:.5g} .. {row['q95']:.5g}",
                row["prior"],
            )
        )
    widths = [max(len(r[i]) for r in rows) for i in range(len(head))]
    return ["  ".join(cell.ljust(w) for cell, w in zip(r, widths, strict=True)).rstrip() for r in rows]
