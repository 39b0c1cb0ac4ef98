"""What draws and densities of a conditional flow cost: one observation through zuko, many through ``sample_many``.

    python benchmarks/flows.py

Untrained weights cost what trained ones cost. Processor seconds of one thread, so that a busy machine matters little.
"""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np

from xsixsa.inference.flow import FlowOptions, NeuralPosterior

RESULT = Path(__file__).parent / "results" / "flows.json"
LATENTS, DIM = 32, 5
DRAWS, OBSERVATIONS, DRAWS_EACH, REPEATS = 20_000, 10, 5_000, 3
CASES = [("maf", 5, 64), ("maf", 10, 100), ("spline", 5, 64)]


def cost(work, draws: int) -> float:
    """Microseconds of processor time for each draw: the least of some repetitions after one that warms up."""
    work()
    seconds = []
    for _ in range(REPEATS):
        start = time.process_time()
        work()
        seconds.append(time.process_time() - start)
    return 1e6 * min(seconds) / draws


def measure(kind: str, transforms: int, hidden: int) -> dict:
    """Costs of one flow."""
    rng = np.random.default_rng(1)
    posterior = NeuralPosterior(FlowOptions(kind=kind, transforms=transforms, hidden=hidden, epochs=1))
    posterior.fit(rng.standard_normal((1000, DIM)), lambda epoch: rng.standard_normal((1000, LATENTS)), rng)
    summaries = rng.standard_normal((OBSERVATIONS, LATENTS)).astype(np.float32)
    one, many = posterior.posterior(summaries[0]), OBSERVATIONS * DRAWS_EACH
    z, z_many = one.sample(DRAWS, rng), posterior.sample_many(summaries, DRAWS_EACH, rng)
    costs = {
        "sample": cost(lambda: one.sample(DRAWS, rng), DRAWS),
        "log_prob": cost(lambda: one.log_prob(z), DRAWS),
        "sample_many": cost(lambda: posterior.sample_many(summaries, DRAWS_EACH, rng), many),
        "log_prob_many": cost(lambda: posterior.log_prob_many(z_many, summaries), many),
    }
    return {"kind": kind, "transforms": transforms, "hidden": hidden} | {k: round(v, 2) for k, v in costs.items()}


def main() -> None:
    """Measure, print and keep."""
    rows = [measure(*case) for case in CASES]
    print(f"microseconds of one thread for each draw, {DIM} parameters, {LATENTS} numbers in a summary")
    print(
        f"{'flow':24s}{'sample':>9s}{'log_prob':>10s}{'sample_many':>13s}{'per transform':>15s}{'log_prob_many':>15s}"
    )
    for r in rows:
        name = f"{r['kind']}, {r['transforms']} x {r['hidden']}"
        each = r["sample_many"] / r["transforms"]
        print(
            f"{name:24s}{r['sample']:9.2f}{r['log_prob']:10.2f}{r['sample_many']:13.2f}{each:15.2f}"
            f"{r['log_prob_many']:15.2f}"
        )
    result = {
        "case": "flows",
        "command": "python benchmarks/flows.py",
        "unit": "microseconds of processor time of one thread for each draw",
        "parameters": DIM,
        "summary": LATENTS,
        "flows": rows,
    }
    RESULT.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
