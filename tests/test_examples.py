"""Examples run: with small settings in every run of the tests, as they are in the slow ones."""

import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import xsixsa
from xsixsa.options import preset

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
# what each prints once its run is there
PRINTED = {
    "pyxspec_fit": "verdict: ",
    "joint_fit": "second instrument over the first",
    "background": "of the background bins are empty",
    "many_spectra": "s2.pha",
}
MORE = {"many_spectra": ["--spectra", "2"]}
# these need minutes, or data that are not part of the repository; other tests run what they show
ELSEWHERE = {"bxa_embedded", "many_bursts"}
# no example: it makes the notebooks, whose tests are elsewhere
TOOLS = {"make_notebooks"}


@pytest.fixture
def clean_session():
    """The embedded engine's session is one for the whole process."""
    from xsixsa.embedded import xspec

    yield
    for held in (xspec.AllChains, xspec.AllModels, xspec.AllData):
        held.clear()


def test_every_example_is_known():
    found = {path.stem for path in EXAMPLES.glob("*.py")}
    others = {path.stem for path in EXAMPLES.glob("*.py") if "bxa" in path.read_text()}
    assert set(PRINTED) <= found
    assert found - set(PRINTED) - ELSEWHERE - TOOLS - others == set()


@pytest.mark.parametrize("name", PRINTED)
def test_example_with_small_settings(name, tmp_path, monkeypatch, capsys, clean_session):
    """All of its lines run, without a network's training; 3 is the exit status of a run that has not converged."""
    small = preset("quick").changed(rounds=0, simulations=400, ess=100, min_draws=300, max_evaluations=6_000)
    fit, outcomes = xsixsa.fit, []

    def small_fit(xspec, prior, **given):
        outcomes.append(fit(xspec, prior, options=small, progress=False, workers=1, seed=given["seed"]))
        return outcomes[-1]

    monkeypatch.setattr(xsixsa, "fit", small_fit)
    monkeypatch.setattr(sys, "argv", [name, str(tmp_path), *MORE.get(name, [])])
    with pytest.raises(SystemExit) as leaving:
        runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
    converged = all(result.verdict.converged for result in outcomes)
    assert outcomes and leaving.value.code == (0 if converged else 3)
    if converged or name != "pyxspec_fit":
        assert PRINTED[name] in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("name", PRINTED)
def test_example_as_it_is(name, tmp_path):
    arguments = [sys.executable, str(EXAMPLES / f"{name}.py"), str(tmp_path), *MORE.get(name, [])]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert PRINTED[name] in done.stdout


def test_many_bursts_with_small_settings(tmp_path, monkeypatch, capsys, clean_session):
    """All of its lines run with a network that has hardly been trained; the correction makes up for it."""
    from xsixsa.amortised.train import TrainOptions
    from xsixsa.inference.flow import FlowOptions

    train, small = xsixsa.train, TrainOptions(flow=FlowOptions(transforms=2, hidden=16, epochs=3))
    monkeypatch.setattr(xsixsa, "train", lambda *given, **named: train(*given, **named, options=small, workers=1))
    given = ["--slices", "2", "--simulations", "600", "--ess", "50"]
    monkeypatch.setattr(sys, "argv", ["many_bursts", str(tmp_path), *given])
    with pytest.raises(SystemExit) as leaving:
        runpy.run_path(str(EXAMPLES / "many_bursts.py"), run_name="__main__")
    said = capsys.readouterr().out
    assert leaving.value.code == (3 if "have not converged" in said else 0)
    assert "slice_01.pha" in said and "kT" in said
    assert all((tmp_path / name).exists() for name in ("burst.h5", "bursts.png", "slices/table.fits"))


@pytest.mark.slow
def test_many_bursts_as_it_is(tmp_path):
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / "many_bursts.py"), str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [line.split() for line in done.stdout.splitlines() if line.startswith("slice_")]
    assert len(rows) == 12 and all(row[-1] == "converged" for row in rows)
    # the truth lies in the central 68 % about two times in three
    inside = sum(float(row[2]) <= float(row[5]) <= float(row[4]) for row in rows)
    assert 4 <= inside <= 12


def script_lines():
    text = (EXAMPLES / "prompt_session.xcm").read_text()
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def test_verbs_of_the_prompt_session_exist():
    known = (EXAMPLES.parent / "tcl" / "sixsa.tcl").read_text()
    verbs = {line.split()[1] for line in script_lines() if line.startswith("sixsa ")}
    assert {"prior", "run", "evidence"} <= verbs
    assert all(re.search(rf"\b{verb}\b", known) for verb in verbs)


@pytest.mark.tcl
def test_prompt_session_is_a_tcl_script(tmp_path):
    """Every line is a command with words, as Tcl reads it; XSPEC's commands are stand-ins that list their words."""
    commands = sorted({line.split()[0] for line in script_lines()} - {"source"})
    stand_ins = "".join(f"proc {name} {{args}} {{ puts [list {name} {{*}}$args] }}\n" for name in commands)
    script = tmp_path / "all.tcl"
    body = "\n".join(line for line in script_lines() if not line.startswith("source"))
    script.write_text(stand_ins + body + "\n")
    done = subprocess.run([shutil.which("tclsh"), str(script)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    # tclsh itself says `exit 0` at the end of a script, to the stand-in
    said = done.stdout.removesuffix("exit 0\n").splitlines()
    assert len(said) == len(body.splitlines())
    assert "data 1:1 demo.pha" in said


@pytest.mark.slow
@pytest.mark.tcl
@pytest.mark.xspec
def test_prompt_session_in_xspec(tmp_path):
    if shutil.which("xspec") is None:
        pytest.skip("no xspec on the PATH (HEASoft is not initialised)")
    from xsixsa.demo import make_demo
    from xsixsa.prompt.install import plan

    make_demo(tmp_path, seed=1)
    script = tmp_path / "session.xcm"
    text = (EXAMPLES / "prompt_session.xcm").read_text()
    script.write_text(text.replace("source ~/.xspec/sixsa.tcl", plan().batch_line))
    done = subprocess.run(["xspec", "-", str(script)], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "Errors calculated from chains" in done.stdout, done.stdout[-3000:]
