"""A network whose posterior is known in closed form, and ways to spoil it."""

from types import SimpleNamespace

import numpy as np
from scipy.special import gammainc, gammaincinv, gammaln, ndtri, xlogy

from tests.core.analytic import AnalyticSession, cash, parameter
from xsixsa import LogUniform, Prior
from xsixsa.amortised.training_prior import TrainingPrior
from xsixsa.inference.proposals import PriorProposal, Proposal
from xsixsa.simulate import Simulator


def counting_session(d, low, high):
    """One normalisation for each bin."""
    parameters = [parameter(f"c{i}.norm", low, high, is_norm=True, index=i + 1) for i in range(d)]
    counts = np.full(d, 100.0)
    return AnalyticSession(parameters, lambda t: t, lambda t: cash(t, counts), counts)


class Half(Proposal):
    """The prior where the first coordinate is positive."""

    def __init__(self, dim):
        self.prior = PriorProposal(dim)

    def sample(self, n, rng):
        z = self.prior.sample(n, rng)
        z[:, 0] = np.abs(z[:, 0])
        return z

    def log_prob(self, z):
        return np.where(z[:, 0] > 0, self.prior.log_prob(z) + np.log(2), -np.inf)


class Stand:
    """What a network has beside its posterior."""

    reference = 1.0

    def __init__(self, session, distributions, region=None):
        self.session, self.prior = session, Prior(session.parameters, distributions)
        self.names, self.simulator = self.prior.names, Simulator(session.observations)
        self.layout = SimpleNamespace(observation=session.observations[0])
        self.proposal = TrainingPrior(self.prior.dim, (1.0, 1.0), 1.0, region=region)

    def total(self, expected, exposure=None):
        return np.asarray(expected, np.float32)

    def drawn(self, n, seed):
        """Simulations as training has them."""
        everywhere = lambda z: (self.session._expected(self.prior.from_normal(z)), np.ones(len(z), bool))  # noqa: E731
        return self.proposal.draw(n, np.random.default_rng(seed), everywhere)

    def simulate(self, expected, rng, exposure=None):
        return rng.poisson(expected).astype(float)


class ExactNetwork(Stand):
    """Gamma posteriors of Poisson counts under log-uniform priors.

    `width` and `shift` (in standard deviations) spoil draws and density alike, so that the importance correction can
    repair them; `lies` spoils the draws only, which nothing can repair.
    """

    def __init__(self, d=2, width=1.0, shift=0.0, lies=False, region=None, low=20.0, high=500.0):
        super().__init__(counting_session(d, low, high), [LogUniform(low, high)] * d, region)
        self.low, self.high = low, high
        self.width, self.shift, self.lies = width, shift, lies

    def summarise(self, counts, exposure=None):
        return np.log1p(counts)

    def _quantile(self, counts, u):
        a, b = gammainc(counts, self.low), gammainc(counts, self.high)
        theta = gammaincinv(counts, a + u * (b - a))
        return ndtri(np.clip(np.log(theta / self.low) / np.log(self.high / self.low), 1e-12, 1 - 1e-12))

    def _shape(self, counts):
        low, middle, high = (self._quantile(counts, q) for q in (0.16, 0.5, 0.84))
        return middle, 0.5 * (high - low)

    def sample(self, counts, n, rng, exposure=None):
        s = np.asarray(counts, float)[:, None]
        z = self._quantile(s, rng.random((len(s), n, s.shape[2])))
        middle, sigma = self._shape(s)
        return middle + self.width * (z - middle) + self.shift * sigma

    def log_prob(self, z, counts, exposure=None):
        s = np.asarray(counts, float)[:, None]
        jacobian = 0.0
        if not self.lies:
            middle, sigma = self._shape(s)
            z = middle + (z - middle - self.shift * sigma) / self.width
            jacobian = z.shape[2] * np.log(self.width)
        shape = z.shape
        theta = self.prior.from_normal(z.reshape(-1, shape[2])).reshape(shape)
        mass = gammainc(s, self.high) - gammainc(s, self.low)
        in_log = xlogy(s, theta) - theta - gammaln(s) - np.log(mass)
        normal = -0.5 * z**2 - 0.5 * np.log(2 * np.pi)
        return (in_log + np.log(np.log(self.high / self.low)) + normal).sum(axis=2) - jacobian


class ExposedNetwork(ExactNetwork):
    """The same for exposures between half and twice the reference, given beside the counts; or blind to them."""

    def __init__(self, blind=False, **options):
        super().__init__(**options)
        self.blind = blind
        self.proposal = TrainingPrior(self.prior.dim, (0.5, 2.0), 1.0)
        self._time = 1.0

    def simulate(self, expected, rng, exposure=None):
        return rng.poisson(expected * exposure[:, None]).astype(float)

    def _at(self, exposure):
        return 1.0 if self.blind else np.asarray(exposure, float)[:, None, None]

    def _quantile(self, counts, u):
        a, b = gammainc(counts, self.low * self._time), gammainc(counts, self.high * self._time)
        theta = gammaincinv(counts, a + u * (b - a)) / self._time
        return ndtri(np.clip(np.log(theta / self.low) / np.log(self.high / self.low), 1e-12, 1 - 1e-12))

    def sample(self, counts, n, rng, exposure=None):
        self._time = self._at(exposure)
        return super().sample(counts, n, rng)

    def log_prob(self, z, counts, exposure=None):
        time, s = self._at(exposure), np.asarray(counts, float)[:, None]
        theta = self.prior.from_normal(z.reshape(-1, z.shape[2])).reshape(z.shape)
        mass = gammainc(s, self.high * time) - gammainc(s, self.low * time)
        in_log = xlogy(s, theta * time) - theta * time - gammaln(s) - np.log(mass)
        normal = -0.5 * z**2 - 0.5 * np.log(2 * np.pi)
        return (in_log + np.log(np.log(self.high / self.low)) + normal).sum(axis=2)


class PowerLaw(Stand):
    """Sixty bins of a power law with a norm: enough of a spectrum to be unlike another."""

    edges = np.linspace(0.5, 8.0, 61)

    def __init__(self, n_training=2_000, seed=0, size=10):
        middle = 0.5 * (self.edges[1:] + self.edges[:-1])
        self._middle = middle
        parameters = [parameter("PhoIndex", 0.5, 2.5), parameter("norm", 20.0, 500.0, is_norm=True, index=2)]
        counts = self.expected(np.array([[1.5, 100.0]]))[0].round()
        session = AnalyticSession(parameters, self.expected, lambda t: cash(self.expected(t), counts), counts)
        super().__init__(session, [(0.5, 2.5), LogUniform(20.0, 500.0)])
        rng = np.random.default_rng(seed)
        total = self.expected(self.prior.sample(n_training, rng))
        logs = np.log1p(rng.poisson(total))
        self._mean = logs.mean(axis=0)
        self._basis = np.linalg.svd(logs - self._mean, full_matrices=False)[2][:size]

    def expected(self, theta):
        return theta[:, 1:] * self._middle ** (-theta[:, :1])

    def summarise(self, counts, exposure=None):
        return ((np.log1p(counts) - self._mean) @ self._basis.T).astype(np.float32)

    def sample(self, counts, n, rng, exposure=None):
        """Laplace approximation around a grid's best point, a little wide."""
        out = np.empty((len(counts), n, 2))
        for i, (mean, chol) in enumerate(self._laplace(c) for c in counts):
            out[i] = mean + rng.standard_normal((n, 2)) @ chol.T
        return out

    def log_prob(self, z, counts, exposure=None):
        out = np.empty(z.shape[:2])
        for i, (mean, chol) in enumerate(self._laplace(c) for c in counts):
            r = np.linalg.solve(chol, (z[i] - mean).T)
            out[i] = -0.5 * (r**2).sum(axis=0) - np.log(2 * np.pi) - np.log(np.diag(chol)).sum()
        return out

    def _laplace(self, counts):
        z = np.zeros(2)
        for _ in range(30):
            here = self.expected(self.prior.from_normal(z[None]))[0]
            step = 1e-4 * np.eye(2)
            slope = (self.expected(self.prior.from_normal(z + step)) - here) / 1e-4
            fisher = (slope / here) @ slope.T + np.eye(2)
            move = np.linalg.solve(fisher, slope @ (counts / here - 1) - z)
            z = np.clip(z + np.clip(move, -0.5, 0.5), -4, 4)
        return z, np.linalg.cholesky(1.2 * np.linalg.inv(fisher))
