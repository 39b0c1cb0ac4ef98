"""Is this spectrum like those that the network was trained on?

A network answers any spectrum, also one that its model cannot make. Four questions are put to each, and the answers are
compared with those of simulated spectra that no fit has seen, so that the rate of false alarms is known:

* *distance*: how far is its summary from the nearest simulated ones?
* *residual*: how well do the spectra that the model can make, reduced to a few components, reproduce it? The summary
  may ignore a line; the counts do not.
* *local*: the same in the worst few neighbouring bins, where a line is not drowned in the noise of all others.
* *counts*: are there fewer or more than in any of the simulated spectra?

The first three become one probability, that of an answer at least as odd as the oddest of the three. sbi's own test
(maximum mean discrepancy) compares a set of observations with simulations and says next to nothing about one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from xsixsa.diagnostics.goodness import cash_moments
from xsixsa.errors import UsageError
from xsixsa.session.statistics import cstat

__all__ = ["Familiar", "Familiarity"]

_NEIGHBOURS = 10
_REALISATIONS = 4
_LEAST_SPECTRA = 200
# Components are added until the noiseless spectra are reproduced to this much C-stat in 99.5 % of cases.
_LOSS = 0.5
_MOST_COMPONENTS = 24
_WINDOWS = (1, 2, 4, 8)
_SCORING_STEPS = 25
_CHUNK = 1_000
TESTS = ("distance", "residual", "local")


@dataclass(frozen=True)
class Familiar:
    """Answers for m spectra.

    Attributes
    ----------
    p : numpy.ndarray
        Probability of a simulated spectrum at least as odd, shape (m,).
    tests : dict
        The same for each of ``distance``, ``residual`` and ``local`` alone.
    total : numpy.ndarray
        Counts on source.
    flagged : numpy.ndarray
        Whether it is unlike the training set, shape (m,).
    reasons : list of list of str
        Why, for each spectrum; empty where it is like the others.
    """

    p: np.ndarray
    tests: dict[str, np.ndarray]
    total: np.ndarray
    flagged: np.ndarray
    reasons: list[list[str]]

    def __len__(self) -> int:
        return len(self.p)

    def __getitem__(self, i: int) -> dict:
        return {
            "p": float(self.p[i]),
            **{name: float(p[i]) for name, p in self.tests.items()},
            "flagged": bool(self.flagged[i]),
            "reasons": list(self.reasons[i]),
        }


class Familiarity:
    """What simulated spectra look like, and how odd another one is.

    Made by :meth:`fit`; :meth:`state` and :meth:`from_state` keep it with the network.

    Attributes
    ----------
    false_alarm : float
        Share of good spectra that are flagged.
    counts : tuple of float
        Fewest and most counts of the simulated spectra.
    """

    def __init__(self, *, centre, whiten, reference, basis, edges, n_bins, counts, null, null_least, false_alarm):
        self._centre, self._whiten, self._reference = centre, whiten, reference
        self._basis, self._edges, self._n_bins = basis, edges, int(n_bins)
        self.counts, self._null, self._null_least = (float(counts[0]), float(counts[1])), null, null_least
        self.false_alarm = float(false_alarm)

    @classmethod
    def fit(cls, net, drawn, rng: np.random.Generator, false_alarm: float = 0.01) -> Familiarity:
        """Learn from simulations that took no part in training.

        Parameters
        ----------
        net
            The network, for its summaries.
        drawn
            Draws of the training distribution with their expected counts, as ``net.proposal.draw`` gives them: half
            become what others are compared with, half tell how odd a good spectrum is. A thousand or more.
        rng
            Draws the noise.
        false_alarm
            Share of good spectra that may be flagged.

        Raises
        ------
        UsageError
            Too few simulations for this share, or a share outside (0, 0.5).
        """
        least = max(_LEAST_SPECTRA, int(np.ceil(4 / false_alarm))) if 0 < false_alarm < 0.5 else 0
        if not least:
            raise UsageError(f"false_alarm must lie between 0 and 0.5, not {false_alarm!r}")
        if len(drawn) < least:
            raise UsageError(f"{len(drawn)} simulations cannot tell a false-alarm rate of {false_alarm:g}: {least} can")
        half = len(drawn) // 2
        total = np.asarray(net.total(drawn.expected, drawn.exposure), np.float64)
        known, held = slice(0, half), slice(half, None)
        first = rng.poisson(total[known]).astype(np.float64)
        summary = np.asarray(net.summarise(first, drawn.exposure[known]), np.float64)
        centre, whiten = _whitening(summary)
        made = cls(
            centre=centre,
            whiten=whiten,
            reference=((summary - centre) @ whiten).astype(np.float32),
            basis=_components(total[known]),
            edges=np.asarray(net.layout.observation.edges, float),
            n_bins=net.simulator.n_bins,
            counts=(0.0, np.inf),
            null={},
            null_least=np.empty(0),
            false_alarm=false_alarm,
        )
        made._calibrate(net, total[held], drawn.exposure[held], rng)
        return made

    def _calibrate(self, net, total, exposure, rng) -> None:
        """Answers of good spectra: several realisations of every one held back."""
        found, seen = [], []
        for _ in range(_REALISATIONS):
            counts = rng.poisson(total).astype(np.float64)
            found.append(self._answers(net, counts, exposure)[0])
            seen.append(counts[:, : self._n_bins].sum(axis=1))
        self._null = {name: np.sort(np.concatenate([f[name] for f in found])) for name in TESTS}
        self.counts = float(np.min(seen)), float(np.max(seen))
        everything = {name: np.concatenate([f[name] for f in found]) for name in TESTS}
        self._null_least = np.sort(np.min([self._p(name, everything[name]) for name in TESTS], axis=0))

    def _p(self, name: str, values: np.ndarray) -> np.ndarray:
        """Share of good spectra that are at least as odd."""
        null = self._null[name]
        above = len(null) - np.searchsorted(null, values, side="left")
        return (1.0 + above) / (1.0 + len(null))

    def check(self, net, counts: np.ndarray, exposure=None) -> Familiar:
        """Compare spectra with the simulated ones.

        Parameters
        ----------
        net
            The network that this was made for.
        counts
            Vectors as the network takes them, shape (m, size).
        exposure
            Seconds, shape (m,), one number, or None.
        """
        counts = np.atleast_2d(np.asarray(counts, np.float64))
        answers, place = self._answers(net, counts, exposure)
        tests = {name: self._p(name, answers[name]) for name in TESTS}
        least = np.min(list(tests.values()), axis=0)
        null = self._null_least
        p = (1.0 + np.searchsorted(null, least, side="right")) / (1.0 + len(null))
        total = counts[:, : self._n_bins].sum(axis=1)
        outside = (total < self.counts[0]) | (total > self.counts[1])
        flagged = (p <= self.false_alarm) | outside
        reasons = [self._reasons(i, tests, answers, place, total, outside) if flagged[i] else [] for i in range(len(p))]
        return Familiar(p, tests, total, flagged, reasons)

    def _reasons(self, i: int, tests, answers, place, total, outside) -> list[str]:
        found = []
        if outside[i]:
            found.append(
                f"{total[i]:.0f} counts, and the network was trained on spectra of {self.counts[0]:.0f} to "
                f"{self.counts[1]:.0f}"
            )
        odd = [name for name in TESTS if tests[name][i] <= self.false_alarm]
        if "local" in odd:
            start, stop, sigma = place[i]
            low, high = self._edges[start : stop + 1].min(), self._edges[start : stop + 1].max()
            word = "more" if sigma > 0 else "fewer"
            found.append(
                f"{word} counts at {low:.3g}-{high:.3g} keV than any spectrum of the model has "
                f"({abs(sigma):.1f} sigma, p {tests['local'][i]:.1e})"
            )
        if "residual" in odd:
            found.append(
                f"no spectrum of the model is close to it (C-stat {answers['residual'][i]:+.1f} sigma from "
                f"expectation, p {tests['residual'][i]:.1e})"
            )
        if "distance" in odd:
            found.append(f"its summary is far from all simulated ones (p {tests['distance'][i]:.1e})")
        return found

    def _answers(self, net, counts, exposure) -> tuple[dict[str, np.ndarray], list]:
        summary = np.asarray(net.summarise(counts, exposure), np.float64)
        distance = self._distance((summary - self._centre) @ self._whiten)
        expected = _reproduce(self._basis, counts)
        local, place = _local(counts, expected, self._n_bins)
        residual = _residual(counts, expected, len(self._basis))
        return {"distance": distance, "residual": residual, "local": local}, place

    def _distance(self, points: np.ndarray) -> np.ndarray:
        """Mean distance to the nearest simulated summaries, shape (m,)."""
        reference = self._reference.astype(np.float64)
        norm, k = (reference**2).sum(axis=1), min(_NEIGHBOURS, len(reference))
        out = np.empty(len(points))
        for start in range(0, len(points), _CHUNK):
            x = points[start : start + _CHUNK]
            square = np.maximum((x**2).sum(axis=1)[:, None] + norm - 2 * x @ reference.T, 0.0)
            out[start : start + _CHUNK] = np.sqrt(np.partition(square, k - 1, axis=1)[:, :k]).mean(axis=1)
        return out

    def state(self) -> dict:
        """Everything as a tree of arrays and plain values."""
        tree = {"centre": self._centre, "whiten": self._whiten, "reference": self._reference, "basis": self._basis}
        tree |= {"edges": self._edges, "n_bins": self._n_bins, "counts": list(self.counts)}
        return tree | {"null": dict(self._null), "null_least": self._null_least, "false_alarm": self.false_alarm}

    @classmethod
    def from_state(cls, tree: dict) -> Familiarity:
        """The object whose :meth:`state` this is."""
        return cls(**tree)


def _whitening(summary: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Centre and matrix that give summaries unit covariance; directions without any spread are left as they are."""
    centre = summary.mean(axis=0)
    values, vectors = np.linalg.eigh(np.cov(summary.T).reshape(summary.shape[1], -1))
    floor = 1e-6 * max(values.max(), 1e-12)
    return centre, vectors / np.sqrt(np.maximum(values, floor))


def _components(total: np.ndarray) -> np.ndarray:
    """Orthonormal components (q, size) of the square roots of noiseless spectra.

    In square roots Poisson noise is the same in every bin, and what the components leave out of a spectrum is its loss
    in C-stat divided by four.
    """
    root = np.sqrt(total)
    vectors = np.linalg.svd(root, full_matrices=False)[2][: min(_MOST_COMPONENTS, *root.shape)]
    lost = (root**2).sum(axis=1)
    for q, vector in enumerate(vectors, start=1):
        lost = lost - (root @ vector) ** 2
        if np.quantile(4 * lost, 0.995) < _LOSS:
            return vectors[:q]
    return vectors


def _reproduce(basis: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Most likely expectation within the span of the components, by Fisher scoring, shape (m, size).

    The Fisher information of the components is 4 times the unit matrix for any expectation, so a step needs no
    inversion.
    """
    coefficient = np.sqrt(counts + 0.375) @ basis.T
    for _ in range(_SCORING_STEPS):
        root = np.maximum(coefficient @ basis, 0.05)
        # a count where hardly any is expected would send the step far beyond its goal
        coefficient = coefficient + 0.5 * np.clip(counts / root - root, -20 * root, 20 * (1 + root)) @ basis.T
    return np.maximum(coefficient @ basis, 0.05) ** 2


def _residual(counts: np.ndarray, expected: np.ndarray, n_components: int) -> np.ndarray:
    """C-stat in units of its expected scatter (Kaastra 2017), shape (m,)."""
    mean, variance = cash_moments(expected)
    return (cstat(counts, expected) - mean.sum(axis=1) + n_components) / np.sqrt(variance.sum(axis=1))


def _local(counts: np.ndarray, expected: np.ndarray, n_bins: int) -> tuple[np.ndarray, list[tuple[int, int, float]]]:
    """Largest significance of a run of neighbouring bins on source, and for each spectrum its ends and sign."""
    s, m = counts[:, :n_bins], expected[:, :n_bins]
    best, place = np.full(len(s), -np.inf), np.zeros((len(s), 3))
    cumulative_s, cumulative_m = (np.pad(np.cumsum(x, axis=1), ((0, 0), (1, 0))) for x in (s, m))
    for width in _WINDOWS:
        if width > n_bins:
            break
        a, b = (c[:, width:] - c[:, :-width] for c in (cumulative_s, cumulative_m))
        sigma = np.sqrt(np.maximum(2 * (b - a + a * np.log(np.where(a > 0, a, 1.0) / b)), 0.0))
        where = sigma.argmax(axis=1)
        rows = np.arange(len(s))
        better = sigma[rows, where] > best
        best = np.where(better, sigma[rows, where], best)
        sign = np.sign(a[rows, where] - b[rows, where])
        place[better] = np.stack([where, where + width - 1, sign * sigma[rows, where]], axis=1)[better]
    return best, [(int(i), int(j), float(x)) for i, j, x in place]
