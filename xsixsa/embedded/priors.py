"""XSPEC's Bayesian priors, added to the statistic by ``Fit.bayes = "on"``."""

from __future__ import annotations

import numpy as np

from xsixsa.embedded.parameter import Parameter

__all__ = ["minus_two_log_prior"]


def minus_two_log_prior(parameters: list[Parameter], tables: dict[str, np.ndarray]) -> np.ndarray:
    """Return -2 ln prior, unnormalised over the limits as in XSPEC, (n,).

    Parameters
    ----------
    parameters : list of Parameter
        The free ones.
    tables : dict
        Model name -> (n, parameters) values.
    """
    n = next(iter(tables.values())).shape[0] if tables else 1
    total = np.zeros(n)
    with np.errstate(all="ignore"):
        for parameter in parameters:
            kind, *hyper = parameter.prior
            x = tables[parameter.model.name][:, parameter.global_index - 1]
            if kind == "EXP":
                total += 2.0 * (x / hyper[0] + np.log(hyper[0]))
            elif kind == "JEFFREYS":
                total += 2.0 * np.log(np.abs(x))
            elif kind == "GAUSS":
                mean, sigma = hyper
                total += ((x - mean) / sigma) ** 2 + np.log(2.0 * np.pi * sigma**2)
    return total
