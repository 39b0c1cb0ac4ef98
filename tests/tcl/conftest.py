"""A prompt without XSPEC: tclsh, a stand-in of XSPEC's commands, and a stand-in of the Python side."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from xsixsa.prompt import script_path
from xsixsa.prompt.install import tcl_word

HERE = Path(__file__).parent


def interpreters():
    """Every Tcl shell on the PATH, one for each file."""
    found = {}
    for name in ("tclsh", "tclsh8.5", "tclsh8.6", "tclsh9.0"):
        path = shutil.which(name)
        if path:
            found.setdefault(os.path.realpath(path), path)
    return list(found.values()) or ["tclsh"]


class Prompt:
    """Runs lines as they would be typed, in a folder of its own."""

    def __init__(self, tclsh, folder, python):
        self.tclsh, self.folder, self.python = tclsh, folder, python
        self.seen = folder.parent / "handover-seen.txt"
        self.scratch = folder.parent / "scratch"
        self.scratch.mkdir()
        self.environment = {**os.environ, "SIXSA_SEEN": str(self.seen), "TMPDIR": str(self.scratch)}
        self.environment |= {"LC_ALL": "C.UTF-8"}

    def start(self, lines, before=()):
        # XSPEC reads its start-up file before anything is loaded; with `before` the command comes late
        loaded = "set standin::spectra {}" if not before else ""
        words = [tcl_word(str(w)) for w in (HERE / "standin.tcl", script_path(), self.python)]
        script = [
            f"source {words[0]}",
            *before,
            f"namespace eval ::sixsa {{ variable python {words[2]} }}",
            "set loaded $standin::spectra",
            loaded,
            f"source {words[1]}",
            "set standin::spectra $loaded",
            *lines,
            "report",
            # at the end of a script tclsh calls exit, which is XSPEC's here
            "tclexit 0",
        ]
        file = self.folder.parent / "script.tcl"
        file.write_text("\n".join(script) + "\n", encoding="utf-8")
        return subprocess.Popen(
            [self.tclsh, str(file)],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )

    def __call__(self, *lines, before=()):
        """Output of the lines; what ``report`` adds tells what was done to XSPEC."""
        process = self.start(lines, before)
        out, self.errors = process.communicate(timeout=60)
        assert process.returncode == 0, out + self.errors
        return out

    def refused(self, *lines, before=()):
        """Message of the error that the last line ends with."""
        out = self(*lines[:-1], f'puts "REFUSED [catch {{{lines[-1]}}} message] $message"', before=before)
        line = next(line for line in out.splitlines() if line.startswith("REFUSED "))
        assert line.startswith("REFUSED 1 sixsa: "), line
        return line.removeprefix("REFUSED 1 sixsa: ")


@pytest.fixture(params=interpreters(), ids=os.path.basename)
def prompt(request, tmp_path):
    python = tmp_path / "python [stand-in]"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{HERE / "python_standin.py"}" "$@"\n')
    python.chmod(0o755)
    folder = tmp_path / "work"
    folder.mkdir()
    return Prompt(request.param, folder, python)
