"""Larger samples of a finished run without any further evaluation of the engine, marked as what they are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr, ndtri

from xsixsa.correction.emulator import Emulator, EmulatorOptions
from xsixsa.correction.evidence import pareto_k
from xsixsa.correction.mixture import temper
from xsixsa.correction.pool import effective_size
from xsixsa.correction.sir import systematic_rows
from xsixsa.correction.unfold import Unfolding, unfolded_mixture
from xsixsa.errors import UsageError
from xsixsa.inference.proposals import log_standard_normal

__all__ = ["EmulatedSample", "emulate"]

_LIKE_THE_POOL = 1e-3


@dataclass(frozen=True)
class EmulatedSample:
    """Equal-weight draws whose likelihood was emulated, not computed.

    Attributes
    ----------
    u : numpy.ndarray
        Draws in the prior's unit cube, shape (n, d).
    log_likelihood : numpy.ndarray
        Emulated -C/2, shape (n,).
    error : float
        Error of log L on held-out evaluations.
    ess : float
        Kish's effective size of the candidates under emulated weights.
    pareto_k : float
        Tail of the emulated weights.
    n_emulated : int
        Emulator calls; the engine was not called.
    """

    names: list[str]
    u: np.ndarray
    log_likelihood: np.ndarray
    error: float
    held_out: int
    gate: float
    ess: float
    pareto_k: float
    n_emulated: int
    to_theta: object = None

    @property
    def theta(self) -> np.ndarray:
        """Draws in XSPEC's units, shape (n, d).

        Raises
        ------
        UsageError
            If no prior was given to go from the unit cube to parameters.
        """
        if self.to_theta is None:
            raise UsageError("parameters of emulated draws need the prior: result.emulate(n, prior=prior)")
        return self.to_theta(self.u)

    def __repr__(self) -> str:
        return (
            f"<EMULATED sample of {len(self.u)} draws of {', '.join(self.names)}: error of log L {self.error:.3f} on "
            f"{self.held_out} held-out evaluations (gate {self.gate:g}), {self.n_emulated} emulator calls, ESS "
            f"{self.ess:.0f}, Pareto k {self.pareto_k:.2f}>"
        )


def emulate(
    result, n: int, *, rng=0, prior=None, options: EmulatorOptions | None = None, oversampling: int = 4
) -> EmulatedSample:
    """`n` equal-weight draws by the emulated likelihood of a run's own evaluations.

    Parameters
    ----------
    result : Result
        A run; its weighted samples are learnt from.
    n
        Draws wanted.
    rng
        Seed or generator.
    prior : Prior, optional
        To turn the draws into parameters; without it they are given in the prior's unit cube.
    options
        Network, training and gate.
    oversampling
        Candidates for each draw.

    Raises
    ------
    UsageError
        If the run has not converged, or the emulator's error exceeds its gate.
    """
    if not result.verdict.converged:
        raise UsageError(f"nothing is emulated from a run that has not converged ({result.verdict})")
    if int(n) != n or n < 1:
        raise UsageError(f"number of draws must be a positive whole number, not {n!r}")
    rng = np.random.default_rng(rng)
    used = result.weights > 0
    z, w = ndtri(np.clip(result.u[used], 1e-16, 1 - 1e-16)), result.weights[used]
    w = w / w.sum()
    emulator = Emulator(options or EmulatorOptions()).fit(z, result.log_likelihood[used], w, rng)
    if not emulator.passes:
        raise UsageError(
            f"the emulator's error of log L on {emulator.held_out} held-out evaluations, {emulator.error:.3f}, exceeds "
            f"its gate of {emulator.options.gate:g}: more evaluations near the posterior would lower it"
        )
    flat, _ = temper(np.log(w), 1000.0, most=0.8)
    unfolding = Unfolding(z, flat)
    proposal = unfolded_mixture(unfolding, z, flat, rng, 1.1, components=3 + z.shape[1])
    drawn = proposal.sample(int(n) * oversampling, rng)
    log_q, log_l = proposal.log_prob(drawn), emulator.log_likelihood(drawn)
    log_w = log_standard_normal(drawn) + log_l - log_q
    # Where hardly a posterior draw of the run lies nothing was learnt: such candidates are not used.
    own = proposal.log_prob(z)
    order = np.argsort(own)
    limit = own[order[np.searchsorted(np.cumsum(w[order]), _LIKE_THE_POOL)]]
    log_w = np.where(log_q < limit, -np.inf, log_w)
    rows = systematic_rows(np.exp(log_w - log_w.max()), int(n), rng)
    return EmulatedSample(
        result.names,
        ndtr(drawn[rows]),
        log_l[rows],
        emulator.error,
        emulator.held_out,
        emulator.options.gate,
        effective_size(log_w),
        pareto_k(log_w),
        emulator.calls,
        None if prior is None else prior.ppf,
    )
