"""Evidence, Pareto k and the checks that say whether a weighted posterior may be trusted."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from scipy.special import logsumexp

from xsixsa.correction.pool import effective_size

__all__ = [
    "THIN",
    "Evidence",
    "estimate_evidence",
    "half_sample_shift",
    "mass_not_covered",
    "pareto_k",
    "weight_numbers",
]

THIN = 30.0
"""A draw with more than so many times the mean weight lies where the proposal is too thin to represent it."""


@dataclass(frozen=True)
class Evidence:
    """Log-evidence with its standard error, and the draws it rests on."""

    value: float
    error: float
    draws: int


def estimate_evidence(log_weights: np.ndarray, normalisation_err: float = 0.0) -> Evidence:
    """Evidence as the mean of importance weights.

    Parameters
    ----------
    log_weights
        Log of prior times likelihood over proposal for independent draws of one proposal, shape (n,).
    normalisation_err
        Standard error of the log normalisation of the proposal, where that was measured.

    Returns
    -------
    Evidence
        The error is the standard error of the mean, carried over to the logarithm to first order.
    """
    n = len(log_weights)
    if n < 2 or not np.isfinite(log_weights).any():
        return Evidence(-np.inf, np.inf, n)
    value = float(logsumexp(log_weights) - np.log(n))
    relative = np.exp(log_weights - value)
    return Evidence(value, float(np.hypot(np.sqrt(np.var(relative, ddof=1) / n), normalisation_err)), n)


def pareto_k(log_weights: np.ndarray) -> float:
    """Shape of the tail of the weights: below 0.7 their mean can be trusted (Vehtari et al. 2024, PSIS).

    ArviZ fits the generalised Pareto distribution to the exceedances of the largest weights.
    """
    from arviz_stats.base import array_stats

    finite = log_weights[np.isfinite(log_weights)]
    if len(finite) < 25:
        return float("inf")
    if np.ptp(finite) < 1e-9:
        return 0.0  # equal weights have no tail to fit
    # psislw takes log-likelihoods of left-out data, whose negative is the log weight. Where weights are degenerate it
    # divides by zero on the way; the k that comes out, NaN included, is judged by the caller.
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return float(array_stats.psislw(finite.max() - finite)[1])


def half_sample_shift(log_weights: np.ndarray) -> float:
    """Difference of log-evidence between the two halves of the draws, in units of its standard error."""
    half = len(log_weights) // 2
    a, b = estimate_evidence(log_weights[:half]), estimate_evidence(log_weights[half:])
    error = np.hypot(a.error, b.error)
    return float(abs(a.value - b.value) / error) if 0 < error < np.inf else np.inf


def mass_not_covered(
    log_weights: np.ndarray, log_ratio: np.ndarray, log_evidence: float, factor: float = THIN
) -> float:
    """Share of the pooled posterior where the final proposal is too thin to represent it.

    Parameters
    ----------
    log_weights
        Pooled log weights, shape (n,).
    log_ratio
        Log of prior times likelihood over the *final* proposal at the same points, shape (n,).
    log_evidence
        Log-evidence from the final draws.
    factor
        A point counts as missed where its weight exceeds the mean weight by this factor.
    """
    total = logsumexp(log_weights)
    if not np.isfinite(total):
        return 1.0
    missed = log_ratio > log_evidence + np.log(factor)
    return float(np.exp(log_weights[missed] - total).sum())


def weight_numbers(log_weights: np.ndarray, final: np.ndarray, evidence: Evidence, pooled: float, draws: int) -> dict:
    """What weights say of themselves, for :func:`xsixsa.verdict.judge`.

    Parameters
    ----------
    log_weights
        Log weights of the posterior, shape (n,).
    final
        Log weights of the draws that no fit has seen, on which the evidence rests.
    evidence
        From those.
    pooled
        Log-evidence from the weights of the posterior.
    draws
        Draws that the posterior rests on.
    """
    ess, finite = effective_size(log_weights), np.isfinite(log_weights).any()
    return {
        "ess": ess,
        # np.max, unlike max, lets a NaN through, and a NaN is never below the limit.
        "pareto_k": float(np.max([pareto_k(log_weights), pareto_k(final)])),
        "log_evidence": evidence.value,
        "log_evidence_err": evidence.error,
        "log_evidence_pooled": pooled,
        "log_evidence_pooled_err": float(np.sqrt(max(1 / max(ess, 1.0) - 1 / draws, 0.0))),
        "half_sample_shift": half_sample_shift(final),
        "largest_weight": float(np.exp(log_weights.max() - logsumexp(log_weights))) if finite else 1.0,
        "failed_share": float(np.mean(~np.isfinite(final))) if len(final) else 0.0,
    }
