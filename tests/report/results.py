"""A whole `Result` around the stand-in: known posterior, known spectrum, a history."""

import numpy as np
from standin import make_result

from xsixsa.options import preset
from xsixsa.result import Result
from xsixsa.verdict import Verdict


def full_result(text="converged", reasons=(), warnings=(), **standin):
    """A result as `xsixsa.fit` returns it."""
    r = make_result(converged=text.startswith("converged"), **standin)
    n = len(r.theta)
    losses = [{"training": 3.0 / (i + 1), "validation": 3.2 / (i + 1)} for i in range(10)]
    steps = [("t-mixture", 0.05, 40.0), ("refitted flow", 0.7, 3000.0), ("final draws", 0.8, 10250.0)]
    priors = ["uniform:0:1", "uniform:0:4", "loguniform:1e-06:0.01"][: len(r.names)]
    return Result(
        parameters=[
            {**p, "full_name": p["name"], "index": i + 1, "component": "c", "source": "", "group": 1, "prior": prior}
            | {"prior_origin": "explicit", "min": 0.0, "max": 10.0, "value_at_start": 1.0}
            for i, (p, prior) in enumerate(zip(r.parameters, priors, strict=True))
        ],
        theta=r.theta,
        u=np.full_like(r.theta, 0.5),
        weights=r.weights,
        statistic=60.0 + ((r.theta - r.theta.mean(axis=0)) ** 2 / r.theta.var(axis=0)).sum(axis=1),
        log_prior=np.zeros(n),
        log_proposal=np.zeros(n),
        final_log_weights=np.zeros(5000),
        log_evidence=-66.87,
        log_evidence_err=0.01,
        log_evidence_pooled=-66.88,
        ess=10250.0,
        efficiency=0.8,
        efficiency_total=0.4,
        pareto_k=0.2,
        n_evaluations=24000,
        n_failed=0,
        seconds={"simulate": 3.0, "correct": 4.0},
        predictive=r.predictive,
        predictive_best=r.predictive_best,
        observations=r.observations,
        dof=57,
        engine={"name": "embedded", "version": "0.1.0"},
        seed=1,
        verdict=Verdict(text.startswith("converged"), text, tuple(reasons), tuple(warnings)),
        model_expression=r.model_expression,
        settings={"abund": "wilm", "model_strings": {}, "noticed": {"1": "1-60"}},
        options=preset("standard").changed(ess=5000).as_dict(),
        history={
            "rounds": [
                {"round": i + 1, "simulations": 2000, "log_prior_volume": -1.0 * i}
                | {"autoencoder": losses, "posterior": losses}
                for i in range(2)
            ],
            "refinement": [
                {"step": s, "draws": 1000, "efficiency": e, "pool_ess": ess, "n_evaluations": 5000 * (i + 1)}
                for i, (s, e, ess) in enumerate(steps)
            ],
        },
        goodness={} if standin.get("background") else {"statistic": 60.0, "expected": 58.0, "sigma": 11.0, "z": 0.18},
        session_text="statistic cstat\n",
        fingerprint="ab" * 32,
    )
