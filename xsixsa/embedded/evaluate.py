"""From parameter values to photons, folded spectra and the statistic, for one vector or many at once.

One evaluation is a batch of one: the same code serves both. What does not depend on the parameters is prepared once
per structure of the session: responses cut to the noticed bins and to the energies these respond to, the area
multiplied in, and whatever each component keeps per energy grid.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from scipy import sparse

from xsixsa.embedded.components import ModelContext
from xsixsa.embedded.model import Model
from xsixsa.embedded.priors import minus_two_log_prior
from xsixsa.embedded.spectrum import Spectrum
from xsixsa.embedded.state import Engine
from xsixsa.embedded.statistics import STATISTICS, Observed
from xsixsa.embedded.tree import TreeEvaluator
from xsixsa.errors import ModelError

__all__ = ["Evaluator"]

# Photons of one pass through the components: small enough for the cache, large enough for the matrix product.
CHUNK = 1 << 17
# Above this density a dense matrix product is faster than a sparse one.
DENSE = 0.04
# Photons do not end up above their own energy: the energies are cut into blocks, each with the bins that it reaches.
# More of them save next to nothing, and a matrix that they make hardly smaller stays whole.
BLOCKS = 6
BLOCKS_PAY = 0.85
# A sparse matrix is read once for so many rows at least: reading it costs more than the sums.
SPARSE_ROWS = 8
# Values of one pass through the statistic, whose arrays then stay in the cache.
STATISTIC_CHUNK = 1 << 16
# Folding matrices kept for settings that come back (notice, ignore, response).
KEPT = 32


@dataclass
class _Fold:
    """The effective response of one spectrum for one source."""

    spectrum: Spectrum
    number: int
    group: int
    matrix: np.ndarray | sparse.csr_array = field(default_factory=lambda: np.zeros((0, 0)))
    blocks: list[tuple[slice, slice, np.ndarray]] = field(default_factory=list)

    def keep(self, matrix: sparse.csr_array) -> None:
        """Hold the (bins, energies) matrix in the form that is fastest."""
        if matrix.nnz <= DENSE * matrix.shape[0] * matrix.shape[1]:
            self.matrix = _narrow(matrix)
            return
        self.matrix = np.ascontiguousarray(matrix.toarray().T)
        ends = np.linspace(0, len(self.matrix), BLOCKS + 1).astype(int)
        blocks = []
        for low, high in pairwise(ends.tolist()):
            part = self.matrix[low:high]
            reached = np.flatnonzero(part.any(axis=0))
            if reached.size:
                bins = slice(int(reached[0]), int(reached[-1]) + 1)
                blocks.append((slice(low, high), bins, np.ascontiguousarray(part[:, bins])))
        if sum(block.size for *_, block in blocks) < BLOCKS_PAY * self.matrix.size:
            self.blocks, self.matrix = blocks, self.matrix[:0].copy()

    def __call__(self, photons: np.ndarray) -> np.ndarray:
        """Return (n, bins) counts/s from (n, energies) photons/cm2/s."""
        if self.blocks:
            counts = np.zeros((len(photons), self.matrix.shape[1]))
            for energies, bins, block in self.blocks:
                counts[:, bins] += photons[:, energies] @ block
            return counts
        if isinstance(self.matrix, np.ndarray):
            return photons @ self.matrix
        return np.ascontiguousarray((self.matrix @ np.ascontiguousarray(photons.T)).T)


@dataclass
class _Grid:
    """One energy grid of one source and all that is folded from it."""

    source: str
    edges: np.ndarray
    tree: TreeEvaluator
    folds: list[_Fold]


class Evaluator:
    """Evaluates the session."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._structure = -1
        self._grids: list[_Grid] = []
        self._observed: dict[int, tuple[str, Observed]] = {}
        self._matrices: OrderedDict[tuple, sparse.csr_array] = OrderedDict()
        self._values = -1
        self._now: tuple[dict[int, dict[str, np.ndarray]], float] = ({}, 0.0)
        self._full: dict[tuple, TreeEvaluator] = {}

    # -- preparation -------------------------------------------------------------------------------------------

    @property
    def context(self) -> ModelContext:
        """Settings that components see."""
        settings = self._engine.settings
        return ModelContext(
            abund=settings.abund,
            xsect=settings.xsect,
            cosmo=tuple(float(x) for x in settings.cosmo),
            chatter=settings.chatter,
        )

    def prepare(self) -> None:
        """Bring what is prepared up to date."""
        if self._structure == self._engine.structure:
            return
        context = self.context
        self._grids, self._full = [], {}
        for name in self._engine.models.names:
            self._grids.extend(self._grids_of(name, context))
        modelled = {fold.number for grid in self._grids for fold in grid.folds}
        self._observed = {
            number: self._engine.fit.observed(spectrum, number)
            for number, spectrum in enumerate(self._engine.data, 1)
            if number in modelled
        }
        self._structure = self._engine.structure

    def _grids_of(self, name: str, context: ModelContext) -> list[_Grid]:
        """Gather the spectra of a model by energy grid."""
        models = self._engine.models.of(name)
        source, groups = models[0].source, {m.group: i for i, m in enumerate(models)}
        by_edges: dict[bytes, list[tuple[_Fold, sparse.csr_array]]] = {}
        edges_of: dict[bytes, np.ndarray] = {}
        for number, spectrum in enumerate(self._engine.data, 1):
            response = spectrum.responses.get(source)
            if response is None or not spectrum.mask.any() or spectrum.dataGroup not in groups:
                continue
            key = response.edges.tobytes()
            edges_of[key] = response.edges
            fold = _Fold(spectrum, number, groups[spectrum.dataGroup])
            by_edges.setdefault(key, []).append((fold, self._matrix(spectrum, response)))
        return [self._cut(name, edges_of[key], members, models[0], context) for key, members in by_edges.items()]

    def _matrix(self, spectrum: Spectrum, response) -> sparse.csr_array:
        """Return the folding matrix, kept for the settings last used."""
        # the parts are named by identity and kept alive by the value, so that an identity cannot be reused
        key = (id(spectrum), id(response), response.files, spectrum.mask.tobytes())
        found = self._matrices.get(key)
        if found is None:
            found = (response.folding(spectrum.group, spectrum.bins), spectrum, response)
            self._matrices[key] = found
            while len(self._matrices) > KEPT:
                self._matrices.popitem(last=False)
        else:
            self._matrices.move_to_end(key)
        return found[0]

    def _cut(self, name: str, edges: np.ndarray, members: list, model: Model, context: ModelContext) -> _Grid:
        """Keep the energies that some noticed bin responds to."""
        touched = np.unique(np.concatenate([matrix.indices for _, matrix in members]))
        low, high = (0, 1) if touched.size == 0 else (int(touched[0]), int(touched[-1]) + 1)
        for fold, matrix in members:
            fold.keep(matrix[:, low:high])
        cut = edges[low : high + 1]
        return _Grid(name, cut, TreeEvaluator(model, cut, context), [fold for fold, _ in members])

    # -- parameters --------------------------------------------------------------------------------------------

    def _resolve(self, tables: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Put the values of linked parameters into copies of the tables, (n, parameters) by model name."""
        models = self._engine.models
        linked = [p for p in models.all_parameters if p.link_expression is not None]
        if not linked:
            return tables
        tables = {name: table.copy() for name, table in tables.items()}
        done: set[int] = set()

        def value(name: str, index: int) -> np.ndarray:
            parameter = models.parameter(name, index)
            link = parameter.link_expression
            if link is not None and id(parameter) not in done:
                tables[name][:, index - 1] = link.evaluate(value)
                done.add(id(parameter))
            return tables[name][:, index - 1]

        for parameter in linked:
            value(parameter.model.name, parameter.global_index)
        return tables

    # -- evaluation --------------------------------------------------------------------------------------------

    def _fold(self, tables: dict[str, np.ndarray], n: int) -> dict[int, dict[str, np.ndarray]]:
        """Return (n, bins) counts/s per area scale, by spectrum and model name."""
        out: dict[int, dict[str, np.ndarray]] = {}
        for grid in self._grids:
            least = 1 if all(isinstance(fold.matrix, np.ndarray) for fold in grid.folds) else SPARSE_ROWS
            rows = min(max(CHUNK // (grid.edges.size - 1), least), 512)
            size = self._engine.models.of(grid.source)[0].nParameters
            table = tables[grid.source]
            for fold in grid.folds:
                bins = int(fold.spectrum.mask.sum())
                out.setdefault(fold.number, {})[grid.source] = np.empty((n, bins))
            for start in range(0, n, rows):
                part = slice(start, min(start + rows, n))
                done: list[tuple[np.ndarray, np.ndarray]] = []
                for fold in grid.folds:
                    values = table[part, fold.group * size : (fold.group + 1) * size]
                    photons = next((flux for p, flux in done if np.array_equal(p, values)), None)
                    if photons is None:
                        photons = grid.tree(values)
                        done.append((values, photons))
                    out[fold.number][grid.source][part] = fold(photons)
        return out

    def _statistic(self, folded: dict[int, dict[str, np.ndarray]], n: int) -> np.ndarray:
        total = np.zeros(n)
        with np.errstate(all="ignore"):
            for number, (name, seen) in self._observed.items():
                first, *others = folded[number].values()
                rows = max(STATISTIC_CHUNK // max(seen.counts.size, 1), 1)
                for start in range(0, n, rows):
                    part = slice(start, start + rows)
                    model = sum((other[part] for other in others), start=first[part])
                    total[part] += STATISTICS[name](model, seen).sum(axis=1)
        return total

    def batch(
        self, keys: list[tuple[str, int, int]], theta: np.ndarray
    ) -> tuple[dict[int, dict[str, np.ndarray]], np.ndarray]:
        """Evaluate many parameter vectors; see ``AllModels.evaluateBatch``."""
        if theta.ndim != 2 or theta.shape[1] != len(keys):
            raise ModelError(f"theta has shape {theta.shape}, for {len(keys)} parameters it is (n, {len(keys)})")
        self.prepare()
        n, models = theta.shape[0], self._engine.models
        tables = {name: np.repeat(models.table(name)[None, :], n, axis=0) for name in models.names}
        for column, (name, group, index) in enumerate(keys):
            parameter = models(group, name)(index)
            tables[name][:, parameter.global_index - 1] = theta[:, column]
        resolved = self._resolve(tables)
        folded = self._fold(resolved, n)
        statistic = self._statistic(folded, n)
        if self._engine.fit.bayes == "on":
            statistic = statistic + minus_two_log_prior(models.free_parameters, resolved)
        return folded, statistic

    def _current(self) -> tuple[dict[int, dict[str, np.ndarray]], float]:
        """Return folded spectra and statistic of the current values, kept until something changes."""
        if self._values != self._engine.values:
            folded, statistic = self.batch([], np.empty((1, 0)))
            self._now = (folded, float(statistic[0]) if self._observed else 0.0)
            self._values = self._engine.values
        return self._now

    @property
    def statistic(self) -> float:
        """Statistic of the current values: 0 without data or model, -1 where the calculation failed."""
        try:
            return self._current()[1]
        except (ModelError, ArithmeticError, ValueError) as error:
            self._engine.console.warn(f"the statistic could not be computed: {error}")
            return -1.0

    @property
    def spectra_in_use(self) -> dict[int, tuple[str, Observed]]:
        """Spectrum number -> (statistic, data) of all that the statistic is made of."""
        self.prepare()
        return self._observed

    def folded_of(self, model: Model, number: int) -> np.ndarray:
        """Return what ``Model.folded`` gives."""
        found = self._current()[0].get(number, {}).get(model.name)
        if found is None or self._engine.data(number).dataGroup != model.group:
            raise ModelError(f"the model {model.name!r} of data group {model.group} is not used with spectrum {number}")
        return found[0]

    def folded_total(self, number: int) -> np.ndarray:
        """Return the sum over sources, (bins,) counts/s per area scale; zeros where there is no model."""
        parts = self._current()[0].get(number)
        if not parts:
            return np.zeros(int(self._engine.data(number).mask.sum()))
        return sum(parts.values())[0]

    def model_rate(self, spectrum: Spectrum) -> float:
        """Return the predicted counts/s of the noticed bins."""
        return float(self.folded_total(spectrum.index).sum())

    def photons_of(self, model: Model, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Return edges (keV) and photons/cm2/s of a model over the whole grid of a spectrum, 0 for the dummy one."""
        if number == 0:
            edges = self._engine.settings.dummy_edges
        else:
            spectrum = self._engine.data(number)
            response = spectrum.responses.get(model.source)
            if response is None or spectrum.dataGroup != model.group:
                raise ModelError(f"{model!r} is not used with spectrum {number}")
            edges = response.edges
        return edges, self.photons_on(model, edges)

    def photons_on(self, model: Model, edges: np.ndarray, component: int | None = None) -> np.ndarray:
        """Return photons/cm2/s of a model at its current values on any grid.

        Parameters
        ----------
        model : Model
        edges : (m + 1,) float64
            keV.
        component : int, optional
            Position of the one additive component to keep, with all that multiplies it.
        """
        self.prepare()
        tables = self._resolve({name: self._engine.models.table(name)[None, :] for name in self._engine.models.names})
        size = model.nParameters
        first = self._engine.models.position(model) * size
        key = (model.name, edges.tobytes())
        if key not in self._full:
            self._full[key] = TreeEvaluator(model, edges, self.context)
        return self._full[key](tables[model.name][:, first : first + size], component)[0]

    def component_folded(self, spectrum: Spectrum, model: Model, component: int) -> np.ndarray:
        """Return one additive component through the response, (bins,) counts/s per area scale."""
        response = spectrum.responses[model.source]
        photons = self.photons_on(model, response.edges, component)
        return self._matrix(spectrum, response) @ photons


def _narrow(matrix: sparse.csr_array) -> sparse.csr_array:
    """Return a matrix whose indices take half the memory, where their numbers are small enough."""
    matrix = sparse.csr_array(matrix)
    if max(*matrix.shape, matrix.nnz) < np.iinfo(np.int32).max:
        indices, indptr = matrix.indices.astype(np.int32), matrix.indptr.astype(np.int32)
        return sparse.csr_array((matrix.data, indices, indptr), shape=matrix.shape)
    return matrix
