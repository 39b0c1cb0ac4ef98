"""The burst of `amortised.py`: simulated segments and the real one, each beside UltraNest on the same file."""

from __future__ import annotations

import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
from amortised_cases import BURST, MINUTES_5, Bounds, cached_network, describe, keep, session_of, write_segments
from cases import CACHE
from ultranest_reference import nested_sampling

from xsixsa import Prior
from xsixsa.diagnostics.compare import AGREEMENT, DRAWS, compare, equal_weight, half_divergences

__all__ = ["burst", "real"]

SEGMENTS = 23
SEGMENT_COUNTS = (400.0, 5_000.0)
LIVE, LEAST_ESS = 3_500, 10_500
"""So many live points reach the effective size in one pass, or nearly; going back for more is far dearer."""


def segments(args) -> tuple:
    """Session of the burst, prior, and 23 simulated segments as files, faint and bright alike."""
    session = session_of(BURST)
    prior, rng = Prior.build(session, BURST.prior), np.random.default_rng(args.seed)
    theta = prior.sample(20_000, rng)
    with session.pool(workers=args.workers) as pool:
        expected = pool.evaluate(theta).expected
    total = expected.sum(axis=1)
    wanted = np.geomspace(1.1 * SEGMENT_COUNTS[0], 0.92 * SEGMENT_COUNTS[1], SEGMENTS)
    rows = [int(np.nanargmin(np.abs(np.log(total / w)))) for w in wanted]
    counts = rng.poisson(expected[rows])
    paths = write_segments(CACHE / f"burst_segments_{args.seed}", BURST, session, counts)
    # writing and reading the pattern has left the session as it was: attach it again all the same
    return session_of(BURST), prior, paths, theta[rows], counts


def burst(args) -> int:
    """Train one of the two ways, apply to all segments, compare each with UltraNest."""
    bounds = Bounds()
    session, prior, paths, truth, counts = segments(args)
    print(f"{SEGMENTS} segments of {counts.sum(axis=1).min()}-{counts.sum(axis=1).max()} counts")
    way = {"counts": SEGMENT_COUNTS} if args.which == "counts" else {"spectra": paths, "reading": _any_response()}
    net = cached_network(f"burst_{args.which}", session, BURST, args, **way)
    clock, processors = net.settings["cost"]
    text = f"trained in {processors:.0f} s of processors (bound {MINUTES_5:.0f} s), {clock:.0f} s by the clock"
    bounds.check(processors <= MINUTES_5, f"{text}; {net.settings['seconds']}")
    start = time.perf_counter()
    options = {"ess": 10_000, "max_evaluations": 60_000, "seed": args.seed, "workers": args.workers}
    applied = net.apply(paths, session, same_response=True, progress=False, **options)
    seconds = time.perf_counter() - start
    print(f"applied to {len(paths)} segments in {seconds:.1f} s, {applied.n_evaluations} evaluations: {applied!r}")
    _make_references({_name(i, args): str(path) for i, path in enumerate(paths)}, args.workers)
    rows = [_compare_segment(i, applied, prior, truth[i], args) for i in range(SEGMENTS)]
    worst = max(rows, key=lambda r: r["largest"])
    bounds.check(all(r["converged"] for r in rows), f"{sum(r['converged'] for r in rows)} of {SEGMENTS} converged")
    good = sum(r["largest"] <= AGREEMENT for r in rows)
    bounds.check(
        good == SEGMENTS,
        f"{good} of {SEGMENTS} segments within {1e3 * AGREEMENT:g}e-3 nat of UltraNest; the farthest is segment "
        f"{worst['segment']} with {1e3 * worst['largest']:.2f}e-3",
    )
    sigma = max(abs(r["evidence_sigma"]) for r in rows)
    bounds.check(sigma <= 3.5, f"log-evidence within {sigma:.1f} combined errors of UltraNest's (bound 3.5 for 23)")
    content = {
        "restriction": args.which,
        "network": describe(net),
        "applied_seconds": seconds,
        "n_evaluations": applied.n_evaluations,
        "segments": rows,
    }
    return keep(f"burst_{args.which}", content, bounds, args)


def _any_response():
    from xsixsa.amortised.read import Reading

    return Reading(same_response=True)


def _compare_segment(i: int, applied, prior, truth, args) -> dict:
    """One segment beside UltraNest on the same file."""
    result = applied.result(i)
    reference = _reference(_name(i, args), applied.rows[i]["name"])
    rng = np.random.default_rng(i)
    u = result.u[equal_weight(result.weights, DRAWS, rng)]
    found = compare(prior.names, u, reference["u"], rng, floor=reference["floor"], to_theta=prior.ppf)
    sigma = (result.log_evidence - reference["log_evidence"]) / np.hypot(
        result.log_evidence_err, reference["log_evidence_err"]
    )
    row = {
        "segment": i,
        "counts": float(result.observations[0]["counts"].sum()),
        "truth": dict(zip(prior.names, truth.tolist(), strict=True)),
        "converged": bool(result.verdict.converged),
        "verdict": str(result.verdict),
        "ess": result.ess,
        "efficiency": result.efficiency,
        "pareto_k": result.pareto_k,
        "n_evaluations": result.n_evaluations,
        "largest": found.largest,
        "divergences": {m.name: m.divergence for m in found.marginals},
        "floors": {m.name: m.floor for m in found.marginals},
        "evidence_sigma": float(sigma),
        "reference_evaluations": reference["evaluations"],
        "reference_seconds": reference["seconds"],
    }
    print(
        f"segment {i:2d} {row['counts']:6.0f} counts  ESS {row['ess']:6.0f}  efficiency {row['efficiency']:.2f}  "
        f"k {row['pareto_k']:.2f}  {row['n_evaluations']:6d} evaluations  largest {1e3 * row['largest']:.2f}e-3 nat "
        f"(floor {1e3 * max(row['floors'].values()):.2f}e-3)  evidence {sigma:+.1f} sigma  {result.verdict.text}",
        flush=True,
    )
    return row


def _name(i: int, args) -> str:
    return f"burst_{args.seed}_{i:02d}"


def _make_references(paths: dict[str, str], workers: int) -> None:
    """Those that are missing, one process each: within one run UltraNest's own work keeps a second core idle."""
    missing = {name: path for name, path in paths.items() if not (CACHE / f"reference_{name}.npz").exists()}
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as executor:
        for made in [executor.submit(_reference, name, path) for name, path in missing.items()]:
            made.result()


def _reference(name: str, path: str) -> dict:
    """UltraNest on a segment, made once; its equal-weight draws in the unit cube."""
    kept = CACHE / f"reference_{name}.npz"
    if not kept.exists():
        session = session_of(BURST, path)
        prior = Prior.build(session, BURST.prior)
        folder = CACHE / f"ultranest_{name}_{LIVE}"
        run = nested_sampling(session, prior, live=LIVE, min_ess=LEAST_ESS, workers=1, folder=folder)
        if run.ess < 10_000:
            raise SystemExit(f"{name}: UltraNest reached an effective size of {run.ess:.0f}, 10 000 are needed")
        rng = np.random.default_rng(0)
        np.savez(
            kept,
            u=run.u[equal_weight(run.weights, DRAWS, rng)],
            floor=half_divergences(run.u, rng, run.weights),
            numbers=np.array([run.log_evidence, run.error, run.evaluations, run.seconds]),
        )
        print(f"{name}: UltraNest {run.evaluations} evaluations, {run.seconds:.0f} s", flush=True)
    with np.load(kept) as f:
        evidence, error, evaluations, seconds = f["numbers"].tolist()
        found = {"u": f["u"], "floor": f["floor"], "log_evidence": evidence, "log_evidence_err": error}
    return found | {"evaluations": int(evaluations), "seconds": seconds}


def real(args) -> int:
    """The real segment: flagged or not, its posterior beside UltraNest's, its goodness of fit."""
    bounds, session = Bounds(), session_of(BURST)
    prior = Prior.build(session, BURST.prior)
    net = cached_network("burst_counts", session, BURST, args, counts=SEGMENT_COUNTS)
    applied = net.apply(None, session, ess=10_000, max_evaluations=60_000, seed=args.seed, progress=False)
    result = applied.result(0)
    print(result.summary())
    reference = _reference("burst_real", session.observations[0].name)
    rng = np.random.default_rng(0)
    u = result.u[equal_weight(result.weights, DRAWS, rng)]
    found = compare(prior.names, u, reference["u"], rng, floor=reference["floor"], to_theta=prior.ppf)
    print(found.table(("network, corrected", "UltraNest")))
    bounds.check(result.verdict.converged, f"verdict {result.verdict}")
    bounds.check(found.agrees, f"largest divergence {1e3 * found.largest:.2f}e-3 nat (bound {1e3 * AGREEMENT:g}e-3)")
    row = {k: v for k, v in applied.rows[0].items() if k != "name"}
    content = {"row": row, "largest": found.largest, "warnings": list(result.verdict.warnings)}
    content |= {"divergences": {m.name: m.divergence for m in found.marginals}, "goodness": result.goodness}
    return keep("real", content, bounds, args)
