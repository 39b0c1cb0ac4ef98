"""What the README and the documents say can be typed."""

import json
import re
import shlex
import shutil
import sys
from pathlib import Path

import pytest

from xsixsa.cli import commands as commands_of_the_program
from xsixsa.cli.parser import build_parser
from xsixsa.demo import make_demo

REPOSITORY = Path(__file__).resolve().parents[1]
README = (REPOSITORY / "README.md").read_text()
DOCUMENTS = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))]


def blocks(language):
    """Code blocks of the README in a language."""
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def commands():
    """Every `xsixsa` command line of the README."""
    lines = "\n".join(blocks("sh")).replace("\\\n", " ").splitlines()
    return [line for line in lines if line.startswith("xsixsa ")]


@pytest.mark.parametrize("line", commands())
def test_command_lines_are_understood(line):
    words = shlex.split(line.replace("--prior ...", "--prior nH=uniform:0:1"), comments=True)
    assert callable(getattr(commands_of_the_program, build_parser().parse_args(words[1:]).command))


def test_there_are_command_lines_to_check():
    assert len(commands()) >= 4


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document):
    for target in re.findall(r"\]\(([^)#]+)\)", document.read_text()):
        # the page of benchmarks is made when the site is built
        if not target.startswith("http") and target != "benchmarks.md":
            assert (document.parent / target).exists(), f"{document.name} links to {target}"


@pytest.mark.slow
def test_the_example_of_the_readme_runs(tmp_path, monkeypatch, capsys):
    from xsixsa.embedded import xspec

    (code,) = blocks("python")
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
