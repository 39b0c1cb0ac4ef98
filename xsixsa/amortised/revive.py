"""The session that a network was trained in, loaded again from what the network holds, the response files apart."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from xsixsa.amortised.pattern import Pattern, check_session, file_hash
from xsixsa.errors import DataError, SessionError
from xsixsa.session import Session

__all__ = ["find_response", "loaded", "write_pattern"]


def write_pattern(pattern: Pattern, folder: Path) -> Path:
    """Write the pattern's spectrum, and its background where it has one, as OGIP files.

    The counts of a bin stand in its first channel: only their sum was kept, and only their sum matters.
    """
    o = pattern.observation
    background = "none"
    if o.background is not None:
        b, background = o.background, "background.pha"
        _write(pattern, folder / background, b.counts, b.exposure, b.area_scale, b.back_scale, "BKG", "none")
    path = folder / "pattern.pha"
    _write(pattern, path, o.counts, o.exposure, o.area_scale, o.back_scale, "TOTAL", background)
    return path


def _write(pattern: Pattern, path: Path, counts, exposure, area, back, kind: str, background: str) -> None:
    from astropy.io import fits

    n, first, group = len(pattern.channel_bin), pattern.facts["first_channel"], pattern.group
    used = pattern.channel_bin >= 0
    starts = np.flatnonzero(used & (np.diff(pattern.channel_bin, prepend=-2) != 0))
    held = np.zeros(n, np.int32)
    held[starts] = counts
    grouping = np.where(np.diff(group, prepend=-2) != 0, 1, -1)
    columns = [
        fits.Column("CHANNEL", "J", array=np.arange(first, first + n)),
        fits.Column("COUNTS", "J", unit="count", array=held),
        fits.Column("QUALITY", "I", array=np.where(group < 0, 1, 0)),
        fits.Column("GROUPING", "I", array=grouping),
    ]
    keywords = {"AREASCAL": area, "BACKSCAL": back}
    for key, values in list(keywords.items()):
        if np.all(values == values[0]):
            keywords[key] = float(values[0])
            continue
        del keywords[key]
        full = np.ones(n)
        full[used] = values[pattern.channel_bin[used]]
        columns.append(fits.Column(key, "D", array=full))
    table = fits.BinTableHDU.from_columns(columns, name="SPECTRUM")
    header = {"HDUCLASS": "OGIP", "HDUCLAS1": "SPECTRUM", "HDUCLAS2": kind, "HDUCLAS3": "COUNT", "HDUVERS": "1.2.1"}
    header |= {"TELESCOP": "NONE", "INSTRUME": "NONE", "FILTER": "NONE", "EXPOSURE": exposure, "CORRSCAL": 0.0}
    header |= {"RESPFILE": "none", "ANCRFILE": "none", "BACKFILE": background, "CORRFILE": "none", "CHANTYPE": "PI"}
    header |= {"DETCHANS": n, "POISSERR": True, "STAT_ERR": 0, "SYS_ERR": 0, **keywords}
    for key, value in header.items():
        table.header[key] = value
    table.header["TLMIN1"], table.header["TLMAX1"] = first, first + n - 1
    fits.HDUList([fits.PrimaryHDU(), table]).writeto(path, overwrite=True)


def find_response(pattern: Pattern, kind: str, folders: Sequence[str | os.PathLike], given: str | None = None) -> str:
    """Path of the network's RMF (`kind` "rmf") or ARF ("arf"), "" where it has none.

    Parameters
    ----------
    pattern
        What the network was trained for.
    kind
        ``"rmf"`` or ``"arf"``.
    folders
        Where to look, one after the other.
    given
        A file in place of any that might be found.

    Raises
    ------
    DataError
        It is nowhere, or what was found has another content.
    """
    then = pattern.facts["response"]
    name, wanted = then[kind], then[f"{kind}_hash"]
    if not name:
        return ""
    candidates = [given] if given else list(dict.fromkeys(os.path.join(f, name) for f in folders))
    found = [c for c in candidates if os.path.isfile(c)]
    for path in found:
        if not wanted or file_hash(path) == wanted:
            return os.path.abspath(path)
    if found:
        raise DataError(f"{found[0]} is not the {kind.upper()} of the training ({name}): its content differs")
    raise DataError(f"the network's {kind.upper()} {name} is not here: give it with --{kind} FILE ({kind}=...)")


@contextmanager
def loaded(network, xspec, folders: Sequence[str | os.PathLike] = (".",), rmf=None, arf=None) -> Iterator[Session]:
    """The network's pattern, response, model and settings loaded into an engine that holds nothing else.

    Parameters
    ----------
    network
        The network.
    xspec
        Module with PyXspec's names; what it has loaded is cleared.
    folders
        Where to look for the response files.
    rmf, arf
        The response files by name.

    Yields
    ------
    Session
        Attached, and checked against the network.

    Raises
    ------
    DataError, SessionError
        A response file is missing or another one; the engine cannot load what the network needs.
    """
    pattern = network.layout
    if pattern.facts["response"]["gain"]:
        raise SessionError("the network was trained with a response gain: load the session and apply it there")
    files = [find_response(pattern, kind, folders, given) for kind, given in (("rmf", rmf), ("arf", arf))]
    here = Path.cwd()
    with tempfile.TemporaryDirectory(prefix="xsixsa-") as scratch:
        write_pattern(pattern, Path(scratch))
        os.chdir(scratch)  # the pattern and its background are named as they lie there
        try:
            _load(network, xspec, *files)
            session = Session(xspec)
            check_session(pattern, session)
            yield session
        finally:
            os.chdir(here)


def _load(network, xspec, rmf: str, arf: str) -> None:
    from xsixsa.cli.load import engine_says
    from xsixsa.embedded.grouping import compact

    pattern = network.layout
    then = pattern.facts["settings"]
    with engine_says(SessionError, "loading what the network was trained with"):
        xspec.AllModels.clear()
        xspec.AllData.clear()
        for key in ("abund", "xsect"):
            if then.get(key):
                setattr(xspec.Xset, key, then[key])
        if then.get("cosmo"):
            xspec.Xset.cosmo = " ".join(f"{v:g}" for v in then["cosmo"])
        if then.get("model_strings"):
            xspec.Xset.modelStrings = then["model_strings"]
        xspec.Fit.statMethod = "cstat"
        xspec.AllData("1:1 pattern.pha")
        spectrum = xspec.AllData(1)
        spectrum.response = rmf
        if arf:
            spectrum.response.arf = arf
        xspec.AllData.ignore("bad")
        spectrum.ignore("1-**")
        spectrum.notice(compact(pattern.observation.channels).replace(" ", ","))
        _define(network, xspec)


def _define(network, xspec) -> None:
    """The model with its fixed values, links and the limits of its free parameters."""
    facts = network.layout.facts["model"]
    model = xspec.Model(facts["expression"])
    free = {p.index: p for p in network.prior.parameters}
    for row in facts["parameters"]:
        parameter = model(row["index"])
        if row["free"]:
            p = free[row["index"]]
            parameter.values = f"{p.value!r},,{p.min!r},{p.min!r},{p.max!r},{p.max!r}"
            parameter.frozen = False
        elif row["link"]:
            parameter.link = row["link"]
        elif row["value"] is not None:
            parameter.values = f"{row['value']!r}"
            if hasattr(parameter, "frozen"):
                parameter.frozen = True
