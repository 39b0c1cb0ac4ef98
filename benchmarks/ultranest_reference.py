"""UltraNest on the same likelihood and prior: the reference that `agreement.py` compares with.

    python benchmarks/ultranest_reference.py pn

runs it once, resumably (stopped, it goes on where it was when started again), and keeps 10 000 equal-weight draws, the
log-evidence and what made them in ``results/reference_CASE.npz`` and ``.json``.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from cases import CACHE, CASES, RESULTS, load, versions, write_json

from xsixsa import Prior, Session
from xsixsa.diagnostics.compare import DRAWS, equal_weight, half_divergences

__all__ = ["NestedRun", "Reference", "load_reference", "make_reference", "nested_sampling"]

INVALID = -1e100
"""Log-likelihood of a theta without a valid statistic: what BXA gives UltraNest there."""
LEAST_ESS = 10_000
PROBES = 16
_WALKERS = 64
_CODES = 65_535


@dataclass(frozen=True)
class NestedRun:
    """What UltraNest returned.

    Attributes
    ----------
    u, weights, log_l
        All points in the unit cube (n, d), their posterior weights (sum 1) and log-likelihoods, shapes (n,).
    log_evidence, error
        Log-evidence and its error.
    evaluations : int
        Theta at which the engine computed the statistic, counted by the workers.
    seconds : float
        Wall clock of the sampler, the start of its worker included.
    insertion_test : bool
        UltraNest's own check that new points fall uniformly among the live ones.
    """

    u: np.ndarray
    weights: np.ndarray
    log_l: np.ndarray
    log_evidence: float
    error: float
    evaluations: int
    seconds: float
    insertion_test: bool

    @property
    def ess(self) -> float:
        """Kish's effective sample size."""
        return float(self.weights.sum() ** 2 / (self.weights @ self.weights))


def nested_sampling(
    session: Session,
    prior: Prior,
    *,
    live: int,
    min_ess: int,
    workers: int,
    delay: float = 0.0,
    seed: int = 1,
    folder: Path | None = None,
    steps: int | None = None,
) -> NestedRun:
    """UltraNest's reactive nested sampling, its likelihood evaluated by the session's workers.

    Parameters
    ----------
    session, prior
        The problem.
    live
        Live points.
    min_ess
        Effective sample size to reach.
    workers
        Worker processes; 1 is how its users run it.
    delay
        Seconds slept per theta in the worker.
    seed
        Seeds NumPy's global state, from which UltraNest draws.
    folder
        Where it keeps its points, to go on from; nowhere by default.
    steps
        Slice-sampling steps for a new live point, as its users choose where rejection within ellipsoids becomes
        hopeless (curved posteriors of many parameters); by rejection when not given.
    """
    start = time.perf_counter()
    from ultranest import ReactiveNestedSampler

    np.random.seed(seed)  # noqa: NPY002  UltraNest draws from the global state only
    # Small blocks: UltraNest asks for a few dozen points at a time, which all workers should share.
    with session.pool(workers=workers, block=16, delay=delay) as pool:

        def log_likelihood(theta: np.ndarray) -> np.ndarray:
            found = pool.evaluate(theta, expected=False)
            valid = (found.reason == 0) & np.isfinite(found.statistic)
            return np.where(valid, -0.5 * np.where(valid, found.statistic, 0.0), INVALID)

        sampler = ReactiveNestedSampler(
            prior.names,
            log_likelihood,
            prior.ppf,
            vectorized=True,
            log_dir=None if folder is None else str(folder),
            resume="resume",
        )
        if steps is not None:
            from ultranest.popstepsampler import PopulationSliceSampler, generate_mixture_random_direction

            sampler.stepsampler = PopulationSliceSampler(_WALKERS, steps, generate_mixture_random_direction)
        found = sampler.run(
            min_num_live_points=live, min_ess=min_ess, frac_remain=1e-3, show_status=False, viz_callback=False
        )
        # A run that went on from stored points counts those before as well.
        evaluations = max(pool.n_evaluations, int(found["ncall"]))
    points = found["weighted_samples"]
    weights = np.asarray(points["weights"], float)
    return NestedRun(
        np.clip(np.asarray(points["upoints"], float), 0.0, 1.0),
        weights / weights.sum(),
        np.asarray(points["logl"], float),
        float(found["logz"]),
        float(found["logzerr"]),
        evaluations,
        time.perf_counter() - start,
        bool(found["insertion_order_MWW_test"]["converged"]),
    )


@dataclass(frozen=True)
class Reference:
    """A reference as it is kept.

    Attributes
    ----------
    u : numpy.ndarray
        Equal-weight draws in the unit cube, shape (10 000, d).
    floor : numpy.ndarray
        Divergences between two halves of it, shape (d,).
    about : dict
        Everything else: evidence, cost, prior, probes, versions, command.
    """

    u: np.ndarray
    floor: np.ndarray
    about: dict

    def unlike(self, session: Session, prior: Prior) -> tuple[list[str], float]:
        """How the problem differs from that of the reference, in words, and the largest difference in log-likelihood.

        Names, priors and bins must be the same; the likelihood is evaluated again where it was probed.
        """
        about, found = self.about, []
        rows = [[p["name"], p["prior"]] for p in prior.describe()]
        if rows != about["prior"]:
            found.append(f"priors {rows} are not those of the reference, {about['prior']}")
        for name, value in (("bins", session.n_bins), ("statistic", session.statistic)):
            if value != about[name]:
                found.append(f"{name} {value} is not that of the reference, {about[name]}")
        log_l = -0.5 * session.evaluate(np.array(about["probes"]["theta"])).statistic
        difference = float(np.max(np.abs(log_l - about["probes"]["log_likelihood"])))
        return found, difference


def load_reference(name: str) -> Reference:
    """The reference of a case.

    Raises
    ------
    SystemExit
        There is none.
    """
    about, arrays = RESULTS / f"reference_{name}.json", RESULTS / f"reference_{name}.npz"
    if not (about.exists() and arrays.exists()):
        raise SystemExit(f"no reference of {name}; make it with: python benchmarks/ultranest_reference.py {name}")
    with np.load(arrays) as f:
        u = f["low"] + (f["high"] - f["low"]) * f["codes"].astype(float) / _CODES
    found = json.loads(about.read_text())
    return Reference(np.clip(u, 0.0, 1.0), np.array(found["floor"]), found)


def make_reference(
    name: str, *, live: int, ess: int, workers: int, seed: int, engine: str = "embedded", steps: int | None = None
) -> Reference:
    """Run UltraNest to the end and keep what `agreement.py` needs.

    Raises
    ------
    SystemExit
        The effective size falls short: such a reference is not kept.
    """
    case, session, prior = load(name, engine)
    folder = CACHE / f"ultranest_{name}_{engine}_{live}_{ess}_{seed}"
    resumed = folder.exists()
    run = nested_sampling(
        session, prior, live=live, min_ess=ess, workers=workers, seed=seed, folder=folder, steps=steps
    )
    if run.ess < LEAST_ESS:
        raise SystemExit(f"effective sample size {run.ess:.0f} is below {LEAST_ESS}; ask for more with --ess")
    rng = np.random.default_rng(seed)
    u = run.u[equal_weight(run.weights, DRAWS, rng)]
    probes = prior.ppf(u[:PROBES])
    rows = u.min(axis=0), u.max(axis=0)
    codes = np.rint((u - rows[0]) / (rows[1] - rows[0]) * _CODES).astype(np.uint16)
    theta = prior.ppf(run.u)
    mean = run.weights @ theta
    about = {
        "case": name,
        "title": case.title,
        "command": f"python benchmarks/ultranest_reference.py {name} --live {live} --ess {ess} --seed {seed}"
        + ("" if engine == "embedded" else f" --engine {engine}")
        + ("" if steps is None else f" --steps {steps}"),
        "engine": session.engine,
        "versions": versions("ultranest", "numpy", "scipy"),
        "model": session.model_expression,
        "statistic": session.statistic,
        "bins": session.n_bins,
        "fingerprint": session.fingerprint,
        "prior": [[p["name"], p["prior"]] for p in prior.describe()],
        "log_evidence": run.log_evidence,
        "log_evidence_err": run.error,
        "ess": run.ess,
        "points": len(run.weights),
        "live_points": live,
        "insertion_order_test_passed": run.insertion_test,
        "evaluations": run.evaluations,
        "seconds": None if resumed else run.seconds,
        "workers": workers,
        "resumed": resumed,
        "best_log_likelihood": float(run.log_l.max()),
        "mean": mean.tolist(),
        "std": np.sqrt(run.weights @ (theta - mean) ** 2).tolist(),
        "floor": half_divergences(run.u, rng, run.weights).tolist(),
        "probes": {
            "theta": probes.tolist(),
            "log_likelihood": (-0.5 * session.evaluate(probes).statistic).tolist(),
        },
    }
    RESULTS.mkdir(exist_ok=True)
    part = RESULTS / f"reference_{name}.part.npz"
    np.savez_compressed(part, codes=codes, low=rows[0], high=rows[1])
    part.replace(RESULTS / f"reference_{name}.npz")
    write_json(RESULTS / f"reference_{name}.json", about)
    return load_reference(name)


def parser() -> argparse.ArgumentParser:
    """Command line."""
    found = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    found.add_argument("case", choices=CASES)
    found.add_argument("--live", type=int, default=4_000, help="live points (4000)")
    found.add_argument("--ess", type=int, default=12_000, help="effective sample size to reach (12000)")
    found.add_argument("--seed", type=int, default=1)
    found.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    found.add_argument("--engine", choices=("embedded", "xspec"), default="embedded")
    found.add_argument("--steps", type=int, help="slice-sampling steps for a live point, in place of rejection")
    return found


def main() -> None:
    """Make one reference and say what it is."""
    args = parser().parse_args()
    if args.live < 1_000:
        raise SystemExit("a reference takes 1000 live points or more")
    found = make_reference(
        args.case,
        live=args.live,
        ess=args.ess,
        workers=args.workers,
        seed=args.seed,
        engine=args.engine,
        steps=args.steps,
    ).about
    print(f"{args.case}: log-evidence {found['log_evidence']:.3f} +- {found['log_evidence_err']:.3f}")
    print(f"ESS {found['ess']:.0f} of {found['points']} points, {found['live_points']} live")
    seconds = "resumed" if found["resumed"] else f"{found['seconds']:.0f} s"
    cost = f"{found['evaluations']} evaluations, {seconds}"
    print(f"cost: {cost}; insertion-order test passed: {found['insertion_order_test_passed']}")
    for (name, text), mean, std, floor in zip(found["prior"], found["mean"], found["std"], found["floor"], strict=True):
        print(f"{name:16s} {mean:12.5g} +- {std:10.3g}  floor {1e3 * floor:.2f}e-3 nat   {text}")


if __name__ == "__main__":
    main()
