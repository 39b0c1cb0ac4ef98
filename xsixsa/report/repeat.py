"""How to make a run again: the shell's command and the Python that does the same."""

from __future__ import annotations

import shlex

from xsixsa.errors import PriorError, UsageError

__all__ = ["command", "python_code"]

_PRESETS = ("quick", "standard", "thorough")
_CHANGEABLE = ("ess", "max_evaluations")


def _preset_of(options: dict) -> tuple[str | None, dict]:
    """The preset that a run's settings came from, and what the caller changed; None where no preset fits."""
    from xsixsa.options import preset

    for name in _PRESETS:
        known = preset(name).as_dict()
        changed = {k: options[k] for k in known if k in options and options[k] != known[k]}
        if set(changed) <= set(_CHANGEABLE) and set(known) <= set(options):
            return name, changed
    return None, {}


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
    priors, (preset, changed) = _priors(result), _preset_of(result.options)
    if priors is None or preset is None:
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
    preset, changed = _preset_of(result.options)
    embedded = result.engine["name"] == "embedded"
    lines = ["import xsixsa", "from xsixsa.embedded import xspec" if embedded else "import xspec", ""]
    lines += ['xspec.Xset.restore("session.xcm")', "prior = {"]
    for p in result.parameters:
        value = f"{p['prior']!r}," if _readable(p["prior"]) else f"...,  # {' '.join(p['prior'].split())}"
        lines.append(f"    {p['name']!r}: {value}")
    given = ", ".join(f"{k}={v!r}" for k, v in {"preset": preset or "standard", **changed, "seed": result.seed}.items())
    note = "" if preset else "  # settings of no preset: see the table of settings"
    return "\n".join([*lines, "}", f'result = xsixsa.fit(xspec, prior, {given}, out="again"){note}'])
