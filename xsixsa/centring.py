"""Prior centring: bounds of the normalisations are widened until the prior predicts as many counts as were observed.

Barret & Dupourque 2024 centre the histogram of total counts of prior-predictive spectra on the observed total: a
network cannot learn what it hardly sees. This changes the prior, hence the posterior and the evidence; it is done on
request only, and what was changed is written into the notes of the prior.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence

import numpy as np
from scipy import special

from xsixsa.distributions import LogUniform, Uniform
from xsixsa.errors import PriorError, UsageError
from xsixsa.inference.coverage import counts_rank
from xsixsa.prior import Prior, explicit_distributions
from xsixsa.session import Session
from xsixsa.simulate import Simulator
from xsixsa.widening import widened_prior

__all__ = ["CentredPrior", "centre", "centre_session"]

DRAWS = 500
TOLERANCE = 0.1
# The search aims at less than the tolerance: 500 draws know a rank to 0.02.
_AIM = 0.7
_FIRST_STEP = 0.5  # decades
_MOST_DECADES = 16.0
_BISECTIONS = 12
# What a centring must not do in words: it does not judge priors without bounds.
_ORIGIN = "centred on the observed counts"


class CentredPrior(dict):
    """A prior as :func:`xsixsa.fit` takes it, by full name of the parameter, that remembers how it was centred.

    Attributes
    ----------
    notes : tuple of str
        What was widened, or why nothing was.
    changed : tuple of str
        Full names of the parameters whose prior is not the one asked for.
    history : list of dict
        ``factor`` by which bounds were moved and ``rank`` of the observed total among the prior-predictive ones, for
        every prior that was tried.
    n_evaluations : int
        Evaluations of the engine that it took.
    seconds : float
        Wall-clock seconds that it took.
    """

    def __init__(self, distributions: Mapping, notes=(), changed=(), history=(), n_evaluations=0, seconds=0.0):
        super().__init__(distributions)
        self.notes, self.changed, self.history = tuple(notes), tuple(changed), list(history)
        self.n_evaluations, self.seconds = n_evaluations, seconds

    @property
    def rank(self) -> float:
        """Share of prior-predictive spectra with fewer counts than the observation."""
        return self.history[-1]["rank"]

    def applied(self, prior: Prior) -> Prior:
        """`prior`, made of this, with its notes and with the origin of what was changed."""
        origins = [
            _ORIGIN if p.full_name in self.changed else origin
            for p, origin in zip(prior.parameters, prior.origins, strict=True)
        ]
        return Prior(prior.parameters, prior.distributions, origins, (*self.notes, *prior.notes))


def centre(
    xspec,
    prior: Mapping | Sequence[Mapping] | None = None,
    *,
    draws: int = DRAWS,
    tolerance: float = TOLERANCE,
    seed: int | None = None,
    workers: int | None = None,
) -> CentredPrior:
    """Widen the bounds of the normalisations until the observed total counts lie near the middle of the predicted ones.

    Where the observation is brighter than most of the spectra that the prior predicts, all upper bounds of
    normalisations are raised by one factor; where it is fainter, all lower bounds are lowered. Only uniform and
    log-uniform priors have bounds that can be moved; a Gaussian is a statement about the value and is left alone.
    A uniform prior can hardly be centred downwards: half of its mass lies above half of its upper bound.

    Parameters
    ----------
    xspec
        Module or session, as for :func:`xsixsa.fit`.
    prior
        As for :func:`xsixsa.fit`.
    draws
        Prior-predictive spectra for every prior that is tried; their noise is the same each time.
    tolerance
        Largest distance of the observation's rank from one half.
    seed
        Seed of the draws.
    workers
        Worker processes; as many as processors by default.

    Returns
    -------
    CentredPrior
        To be given to :func:`xsixsa.fit`, which notes in its result what was widened. The evidence then belongs to this
        wider prior. ``xsixsa.fit(..., centre=True)`` does both, and counts the evaluations.

    Raises
    ------
    PriorError, SessionError, UsageError, WorkerError
        One clear line each.
    """
    if int(draws) != draws or draws < 50:
        raise UsageError(f"draws must be a whole number of at least 50, not {draws!r}")
    if not 0 < tolerance < 0.5:
        raise UsageError(f"tolerance must lie in (0, 0.5), not {tolerance!r}")
    session = xspec if isinstance(xspec, Session) else Session(xspec)
    workers = len(os.sched_getaffinity(0)) if workers is None else int(workers)
    return centre_session(session, prior, np.random.default_rng(seed), workers, draws, tolerance)


def centre_session(session, prior, rng, workers: int, draws: int = DRAWS, tolerance: float = TOLERANCE, delay=0.0):
    """:func:`centre` with everything decided; see there."""
    start = time.perf_counter()
    search = _Search(session, prior, rng, workers, draws, delay)
    history, notes = search.run(tolerance)
    return CentredPrior(
        search.spec, notes, search.changed(), history, search.n_evaluations, time.perf_counter() - start
    )


class _Search:
    """Priors of one session that differ by one factor, and the rank of the observation under each."""

    def __init__(self, session, prior, rng, workers, draws, delay):
        self.session, self.workers, self.delay = session, workers, delay
        self.n_evaluations = 0
        self._simulator = Simulator(session.observations)
        self._noise_seed = int(rng.integers(2**62))
        self.asked = explicit_distributions(session, prior)
        with widened_prior(session, self.asked) as joint:
            self._start = dict(zip([p.full_name for p in joint.parameters], joint.distributions, strict=True))
            self._names = {p.full_name: p.name for p in joint.parameters}
            norms = [p.full_name for p in joint.parameters if p.is_norm]
        self._z = rng.standard_normal((draws, len(self._start)))
        self._bounded = [n for n in norms if isinstance(self._start[n], (Uniform, LogUniform))]
        self.left_alone = [n for n in norms if n not in self._bounded]
        self.spec, self.factor, self._reached = dict(self.asked), 1.0, {}

    def changed(self) -> list[str]:
        """Full names whose distribution is no longer the one that was asked for."""
        return [n for n in self._bounded if str(self._reached.get(n, self._start[n])) != str(self._start[n])]

    def run(self, tolerance: float) -> tuple[list[dict], list[str]]:
        """The search; history and notes."""
        history = []

        def rank(decades: float) -> float:
            found = self._rank(decades)
            history.append({"factor": 10.0**decades, "rank": found})
            return found

        first = rank(0.0)
        if abs(first - 0.5) <= tolerance:
            return history, []
        up = first > 0.5
        if not self._movable(up):
            return history, self._notes(first, first, tolerance, up)
        sign = 1.0 if up else -1.0
        inner, outer, last, moved = 0.0, _FIRST_STEP, first, first
        # Outwards until the middle is passed, or nothing changes any more: hard limits, or a uniform prior.
        while outer <= _MOST_DECADES:
            before = str(self._reached)
            moved = rank(sign * outer)
            if (moved > 0.5) != up or abs(moved - 0.5) <= _AIM * tolerance or str(self._reached) == before:
                break
            inner, outer, last = outer, 2 * outer, moved
        if (moved > 0.5) != up:
            for _ in range(_BISECTIONS):
                if abs(moved - 0.5) <= _AIM * tolerance:
                    break
                middle = 0.5 * (inner + outer)
                moved = rank(sign * middle)
                inner, outer = (middle, outer) if (moved > 0.5) == up else (inner, middle)
        elif abs(last - moved) < 0.01 and abs(moved - 0.5) > tolerance:
            # The last step gained nothing: the prior is not made wider than it helps.
            moved = rank(sign * inner)
        return history, self._notes(first, moved, tolerance, up)

    def _movable(self, up: bool) -> list[str]:
        return [n for n in self._bounded if (self._start[n].high if up else self._start[n].low) > 0]

    def _rank(self, decades: float) -> float:
        factor = 10.0**decades
        moved = {}
        for name in self._movable(decades > 0) if decades else ():
            old = self._start[name]
            moved[name] = type(old)(old.low * min(factor, 1.0), old.high * max(factor, 1.0))
        self.spec, self.factor = {**self.asked, **moved}, factor
        with widened_prior(self.session, self.spec) as joint:
            self._reached = dict(zip([p.full_name for p in joint.parameters], joint.distributions, strict=True))
            theta = joint.ppf(special.ndtr(self._z))
            with self.session.pool(workers=self.workers, delay=self.delay) as pool:
                result = pool.evaluate(theta)
        self.n_evaluations += len(theta)
        valid = (result.reason == 0) & np.isfinite(result.statistic)
        if valid.sum() < 0.05 * len(valid):
            raise PriorError(
                f"only {valid.sum()} of {len(valid)} draws from the prior have a valid statistic: the model fails in "
                "most of the prior, which cannot be centred; narrow it"
            )
        # The same noise each time, so that only the prior changes.
        total = self._simulator.total(np.where(valid[:, None], result.expected, 0.0))[valid]
        return counts_rank(total, self._simulator, np.random.default_rng(self._noise_seed))

    def _notes(self, first: float, last: float, tolerance: float, up: bool) -> list[str]:
        notes, side = [], "upper" if up else "lower"
        for name in self.changed():
            old, new = self._start[name], self._reached[name]
            bounds = (old.high, new.high) if up else (old.low, new.low)
            notes.append(
                f"prior of {self._names[name]}: {side} bound {bounds[0]:.4g} moved to {bounds[1]:.4g} to centre the "
                f"prior on the observed counts, which lay above {100 * first:.0f} % of its spectra and now above "
                f"{100 * last:.0f} %; the evidence is that of this wider prior"
            )
        for name in self.left_alone:
            notes.append(
                f"prior of {self._names[name]}: {self._start[name]} has no bounds and was left alone by centring"
            )
        if abs(last - 0.5) > tolerance:
            why = (
                "nothing more can be gained by its bounds"
                if self._movable(up)
                else "no normalisation has a bound to move"
            )
            notes.append(
                f"the prior could not be centred: the observed counts lie above {100 * last:.0f} % of its spectra, and "
                f"{why}; give the normalisations log-uniform priors that reach further {'up' if up else 'down'}"
            )
        return notes
