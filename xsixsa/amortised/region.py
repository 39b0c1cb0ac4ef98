"""The part of the prior where the spectra at hand have their posteriors.

A small network gives each of them a coarse posterior; a Student t mixture fitted to draws of all describes their union
in a few numbers, and the prior is truncated to where that mixture is dense (as Deistler et al. 2022 do for one
observation). Inside, the density is the prior's: a network trained there learns the posterior under the prior, not
under something that already favours the coarse one.
"""

from __future__ import annotations

import numpy as np
from scipy.special import logsumexp

from xsixsa.correction.mixture import fit_student_mixture
from xsixsa.correction.pool import effective_size
from xsixsa.inference.proposals import Proposal, StudentMixture, _Box, log_standard_normal

__all__ = ["Region"]

# Below this share of its box drawing from the box and rejecting takes too long.
_LEAST_ACCEPTANCE = 2e-3
_COMPONENTS = 12
# Coarse posteriors are wider than exact ones as a rule; where they are not, this widens the union.
_WIDEN = 1.5
_QUANTILE = 1e-3
# Draws that measure threshold and volume.
_POINTS = 200_000
# Effective candidates for each draw where the region is resampled instead, and how much wider than the mixture the
# candidates may be: the widening that wastes fewest is taken.
_CANDIDATES = 8
_WIDER = (2.0, 4.0, 8.0, 16.0)


class Region(Proposal):
    """Prior truncated to the region where a mixture of Student t densities exceeds a threshold, inside a box around it.

    Parameters
    ----------
    mixture
        Density whose highest-density region is kept.
    threshold
        Log density at its edge.
    box
        Rotated box around the region.
    acceptance
        Share of the prior inside the box that lies in the region.
    log_volume
        Log of the prior mass inside the region.
    """

    name = "union of coarse posteriors"

    def __init__(self, mixture: StudentMixture, threshold: float, box: _Box, acceptance: float, log_volume: float):
        self.mixture, self.threshold, self._box = mixture, threshold, box
        self.acceptance, self.log_volume = acceptance, log_volume
        self._wider, self._rate = _WIDER[0], 0.0

    @property
    def dim(self) -> int:
        """Number of parameters."""
        return self.mixture.dim

    @classmethod
    def around(cls, draws: np.ndarray, rng: np.random.Generator) -> Region:
        """Region around pooled draws of the coarse posteriors, equally many of each, shape (n, d) in z."""
        n = len(draws)
        mixture = fit_student_mixture(draws, np.full(n, 1.0 / n), rng, _COMPONENTS).widened(_WIDEN)
        points = mixture.sample(_POINTS, rng)
        log_density = mixture.log_prob(points)
        threshold = float(np.quantile(log_density, _QUANTILE))
        box = _Box.around(points[log_density >= threshold], margin=0.05)
        inside = mixture.log_prob(box.sample(_POINTS, rng)) >= threshold
        made = cls(mixture, threshold, box, float(inside.mean()), 0.0)
        if made.acceptance >= _LEAST_ACCEPTANCE:
            made.log_volume = float(box.log_mass + np.log(made.acceptance))
        else:
            made._choose_candidates(rng)
            _, log_w = made._candidates(_POINTS, rng)
            made.log_volume = float(logsumexp(log_w) - np.log(_POINTS))
        return made

    def contains(self, z: np.ndarray) -> np.ndarray:
        """Which points lie in the region, shape (n,)."""
        inside = self._box.contains(z)
        inside[inside] = self.mixture.log_prob(z[inside]) >= self.threshold
        return inside

    def sample(self, n, rng):
        if self.acceptance < _LEAST_ACCEPTANCE:
            return self._resample(n, rng)
        kept: list[np.ndarray] = []
        while sum(map(len, kept)) < n:
            z = self._box.sample(min(int(1.1 * n / self.acceptance) + 100, 200_000), rng)
            kept.append(z[self.mixture.log_prob(z) >= self.threshold])
        return np.concatenate(kept)[:n]

    def _resample(self, n: int, rng) -> np.ndarray:
        z, log_w = self._candidates(int(_CANDIDATES * n / self._rate) + 1, rng)
        # Largest perturbed weights (Efraimidis & Spirakis 2006): a resampling without repeats.
        keys = log_w - np.log(rng.exponential(size=len(z)))
        chosen = np.argpartition(-keys, n - 1)[:n]
        return z[rng.permutation(chosen)]

    def _choose_candidates(self, rng) -> None:
        for wider in _WIDER:
            before, self._wider = self._wider, wider
            _, log_w = self._candidates(_POINTS // 10, rng)
            rate = effective_size(log_w) / len(log_w)
            if rate <= self._rate:
                self._wider = before
            else:
                self._rate = rate

    def _candidates(self, n: int, rng) -> tuple[np.ndarray, np.ndarray]:
        """Draws of the widened mixture with their log weights towards the prior inside the region."""
        wide = self.mixture.widened(self._wider, df=30.0)
        z = wide.sample(n, rng)
        return z, np.where(self.contains(z), log_standard_normal(z) - wide.log_prob(z), -np.inf)

    def log_prob(self, z):
        return np.where(self.contains(z), log_standard_normal(z) - self.log_volume, -np.inf)

    def state(self) -> dict:
        """Everything as a tree of arrays and plain values."""
        m, b = self.mixture, self._box
        tree = {"weights": m.weights, "means": m.means, "scales": m.scales, "df": m.df, "threshold": self.threshold}
        tree |= {"rotation": b.rotation, "low": b.low, "high": b.high}
        tree |= {"acceptance": self.acceptance, "log_volume": self.log_volume}
        return tree | {"wider": self._wider, "rate": self._rate}

    @classmethod
    def from_state(cls, tree: dict) -> Region:
        """The region whose :meth:`state` this is."""
        mixture = StudentMixture(tree["weights"], tree["means"], tree["scales"], tree["df"])
        box = _Box(tree["rotation"], tree["low"], tree["high"])
        made = cls(mixture, tree["threshold"], box, tree["acceptance"], tree["log_volume"])
        made._wider, made._rate = tree["wider"], tree["rate"]
        return made
