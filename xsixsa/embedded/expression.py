"""Model expressions: ``constant*TBabs(compTT + powerlaw)``."""

from __future__ import annotations

import re
from dataclasses import dataclass

from xsixsa.embedded.components import Component, find
from xsixsa.errors import ModelError

__all__ = ["Expression", "Leaf", "Product", "Sum"]

_TOKEN = re.compile(r"\s*([A-Za-z_][\w.-]*(?:\s*\{[^{}]*\})?|[+*()])")
# deeper nesting is no model, and would exhaust the parser's stack
MAX_DEPTH = 50


@dataclass(frozen=True)
class Leaf:
    """One component by its position in the expression."""

    index: int


@dataclass(frozen=True)
class Product:
    """Factors, of which one at most is additive."""

    factors: tuple


@dataclass(frozen=True)
class Sum:
    """Terms, all additive."""

    terms: tuple


class Expression:
    """A parsed model expression.

    Parameters
    ----------
    text : str
        With ``+ * ( )`` and products understood: ``TBabs(a+b)``, ``(a+b)c``. Components may be abbreviated.

    Attributes
    ----------
    components : list of Component
        In order.
    names : list of str
        Attribute names: the component's, with ``_<position>`` where it was there before.
    tree : Leaf, Product or Sum
    text : str
        Normalised, with full component names.

    Raises
    ------
    ModelError
        What is wrong and where.
    """

    def __init__(self, text: str) -> None:
        if not isinstance(text, str):
            raise ModelError(f"a model expression is text, not {text!r}")
        self._given = text
        self.components: list[Component] = []
        self._tokens = self._split(text)
        self._at = 0
        self._leaves: list[str] = []
        if not self._tokens:
            raise ModelError("the model expression is empty")
        self.tree = self._sum(0)
        if self._at < len(self._tokens):
            raise self._fail(f"{self._tokens[self._at]!r} is not expected here")
        if self.kind(self.tree) != "add":
            raise self._fail("nothing additive: the model would have no flux")
        self.names = self._attribute_names()
        self.text = self._written(self.tree)

    def _fail(self, what: str) -> ModelError:
        return ModelError(f"model {self._given!r}: {what}")

    def _split(self, text: str) -> list[str]:
        tokens, at, text = [], 0, text.strip()
        while at < len(text):
            match = _TOKEN.match(text, at)
            if match is None:
                raise self._fail(f"cannot read it from {text[at : at + 20]!r}; names, + * ( ) are allowed")
            tokens.append(re.sub(r"\s+(?=\{)", "", match[1]))
            at = match.end()
        return tokens

    def _peek(self) -> str:
        return self._tokens[self._at] if self._at < len(self._tokens) else ""

    def _next(self) -> str:
        self._at += 1
        return self._tokens[self._at - 1]

    def _sum(self, depth: int):
        if depth > MAX_DEPTH:
            raise self._fail("more than 50 parentheses inside one another")
        terms = [self._product(depth)]
        while self._peek() == "+":
            self._next()
            terms.append(self._product(depth))
        if len(terms) == 1:
            return terms[0]
        if any(self.kind(term) != "add" for term in terms):
            raise self._fail("a sum has a term without an additive component")
        return Sum(tuple(terms))

    def _product(self, depth: int):
        factors = [self._factor(depth)]
        # a parenthesis right after a factor, or a name right after a parenthesis, multiplies
        while self._peek() == "*" or self._peek() == "(" or (self._peek() not in ("", "+", ")") and self._closed()):
            if self._peek() == "*":
                self._next()
            factors.append(self._factor(depth))
        if len(factors) == 1:
            return factors[0]
        if sum(self.kind(factor) == "add" for factor in factors) > 1:
            raise self._fail("a product has more than one additive component")
        return Product(tuple(factors))

    def _closed(self) -> bool:
        return self._tokens[self._at - 1] == ")"

    def _factor(self, depth: int):
        token = self._peek()
        if token == "":
            raise self._fail("ends where a component is expected")
        if token == "(":
            self._next()
            inner = self._sum(depth + 1)
            if self._peek() != ")":
                raise self._fail("a parenthesis is not closed")
            self._next()
            return inner
        if token in "+*)":
            raise self._fail(f"{token!r} where a component is expected")
        token = self._next()
        component = find(token)
        self.components.append(component() if isinstance(component, type) else component)
        # a table model is named by its file
        self._leaves.append(token if "{" in token else self.components[-1].name)
        return Leaf(len(self.components) - 1)

    def kind(self, node: Leaf | Product | Sum) -> str:
        """Return "add" or "mul" for a part of the tree."""
        if isinstance(node, Leaf):
            return self.components[node.index].kind
        if isinstance(node, Sum):
            return "add"
        return "add" if any(self.kind(factor) == "add" for factor in node.factors) else "mul"

    def _attribute_names(self) -> list[str]:
        names: list[str] = []
        seen: set[str] = set()
        for position, component in enumerate(self.components, 1):
            name = re.sub(r"\s", "_", component.name)
            names.append(f"{name}_{position}" if name in seen else name)
            seen.add(name)
        return names

    def _written(self, node: Leaf | Product | Sum) -> str:
        """Return a part of the tree as XSPEC writes it: no parenthesis around one component or one more sum."""
        if isinstance(node, Leaf):
            return self._leaves[node.index]
        if isinstance(node, Sum):
            return " + ".join(self._written(term) for term in node.terms)
        words = ""
        for i, factor in enumerate(node.factors):
            bare = isinstance(factor, Leaf)
            word = self._written(factor) if bare else f"({self._written(factor)})"
            joined = i > 0 and bare and isinstance(node.factors[i - 1], Leaf)
            words += f"*{word}" if joined else word
        return words
