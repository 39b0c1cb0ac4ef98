"""Does anything get trapped? 200 two-component spectra: one network with its correction beside ordinary fits.

    python benchmarks/local_minima.py [--spectra 200] [--starts 3]

Spectra of TBabs*(powerlaw+bbodyrad) with more than 10 000 counts on a NICER response, parameters drawn from the prior.
The network's posterior of each is corrected with the exact likelihood, and the lowest statistic among its draws is
compared with the best known: the lowest of the network's and of a minimisation that starts at the truth. The same
spectra are fitted by `Fit.perform` from points drawn from the prior, each parameter limited to the range of its prior,
so that all look in the same place. A result farther above the best known than a margin is an outlier.
"""

from __future__ import annotations

import argparse
import json
import os
import time

import numpy as np
from amortised_cases import TWO_COMPONENTS, Bounds, cached_network, keep, session_of, simulated, write_segments
from cases import CACHE, engine_module

from xsixsa import Prior

__all__ = ["fit_from"]

COUNTS = (1e4, 3e5)
SIMULATIONS = 20_000
MARGINS = (1.0, 3.0, 10.0, 30.0)
OUTLIER = 3.0
"""C above the best known from which a result counts as trapped: no draw of a right posterior of five parameters is so
poor that the best of a thousand lies there."""


def fit_from(xspec, prior: Prior, start: np.ndarray) -> float:
    """Lowest statistic that `Fit.perform` finds from `start`, within the range of the prior."""
    model, low, high = xspec.AllModels(1), *np.array([d.support for d in prior.distributions]).T
    for parameter, value, a, b in zip(prior.parameters, np.clip(start, low, high), low, high, strict=True):
        handle = model(parameter.index)
        handle.values = [float(value), 0.01 * abs(float(value)), float(a), float(a), float(b), float(b)]
    xspec.Fit.renorm("none")
    xspec.Fit.perform()
    return float(xspec.Fit.statistic)


def minimisations(paths, prior, truth: np.ndarray, starts: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Statistic from the truth (n,), from each start (n, k), and seconds per fit."""
    xspec = engine_module("embedded")
    from_truth, from_prior, clock = np.empty(len(paths)), np.empty(starts.shape[:2]), 0.0
    for i, path in enumerate(paths):
        session_of(TWO_COMPONENTS, path)
        begun = time.perf_counter()
        from_truth[i] = fit_from(xspec, prior, truth[i])
        from_prior[i] = [fit_from(xspec, prior, start) for start in starts[i]]
        clock += time.perf_counter() - begun
        if (i + 1) % 20 == 0:
            print(f"{i + 1} of {len(paths)} spectra fitted", flush=True)
    return from_truth, from_prior, clock / (len(paths) * (1 + starts.shape[1]))


def main() -> int:
    """Train or load the network, apply it, fit from the prior, compare."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--spectra", type=int, default=200)
    parser.add_argument("--starts", type=int, default=3, help="starting points of the prior for each spectrum")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--fresh", action="store_true", help="train anew")
    args = parser.parse_args()
    bounds, session, rng = Bounds(), session_of(TWO_COMPONENTS), np.random.default_rng(args.seed + 21)
    name = "two_components"
    net = cached_network(name, session, TWO_COMPONENTS, args, counts=COUNTS, simulations=SIMULATIONS)
    print(f"trained in {net.settings['cost'][0]:.0f} s; {net.settings['seconds']}", flush=True)
    drawn, vectors = simulated(net, session, args.spectra, rng, args.workers)
    paths = write_segments(CACHE / f"local_minima_{args.seed}_{args.spectra}", TWO_COMPONENTS, session, vectors)
    session, prior = session_of(TWO_COMPONENTS), net.prior
    begun = time.perf_counter()
    options = {"ess": 1_000, "seed": args.seed, "workers": args.workers, "progress": False}
    applied = net.apply(paths, session, same_response=True, **options)
    seconds = time.perf_counter() - begun
    print(f"{applied!r} in {seconds:.0f} s", flush=True)
    ours = np.array([row["statistic"] for row in applied.rows])
    starts = np.stack([prior.sample(args.starts, rng) for _ in paths])
    truth = prior.from_normal(drawn.z)
    from_truth, from_prior, per_fit = minimisations(paths, prior, truth, starts)
    best = np.minimum(ours, from_truth)
    above, trapped = ours - best, from_prior - best[:, None]
    for margin in MARGINS:
        fits, everywhere = trapped > margin, int((trapped.min(axis=1) > margin).sum())
        print(
            f"more than {margin:4g} above the best known: network {int((above > margin).sum())} of {len(ours)}, "
            f"fits from the prior {int(fits.sum())} of {fits.size} ({100 * fits.mean():.1f} %), "
            f"all starts of a spectrum {everywhere}"
        )
    lower = int((from_prior.min(axis=1) < best - 1.0).sum())
    bounds.check(float(above.max()) <= OUTLIER, f"network: largest C above the best known {above.max():.2f} (bound 3)")
    bounds.check(lower == 0, f"{lower} fits from the prior found a lower C than network and fit from the truth by > 1")
    converged = sum(bool(row["converged"]) for row in applied.rows)
    print(
        f"{converged} of {len(ours)} converged; {per_fit:.3f} s a fit, network {seconds / len(ours):.3f} s a spectrum"
    )
    content = {
        "spectra": args.spectra,
        "starts": args.starts,
        "counts": COUNTS,
        "training": net.settings["cost"],
        "applied_seconds": seconds,
        "converged": converged,
        "seconds_per_fit": per_fit,
        "above_best": {"largest": float(above.max()), "median": float(np.median(above))},
        "outliers": {
            str(m): {
                "network": int((above > m).sum()),
                "fits": int((trapped > m).sum()),
                "fit_share": float((trapped > m).mean()),
                "all_starts": int((trapped.min(axis=1) > m).sum()),
            }
            for m in MARGINS
        },
        "lower_than_best_known": lower,
    }
    return keep("local_minima", json.loads(json.dumps(content, default=float)), bounds, args)


if __name__ == "__main__":
    raise SystemExit(main())
