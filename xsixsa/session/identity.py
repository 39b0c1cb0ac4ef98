"""What makes a problem this problem: its fingerprint, marks that show a change, and what to beware of."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from types import ModuleType
from typing import Any

import numpy as np

from xsixsa.session.observations import RawSpectrum, gain_of
from xsixsa.session.parameters import RawParameter, read_model, read_parameters
from xsixsa.session.records import Observation
from xsixsa.session.settings import optional

__all__ = ["cautions", "fingerprint", "marks"]


def fingerprint(
    observations: Sequence[Observation],
    spectra: Sequence[RawSpectrum],
    parameters: Sequence[RawParameter],
    expression: str,
    settings: Mapping[str, Any],
) -> str:
    """SHA-256 (hexadecimal) of data, grouping, responses, model, limits, frozen values and settings.

    The values that free parameters happen to have do not enter, nor does the place of the files.
    """
    digest = hashlib.sha256()
    for o in observations:
        arrays = [o.counts, o.edges, o.area_scale, o.back_scale, o.channels]
        if o.background is not None:
            arrays += [o.background.counts, o.background.area_scale, o.background.back_scale]
        for array in arrays:
            digest.update(np.ascontiguousarray(array).tobytes())
    problem = {
        "spectra": [
            (o.index, o.group, o.exposure, o.statistic, None if o.background is None else o.background.exposure)
            for o in observations
        ],
        "responses": [[os.path.basename(name) for name in s.response] for s in spectra],
        "model": expression,
        "parameters": [
            (raw.source, raw.component, raw.parameter, raw.index, raw.link, raw.frozen, *_lasting(raw))
            for raw in parameters
        ],
        "settings": {k: v for k, v in settings.items() if k not in ("noticed", "stat_test")},
    }
    digest.update(json.dumps(problem, sort_keys=True).encode())
    return digest.hexdigest()


def _lasting(raw: RawParameter) -> tuple[float, ...]:
    """Limits of a free parameter, value of any other."""
    return raw.values[2:] if raw.is_free else raw.values[:1]


def marks(xspec: ModuleType) -> tuple:
    """Cheap marks of data, model and settings, to see that nobody changed them while we work.

    Values of free parameters, and of those linked to them, are left out: they do not matter to a run.
    """
    spectra = []
    for i in range(1, int(xspec.AllData.nSpectra) + 1):
        s = xspec.AllData(i)
        noticed = s.noticed
        bins = (len(noticed), sum(noticed), sum(n * n for n in noticed))
        spectra.append((str(s.fileName), int(s.dataGroup), *bins, gain_of(s)))
    parts = read_model(xspec)
    parameters = tuple(
        replace(raw, values=() if raw.link else _lasting(raw), prior=()) for raw in read_parameters(parts)
    )
    expressions = tuple((part.source, part.group, part.expression) for part in parts)
    settings = tuple(str(optional(lambda name=name: getattr(xspec.Xset, name))) for name in ("abund", "xsect", "cosmo"))
    return tuple(spectra), expressions, parameters, settings, str(optional(lambda: xspec.Fit.statMethod))


def cautions(observations: Sequence[Observation], verified: bool) -> Iterator[str]:
    """One sentence for each thing to know before trusting a result."""
    kinds = list(dict.fromkeys(o.statistic for o in observations))
    if "chi" in kinds:
        yield (
            "the fit statistic is chi-squared, but counts are Poisson: "
            "the posterior is that of the data only with Fit.statMethod = 'cstat'"
        )
    for o in observations:
        if o.background is None:
            continue
        if o.statistic == "chi":
            yield f"spectrum {o.index}: chi-squared of background-subtracted counts is biased where counts are few"
        if o.statistic == "wstat":
            empty = int(np.sum(o.background.counts == 0))
            if empty:
                yield (
                    f"spectrum {o.index}: {empty} of {o.counts.size} background bins are empty; "
                    "W-stat is biased there (the source is pushed down): group the spectrum, or model the background"
                )
    if not verified:
        yield (
            f"the statistic ({', '.join(kinds)}) cannot be recomputed here, "
            "so that the reading of this session is not verified"
        )
