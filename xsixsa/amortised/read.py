"""Spectra from files for a network: no engine is asked, only what the network was trained for counts.

A file is read with the network's grouping and energy range. What cannot differ (channels, grouping, response) is
refused; exposure, scales and background are the file's own, and the correction takes them as they are.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from xsixsa.amortised.pattern import SAME_EXPOSURE, Pattern, file_hash
from xsixsa.embedded.background import Grouped
from xsixsa.embedded.grouping import group_channels
from xsixsa.embedded.pha import PhaFile, read_pha
from xsixsa.errors import DataError
from xsixsa.session.records import Background, Observation

__all__ = ["Reading", "check_observation", "read_spectrum"]

#: How far from a whole number the counts of a bin may be.
WHOLE = 1e-3


@dataclass(frozen=True)
class Reading:
    """What may be overlooked when a file is read.

    Attributes
    ----------
    regroup : bool
        Sum the file's channels into the network's bins whatever grouping the file has: the likelihood is then that
        of the network's bins.
    same_response : bool
        Take the network's response, whatever the header names.
    no_background : bool
        Leave out a background that the header names and the network does not have.
    """

    regroup: bool = False
    same_response: bool = False
    no_background: bool = False


def read_spectrum(
    path: str | os.PathLike, pattern: Pattern, exposure: tuple[float, float], how: Reading | None = None
) -> Observation:
    """A spectrum file as an observation in the network's bins.

    Parameters
    ----------
    path
        PHA file.
    pattern
        What the network was trained for.
    exposure
        Range of exposures (s) that it was trained for.
    how
        What may be overlooked.

    Raises
    ------
    DataError
        The file is no spectrum, is empty, or is not what the network was trained for; says why and the way out.
    """
    path, how = str(path), how or Reading()
    if not Path(path).is_file():
        raise DataError(f"{path}: no such file")
    pha = read_pha(path)
    _check_channels(pha, pattern, how)
    if not how.same_response:
        _check_response(pha, pattern)
    then = pattern.observation
    grouped = Grouped(pha, pattern.channel_bin, pattern.n_bins)
    observation = Observation(
        index=1,
        name=path,
        group=1,
        counts=_whole(grouped.counts, path),
        edges=then.edges,
        exposure=pha.exposure,
        area_scale=grouped.area_scale,
        back_scale=grouped.back_scale,
        statistic=then.statistic,
        background=_background(pha, pattern, how),
        channels=then.channels,
    )
    check_observation(observation, pattern, exposure)
    return observation


def check_observation(o: Observation, pattern: Pattern, exposure: tuple[float, float]) -> None:
    """Refuse an observation, in the network's bins already, that it cannot be applied to.

    Raises
    ------
    DataError
        No counts, an exposure outside the range, another AREASCAL.
    """
    if not o.counts.sum() > 0:
        raise DataError(f"{o.name}: an empty spectrum, no counts in the {pattern.n_bins} noticed bins; leave it out")
    low, high = exposure
    if not low * (1 - SAME_EXPOSURE) <= o.exposure <= high * (1 + SAME_EXPOSURE):
        trained = f"{low:g} s" if low == high else f"{low:g} to {high:g} s"
        raise DataError(
            f"{o.name}: exposure {o.exposure:g} s, the network was trained for {trained}; train with "
            f"exposure=({min(low, o.exposure):.6g}, {max(high, o.exposure):.6g})"
        )
    if not np.allclose(o.area_scale, pattern.observation.area_scale, rtol=1e-3):
        raise DataError(
            f"{o.name}: AREASCAL {o.area_scale.mean():.6g}, the network's spectra have "
            f"{pattern.observation.area_scale.mean():.6g}; train a network for those with this AREASCAL"
        )


def _check_channels(pha: PhaFile, pattern: Pattern, how: Reading) -> None:
    expected = len(pattern.channel_bin)
    first = pattern.facts["first_channel"]
    if pha.n_channels != expected or pha.first_channel != first:
        raise DataError(
            f"{pha.path}: {pha.n_channels} channels from {pha.first_channel}, the network's spectra have {expected} "
            f"from {first}: this is another detector or another rebinning, train a network for it"
        )
    if how.regroup:
        return
    group, _ = group_channels(pha)
    bins, used = pattern.channel_bin, pattern.channel_bin >= 0
    # the same partition: channels of one bin form one whole group
    starts = np.flatnonzero(used & (np.diff(bins, prepend=-2) != 0))
    group_of_bin = group[starts]
    same = np.array_equal(np.where(used, group, -1), np.where(used, group_of_bin[bins], -1))
    sizes = np.bincount(group[group >= 0], minlength=group.max() + 1)
    wanted = np.bincount(bins[used], minlength=pattern.n_bins)
    # a channel flagged bad in this file alone belongs to no group
    whole = same and group_of_bin.min() >= 0 and np.array_equal(sizes[group_of_bin], wanted)
    if not whole:
        differs = np.flatnonzero(used & (group != np.where(used, group_of_bin[bins], -1)))
        place = f" from channel {differs[0] + pha.first_channel} on" if len(differs) else ""
        raise DataError(
            f"{pha.path}: grouped in another way than the network's spectra{place}; group it as those, or pass "
            "regroup=True (--regroup) to sum its channels into the network's bins"
        )


def _check_response(pha: PhaFile, pattern: Pattern) -> None:
    """A header may name the network's response, or the one that the pattern's header named."""
    then = pattern.facts["response"]
    for kind, keyword, name in (("rmf", "RESPFILE", pha.response), ("arf", "ANCRFILE", pha.arf)):
        name = name.strip()
        if not name or name.lower() == "none":
            continue
        base = os.path.basename(name)
        if base == then[f"header_{kind}"] != then[kind]:
            continue  # the pattern's header named it too, and the network was trained with another in its place
        found = _beside(name, pha.path)
        now_hash = file_hash(found) if found else ""
        if now_hash == then[f"{kind}_hash"] if now_hash and then[f"{kind}_hash"] else base == then[kind]:
            continue
        raise DataError(
            f"{pha.path}: {keyword} {base} is another response than the network's ({then[kind] or 'none'}); train a "
            "network for it, or pass same_response=True (--same-response) if it is the same after all"
        )


def _beside(name: str, spectrum: str) -> str:
    """Where a file that a header names is: here, or beside the spectrum; "" for nowhere."""
    for candidate in (name, os.path.join(os.path.dirname(spectrum), name)):
        if os.path.isfile(candidate):
            return candidate
    return ""


def _background(pha: PhaFile, pattern: Pattern, how: Reading) -> Background | None:
    name = pha.background.strip()
    named = bool(name) and name.lower() != "none"
    if pattern.observation.background is None:
        if named and not how.no_background and not pattern.facts["header_background"]:
            raise DataError(
                f"{pha.path}: names the background {name}, but the network was trained without one; train one with a "
                "background, or pass no_background=True (--no-background)"
            )
        return None
    if not named:
        raise DataError(f"{pha.path}: names no background (BACKFILE), and the network was trained with one")
    found = _beside(name, pha.path)
    if not found:
        raise DataError(f"{pha.path}: its background {name} is neither here nor beside it")
    back = read_pha(found)
    if back.n_channels != pha.n_channels:
        raise DataError(f"{found}: has {back.n_channels} channels, {pha.path} has {pha.n_channels}")
    grouped = Grouped(back, pattern.channel_bin, pattern.n_bins)
    return Background(_whole(grouped.counts, found), back.exposure, grouped.area_scale, grouped.back_scale, found)


def _whole(counts: np.ndarray, path: str) -> np.ndarray:
    nearest = np.round(counts)
    wrong = (np.abs(counts - nearest) > np.maximum(WHOLE, 3e-7 * np.abs(counts))) | (nearest < 0)
    if wrong.any():
        worst = int(np.flatnonzero(wrong)[0])
        raise DataError(
            f"{path}: bin {worst + 1} holds {counts[worst]:.6g}, no whole number of counts: give the spectrum as "
            "recorded, not subtracted or scaled"
        )
    return nearest
