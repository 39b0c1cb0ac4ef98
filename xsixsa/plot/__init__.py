"""Figures: the posterior's corner plot, the data under the posterior predictive, and a network's calibration.

They are made without pyplot's global state, so they work at the XSPEC prompt, in batch and in worker processes alike,
and never touch a figure that the user has open.
"""

from xsixsa.plot.calibration import calibration_figure, plot_calibration
from xsixsa.plot.history import history_figure, plot_history
from xsixsa.plot.posterior import corner_figure, plot_corner
from xsixsa.plot.spectrum import plot_spectrum, spectrum_figure

__all__ = [
    "calibration_figure",
    "corner_figure",
    "history_figure",
    "plot_calibration",
    "plot_corner",
    "plot_history",
    "plot_spectrum",
    "spectrum_figure",
]
