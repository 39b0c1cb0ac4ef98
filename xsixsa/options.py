"""Settings of a run in one small object, and three presets of it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace

from xsixsa.errors import UsageError
from xsixsa.inference.flow import FlowOptions
from xsixsa.summaries.autoencoder import AutoEncoderOptions
from xsixsa.summaries.base import Summary, check_summary

__all__ = ["Options", "preset"]

_AUTOENCODER = AutoEncoderOptions()
_POSTERIOR = FlowOptions()
_REFIT = FlowOptions(batch=1024, epochs=50, patience=8, learning_rate=3e-3)


@dataclass(frozen=True)
class Options:
    """What a run may spend and how.

    Attributes
    ----------
    ess : int
        Effective sample size asked for; 10 000 resolves a marginal to 2e-3 nat.
    max_evaluations : int
        Evaluations of the engine, whatever for; the run stops there and says that it has not converged.
    rounds : int
        Rounds of neural posterior estimation; each draws from the prior truncated to the last posterior. With 0 the
        draws from the prior are refined without a network: enough for a few parameters and one mode.
    simulations : int
        Simulations in a round; the first has twice as many.
    quantile : float
        Share of the neural posterior's draws outside the region kept for the next round (1e-3 as published).
    defensive : float
        Share of each round drawn from the prior whatever the network says.
    warm_ess : float
        The pooled weights are tempered to this effective size while a mixture is fitted to them.
    flow_ess : float
        Untempered effective size from which a flow is fitted to the pool.
    max_refits : int
        Flows fitted at most.
    exploration : float
        Share of the evaluations for a second exploration that starts from the prior alone.
    min_draws : int
        Draws on which the evidence rests at least; none of them has been seen by a fit.
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
    """

    ess: int = 10_000
    max_evaluations: int = 150_000
    rounds: int = 2
    simulations: int = 2_000
    quantile: float = 1e-3
    defensive: float = 0.1
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

    def __post_init__(self):
        for name in ("ess", "max_evaluations", "rounds", "simulations", "min_draws", "oversampling"):
            value = getattr(self, name)
            least = 0 if name == "rounds" else 1
            if int(value) != value or value < least:
                raise UsageError(f"{name} must be a whole number of at least {least}, not {value!r}")
        if self.correction not in ("refine", "sir"):
            raise UsageError(f"unknown correction {self.correction!r}; known are 'refine' and 'sir'")
        check_summary(self.summary)
        if self.max_evaluations < 4 * self.simulations:
            raise UsageError(
                f"max_evaluations={self.max_evaluations} does not cover the first rounds; "
                f"allow at least {4 * self.simulations} or lower simulations"
            )
        for name in ("quantile", "defensive", "exploration"):
            if not 0 <= getattr(self, name) < 1:
                raise UsageError(f"{name} must lie in [0, 1), not {getattr(self, name)!r}")

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
