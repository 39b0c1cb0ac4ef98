"""Torch as this package uses it: one thread, seeded, and put back as the caller had it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

__all__ = ["TORCH_THREADS", "torch_settings", "torch_state"]

# The networks here are small: more threads cost more in waiting than they bring in work, and a fixed number makes
# the same seed give the same result on every machine of one kind.
TORCH_THREADS = 1


@contextmanager
def torch_settings() -> Iterator[None]:
    """Fixed threads and no validation of distributions inside; the caller's settings come back afterwards."""
    import torch
    from torch.distributions import Distribution

    threads, validate = torch.get_num_threads(), Distribution._validate_args
    torch.set_num_threads(TORCH_THREADS)
    # A flow may meet points where its density underflows: that is minus infinity to us, not an error. zuko switches
    # validation off for good when imported; here it comes back.
    Distribution.set_default_validate_args(False)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        Distribution.set_default_validate_args(validate)


@contextmanager
def torch_state(rng: np.random.Generator) -> Iterator[None]:
    """As :func:`torch_settings`, and torch seeded from `rng`; its random state comes back as well."""
    import torch

    seed = int(rng.integers(2**62))
    with torch_settings(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
