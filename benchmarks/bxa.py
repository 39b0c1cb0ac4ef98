"""BXA alone, BXA on the truncated prior, and xsixsa alone: evaluations, seconds, evidence, divergences.

    python benchmarks/bxa.py pn --seeds 5
    python benchmarks/bxa.py xifu --seeds 1 --without-ours     # hours; goes on where it was stopped

Everything of one seed is run one after the other on the same cores: the seconds are worth something as ratios. BXA is
run by ``BXASolver`` with its defaults (400 live points); its batches of points are evaluated by the same worker
processes that xsixsa uses, which does not change their number. The truncation's own evaluations and seconds count.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from cases import CACHE, CASES, HERE, RESULTS, load, versions, write_json

import xsixsa
from xsixsa.bxa import Region, Truncation, run_bxa, truncate
from xsixsa.bxa.region import EDGE, Cell
from xsixsa.diagnostics.compare import divergences, equal_weight

# This file has the name of the package that it measures: its folder must not be searched for that one.
sys.path[:] = [p for p in sys.path if Path(p or ".").resolve() != HERE]

FEWER = {"pn": 3.0, "xifu": 10.0}
"""How many times fewer evaluations BXA must need on the truncated prior."""
MAX_SIGMA = 3.0
DRAWS = 10_000


def whole(prior, session) -> Truncation:
    """The prior as it is, in the form in which BXA gets the truncated one."""
    edge = np.full(prior.dim, EDGE)
    return Truncation(prior, Region([Cell.box(np.eye(prior.dim), -edge, edge)]), "box", session=session)


def folder_for(case: str, what: str, seed: int) -> Path:
    """Where BXA puts its outputs."""
    return CACHE / f"bxa_{case}_{what}_{seed}"


def nested(truncation: Truncation, folder: Path, seed: int, workers: int, live: int) -> dict:
    """One run of BXA; an interrupted one goes on."""
    resume = (folder / "results" / "points.hdf5").exists()
    if folder.exists() and not resume:
        shutil.rmtree(folder)
    start = time.perf_counter()
    outcome = run_bxa(
        replace(truncation, n_evaluations=0),
        folder,
        live_points=live,
        resume=resume,
        workers=workers,
        seed=seed,
        run_kwargs={"show_status": False, "viz_callback": False},
    )
    evidence = outcome.evidence
    return {
        "evaluations": outcome.n_evaluations,
        "seconds": time.perf_counter() - start,
        "resumed": resume,
        "widened": outcome.widened,
        "log_evidence": evidence.log_evidence,
        "log_evidence_err": evidence.log_evidence_err,
        "log_mass": outcome.truncation.log_mass,
        "edges": str(evidence.edges),
        "ess": outcome.run.ess,
        "_run": outcome.run,
    }


def truncated(session, prior, case: str, seed: int, workers: int, live: int) -> dict:
    """The truncation and BXA on it; both are counted."""
    start = time.perf_counter()
    truncation = truncate(session, CASES[case].prior, seed=seed, workers=workers)
    made = time.perf_counter() - start
    row = nested(truncation, folder_for(case, "truncated", seed), seed, workers, live)
    row |= {"truncation_evaluations": truncation.n_evaluations, "truncation_seconds": made}
    row["evaluations"] += truncation.n_evaluations
    row["seconds"] += made
    return row


def ours(session, case: str, seed: int, workers: int) -> dict:
    """`xsixsa.fit` with its defaults."""
    start = time.perf_counter()
    result = xsixsa.fit(session, prior=CASES[case].prior, seed=seed, workers=workers, progress=False)
    return {
        "evaluations": result.n_evaluations,
        "seconds": time.perf_counter() - start,
        "log_evidence": result.log_evidence,
        "log_evidence_err": result.log_evidence_err,
        "ess": result.ess,
        "verdict": result.verdict.text,
        "_run": result,
    }


def largest_divergence(prior, a, b, seed: int) -> float:
    """Largest of the marginals' divergences between two weighted samples, nat."""
    rng = np.random.default_rng(seed)
    u = [prior.cdf(s.theta)[equal_weight(s.weights, DRAWS, rng)] for s in (a, b)]
    return float(divergences(*u).max())


def one_seed(name: str, seed: int, args) -> dict:
    """All three on one seed."""
    _, session, prior = load(name, args.engine)
    rows = {"truncated": truncated(session, prior, name, seed, args.workers, args.live)}
    print(f"{name} seed {seed} truncated: {say(rows['truncated'])}", flush=True)
    if not args.without_ours:
        rows["xsixsa"] = ours(session, name, seed, args.workers)
        print(f"{name} seed {seed} xsixsa:    {say(rows['xsixsa'])}", flush=True)
    rows["bxa"] = nested(whole(prior, session), folder_for(name, "alone", seed), seed, args.workers, args.live)
    print(f"{name} seed {seed} alone:     {say(rows['bxa'])}", flush=True)
    runs = {k: r.pop("_run") for k, r in rows.items()}
    pairs = [(a, b) for i, a in enumerate(runs) for b in list(runs)[i + 1 :]]
    apart = {f"{a} / {b}": largest_divergence(prior, runs[a], runs[b], seed) for a, b in pairs}
    alone, cut = rows["bxa"], rows["truncated"]
    sigma = abs(alone["log_evidence"] - cut["log_evidence"]) / np.hypot(
        alone["log_evidence_err"], cut["log_evidence_err"]
    )
    return {
        "seed": seed,
        **rows,
        "largest_divergence": apart,
        "fewer_evaluations": alone["evaluations"] / cut["evaluations"],
        "seconds_ratio": None if alone["resumed"] else alone["seconds"] / cut["seconds"],
        "evidence_sigma": float(sigma),
    }


def say(row: dict) -> str:
    """One line of a run."""
    return (
        f"{row['evaluations']:8d} evaluations, {row['seconds']:7.1f} s, "
        f"log-evidence {row['log_evidence']:.3f} +- {row['log_evidence_err']:.3f}, ESS {row['ess']:.0f}"
    )


def missed(name: str, rows: list[dict]) -> list[str]:
    """Bounds that were not met."""
    wanted, found = FEWER.get(name, 1.0), []
    for row in rows:
        if row["fewer_evaluations"] < wanted:
            found.append(
                f"seed {row['seed']}: {row['fewer_evaluations']:.1f} times fewer evaluations, wanted {wanted:g}"
            )
        if not row["evidence_sigma"] < MAX_SIGMA:
            found.append(f"seed {row['seed']}: log-evidences {row['evidence_sigma']:.1f} sigma apart")
    return found


def main() -> int:
    """Run what is not there yet, write the results, say whether the bounds were met."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("case", choices=CASES)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--live", type=int, default=400, help="live points (BXA's default: 400)")
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--engine", choices=("embedded", "xspec"), default="embedded")
    parser.add_argument("--without-ours", action="store_true", help="leave xsixsa's own run out")
    parser.add_argument("--anew", action="store_true", help="forget the seeds that are in the results")
    args = parser.parse_args()
    path = RESULTS / f"bxa_{args.case}.json"
    rows = [] if args.anew or not path.exists() else json_rows(path)
    for seed in range(1, args.seeds + 1):
        if seed in [r["seed"] for r in rows]:
            continue
        if args.anew:
            for what in ("alone", "truncated"):
                shutil.rmtree(folder_for(args.case, what, seed), ignore_errors=True)
        rows.append(one_seed(args.case, seed, args))
        write_json(path, summary(args, rows))
    for row in rows:
        print(
            f"{args.case} seed {row['seed']}: {row['fewer_evaluations']:.1f} times fewer evaluations, "
            f"log-evidences {row['evidence_sigma']:.1f} sigma apart"
        )
    failures = missed(args.case, rows)
    print("\n".join(f"FAIL {f}" for f in failures) or "all bounds met")
    return bool(failures)


def json_rows(path: Path) -> list[dict]:
    """Seeds already run."""
    import json

    return json.loads(path.read_text())["runs"]


def summary(args, rows: list[dict]) -> dict:
    """What is kept: small, with the command that made it."""
    return {
        "case": args.case,
        "title": CASES[args.case].title,
        "command": f"python benchmarks/bxa.py {args.case} --seeds {args.seeds} --live {args.live}",
        "engine": args.engine,
        "workers": args.workers,
        "versions": versions("bxa", "ultranest", "numpy", "scipy"),
        "median_fewer_evaluations": float(np.median([r["fewer_evaluations"] for r in rows])),
        "runs": rows,
    }


if __name__ == "__main__":
    sys.exit(main())
