"""Ask the engine something in a forked process that is thrown away: the session itself is not touched.

What changes a model, or may bring the engine down, is done there: trying other limits, asking for a component's
defaults, computing fluxes, and finding the order in which a fit counts its parameters.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import permutations
from types import ModuleType
from typing import Any

import numpy as np

from xsixsa.errors import WorkerError
from xsixsa.session.interrupt import interruptible
from xsixsa.session.parameters import (
    Key,
    ModelPart,
    RawParameter,
    key_of,
    read_model,
    read_parameters,
    set_arguments,
)
from xsixsa.session.pool.process import detach, die_with_parent, fork, forked_by_main_thread, one_thread, quiet_engine
from xsixsa.session.pool.shared import readable
from xsixsa.session.settings import optional

__all__ = ["default_limits_of", "granted_limits", "isolated", "order_of_sources", "set_limits"]

log = logging.getLogger(__name__)


def isolated(xspec: ModuleType, ask: Callable[[], Any], seconds: float) -> Any:
    """What `ask` returns in a forked copy of this process; it must be plain values (JSON).

    Raises
    ------
    WorkerError
        It raised, crashed, or took longer than `seconds`.
    """
    answer_read, answer_write = os.pipe()
    parent, kernel = os.getpid(), forked_by_main_thread()
    with tempfile.TemporaryFile(buffering=0) as errors:

        def child() -> None:
            os.close(answer_read)
            detach(errors.fileno())
            die_with_parent(parent, kernel=kernel)
            one_thread()
            quiet_engine(xspec)
            data = memoryview(json.dumps(ask()).encode())
            while data:
                data = data[os.write(answer_write, data) :]

        pid = fork(child)
        os.close(answer_write)
        try:
            with interruptible():
                text = _read_all(answer_read, time.monotonic() + seconds)
        finally:
            os.close(answer_read)
            optional(lambda: os.kill(pid, signal.SIGKILL))
            optional(lambda: os.waitpid(pid, 0))
        if not text:
            errors.seek(0)
            lines = [line.strip() for line in errors.read().decode(errors="replace").splitlines() if line.strip()]
            raise WorkerError("the engine gave no answer" + (f": {lines[-1][:300]}" if lines else ""))
        return json.loads(text)


def _read_all(descriptor: int, deadline: float) -> bytes:
    parts = []
    while readable([descriptor], max(0.0, deadline - time.monotonic())):
        part = os.read(descriptor, 1 << 16)
        if not part:
            return b"".join(parts)
        parts.append(part)
    return b""


def default_limits_of(xspec: ModuleType, parts: Sequence[ModelPart]) -> list[tuple[str, str, str, float, float]]:
    """(source, component, parameter, minimum, maximum) that the engine gives the same model when it is new.

    To be called inside `isolated`: it defines the model again.
    """
    limits = []
    for source, (expression, number) in {p.source: (p.expression, p.source_number) for p in parts}.items():
        xspec.Model(expression, source, number)
        fresh = next(part for part in read_model(xspec) if part.source == source)
        limits += [
            (source, raw.component, raw.parameter, raw.values[2], raw.values[5])
            for raw in read_parameters([fresh])
            if len(raw.values) >= 6
        ]
    return limits


def order_of_sources(xspec: ModuleType, raws: Sequence[RawParameter]) -> list[str]:
    """Names of the models in the order in which a fit counts their parameters.

    XSPEC counts named models in the order in which they were made, and tells it nowhere; the covariance of a fit
    is in that order, and each parameter tells its own sigma. To be called inside `isolated`: it fits.
    """
    names = list(dict.fromkeys(raw.source for raw in raws))
    optional(lambda: setattr(xspec.Fit, "query", "no"))
    optional(lambda: setattr(xspec.Fit, "nIterations", 2))
    xspec.Fit.perform()
    covariance = np.array(xspec.Fit.covariance)
    size = int((np.sqrt(8 * covariance.size + 1) - 1) / 2)
    variances = covariance[np.cumsum(np.arange(1, size + 1)) - 1]
    sigmas = {name: [] for name in names}
    for part in read_model(xspec):
        for raw in read_parameters([part]):
            if raw.is_free:
                sigmas[part.source].append(float(part.model(raw.local_index).sigma))

    def mismatch(order: Sequence[str]) -> float:
        squares = np.square(np.concatenate([sigmas[name] for name in order]))
        if squares.size != variances.size:
            return np.inf
        return float(np.abs(squares - variances).max() / np.maximum(variances.max(), 1e-300))

    best = min(permutations(names), key=mismatch)
    return list(best) if np.isfinite(mismatch(best)) else names


def set_limits(
    xspec: ModuleType, parts: Sequence[ModelPart], limits: Mapping[Key, tuple[float, float]]
) -> dict[Key, tuple[float, float]]:
    """Give parameters other hard limits, and return those that the engine then has.

    Keys are (source, data group, number in the model). It changes the session it works on: call it in a copy.
    """
    before = {key_of(raw): raw.values for raw in read_parameters(parts)}
    changes: dict[Key, str] = {}
    for key, (low, high) in limits.items():
        value, _, _, bottom, top, _ = before[key]
        # an empty field keeps what is there
        changes[key] = f"{value!r},,{low!r},{max(bottom, low)!r},{min(top, high)!r},{high!r}"
    if changes:
        xspec.AllModels.setPars(*set_arguments(parts, changes))
    after = {key_of(raw): raw.values for raw in read_parameters(parts)}
    return {key: (after[key][2], after[key][5]) for key in limits}


def granted_limits(
    xspec: ModuleType, parts: Sequence[ModelPart], wanted: Mapping[Key, tuple[float, float]], seconds: float = 120.0
) -> dict[Key, tuple[float, float]]:
    """The hard limits that the engine takes of those wanted, tried one by one in a copy of the session."""

    def attempt() -> list:
        granted = []
        for key, limit in wanted.items():
            result = optional(lambda key=key, limit=limit: set_limits(xspec, parts, {key: limit}), {})
            granted += [(*k, *v) for k, v in result.items()]
        return granted

    try:
        answer = isolated(xspec, attempt, seconds)
    except WorkerError as error:
        log.warning("hard limits were not widened: %s", error)
        return {}
    return {(source, group, number): (low, high) for source, group, number, low, high in answer}
