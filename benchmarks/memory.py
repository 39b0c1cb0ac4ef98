"""Does memory grow? A million evaluations on the pn case, and the resident memory of this process and its workers.

The exit status is 1 when any process grows by more than 50 MB after its first block of evaluations.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

import numpy as np
from cases import CASES, RESULTS, load, versions, write_json

BOUND_MB = 50.0
_BLOCK = 10_000


def resident(pid: int | str = "self") -> float:
    """Memory of a process that is its own and resident, MB (1e6 bytes)."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith(("RssAnon", "RssShmem"))) * 1024 / 1e6


def main() -> int:
    """Evaluate, measure, print; 0 where the bound is kept."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("case", nargs="?", default="pn", choices=CASES)
    parser.add_argument("--engine", choices=("embedded", "xspec"), default="embedded")
    parser.add_argument("-n", type=int, default=1_000_000, help="evaluations (1000000)")
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    args = parser.parse_args()
    _, session, prior = load(args.case, args.engine)
    rng, start, growth = np.random.default_rng(0), time.perf_counter(), []
    with session.pool(workers=args.workers) as pool:
        pool.evaluate(prior.sample(_BLOCK, rng))
        # the template that forks the workers is the last of the pool's processes
        first = [resident(), *(resident(pid) for pid in pool.pids)]
        while pool.n_evaluations < args.n:
            found = pool.evaluate(prior.sample(_BLOCK, rng))
            if not np.isfinite(found.statistic[found.valid]).all():
                raise SystemExit("a valid theta without a statistic")
            now = [resident(), *(resident(pid) for pid in pool.pids)]
            growth = [b - a for a, b in zip(first, now, strict=True)]
            if pool.n_evaluations % (5 * _BLOCK) == 0:
                rate = pool.n_evaluations / (time.perf_counter() - start)
                text = " ".join(f"{g:+.1f}" for g in growth)
                print(
                    f"{pool.n_evaluations:8d} evaluations, {rate:.0f}/s, MB grown (parent, workers): {text}", flush=True
                )
        evaluations = pool.n_evaluations
    passed = max(growth) <= BOUND_MB
    write_json(
        RESULTS / f"memory_{args.case}_{args.engine}.json",
        {
            "case": args.case,
            "engine": session.engine,
            "evaluations": evaluations,
            "workers": args.workers,
            "resident_mb_at_first": first,
            "growth_mb": growth,
            "bound_mb": BOUND_MB,
            "passed": passed,
            **versions("xsixsa", "numpy"),
        },
    )
    print("PASS" if passed else f"FAIL: {max(growth):.0f} MB")
    return int(not passed)


if __name__ == "__main__":
    raise SystemExit(main())
