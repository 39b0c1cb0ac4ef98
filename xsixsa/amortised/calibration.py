"""What a calibration found: numbers, a verdict, text, JSON."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from xsixsa.amortised.ranks import uniform_p

__all__ = ["LEVEL", "Calibration", "Check", "coordinates"]

LEVEL = 0.01
"""Probability at which one right posterior in a hundred is called wrong, shared by all tests of a kind."""
_MOST_POOR = 0.5
_COVERAGE_TESTS = 2


def coordinates(logarithmic: np.ndarray, theta: np.ndarray) -> np.ndarray:
    """Parameters as they are compared: log10 of those whose prior is log-uniform, others as they are, shape (n, d)."""
    return np.where(logarithmic, np.log10(np.where(logarithmic, theta, 1.0)), theta)


@dataclass(frozen=True)
class Check:
    """One kind of posterior, the network's own or the corrected one, of all spectra.

    Attributes
    ----------
    label : str
        ``"network"`` or ``"corrected"``.
    names : list of str
        Parameters, d of them.
    rows : numpy.ndarray
        Which of the simulated spectra, shape (m,).
    truth : numpy.ndarray
        In the coordinates of :func:`coordinates`, as are `median`, `mean` and `deviation`, shape (m, d).
    ranks : numpy.ndarray
        Rank of the truth in every marginal, shape (m, d); uniform on (0, 1) when the posterior is right.
    distance : numpy.ndarray
        Expected coverage by distance to random points (TARP), shape (m,).
    density : numpy.ndarray
        Level of the highest-density region through the truth, shape (m,).
    median, mean, deviation : numpy.ndarray
        Of the posterior, shape (m, d).
    statistic, expected_statistic, sigma_statistic : numpy.ndarray or None
        C-stat at the posterior median, what Kaastra (2017) expects of a right model there, and its scatter, shape
        (m,); None with a background file.
    statistic_at_truth : numpy.ndarray or None
        C-stat at the truth.
    """

    label: str
    names: list[str]
    rows: np.ndarray
    truth: np.ndarray
    ranks: np.ndarray
    distance: np.ndarray
    density: np.ndarray
    median: np.ndarray
    mean: np.ndarray
    deviation: np.ndarray
    statistic: np.ndarray | None = None
    expected_statistic: np.ndarray | None = None
    sigma_statistic: np.ndarray | None = None
    statistic_at_truth: np.ndarray | None = None

    @property
    def p(self) -> dict[str, float]:
        """Probability of every parameter's ranks under uniformity."""
        return {name: uniform_p(self.ranks[:, k]) for k, name in enumerate(self.names)}

    @property
    def distance_p(self) -> float:
        """Probability of the coverage by distance (TARP)."""
        return uniform_p(self.distance)

    @property
    def density_p(self) -> float:
        """Probability of the coverage of highest-density regions."""
        return uniform_p(self.density)

    @property
    def failures(self) -> list[str]:
        """Every test that is not passed, in words."""
        found, bound = [], LEVEL / len(self.names)
        for name, p in self.p.items():
            if not p > bound:
                found.append(f"{self.label}: ranks of {name} are not uniform (p {p:.1e}, bound {bound:.1e})")
        bound = LEVEL / _COVERAGE_TESTS
        tests = (("by distance (TARP)", self.distance_p), ("of highest-density regions", self.density_p))
        for name, p in tests:
            if not p > bound:
                found.append(f"{self.label}: coverage {name} is off (p {p:.1e}, bound {bound:.1e})")
        return found

    @property
    def passed(self) -> bool:
        """Whether ranks and coverage are those of a right posterior."""
        return not self.failures

    def recovery(self) -> list[dict]:
        """Recovered against true parameters, one dictionary for each.

        ``slope`` is that of medians regressed on truths. A right posterior does not give 1: where the data say
        little the median stays near the middle of the prior, and the slope is 1 - (mean posterior variance / variance
        of the truths), which is ``slope_expected``. ``slope_inverse`` regresses truths on posterior means: 1 when the
        posterior is right, whatever the data say; ``slope_inverse_error`` is its standard error. ``scatter`` is the
        standard deviation of median - truth; ``pull_mean`` and ``pull_std`` are those of (mean - truth) / deviation.
        """
        rows = []
        for k, name in enumerate(self.names):
            x, y, mean, deviation = (a[:, k] for a in (self.truth, self.median, self.mean, self.deviation))
            pull = (mean - x) / np.maximum(deviation, 1e-300)
            inverse, error = _slope(mean, x)
            rows.append(
                {
                    "name": name,
                    "slope": _slope(x, y)[0],
                    "slope_expected": float(1 - np.mean(deviation**2) / np.var(x)),
                    "slope_inverse": inverse,
                    "slope_inverse_error": error,
                    "scatter": float(np.std(y - x)),
                    "deviation": float(np.sqrt(np.mean(deviation**2))),
                    "pull_mean": float(pull.mean()),
                    "pull_std": float(pull.std()),
                }
            )
        return rows

    def coverage(self, level: float) -> dict[str, float]:
        """Share of the truths inside the central interval of this probability, by parameter."""
        inside = np.abs(self.ranks - 0.5) < 0.5 * level
        return dict(zip(self.names, inside.mean(axis=0).tolist(), strict=True))

    def goodness(self) -> dict | None:
        """C-stat at the medians in units of the expected scatter: mean and standard deviation over the spectra.

        ``excess`` is the mean of C at the median less C at the truth: about minus the number of parameters that the
        data determine, and well above that where medians miss the truth.
        """
        if self.statistic is None:
            return None
        ok = np.isfinite(self.statistic)
        z = (self.statistic[ok] - self.expected_statistic[ok]) / self.sigma_statistic[ok]
        excess = float(np.mean(self.statistic[ok] - self.statistic_at_truth[ok]))
        return {"z_mean": float(z.mean()), "z_std": float(z.std()), "excess": excess, "spectra": int(ok.sum())}

    def as_dict(self) -> dict:
        """Everything as plain values."""
        return {
            "label": self.label,
            "spectra": len(self.rows),
            "p": self.p,
            "p_bound": LEVEL / len(self.names),
            "distance_p": self.distance_p,
            "density_p": self.density_p,
            "coverage_bound": LEVEL / _COVERAGE_TESTS,
            "passed": self.passed,
            "failures": self.failures,
            "recovery": self.recovery(),
            "coverage": {str(level): self.coverage(level) for level in (0.68, 0.9)},
            "goodness": self.goodness(),
        }


@dataclass(frozen=True)
class Calibration:
    """Outcome of :func:`calibrate`.

    Attributes
    ----------
    names : list of str
        Parameters.
    logarithmic : list of bool
        Which of them are compared in log10: those with a log-uniform prior.
    truth : numpy.ndarray
        What made the spectra, in XSPEC's units, shape (n, d).
    counts : numpy.ndarray
        Counts of each spectrum, shape (n,).
    network, corrected : Check
        Before and after the exact correction; `corrected` is None where it was not asked for or failed everywhere.
    ess : numpy.ndarray or None
        Effective size of each corrected posterior, shape (n,).
    least_ess : float
        Below it a spectrum is left out of `corrected`.
    draws : int
        Draws of the network for each spectrum.
    evaluations, failed : int
        Evaluations of the engine; truths at which the model failed.
    seed : int
    seconds : dict
    """

    names: list[str]
    logarithmic: list[bool]
    truth: np.ndarray
    counts: np.ndarray
    network: Check
    corrected: Check | None
    asked_for_correction: bool
    ess: np.ndarray | None
    least_ess: float
    draws: int
    evaluations: int
    failed: int
    seed: int
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def checks(self) -> list[Check]:
        """Both, or the one there is."""
        return [c for c in (self.network, self.corrected) if c is not None]

    @property
    def poor(self) -> int:
        """Spectra whose correction degenerated: a run refines these one by one, or flags them."""
        return 0 if self.ess is None else int((self.ess < self.least_ess).sum())

    @property
    def failures(self) -> list[str]:
        """Why it is not passed; the corrected posterior decides where it was asked for."""
        if not self.asked_for_correction:
            return self.network.failures
        n = len(self.truth)
        found = [] if self.corrected is None else list(self.corrected.failures)
        if self.corrected is None or self.poor > _MOST_POOR * n:
            found.append(
                f"the correction of {self.poor} of {n} spectra has an effective size below {self.least_ess:g}: "
                "train with more simulations, or for a narrower range of counts"
            )
        return found

    @property
    def passed(self) -> bool:
        """Whether what is given to users is calibrated: the corrected posterior, or the network's without one."""
        return not self.failures

    def summary(self) -> str:
        """Numbers and verdict as text."""
        low, middle, high = np.quantile(self.counts, [0, 0.5, 1])
        lines = [
            f"calibration: {'PASSED' if self.passed else 'NOT PASSED'}",
            *(f"  because {reason}" for reason in self.failures),
            f"{len(self.truth)} spectra of {low:.0f} to {high:.0f} counts (median {middle:.0f}), {self.draws} draws "
            f"each, seed {self.seed}",
        ]
        if self.ess is not None:
            q = np.quantile(self.ess, [0.05, 0.5])
            lines.append(
                f"correction: median efficiency {q[1] / self.draws:.2f}, 5 % below {q[0] / self.draws:.3f}; "
                f"{self.poor} spectra with an effective size below {self.least_ess:g}"
            )
        for check in self.checks:
            lines += ["", *_text(check, self.logarithmic)]
        spent = ", ".join(f"{k} {v:.1f}" for k, v in self.seconds.items())
        lines += ["", f"cost: {self.evaluations} evaluations, {sum(self.seconds.values()):.1f} s: {spent}"]
        return "\n".join(lines)

    def __repr__(self) -> str:
        word = "PASSED" if self.passed else "NOT PASSED"
        return f"<Calibration {word}: {len(self.truth)} spectra" + "".join(f"; {r}" for r in self.failures) + ">"

    def as_dict(self) -> dict:
        """Everything but the arrays, as plain values."""
        out = {"passed": self.passed, "failures": self.failures, "spectra": len(self.truth), "draws": self.draws}
        out |= {"counts": [float(q) for q in np.quantile(self.counts, [0, 0.5, 1])], "seed": self.seed}
        out |= {"evaluations": self.evaluations, "failed": self.failed, "seconds": self.seconds}
        if self.ess is not None:
            out["efficiency"] = [float(q) for q in np.quantile(self.ess, [0.05, 0.5, 0.95]) / self.draws]
            out |= {"poor": self.poor, "least_ess": self.least_ess}
        return out | {check.label: check.as_dict() for check in self.checks}

    def to_json(self, path: str | os.PathLike, overwrite: bool = False) -> Path:
        """Write :meth:`as_dict`.

        Raises
        ------
        OutputError
            If the file exists and `overwrite` is not given, or cannot be written.
        """
        from xsixsa.files import atomic_path

        with atomic_path(path, overwrite=overwrite) as temporary:
            temporary.write_text(json.dumps(self.as_dict(), indent=1, allow_nan=False) + "\n")
        return Path(path)

    def plot(self, path: str | os.PathLike | None = None, **options):
        """Figure of ranks, coverage, recovery and goodness; see :func:`xsixsa.plot.plot_calibration`."""
        from xsixsa.plot import plot_calibration

        return plot_calibration(self, path, **options)


def _slope(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Least-squares slope of y on x, and its standard error."""
    from scipy.stats import linregress

    if np.ptp(x) == 0:
        return 0.0, 0.0
    found = linregress(x, y)
    return float(found.slope), float(found.stderr)


def _text(check: Check, logarithmic: list[bool]) -> list[str]:
    name = {"network": "network alone", "corrected": "corrected by the exact likelihood"}[check.label]
    head = f"{name}: {len(check.rows)} spectra, {'passed' if check.passed else 'NOT PASSED'}"
    width = max(9, *(len(n) + 6 for n in check.names))
    lines = [
        head,
        f"  {'parameter':{width}s} {'rank p':>8s} {'in 68 %':>8s} {'in 90 %':>8s} {'slope':>7s} {'expected':>8s}"
        f" {'inverse':>16s} {'scatter':>9s} {'pull':>14s}",
    ]
    c68, c90 = check.coverage(0.68), check.coverage(0.9)
    for row, is_log in zip(check.recovery(), logarithmic, strict=True):
        n = row["name"]
        label = f"lg {n}" if is_log else n
        inverse = f"{row['slope_inverse']:.3f} +- {row['slope_inverse_error']:.3f}"
        pull = f"{row['pull_mean']:+.2f} +- {row['pull_std']:.2f}"
        lines.append(
            f"  {label:{width}s} {check.p[n]:8.3f} {c68[n]:8.3f} {c90[n]:8.3f} {row['slope']:7.3f} "
            f"{row['slope_expected']:8.3f} {inverse:>16s} {row['scatter']:9.3g} {pull:>14s}"
        )
    lines.append(f"  coverage: p {check.distance_p:.3f} by distance (TARP), {check.density_p:.3f} by density")
    good = check.goodness()
    if good:
        lines.append(
            f"  C-stat at the median: {good['z_mean']:+.2f} sigma from expectation, scatter {good['z_std']:.2f}; "
            f"{good['excess']:+.2f} from that at the truth"
        )
    return lines
