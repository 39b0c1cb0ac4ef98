"""Settings of a run in one small object, and three presets of it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace

from xsixsa.correction.emulator import EmulatorOptions
from xsixsa.errors import UsageError
from xsixsa.inference.flow import FlowOptions
from xsixsa.inference.restrict import Validity
from xsixsa.summaries.autoencoder import AutoEncoderOptions
from xsixsa.summaries.base import Summary, check_summary

__all__ = ["CRITERIA", "PROPOSALS", "Options", "preset"]

PROPOSALS = ("truncated", "posterior", "restricted", "coarse")
CRITERIA = ("ess", "efficiency", "volume")

_AUTOENCODER = AutoEncoderOptions()
_POSTERIOR = FlowOptions()
_REFIT = FlowOptions(batch=1024, epochs=50, patience=8, learning_rate=3e-3)


@dataclass(frozen=True)
class Options:
    """What a run may spend and how.

    Attributes
    ----------
    ess : int
        Effective sample size asked for; 10 000 resolves a marginal to a Jensen-Shannon divergence of 2e-3 nat.
    max_evaluations : int
        Evaluations of the engine, whatever for; the run stops there and says that it has not converged. 150 000 are
        several times what spectra of five parameters take, and what a hard case of seven may cost.
    max_seconds : float or None
        Wall-clock seconds allowed; the run stops at the next block with what it has and says that it has not converged.
        None, because a limit by the clock makes the result depend on the machine: the seed no longer fixes it.
    centre : bool
        Widen the bounds of the normalisations first, until the observed counts lie near the middle of what the prior
        predicts. Not by default: it changes the prior, and with it the evidence.
    rounds : int
        Rounds of neural posterior estimation; each draws where the one before points (see `proposal`). Two, where five
        are published: the second looks closely at what the first has found, and the correction goes on from there. With
        0 the draws from the prior are refined without a network: enough for a few parameters and one mode.
    until : str, tuple of str or None
        What ends the rounds earlier: ``"ess"``, the pool reached the effective size asked for; ``"efficiency"``, the
        pool's effective size per draw grew by less than a tenth in the last round; ``"volume"``, the truncated or
        restricted prior shrank by less than a fifth. The first that is met of several. None: the number of rounds is
        fixed, since with two there is nothing to save.
    simulations : int
        Simulations in a round; the first has twice as many. The published 5 000-10 000 serve a posterior that is used
        as it comes out; this one only has to lead the correction, which makes good what 2 000 leave.
    proposal : str or tuple of str
        Where the next round draws. ``"truncated"``: the prior within the highest-density region of the neural
        posterior. ``"posterior"``: the neural posterior itself. ``"restricted"``: the prior where a classifier finds
        simulations worth keeping (see `restrict`), without a network before the last round. ``"coarse"``: the
        posterior of a small network on principal components. Several: equal parts of each. Truncated by default, as
        published: its draws need no correction of the loss, so that no network is narrowed by draws of the one before.
    restrict : float or tuple of float
        What is worth keeping: the share of simulations with the lowest statistic (a tenth, which leaves some 400 of a
        standard first round to learn from), or a range (low, high) of total counts.
    quantile : float
        Share of the neural posterior's draws outside the region kept for the next round; 1e-3 as published.
    defensive : float
        Share of each round drawn from the prior whatever the network says. A tenth: no draw of a round can weigh more
        than ten times its likelihood, and nine tenths go where the posterior is.
    ensemble : int
        Networks trained in each round and averaged as a mixture. One: what it is too sure of is corrected later, and
        training costs as many times.
    warm_start : bool
        Start the flow from its weights of the round before, with the scales of the new one. Not by default: the first
        truncation changes more than a network remembers, so that with two rounds there is nothing to gain; from the
        third on it saves epochs.
    warm_ess : float
        The pooled weights are tempered to this effective size while a mixture is fitted to them: enough points for the
        covariances of a few components, few enough to move fast towards the posterior.
    flow_ess : float
        Untempered effective size from which a flow is fitted to the pool; with fewer it learns single points.
    max_refits : int
        Flows fitted at most; a limit against a tail that no flow comes to hold.
    exploration : float
        Share of the evaluations for a second exploration that starts from the prior alone. A tenth: what the rounds
        missed is not seen by any number computed from their draws.
    min_draws : int
        Draws on which the evidence rests at least; none of them has been seen by a fit. With an efficiency of a half,
        5 000 give log-evidence to 0.015.
    correction : str
        ``"refine"``: proposals are fitted to the weighted pool until they are nearly the posterior. ``"sir"``: sampling
        importance resampling of the neural posterior as published, for comparison; ``ess * oversampling`` evaluations.
    oversampling : int
        Candidates for each draw of ``"sir"``; 32 as published.
    summary : str or Summary
        How spectra are compressed: ``"autoencoder"``, ``"pca"``, ``"spectral"``, ``"embedding"``, ``"none"``, or an
        object of :mod:`xsixsa.summaries` with settings of its own.
    autoencoder : AutoEncoderOptions
        Network and training of the auto-encoder.
    posterior : FlowOptions
        Flow and training of the neural posterior.
    refit : FlowOptions
        Flow and training of the proposals refitted to the pool.
    emulator : EmulatorOptions or None
        A likelihood emulator that chooses which final draws the engine evaluates, for models whose evaluation takes
        milliseconds; weights stay exact. None by default: with a fast engine its training costs more than it saves.
    """

    ess: int = 10_000
    max_evaluations: int = 150_000
    max_seconds: float | None = None
    centre: bool = False
    rounds: int = 2
    until: str | tuple[str, ...] | None = None
    simulations: int = 2_000
    proposal: str | tuple[str, ...] = "truncated"
    restrict: float | tuple[float, float] = 0.1
    quantile: float = 1e-3
    defensive: float = 0.1
    ensemble: int = 1
    warm_start: bool = False
    warm_ess: float = 300.0
    flow_ess: float = 800.0
    max_refits: int = 8
    exploration: float = 0.1
    min_draws: int = 5_000
    correction: str = "refine"
    oversampling: int = 32
    summary: str | Summary = "autoencoder"
    autoencoder: AutoEncoderOptions = _AUTOENCODER
    posterior: FlowOptions = _POSTERIOR
    refit: FlowOptions = _REFIT
    emulator: EmulatorOptions | None = None

    def __post_init__(self):
        for name in ("ess", "max_evaluations", "rounds", "simulations", "min_draws", "oversampling", "ensemble"):
            value = getattr(self, name)
            least = 0 if name == "rounds" else 1
            if int(value) != value or value < least:
                raise UsageError(f"{name} must be a whole number of at least {least}, not {value!r}")
        if self.correction not in ("refine", "sir"):
            raise UsageError(f"unknown correction {self.correction!r}; known are 'refine' and 'sir'")
        check_summary(self.summary)
        self._check_rounds()
        if self.max_evaluations < 4 * self.simulations:
            raise UsageError(
                f"max_evaluations={self.max_evaluations} does not cover the first rounds; "
                f"allow at least {4 * self.simulations} or lower simulations"
            )
        for name in ("quantile", "defensive", "exploration"):
            if not 0 <= getattr(self, name) < 1:
                raise UsageError(f"{name} must lie in [0, 1), not {getattr(self, name)!r}")

    def _check_rounds(self) -> None:
        for name, known, given in (
            ("proposal", PROPOSALS, self.proposals),
            ("until", CRITERIA, self.criteria),
        ):
            for word in given:
                if word not in known:
                    raise UsageError(f"unknown {name} {word!r}; known are {', '.join(known)}")
        if not self.proposals:
            raise UsageError(f"proposal must not be empty; known are {', '.join(PROPOSALS)}")
        Validity.of(self.restrict)
        if self.max_seconds is not None and not self.max_seconds > 0:
            raise UsageError(f"max_seconds must be positive, not {self.max_seconds!r}")

    @property
    def proposals(self) -> tuple[str, ...]:
        """`proposal`, always as several."""
        return (self.proposal,) if isinstance(self.proposal, str) else tuple(self.proposal)

    @property
    def criteria(self) -> tuple[str, ...]:
        """`until`, always as several."""
        if self.until is None:
            return ()
        return (self.until,) if isinstance(self.until, str) else tuple(self.until)

    def changed(self, **values) -> Options:
        """A copy with some settings changed; None leaves a setting as it is."""
        unknown = sorted(set(values) - set(self.as_dict()))
        if unknown:
            raise UsageError(f"unknown option {unknown[0]!r}; known are {', '.join(self.as_dict())}")
        return replace(self, **{k: v for k, v in values.items() if v is not None})

    def as_dict(self) -> dict:
        """All settings as plain values."""
        return asdict(self if isinstance(self.summary, str) else replace(self, summary=self.summary.name)) | {
            "summary": str(self.summary)
        }


_PRESETS = {
    "quick": Options(rounds=1, simulations=1_500, exploration=0.0, min_draws=3_000),
    "standard": Options(),
    "thorough": Options(
        rounds=4, simulations=5_000, exploration=0.2, warm_ess=600.0, min_draws=20_000, max_evaluations=500_000
    ),
}


def preset(name: str) -> Options:
    """Options by name: ``quick`` (a first look), ``standard``, ``thorough``.

    Raises
    ------
    UsageError
        If the name is none of these.
    """
    if name not in _PRESETS:
        raise UsageError(f"unknown preset {name!r}; known are {', '.join(_PRESETS)}")
    return _PRESETS[name]
