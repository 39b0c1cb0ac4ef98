"""``Fit``: the statistic, its settings, and minimisation."""

from __future__ import annotations

import numpy as np

from xsixsa.embedded.grouping import parse_ranges
from xsixsa.embedded.restrict import Restricted
from xsixsa.embedded.spectrum import Spectrum
from xsixsa.embedded.state import Engine
from xsixsa.embedded.statistics import STATISTICS, WEIGHTS, Observed, statistic_of
from xsixsa.errors import SessionError, UsageError

__all__ = ["FitManager"]

_TESTS = ("chi", "pchi", "ad", "cvm", "ks", "runs")
_METHODS = ("leven", "migrad", "minimize", "monte", "simplex")


class FitManager(Restricted):
    """The fit: what is minimised and how."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._method_of: dict[int, str] = {}
        self._default = "chi"
        self._test = "chi"
        self._bayes = "off"
        self._query = "on"
        self._renorm = "prefit"
        self._weight = "standard"
        self._method = "leven"
        self._iterations = 10
        self._critical = 0.01
        self._delta = 0.01
        # with the structure of the session that it belongs to
        self._covariance: tuple[int, np.ndarray] | None = None
        self._seal()

    # -- settings ----------------------------------------------------------------------------------------------

    @property
    def statMethod(self) -> str:
        """Fit statistic; ``"cstat"`` for all spectra, ``"cstat 2"`` for one.

        Where spectra differ, all are named: ``"chi 1 cstat 2"``.
        """
        names = {self.statistic_of(i) for i in range(1, self._engine.data.nSpectra + 1)}
        if len(names) > 1:
            return " ".join(f"{self.statistic_of(i)} {i}" for i in range(1, self._engine.data.nSpectra + 1))
        return names.pop() if names else self._default

    @statMethod.setter
    def statMethod(self, value: str | list) -> None:
        words = value.split() if isinstance(value, str) else [w for part in value for w in str(part).split()]
        if not words:
            raise UsageError(f"Fit.statMethod = {value!r}: one of {', '.join(STATISTICS)}")
        while words:
            name = statistic_of(words.pop(0))
            which: list[int] = []
            while words and words[0][0] in "0123456789*":
                which += self._spectra(words.pop(0))
            if which:
                self._method_of.update(dict.fromkeys(which, name))
            else:
                self._default, self._method_of = name, {}
        self._engine.restructured()

    def _spectra(self, word: str) -> list[int]:
        n = self._engine.data.nSpectra
        return parse_ranges(f"{word}:1", n)[0][0]

    @property
    def default_statistic(self) -> str:
        """Statistic of spectra that have none of their own."""
        return self._default

    def statistic_of(self, number: int) -> str:
        """Return the statistic of one spectrum."""
        return self._method_of.get(number, self._default)

    @property
    def statTest(self) -> str:
        """Test statistic; the embedded engine computes chi and pchi."""
        return self._test

    @statTest.setter
    def statTest(self, value: str | list) -> None:
        word = (value.split() if isinstance(value, str) else [str(v) for v in value])[0].lower()
        if word not in _TESTS:
            raise UsageError(f"Fit.statTest = {value!r}: one of {', '.join(_TESTS)}")
        self._test = word

    @property
    def bayes(self) -> str:
        """ "on" adds -2 ln prior to the statistic; "cons" also resets all priors."""
        return self._bayes

    @bayes.setter
    def bayes(self, value: str) -> None:
        word = str(value).strip().lower()
        if word not in ("on", "off", "cons"):
            raise UsageError(f"Fit.bayes = {value!r}: 'on', 'off' or 'cons'")
        if word == "cons":
            for parameter in self._engine.models.free_parameters:
                parameter.prior = "cons"
        self._bayes = "off" if word == "off" else "on"
        self._engine.revalued()

    @property
    def query(self) -> str:
        """Answer to "continue fitting?": "yes", "no" or "on" (ask; the embedded engine never asks and stops)."""
        return self._query

    @query.setter
    def query(self, value: str) -> None:
        answers = {"o": "on", "y": "yes", "n": "no"}
        if not isinstance(value, str) or value[:1].lower() not in answers:
            raise UsageError(f"Fit.query = {value!r}: 'yes', 'no' or 'on'")
        self._query = answers[value[0].lower()]

    @property
    def weight(self) -> str:
        """Variance of chi-squared: standard, gehrels, churazov or model."""
        return self._weight

    @weight.setter
    def weight(self, value: str) -> None:
        word = next((w for w in WEIGHTS if value.strip() and w.startswith(value.strip().lower())), None)
        if word is None:
            raise UsageError(f"Fit.weight = {value!r}: one of {', '.join(WEIGHTS)}")
        self._weight = word
        self._engine.restructured()

    @property
    def method(self) -> str:
        """Fitting method by name; the embedded engine minimises in its own way whichever is set."""
        return self._method

    @method.setter
    def method(self, value: str | list) -> None:
        words = value.replace(",", " ").split() if isinstance(value, str) else [str(v) for v in value]
        name = next((m for m in _METHODS if words and m.startswith(words[0].lower())), None)
        if name is None:
            raise UsageError(f"Fit.method = {value!r}: one of {', '.join(_METHODS)}")
        self._method = name
        if len(words) > 1:
            self.nIterations = int(words[1])
        if len(words) > 2:
            self.criticalDelta = float(words[2])

    @property
    def nIterations(self) -> int:
        """Most iterations of a fit before it would ask."""
        return self._iterations

    @nIterations.setter
    def nIterations(self, value: int) -> None:
        if not isinstance(value, int) or value <= 0:
            raise UsageError(f"Fit.nIterations = {value!r}: a whole number above 0")
        self._iterations = value

    @property
    def criticalDelta(self) -> float:
        """Change of the statistic below which a fit has converged."""
        return self._critical

    @criticalDelta.setter
    def criticalDelta(self, value: float) -> None:
        if not 0 < float(value) < float("inf"):
            raise UsageError(f"Fit.criticalDelta = {value!r}: a number above 0")
        self._critical = float(value)

    @property
    def delta(self) -> float:
        """Step of numerical derivatives as a fraction of the value, 0 for each parameter's own delta."""
        return self._delta

    @delta.setter
    def delta(self, value: float) -> None:
        self._delta = max(float(value), 0.0)

    # -- data --------------------------------------------------------------------------------------------------

    def observed(self, spectrum: Spectrum, number: int) -> tuple[str, Observed]:
        """Return the statistic of a spectrum and what it needs."""
        mask = spectrum.mask
        rate, variance = spectrum.rates
        time = spectrum.exposure * spectrum.area_scale[mask]
        smallest = 1.0 / time**2
        net, noise, back = rate[mask], variance[mask], None
        if spectrum.has_background:
            back = spectrum.background
            back_rate, back_variance = (x[mask] for x in back.scaled)
            ratio = back.ratio[mask]
            raw_time = back.exposure * back.area_scale[mask]
            back_time = raw_time / ratio
            net, noise = net - back_rate, noise + back_variance
            # bins without any count on either side still need a variance
            smallest = np.minimum(smallest, (ratio / raw_time) ** 2)
        return self.statistic_of(number), Observed(
            counts=spectrum.counts[mask],
            time=time,
            rate=net,
            variance=np.where(noise == 0, smallest, noise),
            back_counts=None if back is None else back.counts[mask],
            back_time=None if back is None else back_time,
            back_rate=None if back is None else back_rate,
            back_variance=None if back is None else back_variance * back_time**2,
            systematic=self._engine.models.systematic,
            weight=self._weight,
        )

    # -- numbers -----------------------------------------------------------------------------------------------

    @property
    def statistic(self) -> float:
        """Fit statistic of the current values: 0 without data or model, -1 where the calculation failed."""
        return self._engine.evaluator.statistic

    @property
    def testStatistic(self) -> float:
        """Chi-squared of the current values, Pearson's where ``statTest`` is "pchi".

        Raises
        ------
        UsageError
            For the other tests, which the embedded engine does not compute.
        """
        if self._test not in ("chi", "pchi"):
            raise UsageError(f"the embedded engine does not compute the test statistic {self._test!r}")
        total = 0.0
        for number, (_, seen) in self._engine.evaluator.spectra_in_use.items():
            model = self._engine.evaluator.folded_total(number)
            variance = seen.variance if self._test == "chi" else np.maximum(model, 1e-30) / seen.time
            total += float(((seen.rate - model) ** 2 / variance).sum())
        return total

    @property
    def nullhyp(self) -> float:
        """Probability that chi-squared of a true model exceeds `testStatistic`, with `dof` degrees of freedom."""
        from scipy.stats import chi2

        return float(chi2.sf(self.testStatistic, max(self.dof, 1)))

    @property
    def dof(self) -> int:
        """Noticed bins minus free parameters."""
        if not self._engine.evaluator.spectra_in_use:
            return 0
        bins = sum(int(self._engine.data(n).mask.sum()) for n in self._engine.evaluator.spectra_in_use)
        return bins - len(self._engine.models.free_parameters)

    def after_change(self) -> None:
        """Rescale the norms after a change of model values where ``renorm("auto")`` asks for it."""
        if self._renorm == "auto":
            self.renorm()

    def renorm(self, setting: str | None = None) -> None:
        """Rescale the free norms to the data now, or say when: "auto", "prefit" or "none"."""
        if setting is None:
            from xsixsa.embedded.minimise import rescale_norms

            rescale_norms(self._engine)
            return
        word = setting.strip().lower()
        if word not in ("auto", "prefit", "none"):
            raise UsageError(f"Fit.renorm({setting!r}): 'auto', 'prefit' or 'none'")
        self._renorm = word

    @property
    def renorm_setting(self) -> str:
        """When norms are rescaled: auto, prefit or none."""
        return self._renorm

    def perform(self) -> None:
        """Minimise the statistic over the free parameters; sets values and sigmas.

        Raises
        ------
        SessionError
            Nothing to fit.
        """
        from xsixsa.embedded.minimise import perform

        if not self._engine.evaluator.spectra_in_use or not self._engine.models.free_parameters:
            raise SessionError("nothing to fit: load data, define a model and leave a parameter free")
        if self._renorm == "prefit":
            self.renorm()
        self._covariance = (self._engine.structure, perform(self._engine))

    @property
    def covariance(self) -> tuple[float, ...]:
        """Lower triangle, row by row, of the covariance of the last fit's parameters."""
        matrix = self.covariance_matrix
        if matrix is None:
            raise SessionError("no covariance for the session as it is: Fit.perform first")
        return tuple(matrix[np.tril_indices(matrix.shape[0])].tolist())

    @property
    def covariance_matrix(self) -> np.ndarray | None:
        """The covariance of the last fit, (d, d), None before one and after data, model or free parameters changed."""
        if self._covariance is None or self._covariance[0] != self._engine.structure:
            return None
        return self._covariance[1]

    def error(self, argString: str) -> None:
        """Find where the statistic rises by a given amount: ``"2.706 1 3-5"``, ``"stop 20 1. 2"``.

        Results are in each parameter's ``error``.
        """
        from xsixsa.embedded.confidence import error

        error(self._engine, argString)

    def show(self) -> None:
        """Say the statistic."""
        self._engine.console.tell(f"{self.statMethod}: {self.statistic:.6g}, {self.dof} degrees of freedom")
