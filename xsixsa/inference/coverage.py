"""Whether simulations surround the observation: its rank among them, in each number that the network sees."""

from __future__ import annotations

import numpy as np

from xsixsa.inference.restrict import total_counts

__all__ = ["counts_rank", "latent_coverage", "uncovered"]

_BINS = 24
_MOST_LATENTS = 64
# Histograms reach from this quantile to its mirror; simulations beyond count in the outermost bins.
_OUTER = 0.005
# Poisson errors between the observation and what the prior predicts, from which chance is no explanation.
_FAR = 4.0


def rank(values: np.ndarray, observed: float) -> float:
    """Share of `values` below `observed`, ties counted by half."""
    return float((values < observed).mean() + 0.5 * (values == observed).mean())


def counts_rank(total: np.ndarray, simulator, rng: np.random.Generator) -> float:
    """Share of simulated spectra with fewer counts on source than the observation.

    Parameters
    ----------
    total
        Noiseless vectors, shape (n, size); each total gets its Poisson noise here.
    simulator
        Knows the observation.
    rng
        Source of the noise.
    """
    counts = rng.poisson(np.minimum(total_counts(total, simulator), 1e15))
    return rank(counts, float(simulator.observed[: simulator.n_bins].sum()))


def uncovered(total: np.ndarray, simulator) -> str:
    """What to say where the prior predicts no spectrum as bright, or as faint, as the observation; else empty.

    Parameters
    ----------
    total
        Noiseless vectors of draws from the prior, shape (n, size).
    simulator
        Knows the observation.
    """
    totals, seen = total_counts(total, simulator), float(simulator.observed[: simulator.n_bins].sum())
    margin = _FAR * np.sqrt(seen + 1)
    if totals.min() - margin <= seen <= totals.max() + margin:
        return ""
    nearest, word = (totals.max(), "many") if seen > totals.max() else (totals.min(), "few")
    return (
        f"the prior does not cover the observation: none of {len(totals)} spectra drawn from it has so {word} counts "
        f"({seen:.0f} observed, the nearest predicts {nearest:.0f}); widen the priors of the normalisations, for "
        "instance with centre=True"
    )


def latent_coverage(latents: np.ndarray, observed: np.ndarray) -> dict:
    """Ranks and small histograms, for the history of a run.

    Parameters
    ----------
    latents
        What the network sees of simulated noisy spectra, shape (n, k).
    observed
        And of the observation, shape (k,).

    Returns
    -------
    dict
        ``coverage``: rank of the observation in each latent; ``latent_histograms``: ``edges``, ``counts`` and
        ``observed`` of each of the first 64.
    """
    histograms = []
    for column, value in zip(latents.T[:_MOST_LATENTS], observed, strict=False):
        low, high = np.quantile(column, [_OUTER, 1 - _OUTER])
        low, high = min(low, float(value)), max(high, float(value))
        edges = np.linspace(low, high, _BINS + 1) if high > low else np.array([low - 0.5, low + 0.5])
        counts, _ = np.histogram(np.clip(column, low, high), bins=edges)
        histograms.append(
            {
                "edges": [round(float(e), 4) for e in edges],
                "counts": [int(c) for c in counts],
                "observed": round(float(value), 4),
            }
        )
    ranks = [rank(column, value) for column, value in zip(latents.T, observed, strict=True)]
    return {"coverage": ranks[: max(_MOST_LATENTS, 1)], "latent_histograms": histograms}
