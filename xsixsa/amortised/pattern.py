"""What a network depends on: the spectrum it was trained for, its response and grouping, the model and its settings.

Everything is compared one thing at a time, so that whoever applies a network to something else is told which thing
differs and what to do about it.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from xsixsa.embedded.grouping import group_channels, sum_groups
from xsixsa.embedded.pha import PhaFile, read_pha
from xsixsa.errors import DataError, SessionError, UsageError
from xsixsa.session.records import Background, Observation

__all__ = ["Pattern", "check_session", "file_hash", "pattern_of"]

#: Relative difference within which an exposure is that of the training, where it was trained for one alone.
SAME_EXPOSURE = 0.01
_STATISTICS = ("cstat", "wstat")
_ARRAYS = ("counts", "edges", "area_scale", "back_scale", "channels")
_BACKGROUND_ARRAYS = ("counts", "area_scale", "back_scale")


@dataclass(frozen=True, eq=False)
class Pattern:
    """A spectrum as the pattern of all that a network is for.

    Attributes
    ----------
    observation : Observation
        The spectrum that was loaded when the network was trained.
    channel_bin : numpy.ndarray
        Noticed bin of every detector channel, -1 for none, shape (channels,).
    facts : dict
        Everything else, as plain values: ``file``, ``first_channel``, ``response``, ``model``, ``settings``,
        ``engine``.
    group : numpy.ndarray
        Group of every detector channel, noticed or not, -1 for none, shape (channels,).
    """

    observation: Observation
    channel_bin: np.ndarray
    facts: dict[str, Any] = field(default_factory=dict)
    group: np.ndarray | None = None

    @property
    def n_bins(self) -> int:
        """Noticed bins."""
        return len(self.observation.counts)

    @property
    def energies(self) -> tuple[float, float]:
        """Lowest and highest energy of the noticed bins, keV."""
        return float(self.observation.edges.min()), float(self.observation.edges.max())

    def state(self) -> dict:
        """Everything as a tree of arrays and plain values."""
        o = self.observation
        tree: dict[str, Any] = {"facts": self.facts, "channel_bin": self.channel_bin, "group": self.group}
        tree["observation"] = {name: np.asarray(getattr(o, name)) for name in _ARRAYS}
        tree["observation"] |= {"name": os.path.basename(o.name), "exposure": o.exposure, "statistic": o.statistic}
        if o.background is not None:
            b = o.background
            tree["background"] = {name: np.asarray(getattr(b, name)) for name in _BACKGROUND_ARRAYS}
            tree["background"] |= {"exposure": b.exposure, "name": os.path.basename(b.name)}
        return tree

    @classmethod
    def from_state(cls, tree: dict) -> Pattern:
        """The pattern whose :meth:`state` this is."""
        background = Background(**tree["background"]) if "background" in tree else None
        observation = Observation(index=1, group=1, background=background, **tree["observation"])
        return cls(observation, tree["channel_bin"], tree["facts"], tree.get("group"))


def pattern_of(session) -> Pattern:
    """Pattern of a session with one spectrum.

    Raises
    ------
    UsageError
        There are several spectra, or the statistic is not that of counts.
    DataError
        The spectrum's file is not where the session loaded it from, or does not hold what the session has.
    """
    o = _single(session)
    if not Path(o.name).is_file():
        raise DataError(f"{o.name} is not here, and its grouping is read again: start where the session loaded it")
    pha = read_pha(o.name)
    channel_bin = _channel_bins(pha, o)
    return Pattern(
        replace(o, index=1, group=1),
        channel_bin,
        {
            "file": os.path.basename(o.name),
            "first_channel": pha.first_channel,
            "response": _response(session, pha),
            "header_background": _given(pha.background),
            "model": {"expression": session.model_expression, "parameters": _parameters(session)},
            "settings": {k: session.settings.get(k) for k in ("abund", "xsect", "cosmo", "model_strings")},
            "engine": dict(session.engine),
            "versions": list(session.settings.get("versions", ())),
        },
        group_channels(pha)[0].astype(np.int32),
    )


def _single(session) -> Observation:
    if len(session.observations) != 1:
        raise UsageError(
            f"a network is for one spectrum at a time, and the session holds {len(session.observations)}: load one, "
            "the pattern of the others"
        )
    o = session.observations[0]
    if o.statistic not in _STATISTICS:
        raise UsageError(
            f"the fit statistic is {o.statistic!r}, but spectra are simulated as counts: set Fit.statMethod = 'cstat'"
        )
    return o


def _channel_bins(pha: PhaFile, o: Observation) -> np.ndarray:
    """Noticed bin of every channel, checked against what the engine made of the same file."""
    group, quality = group_channels(pha)
    bin_of_group = np.full(len(quality), -1)
    if o.channels.max() > len(quality):
        raise DataError(f"{pha.path} has {len(quality)} groups, but the session notices number {o.channels.max()}")
    bin_of_group[o.channels - 1] = np.arange(len(o.channels))
    channel_bin = np.where(group >= 0, bin_of_group[group], -1).astype(np.int32)
    counts = sum_groups(pha.rate * pha.exposure, channel_bin, len(o.counts))
    if not np.allclose(counts, o.counts, rtol=1e-6, atol=1e-3):
        raise DataError(f"{pha.path} does not hold the counts of the loaded spectrum: it has been changed since")
    return channel_bin


def _given(name: str) -> str:
    text = os.path.basename((name or "").strip())
    return "" if text.lower() == "none" else text


def _response(session, pha: PhaFile) -> dict:
    rmf, arf, gain = session.responses[0]
    return {
        "rmf": _given(rmf),
        "arf": _given(arf),
        "rmf_hash": file_hash(rmf),
        "arf_hash": file_hash(arf),
        "gain": gain,
        "header_rmf": _given(pha.response),
        "header_arf": _given(pha.arf),
    }


def file_hash(name: str) -> str:
    """SHA-256 of a file, "" where there is none."""
    path = Path(name) if _given(name) else None
    if path is None or not path.is_file():
        return ""
    status = path.stat()
    return _hash(str(path.resolve()), status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=64)
def _hash(path: str, size: int, modified: int) -> str:
    with open(path, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def _parameters(session) -> list[dict]:
    """Every parameter of the model: of free ones only the name, of others the value or the link."""
    rows = []
    for p in session.all_parameters:
        row = {"name": f"{p.component}.{p.parameter}", "source": p.source, "index": p.index, "free": p.is_free}
        value = None if p.is_free or p.link or not p.values else float(p.values[0])
        rows.append(row | {"link": p.link, "value": value})
    return rows


def check_session(pattern: Pattern, session) -> list[str]:
    """Refuse a session that a network was not trained for.

    Returns
    -------
    list of str
        What differs without harm: another engine or version. The correction is exact for the loaded one.

    Raises
    ------
    SessionError
        Names what differs, and the way out.
    """
    o = _single(session)
    _check_model(pattern, session)
    _check_settings(pattern, session)
    _check_response(pattern, session)
    _check_bins(pattern, o)
    now, then = dict(session.engine), pattern.facts["engine"]
    if now == then:
        return []
    return [
        f"trained with {then['name']} {then['version']}, corrected with {now['name']} {now['version']}: "
        "posteriors are those of the latter"
    ]


def _check_model(pattern: Pattern, session) -> None:
    then, now = pattern.facts["model"], session.model_expression
    if _squeezed(then["expression"]) != _squeezed(now):
        raise SessionError(
            f"the network was trained for the model {then['expression']}, the session has {now}: define that model, "
            "or train a network for this one"
        )
    before, after = then["parameters"], _parameters(session)
    if len(before) != len(after):
        raise SessionError(
            f"the network's model has {len(before)} parameters, the session's {len(after)}: load one spectrum and "
            "define the model afresh"
        )
    for a, b in zip(before, after, strict=True):
        if _state_of(a) != _state_of(b):
            raise SessionError(
                f"{a['name']} (parameter {a['index']}) was {_state_of(a)} when the network was trained and is "
                f"{_state_of(b)} now: set it back, or train again"
            )


def _squeezed(expression: str) -> str:
    return "".join(expression.split()).lower()


def _state_of(row: dict) -> str:
    if row["free"]:
        return "free"
    return f"linked to {row['link']}" if row["link"] else f"fixed at {row['value']:.10g}"


def _check_settings(pattern: Pattern, session) -> None:
    words = {
        "abund": "abundances",
        "xsect": "cross-sections",
        "cosmo": "cosmology",
        "model_strings": "xset strings",
    }
    for key, then in pattern.facts["settings"].items():
        now = session.settings.get(key)
        if then is not None and now is not None and _plain(then) != _plain(now):
            raise SessionError(
                f"the network was trained with the {words[key]} {then}, the session has {now}: "
                f"set Xset.{'modelStrings' if key == 'model_strings' else key}, or train again"
            )


def _plain(value):
    return [float(v) for v in value] if isinstance(value, (list, tuple)) else value


def _check_response(pattern: Pattern, session) -> None:
    rmf, arf, gain = session.responses[0]
    then = pattern.facts["response"]
    for kind, name in (("rmf", rmf), ("arf", arf)):
        now_hash, then_hash = file_hash(name), then[f"{kind}_hash"]
        same = now_hash == then_hash if now_hash and then_hash else _given(name) == then[kind]
        if not same:
            raise SessionError(
                f"the network was trained with another response: {kind.upper()} {then[kind] or 'none'}, not "
                f"{_given(name) or 'none'} as loaded; load that one, or train again"
            )
    if gain != then["gain"]:
        raise SessionError(
            f"the response gain is {gain or 'off'}, it was {then['gain'] or 'off'} when the network was trained"
        )


def _check_bins(pattern: Pattern, o: Observation) -> None:
    then = pattern.observation
    if o.statistic != then.statistic:
        raise SessionError(
            f"the statistic is {o.statistic}, the network was trained for {then.statistic}: load the spectrum "
            f"{'with' if then.statistic == 'wstat' else 'without'} a background file"
        )
    if Path(o.name).is_file():
        pha = read_pha(o.name)
        if pha.n_channels != len(pattern.channel_bin):
            raise SessionError(f"{o.name} has {pha.n_channels} channels, the network's have {len(pattern.channel_bin)}")
        same_grouping = np.array_equal(_channel_bins(pha, o), pattern.channel_bin)
    else:
        same_grouping = True
    low, high = pattern.energies
    if np.array_equal(o.channels, then.channels) and np.allclose(o.edges, then.edges, rtol=1e-6):
        if not same_grouping:
            raise SessionError(f"{o.name} is grouped in another way than the network's spectra: group it as those")
        return
    ends = float(o.edges.min()), float(o.edges.max())
    if not np.allclose(ends, (low, high), rtol=1e-6):
        raise SessionError(
            f"the noticed energy range is {ends[0]:.4g}-{ends[1]:.4g} keV, the network was trained for "
            f"{low:.4g}-{high:.4g} keV: notice those bins, or train again"
        )
    raise SessionError(
        f"{o.name} is grouped in another way than the network's spectra ({len(o.counts)} noticed bins, not "
        f"{pattern.n_bins}): group it as those, or train again"
    )
