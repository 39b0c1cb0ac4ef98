"""Trees of arrays and plain values in one HDF5 file, with a checksum over all of it and without pickle.

A network that was cut short on its way to a colleague, or changed, must not give posteriors: what is read back has to
have the checksum that was written.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import numpy as np

from xsixsa.distributions import Distribution, Frozen, _Truncated, as_distribution
from xsixsa.errors import OutputError

__all__ = ["as_read", "distribution_from", "distribution_state", "read_tree", "tree_hash", "write_tree"]

_ARRAY = "__array__"


def write_tree(path: str | os.PathLike, kind: str, version: int, tree: dict, overwrite: bool = False) -> Path:
    """Write nested dictionaries of arrays, numbers, text, lists and None.

    Parameters
    ----------
    path
        File to write; it appears whole or not at all.
    kind, version
        What the file is; both must be the same when it is read.
    tree
        Keys are text. Arrays may be values of dictionaries, not items of lists.
    overwrite
        Replace an existing file.

    Raises
    ------
    OutputError
        If the file exists and `overwrite` is not given, or cannot be written.
    """
    import h5py

    from xsixsa.files import atomic_path

    arrays: dict[str, np.ndarray] = {}
    text = json.dumps(_split(tree, "", arrays), sort_keys=True)
    with atomic_path(path, overwrite=overwrite) as temporary, h5py.File(temporary, "w") as f:
        f.attrs["kind"], f.attrs["version"] = kind, version
        # a dataset, not an attribute: those hold 64 kB at most
        f["json"] = text
        for name, value in arrays.items():
            f.create_dataset(f"arrays/{name}", data=value)
        f.attrs["checksum"] = _checksum(text, arrays)
    return Path(path)


def read_tree(path: str | os.PathLike, kind: str, version: int) -> dict:
    """What :func:`write_tree` was given.

    Raises
    ------
    OutputError
        If there is no such file, it is something else, or it is not what was written.
    """
    import h5py

    path = Path(path)
    if not path.is_file():
        raise OutputError(f"{path}: no such {kind}")
    try:
        with h5py.File(path, "r") as f:
            found = f.attrs.get("kind")
            if found != kind:
                raise OutputError(f"{path}: not a {kind}, but {found or 'some other HDF5 file'}")
            if int(f.attrs["version"]) != version:
                raise OutputError(
                    f"{path}: a {kind} of format {int(f.attrs['version'])}, this version of xsixsa reads {version}; "
                    "train it again, or use the version that wrote it"
                )
            text = f["json"][()].decode()
            arrays: dict[str, np.ndarray] = {}
            f["arrays"].visititems(lambda name, item: _take(name, item, arrays))
            if f.attrs["checksum"] != _checksum(text, arrays):
                raise OutputError(f"{path}: its content is not what was written (checksum); copy the file again")
            plain = json.loads(text)
    except (OSError, KeyError, ValueError, RuntimeError, AttributeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise OutputError(f"{path}: not a {kind}, cut short or damaged ({reason}); copy the file again") from None
    return _join(plain, arrays)


def tree_hash(tree: dict) -> str:
    """SHA-256 (hexadecimal) of a tree: the checksum that it would be written with."""
    arrays: dict[str, np.ndarray] = {}
    text = json.dumps(_split(tree, "", arrays), sort_keys=True)
    return _checksum(text, arrays)


def as_read(tree: dict) -> dict:
    """A tree as it would come back from a file: in-memory and stored objects then compute the same to the last bit."""
    arrays: dict[str, np.ndarray] = {}
    plain = json.loads(json.dumps(_split(tree, "", arrays), sort_keys=True))
    return _join(plain, {name: np.array(value, order="C")[()] for name, value in arrays.items()})


def _take(name: str, item, arrays: dict) -> None:
    if hasattr(item, "shape"):
        arrays[name] = item[()]


def _split(value, place: str, arrays: dict):
    """Plain copy of `value` with its arrays taken out into `arrays`."""
    if isinstance(value, dict):
        return {str(k): _split(v, f"{place}/{k}" if place else str(k), arrays) for k, v in value.items()}
    if isinstance(value, np.ndarray):
        arrays[place] = value
        return {_ARRAY: place}
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, (list, tuple)):
        return [_split(v, f"{place}/{i}", arrays) for i, v in enumerate(value)]
    return value


def _join(value, arrays: dict):
    if isinstance(value, dict):
        if set(value) == {_ARRAY}:
            return arrays[value[_ARRAY]]
        return {k: _join(v, arrays) for k, v in value.items()}
    if isinstance(value, list):
        return [_join(v, arrays) for v in value]
    return value


def _checksum(text: str, arrays: dict) -> str:
    digest = hashlib.sha256(text.encode())
    for name in sorted(arrays):
        value = np.ascontiguousarray(arrays[name])
        digest.update(f"{name} {value.dtype.str} {np.shape(arrays[name])}".encode())
        digest.update(value.tobytes())
    return digest.hexdigest()


def distribution_state(distribution: Distribution) -> dict:
    """A prior's distribution as plain values, to the last digit.

    Raises
    ------
    OutputError
        For a scipy distribution that is not one of scipy's own with plain numbers as arguments.
    """
    if isinstance(distribution, _Truncated):
        base = distribution_state(distribution.base)
        return {"kind": "truncated", "base": base, "low": distribution.low, "high": distribution.high}
    if isinstance(distribution, Frozen):
        return _scipy_state(distribution.frozen)
    values = {k: v for k, v in vars(distribution).items() if not k.startswith("_")}
    return {"kind": type(distribution).__name__.lower(), **values}


def _scipy_state(frozen) -> dict:
    from scipy import stats

    name = getattr(getattr(frozen, "dist", None), "name", "")
    arguments, keywords = getattr(frozen, "args", ()), getattr(frozen, "kwds", {})
    plain = all(np.ndim(v) == 0 for v in (*arguments, *keywords.values()))
    if not (plain and type(getattr(stats, name or "norm", None)) is type(getattr(frozen, "dist", None))):
        raise OutputError(f"the prior {Frozen(frozen)} cannot be saved with a network: use one that scipy.stats names")
    return {
        "kind": "scipy",
        "name": name,
        "args": [float(v) for v in arguments],
        "kwds": {k: float(v) for k, v in keywords.items()},
    }


def distribution_from(state: dict) -> Distribution:
    """The distribution whose :func:`distribution_state` this is."""
    from xsixsa import distributions

    values = dict(state)
    kind = values.pop("kind")
    if kind == "truncated":
        return _Truncated(distribution_from(values["base"]), values["low"], values["high"])
    if kind == "scipy":
        from scipy import stats

        return as_distribution(getattr(stats, values["name"])(*values["args"], **values["kwds"]))
    known = {c.__name__.lower(): c for c in Distribution.__subclasses__()}
    if kind not in known or kind.startswith("_"):
        raise OutputError(f"unknown prior {kind!r} in the file; it needs a newer version than xsixsa {_version()}")
    return getattr(distributions, known[kind].__name__)(**values)


def _version() -> str:
    import xsixsa

    return xsixsa.__version__
