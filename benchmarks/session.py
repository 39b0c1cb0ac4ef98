"""What do the workers cost? `pool.evaluate` beside a bare loop over the same theta in this process.

The bare loop is what a user would write: ``AllModels.setPars``, ``Fit.statistic``, ``Model.folded``, converted to an
array. Both are repeated in turn and the fastest of each counts; ratios are of these. The overhead is in processor time,
of this process and all workers together, which other programs on the machine disturb less than they do the clock.
Nothing here has a bound: the numbers depend on the machine, the ratios hardly.
"""

from __future__ import annotations

import argparse
import os
import time

import numpy as np
from cases import CASES, RESULTS, engine_module, load, versions, write_json

from xsixsa import Session


def cpu() -> float:
    """Processor seconds of this process and of those it has waited for."""
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system


def bare(xspec, session: Session, theta: np.ndarray) -> tuple[float, float]:
    """Seconds, by the clock and of the processor, for a loop over `theta`; one source, one data group."""
    model = xspec.AllModels(1)
    numbers = [p.local_index for p in session.parameters]
    rows = theta.tolist()
    start, used = time.perf_counter(), cpu()
    for row in rows:
        xspec.AllModels.setPars(model, dict(zip(numbers, row, strict=True)))
        _ = xspec.Fit.statistic
        _ = [np.array(model.folded(o.index)) for o in session.observations]
    return time.perf_counter() - start, cpu() - used


def pooled(session: Session, theta: np.ndarray, workers: int) -> tuple[float, float, float]:
    """Seconds for starting a pool, for `theta` once it runs, and of the processor for all of it."""
    start, used = time.perf_counter(), cpu()
    with session.pool(workers=workers) as pool:
        pool.evaluate(theta[: 8 * workers])
        ready = time.perf_counter()
        evaluation = pool.evaluate(theta)
        end = time.perf_counter()
    if not evaluation.valid.all():
        raise SystemExit(f"{(~evaluation.valid).sum()} theta failed")
    return ready - start, end - ready, cpu() - used


def measure(name: str, engine: str, n: int, repeats: int, workers: int) -> dict:
    """All numbers of one case."""
    start = time.perf_counter()
    _, session, prior = load(name, engine)
    attach = time.perf_counter() - start
    theta = prior.sample(n, np.random.default_rng(0))
    xspec = engine_module(engine)
    loops, ones, many = [], [], []
    for _ in range(repeats):
        loops.append(bare(xspec, session, theta))
        ones.append(pooled(session, theta, 1))
        many.append(pooled(session, theta, workers))
    starting = min(pooled(session, theta[:8], 1)[2] for _ in range(repeats))
    loop, one, several = min(t for t, _ in loops), min(t for _, t, _ in ones), min(t for _, t, _ in many)
    overhead = min(used for _, _, used in ones) - starting - min(used for _, used in loops)
    return {
        "case": name,
        "engine": session.engine,
        "bins": session.n_bins,
        "parameters": len(session.parameters),
        "evaluations": n,
        "load_and_attach_s": attach,
        "pool_start_s": min(t for t, _, _ in ones),
        "bare_per_s": n / loop,
        "one_worker_per_s": n / one,
        "workers": workers,
        "workers_per_s": n / several,
        "one_worker_to_bare": loop / one,
        "workers_to_one_worker": one / several,
        "overhead_cpu_us_per_evaluation": 1e6 * overhead / n,
    }


def main() -> None:
    """Measure, print and keep."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"of {', '.join(CASES)}; pn by default")
    parser.add_argument("--engine", choices=("embedded", "xspec"), default="embedded")
    parser.add_argument("-n", type=int, default=2_000, help="theta per repeat (2000)")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    args = parser.parse_args()
    found = []
    for name in args.cases or ["pn"]:
        m = measure(name, args.engine, args.n, args.repeats, args.workers)
        found.append(m)
        print(
            f"{name:15s} {args.engine:8s} {m['bins']:5d} bins  bare {m['bare_per_s']:7.0f}/s  "
            f"1 worker {m['one_worker_per_s']:7.0f}/s (x{m['one_worker_to_bare']:.2f}, "
            f"{m['overhead_cpu_us_per_evaluation']:+.0f} us of processor each)  "
            f"{m['workers']} workers {m['workers_per_s']:7.0f}/s (x{m['workers_to_one_worker']:.2f})  "
            f"start {m['pool_start_s'] * 1e3:.0f} ms"
        )
    write_json(RESULTS / f"session_{args.engine}.json", {"measured": found, **versions("xsixsa", "numpy")})


if __name__ == "__main__":
    main()
