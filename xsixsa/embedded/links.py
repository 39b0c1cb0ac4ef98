"""Parameter links: ``"1"``, ``"2*p3"``, ``"bkg:p1 / 2"``, evaluated for many parameter vectors at once."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable

import numpy as np

from xsixsa.errors import ModelError

__all__ = ["Link"]

_FUNCTIONS: dict[str, Callable] = {
    "exp": np.exp,
    "ln": np.log,
    "log": np.log10,
    "sqrt": np.sqrt,
    "abs": np.abs,
    "int": np.trunc,
    "sin": np.sin,
    "cos": np.cos,
    "tan": np.tan,
    "asin": np.arcsin,
    "acos": np.arccos,
    "atan": np.arctan,
    "sinh": np.sinh,
    "cosh": np.cosh,
    "tanh": np.tanh,
    "min": np.minimum,
    "max": np.maximum,
}
_OPERATORS: dict[type, Callable] = {
    ast.Add: np.add,
    ast.Sub: np.subtract,
    ast.Mult: np.multiply,
    ast.Div: np.divide,
    ast.Pow: np.power,
}
# a whole number that is neither part of a name or a decimal number, nor an exponent
_WHOLE = re.compile(r"(?<![\w.])(?<![\d.][eE][+-])(\d+)(?![\w.])")
_SUM = re.compile(r"(?<![\d.][eE])([+-])")
_REFERENCE = re.compile(r"(?:\b([A-Za-z_]\w*):)?\bp(\d+)\b|\b([A-Za-z_]\w*):(\d+)\b", re.IGNORECASE)


class Link:
    """A link expression.

    Parameters
    ----------
    text : str
        As the user wrote it. ``p3`` is parameter 3 by global index, ``name:p3`` one of another model. As in XSPEC a
        whole number is a parameter too: a constant needs a point, ``2.*p3``.
    source : str
        Model that a reference without ``name:`` means.

    Attributes
    ----------
    references : tuple of (model name, global index)
    """

    def __init__(self, text: str, source: str) -> None:
        written = re.sub(r"\s+", "", text).lstrip("=")
        written = _WHOLE.sub(r"p\1", written)
        # as XSPEC writes links back: blanks around sums only
        self.text = _SUM.sub(r" \1 ", written)
        self._source = source
        self._names: dict[str, tuple[str, int]] = {}
        written = _REFERENCE.sub(self._replace, written).replace("^", "**")
        if len(written) > 2000:
            raise ModelError("a link of more than 2000 characters")
        try:
            self._tree = ast.parse(written, mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            raise ModelError(f"cannot read the link {self.text!r}; write for example '2*p3'") from error
        if not self._names:
            raise ModelError(f"the link {self.text!r} names no parameter; write for example '2*p3'")
        self._check(self._tree)

    def _replace(self, match: re.Match) -> str:
        source = match[1] or match[3] or self._source
        name = f"v{len(self._names)}_"
        self._names[name] = (source, int(match[2] or match[4]))
        return name

    @property
    def references(self) -> tuple[tuple[str, int], ...]:
        """The parameters it needs, as (model name, global index)."""
        return tuple(self._names.values())

    def renumbered(self, new: dict[tuple[str, int], int]) -> Link | None:
        """Return the link with other indices, None where a parameter it names is not among the keys of `new`."""
        if not all(reference in new for reference in self.references):
            return None

        def word(match: re.Match) -> str:
            name, index = match[1] or match[3], int(match[2] or match[4])
            number = new[(name or self._source, index)]
            return f"{name}:p{number}" if name else f"p{number}"

        return Link(_REFERENCE.sub(word, self.text), self._source)

    def _check(self, node: ast.AST) -> None:
        children: list[ast.AST] = []
        if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
            children = [node.left, node.right]
        elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
            children = [node.operand]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id.lower() in _FUNCTIONS:
            wanted = 2 if node.func.id.lower() in ("min", "max") else 1
            if node.keywords or len(node.args) != wanted:
                raise ModelError(f"{node.func.id} in the link {self.text!r} takes {wanted} argument(s)")
            children = list(node.args)
        elif not self._is_value(node):
            raise ModelError(f"cannot read the link {self.text!r}: only numbers, p<index>, + - * / ^ and functions")
        for child in children:
            self._check(child)

    def _is_value(self, node: ast.AST) -> bool:
        """Whether a leaf is a number or one of the references."""
        if isinstance(node, ast.Name):
            return node.id in self._names
        return isinstance(node, ast.Constant) and type(node.value) in (int, float)

    def evaluate(self, lookup: Callable[[str, int], np.ndarray | float]) -> np.ndarray | float:
        """Return the value where `lookup` gives the value(s) of (model name, global index)."""
        with np.errstate(all="ignore"):
            return self._value(self._tree, lookup)

    def _value(self, node: ast.AST, lookup: Callable) -> np.ndarray | float:
        if isinstance(node, ast.BinOp):
            return _OPERATORS[type(node.op)](self._value(node.left, lookup), self._value(node.right, lookup))
        if isinstance(node, ast.UnaryOp):
            value = self._value(node.operand, lookup)
            return -value if isinstance(node.op, ast.USub) else value
        if isinstance(node, ast.Call):
            return _FUNCTIONS[node.func.id.lower()](*(self._value(a, lookup) for a in node.args))
        if isinstance(node, ast.Name):
            return lookup(*self._names[node.id])
        return float(node.value)
