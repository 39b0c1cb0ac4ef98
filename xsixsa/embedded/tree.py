"""Evaluates a model expression on one energy grid."""

from __future__ import annotations

import numpy as np

from xsixsa.embedded.components import ModelContext
from xsixsa.embedded.expression import Leaf, Product, Sum
from xsixsa.embedded.model import Model

__all__ = ["TreeEvaluator"]


class TreeEvaluator:
    """A model expression with what its components prepare for one grid.

    Parameters
    ----------
    model : Model
        For its expression; values are given at each call.
    edges : (m + 1,) float64
        keV.
    context : ModelContext
    """

    def __init__(self, model: Model, edges: np.ndarray, context: ModelContext) -> None:
        self._parsed = model.parsed
        self._slices = model.slices
        self._edges = np.ascontiguousarray(edges, dtype=np.float64)
        self._context = context
        with np.errstate(all="ignore"):
            self._prepared = [c.prepare(self._edges, context) for c in self._parsed.components]
        # the last shape of each component, for calls that change some parameters only
        self._last: list[tuple[np.ndarray, np.ndarray] | None] = [None] * len(self._parsed.components)

    def __call__(self, values: np.ndarray, component: int | None = None) -> np.ndarray:
        """Return photons/cm2/s in each bin.

        Parameters
        ----------
        values : (n, parameters) float64
        component : int, optional
            Position of the one additive component to keep.

        Returns
        -------
        (n, m) float64
        """
        with np.errstate(all="ignore"):
            flux = self._node(self._parsed.tree, values, component)
        if flux is None:
            return np.zeros((values.shape[0], self._edges.size - 1))
        return np.broadcast_to(flux, (values.shape[0], self._edges.size - 1))

    def _node(self, node: Leaf | Product | Sum, values: np.ndarray, only: int | None) -> np.ndarray | None:
        """Return (n or 1, m), None for nothing; the array may be changed by the caller."""
        if isinstance(node, Leaf):
            return self._leaf(node.index, values, only)
        if isinstance(node, Product):
            parts = [self._node(factor, values, only) for factor in node.factors]
            return None if any(part is None for part in parts) else _join(parts, np.multiply)
        parts = [self._node(term, values, only) for term in node.terms]
        parts = [part for part in parts if part is not None]
        return _join(parts, np.add) if parts else None

    def _leaf(self, index: int, values: np.ndarray, only: int | None) -> np.ndarray | None:
        additive = self._parsed.components[index].kind == "add"
        if additive and only is not None and only != index:
            return None
        p = values[:, self._slices[index]]
        if not additive:
            return self._shape(index, p)
        shape, norm = self._shape(index, p[:, :-1]), p[:, -1:]
        if shape.shape[0] == norm.shape[0]:
            return np.multiply(shape, norm, out=shape)
        return shape * norm

    def _shape(self, index: int, p: np.ndarray) -> np.ndarray:
        """Return the component for norm 1, computed once where all rows are alike."""
        if p.shape[0] > 1 and np.all(p == p[0]):
            p = p[:1]
        if p.shape[0] > 1:
            return self._compute(index, p)
        last = self._last[index]
        if last is None or not np.array_equal(last[0], p):
            last = (p.copy(), self._compute(index, p))
            self._last[index] = last
        return last[1].copy()

    def _compute(self, index: int, p: np.ndarray) -> np.ndarray:
        component = self._parsed.components[index]
        return component.evaluate(self._edges, p, self._context, prepared=self._prepared[index])


def _join(parts: list[np.ndarray], operation: np.ufunc) -> np.ndarray:
    """Combine from the left, in place where the shapes allow it."""
    result = parts[0]
    for part in parts[1:]:
        if result.shape[0] >= part.shape[0]:
            operation(result, part, out=result)
        else:
            result = operation(result, part)
    return result
