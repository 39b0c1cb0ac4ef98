"""A result with a known posterior and a known spectrum, for what only reads results."""

from types import SimpleNamespace

import numpy as np


def make_result(converged=True, background=False, dim=3, bins=60, n_spectra=1, level=200.0, seed=3):
    """Correlated Gaussian posterior as weighted draws of a wider one, and a power law seen without distortion."""
    rng = np.random.default_rng(seed)
    names, units = ["nH", "PhoIndex", "powerlaw.norm"][:dim], ["10^22", "", ""][:dim]
    mean, sigma = np.array([0.2, 1.7, 2.3e-5])[:dim], np.array([0.01, 0.05, 1e-6])[:dim]
    z = 1.5 * rng.standard_normal((20000, dim))
    log_w = -0.5 * (z**2).sum(axis=1) * (1 - 1 / 1.5**2)
    weights = np.exp(log_w - log_w.max())
    theta = mean + sigma * z
    edges = np.geomspace(0.5, 10, bins + 1)
    edges = np.stack([edges[:-1], edges[1:]], axis=1)
    shape = edges[:, 0] ** -1.2 * level
    exposure = 1e4
    observations, predictive, best = [], [], []
    for i in range(n_spectra):
        off = rng.poisson(40.0, bins).astype(float) if background else None
        observations.append(
            {
                "index": i + 1,
                "name": f"s{i + 1}.pha",
                "counts": rng.poisson(shape + (0.1 * 40.0 if background else 0.0)).astype(float),
                "edges": edges,
                "exposure": exposure,
                "background_counts": off,
                "background_scale": 0.1,
            }
        )
        predictive.append(shape * rng.normal(1, 0.01, (300, 1)))
        best.append(shape)
    reasons = () if converged else ("ESS 812 of the 10000 asked for", "Pareto k 0.83 above 0.7")
    return SimpleNamespace(
        names=names,
        parameters=[{"name": n, "parameter": n.split(".")[-1], "unit": u} for n, u in zip(names, units, strict=True)],
        theta=theta,
        weights=weights / weights.sum(),
        observations=observations,
        predictive=np.concatenate(predictive, axis=1).astype(np.float32),
        predictive_best=np.concatenate(best),
        verdict=SimpleNamespace(
            converged=converged, reasons=reasons, text="converged" if converged else "not converged"
        ),
        log_evidence=-66.87,
        log_evidence_err=0.01,
        ess=10250.0,
        n_evaluations=24000,
        engine={"name": "embedded", "version": "0.1.0"},
        model_expression="TBabs*powerlaw",
        seed=1,
    )
