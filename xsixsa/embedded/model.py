"""``Model`` and ``Component``: one expression in one data group, with its parameters as attributes."""

from __future__ import annotations

from xsixsa.embedded.components import ParameterSpec
from xsixsa.embedded.expression import Expression
from xsixsa.embedded.parameter import Parameter, parse_values
from xsixsa.embedded.restrict import Restricted
from xsixsa.embedded.state import ENGINE
from xsixsa.errors import ModelError

__all__ = ["ComponentHandle", "Model", "collate"]

NORM = ParameterSpec("norm", "", 1.0, 0.01, 0.0, 0.0, 1e20, 1e24)


class ComponentHandle:
    """A component of a model: its parameters are attributes, and ``m.powerlaw.norm = 2`` sets a value."""

    def __init__(self, name: str, parameters: list[Parameter]) -> None:
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "parameterNames", [p.name for p in parameters])
        for parameter in parameters:
            object.__setattr__(self, parameter.name, parameter)

    def __setattr__(self, name: str, value) -> None:
        if name in ("name", "parameterNames"):
            raise ModelError(f"{name} of component {self.name} is not for setting")
        if name not in self.parameterNames:
            raise ModelError(
                f"component {self.name} has no parameter {name!r}; it has {', '.join(self.parameterNames)}"
            )
        # the object itself comes back from ``m.powerlaw.norm += 1``
        if not isinstance(value, Parameter):
            getattr(self, name).values = value


class Model(Restricted):
    """A model of one data group.

    Made by ``Model(expression)``, which defines it for every data group and stands for the first one.

    Parameters
    ----------
    exprString : str
        Component names may be abbreviated.
    modName : str
        Blanks are taken out; needed where `sourceNum` is above 1.
    sourceNum : int
    setPars : float, str, tuple, list or dict, optional
        First values.

    Raises
    ------
    xsixsa.errors.ModelError
        Where the expression or a name is wrong.
    """

    def __init__(
        self,
        exprString: str,
        modName: str = "",
        sourceNum: int = 1,
        setPars: float | str | tuple | list | dict | None = None,
        *,
        _group: int | None = None,
        _expression: Expression | None = None,
    ) -> None:
        if not isinstance(modName, str):
            raise ModelError(f"the model's name is text, not {modName!r}")
        if not isinstance(sourceNum, int) or sourceNum < 1:
            raise ModelError(f"the source number is a whole number from 1, not {sourceNum!r}")
        parsed = Expression(exprString) if _expression is None else _expression
        self._alive = True
        self._build("".join(modName.split()), sourceNum, parsed, 1 if _group is None else _group)
        if _group is None:
            ENGINE.models.define(self)
            if setPars is not None:
                self._set_first(setPars)

    def _build(self, name: str, source: int, parsed: Expression, group: int) -> None:
        self.name = name
        self.source = source
        # until it is among the others of its name and linked to the first
        self.is_new = True
        self.group = group
        self.parsed = parsed
        self.expression = parsed.text
        self.componentNames = list(parsed.names)
        self.parameters: list[Parameter] = []
        # (first, last) parameter of each component, 0-based, norm included
        self.slices: list[slice] = []
        self.flux_result: tuple[float, ...] | None = None
        self.lumin_result: tuple[float, ...] | None = None
        for attribute, component in zip(parsed.names, parsed.components, strict=True):
            specs = component.parameters + ((NORM,) if component.kind == "add" else ())
            first = len(self.parameters)
            for spec in specs:
                scale = spec.name in component.scale
                self.parameters.append(Parameter(spec, len(self.parameters) + 1, self, scale))
            self.slices.append(slice(first, len(self.parameters)))
            setattr(self, attribute, ComponentHandle(attribute, self.parameters[first:]))
        self.nParameters = len(self.parameters)
        self._seal()

    def __setattr__(self, name: str, value) -> None:
        if self.__dict__.get("_sealed") and (
            name in self.componentNames or name in ("expression", "name", "nParameters", "componentNames")
        ):
            raise ModelError(f"{name} of a model is not for setting")
        super().__setattr__(name, value)

    def _set_first(self, given) -> None:
        try:
            self.setPars(given)
        except ModelError as error:
            ENGINE.console.warn(f"{error}; the model keeps its default values")

    def kill(self) -> None:
        """Mark the handle stale: its model was replaced."""
        self._alive = False

    def check_alive(self) -> None:
        """Raise where the model was replaced or removed."""
        if not self._alive:
            raise ModelError(f"the model {self.expression!r} was replaced or removed; take it from AllModels again")

    @property
    def startParIndex(self) -> int:
        """Global index of the first parameter."""
        return ENGINE.models.position(self) * self.nParameters + 1

    def component_of(self, parameter: Parameter) -> str:
        """Return the attribute name of the component that has `parameter`."""
        for name, places in zip(self.componentNames, self.slices, strict=True):
            if places.start <= parameter.index - 1 < places.stop:
                return name
        raise ModelError(f"parameter {parameter.name} is not of this model")

    def __call__(self, parIdx: int) -> Parameter:
        """Return parameter number `parIdx`, from 1 whatever the data group."""
        self.check_alive()
        if not isinstance(parIdx, int) or not 1 <= parIdx <= self.nParameters:
            raise ModelError(f"no parameter {parIdx!r}; {self.expression} has 1 to {self.nParameters}")
        return self.parameters[parIdx - 1]

    def setPars(self, *parVals: float | str | tuple | list | dict) -> None:
        """Set many parameters with one recalculation: ``m.setPars(1.0, {3: 2.5, 4: "1 -0.01"})``.

        A value outside the hard limits leaves its parameter as it was; the others are set.

        Raises
        ------
        ModelError
            A value that is no number, or an index that is not there; nothing is changed then.
        """
        ENGINE.models.setPars(self, *parVals)

    def untie(self) -> None:
        """Remove the links of all parameters."""
        for parameter in self.parameters:
            parameter.untie()

    def folded(self, spectrumIndex: int) -> list[float]:
        """Return this source's counts/s in the noticed bins of a spectrum, per area scale."""
        self.check_alive()
        return ENGINE.evaluator.folded_of(self, spectrumIndex).tolist()

    def values(self, spectrumIndex: int) -> list[float]:
        """Return photons/cm2/s in the energy bins of a spectrum's response (0: the dummy response)."""
        self.check_alive()
        return ENGINE.evaluator.photons_of(self, spectrumIndex)[1].tolist()

    def energies(self, spectrumIndex: int) -> list[float]:
        """Return the edges of the energy bins of a spectrum's response, keV (0: the dummy response)."""
        self.check_alive()
        return ENGINE.evaluator.photons_of(self, spectrumIndex)[0].tolist()

    @property
    def flux(self) -> tuple[float, ...]:
        """Result of ``AllModels.calcFlux`` where no spectra are loaded."""
        return self.flux_result or (0.0,) * 6

    @property
    def lumin(self) -> tuple[float, ...]:
        """Result of ``AllModels.calcLumin`` where no spectra are loaded."""
        return self.lumin_result or (0.0,) * 6

    def show(self) -> None:
        """Say the parameters."""
        ENGINE.console.tell(f"Model {self.name} {self.expression}, data group {self.group}")
        for parameter in self.parameters:
            state = parameter.link or ("frozen" if parameter.frozen else "free")
            ENGINE.console.tell(
                f"{parameter.global_index:4d} {self.component_of(parameter):>12s} {parameter.name:>12s} "
                f"{parameter.unit:>10s} {parameter.current:14.6g} {state}"
            )

    def __repr__(self) -> str:
        return f"<Model {self.name + ':' if self.name else ''}{self.expression} group {self.group}>"


def collate(model: Model, given: tuple) -> list[tuple[Parameter, list[float | None]]]:
    """Sort the arguments of ``setPars`` into (parameter, values), all checked before anything is set."""
    wanted: dict[int, list[float | None]] = {}
    at = 1
    for argument in given:
        if isinstance(argument, dict):
            for index, value in argument.items():
                if not isinstance(index, int) or isinstance(index, bool):
                    raise ModelError(f"setPars: {index!r} is no parameter number")
                wanted[index] = _fields(value)
                at = index + 1
            continue
        for value in argument if isinstance(argument, tuple | list) else (argument,):
            wanted[at] = _fields(value)
            at += 1
    return [(model(index), fields) for index, fields in sorted(wanted.items())]


def _fields(value) -> list[float | None]:
    if isinstance(value, str):
        return parse_values(value)
    if isinstance(value, int | float):
        # through text for the check of NaN and infinity, kept as it is otherwise
        return [float(value)] if abs(value) < float("inf") else parse_values(str(float(value)))
    raise ModelError(f"setPars: {value!r} of type {type(value).__name__} is neither a number nor text; use float()")
