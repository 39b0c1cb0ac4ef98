"""``Plot``: the arrays of XSPEC's plots. Nothing is drawn."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from xsixsa.embedded.evaluate import Evaluator
from xsixsa.embedded.restrict import Restricted
from xsixsa.embedded.spectrum import Spectrum
from xsixsa.embedded.state import Engine
from xsixsa.errors import UsageError

__all__ = ["PlotManager"]

# in XSPEC's order, for abbreviations
_KINDS = (
    *("counts", "data", "delchi", "eemodel", "eeufspec", "emodel", "eufspec", "lcounts", "ldata", "model", "ratio"),
    *("residuals", "ufspec"),
)
_AXES = ("channel", "kev")


@dataclass
class _Pane:
    """Arrays of one plot of one spectrum; None where the plot has no such array."""

    x: np.ndarray
    x_error: np.ndarray
    y: np.ndarray | None
    y_error: np.ndarray | None
    model: np.ndarray | None
    background: np.ndarray | None
    components: list[np.ndarray]


class PlotManager(Restricted):
    """Plots as arrays: ``Plot("data")``, then ``Plot.x()``, ``Plot.y()``, ``Plot.model()``."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._panes: list[list[_Pane]] = []
        self._commands: list[str] = []
        self._axis = "channel"
        self._rebin: dict[int, tuple[float, int]] = {}
        self.device = "/null"
        self.add = False
        self.background = False
        self.area = False
        self.xLog = True
        self.yLog = False
        self.redshift = 0.0
        self.perHz = True
        self.splashPage = True
        self._seal()

    @property
    def xAxis(self) -> str:
        """Unit of x: "keV" or "channel"."""
        return "keV" if self._axis == "kev" else self._axis

    @xAxis.setter
    def xAxis(self, value: str) -> None:
        word = str(value).strip().lower()
        if word not in _AXES:
            raise UsageError(f"Plot.xAxis = {value!r}: the embedded engine has keV and channel")
        self._axis = word

    @property
    def commands(self) -> tuple[str, ...]:
        """Plot commands that were added; kept, not executed."""
        return tuple(self._commands)

    @commands.setter
    def commands(self, value: tuple[str, ...]) -> None:
        self._commands = [str(command) for command in value]

    def addCommand(self, cmd: str) -> None:
        """Add a plot command."""
        self._commands.append(str(cmd))

    def delCommand(self, num: int) -> None:
        """Remove a plot command by its number, from 1."""
        if not 1 <= num <= len(self._commands):
            raise UsageError(f"no plot command {num}; there are {len(self._commands)}")
        del self._commands[num - 1]

    def setRebin(
        self,
        minSig: float | None = None,
        maxBins: int | None = None,
        groupNum: int | None = None,
        errType: str | None = None,
    ) -> None:
        """Combine bins in plots until they reach `minSig` sigma, at most `maxBins` of them.

        Parameters
        ----------
        groupNum : int, optional
            Spectrum to do it for, all where absent or below 0.
        errType : str, optional
            Kept out: errors add in quadrature.
        """
        key = 0 if groupNum is None or groupNum < 0 else int(groupNum)
        old = self._rebin.get(key, (0.0, 1))
        self._rebin[key] = (old[0] if minSig is None else float(minSig), old[1] if maxBins is None else int(maxBins))

    def __call__(self, *panes: str) -> None:
        """Make plots: ``Plot("data")``, ``Plot("data resid")``, ``Plot("data", "resid")``.

        Raises
        ------
        UsageError
            For a plot the engine does not have; the arrays of the one before stay.
        """
        kinds = [_kind(word) for pane in panes for word in str(pane).split()]
        self._panes = [[self._pane(kind, spectrum) for spectrum in self._engine.data] for kind in kinds]

    iplot = __call__

    def _pane(self, kind: str, spectrum: Spectrum) -> _Pane:
        if kind in ("model", "emodel", "eemodel"):
            return self._model_pane(kind, spectrum)
        binning = _Binning(self._engine, spectrum, self._axis, self._rebin.get(spectrum.index, self._rebin.get(0)))
        return binning.pane(kind, self.background, self.add)

    def _model_pane(self, kind: str, spectrum: Spectrum) -> _Pane:
        """Photons/cm2/s/keV on the response's energies, times E or E^2."""
        power = {"model": 0, "emodel": 1, "eemodel": 2}[kind]
        models = [m for m in self._engine.models if m.group == spectrum.dataGroup and m.source in spectrum.responses]
        if not models:
            raise UsageError(f"Plot({kind!r}): spectrum {spectrum.index} has no model")
        edges = spectrum.responses[models[0].source].edges
        scale = np.sqrt(edges[:-1] * edges[1:]) ** power / np.diff(edges)
        total = sum(self._engine.evaluator.photons_on(m, edges) for m in models if _grid_of(spectrum, m) == edges.size)
        parts = _parts(spectrum, models, self._engine.evaluator, folded=False) if self.add else []
        middle = 0.5 * (edges[:-1] + edges[1:])
        return _Pane(middle, 0.5 * np.diff(edges), None, None, total * scale, None, [p * scale for p in parts])

    # -- arrays ------------------------------------------------------------------------------------------------

    def _array(self, name: str, plotGroup: int, plotWindow: int) -> list[float]:
        if not 1 <= plotWindow <= len(self._panes) or not 1 <= plotGroup <= len(self._panes[plotWindow - 1]):
            raise UsageError(f"no plot group {plotGroup} in window {plotWindow}; call Plot first")
        values = getattr(self._panes[plotWindow - 1][plotGroup - 1], name)
        if values is None:
            raise UsageError(f"the plot has no array {name!r}")
        return values.tolist()

    def x(self, plotGroup: int = 1, plotWindow: int = 1) -> list[float]:
        """Return the middle of each bin."""
        return self._array("x", plotGroup, plotWindow)

    def xErr(self, plotGroup: int = 1, plotWindow: int = 1) -> list[float]:
        """Return half the width of each bin."""
        return self._array("x_error", plotGroup, plotWindow)

    def y(self, plotGroup: int = 1, plotWindow: int = 1) -> list[float]:
        """Return the data."""
        return self._array("y", plotGroup, plotWindow)

    def yErr(self, plotGroup: int = 1, plotWindow: int = 1) -> list[float]:
        """Return the errors of the data."""
        return self._array("y_error", plotGroup, plotWindow)

    def model(self, plotGroup: int = 1, plotWindow: int = 1) -> list[float]:
        """Return the model."""
        return self._array("model", plotGroup, plotWindow)

    def backgroundVals(self, plotGroup: int = 1, plotWindow: int = 1) -> list[float]:
        """Return the background, zeros where the spectrum has none; needs ``Plot.background = True``."""
        return self._array("background", plotGroup, plotWindow)

    def nAddComps(self, plotGroup: int = 1, plotWindow: int = 1) -> int:
        """Return how many arrays `addComp` has."""
        self._array("x", plotGroup, plotWindow)
        return len(self._panes[plotWindow - 1][plotGroup - 1].components)

    def addComp(self, addCompNum: int = 1, plotGroup: int = 1, plotWindow: int = 1) -> list[float]:
        """Return the model of one additive component; needs ``Plot.add = True`` and more than one of them."""
        if not 1 <= addCompNum <= self.nAddComps(plotGroup, plotWindow):
            raise UsageError(f"no additive component {addCompNum} in this plot")
        return self._panes[plotWindow - 1][plotGroup - 1].components[addCompNum - 1].tolist()

    def noID(self) -> None:
        """Accept what turns line labels off; there are none."""

    def show(self) -> None:
        """Say the settings."""
        self._engine.console.tell(f"plot device {self.device}, x axis {self.xAxis}")


def _kind(word: str) -> str:
    wanted = word.strip().lower()
    found = next((kind for kind in _KINDS if wanted and kind.startswith(wanted)), None)
    if found is None:
        raise UsageError(f"Plot({word!r}): the embedded engine has {', '.join(_KINDS)}")
    return found.removeprefix("l") if found in ("ldata", "lcounts") else found


def _grid_of(spectrum: Spectrum, model) -> int:
    """Return the size of a model's energy grid, to add only what fits together."""
    return spectrum.responses[model.source].edges.size


def _parts(spectrum: Spectrum, models: list, evaluator: Evaluator, folded: bool) -> list[np.ndarray]:
    """Return every additive component, where there are at least two."""
    places = [(m, i) for m in models for i, c in enumerate(m.parsed.components) if c.kind == "add"]
    if len(places) < 2:
        return []
    if folded:
        return [evaluator.component_folded(spectrum, m, i) for m, i in places]
    return [evaluator.photons_on(m, spectrum.responses[m.source].edges, i) for m, i in places]


class _Binning:
    """The noticed bins of one spectrum, combined for a plot."""

    def __init__(self, engine: Engine, spectrum: Spectrum, axis: str, rebin: tuple[float, int] | None) -> None:
        self._engine = engine
        self._spectrum = spectrum
        mask = spectrum.mask
        rate, variance = (values[mask] for values in spectrum.rates)
        self._back = np.zeros_like(rate)
        if spectrum.has_background:
            back, noise = (values[mask] for values in spectrum.background.scaled)
            self._back, rate, variance = back, rate - back, variance + noise
        if axis == "kev":
            low, high = (np.array(b) for b in zip(*spectrum.energies, strict=True))
        else:
            low, high = spectrum.bins + 0.5, spectrum.bins + 1.5
        self._starts = _combine(rate, variance, rebin)
        self.low, self.high = low[self._starts], high[np.append(self._starts[1:], mask.sum()) - 1]
        self.rate, self.noise = self._sum(rate), np.sqrt(self._sum(variance))
        number = spectrum.index
        self._models = [m for m in engine.models if m.group == spectrum.dataGroup and m.source in spectrum.responses]
        self.model = self._sum(engine.evaluator.folded_total(number)) if self._models else None
        self._time = self._sum(spectrum.exposure * spectrum.area_scale[mask]) / self._sum(np.ones_like(rate))

    def _sum(self, values: np.ndarray) -> np.ndarray:
        return np.add.reduceat(values, self._starts)

    def pane(self, kind: str, background: bool, add: bool) -> _Pane:
        """Return the arrays of one kind of plot."""
        if self.model is None and kind not in ("data", "counts"):
            raise UsageError(f"Plot({kind!r}): spectrum {self._spectrum.index} has no model")
        width = self.high - self.low
        pane = _Pane(0.5 * (self.low + self.high), 0.5 * width, None, None, None, None, [])
        if kind == "ratio":
            pane.y, pane.y_error = self.rate / self.model, self.noise / self.model
        elif kind == "residuals":
            pane.y, pane.y_error = (self.rate - self.model) / width, self.noise / width
        elif kind == "delchi":
            pane.y, pane.y_error = (self.rate - self.model) / self._expected_noise(), np.ones_like(width)
        else:
            unit = self._unit(kind, width)
            pane.y, pane.y_error = self.rate * unit, self.noise * unit
            pane.model = None if self.model is None else self.model * unit
            pane.background = self._sum(self._back) * unit if background and kind in ("data", "counts") else None
            if add and self._models:
                parts = _parts(self._spectrum, self._models, self._engine.evaluator, folded=True)
                pane.components = [self._sum(part) * unit for part in parts]
        return pane

    def _expected_noise(self) -> np.ndarray:
        """Return the error that delchi divides by: of the model for Poisson statistics, of the data for chi."""
        if self._engine.fit.statistic_of(self._spectrum.index) == "chi":
            return self.noise
        return np.sqrt(np.maximum(self.model, 1e-30) / self._time)

    def _unit(self, kind: str, width: np.ndarray) -> np.ndarray:
        """Return the factor from counts/s in a bin to what the plot shows."""
        if kind == "data":
            return 1.0 / width
        if kind == "counts":
            return self._time / width
        power = {"ufspec": 0, "eufspec": 1, "eeufspec": 2}[kind]
        photons = np.zeros_like(width)
        for model in self._models:
            edges = self._spectrum.responses[model.source].edges
            running = np.concatenate([[0.0], np.cumsum(self._engine.evaluator.photons_on(model, edges))])
            photons += np.interp(self.high, edges, running) - np.interp(self.low, edges, running)
        return photons / width * np.sqrt(self.low * self.high) ** power / self.model


def _combine(rate: np.ndarray, variance: np.ndarray, rebin: tuple[float, int] | None) -> np.ndarray:
    """Return where each combined bin starts."""
    if rebin is None or rebin[1] <= 1:
        return np.arange(rate.size)
    starts, total, noise = [0], 0.0, 0.0
    for i in range(rate.size):
        if i > starts[-1] and (i - starts[-1] >= rebin[1] or total >= rebin[0] * np.sqrt(noise)):
            starts.append(i)
            total = noise = 0.0
        total, noise = total + rate[i], noise + variance[i]
    return np.array(starts)
