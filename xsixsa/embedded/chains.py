"""``AllChains`` and ``Chain``: chain files, and a small affine-invariant sampler to make them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from xsixsa.chain import ChainFile, read_chain, write_chain
from xsixsa.embedded.fitsio import damage
from xsixsa.embedded.parameter import Parameter
from xsixsa.embedded.restrict import Restricted
from xsixsa.embedded.state import ENGINE, Engine
from xsixsa.errors import SessionError, UsageError

__all__ = ["Chain", "ChainManager"]

# Stretch of Goodman and Weare (2010)
STRETCH = 2.0


class ChainManager(Restricted):
    """Container of loaded chain files, numbered from 1."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._files: list[str] = []
        self._chains: list[ChainFile] = []
        self.defBurn = 0
        self.defFileType = "fits"
        self.defLength = 100
        self.defProposal = "gaussian fit"
        self.defRand = False
        self.defRescale = 1.0
        self.defTemperature = 1.0
        self.defAlgorithm = "gw"
        self.defWalkers = 10
        self._seal()

    def __call__(self, index: int) -> Chain:
        """Return chain number `index`, from 1."""
        if not isinstance(index, int) or not 1 <= index <= len(self._files):
            raise UsageError(f"no chain {index!r}; {len(self._files)} are loaded")
        return Chain(self._files[index - 1], _run=False)

    def __iadd__(self, chain: str | Chain) -> ChainManager:
        """Load a chain file.

        Raises
        ------
        xsixsa.errors.DataError
            Where the file is no chain.
        """
        path = chain if isinstance(chain, str) else chain.fileName
        with damage(path):
            loaded = read_chain(path)
        if path in self._files:
            self._chains[self._files.index(path)] = loaded
        else:
            self._files.append(path)
            self._chains.append(loaded)
        if not self.in_use:
            self._engine.console.warn(f"{path}: its columns are not the free parameters of the model; not used")
        return self

    def __isub__(self, chain: str | int | Chain) -> ChainManager:
        if chain == "*":
            self.clear()
            return self
        number = chain if isinstance(chain, int) else None
        path = chain if isinstance(chain, str) else getattr(chain, "fileName", None)
        if number is None and path in self._files:
            number = self._files.index(path) + 1
        if number is None or not 1 <= number <= len(self._files):
            raise UsageError(f"no chain {chain!r}; {len(self._files)} are loaded")
        del self._files[number - 1], self._chains[number - 1]
        return self

    def clear(self) -> None:
        """Unload all chains; the files stay."""
        self._files, self._chains = [], []

    @property
    def nChains(self) -> int:
        """Number of loaded chains."""
        return len(self._files)

    @property
    def fileNames(self) -> tuple[str, ...]:
        """Names of the loaded files."""
        return tuple(self._files)

    @property
    def in_use(self) -> bool:
        """Whether there are chains and their columns are the free parameters."""
        free = [(p.name, p.model.name, p.global_index) for p in self._engine.models.free_parameters]
        columns = [[(c["parameter"], c["source"], c["index"]) for c in chain.parameters] for chain in self._chains]
        return bool(columns) and all(column == free for column in columns)

    def rows(self) -> tuple[np.ndarray, np.ndarray]:
        """Return all rows, (n, d) values of the free parameters and (n,) statistics."""
        if not self.in_use:
            raise SessionError("no loaded chain belongs to the free parameters of the model")
        return np.concatenate([c.theta for c in self._chains]), np.concatenate([c.statistic for c in self._chains])

    def set_errors(self, parameters: list[Parameter], delta: float) -> None:
        """Set errors from the quantiles that `delta` stands for in one dimension."""
        from scipy.stats import chi2

        theta, _ = self.rows()
        outside = 0.5 * (1.0 - chi2.cdf(delta, 1))
        free = self._engine.models.free_parameters
        for parameter in parameters:
            place = next((i for i, p in enumerate(free) if p is parameter), None)
            if place is None:
                parameter.set_error(0.0, 0.0, "FFFFFTFFF")
            else:
                parameter.set_error(*np.quantile(theta[:, place], [outside, 1.0 - outside]), "FFFFFFFFF")
        self._engine.console.tell("Errors calculated from chains")

    def stat(self, parIdx: str) -> tuple[float, float]:
        """Return mean and standard deviation of a parameter, by ``"[name:]index"``, over the chains."""
        source, _, index = str(parIdx).rpartition(":")
        parameter = self._engine.models.parameter(source, int(index))
        theta, _ = self.rows()
        place = [p is parameter for p in self._engine.models.free_parameters].index(True)
        return float(theta[:, place].mean()), float(theta[:, place].std(ddof=1))

    def show(self) -> None:
        """Say what is loaded."""
        for number, (path, chain) in enumerate(zip(self._files, self._chains, strict=True), 1):
            self._engine.console.tell(f"{number}. {path}: {len(chain.statistic)} rows")


class Chain(Restricted):
    """A Markov chain over the free parameters, run when made and loaded into ``AllChains``.

    Parameters
    ----------
    fileName : str
        Written as FITS; an existing file is refused.
    fileType : str, optional
        Only "fits".
    burn, runLength, walkers : int, optional
        Steps thrown away, rows written and walkers; ``AllChains`` holds the defaults.
    proposal, rand, temperature, algorithm : optional
        Kept as given; the engine samples with the stretch move of Goodman and Weare (2010) at temperature 1, inside
        the hard limits.

    Raises
    ------
    SessionError
        Nothing to sample.
    """

    def __init__(
        self,
        fileName: str,
        fileType: str | None = None,
        burn: int | None = None,
        runLength: int | None = None,
        proposal: str | None = None,
        rand: bool | None = None,
        temperature: float | None = None,
        algorithm: str | None = None,
        walkers: int | None = None,
        *,
        _run: bool = True,
    ) -> None:
        chains = ENGINE.chains
        self.fileName = fileName
        self.fileType = fileType or chains.defFileType
        self.burn = chains.defBurn if burn is None else burn
        self.runLength = chains.defLength if runLength is None else runLength
        self.proposal = proposal or chains.defProposal
        self.rand = chains.defRand if rand is None else rand
        self.temperature = chains.defTemperature if temperature is None else temperature
        self.algorithm = algorithm or chains.defAlgorithm
        self.walkers = chains.defWalkers if walkers is None else walkers
        self._seal()
        if _run:
            self.run(append=False)

    @property
    def totalLength(self) -> int:
        """Rows in the file."""
        return len(read_chain(self.fileName).statistic)

    def run(self, append: bool = True) -> None:
        """Sample `runLength` rows, behind those in the file where `append` is set, and load the file."""
        if self.walkers < 4 or self.walkers % 2 or self.runLength < 1 or self.burn < 0:
            raise UsageError("Chain: walkers is even and at least 4, runLength at least 1, burn at least 0")
        theta, statistic = _sample(ENGINE, self.walkers, self.burn, self.runLength)
        if append and Path(self.fileName).exists():
            before = read_chain(self.fileName)
            theta = np.concatenate([before.theta, theta])
            statistic = np.concatenate([before.statistic, statistic])
        parameters = [
            {"parameter": p.name, "source": p.model.name, "index": p.global_index, "unit": p.unit}
            for p in ENGINE.models.free_parameters
        ]
        write_chain(self.fileName, parameters, theta, statistic, overwrite=append)
        ENGINE.chains += self.fileName

    def show(self) -> None:
        """Say what it is."""
        ENGINE.console.tell(f"{self.fileName}: {self.totalLength} rows, {self.walkers} walkers")


def _sample(engine: Engine, walkers: int, burn: int, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Return `length` rows of a stretch-move chain and their statistics."""
    parameters = engine.models.free_parameters
    if not parameters or not engine.evaluator.spectra_in_use:
        raise SessionError("nothing to sample: load data, define a model and leave a parameter free")
    keys = [(p.model.name, p.model.group, p.index) for p in parameters]
    limits = np.array([p.hard_limits for p in parameters])
    rng = np.random.default_rng(engine.settings.seed)
    spread = np.array([p.sigma if p.sigma > 0 else abs(p.values[1]) or 1e-3 for p in parameters])
    start = np.array([p.raw for p in parameters])
    position = np.clip(start + spread * rng.standard_normal((walkers, start.size)), *limits.T)

    def half_statistic(theta: np.ndarray) -> np.ndarray:
        inside = np.all((theta >= limits[:, 0]) & (theta <= limits[:, 1]), axis=1)
        out = np.full(len(theta), np.inf)
        if inside.any():
            out[inside] = 0.5 * engine.models.evaluateBatch(keys, theta[inside])[1]
        return np.where(np.isfinite(out), out, np.inf)

    current = half_statistic(position)
    rows, statistics = [], []
    for step in range(burn // walkers + -(-length // walkers)):
        for half in (slice(0, walkers, 2), slice(1, walkers, 2)):
            other = slice(1 - half.start, walkers, 2)
            size = len(position[half])
            z = ((STRETCH - 1.0) * rng.random(size) + 1.0) ** 2 / STRETCH
            partner = position[other][rng.integers(0, size, size)]
            trial = partner + z[:, None] * (position[half] - partner)
            value = half_statistic(trial)
            # infinite on both sides is no step either
            with np.errstate(invalid="ignore"):
                gain = (start.size - 1) * np.log(z) + current[half] - value
            taken = np.log(rng.random(size)) < gain
            position[half] = np.where(taken[:, None], trial, position[half])
            current[half] = np.where(taken, value, current[half])
        if step >= burn // walkers:
            rows.append(position.copy())
            statistics.append(2.0 * current)
    return np.concatenate(rows)[:length], np.concatenate(statistics)[:length]
