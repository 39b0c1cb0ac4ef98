"""How fast is the embedded engine, and how much memory does it take?

    python benchmarks/engine.py

runs each case in a process of its own, with two worker processes of `Session.pool` evaluating draws from a prior, and
prints numbers beside their bounds; the exit status is 1 when one is missed. Rates are by the clock, the best of some
repeats, and *per processor second times two*: what two cores give that nobody else uses. Other programs lower the first
much and the second little, so a bound counts as kept by either, and which is printed. Memory is the peak of the process
that owns the session plus, for each worker and for the template that they are forked from, that of the largest: pages
that they share are counted again for each, so this is more than what is taken.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from cases import RESULTS, SHARED, load, versions, write_json

WORKERS = 2
MOST_MEMORY = 2.0
"""GiB."""
LINES = {"LineE": ((6.69, 6.71), (6.66, 6.68), (6.96, 6.98)), "Sigma": (0.003, 0.02), "norm": (1e-5, 1e-3)}
"""Three emission lines of iron, keV and photons/cm2/s."""


@dataclass(frozen=True)
class Speed:
    """One case: how many theta a repeat takes, the bound, and the rate of XSPEC 12.9.1 on one core, all a second."""

    title: str
    n: int
    bound: float | None
    xspec: float | None
    ignored: str = ""


CASES = {
    "pn": Speed("XMM pn, TBabs*(bbodyrad+powerlaw)", 20_000, 20_000.0, 820.0),
    "xifu": Speed("X-IFU, TBabs(compTT+powerlaw)", 600, 150.0, 63.0),
    "resolve": Speed("Resolve, every channel, TBabs(powerlaw+3 gaussian)", 400, 100.0, 29.0),
    "resolve_2_12": Speed("Resolve, 2-12 keV, the same", 600, None, None, "**-2.0 12.0-**"),
}


def resolve(ignored: str):
    """Session and prior of the Resolve spectrum with a continuum and three lines."""
    from xsixsa import LogUniform, Prior, Session
    from xsixsa.embedded import xspec

    xspec.Xset.chatter = 0
    xspec.Xset.abund = "wilm"
    files = {"respFile": "resolve_gauss4.5eV_BUILT.rmf", "arfFile": "rsl_standard_GVclosed.arf"}
    with contextlib.chdir(SHARED / "data" / "xrism_Perseus-Resolve"):
        spectrum = xspec.Spectrum("xa_merged_p0px1000_Hp.pi.gz", **files)
        if ignored:
            spectrum.ignore(ignored)
        xspec.Fit.statMethod = "cstat"
        xspec.Model("TBabs(powerlaw+gaussian+gaussian+gaussian)", setPars=(0.1, 2.0, 0.3))
        session = Session(xspec)
    prior = {1: (0.05, 0.3), 2: (1.5, 2.5), 3: LogUniform(0.1, 0.5)}
    for i, centre in enumerate(LINES["LineE"]):
        prior |= {4 + 3 * i: centre, 5 + 3 * i: LINES["Sigma"], 6 + 3 * i: LogUniform(*LINES["norm"])}
    return session, Prior.build(session, prior)


def cpu() -> float:
    """Processor seconds of this process and of all that it has waited for."""
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system


def pooled(session, theta: np.ndarray) -> tuple[float, float]:
    """Seconds for `theta` once the workers run, and processor seconds of pool and theta together."""
    used = cpu()
    with session.pool(workers=WORKERS) as pool:
        pool.evaluate(theta[: 4 * WORKERS])
        start = time.perf_counter()
        evaluation = pool.evaluate(theta)
        seconds = time.perf_counter() - start
    if not evaluation.valid.all():
        raise SystemExit(f"{(~evaluation.valid).sum()} theta failed")
    return seconds, cpu() - used


def measure(name: str, repeats: int) -> dict:
    """All numbers of one case, in this process."""
    case = CASES[name]
    start = time.perf_counter()
    session, prior = resolve(case.ignored) if name.startswith("resolve") else load(name)[1:]
    attach = time.perf_counter() - start
    theta = prior.sample(case.n, np.random.default_rng(0))
    idle = min(pooled(session, theta[:1])[1] for _ in range(2))
    found = [pooled(session, theta)]
    # After the first run: workers forked later count what the results of earlier runs left behind here once each.
    own, largest = (
        resource.getrusage(who).ru_maxrss / 2**20 for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    found += [pooled(session, theta) for _ in range(repeats - 1)]
    return {
        "case": name,
        "bins": session.n_bins,
        "parameters": len(session.parameters),
        "theta": case.n,
        "load_and_attach_s": attach,
        "per_s": case.n / min(seconds for seconds, _ in found),
        "per_s_two_free_cores": WORKERS * case.n / (min(used for _, used in found) - idle),
        "bound_per_s": case.bound,
        "xspec_one_core_per_s": case.xspec,
        "memory_session_gib": own,
        "memory_largest_worker_gib": largest,
        "memory_at_most_gib": own + (WORKERS + 1) * largest,
    }


def verdict(found: dict) -> str:
    """Whether the bounds are kept, in words that begin with FAIL where one is not."""
    if found["memory_at_most_gib"] > MOST_MEMORY:
        return f"FAIL: more than {MOST_MEMORY:g} GiB"
    bound = found["bound_per_s"]
    if bound is None:
        return "no bound"
    if found["per_s"] >= bound:
        return f"keeps {bound:g}/s by the clock"
    if found["per_s_two_free_cores"] >= bound:
        return f"keeps {bound:g}/s per processor second (load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores)"
    return f"FAIL: below {bound:g}/s"


def main() -> None:
    """Measure each case in its own process, print and keep."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"of {', '.join(CASES)}; all by default")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--measure", action="store_true", help="one case in this process, as JSON")
    args = parser.parse_args()
    if args.measure:
        print(json.dumps(measure(args.cases[0], args.repeats)))
        return
    one_thread = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL")}
    found = []
    for name in args.cases or CASES:
        command = [sys.executable, str(Path(__file__).resolve()), name, "--measure", "--repeats", str(args.repeats)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=os.environ | one_thread)
        m = json.loads(done.stdout.splitlines()[-1])
        m["verdict"] = verdict(m)
        found.append(m)
        print(
            f"{CASES[name].title:52s} {m['bins']:5d} bins  {m['per_s']:7.0f}/s by the clock  "
            f"{m['per_s_two_free_cores']:7.0f}/s on two free cores  {m['memory_at_most_gib']:.2f} GiB  {m['verdict']}",
            flush=True,
        )
    kept = {"workers": WORKERS, "load_average": os.getloadavg()[0], "measured": found}
    write_json(RESULTS / "engine.json", kept | versions("xsixsa", "numpy", "scipy"))
    sys.exit(any(m["verdict"].startswith("FAIL") for m in found))


if __name__ == "__main__":
    main()
