"""Joint fits beside UltraNest on the same likelihood: several spectra, data groups, backgrounds, an untied constant.

    python benchmarks/joint.py chandra4 pn2 ungrouped

``chandra4``: four Chandra observations of 4C+19.44, each a data group, grouped so that every bin has at least one
background count (W-stat). ``pn2``: XMM pn beside an artificial second instrument whose counts are drawn from the folded
model, with other bins, half the exposure, and a cross-calibration constant that is free. ``ungrouped``: the four as
they were recorded, where W-stat is wrong and the verdict has to say so. The exit status is 1 when a bound is missed.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import time
from pathlib import Path

import numpy as np
from agreement import ESS, MAX_EVIDENCE_ERROR, MAX_EVIDENCE_SIGMA
from astropy.io import fits
from cases import CACHE, CASES, RESULTS, SHARED, engine_module, versions, write_json
from ultranest_reference import nested_sampling

import xsixsa
from xsixsa import LogUniform, Prior, Session
from xsixsa.diagnostics.compare import AGREEMENT, DRAWS, compare, equal_weight, half_divergences

__all__ = ["CHANDRA_PRIOR", "JOINT", "PN2_PRIOR", "PN2_TRUTH", "chandra4", "group_by_background", "pn2", "ungrouped"]

CHANDRA = SHARED / "data" / "chandra_4C19.44_joint4"
CHANDRA_PRIOR = {"nH": (0.0, 1.0), "PhoIndex": (0.0, 4.0), "norm": LogUniform(1e-8, 1e-4)}
BAND = (0.5, 7.0)
PN2_PRIOR = {**CASES["pn"].prior, "factor": LogUniform(0.5, 2.0)}
PN2_TRUTH = {
    "nH": 0.0925,
    "kT": 0.763,
    "bbodyrad.norm": 0.175,
    "PhoIndex": 2.106,
    "powerlaw.norm": 2.94e-4,
    "factor": 1.1,
}
"""Near the posterior mean of pn alone; the factor is that of the artificial instrument."""


def group_by_background(source: Path, folder: Path) -> Path:
    """A copy of a spectrum grouped so that every bin of the band has a background count.

    Its response, effective area and background are linked beside it. Channels left over join the last bin.
    """
    where = source.parent
    with fits.open(source) as file:
        table = file["SPECTRUM"]
        names = {k: table.header[k] for k in ("BACKFILE", "RESPFILE", "ANCRFILE")}
        back = fits.getdata(where / names["BACKFILE"], "SPECTRUM")["COUNTS"]
        bounds = fits.getdata(where / names["RESPFILE"], "EBOUNDS")
        inside = np.flatnonzero((bounds["E_MIN"] > BAND[0]) & (bounds["E_MAX"] < BAND[1]))
        flags = np.ones(len(back), int)
        flags[inside] = -1
        # a bin begins behind each channel with a background count, except the last such
        filled = np.flatnonzero(back[inside])[:-1]
        flags[inside[np.append(0, filled + 1)]] = 1
        columns = [c for c in table.columns if c.name not in ("GROUPING", "QUALITY")]
        columns += [fits.Column("QUALITY", "I", array=np.zeros(len(back))), fits.Column("GROUPING", "I", array=flags)]
        header = table.header.copy()
        for key in ("GROUPING", "QUALITY"):
            header.remove(key, ignore_missing=True)
        made = fits.BinTableHDU.from_columns(columns, header=header, name="SPECTRUM")
        path = folder / source.name
        fits.HDUList([fits.PrimaryHDU(), made]).writeto(path, overwrite=True)
    _link(where, folder, names.values())
    return path


def _link(where: Path, folder: Path, names) -> None:
    for name in names:
        if name.lower() != "none" and not (folder / name).exists():
            (folder / name).symlink_to(where / name)


def _clear(xspec) -> None:
    xspec.Xset.allowPrompting = False
    xspec.Xset.chatter = 0
    xspec.AllModels.clear()
    xspec.AllData.clear()


def _four(xspec, folder: Path) -> Session:
    _clear(xspec)
    xspec.Xset.abund = "wilm"
    with contextlib.chdir(folder):
        xspec.AllData(" ".join(f"{i}:{i} obs{i}.pi" for i in range(1, 5)))
        xspec.AllData.ignore(f"**-{BAND[0]} {BAND[1]}-**")
        xspec.Fit.statMethod = "cstat"
        model = xspec.Model("TBabs*powerlaw")
        xspec.AllModels.setPars(model, {1: 0.05, 2: 1.7, 3: 1e-6})
        return Session(xspec)


def chandra4(xspec, folder: Path) -> Session:
    """Four observations, each a data group with the same parameters, at least one background count in each bin."""
    for i in range(1, 5):
        group_by_background(CHANDRA / f"obs{i}.pi", folder)
    session = _four(xspec, folder)
    fewest = min(o.background.counts.min() for o in session.observations)
    if fewest < 1:
        raise SystemExit("a bin without background counts is left")
    return session


def ungrouped(xspec, folder: Path) -> Session:
    """The four as they were recorded: most background bins are empty."""
    return _four(xspec, CHANDRA)


def pn2(xspec, folder: Path, seed: int = 1) -> Session:
    """The pn spectrum, and an artificial one with bins of two groups and half the exposure; constant untied."""
    where = SHARED / "data" / CASES["pn"].folder
    _clear(xspec)
    with contextlib.chdir(where):
        CASES["pn"].commands(xspec)
        alone = Session(xspec)
    truth = [PN2_TRUTH[p.name] for p in alone.parameters]
    observation = alone.observations[0]
    expected = alone.evaluate([truth]).expected[0] * PN2_TRUTH["factor"] / 2
    path = folder / "second.pha"
    with fits.open(where / "PN_spectrum_grp20.fits") as file:
        table = file["SPECTRUM"]
        names = [table.header[k] for k in ("RESPFILE", "ANCRFILE")]
        data, header = table.data, table.header
        kept = data["QUALITY"] != 1
        starts = np.flatnonzero(kept & (data["GROUPING"] == 1))[observation.channels - 1]
        data["COUNTS"] = 0
        data["COUNTS"][starts] = np.random.default_rng(seed).poisson(expected)
        data["GROUPING"][starts[1::2]] = -1
        header["EXPOSURE"] = header["EXPOSURE"] / 2
        header["BACKFILE"] = "none"
        file.writeto(path, overwrite=True)
    _link(where, folder, [*names, "PN_spectrum_grp20.fits"])
    _clear(xspec)
    with contextlib.chdir(folder):
        xspec.Xset.abund = "angr"
        xspec.AllData("1:1 PN_spectrum_grp20.fits 2:2 second.pha")
        xspec.AllData(1).background = None
        xspec.AllData.ignore("bad")
        xspec.AllData.ignore("**-0.5 10.0-**")
        xspec.Fit.statMethod = "cstat"
        first = xspec.Model("constant*TBabs*(bbodyrad+powerlaw)")
        first(1).frozen = True
        second = xspec.AllModels(2)
        second(1).link = ""
        second(1).frozen = False
        xspec.AllModels.setPars(first, {2: 0.2, 3: 0.25, 4: 0.1, 5: 2.2, 6: 4e-4})
        return Session(xspec)


JOINT = {"chandra4": (chandra4, CHANDRA_PRIOR), "pn2": (pn2, PN2_PRIOR), "ungrouped": (ungrouped, CHANDRA_PRIOR)}


def compared(name: str, session: Session, prior_spec: dict, args) -> dict:
    """Ours and UltraNest's, and the bounds that are missed."""
    prior = Prior.build(session, prior_spec)
    start = time.perf_counter()
    ours = xsixsa.fit(session, prior_spec, ess=ESS, seed=args.seed, workers=args.workers, progress=False)
    seconds = time.perf_counter() - start
    print(ours.summary(), flush=True)
    folder = CACHE / f"ultranest_{name}_{args.live}_{session.fingerprint[:8]}"
    theirs = nested_sampling(
        session, prior, live=args.live, min_ess=args.ess, workers=args.workers, seed=args.seed, folder=folder
    )
    rng = np.random.default_rng(args.seed)
    reference = theirs.u[equal_weight(theirs.weights, DRAWS, rng)]
    floor = half_divergences(theirs.u, rng, theirs.weights)
    u = ours.u[equal_weight(ours.weights, DRAWS, rng)]
    table = compare(prior.names, u, reference, rng, floor=floor, to_theta=prior.ppf)
    sigma = (ours.log_evidence - theirs.log_evidence) / float(np.hypot(ours.log_evidence_err, theirs.error))
    print(table.table(("ours", "UltraNest")))
    print(
        f"log-evidence {ours.log_evidence:.3f} +- {ours.log_evidence_err:.3f}, UltraNest {theirs.log_evidence:.3f} +- "
        f"{theirs.error:.3f} ({sigma:+.1f} sigma); {ours.n_evaluations} evaluations in {seconds:.0f} s, UltraNest "
        f"{theirs.evaluations} in {theirs.seconds:.0f} s with ESS {theirs.ess:.0f}"
    )
    missed = [f"{m.name}: {1e3 * m.divergence:.2f}e-3 nat" for m in table.marginals if not m.agrees]
    if not ours.verdict.converged:
        missed.append(f"verdict: {ours.verdict}")
    if not ours.log_evidence_err <= MAX_EVIDENCE_ERROR or not abs(sigma) <= MAX_EVIDENCE_SIGMA:
        missed.append(f"log-evidence {sigma:+.1f} sigma")
    return {
        "case": name,
        "spectra": len(session.observations),
        "bins": session.n_bins,
        "model": session.model_expression,
        "prior": [[p["name"], p["prior"]] for p in prior.describe()],
        "ours": {
            "log_evidence": ours.log_evidence,
            "log_evidence_err": ours.log_evidence_err,
            "ess": ours.ess,
            "pareto_k": ours.pareto_k,
            "evaluations": ours.n_evaluations,
            "seconds": seconds,
            "verdict": str(ours.verdict),
        },
        "ultranest": {
            "live_points": args.live,
            "log_evidence": theirs.log_evidence,
            "log_evidence_err": theirs.error,
            "ess": theirs.ess,
            "evaluations": theirs.evaluations,
            "seconds": theirs.seconds,
        },
        "divergence": {m.name: m.divergence for m in table.marginals},
        "floor": {m.name: m.floor for m in table.marginals},
        "bound": AGREEMENT,
        "missed": missed,
    }


def warned(session: Session, prior_spec: dict, args) -> dict:
    """The ungrouped four: the run has to warn, and to end as not trustworthy."""
    ours = xsixsa.fit(session, prior_spec, seed=args.seed, workers=args.workers, preset="quick", progress=False)
    print(ours.summary())
    empty = [w for w in ours.verdict.warnings if "background bins are empty" in w]
    missed = [] if len(empty) == len(session.observations) else [f"{len(empty)} warnings of empty background bins"]
    if ours.verdict.text != "not trustworthy" or ours.verdict.converged:
        missed.append(f"verdict: {ours.verdict}")
    return {"case": "ungrouped", "verdict": str(ours.verdict), "warnings": empty, "missed": missed}


def main() -> int:
    """Run the cases; 0 when every bound is kept."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"of {', '.join(JOINT)}; all by default")
    parser.add_argument("--live", type=int, default=2_000, help="UltraNest's live points (2000)")
    parser.add_argument("--ess", type=int, default=12_000, help="UltraNest's effective sample size (12000)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--engine", choices=("embedded", "xspec"), default="embedded")
    args = parser.parse_args()
    if not CHANDRA.is_dir():
        raise SystemExit(f"no data in {CHANDRA}; set XSIXSA_SHARED to the folder that holds data/")
    failed = False
    for name in args.cases or JOINT:
        make, prior = JOINT[name]
        folder = CACHE / f"joint_{name}"
        folder.mkdir(parents=True, exist_ok=True)
        session = make(engine_module(args.engine), folder)
        print(f"\n{name}: {session!r}", flush=True)
        found = warned(session, prior, args) if name == "ungrouped" else compared(name, session, prior, args)
        print("PASS" if not found["missed"] else "FAIL: " + "; ".join(found["missed"]))
        failed |= bool(found["missed"])
        found |= {"engine": session.engine, "versions": versions("xsixsa", "ultranest", "numpy", "scipy")}
        write_json(RESULTS / f"joint_{name}.json", found)
    return int(failed)


if __name__ == "__main__":
    raise SystemExit(main())
