"""Ours beside the reference, on the same likelihood and prior: cost, evidence, divergence of every marginal.

    python benchmarks/agreement.py pn --seeds 5

runs `xsixsa.fit` with seeds 1 to 5 and compares with what `ultranest_reference.py` left. ``--time`` also runs
UltraNest anew, with XSPEC's cost put back on both sides. The exit status is 1 when a bound is missed.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import time
from dataclasses import asdict, dataclass, field

import numpy as np
from cases import CASES, RESULTS, Case, evaluation_rate, load, versions, write_json
from ultranest_reference import Reference, load_reference, make_reference, nested_sampling

import xsixsa
from xsixsa import Prior, Session
from xsixsa.diagnostics.compare import AGREEMENT, DRAWS, Comparison, compare

ESS = 10_000
MAX_PARETO_K = 0.7
MAX_EVIDENCE_ERROR = 0.05
MAX_EVIDENCE_SIGMA = 3.0
MAX_LIKELIHOOD_DIFFERENCE = 0.02
"""Largest difference of log-likelihood at the probes for which a reference still stands for the same problem."""
TIMED_LIVE_POINTS = 3_000
"""Live points of the timed nested sampling: what the published comparisons used."""


@dataclass
class Run:
    """One of our runs, and what was missed.

    Everything that can be had twice is taken from the result's samples, not from what the run says of itself.
    """

    seed: int
    evaluations: int
    seconds: float
    ess: float
    pareto_k: float
    largest_weight: float
    efficiency: float
    log_evidence: float
    log_evidence_err: float
    log_evidence_pooled: float
    evidence_sigma: float
    verdict: str
    divergence: dict[str, float]
    comparison: Comparison = field(repr=False)
    arbiter_sigma: dict = field(default_factory=dict)
    missed: list[str] = field(default_factory=list)


class Counted:
    """A session whose pools are asked, after each use, how many theta they evaluated."""

    def __init__(self, session: Session):
        self._session, self.evaluations = session, 0
        self._pool = session.pool

    def __enter__(self) -> Counted:
        self._session.pool = self._counting
        return self

    def __exit__(self, *exc) -> None:
        del self._session.pool

    @contextlib.contextmanager
    def _counting(self, *args, **kwargs):
        with self._pool(*args, **kwargs) as pool:
            try:
                yield pool
            finally:
                self.evaluations += pool.n_evaluations


def run_ours(case: Case, session: Session, prior: Prior, reference: Reference, seed: int, args) -> Run:
    """`xsixsa.fit` with one seed, measured and compared."""
    with Counted(session) as counted:
        start = time.perf_counter()
        result = xsixsa.fit(
            session, case.prior, ess=ESS, seed=seed, workers=args.workers, delay=args.delay, progress=False
        )
        seconds = time.perf_counter() - start
    used = [[p["name"], p["prior"]] for p in result.parameters]
    if used != reference.about["prior"]:
        raise SystemExit(f"the run took other priors than the reference: {used}")
    w = result.weights
    ess = float(w.sum() ** 2 / (w @ w))
    rng = np.random.default_rng([seed, 2024])
    u = prior.cdf(result.sample(DRAWS, rng))
    comparison = compare(prior.names, u, reference.u, rng, floor=reference.floor, to_theta=prior.ppf)
    about = reference.about
    combined = float(np.hypot(result.log_evidence_err, about["log_evidence_err"]))
    run = Run(
        seed,
        counted.evaluations,
        seconds,
        ess,
        float(result.pareto_k),
        float(w.max() * len(w)),
        float(result.efficiency),
        float(result.log_evidence),
        float(result.log_evidence_err),
        float(result.log_evidence_pooled),
        (float(result.log_evidence) - about["log_evidence"]) / combined,
        str(result.verdict),
        {m.name: m.divergence for m in comparison.marginals},
        comparison,
    )
    run.arbiter_sigma = against_arbiter(result, args.case)
    run.missed = missed(run, case, result.n_evaluations, result.verdict.converged)
    return run


def against_arbiter(result, name: str) -> dict:
    """Distance from the long importance-sampling run of `arbiter.py`, where there is one, in combined errors.

    Sharper than any divergence: moments come from all weighted samples, and log-evidence is known to a few 1e-3.
    """
    path = RESULTS / f"arbiter_{name}.json"
    if not path.exists():
        return {}
    truth, w, theta = json.loads(path.read_text()), result.weights, result.theta
    mean = w @ theta
    square = (theta - mean) ** 2
    std = np.sqrt(w @ square)
    mean_err, std_err = np.sqrt((w**2) @ square), np.sqrt((w**2) @ (square - std**2) ** 2) / (2 * std)

    def sigma(value, error, key: str) -> list[float]:
        return ((value - np.array(truth[key])) / np.hypot(error, truth[key + "_err"])).tolist()

    return {
        "log_evidence": sigma(result.log_evidence, result.log_evidence_err, "log_evidence"),
        "log_evidence_pooled_difference": float(result.log_evidence_pooled - truth["log_evidence"]),
        "mean": sigma(mean, mean_err, "mean"),
        "std": sigma(std, std_err, "std"),
        "std_ratio": (std / np.array(truth["std"])).tolist(),
    }


def missed(run: Run, case: Case, said: int, converged: bool) -> list[str]:
    """Bounds that a run does not keep, in words; every comparison is false for NaN, and so missed."""
    found = []
    if not converged:
        found.append(f"verdict: {run.verdict}")
    if not run.ess >= ESS:
        found.append(f"ESS {run.ess:.0f} < {ESS}")
    if not run.pareto_k < MAX_PARETO_K:
        found.append(f"Pareto k {run.pareto_k:.2f} >= {MAX_PARETO_K}")
    if not run.log_evidence_err <= MAX_EVIDENCE_ERROR:
        found.append(f"error of log-evidence {run.log_evidence_err:.3f} > {MAX_EVIDENCE_ERROR}")
    if not abs(run.evidence_sigma) <= MAX_EVIDENCE_SIGMA:
        found.append(f"log-evidence {run.evidence_sigma:+.1f} sigma from the reference")
    if run.arbiter_sigma and not abs(run.arbiter_sigma["log_evidence"]) <= MAX_EVIDENCE_SIGMA:
        found.append(f"log-evidence {run.arbiter_sigma['log_evidence']:+.1f} sigma from the long importance sampling")
    if case.max_evaluations is not None and not run.evaluations <= case.max_evaluations:
        found.append(f"{run.evaluations} evaluations > {case.max_evaluations}")
    if said != run.evaluations:
        found.append(f"the result counts {said} evaluations, its workers {run.evaluations}")
    for name, value in run.divergence.items():
        if not value <= AGREEMENT:
            found.append(f"{name}: divergence {1e3 * value:.2f}e-3 > {1e3 * AGREEMENT:g}e-3 nat")
    return found


def signed(values: list[float]) -> str:
    """Numbers with their sign."""
    return " ".join(f"{v:+.1f}" for v in values)


def show(run: Run, reference: Reference) -> None:
    """One run beside the reference, a line for each bound."""
    about = reference.about
    cost = (str(about["evaluations"] or "-"), f"{about['seconds']:.1f}" if about["seconds"] else "-")
    print(f"\nseed {run.seed}                 ours                  UltraNest ({about['live_points']} live points)")
    print(f"evaluations       {run.evaluations:<22d}{cost[0]}")
    print(f"seconds           {run.seconds:<22.1f}{cost[1]} (when it was made: no delay, machine shared)")
    print(f"effective size    {run.ess:<22.0f}{about['ess']:.0f}")
    evidence = f"{run.log_evidence:.3f} +- {run.log_evidence_err:.3f}"
    print(
        f"log-evidence      {evidence:22s}{about['log_evidence']:.3f} +- {about['log_evidence_err']:.3f}"
        f"   ({run.evidence_sigma:+.1f} sigma; ours pooled {run.log_evidence_pooled:.3f})"
    )
    print(
        f"Pareto k {run.pareto_k:.2f}, largest weight {run.largest_weight:.0f} times the mean, "
        f"efficiency {run.efficiency:.2f}, {run.verdict}"
    )
    print(run.comparison.table(("ours", "UltraNest")))
    if run.arbiter_sigma:
        a = run.arbiter_sigma
        print(
            f"from the long importance sampling, in combined errors: log-evidence {a['log_evidence']:+.1f} "
            f"(pooled {a['log_evidence_pooled_difference']:+.4f} in value); means {signed(a['mean'])}; "
            f"deviations {signed(a['std'])}, ratios {' '.join(f'{r:.3f}' for r in a['std_ratio'])}"
        )
    print("PASS" if not run.missed else "FAIL: " + "; ".join(run.missed))


def against_cost(case: Case, session: Session, prior: Prior, runs: list[Run], reference: Reference, args) -> dict:
    """How much cheaper the dearest of our runs was than the reference, and which bounds on that were missed.

    A reference takes hours and may have been stopped in between: its seconds are taken to be those of its evaluations
    alone, at the rate at which this machine's workers make them now. It cannot have been faster.
    """
    evaluations = reference.about["evaluations"]
    if not evaluations:
        return {}
    rate = evaluation_rate(session, prior, args.workers, 3_000)
    at_rate = 1 / (1 / rate + args.delay / args.workers)
    fewer = evaluations / max(r.evaluations for r in runs)
    faster = evaluations / at_rate / max(r.seconds for r in runs)
    print(
        f"\nreference: {fewer:.1f} times as many evaluations; at {at_rate:.0f} a second they alone take "
        f"{evaluations / at_rate:.0f} s, {faster:.1f} times as long as our slowest run"
    )
    wanted = ((fewer, case.fewer, "fewer evaluations"), (faster, case.faster, "faster"))
    found = [f"{value:.1f} times {what}, wanted {bound:g}" for value, bound, what in wanted if not value >= bound]
    print("PASS" if not found else "FAIL: " + "; ".join(found))
    return {"fewer_evaluations": fewer, "engine_rate": at_rate, "faster_at_least": faster, "missed": found}


def measure_time(session: Session, prior: Prior, runs: list[Run], args) -> dict:
    """UltraNest with the same delay, in one process and on as many cores as ours: seconds and ratios.

    Its calls are vectorised, which is kinder to it than the one theta per call of its users. Ours is the slowest run.
    """
    ours = max(r.seconds for r in runs)
    found = {"delay": args.delay, "live_points": args.live, "ours_seconds": ours, "ours_workers": args.workers}
    for key, workers in (("one_process", 1), (f"{args.workers}_processes", args.workers)):
        other = nested_sampling(session, prior, live=args.live, min_ess=400, workers=workers, delay=args.delay, seed=1)
        found[key] = {
            "seconds": other.seconds,
            "ratio": other.seconds / ours,
            "evaluations": other.evaluations,
            "ess": other.ess,
            "log_evidence": other.log_evidence,
            "log_evidence_err": other.error,
        }
        print(
            f"UltraNest, {args.live} live points, {workers} process(es), {1e3 * args.delay:g} ms slept per "
            f"theta: {other.seconds:.0f} s, {other.evaluations} evaluations, ESS {other.ess:.0f}, log-evidence "
            f"{other.log_evidence:.2f} +- {other.error:.2f}; ours {ours:.0f} s: ratio {other.seconds / ours:.1f}"
        )
    return found


def spread(runs: list[Run]) -> dict:
    """What seeds do: lowest, median, highest of every number, and whether quoted errors of evidence are true."""
    columns = ("evaluations", "seconds", "ess", "pareto_k", "largest_weight", "efficiency", "log_evidence")
    found = {c: [float(f([getattr(r, c) for r in runs])) for f in (np.min, np.median, np.max)] for c in columns}
    largest = [r.comparison.largest for r in runs]
    found["largest_divergence"] = [float(f(largest)) for f in (np.min, np.median, np.max)]
    if len(runs) > 2:
        values, errors = (np.array([getattr(r, c) for r in runs]) for c in ("log_evidence", "log_evidence_err"))
        mean = np.average(values, weights=errors**-2)
        found["evidence_chi2_per_dof"] = float((((values - mean) / errors) ** 2).sum() / (len(runs) - 1))
    return found


def parser() -> argparse.ArgumentParser:
    """Command line."""
    found = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    found.add_argument("case", choices=CASES)
    found.add_argument("--seeds", type=int, default=1, metavar="N", help="run seeds 1 to N (1)")
    found.add_argument("--delay", type=float, default=0.001, help="seconds slept per theta in each worker (0.001)")
    found.add_argument("--time", action="store_true", help="run UltraNest too, with the same delay, for the ratio")
    found.add_argument("--live", type=int, default=TIMED_LIVE_POINTS, help="live points of the timed run (3000)")
    found.add_argument("--rerun-reference", action="store_true", help="make the reference anew first")
    found.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    found.add_argument("--engine", choices=("embedded", "xspec"), default="embedded", help="engine of our runs")
    return found


def main() -> int:
    """Run, compare, write; 0 when every bound is kept."""
    args = parser().parse_args()
    case, session, prior = load(args.case, args.engine)
    if args.rerun_reference:
        live = 2_000
        reference = make_reference(args.case, live=live, ess=10_500, workers=args.workers, seed=1)
    else:
        reference = load_reference(args.case)
    unlike, difference = reference.unlike(session, prior)
    print(f"{case.title}\nengine {session.engine['name']} {session.engine['version']}, {args.workers} workers")
    print(f"log-likelihood differs from the reference's by {difference:.1e} at most where it was probed")
    if unlike or not difference <= MAX_LIKELIHOOD_DIFFERENCE:
        print("FAIL: the reference is of another problem: " + "; ".join(unlike or [f"likelihood off {difference:g}"]))
        return 1
    runs = []
    for seed in range(1, args.seeds + 1):
        runs.append(run_ours(case, session, prior, reference, seed, args))
        show(runs[-1], reference)
    content = {
        "case": args.case,
        "command": "python benchmarks/agreement.py " + " ".join(sys.argv[1:]),
        "engine": session.engine,
        "versions": versions("xsixsa", "torch", "sbi", "numpy", "scipy", "ultranest"),
        "workers": args.workers,
        "delay": args.delay,
        "reference": {k: reference.about[k] for k in ("command", "log_evidence", "log_evidence_err", "ess", "floor")},
        "largest_log_likelihood_difference": difference,
        "runs": [{k: v for k, v in asdict(r).items() if k != "comparison"} for r in runs],
        "spread": spread(runs),
        "cost": (cost := against_cost(case, session, prior, runs, reference, args)),
        "passed": not (any(r.missed for r in runs) or cost.get("missed")),
    }
    if args.time:
        print()
        content["time"] = measure_time(session, prior, runs, args)
    suffix = "" if args.engine == "embedded" else f"_{args.engine}"
    write_json(RESULTS / f"agreement_{args.case}{suffix}.json", content)
    print(f"\n{'PASS' if content['passed'] else 'FAIL'}: {sum(not r.missed for r in runs)} of {len(runs)} seeds")
    return 0 if content["passed"] else 1


if __name__ == "__main__":
    raise SystemExit(main())
