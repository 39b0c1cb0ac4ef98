"""Which of two posteriors is off? A long importance-sampling run that shares no code with either.

    python benchmarks/arbiter.py pn

draws from a mixture of Student t densities and the prior, fitted to the draws of the UltraNest reference, all in the
space where the prior is a standard normal (scipy does both). Its log-evidence is an order of magnitude sharper than
nested sampling's, and its moments are independent of how ours adapts. ``--straightened`` fits them in the coordinates
of :class:`xsixsa.correction.unfold.Unfolding`, where the posterior curves too much for them: the map is ours, but
decides only where draws are made. Leaves ``results/arbiter_CASE.json``, which `agreement.py` compares with.
"""

from __future__ import annotations

import argparse
import os
import time

import numpy as np
from cases import CASES, RESULTS, load, versions, write_json
from scipy import special, stats
from scipy.cluster.vq import kmeans2
from ultranest_reference import load_reference

from xsixsa.correction.unfold import Unfolding
from xsixsa.diagnostics.compare import DRAWS, divergences, equal_weight

LEAST_ESS = 30_000
_NARROW, _WIDE, _PRIOR = 0.60, 0.35, 0.05


class Straightened:
    """A density of scipy in the coordinates of a map, as one in z."""

    def __init__(self, inner, unfolding: Unfolding):
        self._inner, self._unfolding = inner, unfolding

    def rvs(self, n: int) -> np.ndarray:
        """Draws in z."""
        return self._unfolding.inverse(np.atleast_2d(self._inner.rvs(n)))

    def logpdf(self, z: np.ndarray) -> np.ndarray:
        """Log density in z."""
        return self._inner.logpdf(self._unfolding.forward(z)) + self._unfolding.log_det


def proposal(z: np.ndarray, components: int, straightened: bool, rng: np.random.Generator) -> tuple[list, np.ndarray]:
    """Student t densities on clusters of z, one over all of it, and the prior; with their fractions."""
    unfolding = Unfolding.best(z, np.full(len(z), 1 / len(z))) if straightened else None
    x = z if unfolding is None else unfolding.forward(z)
    white = np.linalg.solve(np.linalg.cholesky(np.cov(x.T)), x.T).T
    _, label = kmeans2(white, components, seed=rng, minit="++")
    members = [x[label == k] for k in range(components) if (label == k).sum() > 10 * z.shape[1]]
    parts = [stats.multivariate_t(m.mean(0), 1.6 * np.cov(m.T), df=6, seed=rng) for m in members]
    sizes = np.array([len(m) for m in members], float)
    parts.append(stats.multivariate_t(x.mean(0), 1.7 * np.cov(x.T), df=4, seed=rng))
    if unfolding is not None:
        parts = [Straightened(p, unfolding) for p in parts]
    parts.append(stats.multivariate_normal(np.zeros(z.shape[1]), np.eye(z.shape[1]), seed=rng))
    return parts, np.append(_NARROW * sizes / sizes.sum(), [_WIDE, _PRIOR])


def main() -> None:
    """Run, write and say what was found."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("case", choices=CASES)
    parser.add_argument("-n", type=int, default=120_000, help="draws (120000)")
    parser.add_argument("--components", type=int, default=10)
    parser.add_argument("--straightened", action="store_true", help="where the posterior is strongly curved")
    parser.add_argument("--seed", type=int, default=99)
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    args = parser.parse_args()
    start = time.perf_counter()
    _, session, prior = load(args.case)
    reference, rng = load_reference(args.case), np.random.default_rng(args.seed)
    # At 0 and 1 themselves the normal is infinite.
    parts, fractions = proposal(
        special.ndtri(np.clip(reference.u, 1e-9, 1 - 1e-9)), args.components, args.straightened, rng
    )
    drawn = [np.atleast_2d(p.rvs(int(k))) for p, k in zip(parts, rng.multinomial(args.n, fractions), strict=True) if k]
    z = rng.permutation(np.concatenate(drawn))
    log_q = special.logsumexp([p.logpdf(z) + np.log(f) for p, f in zip(parts, fractions, strict=True)], axis=0)
    u = special.ndtr(z)
    theta = prior.ppf(u)
    with session.pool(workers=args.workers) as pool:
        statistic = pool.evaluate(theta, expected=False).statistic
    log_w = np.where(np.isfinite(statistic), -0.5 * statistic, -np.inf) + parts[-1].logpdf(z) - log_q
    log_evidence = float(special.logsumexp(log_w) - np.log(args.n))
    relative = np.exp(log_w - log_evidence)
    weights = relative / relative.sum()
    ess = float(1 / (weights @ weights))
    if ess < LEAST_ESS:
        raise SystemExit(f"effective sample size {ess:.0f} is below {LEAST_ESS}: raise -n or --components")
    mean = weights @ theta
    square = (theta - mean) ** 2
    std = np.sqrt(weights @ square)
    # A standard deviation errs by half the relative error of the variance.
    std_error = np.sqrt((weights**2) @ (square - std**2) ** 2) / (2 * std)
    found = {
        "case": args.case,
        "command": f"python benchmarks/arbiter.py {args.case} -n {args.n} --components {args.components} "
        f"--seed {args.seed}" + (" --straightened" if args.straightened else ""),
        "engine": session.engine,
        "versions": versions("numpy", "scipy"),
        "prior": [[p["name"], p["prior"]] for p in prior.describe()],
        "draws": args.n,
        "ess": ess,
        "largest_weight": float(weights.max()),
        "log_evidence": log_evidence,
        "log_evidence_err": float(relative.std(ddof=1) / np.sqrt(args.n)),
        "mean": mean.tolist(),
        "mean_err": np.sqrt((weights**2) @ square).tolist(),
        "std": std.tolist(),
        "std_err": std_error.tolist(),
        "divergence_from_reference": divergences(u[equal_weight(weights, DRAWS, rng)], reference.u).tolist(),
        "seconds": time.perf_counter() - start,
    }
    write_json(RESULTS / f"arbiter_{args.case}.json", found)
    print(f"{args.case}: log-evidence {log_evidence:.4f} +- {found['log_evidence_err']:.4f}, ESS {ess:.0f} of {args.n}")
    for i, name in enumerate(prior.names):
        print(
            f"{name:16s} mean {mean[i]:.6g} +- {found['mean_err'][i]:.1g}  std {std[i]:.5g} +- {std_error[i]:.1g}  "
            f"UltraNest {1e3 * found['divergence_from_reference'][i]:.2f}e-3 nat away"
        )


if __name__ == "__main__":
    main()
