"""A small instrument, networks trained for it in seconds, and posteriors of two parameters by brute force."""

import os
from contextlib import contextmanager

import numpy as np

import xsixsa
from tests.session.ogip import CHANNELS, counts_like, write_response, write_spectrum
from xsixsa import LogUniform
from xsixsa.amortised.train import TrainOptions
from xsixsa.embedded import xspec
from xsixsa.inference.flow import FlowOptions

PRIOR = {"PhoIndex": (0.5, 3.0), "norm": LogUniform(1e-3, 1e-1)}
COUNTS = (300, 30_000)
NOTICE = "**-0.8 9.0-**"
QUICK = TrainOptions(
    flow=FlowOptions(transforms=2, hidden=32, epochs=30, patience=8, batch=128),
    coarse=FlowOptions(transforms=2, hidden=32, epochs=40, patience=15, batch=32, learning_rate=3e-3),
    coarse_simulations=1_000,
)
BACK = {"exposure": 4000.0, "back": 2.0, "response": None, "kind": "BKG"}


def write_files(folder):
    """Response, a plain pattern, one with a background, and spectra like them."""
    write_response(folder)
    write_spectrum(folder / "plain.pha", counts_like(1))
    write_spectrum(folder / "other.pha", counts_like(2, 5_000.0))
    rng = np.random.default_rng(2)
    write_spectrum(folder / "back.pha", rng.poisson(30.0, CHANNELS), **BACK)
    write_spectrum(folder / "source.pha", counts_like(3) + rng.poisson(4.0, CHANNELS), background="back.pha")


def load(spectrum, notice=NOTICE, model="powerlaw"):
    """Load one spectrum and the model into the embedded engine."""
    xspec.Xset.allowPrompting = False
    xspec.Xset.chatter = 0
    xspec.AllModels.clear()
    xspec.AllData.clear()
    xspec.Xset.abund, xspec.Xset.xsect, xspec.Xset.cosmo = "wilm", "vern", "70 0 0.73"
    xspec.Fit.statMethod = "cstat"
    xspec.AllData(f"1:1 {spectrum}")
    xspec.AllData.ignore(notice)
    xspec.Model(model)
    return xspec


@contextmanager
def inside(folder):
    """Work in a folder; the engine is empty afterwards."""
    here = os.getcwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(here)
        xspec.AllModels.clear()
        xspec.AllData.clear()


def small_network(spectrum, **options):
    """A network for `spectrum` in the current folder, seconds of training."""
    options = {"counts": COUNTS, "simulations": 1_200, "seed": 5, "workers": 1, "progress": False} | options
    return xsixsa.train(load(spectrum), PRIOR, options=QUICK, **options)


def brute_force(session):
    """Mean and standard deviation of theta, and log-evidence, on a fine grid of the unit cube."""
    prior = xsixsa.Prior.build(session, PRIOR)

    def log_l(low, high, n):
        axes = [low[i] + (high[i] - low[i]) * (np.arange(n) + 0.5) / n for i in range(2)]
        u = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 2)
        return u, -0.5 * session.evaluate(prior.ppf(u)).statistic

    low, high = np.zeros(2), np.ones(2)
    for _ in range(3):
        u, values = log_l(low, high, 40)
        near = u[values > np.nanmax(values) - 20.0]
        step = (high - low) / 40
        low, high = np.maximum(near.min(axis=0) - step, 0), np.minimum(near.max(axis=0) + step, 1)
    u, values = log_l(low, high, 100)
    weights = np.exp(values - values.max())
    evidence = values.max() + np.log(weights.mean() * np.prod(high - low))
    theta, weights = prior.ppf(u), weights / weights.sum()
    mean = weights @ theta
    return mean, np.sqrt(weights @ (theta - mean) ** 2), evidence
