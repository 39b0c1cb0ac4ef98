"""Problems with a posterior and an evidence in closed form, behind the session's interface."""

from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
from scipy import stats
from scipy.special import gammaln, logsumexp, xlogy

from xsixsa.session import Evaluation, Observation, Parameter, Reason


def parameter(name, low, high, value=None, is_norm=False, native_prior=None, default_limits=(-1e9, 1e9), index=1):
    """A free parameter with hard limits [low, high]."""
    component, _, short = name.rpartition(".")
    return Parameter(
        name=name,
        full_name=f"{component or 'model'}.{short}",
        component=component or "model",
        parameter=short,
        unit="",
        index=index,
        local_index=index,
        source="",
        group=1,
        value=0.5 * (low + high) if value is None else value,
        delta=0.01,
        min=low,
        bottom=low,
        top=high,
        max=high,
        native_prior=native_prior,
        is_norm=is_norm,
        default_limits=default_limits,
    )


def observation(counts):
    """One spectrum with these counts and no background."""
    n = len(counts)
    edges = np.stack([np.arange(n), np.arange(n) + 1.0], axis=1)
    one = np.ones(n)
    return Observation(
        1, "toy.pha", 1, np.asarray(counts, float), edges, 1.0, one, one, "cstat", None, np.arange(n) + 1
    )


class AnalyticSession:
    """A likelihood in closed form; `statistic(theta)` is C and `expected(theta)` what the network sees."""

    statistic = "cstat"
    model_expression = "analytic"
    warnings = ()
    fingerprint = "analytic"
    engine = {"name": "analytic", "version": "0"}
    settings = {}

    def __init__(self, parameters, expected, statistic, counts):
        self.parameters = tuple(parameters)
        self._expected, self._statistic = expected, statistic
        self.observations = (observation(counts),)
        self.n_bins, self.dof = len(counts), len(counts) - len(parameters)

    def find(self, name):
        return next(p for p in self.parameters if p.name == name)

    def saved_text(self):
        return ""

    @contextmanager
    def pool(self, workers=1, delay=0.0):
        def evaluate(theta, progress=None):
            statistic = self._statistic(theta)
            reason = np.where(np.isfinite(statistic), Reason.OK, Reason.NOT_FINITE).astype(np.uint8)
            return Evaluation(self._expected(theta), statistic, reason)

        yield SimpleNamespace(evaluate=evaluate, describe_failures=lambda: "")


def cash(model, counts):
    """XSPEC's C-stat summed over bins, shape (n,)."""
    return 2 * (model - counts + xlogy(counts, counts) - xlogy(counts, model)).sum(axis=1)


def poisson_gamma(counts):
    """One normalisation for each bin: with a log-uniform prior each posterior is a Gamma, cut to the prior's range."""
    counts = np.asarray(counts, float)
    parameters = [parameter(f"c{i}.norm", 1e-2, 1e4, is_norm=True, index=i + 1) for i in range(len(counts))]
    return AnalyticSession(parameters, lambda t: t, lambda t: cash(t, counts), counts)


def poisson_gamma_log_evidence(counts, low=1e-2, high=1e4):
    """Integral of exp(-C/2) / (a ln(high/low)): a Gamma function, the cut being negligible for these counts."""
    s = np.asarray(counts, float)
    log_norm = -np.log(np.log(high / low))
    # exp(-C/2) = a^s e^-a e^s s^-s; over a^-1 da that is Gamma(s) e^s s^-s.
    return float((gammaln(s) + s - xlogy(s, s) + log_norm).sum())


def gaussian(covariance, mean, half_width=10.0):
    """Correlated Gaussian likelihood within a uniform prior that holds all of it."""
    mean, precision = np.asarray(mean, float), np.linalg.inv(covariance)
    d = len(mean)
    parameters = [parameter(f"x{i}", -half_width, half_width, index=i + 1) for i in range(d)]

    def statistic(theta):
        r = theta - mean
        return np.einsum("ij,jk,ik->i", r, precision, r)

    session = AnalyticSession(parameters, lambda t: 1e3 * (t + 11.0), statistic, 1e3 * (mean + 11.0))
    log_evidence = 0.5 * np.linalg.slogdet(2 * np.pi * np.asarray(covariance))[1] - d * np.log(2 * half_width)
    return session, float(log_evidence)


def two_modes(separation=6.0, widths=(0.3, 0.3), share=0.3, d=2, half_width=10.0):
    """Two Gaussian modes; `share` of the posterior lies in the second."""
    parameters = [parameter(f"x{i}", -half_width, half_width, index=i + 1) for i in range(d)]
    centres = np.zeros((2, d))
    centres[0, 0], centres[1, 0] = -separation / 2, separation / 2

    def statistic(theta):
        terms = []
        for centre, width, weight in zip(centres, widths, (1 - share, share), strict=True):
            r2 = ((theta - centre) ** 2).sum(axis=1) / width**2
            terms.append(np.log(weight) - d * np.log(width * np.sqrt(2 * np.pi)) - 0.5 * r2)
        return -2 * logsumexp(np.stack(terms), axis=0)

    # The network sees the distance from the middle only: it cannot tell the modes apart, and must keep both.
    def expected(theta):
        return 1e2 * np.concatenate([np.abs(theta[:, :1]), theta[:, 1:] + 11.0], axis=1) + 1.0

    counts = np.full(d, 1e2 * 11.0) + 1.0
    counts[0] = 1e2 * separation / 2 + 1.0
    return AnalyticSession(parameters, expected, statistic, counts), float(-d * np.log(2 * half_width))


def residual_counts(residuals):
    """Expected counts whose C-stat against `RESIDUAL_COUNTS` is nearly the sum of squared residuals, shape (n, bins).

    They let a network and Fisher scoring see the same likelihood as the statistic.
    """
    return RESIDUAL_COUNTS * np.exp(np.clip(residuals / np.sqrt(RESIDUAL_COUNTS), -20, 20))


RESIDUAL_COUNTS = 1e4


def from_residuals(parameters, residuals, n_bins):
    """A session whose statistic is the sum of squared residuals, with expected counts that belong to it."""
    return AnalyticSession(
        parameters,
        lambda t: residual_counts(residuals(t)),
        lambda t: (residuals(t) ** 2).sum(axis=1),
        np.full(n_bins, RESIDUAL_COUNTS),
    )


def whitened_gaussian(covariance, mean, half_width=10.0):
    """As `gaussian`, with expected counts that belong to the likelihood."""
    d, whiten = len(mean), np.linalg.inv(np.linalg.cholesky(covariance))
    parameters = [parameter(f"x{i}", -half_width, half_width, index=i + 1) for i in range(d)]
    session = from_residuals(parameters, lambda t: (t - mean) @ whiten.T, d)
    log_evidence = 0.5 * np.linalg.slogdet(2 * np.pi * np.asarray(covariance))[1] - d * np.log(2 * half_width)
    return session, float(log_evidence)


def banana(bend=1.0, widths=(1.0, 0.1), half_width=30.0):
    """A Gaussian bent along a parabola by a shift of unit Jacobian; mean (0, 0), variances `banana_moments`.

    The prior is wide because the arms reach far: cut at 3.3 standard deviations of the first parameter, the variance of
    the second would be 6 % smaller.
    """
    assert bend * (5.5**2 - 1) * widths[0] ** 2 < half_width
    parameters = [parameter(f"x{i}", -half_width, half_width, index=i + 1) for i in range(2)]

    def residuals(t):
        shifted = t[:, 1] - bend * (t[:, 0] ** 2 - widths[0] ** 2)
        return np.stack([t[:, 0] / widths[0], shifted / widths[1]], axis=1)

    session = from_residuals(parameters, residuals, 2)
    return session, float(np.log(2 * np.pi * widths[0] * widths[1]) - 2 * np.log(2 * half_width))


def banana_moments(bend=1.0, widths=(1.0, 0.1)):
    """Means and standard deviations of `banana`, far from the prior's edges."""
    return np.zeros(2), np.array([widths[0], np.hypot(widths[1], bend * np.sqrt(2) * widths[0] ** 2)])


def cut_gaussian(means=(0.1, 1.0), sigma=0.3, low=0.0, high=10.0):
    """Independent Gaussians of which the prior's lower edge cuts off a part."""
    means = np.asarray(means, float)
    parameters = [parameter(f"x{i}", low, high, index=i + 1) for i in range(len(means))]
    session = from_residuals(parameters, lambda t: (t - means) / sigma, len(means))
    exact = [stats.truncnorm((low - m) / sigma, (high - m) / sigma, m, sigma) for m in means]
    kept = [stats.norm.cdf(high, m, sigma) - stats.norm.cdf(low, m, sigma) for m in means]
    return session, float(np.sum(np.log(sigma * np.sqrt(2 * np.pi) * np.array(kept) / (high - low)))), exact


def silent_parameter(sigma=0.2, half_width=10.0):
    """Two parameters that the data measure and a third of which they say nothing."""
    parameters = [parameter(f"x{i}", -half_width, half_width, index=i + 1) for i in range(3)]
    session = from_residuals(parameters, lambda t: (t[:, :2] - 1.0) / sigma, 2)
    return session, float(2 * np.log(sigma * np.sqrt(2 * np.pi) / (2 * half_width)))


def narrow_mode(ratio=30.0, width=0.8, share=0.3, half_width=5.0, d=2):
    """A broad mode, and one `ratio` times narrower that holds `share` of the posterior.

    The expected counts say nothing about either: what a network or Fisher scoring reads from them is of no use here,
    and only the statistic tells.
    """
    session, log_evidence = two_modes(5.0, (width, width / ratio), share, d, half_width)
    session._expected = lambda t: np.full((len(t), 2), 100.0)
    return session, log_evidence
