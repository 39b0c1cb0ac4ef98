"""``sixsa bxa``: nested sampling by BXA on the part of the prior that holds a run's posterior, beside that run."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

from xsixsa.diagnostics.compare import AGREEMENT
from xsixsa.errors import UsageError
from xsixsa.prompt.answer import ANSWER_FILE
from xsixsa.prompt.handover import HandOver
from xsixsa.prompt.records import write_records

if TYPE_CHECKING:
    from xsixsa.bxa import BXAOutcome
    from xsixsa.diagnostics.compare import Comparison, Marginal
    from xsixsa.prompt.speaker import Speaker
    from xsixsa.result import Result
    from xsixsa.session import Session

__all__ = ["run_beside"]

_LIVE_POINTS = 400
_SIGMA = 3.0


def run_beside(xspec: ModuleType, session: Session, hand_over: HandOver, out: Path, speaker: Speaker) -> bool:
    """Run BXA for the run that the hand-over names, and write the answer.

    Returns
    -------
    bool
        Whether both agree: the evidence within 3 sigma, the truncation's edges free, every marginal.
    """
    import xsixsa
    from xsixsa.bxa import compare_runs, from_result, run_bxa

    # BXA imports `xspec`; this process has one engine, and which one was said
    sys.modules.setdefault("xspec", xspec)
    result = xsixsa.load(hand_over.task[1])
    options = hand_over.options
    live = int(options.get("live", _LIVE_POINTS))
    if live < 40:
        raise UsageError(f"-live {live} is too few points for nested sampling; 400 is usual")
    truncation = from_result(result, session)
    speaker.say(f"BXA, {live} live points, on {math.exp(truncation.log_mass):.2g} of the prior's mass, into {out}")
    for warning in truncation.warnings:
        speaker.warn(warning)
    outcome = run_bxa(
        truncation,
        out,
        live_points=live,
        workers=int(options.get("workers", 1)),
        seed=int(options["seed"]) if "seed" in options else None,
        run_kwargs={"viz_callback": _progress(speaker), "show_status": False},
    )
    comparison = compare_runs(result, outcome.run)
    sigma = abs(outcome.evidence.log_evidence - result.log_evidence) / math.hypot(
        outcome.evidence.log_evidence_err, result.log_evidence_err
    )
    agrees = bool(outcome.evidence.edges.passed and all(map(_same, comparison.marginals)) and sigma < _SIGMA)
    records = _records(result, outcome, comparison, hand_over, sigma, agrees)
    write_records(out / ANSWER_FILE, "xsixsa-answer", records)
    return agrees


def _same(marginal: Marginal) -> bool:
    # few live points tell less: twice what two halves of BXA's own samples differ by
    return marginal.divergence <= max(AGREEMENT, 2.0 * marginal.floor)


def _progress(speaker: Speaker) -> Callable:
    start = time.monotonic()

    def show(points, info, region, transformLayer, region_fresh=False) -> None:
        seconds = int(time.monotonic() - start)
        speaker.progress(
            f"BXA: {info['ncall']} evaluations, log-evidence {info['logz']:.2f}, {seconds // 60}:{seconds % 60:02d}"
        )

    return show


def _records(
    result: Result, outcome: BXAOutcome, comparison: Comparison, hand_over: HandOver, sigma: float, agrees: bool
) -> Iterator[tuple]:
    evidence = outcome.evidence
    words = "agrees with" if agrees else "DIFFERS from"
    verdict = f"BXA {words} the run in {hand_over.task[1]}: log-evidences {sigma:.1f} sigma apart"
    yield "model", hand_over.model
    yield "converged", int(agrees)
    yield "verdict", verdict
    yield "evidence", f"{evidence.log_evidence:.3f} +- {evidence.log_evidence_err:.3f}"
    yield "chain", "posterior.fits"
    run = outcome.run.ordered(result.parameters)
    best = run.theta[int(np.nanargmax(run.log_likelihood))]
    for parameter, value in zip(result.parameters, best, strict=True):
        yield "parameter", parameter["source"], parameter["index"], parameter["name"], repr(float(value))
    yield "summary", verdict
    yield "summary", f"BXA      {evidence}"
    yield "summary", f"run      log-evidence {result.log_evidence:.3f} +- {result.log_evidence_err:.3f}"
    yield "summary", f"cost     {outcome.n_evaluations} evaluations by BXA, {result.n_evaluations} by the run"
    width = max(9, *(len(m.name) for m in comparison.marginals))
    yield "summary", f"{'parameter':{width}s}  {'this run':>24s}  {'BXA':>24s}"
    for m in comparison.marginals:
        ours, theirs = f"{m.mean:.5g} +- {m.std:.3g}", f"{m.reference_mean:.5g} +- {m.reference_std:.3g}"
        word = "same" if _same(m) else "DIFFERENT"
        yield "summary", f"{m.name:{width}s}  {ours:>24s}  {theirs:>24s}  {word}"
