"""Spectral summaries: statistics of the counts that an astronomer would name."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from xsixsa.errors import UsageError
from xsixsa.simulate import Segment
from xsixsa.summaries.base import Standardiser, Summary, noisy, pack, unpack
from xsixsa.summaries.statistics import Intervals, interval_statistics, whole_statistics

__all__ = ["Spectral"]

_CHUNK = 2_000_000
_NAMED = 6
# Mean energies in narrow intervals vary by fractions of an electronvolt.
_LEAST_SPREAD = 1e-8
_MARGIN = 0.05


class Spectral(Summary):
    """Moments, percentiles and entropy of the counts, and sums, mean energies, ratios of energy intervals.

    For every spectrum of a joint fit, and for every off-source spectrum, those of :mod:`xsixsa.summaries.statistics`.
    A statistic is dropped when the observation lies outside its range over one noisy draw of every simulation of the
    training set, widened by a twentieth on either side: there a network would extrapolate. So is one that does not
    vary. Should no statistic cover the observation, all are kept, and that is said.

    Parameters
    ----------
    intervals
        Energy intervals in each spectrum; None: one for every ten bins, at least 4, at most 64.
    """

    name = "spectral"

    def __init__(self, intervals: int | None = None):
        super().__init__()
        if intervals is not None and (int(intervals) != intervals or intervals < 1):
            raise UsageError(f"energy intervals must be a whole number of at least 1, not {intervals!r}")
        self.intervals = None if intervals is None else int(intervals)
        self.kept: tuple[str, ...] = ()
        self._scale: Standardiser | None = None
        self._used: np.ndarray | None = None
        self._parts: list[tuple[str, slice, Intervals]] = []

    def prepare(self, segments: Sequence[Segment], observed: np.ndarray | None = None) -> None:
        """See :meth:`Summary.prepare`; the energies are needed."""
        super().prepare(segments, observed)
        self._parts = []
        for s in self.segments:
            bins = s.stop - s.start
            number = self.intervals or int(np.clip(bins // 10, min(4, bins), 64))
            self._parts.append((s.name, slice(s.start, s.stop), Intervals(s.edges, number)))

    def settings(self) -> dict:
        """See :meth:`Summary.settings`."""
        return {"intervals": self.intervals}

    def fit(self, total: np.ndarray, rng: np.random.Generator) -> None:
        """See :meth:`Summary.fit`; which statistics are dropped is decided anew in every round."""
        if not self._parts:
            raise UsageError("spectral summaries need the energies of the bins: call prepare() or make_summary() first")
        names, values = self._compute(noisy(total, rng))
        used = values.std(axis=0) > _LEAST_SPREAD
        dropped, uncovered = [], False
        if self.observed is not None:
            seen = self._compute(np.asarray(self.observed, float)[None])[1][0]
            low, high = values.min(axis=0), values.max(axis=0)
            # Of a few hundred draws the extremes are passed by chance: a little further out is no extrapolation.
            covered = (seen >= low - _MARGIN * (high - low)) & (seen <= high + _MARGIN * (high - low))
            uncovered = not (used & covered).any()
            if not uncovered:
                dropped = [n for n, u, c in zip(names, used, covered, strict=True) if u and not c]
                used &= covered
        if not used.any():
            raise UsageError("no spectral statistic varies over the prior: all simulated spectra are the same")
        self._used, self.kept = np.flatnonzero(used), tuple(np.array(names)[used])
        self._scale = Standardiser(values[:, used], least=_LEAST_SPREAD)
        self.history = [{"kept": len(self.kept), "of": len(names), "dropped": dropped}]
        self.notes = _notes(dropped, len(names), uncovered)

    def transform(self, counts: np.ndarray) -> np.ndarray:
        """See :meth:`Summary.transform`."""
        counts = np.asarray(counts)
        step = max(1, _CHUNK // max(counts.shape[1], 1))
        blocks = [
            self._scale(self._compute(counts[i : i + step])[1][:, self._used]) for i in range(0, len(counts), step)
        ]
        return np.concatenate(blocks) if blocks else np.empty((0, len(self._used)), np.float32)

    def state(self) -> dict:
        """See :meth:`Summary.state`; the observation is not part of it."""
        layout = [[s.name, s.start, s.stop, bool(s.off_source)] for s in self.segments]
        return {
            "name": self.name,
            "settings": pack(intervals=self.intervals, layout=layout, kept=self.kept),
            "edges": np.concatenate([s.edges for s in self.segments]),
            "used": self._used,
            "mean": self._scale.mean,
            "scale": self._scale.scale,
        }

    @classmethod
    def from_state(cls, state: dict) -> Spectral:
        """See :meth:`Summary.from_state`."""
        settings = unpack(state["settings"])
        made, edges = cls(settings["intervals"]), np.asarray(state["edges"], float)
        made.prepare([Segment(name, a, b, edges[a:b], off) for name, a, b, off in settings["layout"]])
        made._used, made.kept = np.asarray(state["used"], int), tuple(settings["kept"])
        made._scale = Standardiser.of(state["mean"], state["scale"])
        return made

    def _compute(self, counts: np.ndarray) -> tuple[list[str], np.ndarray]:
        """Names and values of all statistics, shape (n, k)."""
        names, values = [], []
        for spectrum, bins, intervals in self._parts:
            part = np.asarray(counts[:, bins], np.float64)
            for found, numbers in (whole_statistics(part), interval_statistics(part, intervals)):
                names += [f"{name} of spectrum {spectrum}" if len(self._parts) > 1 else name for name in found]
                values.append(numbers)
        return names, np.concatenate(values, axis=1)


def _notes(dropped: list[str], number: int, uncovered: bool) -> tuple[str, ...]:
    if uncovered:
        return ("no spectral statistic of the simulations covers the observation: does the prior allow it?",)
    if not dropped:
        return ()
    shown = ", ".join(dropped[:_NAMED]) + (f" and {len(dropped) - _NAMED} more" if len(dropped) > _NAMED else "")
    return (f"{len(dropped)} of {number} spectral statistics dropped, which do not cover the observation: {shown}",)
