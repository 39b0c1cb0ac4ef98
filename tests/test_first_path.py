"""The five commands of the README, from a checkout to the posterior of somebody's own spectrum."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from docs_blocks import REPOSITORY, blocks

TRUTH = {"nH": 0.2, "PhoIndex": 1.8, "norm": 8e-4}


def five(document):
    """The commands, continued lines joined."""
    (block,) = (block for block in blocks("sh") if block.document == document and "test_first_path" in block.by)
    return block.code.replace("\\\n", " ").strip().splitlines()


def test_readme_and_guide_give_the_same_five_commands():
    commands = five("README.md")
    assert commands == five("getting-started.md")
    assert len(commands) == 5 and not any("&&" in line or ";" in line.split("#")[0] for line in commands)
    assert commands[0] == "python3 -m venv ~/xsixsa"
    # nothing but the file names, the model and its priors is the reader's to change
    assert (REPOSITORY / "constraints.txt").is_file() and "-c constraints.txt ." in commands[1]


@pytest.fixture
def home(tmp_path, monkeypatch):
    """An empty home, but for the present environment in the place that the first two commands would have filled."""
    binaries = tmp_path / "xsixsa" / "bin"
    binaries.mkdir(parents=True)
    (binaries / "xsixsa").symlink_to(Path(sys.executable).parent / "xsixsa")
    (tmp_path / "data").mkdir()
    return tmp_path


@pytest.mark.slow
def test_five_commands_lead_to_the_posterior_of_a_spectrum(home, monkeypatch):
    """An absorbed power law whose truth is known; whatever seed the run draws."""
    import xsixsa
    from xsixsa import demo

    monkeypatch.setattr(demo, "TRUTH", demo.TRUTH | {"bbodyrad.norm": 1e-12})
    made = demo.make_demo(home / "data", seed=5)
    (home / "data" / made.spectrum).rename(home / "data" / "source.pha")
    environment = {name: value for name, value in os.environ.items() if name in ("PATH", "LANG", "LD_LIBRARY_PATH")}
    script = "set -e\n" + "\n".join(five("README.md")[2:])
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=REPOSITORY,
        env={**environment, "HOME": str(home)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "verdict: CONVERGED\n" in done.stdout and "log-evidence" in done.stdout
    result = xsixsa.load(home / "data" / "run")
    assert result.engine["name"] == "embedded" or "xspec" in sys.modules
    for name, true in TRUTH.items():
        low, high = result.quantile(name, [5e-4, 1 - 5e-4])
        assert low < true < high, name
    assert "<title>CONVERGED" in (home / "data" / "run" / "report.html").read_text()
