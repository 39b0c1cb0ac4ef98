"""Likelihoods that are wrong before any sampling starts."""

from __future__ import annotations

import numpy as np

__all__ = ["MAX_EMPTY_BACKGROUND", "distrust"]

# Share of a spectrum's background bins that may be empty. W-stat profiles the background bin by bin; in an empty bin
# its best background is zero whatever the neighbours say, and where most bins are so the posterior follows. Measured
# on hundreds of simulated spectra with as long an exposure off source as on (benchmarks/calibration.py): ranks of the
# truth are uniform with 37 and 50 % of the bins empty, doubtful at 60 %, and no longer uniform at 75 % (the slope is
# off by 0.3 of its deviation; by 0.4 at 90 %). Longer exposures off source suffer less.
MAX_EMPTY_BACKGROUND = 0.45


def distrust(observations) -> list[str]:
    """Reasons not to believe the posterior of these observations, however well it is sampled.

    Parameters
    ----------
    observations
        The session's observations.
    """
    found = []
    for o in observations:
        if o.statistic != "wstat" or o.background is None:
            continue
        empty = float(np.mean(o.background.counts == 0))
        if empty > MAX_EMPTY_BACKGROUND:
            found.append(
                f"{100 * empty:.0f} % of the background bins of spectrum {o.index} are empty, where W-stat pushes the "
                "source towards zero; group so that every bin holds background counts, or model the background"
            )
    return found
