"""``AllModels``: the defined models, one object per data group, and what connects them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from xsixsa.embedded.links import Link
from xsixsa.embedded.model import Model, collate
from xsixsa.embedded.parameter import Parameter
from xsixsa.embedded.restrict import Restricted
from xsixsa.embedded.state import Engine
from xsixsa.errors import ModelError

__all__ = ["ModelManager"]


class ModelManager(Restricted):
    """Container of models: ``AllModels(1)`` is the unnamed model of data group 1, ``AllModels(2, "bkg")`` another."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        # name -> its objects, in the order of the data groups they belong to
        self._models: dict[str, list[Model]] = {}
        self._systematic = 0.0
        self._seal()

    def __call__(self, groupNum: int, modName: str = "") -> Model:
        """Return the model object of a data group.

        Raises
        ------
        ModelError
            Where there is none.
        """
        for model in self._models.get(modName.strip(), []):
            if model.group == groupNum:
                return model
        have = ", ".join(f"({m.group}, {name!r})" for name, ms in self._models.items() for m in ms) or "none"
        raise ModelError(f"no model {modName!r} for data group {groupNum!r}; there are {have}")

    def __iter__(self) -> Iterator[Model]:
        """Iterate over all model objects, by source number then data group."""
        ordered = sorted(self._models.values(), key=lambda models: models[0].source)
        return iter([model for models in ordered for model in models])

    def of(self, name: str) -> list[Model]:
        """Return the objects of one model, in the order of their data groups."""
        if name not in self._models:
            raise ModelError(f"no model named {name!r}; there are {sorted(self._models) or 'none'}")
        return self._models[name]

    @property
    def names(self) -> list[str]:
        """Names by source number."""
        return sorted(self._models, key=lambda name: self._models[name][0].source)

    @property
    def sources(self) -> dict[int, str]:
        """Source number -> name of its model."""
        return {self._models[name][0].source: name for name in self.names}

    @property
    def systematic(self) -> float:
        """Fractional model error, added in quadrature by chi-squared."""
        return self._systematic

    @systematic.setter
    def systematic(self, value: float) -> None:
        if not 0 <= float(value) < float("inf"):
            raise ModelError(f"AllModels.systematic = {value!r}: a fraction from 0 on")
        self._systematic = float(value)
        self._engine.restructured()

    def __iadd__(self, modelInfo: str | tuple) -> ModelManager:
        if isinstance(modelInfo, str):
            Model(modelInfo)
        else:
            Model(*modelInfo)
        return self

    def __isub__(self, modName: str) -> ModelManager:
        if modName.strip() == "*":
            self.clear()
        else:
            self._remove(modName.strip())
        return self

    def clear(self) -> None:
        """Remove all models."""
        for name in list(self._models):
            self._remove(name)

    def _remove(self, name: str) -> None:
        for model in self.of(name):
            model.kill()
        self._rearrange({other: models for other, models in self._models.items() if other != name})

    def _rearrange(self, models: dict[str, list[Model]]) -> None:
        """Take another set of model objects; links follow their parameters, or leave the value behind."""
        links = [(p, p.link_expression, p.current) for p in self.all_parameters if p.link_expression is not None]
        old = {id(p): (p.model.name, p.global_index) for p in self.all_parameters}
        self._models = models
        new = {old[id(p)]: p.global_index for p in self.all_parameters if id(p) in old}
        kept = {id(p) for p in self.all_parameters}
        for parameter, link, value in links:
            if id(parameter) in kept:
                parameter.relink(link.renumbered(new), value)
        self._engine.restructured()

    def define(self, model: Model) -> None:
        """Take in a new model; replaces the one of its name and the one of its source."""
        for name, models in list(self._models.items()):
            if name == model.name or models[0].source == model.source:
                self._remove(name)
        model.is_new = False
        self._rearrange({**self._models, model.name: [model]})
        self.follow_data()
        self._engine.fit.after_change()

    def follow_data(self, renumbered: dict[int, int] | None = None) -> None:
        """Make each model have one object for each data group it applies to.

        Parameters
        ----------
        renumbered : dict, optional
            Old -> new numbers of data groups; models of groups that are not in it go.
        """
        if renumbered:
            for model in self:
                model.group = renumbered.get(model.group, 0)
        donors = dict(self._models)
        self._rearrange({name: self._follow(models) for name, models in self._models.items()})
        for name, models in self._models.items():
            # values for new groups come from the first that was there before
            old = next((m for m in models if not m.is_new), donors[name][0])
            for model in models:
                for mine, donor, first in zip(model.parameters, old.parameters, models[0].parameters, strict=True):
                    if model.is_new:
                        mine.follow(donor, None if model is models[0] else first)
            for model in models:
                model.is_new = False

    def _follow(self, models: list[Model]) -> list[Model]:
        """Return the objects of one model for the data groups there are now, made where missing."""
        first, groups = models[0], self._groups(models[0].source)
        mine = {model.group: model for model in models if model.group in groups}
        for model in models:
            if model.group not in groups:
                model.kill()
        for group in groups:
            if group not in mine:
                mine[group] = Model(first.expression, first.name, first.source, _group=group, _expression=first.parsed)
        return [mine[group] for group in groups]

    def _groups(self, source: int) -> list[int]:
        """Return the data groups that a source's model applies to."""
        spectra = list(self._engine.data)
        groups = {s.dataGroup for s in spectra if source in s.responses}
        if not groups and source == 1:
            groups = {s.dataGroup for s in spectra}
        return sorted(groups) or [1]

    def position(self, model: Model) -> int:
        """Return the place of a model object among those of its name, from 0."""
        for i, mine in enumerate(self._models.get(model.name, [])):
            if mine is model:
                return i
        raise ModelError(f"the model {model.expression!r} was replaced or removed; take it from AllModels again")

    def parameter(self, name: str, index: int) -> Parameter:
        """Return a parameter by model name and global index."""
        models = self.of(name)
        size = models[0].nParameters
        if not 1 <= index <= size * len(models):
            raise ModelError(f"no parameter {index} in model {name!r}; it has 1 to {size * len(models)}")
        return models[(index - 1) // size].parameters[(index - 1) % size]

    @property
    def all_parameters(self) -> list[Parameter]:
        """Every parameter, by source number and global index."""
        return [parameter for model in self for parameter in model.parameters]

    @property
    def free_parameters(self) -> list[Parameter]:
        """Parameters neither frozen nor linked, in XSPEC's order."""
        return [parameter for parameter in self.all_parameters if parameter.free]

    def check_link(self, parameter: Parameter, link: Link) -> None:
        """Raise where a link names what is not there, or would go round in a circle."""
        pending, seen = list(link.references), set()
        while pending:
            reference = pending.pop()
            if reference in seen:
                continue
            seen.add(reference)
            target = self.parameter(*reference)
            if target is parameter:
                raise ModelError(f"{parameter.full_name}: the link {link.text!r} leads back to itself")
            if target.link_expression is not None:
                pending.extend(target.link_expression.references)

    def linked_value(self, parameter: Parameter) -> float:
        """Return the value of a linked parameter."""
        link = parameter.link_expression
        if link is None:
            return parameter.raw
        return float(link.evaluate(lambda name, index: self.linked_value(self.parameter(name, index))))

    def setPars(self, *args) -> None:
        """Set parameters of several models with one recalculation: ``setPars(m1, {1: 2.0}, m2, {3: 4.0})``.

        Raises
        ------
        ModelError
            A value that is no number, or an index that is not there; nothing is changed then.
        """
        if not args or not isinstance(args[0], Model):
            raise ModelError("setPars: the first argument is a model")
        wanted, model, values = [], args[0], []
        for argument in (*args[1:], None):
            if argument is None or isinstance(argument, Model):
                model.check_alive()
                wanted.extend(collate(model, tuple(values)))
                model, values = argument, []
            else:
                values.append(argument)
        for parameter, fields in wanted:
            parameter.assign(fields)
        self.changed_values()

    def changed_values(self) -> None:
        """Note new parameter values."""
        self._engine.revalued()
        self._engine.fit.after_change()

    def table(self, name: str) -> np.ndarray:
        """Return the current own values of one model, (parameters of all groups,) float64."""
        return np.array([parameter.raw for model in self.of(name) for parameter in model.parameters])

    def evaluateBatch(
        self, keys: list[tuple[str, int, int]], theta: np.ndarray
    ) -> tuple[dict[int, dict[str, np.ndarray]], np.ndarray]:
        """Evaluate model and statistic at many parameter vectors; the current values stay as they are.

        Not in PyXspec: an engine that has it says so by having it.

        Parameters
        ----------
        keys : list of (model name, data group, index within the model object)
            What each column of `theta` sets.
        theta : (n, d) float64
            Inside the hard limits.

        Returns
        -------
        folded : dict
            Spectrum number -> model name -> (n, bins) counts/s per area scale, as ``Model.folded``.
        statistic : (n,) float64
            As ``Fit.statistic``.
        """
        return self._engine.evaluator.batch(keys, np.asarray(theta, dtype=np.float64))

    def calcFlux(self, cmdStr: str) -> None:
        """Compute fluxes in a range, ``"2.0 10.0"``; they appear in ``Spectrum.flux`` or ``Model.flux``."""
        from xsixsa.embedded.flux import calc_flux

        calc_flux(self._engine, cmdStr)

    def calcLumin(self, cmdStr: str) -> None:
        """Compute luminosities in a rest-frame range at a redshift, ``"2.0 10.0 0.1"``, in 1e44 erg/s."""
        from xsixsa.embedded.flux import calc_lumin

        calc_lumin(self._engine, cmdStr)

    def setEnergies(self, arg1: str, arg2: str | None = None) -> None:
        """Accept ``"reset"``; the embedded engine always works on the response's energies.

        Raises
        ------
        ModelError
            For anything else.
        """
        if str(arg1).strip().lower() != "reset" or arg2 is not None:
            raise ModelError("the embedded engine has no other energies than the response's; use 'reset'")

    def show(self, parIDs: str | None = None) -> None:
        """Say the parameters of all models."""
        for model in self:
            model.show()
