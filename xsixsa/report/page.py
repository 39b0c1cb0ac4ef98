"""One HTML page for a run, with everything inside it."""

from __future__ import annotations

import json
import math
import os
from functools import lru_cache
from pathlib import Path

import numpy as np

import xsixsa
from xsixsa.files import atomic_path
from xsixsa.report.checks import predictive_checks
from xsixsa.report.figures import checks_figure, data_uri, losses_of
from xsixsa.report.repeat import command, python_code

__all__ = ["report_html", "write_report"]

_TEMPLATE = "report.html.jinja"
_KIND = {"converged": "good", "converged, poor fit": "doubtful"}
_MEANING = {
    "converged": "The weighted samples stand for the posterior of this model and this prior.",
    "converged, poor fit": (
        "The samples stand for the posterior of this model, but the model does not describe the data: "
        "change it before reading the parameters."
    ),
    "not converged": "Do not use the numbers on this page. The reasons are below, with what to try.",
    "not trustworthy": (
        "The likelihood itself is in doubt, however well it was sampled. Do not use the numbers on this page."
    ),
}


def _number(value, digits: int = 5) -> str:
    """A number for readers; what is not finite is said in words."""
    if value is None or not math.isfinite(value):
        return "not known"
    return f"{value:.{digits}g}"


def _fixed(value, digits: int = 2) -> str:
    return f"{value:.{digits}f}" if value is not None and math.isfinite(value) else "not known"


@lru_cache(maxsize=1)
def _environment():
    from jinja2 import Environment, PackageLoader, StrictUndefined

    # every value is escaped: names of files and parameters are the user's
    environment = Environment(
        loader=PackageLoader("xsixsa.report", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": _number, "fixed": _fixed}
    return environment


def _plain(value) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, float):
        return f"{value:.10g}"
    return json.dumps(value, default=str, ensure_ascii=False)


def _settings(values: dict) -> list[tuple[str, str]]:
    """Nested settings as rows of name and text."""
    rows = []
    for name, value in values.items():
        if isinstance(value, dict) and value:
            rows += [(f"{name}.{inner}", text) for inner, text in _settings(value)]
        else:
            rows.append((str(name), _plain(value)))
    return rows


def _observations(result) -> list[dict]:
    rows, start = [], 0
    for o in result.observations:
        stop = start + len(o["counts"])
        edges = np.asarray(o["edges"], float)
        background = o.get("background_counts")
        rows.append(
            {
                "index": o["index"],
                "name": os.path.basename(o["name"]) or o["name"],
                "bins": len(o["counts"]),
                "low": float(edges.min()),
                "high": float(edges.max()),
                "exposure": float(o["exposure"]),
                "counts": float(np.sum(o["counts"])),
                "background": None if background is None else float(np.sum(background)),
                "expected": float(np.sum(result.predictive_best[start:stop])),
            }
        )
        start = stop
    return rows


def _spectrum_alt(rows: list[dict]) -> str:
    parts = [
        f"spectrum {r['index']} ({r['name']}), {r['bins']} bins from {r['low']:.3g} to {r['high']:.3g} keV"
        for r in rows
    ]
    more = f" and {len(parts) - 4} more" if len(parts) > 4 else ""
    return f"Data, best fit and predictive bands, with residuals below: {'; '.join(parts[:4])}{more}."


def _corner_alt(table: list[dict]) -> str:
    parts = [f"{r['name']} {r['q50']:.4g}, 68 % from {r['q16']:.4g} to {r['q84']:.4g}" for r in table]
    return f"Corner plot, one- and two-dimensional marginals. Medians: {'; '.join(parts)}. The table has all numbers."


def _evidence_text(result) -> str:
    error, log_z = result.log_evidence_err, result.log_evidence
    if not (math.isfinite(log_z) and math.isfinite(error)):
        return "There is no evidence: the run ended before its final draws."
    apart = abs(log_z - result.log_evidence_pooled)
    return (
        f"It rests on {len(result.final_log_weights)} draws that no fit has seen. "
        f"The whole pool gives {result.log_evidence_pooled:.3f}, {apart:.3f} away."
    )


def _goodness_text(result) -> str:
    g = result.goodness
    if not g:
        return (
            "No expectation is given for this statistic: Kaastra's formulae hold for C-stat without a background file. "
            "Judge the fit by the residuals and by the predictive checks."
        )
    side = "above" if g["z"] >= 0 else "below"
    return (
        f"The best C-stat is {g['statistic']:.1f}. A right model would give {g['expected']:.1f} ± {g['sigma']:.1f} "
        f"(Kaastra 2017, A&A 605, A51; each free parameter lowers it by one): {abs(g['z']):.1f} sigma {side}."
    )


def _rounds(rounds: list[dict]) -> list[dict]:
    """What the table of rounds shows; runs of earlier versions lack some of it."""
    rows = []
    for r in rounds:
        losses = losses_of(r)
        ranks = [min(rank, 1 - rank) for rank in r.get("coverage") or []]
        rows.append(
            {
                "round": r["round"],
                "proposal": r.get("proposal", "-"),
                "summary": (r.get("summary") or {}).get("name", "-"),
                "simulations": r["simulations"],
                "log_prior_volume": r["log_prior_volume"],
                "efficiency": r.get("efficiency"),
                "epochs": len(losses),
                "validation": losses[-1].get("validation") if losses else None,
                "furthest": min(ranks) if ranks else None,
                "notes": [*(r.get("notes") or []), *((r.get("summary") or {}).get("notes") or [])],
                "stopped": r.get("stopped", ""),
            }
        )
    return rows


def _pictures(result, checks) -> dict[str, str | None]:
    from xsixsa.plot import corner_figure, history_figure, spectrum_figure

    history = result.history or {}
    recorded = bool(history.get("rounds") or history.get("refinement"))
    figures = {
        "spectrum": spectrum_figure(result),
        "corner": corner_figure(result),
        "history": history_figure(result) if recorded else None,
        "checks": checks_figure(checks) if checks else None,
    }
    return {name: data_uri(figure) if figure is not None else None for name, figure in figures.items()}


def report_html(result, title: str | None = None) -> str:
    """The page as text.

    Everything is inside it: no script, no font, no address outside the page. Text that comes from the user (names of
    files, models, settings) is escaped.

    Parameters
    ----------
    result : Result
        A run, converged or not.
    title : str, optional
        Heading of the page; the model expression by default.

    Returns
    -------
    str
        An HTML document.
    """
    checks = predictive_checks(result)
    table, observations = result.table(), _observations(result)
    history = result.history or {}
    return (
        _environment()
        .get_template(_TEMPLATE)
        .render(
            title=title or result.model_expression or "xsixsa run",
            result=result,
            kind=_KIND.get(result.verdict.text, "bad"),
            meaning=_MEANING.get(result.verdict.text, ""),
            table=table,
            observations=observations,
            origins={p["name"]: p["prior_origin"] for p in result.parameters},
            pictures=_pictures(result, checks),
            checks=checks,
            spectrum_alt=_spectrum_alt(observations),
            corner_alt=_corner_alt(table),
            evidence_text=_evidence_text(result),
            goodness_text=_goodness_text(result),
            modes=result.modes,
            rounds=_rounds(history.get("rounds", [])),
            refinement=history.get("refinement", []),
            settings=_settings(result.settings),
            options=_settings(result.options),
            command=command(result),
            code=python_code(result),
            version=xsixsa.__version__,
        )
    )


def write_report(result, path: str | os.PathLike, *, title: str | None = None, overwrite: bool = True) -> Path:
    """Write :func:`report_html` to a file, which appears whole or not at all.

    Parameters
    ----------
    result : Result
        A run.
    path : str or path
        File to write.
    title : str, optional
        Heading of the page.
    overwrite : bool
        Whether an existing file may be replaced.

    Raises
    ------
    OutputError
        If the file cannot be written, or exists and must not be replaced.
    """
    text = report_html(result, title)
    with atomic_path(path, overwrite=overwrite) as temporary:
        # a name on disk may hold bytes that are no text; they become question marks rather than an error
        temporary.write_text(text, encoding="utf-8", errors="replace")
    return Path(path)
