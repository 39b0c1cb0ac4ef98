"""Saved sessions: ``Xset.save`` and ``Xset.restore``, in the form that XSPEC reads and writes."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from xsixsa.embedded.model import Model
from xsixsa.embedded.spectrum import Spectrum
from xsixsa.embedded.state import Engine
from xsixsa.errors import DataError, OutputError, UsageError, XsixsaError
from xsixsa.files import atomic_path

__all__ = ["restore", "save"]

_MODEL = re.compile(r"^model\s+(?:(\d+)\s*:\s*(\w+)\s+|(\w+)\s*:\s*)?(.*)$", re.IGNORECASE)


# -- save ------------------------------------------------------------------------------------------------------


def save(engine: Engine, path: str, info: str = "a") -> None:
    """Write the session: all ("a"), files ("f") or model ("m"); see ``Xset.save``."""
    what = str(info).strip().lower()[:1]
    if what not in ("a", "f", "m"):
        raise UsageError(f"Xset.save(..., {info!r}): 'a' (all), 'f' (files) or 'm' (model)")
    target = Path(path)
    if not target.suffix:
        target = target.with_suffix(".xcm")
    if target.exists():
        raise OutputError(f"{target} exists; XSPEC would ask, the embedded engine does not overwrite: remove it first")
    lines = ["#xsixsa embedded engine: output of Xset.save()", ""]
    if what in "af":
        lines += [*_files(engine), ""]
    if what in "am":
        lines += _models(engine)
    lines.append(f"bayes {engine.fit.bayes}")
    with atomic_path(target) as temporary:
        Path(temporary).write_text("\n".join(lines) + "\n", encoding="utf-8")


def _files(engine: Engine) -> Iterator[str]:
    default = engine.fit.default_statistic
    yield f"statistic {default}"
    for number, spectrum in enumerate(engine.data, 1):
        yield f"data {spectrum.dataGroup}:{number} {spectrum.fileName}"
        if spectrum.background_file != spectrum.header_files[0]:
            yield f"backgrnd {number} {spectrum.background_file or 'none'}"
        yield from _responses(spectrum, number)
        if spectrum.ignored:
            yield f"ignore {number}:{spectrum.ignoredString().replace(' ', ',')}"
        own = engine.fit.statistic_of(number)
        if own != default:
            yield f"statistic {own} {number}"


def _responses(spectrum: Spectrum, number: int) -> Iterator[str]:
    """Yield what differs from the header's RESPFILE and ANCRFILE."""
    _, header_rmf, header_arf = spectrum.header_files
    if header_rmf and 1 not in spectrum.responses:
        yield f"response 1:{number} none"
    for source, response in sorted(spectrum.responses.items()):
        rmf, arf = response.files
        given = (header_rmf, header_arf) if source == 1 else ("", "")
        if rmf != given[0]:
            yield f"response {source}:{number} {rmf}"
            # a new response comes without an area
            given = (rmf, "")
        if arf != given[1]:
            yield f"arf {source}:{number} {arf or 'none'}"


def _models(engine: Engine) -> Iterator[str]:
    fit, settings = engine.fit, engine.settings
    yield f"method {fit.method} {fit.nIterations} {fit.criticalDelta:g}"
    yield f"abund {settings.abund}"
    yield f"xsect {settings.xsect}"
    yield f"cosmo {' '.join(settings.cosmo)}"
    yield f"xset delta {fit.delta:g}"
    if fit.weight != "standard":
        yield f"weight {fit.weight}"
    for key, value in settings.modelStrings:
        yield f"xset {key} {value}"
    yield f"systematic {engine.models.systematic:g}"
    later = []
    for name in engine.models.names:
        models = engine.models.of(name)
        prefix = f"{models[0].source}:{name} " if name or models[0].source != 1 else ""
        yield f"model  {prefix}{models[0].expression}"
        for model in models:
            for parameter in model.parameters:
                link = parameter.link_expression
                if link is not None and any(
                    source != name or index >= parameter.global_index for source, index in link.references
                ):
                    # what it needs is not there yet when its line is read
                    later.append(f"newpar {name + ':' if name else ''}{parameter.global_index} {parameter.link}")
                    link = None
                yield parameter.link if link is not None else _line(parameter)
    yield from later
    for parameter in engine.models.free_parameters:
        kind, *hyper = parameter.prior
        if kind != "CONS":
            source = f"{parameter.model.name}:" if parameter.model.name else ""
            yield f"bayes {source}{parameter.global_index} {kind.lower()} {' '.join(f'{h!r}' for h in hyper)}".rstrip()


def _line(parameter) -> str:
    value, delta, *limits = parameter.values
    step = parameter.raw_delta or abs(delta) or 0.01
    step = -step if parameter.frozen else step
    return " ".join(
        f"{number:>14.{digits}g}" for number, digits in [(value, 15), (step, 6), *((x, 10) for x in limits)]
    )


# -- restore ---------------------------------------------------------------------------------------------------


class _Reader:
    """Carries out the lines of an .xcm file, which is a list of commands and no Tcl."""

    def __init__(self, engine: Engine, path: str) -> None:
        self._engine = engine
        self._path = path
        self.unknown: list[str] = []
        self._lines = iter(enumerate(_text(path).splitlines(), 1))
        self._commands: dict[str, Callable[[str], None]] = {
            "statistic": self._statistic,
            "data": lambda rest: engine.data(rest + "/"),
            "backgrnd": self._background,
            "response": self._response,
            "arf": self._arf,
            "ignore": lambda rest: engine.data.apply(rest, noticed=False),
            "notice": lambda rest: engine.data.apply("**" if rest == "all" else rest, noticed=True),
            "method": lambda rest: setattr(engine.fit, "method", rest),
            "abund": lambda rest: setattr(engine.settings, "abund", rest),
            "xsect": lambda rest: setattr(engine.settings, "xsect", rest),
            "cosmo": lambda rest: setattr(engine.settings, "cosmo", rest),
            "xset": self._xset,
            "systematic": lambda rest: setattr(engine.models, "systematic", float(rest)),
            "weight": lambda rest: setattr(engine.fit, "weight", rest),
            "query": lambda rest: setattr(engine.fit, "query", rest),
            "renorm": lambda rest: engine.fit.renorm(rest or None),
            "newpar": self._newpar,
            "freeze": lambda rest: self._each(rest, "frozen", True),
            "thaw": lambda rest: self._each(rest, "frozen", False),
            "untie": lambda rest: self._each(rest, "link", ""),
            "bayes": self._bayes,
            "chatter": lambda rest: setattr(engine.settings, "chatter", int(rest.split()[0])),
        }

    def run(self) -> None:
        """Carry out every line."""
        for number, line in self._lines:
            text = line.strip()
            if not text or text.startswith("#"):
                continue
            try:
                self._command(text)
            except XsixsaError as error:
                raise type(error)(f"{self._path}, line {number}, {text!r}: {error}") from error
            except (ValueError, IndexError) as error:
                raise DataError(f"{self._path}, line {number}: cannot read {text!r}") from error

    def _command(self, text: str) -> None:
        word, _, rest = text.partition(" ")
        name = word.lower()
        if name in ("model", "mo"):
            self._model(text)
            return
        known = next((c for c in self._commands if len(name) > 2 and c.startswith(name)), None)
        if known is None:
            self.unknown.append(text)
        else:
            self._commands[known](rest.strip())

    def _statistic(self, rest: str) -> None:
        if rest.lower().startswith("test"):
            self._engine.fit.statTest = rest[4:].strip()
        else:
            self._engine.fit.statMethod = rest

    def _background(self, rest: str) -> None:
        number, path = rest.split(None, 1)
        self._engine.data(int(number)).background = path.strip()

    def _place(self, rest: str) -> tuple[int, Spectrum, str]:
        """Read ``[source:]spectrum file``."""
        place, path = rest.split(None, 1)
        source, _, number = place.rpartition(":")
        return int(source or 1), self._engine.data(int(number)), path.strip()

    def _response(self, rest: str) -> None:
        source, spectrum, path = self._place(rest)
        spectrum.set_response(source, path)

    def _arf(self, rest: str) -> None:
        source, spectrum, path = self._place(rest)
        spectrum.multiresponse[source - 1].arf = None if path.lower() == "none" else path

    def _xset(self, rest: str) -> None:
        key, _, value = rest.partition(" ")
        if key.lower() == "delta":
            self._engine.fit.delta = float(value)
        elif key.lower() in ("abund", "xsect", "cosmo"):
            setattr(self._engine.settings, key.lower(), value.strip())
        elif key.lower() == "weight":
            self._engine.fit.weight = value.strip()
        elif key.lower() == "seed":
            self._engine.settings.seed = int(value)
        else:
            self._engine.settings.addModelString(key, value)

    def _model(self, text: str) -> None:
        match = _MODEL.match(text)
        source, name, bare, expression = match.groups()
        words = expression.split(None, 1)
        if words and words[0].lower() in ("none", "clear"):
            self._engine.models.clear()
            return
        Model(expression, name or bare or "", int(source or 1))
        for model in self._engine.models.of(name or bare or ""):
            for parameter in model.parameters:
                _, line = next(self._lines, (0, "/"))
                entry = line.strip()
                if entry.startswith("="):
                    parameter.link = entry
                elif entry and entry != "/":
                    if parameter.link_expression is not None:
                        parameter.untie()
                    parameter.values = entry

    def _newpar(self, rest: str) -> None:
        place, _, entry = rest.partition(" ")
        parameter = self._parameters(place)[0]
        if entry.strip().startswith("="):
            parameter.link = entry.strip()
        else:
            parameter.values = entry.strip()

    def _parameters(self, place: str) -> list:
        name, _, numbers = place.rpartition(":")
        first, _, last = numbers.partition("-")
        return [self._engine.models.parameter(name, i) for i in range(int(first), int(last or first) + 1)]

    def _each(self, rest: str, attribute: str, value) -> None:
        for word in rest.replace(",", " ").split():
            for parameter in self._parameters(word):
                setattr(parameter, attribute, value)

    def _bayes(self, rest: str) -> None:
        words = rest.split()
        if words[0].lower() in ("on", "off", "cons"):
            self._engine.fit.bayes = words[0]
        else:
            parameter = self._parameters(words[0])[0]
            parameter.prior = (words[1], *(float(w) for w in words[2:]))


def _text(path: str) -> str:
    found = next((p for p in (path, f"{path}.xcm") if os.path.isfile(p)), None)
    if found is None:
        raise DataError(f"{path}: no such file")
    try:
        return Path(found).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read as text ({error})") from error


def restore(engine: Engine, path: str) -> None:
    """Carry out an .xcm file; see ``Xset.restore``."""
    reader = _Reader(engine, path)
    reader.run()
    for command in reader.unknown:
        engine.console.warn(f"{path}: not executed, unknown to the embedded engine: {command!r}")
