"""Ask the engine for model and statistic at given theta: the only place where it computes."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xsixsa.errors import SessionError
from xsixsa.session.parameters import ModelPart
from xsixsa.session.records import Parameter, Reason

__all__ = ["Evaluator", "probe_points"]

log = logging.getLogger(__name__)

_BATCH_BLOCK = 256
_ROW_BLOCK = 64
_SMALLEST_BLOCK = 16
_BLOCK_BYTES = 1 << 25
"""Expected counts of a block: a high-resolution spectrum gets fewer theta at a time."""

Array = NDArray[np.float64]


def probe_points(parameters: Sequence[Parameter]) -> Array:
    """(k, d) the current values and small moves inside the limits."""
    value = np.array([p.value for p in parameters])
    low = np.array([max(p.min, p.bottom) for p in parameters])
    high = np.array([min(p.max, p.top) for p in parameters])
    step = np.array([max(abs(p.delta), 0.01 * abs(p.value)) for p in parameters])
    rows = [value]
    for sign in (1.0, -1.0, 0.3):
        moved = np.clip(value + sign * step, low, high)
        # a value between its soft and hard limits stays where it is
        rows.append(np.where((value >= low) & (value <= high), moved, value))
    return np.array(rows)


class Evaluator:
    """Sets free parameters and reads the folded model and the fit statistic.

    Model objects are asked for once and kept. It changes the parameters of the session it works on.

    Parameters
    ----------
    xspec
        Module with PyXspec's names.
    parts
        The model of every source and data group.
    parameters
        Free parameters, the columns of theta.
    spectra
        ``(spectrum number, data group, number of noticed bins)`` of every spectrum.
    scale
        (bins,) what turns folded rates into expected counts: exposure, times AREASCAL where rates are per AREASCAL.
    """

    def __init__(
        self,
        xspec: ModuleType,
        parts: Sequence[ModelPart],
        parameters: Sequence[Parameter],
        spectra: Sequence[tuple[int, int, int]],
        scale: Array,
    ) -> None:
        self._models = xspec.AllModels
        self._fit = xspec.Fit
        self._scale = scale
        self._setters = self._group_columns(parts, parameters)
        self._slices = self._bin_slices(spectra)
        self._folders: list[tuple[Any, int]] = []
        """Every (model object, spectrum number) that has a folded model; several sources may feed one spectrum."""
        self.unreached: dict[int, str] = {}
        """Spectra that no source reaches, with what the engine said."""
        self._find_folders(parts, spectra)
        self._keys = [(p.source, p.group, p.local_index) for p in parameters]
        self._last: tuple[list[float], float] | None = None
        self._probes = [row.tolist() for row in probe_points(parameters)]
        self.n_parameters = len(parameters)
        self.n_bins = int(scale.size)

    @property
    def has_batch(self) -> bool:
        """Whether the engine evaluates many theta in one call."""
        return hasattr(self._models, "evaluateBatch")

    @staticmethod
    def _group_columns(parts: Sequence[ModelPart], parameters: Sequence[Parameter]) -> list[tuple[Any, dict[int, int]]]:
        """For each model object: parameter number -> column of theta."""
        setters = []
        for part in parts:
            columns = {
                p.local_index: i for i, p in enumerate(parameters) if (p.source, p.group) == (part.source, part.group)
            }
            if columns:
                setters.append((part.model, columns))
        return setters

    @staticmethod
    def _bin_slices(spectra: Sequence[tuple[int, int, int]]) -> dict[int, slice]:
        ends = np.cumsum([bins for _, _, bins in spectra])
        return {number: slice(int(end) - bins, int(end)) for (number, _, bins), end in zip(spectra, ends, strict=True)}

    def _find_folders(self, parts: Sequence[ModelPart], spectra: Sequence[tuple[int, int, int]]) -> None:
        for number, group, bins in spectra:
            said, reached = "", False
            for part in parts:
                if part.group != group:
                    continue
                # a source without a response for this spectrum raises a plain Exception
                try:
                    size = len(part.model.folded(number))
                except Exception as error:
                    said = str(error).strip()
                    continue
                if size == bins:
                    self._folders.append((part.model, number))
                    reached = True
                else:
                    said = f"its model has {size} bins, not {bins}"
            if not reached:
                self.unreached[number] = said

    def refuse_unreached(self, names: Mapping[int, str]) -> None:
        """Raise SessionError when no source reaches a spectrum; `names` of all spectra by number."""
        for number, said in self.unreached.items():
            raise SessionError(f"no model reaches spectrum {number} ({names[number]})" + (f": {said}" if said else ""))

    @property
    def block_size(self) -> int:
        """Theta that a worker gets at a time; it may depend on anything but the number of workers."""
        most = _BATCH_BLOCK if self.has_batch else _ROW_BLOCK
        return min(most, max(_SMALLEST_BLOCK, _BLOCK_BYTES // (8 * self.n_bins)))

    def row(self, theta: Array, expected: Array | None) -> tuple[float, Reason]:
        """Evaluate one theta with a single recalculation.

        Parameters
        ----------
        theta
            (d,) inside the hard limits: XSPEC drops others without a word.
        expected
            (bins,) filled with expected counts; None to skip them.

        Returns
        -------
        The statistic (NaN when invalid) and the reason.
        """
        values = theta.tolist()  # Python floats: PyXspec refuses NumPy's
        try:
            last, statistic = self._last, self._set(values)
            self._last = (values, statistic)
            if last is not None and statistic == last[1] and values != last[0]:
                statistic = self._ask_again(values, statistic)
            if expected is not None:
                self._fold(expected)
        # whatever the engine raises (PyXspec: a plain Exception) makes this theta invalid, not the run
        except Exception as error:
            log.debug("evaluation failed: %s", error)
            statistic, reason = np.nan, Reason.FAILED
        else:
            reason = _judge(statistic, expected)
        if reason != Reason.OK:
            statistic = np.nan
            if expected is not None:
                expected[:] = np.nan
        return statistic, reason

    def _set(self, values: list[float]) -> float:
        arguments: list[Any] = []
        for model, columns in self._setters:
            arguments += [model, {number: values[column] for number, column in columns.items()}]
        self._models.setPars(*arguments)
        return float(self._fit.statistic)

    def _ask_again(self, values: list[float], statistic: float) -> float:
        """The statistic at `values`, or -1 where it cannot be computed.

        A calculation that fails inside XSPEC (a table model outside its grid) leaves model and statistic of the theta
        before, without a word. The same statistic at another theta is therefore asked for again after others: one
        that follows them is theirs.
        """
        for probe in self._probes:
            other = self._set(probe)
            self._last = (probe, other)
            if other == statistic or not np.isfinite(other):
                continue
            again = self._set(values)
            if again == other:
                return -1.0
            self._last = (values, again)
            return again
        self._last = (values, self._set(values))
        return statistic

    def _fold(self, expected: Array) -> None:
        expected[:] = 0.0
        for model, number in self._folders:
            where = self._slices[number]
            expected[where] += np.array(model.folded(number), dtype=np.float64)
        expected *= self._scale

    def batch(self, theta: Array, expected: Array | None, statistic: Array, reason: NDArray[np.uint8]) -> None:
        """Evaluate (n, d) theta in one call of an engine that can; fills the given arrays."""
        folded, values = self._models.evaluateBatch(self._keys, theta)
        statistic[:] = values
        reason[:] = _judge_all(statistic)
        if expected is not None:
            expected[:] = 0.0
            for number, by_source in folded.items():
                for model in by_source.values():
                    expected[:, self._slices[number]] += model
            expected *= self._scale
            broken = ~np.all(np.isfinite(expected), axis=1) & (reason == Reason.OK)
            reason[broken] = Reason.NOT_FINITE
            expected[reason != Reason.OK] = np.nan
        statistic[reason != Reason.OK] = np.nan


def _judge(statistic: float, expected: Array | None) -> Reason:
    """-1 is a swallowed exception; exactly 0 means that nothing was compared."""
    if not np.isfinite(statistic):
        return Reason.NOT_FINITE
    if statistic in (-1.0, 0.0):
        return Reason.FAILED
    if expected is not None and not np.all(np.isfinite(expected)):
        return Reason.NOT_FINITE
    return Reason.OK


def _judge_all(statistic: Array) -> NDArray[np.uint8]:
    reason = np.full(statistic.shape, Reason.OK, dtype=np.uint8)
    reason[(statistic == -1.0) | (statistic == 0.0)] = Reason.FAILED
    reason[~np.isfinite(statistic)] = Reason.NOT_FINITE
    return reason
