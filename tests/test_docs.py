"""What the README and the documents say can be typed."""

import json
import re
import shlex
import shutil
import sys

import pytest
from docs_blocks import REPOSITORY, blocks, paths

from xsixsa.cli import commands as commands_of_the_program
from xsixsa.cli.parser import build_parser
from xsixsa.demo import make_demo

README = (REPOSITORY / "README.md").read_text()
DOCUMENTS = paths()
_COMMAND = re.compile(r"(?:^|[ /])xsixsa ([a-z-]+(?: .*)?)$")


def commands():
    """Every `xsixsa` command of the documents: lines of shell blocks, and code within sentences; Docker has its own."""
    found = []
    for block in (block for block in blocks("sh") if block.document != "docker/README.md"):
        lines = [line.partition("  #")[0].strip() for line in block.code.replace("\\\n", " ").splitlines()]
        found += [match[1] for match in map(_COMMAND.search, lines) if match]
    for path in DOCUMENTS:
        text = re.sub(r"```.*?```", "", path.read_text(), flags=re.DOTALL)
        found += [match[1] for match in map(_COMMAND.search, re.findall(r"`([^`\n]+)`", text)) if match]
    return sorted(set(found))


@pytest.mark.parametrize("line", commands())
def test_command_lines_are_understood(line):
    line = line.partition(" ||")[0].replace("--prior ...", "--prior nH=uniform:0:1")
    words = shlex.split(line, comments=True)
    if len(words) == 1:
        # the name of a command, in a sentence
        assert re.search(rf"^ +{re.escape(words[0])}\b", build_parser().format_help(), flags=re.MULTILINE)
        return
    if all(word.startswith("-") for word in words[1:]) and words[0] == "fit":
        words.append("source.pha")
    assert callable(getattr(commands_of_the_program, build_parser().parse_args(words).command))


def test_there_are_command_lines_to_check():
    assert len(commands()) >= 15


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document):
    for target in re.findall(r"\]\(([^)#]+)\)", document.read_text()):
        # the page of benchmarks is made when the site is built
        if not target.startswith("http") and target != "benchmarks.md":
            assert (document.parent / target).exists(), f"{document.name} links to {target}"


@pytest.mark.slow
def test_the_example_of_the_readme_runs(tmp_path, monkeypatch, capsys):
    from xsixsa.embedded import xspec

    (code,) = (block.code for block in blocks("python") if block.document == "README.md")
    make_demo(tmp_path, seed=1)
    shutil.move(tmp_path / "demo.pha", tmp_path / "source.pha")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "xspec", xspec)
    exec(code, {})
    assert "verdict: " in capsys.readouterr().out
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert [p["name"] for p in summary["parameters"]] == ["nH", "PhoIndex", "norm"]
    xspec.AllModels.clear()
    xspec.AllData.clear()
