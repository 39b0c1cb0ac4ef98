"""A stand-in for PyXspec whose misbehaviour can be chosen: AREASCAL conventions, crashes, hangs, nonsense.

It has PyXspec's names and the traps that matter to a session (values outside hard limits are dropped without a word,
a failed calculation gives the statistic -1, ``Fit.bayes`` and ``renorm`` change the statistic behind one's back), and a
model that costs nothing: nH * powerlaw through a diagonal response.
"""

# ruff: noqa: T201  (like XSPEC it prints)
import os
import time

import numpy as np

from xsixsa.session.statistics import chi2, cstat, pstat, wstat


class FakeParameter:
    def __init__(self, engine, name, values, unit="", prior=("CONS",)):
        self._engine, self.name, self._values, self.unit, self._prior = engine, name, list(values), unit, prior
        self.link = ""
        self.refuses_limits = False

    @property
    def prior(self):
        if not self._engine.has_priors:
            raise Exception("Error: no priors in this version")
        return self._prior

    @prior.setter
    def prior(self, value):
        self._prior = value

    @property
    def frozen(self):
        return self._values[1] < 0

    @frozen.setter
    def frozen(self, yes):
        self._values[1] = -abs(self._values[1]) if yes else abs(self._values[1])

    @property
    def values(self):
        return list(self._values)

    @values.setter
    def values(self, value):
        text = value if isinstance(value, str) else str(value).strip("()[]")
        self.set_text(text)
        self._engine.calculate()

    def set_text(self, text):
        parts = [p.strip() for p in str(text).split(",")]
        try:
            numbers = [float(p or old) for p, old in zip(parts, self._values, strict=False)]
        except ValueError as error:
            raise Exception(f"Error: cannot set parameter {self.name}: {text}") from error
        if not np.all(np.isfinite(numbers)):
            raise Exception(f"Error: cannot set parameter {self.name}: {text}")
        if len(numbers) == 6:
            if self.refuses_limits:
                numbers[2:] = self._values[2:]
            self._values = numbers
        elif self._values[2] <= numbers[0] <= self._values[5]:
            self._values[0] = numbers[0]
        else:  # XSPEC prints a line and keeps the old value
            print(f"***Warning: Parameter {self.name} cannot be set to {numbers[0]}")


class FakeComponent:
    def __init__(self, name, parameters):
        self.name = name
        self.parameterNames = [p.name for p in parameters]
        for p in parameters:
            setattr(self, p.name, p)


class FakeModel:
    def __init__(self, engine, source, group, expression, components, first):
        self._engine, self.name, self.group, self.expression = engine, source, group, expression
        self.componentNames = [c.name for c in components]
        self.startParIndex = first
        self.parameters = []
        for c in components:
            setattr(self, c.name, c)
            self.parameters += [getattr(c, n) for n in c.parameterNames]
        self.nParameters = len(self.parameters)

    def __call__(self, number):
        return self.parameters[number - 1]

    def folded(self, number):
        if self._engine.spectra[number - 1].dataGroup != self.group:
            raise Exception("Error: Cannot retrieve array for this model and spectrum number.")
        return self._engine.fold(self, number).tolist()


class FakeBackground:
    fileName = "background.pha"

    def __init__(self, engine, parent, counts, exposure, area, back):
        self.counts, self.exposure, self.areaScale, self.backScale = counts, exposure, area, back
        per = np.asarray(area, dtype=float) if engine.per_area else 1.0
        ratio = np.asarray(parent.backScale) / np.asarray(back)
        self._rate = counts / exposure / per * ratio
        self._variance = counts / (exposure / ratio * per) ** 2
        self._parent = parent

    @property
    def values(self):
        return tuple(self._rate[np.array(self._parent.noticed) - 1])

    @property
    def variance(self):
        return tuple(self._variance[np.array(self._parent.noticed) - 1])


class FakeSpectrum:
    isPoisson = True

    def __init__(self, engine, index, group, counts, exposure, area=1.0, back=1.0):
        self._engine, self.index, self.dataGroup, self.counts, self.exposure = engine, index, group, counts, exposure
        self.areaScale, self.backScale = area, back
        self.fileName = f"spectrum{index}.pha"
        self.noticed = list(range(1, len(counts) + 1))
        self.has_response = True
        self.back = None

    def noticedString(self):
        return f"{self.noticed[0]}-{self.noticed[-1]}" if self.noticed else ""

    @property
    def _which(self):
        return np.array(self.noticed, dtype=int) - 1

    @property
    def _per(self):
        return np.asarray(self.areaScale, dtype=float) if self._engine.per_area else 1.0

    @property
    def values(self):
        return tuple((self.counts / self.exposure / self._per * np.ones(len(self.counts)))[self._which])

    @property
    def variance(self):
        return tuple((self.counts / (self.exposure * self._per) ** 2 * np.ones(len(self.counts)))[self._which])

    @property
    def energies(self):
        edges = self._engine.edges
        # strings in some versions
        return tuple((f"{edges[i]:.10g}", f"{edges[i + 1]:.10g}") for i in self._which)

    @property
    def response(self):
        if not self.has_response:
            raise Exception(f"Error: No response is assigned to source 1 for spectrum {self.index}")
        return _Response()

    @property
    def multiresponse(self):
        raise Exception("Error: none")

    @property
    def background(self):
        if self.back is None:
            raise Exception("Error: Spectrum has no background.")
        return self.back

    @property
    def correction(self):
        raise Exception("Error: Spectrum has no correction.")


class _Response:
    rmf, arf = "fake.rmf", ""

    @property
    def gain(self):
        return type("Gain", (), {"isOn": False})()


class FakeAllData:
    def __init__(self, engine):
        self._engine = engine

    @property
    def nSpectra(self):
        return len(self._engine.spectra)

    @property
    def nGroups(self):
        return max((s.dataGroup for s in self._engine.spectra), default=1)

    def __call__(self, index):
        return self._engine.spectra[index - 1]


class FakeAllModels:
    systematic = 0.0

    def __init__(self, engine):
        self._engine = engine

    @property
    def sources(self):
        names = dict.fromkeys(m.name for m in self._engine.models)
        return dict(enumerate(names, start=1))

    def __call__(self, group, name=""):
        for model in self._engine.models:
            if (model.name, model.group) == (name, group):
                return model
        raise Exception("Error: no such model")

    def setPars(self, *arguments):
        """Set parameters of several models, then calculate once."""
        todo = []
        for model, changes in zip(arguments[::2], arguments[1::2], strict=True):
            for number, value in changes.items():
                if type(value) not in (float, int, str, np.float64):
                    raise Exception(f"Error: Invalid parameter argument type: {type(value).__name__}")
                todo.append((model(number), str(value)))
        for parameter, text in todo:
            parameter.set_text(text)
        self._engine.calculate()


class FakeFit:
    def __init__(self, engine):
        self._engine = engine
        self.query, self.statMethod, self.statTest, self.weight = "on", "cstat", "chi", "standard"
        self._bayes = "off"
        self.valid = True

    @property
    def bayes(self):
        return self._bayes

    @bayes.setter
    def bayes(self, value):
        self._bayes = value

    @property
    def statistic(self):
        return self._engine.statistic + (7.0 if self._bayes == "on" else 0.0)

    @property
    def dof(self):
        return 1

    def renorm(self, setting=None):
        if setting is not None:
            self._engine.renorm = setting
            print(f" Renormalization: {setting}")


class FakeParallel:
    leven = 1
    error = 1


class FakeXset:
    version = ("2.0.0", "12.9.1-fake")

    def __init__(self, engine):
        self._engine = engine
        self.allowPrompting, self.chatter, self.logChatter = True, 10, 10
        self.abund, self.xsect, self.cosmo = "angr", "bcmc", ("70", ".0", "0.73")
        self.modelStrings = ()
        self.parallel = FakeParallel()
        self.log = None

    def show(self):
        if self.chatter < 5:
            return
        print(" Querying enabled.")
        if self._engine.renorm in ("auto", "prefit"):
            print(f" {self._engine.renorm.capitalize()}-renorming enabled.")

    def save(self, name, info="a"):
        if os.path.exists(name):
            raise AssertionError("save onto an existing file asks on the terminal")
        with open(name, "w") as file:
            print(f"statistic {self._engine.Fit.statMethod}", file=file)
            for number, method in self._engine.methods.items():
                print(f"statistic {method} {number}", file=file)
            print("model nH*powerlaw", file=file)


class FakeXspec:
    """The module. Free parameters: ``phabs.nH``, ``powerlaw.PhoIndex``, ``powerlaw.norm``.

    Parameters
    ----------
    per_area
        Whether rates are per AREASCAL (12.9) or not (12.12).
    folded_per_area
        The same for folded models, where it differs.
    misbehave
        Called with the (d,) values of all parameters before each calculation; may crash, hang, print, or return a
        statistic in place of the true one.
    """

    def __init__(
        self,
        *,
        bins=20,
        per_area=True,
        folded_per_area=None,
        area=1.0,
        background=None,
        groups=1,
        misbehave=None,
        cost=0.0,
    ):
        self.per_area, self.folded_per_area = per_area, per_area if folded_per_area is None else folded_per_area
        self.misbehave, self.cost = misbehave, cost
        self.has_priors = True
        self.renorm = "prefit"
        self.methods = {}
        self.edges = np.geomspace(0.5, 10.0, bins + 1)
        self.statistic = 0.0
        self.calculations = 0
        self.spectra, self.models = [], []
        self.AllData, self.AllModels = FakeAllData(self), FakeAllModels(self)
        self.Fit, self.Xset = FakeFit(self), FakeXset(self)
        rng = np.random.default_rng(bins)
        for group in range(1, groups + 1):
            self.add_group(group, rng, area, background)
        self.calculate()

    def add_group(self, group, rng, area, background):
        limits = [
            ("phabs", "nH", [0.2, 0.01, 0.0, 0.0, 10.0, 100.0], "10^22"),
            ("powerlaw", "PhoIndex", [1.7, 0.01, -3.0, -2.0, 9.0, 10.0], ""),
            ("powerlaw", "norm", [0.3, 0.01, 0.0, 0.0, 1e20, 1e24], ""),
        ]
        made = [FakeParameter(self, name, values, unit) for _, name, values, unit in limits]
        components = [FakeComponent("phabs", made[:1]), FakeComponent("powerlaw", made[1:])]
        model = FakeModel(self, "", group, "phabs*powerlaw", components, 3 * (group - 1) + 1)
        self.models.append(model)
        exposure = 500.0
        spectrum = FakeSpectrum(self, len(self.spectra) + 1, group, np.zeros(len(self.edges) - 1), exposure, area, 2.0)
        self.spectra.append(spectrum)
        mean = self.rate(model) * exposure * np.asarray(area) * np.ones(len(self.edges) - 1)
        spectrum.counts = rng.poisson(mean).astype(float)
        if background is not None:
            off = rng.poisson(background, size=mean.size).astype(float)
            spectrum.counts = spectrum.counts + rng.poisson(background / 4.0, size=mean.size)
            spectrum.back = FakeBackground(self, spectrum, off, 1000.0, 1.0, 4.0)

    def rate(self, model):
        """(bins,) counts/s before AREASCAL."""
        nh, index, norm = (p.values[0] for p in model.parameters)
        middle = np.sqrt(self.edges[1:] * self.edges[:-1])
        return norm * np.exp(-nh / middle**2) * middle**-index * np.diff(self.edges)

    def fold(self, model, number):
        spectrum = self.spectra[number - 1]
        area = 1.0 if self.folded_per_area else np.asarray(spectrum.areaScale)
        return (self.rate(model) * area * np.ones(len(self.edges) - 1))[spectrum._which]

    def calculate(self):
        self.calculations += 1
        if self.cost:
            time.sleep(self.cost)
        values = np.array([p.values[0] for m in self.models for p in m.parameters])
        if self.renorm == "auto":
            for model in self.models:
                model.parameters[2]._values[0] *= 1.25
        wrong = self.misbehave(values) if self.misbehave is not None else None
        self.statistic = self.true_statistic() if wrong is None else wrong

    def true_statistic(self):
        total = 0.0
        for spectrum in self.spectra:
            if not spectrum.noticed:
                continue
            model = self.AllModels(spectrum.dataGroup)
            which = spectrum._which
            area = np.asarray(spectrum.areaScale) * np.ones(len(spectrum.counts))
            expected = (self.rate(model) * spectrum.exposure * area)[which]
            counts = spectrum.counts[which]
            method = self.methods.get(spectrum.index, self.Fit.statMethod if hasattr(self, "Fit") else "cstat")
            back = spectrum.back
            ratio = None
            if back is not None:
                off = back.exposure * np.asarray(back.areaScale) * back.backScale
                ratio = (spectrum.exposure * area * spectrum.backScale / off)[which]
            if method == "chi":
                net = np.array(spectrum.values)
                variance = np.array(spectrum.variance)
                if back is not None:
                    net = net - np.array(back.values)
                    variance = variance + np.array(back.variance)
                variance[variance == 0] = 1.0 / spectrum.exposure**2
                total += chi2(net, self.fold(model, spectrum.index), variance)
            elif back is None:
                total += cstat(counts, expected)
            elif method == "pstat":
                total += pstat(counts, expected, back.counts[which], ratio)
            else:
                total += wstat(counts, expected, back.counts[which], ratio)
        return total


class FakeBatchXspec(FakeXspec):
    """The same with an engine that takes many theta in one call."""

    def __init__(self, **options):
        super().__init__(**options)
        self.AllModels.evaluateBatch = self.evaluate_batch

    def evaluate_batch(self, keys, theta):
        before = [[p.values[0] for p in m.parameters] for m in self.models]
        folded = {s.index: {"": np.empty((len(theta), len(s.noticed)))} for s in self.spectra}
        statistic = np.empty(len(theta))
        by_group = {m.group: m for m in self.models}
        for i, row in enumerate(theta):
            for (_, group, number), value in zip(keys, row, strict=True):
                by_group[group](number)._values[0] = float(value)
            self.calculate()
            statistic[i] = self.statistic
            for s in self.spectra:
                folded[s.index][""][i] = self.fold(by_group[s.dataGroup], s.index)
        for model, values in zip(self.models, before, strict=True):
            for p, value in zip(model.parameters, values, strict=True):
                p._values[0] = value
        return folded, statistic
