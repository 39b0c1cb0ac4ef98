"""One interface for all summaries, and the factory that makes them by name."""

from __future__ import annotations

import copy
import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from importlib import import_module

import numpy as np

from xsixsa.errors import UsageError
from xsixsa.simulate import Segment

__all__ = ["NAMES", "Standardiser", "Summary", "make_summary", "summary_from_state"]

# name -> module and class: torch loads only with those that need it
_KNOWN = {
    "autoencoder": ("xsixsa.summaries.autoencoder", "AutoEncoder"),
    "pca": ("xsixsa.summaries.pca", "PCA"),
    "spectral": ("xsixsa.summaries.spectral", "Spectral"),
    "embedding": ("xsixsa.summaries.embedding", "Embedding"),
    "none": ("xsixsa.summaries.none", "NoSummary"),
}

NAMES = tuple(_KNOWN)
"""Summaries that can be chosen by name."""

# Standardised values are cut here: a spectrum far outside the training set stays a finite input of the flow, and
# within so many standard deviations nothing that a network can use is lost.
_FARTHEST = 10.0


class Summary(ABC):
    """Spectra of many bins to the few numbers that the posterior estimator sees.

    Attributes
    ----------
    name : str
        What :func:`make_summary` calls it.
    history : list of dict
        What the last fit did: losses of every epoch, or what was kept.
    notes : tuple of str
        What a user of the run has to know of the last fit (statistics that were dropped).
    embedding : torch.nn.Module or None
        A network to be trained together with the flow, in place; :meth:`transform` then gives its standardised input.
    """

    name = "summary"
    embedding = None

    def __init__(self):
        self.history: list[dict] = []
        self.notes: tuple[str, ...] = ()
        self.segments: tuple[Segment, ...] = ()
        self.observed: np.ndarray | None = None

    def prepare(self, segments: Sequence[Segment], observed: np.ndarray | None = None) -> None:
        """Learn the layout of the spectra, and the observation where there is one; most summaries need neither.

        Parameters
        ----------
        segments
            The spectra that a vector is made of.
        observed
            The observation, shape (size,); None for a summary that is to serve many.
        """
        self.segments, self.observed = tuple(segments), observed

    def settings(self) -> dict:
        """What it was made with, as plain values."""
        return {}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in self.settings().items())})"

    @abstractmethod
    def fit(self, total: np.ndarray, rng: np.random.Generator) -> None:
        """Train on noiseless spectra; a further call follows the next round of simulations.

        The length of the summary may differ from one fit to the next.

        Parameters
        ----------
        total
            Expected counts, background included, shape (n, size).
        rng
            Source of all randomness.
        """

    @abstractmethod
    def transform(self, counts: np.ndarray) -> np.ndarray:
        """Summaries of shape (n, k), float32 and finite, for counts of shape (n, size)."""

    @abstractmethod
    def state(self) -> dict[str, np.ndarray | float | int | str]:
        """Everything that :meth:`from_state` needs, as plain arrays, numbers and text."""

    @classmethod
    @abstractmethod
    def from_state(cls, state: dict) -> Summary:
        """The summary that `state` was taken from, ready to transform."""


class Standardiser:
    """Mean and standard deviation of columns; what does not vary in the training set becomes zero.

    Parameters
    ----------
    x
        Training set, shape (n, k).
    least
        Standard deviation up to which a column counts as constant: it says nothing, and dividing by it would blow up
        what is seen later.
    """

    def __init__(self, x: np.ndarray, least: float = 1e-3):
        self.mean = np.asarray(x, float).mean(axis=0)
        std = np.asarray(x, float).std(axis=0)
        self.scale = np.where(std > least, 1.0 / np.maximum(std, least), 0.0)

    @classmethod
    def of(cls, mean: np.ndarray, scale: np.ndarray) -> Standardiser:
        """From what was stored."""
        made = cls.__new__(cls)
        made.mean, made.scale = np.asarray(mean, float), np.asarray(scale, float)
        return made

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Standardised columns, cut at ten standard deviations, float32."""
        # Single precision stays single: long spectra by the thousand would take twice the time.
        kind = np.result_type(x, np.float32)
        y = (x - self.mean.astype(kind)) * self.scale.astype(kind)
        return np.clip(y, -_FARTHEST, _FARTHEST, out=y).astype(np.float32, copy=False)


def noisy(total: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One Poisson realisation of every noiseless spectrum, shape (n, size)."""
    return rng.poisson(np.minimum(np.asarray(total, np.float64), 1e15)).astype(np.float32)


def make_summary(which: str | Summary, layout, options=None) -> Summary:
    """A summary by name, or a copy of the given one.

    Parameters
    ----------
    which
        One of :data:`NAMES`, or a :class:`Summary` with settings of its own. The object is copied: a run does not
        change what the caller holds, and the same object serves many runs.
    layout
        A :class:`~xsixsa.simulate.Simulator`, whose observation is taken into account, or a sequence of
        :class:`~xsixsa.simulate.Segment` for a summary that is to serve many observations.
    options
        :class:`~xsixsa.options.Options`, for the settings of the auto-encoder.

    Raises
    ------
    UsageError
        If there is no summary of that name.
    """
    if isinstance(which, Summary):
        made = copy.deepcopy(which)
    elif which == "autoencoder" and options is not None:
        made = _class_of(which)(options.autoencoder)
    else:
        made = _class_of(which)()
    if hasattr(layout, "segments"):
        made.prepare(layout.segments, layout.observed)
    else:
        made.prepare(tuple(layout))
    return made


def summary_from_state(state: dict) -> Summary:
    """The summary whose :meth:`Summary.state` this is, of whatever kind."""
    return _class_of(_text(state["name"])).from_state(state)


def check_summary(which: str | Summary) -> None:
    """Refuse what :func:`make_summary` does not know."""
    if not isinstance(which, Summary):
        _module_of(which)


def _module_of(name) -> tuple[str, str]:
    if not isinstance(name, str) or name not in _KNOWN:
        raise UsageError(f"unknown summary {name!r}; known are {', '.join(NAMES)}, or a Summary object")
    return _KNOWN[name]


def _class_of(name) -> type[Summary]:
    module, attribute = _module_of(name)
    return getattr(import_module(module), attribute)


def pack(**values) -> str:
    """Settings as JSON text, for states."""
    return json.dumps(values, sort_keys=True)


def unpack(text) -> dict:
    """What :func:`pack` was given."""
    return json.loads(_text(text))


def _text(value) -> str:
    """Text that may have come back from a file as bytes or as an array without dimensions."""
    value = value.item() if isinstance(value, np.ndarray) else value
    return value.decode() if isinstance(value, bytes) else str(value)
