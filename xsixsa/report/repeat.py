"""How to make a run again: the shell's command and the Python that does the same."""

from __future__ import annotations

import shlex

from xsixsa.errors import PriorError, UsageError

__all__ = ["command", "python_code"]

_PRESETS = ("standard", "quick", "thorough")
# what the shell can say besides the preset
_IN_THE_SHELL = ("ess", "max_evaluations", "max_seconds")
# Centring has its own randomness, and the prior that is recorded is the one it arrived at: it is not repeated.
_NOT_REPEATED = ("centre",)
_SUMMARIES = ("autoencoder", "pca", "spectral", "embedding", "none")


def _same(a, b) -> bool:
    """Equal as settings: what was saved has lists where there were tuples."""
    return (list(a) if isinstance(a, tuple) else a) == (list(b) if isinstance(b, tuple) else b)


def _differences(options: dict) -> tuple[str, dict]:
    """The preset closest to a run's settings, and those that differ; of groups of settings only what differs inside."""
    from xsixsa.options import preset

    found = {}
    for name in _PRESETS:
        changed = {}
        for key, base in preset(name).as_dict().items():
            value = options.get(key, base)
            if key in _NOT_REPEATED or _same(value, base):
                continue
            inside = isinstance(base, dict) and isinstance(value, dict)
            changed[key] = {k: v for k, v in value.items() if not _same(v, base.get(k))} if inside else value
        found[name] = changed
    name = min(_PRESETS, key=lambda n: len(found[n]))
    return name, found[name]


def _literal(value) -> str:
    """A setting as Python: files have lists where there were tuples."""
    return repr(tuple(value) if isinstance(value, list) else value)


def _options_code(name: str, changed: dict) -> list[str] | None:
    """Lines that make the options, or None where they held an object that its name does not give back."""
    if changed.get("summary", "none") not in _SUMMARIES:
        return None
    lines, words = [f"base = preset({name!r})"], []
    for key, value in changed.items():
        if key == "emulator" and isinstance(value, dict):
            # None in every preset
            lines.insert(0, "from xsixsa.correction.emulator import EmulatorOptions")
            words.append(f"emulator=EmulatorOptions({', '.join(f'{k}={_literal(v)}' for k, v in value.items())})")
        elif isinstance(value, dict):
            inside = ", ".join(f"{k}={_literal(v)}" for k, v in value.items())
            words.append(f"{key}=replace(base.{key}, {inside})")
        else:
            words.append(f"{key}={_literal(value)}")
    return [*lines, f"options = base.changed({', '.join(words)})"]


def _readable(text: str) -> bool:
    from xsixsa.distributions import as_distribution

    try:
        as_distribution(text)
    except (PriorError, UsageError):
        return False
    return True


def _priors(result) -> dict[str, str] | None:
    texts = {p["name"]: p["prior"] for p in result.parameters}
    return texts if all(_readable(text) for text in texts.values()) else None


def command(result) -> str | None:
    """The shell command that repeats the run from its ``session.xcm``, or None where the shell cannot say it."""
    priors, (preset, changed) = _priors(result), _differences(result.options)
    if priors is None or not set(changed) <= set(_IN_THE_SHELL):
        return None
    words = ["xsixsa", "fit", "session.xcm", "--engine", str(result.engine["name"])]
    for name, text in priors.items():
        words += ["--prior", f"{name}={text}"]
    words += ["--preset", preset]
    for name, value in changed.items():
        words += [f"--{name.replace('_', '-')}", str(value)]
    return shlex.join([*words, "--seed", str(result.seed), "--out", "again"])


def python_code(result) -> str:
    """Python that repeats the run in a session restored from ``session.xcm``."""
    preset, changed = _differences(result.options)
    lines = [
        "import xsixsa",
        "from xsixsa.embedded import xspec" if result.engine["name"] == "embedded" else "import xspec",
    ]
    given, note = {"preset": repr(preset), **{k: repr(v) for k, v in changed.items()}}, ""
    if not set(changed) <= {"ess", "max_evaluations", "max_seconds"}:
        making = _options_code(preset, changed)
        if making is None:
            note = "  # settings that text cannot say: see the table of settings"
            given = {k: v for k, v in given.items() if k in ("preset", *_IN_THE_SHELL)}
        else:
            lines += ["from xsixsa.options import preset", "", *making]
            lines = ["from dataclasses import replace", "", *lines] if any("replace(" in m for m in making) else lines
            given = {"options": "options"}
    lines += ["", 'xspec.Xset.restore("session.xcm")', "prior = {"]
    for p in result.parameters:
        value = f"{p['prior']!r}," if _readable(p["prior"]) else f"...,  # {' '.join(p['prior'].split())}"
        lines.append(f"    {p['name']!r}: {value}")
    words = ", ".join(f"{k}={v}" for k, v in {**given, "seed": repr(result.seed)}.items())
    return "\n".join([*lines, "}", f'result = xsixsa.fit(xspec, prior, {words}, out="again"){note}'])
