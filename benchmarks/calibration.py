"""Are the posteriors calibrated? Truths drawn from the prior, spectra drawn from them, and the rank of each truth.

    python benchmarks/calibration.py                    # 200 fits without background: ranks are uniform
    python benchmarks/calibration.py --wstat            # W-stat against background counts per bin
    python benchmarks/calibration.py --wstat --fits 200 # both

Simulation-based calibration (Talts et al. 2018): where the posterior is right, the posterior probability below the
truth is uniform. The fits go the whole way, through files, session, workers and `xsixsa.fit`. W-stat is a profile
likelihood, not a likelihood: how far its posterior is from calibrated is a property of the statistic and not of who
samples it, and is measured by quadrature on a fine grid of two parameters, over hundreds of spectra at each level.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from cases import RESULTS, engine_module, versions, write_json
from scipy import stats

import xsixsa
from xsixsa import LogUniform, Prior, Session
from xsixsa.demo import ogip
from xsixsa.demo.instrument import Instrument, ccd
from xsixsa.diagnostics.likelihood import MAX_EMPTY_BACKGROUND
from xsixsa.embedded.statistics import Observed, wstat
from xsixsa.inference.flow import FlowOptions
from xsixsa.options import Options

__all__ = ["CHEAP", "PRIOR", "Level", "calibrate", "measure_wstat", "uniform_p"]

EXPOSURE = 2_000.0
PRIOR = {"nH": (0.0, 0.6), "PhoIndex": (1.0, 3.0), "norm": LogUniform(1e-4, 1e-3)}
CHEAP = Options(
    rounds=0,
    simulations=500,
    ess=400,
    min_draws=500,
    exploration=0.0,
    warm_ess=150.0,
    flow_ess=250.0,
    max_refits=1,
    max_evaluations=30_000,
    refit=FlowOptions(transforms=1, hidden=12, batch=2048, epochs=8, patience=8, learning_rate=1e-2),
)
"""A few seconds a fit: three parameters and one mode need no network."""
LEVELS = (0.1, 0.3, 0.5, 0.7, 1.0, 3.0, 10.0)
BACKGROUND_SCALES = (1.0, 5.0)
_REBIN = 16
_GRID = 48
_WSTAT_EXPOSURE = 500.0


def instrument() -> Instrument:
    """The demo's telescope with 64 channels, so that bins need no grouping."""
    fine = ccd()
    coarse = np.add.reduceat(fine.matrix, np.arange(0, 1024, _REBIN), axis=1)
    return Instrument(fine.energies, fine.channels[::_REBIN], fine.area, coarse.astype(np.float32).astype(float))


def uniform_p(ranks: np.ndarray) -> float:
    """Probability of ranks at least this far from uniform (Kolmogorov-Smirnov)."""
    return float(stats.kstest(ranks, "uniform").pvalue)


def attach(xspec, folder: Path, counts: np.ndarray) -> Session:
    """A session of counts (64,) without background."""
    path = folder / "source.pha"
    path.unlink(missing_ok=True)
    ogip.write_spectrum(path, counts, EXPOSURE, RESPFILE="ccd.rmf", ANCRFILE="ccd.arf")
    xspec.Xset.allowPrompting = False
    xspec.Xset.chatter = 0
    xspec.AllModels.clear()
    xspec.AllData.clear()
    xspec.Xset.abund = "wilm"
    with contextlib.chdir(folder):
        xspec.AllData("1:1 source.pha")
        xspec.AllData.ignore("**-0.4 9.0-**")
        xspec.Fit.statMethod = "cstat"
        model = xspec.Model("TBabs*powerlaw")
        xspec.AllModels.setPars(model, {1: 0.2, 2: 1.8, 3: 3e-4})
        return Session(xspec)


def calibrate(n: int, seed: int, workers: int, folder: Path, engine: str = "embedded") -> dict:
    """Ranks of `n` truths under the posteriors of their spectra, and what they say."""
    xspec, made = engine_module(engine), instrument()
    ogip.write_arf(folder / "ccd.arf", made)
    ogip.write_rmf(folder / "ccd.rmf", made)
    session = attach(xspec, folder, np.ones(64, int))
    prior, rng = Prior.build(session, PRIOR), np.random.default_rng(seed)
    truths = prior.sample(n, rng)
    expected = np.zeros((n, 64))
    expected[:, session.observations[0].channels - 1] = session.evaluate(truths).expected
    ranks, verdicts, evaluations = [], [], 0
    for i, (truth, mean) in enumerate(zip(truths, expected, strict=True)):
        session = attach(xspec, folder, rng.poisson(mean))
        result = xsixsa.fit(session, PRIOR, options=CHEAP, seed=seed + i, workers=workers, progress=False)
        ranks.append(result.weights @ (result.theta < truth))
        verdicts.append(result.verdict.converged)
        evaluations += result.n_evaluations
        if (i + 1) % 10 == 0:
            so_far = " ".join(f"{uniform_p(np.array(ranks)[:, k]):.3f}" for k in range(prior.dim))
            print(f"{i + 1} of {n} spectra, {sum(verdicts)} converged, p so far {so_far}", flush=True)
    ranks = np.array(ranks)
    p = {name: uniform_p(ranks[:, k]) for k, name in enumerate(prior.names)}
    return {
        "spectra": n,
        "converged": int(sum(verdicts)),
        "evaluations_per_fit": evaluations / n,
        "counts": [float(q) for q in np.quantile(expected.sum(axis=1), [0.0, 0.5, 1.0])],
        "p": p,
        "bound": 0.01 / len(p),
        "inside_90": {name: float(np.mean(np.abs(ranks[:, k] - 0.5) < 0.45)) for k, name in enumerate(p)},
        "missed": [f"{name}: p {v:.1e}" for name, v in p.items() if not v > 0.01 / len(p)],
    }


@dataclass(frozen=True)
class Level:
    """W-stat at one background.

    Attributes
    ----------
    background : float
        Expected counts of the background file in each bin, before grouping.
    scale : float
        Background file to source region: exposure times area.
    grouping : int
        Least background counts in each bin after grouping; 0 for none.
    counts_per_bin, empty : float
        Mean background counts per bin, and share of empty bins, as fitted.
    p : dict
        Probability of the ranks being uniform, of slope and norm.
    bias : dict
        Mean of (posterior mean - truth) / posterior deviation.
    inside_90 : dict
        Share of truths inside the central 90 % interval.
    """

    background: float
    scale: float
    grouping: int
    counts_per_bin: float
    empty: float
    p: dict
    bias: dict
    inside_90: dict

    @property
    def calibrated(self) -> bool:
        """Whether both ranks are uniform."""
        return all(v > 0.01 / len(self.p) for v in self.p.values())


def _model_grid() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Slopes (g,), log norms (g,), and expected counts for norm 1 (g, bins) of an absorbed power law."""
    from xsixsa.embedded.components import ModelContext, find

    made, context = instrument(), ModelContext(abund="wilm")
    slopes = np.linspace(1.0, 3.0, 2 * _GRID + 1)[1::2]
    norms = np.linspace(np.log(1e-4), np.log(1e-3), 2 * _GRID + 1)[1::2]
    absorbed = find("TBabs")().evaluate(made.energies, np.array([[0.2]]), context)[0]
    photons = find("powerlaw")().evaluate(made.energies, slopes[:, None], context)
    counts = _WSTAT_EXPOSURE * np.array([made.fold(absorbed * row) for row in photons])
    return slopes, norms, counts[:, 3:47]


def _groups(background: np.ndarray, least: int) -> np.ndarray:
    """First bin of each group holding at least `least` background counts; what is left over joins the last."""
    starts, held = [0], 0
    for i, n in enumerate(background[:-1]):
        held += n
        if held >= least and background[i + 1 :].sum() >= least:
            starts.append(i + 1)
            held = 0
    return np.array(starts)


def measure_wstat(background: float, scale: float, grouping: int, n: int, rng: np.random.Generator) -> Level:
    """Ranks of `n` truths under W-stat's posterior, by quadrature."""
    slopes, norms, unit = _model_grid()
    truth_u = rng.random((n, 2))
    truths = np.column_stack([1.0 + 2.0 * truth_u[:, 0], np.log(1e-4) + np.log(10.0) * truth_u[:, 1]])
    ranks, z, bins, empty = [], [], [], []
    for slope, norm in truths:
        mean = np.exp(norm) * np.array([np.interp(slope, slopes, column) for column in unit.T])
        off = rng.poisson(background, len(mean)).astype(float)
        on = rng.poisson(mean + background / scale).astype(float)
        folded = np.exp(norms)[None, :, None] * unit[:, None, :]
        if grouping:
            starts = _groups(off, grouping)
            off, on = np.add.reduceat(off, starts), np.add.reduceat(on, starts)
            folded = np.add.reduceat(folded, starts, axis=2)
        bins.append(off.mean())
        empty.append(np.mean(off == 0))
        log_l = -0.5 * _wstat(folded.reshape(-1, len(on)), on, off, scale).reshape(len(slopes), len(norms))
        density = np.exp(log_l - log_l.max())
        density /= density.sum()
        one = [_rank(density.sum(axis=1 - k), grid, t) for k, (grid, t) in enumerate(((slopes, slope), (norms, norm)))]
        ranks.append([r for r, _ in one])
        z.append([d for _, d in one])
    ranks, z = np.array(ranks), np.array(z)
    names = ("PhoIndex", "norm")
    return Level(
        background,
        scale,
        grouping,
        float(np.mean(bins)),
        float(np.mean(empty)),
        {name: uniform_p(ranks[:, k]) for k, name in enumerate(names)},
        {name: float(z[:, k].mean()) for k, name in enumerate(names)},
        {name: float(np.mean(np.abs(ranks[:, k] - 0.5) < 0.45)) for k, name in enumerate(names)},
    )


def _wstat(model: np.ndarray, on: np.ndarray, off: np.ndarray, scale: float) -> np.ndarray:
    ones = np.ones(len(on))
    seen = Observed(
        counts=on,
        time=ones,
        rate=on,
        variance=on,
        back_counts=off,
        back_time=scale * ones,
        back_rate=off / scale,
        back_variance=off,
        systematic=0.0,
        weight="standard",
    )
    return wstat(model, seen).sum(axis=1)


def _rank(marginal: np.ndarray, grid: np.ndarray, truth: float) -> tuple[float, float]:
    """Posterior probability below the truth, and how far the mean is above it in deviations."""
    half = 0.5 * (grid[1] - grid[0])
    edges = np.append(grid - half, grid[-1] + half)
    below = float(np.interp(truth, edges, np.append(0.0, np.cumsum(marginal))))
    mean = float(marginal @ grid)
    return below, (mean - truth) / float(np.sqrt(marginal @ (grid - mean) ** 2))


def levels(n: int, seed: int) -> list[Level]:
    """All backgrounds ungrouped, and the lowest ones grouped; one line each."""
    rng, found = np.random.default_rng(seed), []
    head = "background counts per bin, off/on    as fitted  empty   p slope  p norm   bias slope  norm   in 90 %"
    print(head, flush=True)
    cases = [(b, scale, 0) for scale in BACKGROUND_SCALES for b in LEVELS]
    cases += [(0.3, scale, least) for scale in BACKGROUND_SCALES for least in (1, 3, 5)]
    for background, scale, least in cases:
        level = measure_wstat(background, scale, least, n, rng)
        found.append(level)
        word = f"grouped to {least}" if least else "ungrouped"
        print(
            f"{background:5g} {word:13s} {scale:3g}   {level.counts_per_bin:10.2f} {100 * level.empty:5.0f} %  "
            + "  ".join(
                " ".join(f"{numbers[name]:{spec}}" for name in ("PhoIndex", "norm"))
                for numbers, spec in ((level.p, "8.1e"), (level.bias, "+6.2f"), (level.inside_90, "5.2f"))
            )
            + "  "
            + ("calibrated" if level.calibrated else "NOT CALIBRATED"),
            flush=True,
        )
    return found


def main() -> int:
    """Measure what is asked for; 0 when every bound is kept."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--fits", type=int, help="spectra to fit without background (200; 0 with --wstat)")
    parser.add_argument("--wstat", action="store_true", help="measure W-stat against background counts per bin")
    parser.add_argument("--spectra", type=int, default=200, help="spectra at each level of W-stat (200)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    args = parser.parse_args()
    fits = args.fits if args.fits is not None else (0 if args.wstat else 200)
    missed = []
    if args.wstat:
        found = levels(args.spectra, args.seed)
        # where ranks are not uniform the verdict has to be "not trustworthy"
        bound = 0.01 / sum(len(level.p) for level in found)
        missed += [
            f"W-stat with {level.counts_per_bin:.2f} background counts per bin is not calibrated, and trusted"
            for level in found
            if min(level.p.values()) < bound and level.empty <= MAX_EMPTY_BACKGROUND
        ]
        rows = [vars(level) | {"calibrated": level.calibrated} for level in found]
        write_json(RESULTS / "calibration_wstat.json", {"spectra": args.spectra, "levels": rows, **versions("numpy")})
    if fits:
        with tempfile.TemporaryDirectory(prefix="xsixsa-") as folder:
            found = calibrate(fits, args.seed, args.workers, Path(folder))
        print(f"{fits} spectra, {found['converged']} converged, {found['evaluations_per_fit']:.0f} evaluations each")
        for name, p in found["p"].items():
            print(
                f"{name:10s} p {p:.3f} (bound {found['bound']:.4f}), {100 * found['inside_90'][name]:.0f} % inside 90 %"
            )
        missed += found["missed"]
        write_json(RESULTS / "calibration_fits.json", found | versions("xsixsa", "torch", "numpy"))
    print("PASS" if not missed else "FAIL: " + "; ".join(missed))
    return int(bool(missed))


if __name__ == "__main__":
    raise SystemExit(main())
