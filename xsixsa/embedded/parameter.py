"""Model parameters with XSPEC's value, step, limits, links and priors."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

from xsixsa.embedded.components import ParameterSpec
from xsixsa.embedded.links import Link
from xsixsa.embedded.restrict import Restricted
from xsixsa.embedded.state import ENGINE
from xsixsa.errors import ModelError

if TYPE_CHECKING:
    from xsixsa.embedded.model import Model

__all__ = ["PRIORS", "Parameter", "parse_values"]

# XSPEC's priors and how many hyper-parameters each has
PRIORS = {"cons": 0, "exp": 1, "jeffreys": 0, "gauss": 2}


def parse_values(text: str) -> list[float | None]:
    """Read ``"value, delta, min, bottom, top, max"``; an empty place between commas keeps what is there.

    Raises
    ------
    ModelError
        Where a place holds no finite number, or there are more than six.
    """
    fields: list[float | None] = []
    for place in str(text).split(","):
        words = place.split() or [None]
        fields.extend(None if word is None else _number(word, text) for word in words)
    if len(fields) > 6:
        raise ModelError(f"{text!r}: at most value, delta, min, bottom, top, max")
    return fields


def _number(word: str, text: str) -> float:
    try:
        # Fortran's exponent letter, which old files carry
        value = float(re.sub(r"(?<=\d)[dD](?=[+-]?\d)", "e", word))
    except ValueError as error:
        raise ModelError(f"{text!r}: {word!r} is not a number") from error
    if not math.isfinite(value):
        raise ModelError(f"{text!r}: {word} is not finite")
    return value


class Parameter(Restricted):
    """One parameter of one model in one data group.

    Attributes
    ----------
    name, unit : str
    index : int
        Within its `Model`, from 1.
    """

    def __init__(self, spec: ParameterSpec, index: int, model: Model, scale: bool = False) -> None:
        self.name = spec.name
        self.unit = spec.unit
        self.__index = index
        self.__parent = model
        self._numbers = [float(x) for x in spec[2:]]
        self._numbers[1] = abs(self._numbers[1])
        self.scale = scale
        self._frozen = spec.delta < 0 or scale
        self._link: Link | None = None
        self._sigma = 0.0
        self._error = (0.0, 0.0, "FFFFFFFFF")
        self._prior: tuple = ("CONS",)
        self._seal()

    @property
    def index(self) -> int:
        """Number within its model object, from 1."""
        return self.__index

    @property
    def model(self) -> Model:
        """The model object it belongs to."""
        return self.__parent

    @property
    def values(self) -> list[float]:
        """[value, delta, min, bottom, top, max]; delta is negative while the parameter is frozen."""
        self.__parent.check_alive()
        numbers = list(self._numbers)
        numbers[0] = self.current
        if ENGINE.fit.delta > 0 and numbers[0] != 0:
            # XSPEC's default: steps in proportion to the value
            numbers[1] = ENGINE.fit.delta * abs(numbers[0])
        if self._frozen:
            numbers[1] = -numbers[1]
        return numbers

    @values.setter
    def values(self, value: float | str | tuple | list) -> None:
        # PyXspec goes through text, so a tuple of NumPy scalars fails here as it does there
        text = value if isinstance(value, str) else str(value).lstrip("([").rstrip(")]")
        self.__parent.check_alive()
        self.assign(parse_values(text))
        ENGINE.models.changed_values()

    @property
    def current(self) -> float:
        """The value, through the link where there is one."""
        return self._numbers[0] if self._link is None else ENGINE.models.linked_value(self)

    @property
    def raw(self) -> float:
        """The value of its own, whatever the link says."""
        return self._numbers[0]

    @property
    def hard_limits(self) -> tuple[float, float]:
        """min and max."""
        return self._numbers[2], self._numbers[5]

    def assign(self, fields: list[float | None]) -> bool:
        """Set value, delta and limits as XSPEC does.

        A value outside the hard limits changes nothing, limits out of order are not taken; both are said.

        Returns
        -------
        bool
            Whether the values were taken.
        """
        numbers = [old if new is None else new for old, new in zip(self._numbers, _pad(fields), strict=True)]
        if self.scale:
            # XSPEC's scale parameters have a value and nothing else
            numbers[1:] = self._numbers[1:]
        if not numbers[2] <= numbers[3] <= numbers[4] <= numbers[5]:
            self._complain(f"limits {numbers[2:]} are not in order, the old ones stay")
            numbers[2:] = self._numbers[2:]
        if not numbers[2] <= numbers[0] <= numbers[5]:
            self._complain(f"{numbers[0]:g} is outside the hard limits {numbers[2]:g} .. {numbers[5]:g}, unchanged")
            return False
        if fields[0] is not None and self._link is not None:
            # giving a value unties, as newpar does
            self._link = None
            ENGINE.restructured()
        self._numbers = numbers
        if len(fields) > 1 and fields[1] is not None and not self.scale:
            self._numbers[1] = abs(fields[1]) or self._numbers[1]
            self.frozen = fields[1] < 0
        return True

    def _complain(self, what: str) -> None:
        ENGINE.console.tell(f"{self.full_name}: {what}", level=5)

    @property
    def raw_delta(self) -> float:
        """The step of its own, unsigned."""
        return self._numbers[1]

    def set_sigma(self, value: float) -> None:
        """Take the error of a fit."""
        self._sigma = value

    def set_error(self, low: float, high: float, status: str) -> None:
        """Take the result of ``Fit.error``."""
        self._error = (float(low), float(high), status)

    def set_best(self, value: float) -> None:
        """Set the value alone, inside the limits, without any of the checks above."""
        self._numbers[0] = value

    @property
    def full_name(self) -> str:
        """``[source:]component.parameter[@group]`` for messages."""
        model = self.__parent
        prefix = f"{model.name}:" if model.name else ""
        suffix = f"@{model.group}" if model.group > 1 else ""
        return f"{prefix}{model.component_of(self)}.{self.name}{suffix}"

    @property
    def global_index(self) -> int:
        """XSPEC's index within the source's model, over data groups."""
        return self.__parent.startParIndex + self.__index - 1

    @property
    def frozen(self) -> bool:
        """Whether a fit leaves it alone."""
        return self._frozen

    @frozen.setter
    def frozen(self, value: bool) -> None:
        self.__parent.check_alive()
        value = bool(value) or self.scale
        if value != self._frozen:
            self._frozen = value
            ENGINE.restructured()

    @property
    def free(self) -> bool:
        """Neither frozen nor linked."""
        return not self._frozen and self._link is None

    @property
    def link(self) -> str:
        """``"= p1"`` or empty; set ``"1"``, ``"2*p3"``, or "" to untie."""
        return "" if self._link is None else f"= {self._link.text}"

    @link.setter
    def link(self, value: str) -> None:
        self.__parent.check_alive()
        if not value or not str(value).strip():
            if self._link is not None:
                self._numbers[0] = self.current
            self._link = None
        else:
            link = Link(str(value), self.__parent.name)
            ENGINE.models.check_link(self, link)
            self._link = link
        ENGINE.restructured()
        ENGINE.models.changed_values()

    @property
    def link_expression(self) -> Link | None:
        """The parsed link."""
        return self._link

    def untie(self) -> None:
        """Remove the link; the value stays."""
        self.link = ""

    def relink(self, link: Link | None, value: float) -> None:
        """Take a renumbered link, or none and a value where its target is gone."""
        self._link = link
        self._numbers[0] = value

    def follow(self, donor: Parameter, first: Parameter | None) -> None:
        """Start as a copy of `donor`, linked to `first` where that is given."""
        self._numbers = list(donor._numbers)
        self._numbers[0] = donor.current
        self._frozen = donor._frozen
        self._link = None if first is None else Link(f"p{first.global_index}", self.__parent.name)

    @property
    def sigma(self) -> float:
        """Error of the last fit: 0 before one, -1 where it has none."""
        return self._sigma

    @property
    def error(self) -> tuple[float, float, str]:
        """Low, high and status of the last ``Fit.error``."""
        return self._error

    @property
    def prior(self) -> tuple:
        """``("CONS",)`` where none was set; set ``"jeffreys"``, ``("gauss", mean, sigma)``, ``("exp", scale)``."""
        return self._prior

    @prior.setter
    def prior(self, value: str | tuple) -> None:
        words = (value,) if isinstance(value, str) else value
        if not isinstance(words, tuple) or not words or not isinstance(words[0], str):
            raise ModelError(f"prior of {self.full_name}: a name or a tuple such as ('gauss', 1.0, 0.1), not {value!r}")
        kind = next((k for k in PRIORS if k == words[0].strip().lower()), None)
        if kind is None:
            raise ModelError(f"prior of {self.full_name}: {words[0]!r} is none of {', '.join(PRIORS)}")
        hyper = [_number(str(x), str(value)) for x in words[1:]]
        hyper = (hyper + [0.0] * PRIORS[kind])[: PRIORS[kind]]
        if kind in ("exp", "gauss") and hyper[-1] <= 0:
            raise ModelError(f"prior of {self.full_name}: {words[0]!r} needs a positive scale, got {value!r}")
        self._prior = (kind.upper(), *hyper)
        ENGINE.revalued()

    def __float__(self) -> float:
        return self.current

    def __add__(self, other: Parameter | float) -> float:
        return self.current + float(other)

    __radd__ = __add__

    def __iadd__(self, other: Parameter | float) -> Parameter:
        self.values = self + other
        return self

    def __mul__(self, other: Parameter | float) -> float:
        return self.current * float(other)

    __rmul__ = __mul__

    def __imul__(self, other: Parameter | float) -> Parameter:
        self.values = self * other
        return self

    def __repr__(self) -> str:
        return f"<Parameter {self.full_name} = {self.current:g}>"


def _pad(fields: list[float | None]) -> list[float | None]:
    return [*fields, *[None] * (6 - len(fields))]
