"""Responses of spectra, under PyXspec's names."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from xsixsa.embedded.rmf import Arf, Rmf, read_arf, read_rmf
from xsixsa.embedded.state import ENGINE
from xsixsa.errors import DataError

if TYPE_CHECKING:
    from xsixsa.embedded.spectrum import Spectrum

__all__ = ["MultiResponse", "Response"]


class Response:
    """A response of one source: RMF, and ARF where the RMF does not hold the area.

    Attributes
    ----------
    rmf, arf : str
        File names; `arf` is settable.
    energies : tuple of float
        Edges of the photon energies, keV.
    sourceNumber : int
    """

    def __init__(self, spectrum: Spectrum, source: int, rmf: str, arf: str = "") -> None:
        self._spectrum = spectrum
        self._rmf: Rmf = read_rmf(rmf)
        self._arf: Arf | None = None
        self.sourceNumber = source
        if self._rmf.n_channels != spectrum.n_channels:
            raise DataError(
                f"{rmf}: has {self._rmf.n_channels} channels (DETCHANS), {spectrum.fileName} has {spectrum.n_channels}"
            )
        if arf:
            self._load_arf(arf)

    def _load_arf(self, path: str) -> None:
        arf = read_arf(path)
        edges = self._rmf.edges
        if arf.area.size != edges.size - 1:
            raise DataError(
                f"{path}: SPECRESP has {arf.area.size} energies, MATRIX of {self._rmf.path} has {edges.size - 1}"
            )
        apart = np.max(np.abs(arf.edges - edges)[1:] / np.diff(edges))
        if apart > 0.5:
            raise DataError(f"{path}: ENERG_LO/ENERG_HI are not those of {self._rmf.path}")
        self._arf = arf

    @property
    def rmf(self) -> str:
        """File name of the RMF."""
        return self._rmf.path

    @property
    def arf(self) -> str:
        """File name of the ARF, raises where there is none; set it to another file, or to "" or None for none."""
        if self._arf is None:
            raise DataError(f"the response {self.rmf} has no ARF")
        return self._arf.path

    @property
    def files(self) -> tuple[str, str]:
        """File names of RMF and ARF, empty for none."""
        return self._rmf.path, "" if self._arf is None else self._arf.path

    @arf.setter
    def arf(self, path: str | None) -> None:
        if path is None or not str(path).strip():
            self._arf = None
        else:
            self._load_arf(str(path))
        ENGINE.restructured()

    @property
    def energies(self) -> tuple[float, ...]:
        """Edges of the photon energy bins, keV."""
        return tuple(self._rmf.edges.tolist())

    @property
    def chanEnergies(self) -> tuple[tuple[float, float], ...]:
        """Nominal energies of the ungrouped channels, keV."""
        return tuple(zip(self._rmf.e_min.tolist(), self._rmf.e_max.tolist(), strict=True))

    @property
    def edges(self) -> np.ndarray:
        """Edges of the photon energy bins, (energies + 1,) keV."""
        return self._rmf.edges

    def group_bounds(self, group: np.ndarray, n_groups: int) -> tuple[np.ndarray, np.ndarray]:
        """Return lowest and highest nominal energy of each group, keV."""
        kept = group >= 0
        low, high = np.full(n_groups, np.inf), np.full(n_groups, -np.inf)
        np.minimum.at(low, group[kept], self._rmf.e_min[kept])
        np.maximum.at(high, group[kept], self._rmf.e_max[kept])
        return low, high

    def folding(self, group: np.ndarray, bins: np.ndarray) -> sparse.csr_array:
        """Return the effective response of the wanted groups, (bins, energies) cm2.

        Parameters
        ----------
        group : (channels,) int
            Group of each channel, -1 for none.
        bins : (n,) int
            The wanted groups.
        """
        row_of_group = np.full(int(group.max()) + 1, -1)
        row_of_group[bins] = np.arange(bins.size)
        row = np.where(group >= 0, row_of_group[np.maximum(group, 0)], -1)
        used = np.flatnonzero(row >= 0)
        ones = np.ones(used.size)
        summing = sparse.csr_array((ones, (row[used], used)), shape=(bins.size, group.size))
        matrix = summing @ self._rmf.matrix
        if self._arf is not None:
            matrix = matrix @ sparse.diags_array(self._arf.area)
        matrix = sparse.csr_array(matrix)
        matrix.eliminate_zeros()
        return matrix


class MultiResponse:
    """The responses of a spectrum by source, 0-based as in PyXspec: ``s.multiresponse[1]`` is source 2."""

    def __init__(self, spectrum: Spectrum) -> None:
        self._spectrum = spectrum

    def __getitem__(self, index: int) -> Response:
        found = self._spectrum.responses.get(index + 1)
        if found is None:
            raise DataError(f"spectrum {self._spectrum.index} has no response for source {index + 1}")
        return found

    def __setitem__(self, index: int, path: str | None) -> None:
        self._spectrum.set_response(index + 1, path)
