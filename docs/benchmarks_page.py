"""The page of benchmarks from ``benchmarks/results/*.json``: tables of what was measured, nothing by hand.

python docs/benchmarks_page.py > benchmarks.md
"""

import json
import sys
from pathlib import Path

from benchmarks_tables import anything, number, table, versions

RESULTS = Path(__file__).resolve().parents[1] / "benchmarks" / "results"

INTRODUCTION = """\
# Benchmarks

This page is made from the files in `benchmarks/results/` whenever the site is built. Each was left by the command above
its table; `benchmarks/README.md` says what is compared and how to measure it again. Misses are shown as they are.
"""


def agreement(made, reference, arbiter):
    """Our runs beside UltraNest's on the same likelihood and prior, and beside the arbiter where it was run."""
    rows = []
    for run in made["runs"]:
        worst = max(run["divergence"].values())
        evidence = f"{run['log_evidence']:.3f} ± {run['log_evidence_err']:.3f}"
        numbers = [number(run[k]) for k in ("evaluations", "seconds", "ess", "efficiency", "pareto_k")]
        rows.append([run["seed"], *numbers, evidence, f"{worst:.1e}", run["verdict"].split(":")[0]])
    head = ["seed", "evaluations", "seconds", "ESS", "efficiency", "Pareto k", "log-evidence", "largest divergence"]
    theirs = made["reference"]
    text = f"## {reference.get('title', made['case'])}\n\n`{made['command']}`\n\n"
    text += (
        f"Engine {made['engine']['name']} {made['engine']['version']}; {made['workers']} workers; {versions(made)}.\n\n"
    )
    text += table([*head, "verdict"], rows)
    missed = [f"- Seed {run['seed']} missed a bound: {miss}\n" for run in made["runs"] for miss in run["missed"]]
    text += "\n" + ("".join(missed) + "\n" if missed else "No bound was missed.\n\n")
    text += f"Reference: UltraNest, log-evidence {theirs['log_evidence']:.3f} ± {theirs['log_evidence_err']:.3f}"
    if "evaluations" in reference:
        text += f", {number(reference['evaluations'])} evaluations, {number(reference['live_points'])} live points"
        text += f", {number(reference['seconds'])} s with {reference['workers']} processes"
    floor = max(f for f in theirs["floor"])
    text += f" (`{theirs['command']}`). The divergence between two halves of the reference is up to {floor:.1e}.\n"
    if cost := made.get("cost"):
        fewer, faster = cost["fewer_evaluations"], cost["faster_at_least"]
        text += f"It took {fewer:.0f} times as many evaluations as the dearest run here; at the rate of this machine's "
        text += f"workers they alone take {faster:.1f} times as long as the slowest.\n"
    if arbiter:
        found = f"{arbiter['log_evidence']:.4f} ± {arbiter['log_evidence_err']:.4f}"
        text += f"\nArbiter, a long importance-sampling run: log-evidence {found} (`{arbiter['command']}`).\n"
    text += "\nDivergences are Jensen-Shannon, in nat, the largest of all marginals; below 2e-3 is agreement. "
    return text + "Seconds depend on what else the machine was doing.\n"


def engine(made):
    """Speed and memory of the embedded engine."""
    rows = [
        [m["case"], m["bins"], m["parameters"], number(m["per_s"]), number(m.get("per_s_two_free_cores"))]
        + [number(m.get("xspec_one_core_per_s")), number(m.get("memory_at_most_gib")), m.get("verdict", "-")]
        for m in made["measured"]
    ]
    head = ["case", "bins", "parameters", "evaluations/s, as measured", "per second of two processors"]
    head += ["the real XSPEC, one core", "GiB at most", "bound"]
    load = number(made["load_average"])
    text = f"## The embedded engine\n\n{made['workers']} workers, load average {load} while it was measured.\n\n"
    return text + table(head, rows)


def wstat(made):
    """Calibration of W-stat against the counts of a background bin."""
    rows = []
    for level in made["levels"]:
        inside = ", ".join(f"{name} {share:.0%}".replace("%", " %") for name, share in level["inside_90"].items())
        low = ", ".join(f"{name} {p:.1e}" for name, p in level["p"].items())
        numbers = [number(level[k]) for k in ("counts_per_bin", "empty", "scale", "grouping")]
        rows.append([*numbers, inside, low, "yes" if level["calibrated"] else "**no**"])
    head = ["background counts per bin", "share of empty bins", "scale", "grouping", "truth inside the 90 % interval"]
    text = f"## W-stat and empty background bins\n\n{made['spectra']} simulated spectra in each row.\n\n"
    return text + table([*head, "p of uniform ranks", "calibrated"], rows)


def sections(made):
    """Sections of the page by file, in the order of reading; a file with a layout of its own has its own tables."""
    found = {}
    for name, result in made.items():
        kind, _, case = name.partition("_")
        try:
            if kind == "agreement":
                more = made.get(f"reference_{case}", {}), made.get(f"arbiter_{case}", {})
                found[name] = agreement(result, *more)
            elif kind in ("reference", "arbiter") and f"agreement_{case}" in made:
                # part of the section before
                continue
            elif name == "engine":
                found[name] = engine(result)
            elif name == "calibration_wstat":
                found[name] = wstat(result)
            else:
                alone = kind in ("reference", "arbiter") and "title" in result
                found[name] = anything(name, result, f"{result['title']} ({kind} alone)" if alone else None)
        except (KeyError, TypeError, AttributeError, ValueError, IndexError):
            # written by another version of the benchmark: all of it, as it is
            found[name] = anything(name, result)
    return found


def page(folder=RESULTS):
    """The page as Markdown.

    Parameters
    ----------
    folder : pathlib.Path
        Where the results lie.

    Returns
    -------
    str
    """
    made = {path.stem: json.loads(path.read_text()) for path in sorted(Path(folder).glob("*.json"))}
    first = [name for name in made if name.startswith("agreement_")]
    made = {name: made[name] for name in first + [name for name in made if name not in first]}
    parts = [INTRODUCTION]
    for name, text in sections(made).items():
        parts.append(f"{text}\nFrom `benchmarks/results/{name}.json`.\n")
    return "\n".join(parts)


if __name__ == "__main__":
    sys.stdout.write(page())
