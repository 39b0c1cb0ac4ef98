"""Figures of a result: the posterior's corner plot, and the data under the posterior predictive.

They are made without pyplot's global state, so they work at the XSPEC prompt, in batch and in worker processes alike,
and never touch a figure that the user has open.
"""

from xsixsa.plot.posterior import corner_figure, plot_corner
from xsixsa.plot.spectrum import plot_spectrum, spectrum_figure

__all__ = ["corner_figure", "plot_corner", "plot_spectrum", "spectrum_figure"]
