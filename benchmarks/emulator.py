"""The likelihood emulator on a case: its error, what it saves, and the posterior with it and without it.

    python benchmarks/emulator.py pn

runs `xsixsa.fit` with one seed twice, without and with ``Options(emulator=...)``, and draws a larger sample from the
emulator alone. Every marginal is compared with the long reference.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import asdict, replace

import numpy as np
from cases import CASES, RESULTS, load, versions, write_json
from ultranest_reference import load_reference

import xsixsa
from xsixsa.correction.emulator import EmulatorOptions
from xsixsa.diagnostics.compare import AGREEMENT, DRAWS, compare
from xsixsa.options import Options


def run(case, session, args, emulator: EmulatorOptions | None) -> tuple[xsixsa.Result, float]:
    """One run, and its seconds."""
    start = time.perf_counter()
    result = xsixsa.fit(
        session,
        case.prior,
        seed=args.seed,
        workers=args.workers,
        delay=args.delay,
        options=Options(ess=args.ess, emulator=emulator),
        progress=False,
    )
    return result, time.perf_counter() - start


def numbers(result: xsixsa.Result, seconds: float) -> dict:
    """What a run cost and found."""
    return {
        "verdict": str(result.verdict),
        "seconds": round(seconds, 1),
        "seconds_by_stage": result.seconds,
        "evaluations": result.n_evaluations,
        "emulator_calls": result.n_emulated,
        "ess": result.ess,
        "efficiency": result.efficiency,
        "pareto_k": result.pareto_k,
        "log_evidence": result.log_evidence,
        "log_evidence_err": result.log_evidence_err,
        "modes": len(result.modes),
    }


def main() -> int:
    """Run, compare, print, write; 0 when all posteriors agree with the reference and the emulator passes its gate."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("case", choices=CASES, nargs="?", default="pn")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--ess", type=int, default=10_000)
    parser.add_argument("--delay", type=float, default=0.001, help="seconds slept per theta in each worker (0.001)")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--gate", type=float, default=EmulatorOptions().gate)
    args = parser.parse_args()
    case, session, prior = load(args.case)
    reference = load_reference(args.case)
    options = replace(EmulatorOptions(), gate=args.gate)
    plain, plain_seconds = run(case, session, args, None)
    chosen, chosen_seconds = run(case, session, args, options)
    record = {k: v for k, v in chosen.history["emulator"].items() if k != "training"}
    start = time.perf_counter()
    emulated = plain.emulate(DRAWS, rng=args.seed, options=options)
    emulated_seconds = time.perf_counter() - start

    print(f"{case.title}\nseed {args.seed}, {args.workers} workers, {1e3 * args.delay:g} ms slept per evaluation")
    print(f"emulator in the run: {record}")
    print(f"emulator alone: {emulated!r}, {emulated_seconds:.1f} s")
    rows = {"without": (plain, plain_seconds), "with": (chosen, chosen_seconds)}
    for name, (result, seconds) in rows.items():
        print(
            f"{name:8s} {result.n_evaluations} evaluations, {seconds:.1f} s, ESS {result.ess:.0f}, efficiency "
            f"{result.efficiency:.2f}, k {result.pareto_k:.2f}, log-evidence {result.log_evidence:.3f} +- "
            f"{result.log_evidence_err:.3f}, {len(result.modes)} mode(s), {result.verdict}"
        )
    rng = np.random.default_rng(args.seed)
    draws = {name: result.u[result.sample_index(DRAWS, rng)] for name, (result, _) in rows.items()}
    draws["emulated only"] = emulated.u
    divergence = {}
    for name, u in draws.items():
        found = compare(prior.names, u, reference.u, rng, floor=reference.floor, to_theta=prior.ppf)
        divergence[name] = {m.name: m.divergence for m in found.marginals}
    between = compare(prior.names, draws["with"], draws["without"], rng)
    divergence["with against without"] = {m.name: m.divergence for m in between.marginals}
    print("divergence of each marginal from UltraNest (1e-3 nat)")
    for name, row in divergence.items():
        print(f"{name:22s}" + "".join(f"  {p} {1e3 * v:.2f}" for p, v in row.items()))
    passed = record["used"] and plain.verdict.converged and chosen.verdict.converged
    passed &= all(v <= AGREEMENT for row in divergence.values() for v in row.values())
    write_json(
        RESULTS / f"emulator_{args.case}.json",
        {
            "case": args.case,
            "command": "python benchmarks/emulator.py " + " ".join(sys.argv[1:]),
            "engine": session.engine,
            "versions": versions("torch", "numpy", "scipy"),
            "workers": args.workers,
            "delay": args.delay,
            "seed": args.seed,
            "options": asdict(options),
            "emulator": record,
            "without": numbers(plain, plain_seconds),
            "with": numbers(chosen, chosen_seconds),
            "emulated_only": {
                "draws": DRAWS,
                "seconds": round(emulated_seconds, 1),
                "error": emulated.error,
                "held_out": emulated.held_out,
                "ess": emulated.ess,
                "emulator_calls": emulated.n_emulated,
            },
            "divergence": divergence,
            "passed": passed,
        },
    )
    print("PASS" if passed else "FAIL")
    return 0 if passed else 1


if __name__ == "__main__":
    raise SystemExit(main())
