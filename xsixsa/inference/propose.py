"""Where the next round draws: proposals made from what the rounds have learnt so far."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np

from xsixsa.errors import UsageError
from xsixsa.inference.proposals import MixtureProposal, PriorProposal, Proposal, RegionPrior, TruncatedPrior
from xsixsa.inference.restrict import RestrictedPrior, Validity, total_counts
from xsixsa.options import Options

__all__ = ["Next", "Seen", "next_proposal", "regions"]

log = logging.getLogger(__name__)

# Below this share of its box a region costs more to draw from than it saves.
_LEAST_ACCEPTANCE = 2e-3


@dataclass(frozen=True)
class Seen:
    """Simulations so far: standard-normal coordinates, noiseless vectors and log-likelihood of the valid ones."""

    z: np.ndarray
    total: np.ndarray
    log_likelihood: np.ndarray


@dataclass(frozen=True)
class Next:
    """Proposal of the next round.

    Attributes
    ----------
    proposal : Proposal
        With its defensive share of the prior.
    log_volume, log_volume_err : float
        Of the smallest region in it, as log of the prior mass, and the standard error; NaN where there is none.
    notes : tuple of str
        What could not be made, and what took its place.
    """

    proposal: Proposal
    log_volume: float = float("nan")
    log_volume_err: float = float("nan")
    notes: tuple[str, ...] = ()


def regions(proposal: Proposal) -> list[RegionPrior]:
    """Regions of the prior that a proposal is made of."""
    parts = getattr(proposal, "parts", [proposal])
    return [p for p in parts if isinstance(p, RegionPrior)]


def next_proposal(
    options: Options, neural: Proposal | None, seen: Seen, present: Proposal, simulator, rng: np.random.Generator
) -> Next:
    """The proposal that the options ask for, from the neural posterior or the simulations so far.

    Parameters
    ----------
    options
        ``proposal``, ``quantile``, ``restrict`` and ``defensive``.
    neural
        Neural posterior at the observation; None where the options ask for nothing that needs it.
    seen
        Simulations of all rounds.
    present
        Proposal of the present round.
    simulator
        Knows which numbers of a vector are counts on source.
    rng
        Source of randomness.
    """
    parts, notes = [], []
    for kind in options.proposals:
        if kind == "truncated":
            part, note = _truncated(options, neural, rng)
        elif kind == "restricted":
            part, note = _restricted(options, seen, present, simulator, rng)
        else:
            part, note = neural, ""
        if note:
            notes.append(note)
            log.info(note)
        if part is not None and part not in parts:
            parts.append(part)
    prior = PriorProposal(seen.z.shape[1])
    if not parts:
        return Next(prior, 0.0, 0.0, tuple(notes))
    share = (1 - options.defensive) / len(parts)
    name = " and ".join(p.name for p in parts)
    fractions = [*([share] * len(parts)), options.defensive]
    if not options.defensive:
        fractions.pop()
    mixture = MixtureProposal([*parts, prior][: len(fractions)], fractions, name=name)
    found = sorted(regions(mixture), key=lambda r: r.log_volume)
    if not found:
        return Next(mixture, notes=tuple(notes))
    return Next(mixture, float(found[0].log_volume), found[0].log_volume_err, tuple(notes))


def _truncated(options: Options, neural: Proposal, rng) -> tuple[Proposal, str]:
    region = TruncatedPrior(neural, rng, quantile=options.quantile)
    if region.acceptance < _LEAST_ACCEPTANCE:
        return neural, f"the region fills {region.acceptance:.1e} of its box: drawing from the neural posterior instead"
    return region, ""


def _restricted(options: Options, seen: Seen, present: Proposal, simulator, rng) -> tuple[Proposal | None, str]:
    validity, before = Validity.of(options.restrict), regions(present)
    known = [r for r in before if isinstance(r, RestrictedPrior)]
    inside = known[0].contains(seen.z) if known else np.ones(len(seen.z), bool)
    valid = validity(total_counts(seen.total, simulator), seen.log_likelihood, inside)
    try:
        region = RestrictedPrior(seen.z, valid, rng)
    except UsageError as error:
        return (known[0] if known else None), f"no new restriction: {error}"
    if region.acceptance < _LEAST_ACCEPTANCE:
        share = f"the classifier's region fills {region.acceptance:.1e} of its box"
        return (known[0] if known else None), f"no new restriction: {share}"
    return region, ""
