"""The weighted posterior: what a run returns, saves and loads."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from xsixsa.errors import OutputError, UsageError
from xsixsa.summary_text import weighted_quantile, write_summary
from xsixsa.verdict import Verdict

__all__ = ["QUANTILES", "Result", "load"]

FORMAT = 1
QUANTILES = (0.05, 0.16, 0.50, 0.84, 0.95)

_ARRAYS = ("theta", "weights", "statistic", "log_prior", "log_proposal", "final_log_weights", "predictive")
_ARRAYS += ("predictive_best", "u")
_OBSERVATION_ARRAYS = ("counts", "edges", "background_counts", "background_scale")


@dataclass
class Result:
    """Posterior of a run as weighted samples.

    All arrays over samples have n rows, the pool of every draw of every round in the order in which they were made.

    Attributes
    ----------
    parameters : list of dict
        Free parameters in XSPEC's order: ``name``, ``full_name``, ``index``, ``unit``, ``component``, ``parameter``,
        ``source``, ``group``, ``prior``, ``prior_origin``, ``min``, ``max``, ``value_at_start``.
    theta : numpy.ndarray
        Parameters in XSPEC's units, shape (n, d).
    u : numpy.ndarray
        The same in the prior's unit cube, shape (n, d).
    weights : numpy.ndarray
        Posterior weights, sum 1, shape (n,).
    statistic : numpy.ndarray
        XSPEC's fit statistic C, NaN where invalid, shape (n,).
    log_prior, log_proposal : numpy.ndarray
        Log densities in the prior's standard-normal space, shape (n,): weights are prior times likelihood over
        proposal.
    final_log_weights : numpy.ndarray
        Log weights of the draws that no fit has seen; the evidence is their mean.
    log_evidence, log_evidence_err, log_evidence_pooled : float
        Log-evidence from fresh draws, its standard error, and the value from the whole pool.
    ess, efficiency, efficiency_total, pareto_k : float
        Kish's effective sample size of the pool; ESS over draws of the final draws; ESS over evaluations; tail of the
        weights.
    n_evaluations, n_failed : int
        Engine evaluations in all, and those without a valid statistic.
    seconds : dict
        Wall-clock seconds by stage.
    predictive, predictive_best : numpy.ndarray
        Expected source counts for equal-weight posterior draws, shape (m, bins), and at the best draw, (bins,).
    observations : list of dict
        ``index``, ``name``, ``counts``, ``edges`` (keV), ``exposure``, ``background_counts``, ``background_scale``.
    """

    parameters: list[dict]
    theta: np.ndarray
    u: np.ndarray
    weights: np.ndarray
    statistic: np.ndarray
    log_prior: np.ndarray
    log_proposal: np.ndarray
    final_log_weights: np.ndarray
    log_evidence: float
    log_evidence_err: float
    log_evidence_pooled: float
    ess: float
    efficiency: float
    efficiency_total: float
    pareto_k: float
    n_evaluations: int
    n_failed: int
    seconds: dict[str, float]
    predictive: np.ndarray
    predictive_best: np.ndarray
    observations: list[dict]
    dof: int
    engine: dict
    seed: int
    verdict: Verdict
    model_expression: str = ""
    settings: dict = field(default_factory=dict)
    options: dict = field(default_factory=dict)
    history: dict = field(default_factory=dict)
    goodness: dict = field(default_factory=dict)
    session_text: str = ""
    fingerprint: str = ""

    @property
    def names(self) -> list[str]:
        """Shortest unique parameter names, in XSPEC's order."""
        return [p["name"] for p in self.parameters]

    @property
    def log_likelihood(self) -> np.ndarray:
        """-C/2 of every sample, ``-inf`` where invalid, shape (n,)."""
        return np.where(np.isfinite(self.statistic), -0.5 * self.statistic, -np.inf)

    @property
    def modes(self) -> list[dict]:
        """Modes, heaviest first: weight with its error, mean, std, best; see :func:`xsixsa.modes.modes_of`."""
        if "_modes" not in vars(self):
            from xsixsa.modes import modes_of

            self._modes = modes_of(self)
        return self._modes

    @property
    def best(self) -> dict[str, float]:
        """Parameters of the sample with the lowest statistic."""
        return dict(zip(self.names, self.theta[self._best_row].tolist(), strict=True))

    @property
    def best_fit_statistic(self) -> float:
        """Lowest statistic met."""
        return float(self.statistic[self._best_row])

    @property
    def _best_row(self) -> int:
        return int(np.nanargmin(np.where(np.isfinite(self.statistic), self.statistic, np.inf)))

    def sample_index(self, n: int, rng: np.random.Generator | int | None = None) -> np.ndarray:
        """Rows for `n` equal-weight draws by sampling importance resampling (Rubin 1987), with replacement.

        Repeats are what equal weights cost: with an effective size of N, about N draws are distinct.
        """
        if int(n) != n or n < 1:
            raise UsageError(f"number of draws must be a positive whole number, not {n!r}")
        rng = np.random.default_rng(rng)
        return rng.choice(len(self.weights), size=int(n), p=self.weights)

    def sample(self, n: int = 10_000, rng: np.random.Generator | int | None = None) -> np.ndarray:
        """`n` equal-weight posterior draws in XSPEC's units, shape (n, d)."""
        return self.theta[self.sample_index(n, rng)]

    def quantile(self, name: str, q) -> np.ndarray:
        """Weighted quantiles of a parameter.

        Raises
        ------
        UsageError
            If no parameter has that name.
        """
        if name not in self.names:
            raise UsageError(f"no parameter {name!r}; there are {', '.join(self.names)}")
        return weighted_quantile(self.theta[:, self.names.index(name)], self.weights, q)

    def table(self) -> list[dict]:
        """One dictionary for each parameter: name, index, unit, prior, mean, std and the quantiles q05 to q95."""
        rows = []
        for i, p in enumerate(self.parameters):
            x = self.theta[:, i]
            mean = float(self.weights @ x)
            std = float(np.sqrt(self.weights @ (x - mean) ** 2))
            row = {"name": p["name"], "index": p["index"], "unit": p["unit"], "prior": p["prior"]}
            row |= {"mean": mean, "std": std}
            values = weighted_quantile(x, self.weights, QUANTILES)
            row |= {f"q{round(100 * q):02d}": float(v) for q, v in zip(QUANTILES, values, strict=True)}
            rows.append(row)
        return rows

    def summary(self) -> str:
        """Verdict, parameters with 68 and 90 % intervals, evidence, goodness and cost, as text."""
        return write_summary(self)

    def summary_dict(self) -> dict:
        """What ``summary.json`` of a run holds."""
        numbers = ("log_evidence", "log_evidence_err", "log_evidence_pooled", "ess", "efficiency", "efficiency_total")
        numbers += ("pareto_k", "n_evaluations", "n_failed", "n_emulated", "seconds", "best_fit_statistic", "dof")
        numbers += ("engine", "seed")
        out = {"converged": self.verdict.converged, "verdict": str(self.verdict)}
        out |= {"warnings": list(self.verdict.warnings)}
        out |= {name: getattr(self, name) for name in numbers}
        out |= {"modes": self.modes}
        return out | {"goodness": self.goodness, "model": self.model_expression, "parameters": self.table()}

    def __repr__(self) -> str:
        return (
            f"<Result {self.verdict.text.upper()}: {', '.join(self.names)}; ESS {self.ess:.0f}, "
            f"log-evidence {self.log_evidence:.3f} +- {self.log_evidence_err:.3f}"
            + (f"; {'; '.join(self.verdict.reasons)}" if self.verdict.reasons else "")
            + ">"
        )

    def to_chain(self, path: str | os.PathLike, n: int | None = None, rng=0, overwrite: bool = False) -> Path:
        """Write equal-weight draws as a chain file that XSPEC loads (``chain load``).

        Parameters
        ----------
        path
            File to write.
        n
            Rows; as many as the effective size by default.
        rng
            Seed or generator of the resampling.
        overwrite
            Replace an existing file.
        """
        from xsixsa.chain import write_chain

        rows = self.sample_index(n or max(1, int(self.ess)), rng)
        write_chain(path, self.parameters, self.theta[rows], self.statistic[rows], overwrite=overwrite)
        return Path(path)

    @property
    def n_emulated(self) -> int:
        """Calls of the likelihood emulator, which are no evaluations of the engine; 0 without one."""
        return int(self.history.get("emulator", {}).get("n_emulated", 0))

    def emulate(self, n: int, **options):
        """`n` equal-weight draws by an emulated likelihood; see :func:`xsixsa.correction.emulated.emulate`."""
        from xsixsa.correction.emulated import emulate

        return emulate(self, n, **options)

    def bxa(self, xspec=None, prior=None, **options):
        """The prior truncated to this posterior, for BXA's nested sampling; see :func:`xsixsa.bxa.from_result`."""
        from xsixsa.bxa import from_result

        return from_result(self, xspec, prior, **options)

    def fluxes(self, xspec, energies: tuple[float, float], **options):
        """Fluxes and luminosities of equal-weight samples; see :func:`xsixsa.fluxes`."""
        from xsixsa.fluxes import fluxes

        return fluxes(xspec, self, energies, **options)

    def plot_corner(self, path: str | os.PathLike | None = None, **options):
        """Corner plot; see :func:`xsixsa.plot.plot_corner`."""
        from xsixsa.plot import plot_corner

        return plot_corner(self, path, **options)

    def plot_spectrum(self, path: str | os.PathLike | None = None, **options):
        """Data, posterior-predictive band and residuals; see :func:`xsixsa.plot.plot_spectrum`."""
        from xsixsa.plot import plot_spectrum

        return plot_spectrum(self, path, **options)

    def plot_history(self, path: str | os.PathLike | None = None, **options):
        """Training, coverage of the observation, efficiency step by step; see :func:`xsixsa.plot.plot_history`."""
        from xsixsa.plot import plot_history

        return plot_history(self, path, **options)

    def save(self, path: str | os.PathLike, overwrite: bool = False) -> Path:
        """Write everything to an HDF5 file, under a temporary name first.

        Raises
        ------
        OutputError
            If the file exists and `overwrite` is not given, or cannot be written.
        """
        import h5py

        from xsixsa.files import atomic_path

        with atomic_path(path, overwrite=overwrite) as temporary, h5py.File(temporary, "w") as f:
            f.attrs["format"] = FORMAT
            f.attrs["json"] = json.dumps(self._plain())
            for name in _ARRAYS:
                f[name] = getattr(self, name)  # noise does not compress: a third less room for four times the seconds
            for i, o in enumerate(self.observations):
                group = f.create_group(f"observation_{i}")
                for name in _OBSERVATION_ARRAYS:
                    if o.get(name) is not None:
                        group[name] = o[name]
        return Path(path)

    def _plain(self) -> dict:
        skip = {*_ARRAYS, "observations", "verdict", "_modes"}
        plain = {k: v for k, v in vars(self).items() if k not in skip}
        plain["verdict"] = asdict(self.verdict)
        plain["observations"] = [
            {k: v for k, v in o.items() if k not in _OBSERVATION_ARRAYS} for o in self.observations
        ]
        return json.loads(json.dumps(plain, default=float))


def load(path: str | os.PathLike) -> Result:
    """Read a result saved by :meth:`Result.save`, or the folder of a run.

    Raises
    ------
    OutputError
        If there is no such file, or it is not a result or damaged.
    """
    import h5py

    path = Path(path)
    if path.is_dir():
        path = path / "result.h5"
    if not path.exists():
        raise OutputError(f"{path}: no such result")
    try:
        with h5py.File(path, "r") as f:
            if "json" not in f.attrs or f.attrs.get("format") != FORMAT:
                raise OutputError(f"{path}: not a result of this version (format {f.attrs.get('format')})")
            plain = json.loads(f.attrs["json"])
            arrays = {name: f[name][()] for name in _ARRAYS}
            for i, o in enumerate(plain["observations"]):
                group = f[f"observation_{i}"]
                o |= {name: group[name][()] if name in group else None for name in _OBSERVATION_ARRAYS}
    except (OSError, KeyError, ValueError) as error:
        raise OutputError(f"{path}: not a result, or damaged ({error})") from None
    verdict = plain.pop("verdict")
    verdict = Verdict(verdict["converged"], verdict["text"], tuple(verdict["reasons"]), tuple(verdict["warnings"]))
    return Result(**arrays, **plain, verdict=verdict)
