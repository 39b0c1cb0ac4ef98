"""From a finished correction to a result with its verdict, as a run of its own would give it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict

import numpy as np

from xsixsa.amortised.correct import Correction
from xsixsa.correction.evidence import Evidence, estimate_evidence, weight_numbers
from xsixsa.correction.pool import effective_size
from xsixsa.diagnostics.edges import edge_warnings
from xsixsa.diagnostics.goodness import goodness
from xsixsa.diagnostics.likelihood import distrust
from xsixsa.inference.proposals import log_standard_normal
from xsixsa.result import Result
from xsixsa.verdict import Verdict, judge

__all__ = ["result_of", "verdict_of"]

_PREDICTIVE_DRAWS = 100


def verdict_of(correction: Correction, warnings: list[str], fit_sigma: float | None = None) -> tuple[Verdict, dict]:
    """Verdict on a correction and the numbers behind it.

    Parameters
    ----------
    correction
        A correction that is done.
    warnings
        What the user should know all the same.
    fit_sigma
        How many sigma the best statistic lies above what the model predicts for itself; None where that is unknown.
    """
    numbers = _numbers(correction)
    numbers["goodness"] = fit_sigma
    return judge(numbers, warnings, distrust((correction.observation,))), numbers


def _evidence(correction: Correction) -> Evidence:
    return estimate_evidence(correction.final_log_weights)


def _numbers(correction: Correction) -> dict:
    pool, final = correction.pool, correction.final_log_weights
    evidence = _evidence(correction)
    return weight_numbers(pool.honest_log_weights(), final, evidence, pool.log_evidence, _used(correction)) | {
        "ess_wanted": correction.options.ess,
        "missed_mass": correction.missed_mass(),
        "budget_spent": correction.budget_spent,
        "max_evaluations": correction.options.max_evaluations,
        "interrupted": False,
    }


def _used(correction: Correction) -> int:
    """Draws that the posterior rests on."""
    return len(correction.pool) if correction.refined else correction.pool.used


def result_of(
    correction: Correction,
    evaluate: Callable,
    *,
    warnings: list[str],
    seed: int,
    engine: dict,
    settings: dict,
    fingerprint: str,
    mark: str,
    seconds: float = 0.0,
) -> Result:
    """Result of one spectrum.

    Parameters
    ----------
    correction
        A correction that is done.
    evaluate
        ``evaluate(z)`` -> (expected source counts of the reference observation, valid), for predictive spectra of
        draws whose expected counts are no longer at hand.
    warnings
        What the user should know.
    seed, engine, settings, fingerprint
        Stored with the result, as of a session that has this spectrum loaded.
    mark
        What tells a later call that this spectrum is done.
    seconds
        Wall-clock seconds of its correction; its share, where many were corrected together.
    """
    network, pool, prior = correction.network, correction.pool, correction.network.prior
    z, log_l, log_w = pool.z, pool.log_likelihood, pool.honest_log_weights()
    weights = _normalised(log_w)
    theta = prior.from_normal(z)
    u = prior.cdf(theta)
    best, predictive = _predictive(correction, weights, evaluate)
    fit_quality: dict = {}
    if correction.observation.background is None and np.isfinite(best).all():
        fit_quality = dict(goodness(-2 * log_l.max(), best, prior.dim))
    notes = [*warnings, *prior.notes, *edge_warnings(prior, u, weights)]
    verdict, numbers = verdict_of(correction, notes, fit_quality.get("z"))
    final, evidence = correction.final_log_weights, _evidence(correction)
    return Result(
        parameters=_parameters(prior),
        theta=theta,
        u=u,
        weights=weights,
        statistic=np.where(np.isfinite(log_l), -2 * log_l, np.nan),
        log_prior=log_standard_normal(z),
        log_proposal=pool.honest_log_proposal(),
        final_log_weights=final,
        log_evidence=evidence.value,
        log_evidence_err=evidence.error,
        log_evidence_pooled=numbers["log_evidence_pooled"],
        ess=numbers["ess"],
        efficiency=effective_size(final) / max(len(final), 1),
        efficiency_total=numbers["ess"] / max(correction.n_evaluations, 1),
        pareto_k=numbers["pareto_k"],
        n_evaluations=correction.n_evaluations,
        n_failed=int(np.sum(~np.isfinite(log_l))),
        seconds={"correct": round(seconds, 3)},
        predictive=predictive,
        predictive_best=best,
        observations=[_observation(correction.observation)],
        dof=len(correction.observation.counts) - prior.dim,
        engine=dict(engine),
        seed=seed,
        verdict=verdict,
        model_expression=network.layout.facts["model"]["expression"],
        settings=dict(settings),
        options={**asdict(correction.options), "mark": mark},
        history={"correction": correction.history, "refined": correction.refined},
        goodness=fit_quality,
        fingerprint=fingerprint,
    )


def _normalised(log_w: np.ndarray) -> np.ndarray:
    if not np.isfinite(log_w).any():
        return np.full(len(log_w), 1.0 / len(log_w))
    weights = np.exp(log_w - log_w.max())
    return weights / weights.sum()


def _predictive(correction: Correction, weights, evaluate) -> tuple[np.ndarray, np.ndarray]:
    """Expected source counts at the best draw, (bins,), and at equal-weight draws, (m, bins)."""
    chosen = correction.rng.choice(len(weights), size=_PREDICTIVE_DRAWS, p=weights)
    best = int(np.argmax(correction.pool.log_likelihood))
    rows = np.append(best, chosen)
    kept = correction.expected
    if rows.max() < len(kept):
        own = kept[rows]
    else:
        own, _ = correction.likelihood(*evaluate(correction.pool.z[rows]))
    return own[0].astype(np.float64), own[1:].astype(np.float32)


def _parameters(prior) -> list[dict]:
    rows = []
    for p, described in zip(prior.parameters, prior.describe(), strict=True):
        row = {k: getattr(p, k) for k in ("name", "full_name", "component", "parameter", "unit", "index", "source")}
        row |= {"group": p.group, "min": p.min, "max": p.max, "value_at_start": p.value}
        rows.append(row | {"prior": described["prior"], "prior_origin": described["origin"]})
    return rows


def _observation(o) -> dict:
    row = {"index": 1, "name": o.name, "counts": o.counts, "edges": o.edges, "exposure": o.exposure}
    background = None if o.background is None else o.background.counts
    return row | {"background_counts": background, "background_scale": o.background_ratio}
