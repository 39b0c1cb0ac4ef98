"""Summaries compared: how far each leaves the neural posterior from the truth, before and after exact correction.

    python benchmarks/summaries.py                 # both cases, all summaries, one seed; goes on where it was stopped
    python benchmarks/summaries.py --seeds 3       # more seeds
    python benchmarks/summaries.py --report        # table and figure again from what was measured

For every summary the standard rounds are run, and four samples compared with the UltraNest reference: draws of the
neural posterior as it is; the same draws weighted with the exact likelihood; sampling importance resampling, one of 32
of them, as published; and the result of the whole run, its proposals refined. Leaves ``results/summaries_CASE.json``,
the table in ``docs/summaries.md`` and ``docs/figures/summaries.png``.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from dataclasses import dataclass

import numpy as np
from cases import RESULTS, load, versions, write_json
from scipy.special import ndtr
from summaries_report import write_report
from ultranest_reference import Reference, load_reference

from xsixsa import Prior, Session
from xsixsa.correction.evidence import pareto_k
from xsixsa.correction.pool import Pool, effective_size
from xsixsa.correction.refine import Refinement
from xsixsa.correction.sir import OVERSAMPLING, sir
from xsixsa.diagnostics.compare import DRAWS, divergences, equal_weight
from xsixsa.inference.problem import Problem
from xsixsa.inference.rounds import Rounds
from xsixsa.options import Options, preset
from xsixsa.simulate import Simulator
from xsixsa.summaries.autoencoder import AutoEncoder, AutoEncoderOptions

SUMMARIES = {
    "autoencoder": "autoencoder",
    "autoencoder (plain)": AutoEncoder(AutoEncoderOptions(denoise=False)),
    "pca": "pca",
    "spectral": "spectral",
    "embedding": "embedding",
    "none": "none",
}
MEASURED = ("xifu_line", "nicer_burst")
SIR_DRAWS = 1_000
MAX_LIKELIHOOD_DIFFERENCE = 0.02


@dataclass
class Compared:
    """Samples in the unit cube beside the reference."""

    reference: Reference
    rng: np.random.Generator

    def __call__(self, z: np.ndarray, log_weights: np.ndarray | None = None) -> list[float]:
        """Divergence of every marginal; weighted points are resampled to 10 000 first."""
        u = np.clip(ndtr(z), 0.0, 1.0)
        if log_weights is not None:
            log_w = np.where(np.isfinite(log_weights), log_weights, -np.inf)
            u = u[equal_weight(np.exp(log_w - log_w.max()), DRAWS, self.rng)]
        if (np.ptp(u, axis=0) <= 1e-12).any():
            # One draw carries everything: no density to compare, and the divergence is the largest there is.
            return [float(np.log(2))] * u.shape[1]
        # The same where so few draws carry it that their kernel density is none.
        return [float(np.log(2)) if np.isnan(d) else d for d in divergences(u, self.reference.u).tolist()]


def measure(session: Session, prior: Prior, reference: Reference, options: Options, seed: int, workers: int) -> dict:
    """One summary with one seed: rounds, neural posterior, weights, SIR, and the refined run."""
    streams = [np.random.default_rng(s) for s in np.random.SeedSequence(seed).spawn(4)]
    compared = Compared(reference, streams[3])
    with session.pool(workers=workers) as pool:

        def evaluate(theta, progress):
            return pool.evaluate(theta, progress=progress)

        simulator = Simulator(session.observations)
        problem = Problem(prior, evaluate, options.max_evaluations)
        rounds = Rounds(problem, simulator, options, Pool(prior.dim))
        # Of this process alone, which trains in one thread: what else the machine does is not in it.
        processor = time.process_time()
        rounds.run(streams[0])
        processor = time.process_time() - processor
        simulations = problem.n_evaluations
        refinement = Refinement(problem, rounds.pool, simulator, options)
        refinement.neural = rounds.posterior
        refinement.run(streams[1])
        run_evaluations = problem.n_evaluations
        extra = Problem(prior, evaluate, SIR_DRAWS * OVERSAMPLING)
        resampled = sir(rounds.posterior, extra, SIR_DRAWS, streams[2], grouped=True)
    log_w = rounds.pool.honest_log_weights()
    final = refinement.final_log_weights
    observed = rounds.summary.transform(simulator.observed[None])
    last = rounds.history[-1]
    return {
        "summary": options.as_dict()["summary"],
        "seed": seed,
        "size": int(observed.shape[1]),
        "notes": list(rounds.summary.notes),
        "log_prior_volume": float(np.nan_to_num(last["log_prior_volume"], nan=0.0)),
        "simulations": simulations,
        "processor_seconds": processor,
        "loss": _finite(last["posterior"][-1]["validation"]),
        "neural": {"divergence": compared(rounds.posterior.sample(DRAWS, streams[2]))},
        "weighted": {
            "divergence": compared(resampled.candidates.z, resampled.log_weights),
            "draws": len(resampled.log_weights),
            "efficiency": effective_size(resampled.log_weights) / len(resampled.log_weights),
            "pareto_k": _finite(pareto_k(resampled.log_weights)),
        },
        "sir": {"divergence": compared(resampled.z), "draws": len(resampled.rows), "distinct": resampled.distinct},
        "refined": {
            "divergence": compared(rounds.pool.z, log_w),
            "ess": effective_size(log_w),
            "pareto_k": _finite(pareto_k(log_w)),
            "efficiency": effective_size(final) / max(len(final), 1),
            "evaluations": run_evaluations,
            "budget_spent": refinement.budget_spent,
        },
    }


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def floors(reference: Reference, seed: int = 0) -> dict:
    """What samples of the reference itself differ by: 10 000 draws, and as few as SIR has."""
    rng = np.random.default_rng(seed)
    few = []
    for _ in range(5):
        rows = rng.permutation(len(reference.u))
        few.append(divergences(reference.u[rows[:SIR_DRAWS]], reference.u[rows[SIR_DRAWS:]]))
    return {"halves": reference.floor.tolist(), "sir": np.mean(few, axis=0).tolist()}


def run_case(name: str, seeds: int, workers: int, which: list[str]) -> None:
    """Every summary and seed of a case that is not there yet."""
    path = RESULTS / f"summaries_{name}.json"
    case, session, prior = load(name)
    reference = load_reference(name)
    unlike, difference = reference.unlike(session, prior)
    if unlike or not difference <= MAX_LIKELIHOOD_DIFFERENCE:
        raise SystemExit(f"{name}: the reference is of another problem: {unlike or difference}")
    content = json.loads(path.read_text()) if path.exists() else {"case": name, "runs": []}
    content |= {
        "title": case.title,
        "command": f"python benchmarks/summaries.py {name} --seeds {seeds}",
        "engine": session.engine,
        "workers": workers,
        "versions": versions("xsixsa", "torch", "sbi", "numpy", "scipy"),
        "parameters": prior.names,
        "reference": {k: reference.about[k] for k in ("command", "ess", "live_points")},
        "floor": floors(reference),
    }
    for seed in range(1, seeds + 1):
        for label in which:
            if any(r["label"] == label and r["seed"] == seed for r in content["runs"]):
                continue
            options = preset("standard").changed(summary=SUMMARIES[label])
            start = time.perf_counter()
            found = {"label": label} | measure(session, prior, reference, options, seed, workers)
            content["runs"].append(found)
            write_json(path, content)
            show(name, found, time.perf_counter() - start)
    write_json(path, content)


def show(name: str, found: dict, seconds: float) -> None:
    """One line of what was measured."""
    worst = {k: 1e3 * max(found[k]["divergence"]) for k in ("neural", "weighted", "sir", "refined")}
    print(
        f"{name} {found['label']:20s} seed {found['seed']}: {found['size']:4d} numbers; largest divergence (1e-3 nat) "
        + ", ".join(f"{k} {v:.1f}" for k, v in worst.items())
        + f"; efficiency {found['weighted']['efficiency']:.3f}; {seconds:.0f} s",
        flush=True,
    )


def main() -> None:
    """Measure what is missing, then write table and figure."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"of {', '.join(MEASURED)}; both by default")
    parser.add_argument("--seeds", type=int, default=1, help="seeds 1 to N (1)")
    parser.add_argument("--summaries", nargs="+", choices=SUMMARIES, default=list(SUMMARIES))
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--report", action="store_true", help="only write table and figure again")
    args = parser.parse_args()
    names = args.cases or MEASURED
    if unknown := set(names) - set(MEASURED):
        parser.error(f"no case {', '.join(sorted(unknown))}; there are {', '.join(MEASURED)}")
    if not args.report:
        for name in names:
            run_case(name, args.seeds, args.workers, args.summaries)
    measured = [p for name in MEASURED if (p := RESULTS / f"summaries_{name}.json").exists()]
    write_report([json.loads(p.read_text()) for p in measured])


if __name__ == "__main__":
    main()
