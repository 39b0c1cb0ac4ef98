"""May this posterior be trusted? Every reason against it, in words."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["Verdict", "judge"]

MAX_PARETO_K = 0.7
MAX_EVIDENCE_ERROR = 0.1
MAX_EVIDENCE_SHIFT = 3.0
MAX_HALF_SAMPLE_SHIFT = 4.0
MAX_MISSED_MASS = 0.02
MAX_WEIGHT_SHARE = 0.05
POOR_FIT_SIGMA = 4.0
# A network that learnt from fewer is named as a possible cause where a run has not converged.
FEW_SIMULATIONS = 1_000


@dataclass(frozen=True)
class Verdict:
    """Outcome of a run.

    Attributes
    ----------
    converged : bool
        Whether the weighted samples may be taken for the posterior.
    text : str
        ``"converged"``, ``"converged, poor fit"``, ``"not converged"`` or ``"not trustworthy"``.
    reasons : tuple of str
        Why not; empty when converged.
    warnings : tuple of str
        What the user should know all the same.
    """

    converged: bool
    text: str
    reasons: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.text + (": " + "; ".join(self.reasons) if self.reasons else "")


def judge(numbers: dict, warnings: list[str], distrust: list[str] = ()) -> Verdict:
    """Verdict from the numbers of a run.

    Parameters
    ----------
    numbers
        ``ess``, ``ess_wanted``, ``pareto_k``, ``log_evidence``, ``log_evidence_err``, ``log_evidence_pooled``,
        ``log_evidence_pooled_err``, ``half_sample_shift``, ``missed_mass``, ``largest_weight``, ``budget_spent``,
        ``interrupted``, ``max_evaluations``, ``failed_share``, ``goodness`` (sigma above expectation, or None); and
        where known ``max_seconds`` (when these ran out), ``trained_on`` (simulations the network learnt from),
        ``uncovered`` (what to say where the prior predicts nothing like the observation).
    warnings
        Collected on the way.
    distrust
        Reasons not to trust the likelihood itself (for instance W-stat with empty background bins).
    """
    reasons = _reasons(numbers)
    warnings = list(warnings)
    z = numbers.get("goodness")
    poor = z is not None and z > POOR_FIT_SIGMA
    uncovered = numbers.get("uncovered", "")
    if poor:
        way_out = "widen the prior" if uncovered else "change the model"
        doubt = (
            "; a better one may not have been found yet" if reasons else f"; {way_out} before reading the parameters"
        )
        warnings.append(
            f"poor fit: the best statistic lies {z:.1f} sigma above what the model predicts for itself{doubt}"
        )
    if uncovered:
        warnings.append(uncovered)
        # Where the quality of the fit is not known (W-stat), this is what is known of it.
        poor = poor or z is None
    if distrust:
        return Verdict(False, "not trustworthy", (*distrust, *reasons), tuple(warnings))
    if reasons:
        return Verdict(False, "not converged", tuple(reasons), tuple(warnings))
    return Verdict(True, "converged, poor fit" if poor else "converged", (), tuple(warnings))


def _reasons(n: dict) -> list[str]:
    found = []
    if n["interrupted"]:
        found.append("interrupted before the end")
    if n.get("max_seconds") is not None:
        found.append(f"the {n['max_seconds']:g} seconds allowed ran out; raise max_seconds or narrow the prior")
    elif n["budget_spent"]:
        found.append(
            f"the {n['max_evaluations']} evaluations allowed ran out; raise max_evaluations or narrow the prior"
        )
    if not n["ess"] >= n["ess_wanted"]:
        found.append(f"effective sample size {n['ess']:.0f} of the {n['ess_wanted']} asked for")
    if found and n.get("trained_on") is not None and n["trained_on"] < FEW_SIMULATIONS:
        found.append(f"the network learnt from {n['trained_on']} simulations only; raise simulations")
    if not n["pareto_k"] < MAX_PARETO_K:
        found.append(
            f"Pareto k {n['pareto_k']:.2f} is not below {MAX_PARETO_K}: a few draws carry the tail; "
            "use preset='thorough' or narrow the prior"
        )
    if n["largest_weight"] > MAX_WEIGHT_SHARE:
        found.append(f"a single draw carries {100 * n['largest_weight']:.0f} % of the weight")
    if not n["log_evidence_err"] <= MAX_EVIDENCE_ERROR:
        found.append(f"error of log-evidence {n['log_evidence_err']:.2f} exceeds {MAX_EVIDENCE_ERROR}")
    shift = abs(n["log_evidence"] - n["log_evidence_pooled"])
    error = np.hypot(n["log_evidence_err"], n["log_evidence_pooled_err"])
    if not shift <= MAX_EVIDENCE_SHIFT * error:
        found.append(
            f"log-evidence from fresh draws ({n['log_evidence']:.3f}) and from the pool "
            f"({n['log_evidence_pooled']:.3f}) differ by more than {MAX_EVIDENCE_SHIFT:g} sigma"
        )
    if not n["half_sample_shift"] <= MAX_HALF_SAMPLE_SHIFT:
        found.append(f"the two halves of the final draws disagree by {n['half_sample_shift']:.1f} sigma in evidence")
    if not n["missed_mass"] <= MAX_MISSED_MASS:
        found.append(
            f"{100 * n['missed_mass']:.1f} % of the posterior lies where the final proposal hardly draws "
            "(a second mode or a long tail); use preset='thorough'"
        )
    if n["failed_share"] > 0.05:
        found.append(f"{100 * n['failed_share']:.0f} % of the final draws have no valid statistic")
    return found
