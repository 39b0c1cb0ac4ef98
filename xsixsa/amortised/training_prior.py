"""The density that a network's training spectra are drawn from: the prior where it matters.

A network learns the posterior under that density as its prior. Restricting it spares the network the spectra that it
will never meet; the exact correction always uses the full prior and the likelihood, so the restriction costs nothing
but the range in which the network's proposals are good.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from xsixsa.errors import UsageError
from xsixsa.inference.proposals import PriorProposal, Proposal, log_standard_normal

__all__ = ["Drawn", "TrainingPrior"]

# Of the draws asked of the engine at a time, and of all of them: below this acceptance the range is a mistake.
_LEAST_ACCEPTANCE = 2e-3
_FIRST = 2_000


@dataclass(frozen=True)
class Drawn:
    """Parameters with what they make the instrument see.

    Attributes
    ----------
    z : numpy.ndarray
        Shape (n, d).
    exposure : numpy.ndarray
        Seconds, shape (n,).
    expected : numpy.ndarray
        Expected source counts at the pattern's exposure, shape (n, bins).
    """

    z: np.ndarray
    exposure: np.ndarray
    expected: np.ndarray

    def __len__(self) -> int:
        return len(self.z)


class TrainingPrior:
    """Prior of parameters and exposure, restricted to a region, to a range of total counts, or both.

    The exposure is log-uniform over its range. With a range of counts, a draw is kept where the expected counts of all
    noticed bins, background included, lie in it at its exposure: the density is the unrestricted one divided by the
    volume kept, which is measured on the way.

    Parameters
    ----------
    dim
        Number of parameters.
    exposure
        Lowest and highest exposure, s.
    reference
        The pattern's exposure, s: that of expected counts.
    counts
        Lowest and highest expected total counts; None for any.
    region
        A normalised density in z in place of the prior.
    background
        Expected background counts on source, all bins together, at the pattern's exposure.

    Attributes
    ----------
    tried, accepted : int
        Draws made and kept so far.
    """

    def __init__(
        self,
        dim: int,
        exposure: tuple[float, float],
        reference: float,
        counts: tuple[float, float] | None = None,
        region: Proposal | None = None,
        background: float = 0.0,
    ):
        self.dim, self.exposure, self.reference = dim, exposure, reference
        self.counts, self.region, self.background = counts, region, background
        self.tried = self.accepted = 0

    @property
    def varies(self) -> bool:
        """Whether there is a range of exposures."""
        return self.exposure[1] > self.exposure[0]

    @property
    def log_volume(self) -> float:
        """Log of the share of the unrestricted density that the range of counts keeps."""
        return float(np.log(self.accepted / self.tried)) if self.tried else 0.0

    def draw(self, n: int, rng: np.random.Generator, evaluate: Callable) -> Drawn:
        """`n` independent draws.

        Parameters
        ----------
        n
            How many.
        rng
            Source of all randomness.
        evaluate
            ``evaluate(z)`` -> (expected source counts (n, bins), valid (n,)), for instance of a session's pool.

        Raises
        ------
        UsageError
            Hardly any spectrum of the prior has counts in the range, or the model fails in most of it.
        """
        kept: list[Drawn] = []
        have, ask = 0, min(_FIRST, n)
        while have < n:
            z, exposure = self._propose(ask, rng)
            expected, valid = evaluate(z)
            inside = valid & self.contains(expected, exposure)
            self.tried, self.accepted = self.tried + len(z), self.accepted + int(inside.sum())
            kept.append(Drawn(z[inside], exposure[inside], expected[inside]))
            have += int(inside.sum())
            rate = self.accepted / self.tried
            if self.tried >= _FIRST and rate < _LEAST_ACCEPTANCE:
                self._refuse(rate, valid)
            ask = int(np.clip(1.05 * (n - have) / max(rate, _LEAST_ACCEPTANCE) + 50, 1, 50_000))
        return Drawn(
            np.concatenate([k.z for k in kept])[:n],
            np.concatenate([k.exposure for k in kept])[:n],
            np.concatenate([k.expected for k in kept])[:n],
        )

    def _propose(self, n: int, rng) -> tuple[np.ndarray, np.ndarray]:
        z = (self.region or PriorProposal(self.dim)).sample(n, rng)
        low, high = np.log(self.exposure)
        exposure = np.exp(rng.uniform(low, high, len(z))) if self.varies else np.full(len(z), self.exposure[0])
        return z, exposure

    def contains(self, expected: np.ndarray, exposure: np.ndarray) -> np.ndarray:
        """Which expected counts, shape (n, bins), are in the range at exposures of shape (n,)."""
        if self.counts is None:
            return np.ones(len(expected), bool)
        total = (np.asarray(expected, float).sum(axis=1) + self.background) * exposure / self.reference
        return (total >= self.counts[0]) & (total <= self.counts[1])

    def log_prob(self, z: np.ndarray, expected: np.ndarray, exposure: np.ndarray) -> np.ndarray:
        """Log density of z and log exposure, shape (n,); a range of exposures is flat in its logarithm."""
        base = log_standard_normal(z) if self.region is None else self.region.log_prob(z)
        low, high = np.log(self.exposure)
        base = base - (np.log(high - low) if self.varies else 0.0) - self.log_volume
        return np.where(self.contains(expected, exposure), base, -np.inf)

    def _refuse(self, rate: float, valid: np.ndarray) -> None:
        if valid.mean() < 0.05:
            raise UsageError(
                f"only {100 * valid.mean():.1f} % of the draws from the prior have a valid statistic: the model fails "
                "in most of it; narrow the prior"
            )
        raise UsageError(
            f"only {100 * rate:.2g} % of the prior gives {self.counts[0]:g} to {self.counts[1]:g} counts: widen the "
            "range of counts, or narrow the prior of the normalisations"
        )

    def describe(self) -> dict:
        """Plain values: what was drawn from, and the volume kept."""
        return {
            "counts": None if self.counts is None else list(self.counts),
            "exposure": list(self.exposure),
            "region": None if self.region is None else self.region.name,
            "tried": self.tried,
            "accepted": self.accepted,
            "log_volume": self.log_volume,
        }

    def state(self) -> dict:
        """Everything as a tree of arrays and plain values."""
        return {
            **self.describe(),
            "dim": self.dim,
            "reference": self.reference,
            "background": self.background,
            "region": None if self.region is None else self.region.state(),
        }

    @classmethod
    def from_state(cls, tree: dict) -> TrainingPrior:
        """The training prior whose :meth:`state` this is."""
        from xsixsa.amortised.region import Region

        counts = None if tree["counts"] is None else tuple(tree["counts"])
        region = None if tree["region"] is None else Region.from_state(tree["region"])
        made = cls(tree["dim"], tuple(tree["exposure"]), tree["reference"], counts, region, tree["background"])
        made.tried, made.accepted = tree["tried"], tree["accepted"]
        return made
