"""The command line with the embedded engine: what it loads, what it answers to wrong use, what it leaves behind."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from standin import make_result

import xsixsa
from xsixsa import options
from xsixsa.chain import read_chain
from xsixsa.cli import main
from xsixsa.demo import make_demo

PRIORS = ["--prior", "PhoIndex=uniform:0:4", "--prior", "norm=loguniform:1e-5:1e-2"]


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    folder = tmp_path_factory.mktemp("observation")
    make_demo(folder, seed=3, background=True)
    return folder


@pytest.fixture
def embedded():
    """The embedded engine, cleared."""
    from xsixsa.embedded import xspec

    yield xspec
    xspec.AllModels.clear()
    xspec.AllData.clear()


@pytest.fixture
def recorded(monkeypatch, embedded):
    """What the command line hands to `fit`, which answers with a stand-in."""
    calls = {}

    def fit(xspec, **given):
        calls.update(given, xspec=xspec)
        Path(given["out"]).mkdir()
        Path(given["out"], "result.h5").touch()
        result = make_result()
        result.summary, result.session_text = lambda: "the summary", "the session"
        return result

    monkeypatch.setattr(xsixsa, "fit", fit)
    return calls


def fit(demo, *more, out="out"):
    return main(["fit", str(demo / "demo.pha"), "--engine", "embedded", "--out", str(out), *more])


def test_options_reach_the_engine_and_the_run(demo, recorded, tmp_path, capsys):
    more = ["--model", "TBabs*powerlaw", "--abund", "wilm", "--xsect", "bcmc", "--notice", "0.5-10", "--seed", "7"]
    more += ["--prior", "1=uniform:0:1", *PRIORS, "--workers", "2", "--ess", "500", "--max-evaluations", "9000"]
    assert fit(demo, *more, "--preset", "quick", "--quiet", out=tmp_path / "out") == 0
    xspec = recorded["xspec"]
    assert (xspec.Xset.abund, xspec.Xset.xsect, xspec.Fit.statMethod) == ("wilm", "bcmc", "cstat")
    assert list(recorded["prior"]) == [1, "PhoIndex", "norm"]
    expected = {"seed": 7, "workers": 2, "ess": 500, "max_evaluations": 9000, "preset": "quick", "progress": False}
    assert {key: recorded[key] for key in expected} == expected
    assert "the summary" in capsys.readouterr().out
    assert xspec.AllData(1).background.fileName.endswith("demo_bg.pha")


def test_notice_keeps_what_ignoring_the_rest_keeps(demo, recorded, tmp_path, monkeypatch):
    assert fit(demo, "--model", "powerlaw", "--notice", "0.5-6", *PRIORS, out=tmp_path / "out") == 0
    by_option = list(recorded["xspec"].AllData(1).noticed)
    xspec = recorded["xspec"]
    monkeypatch.chdir(demo)
    xspec.AllData("1:1 demo.pha")
    xspec.AllData.ignore("bad")
    xspec.AllData.ignore("**-0.5 6.0-**")
    assert by_option == list(xspec.AllData(1).noticed)
    assert 50 < len(by_option) < 250


def test_responses_are_found_beside_the_spectrum_and_here_stays_here(demo, recorded, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert fit(demo, "--model", "powerlaw", *PRIORS) == 0
    response = recorded["xspec"].AllData(1).response
    assert (response.rmf, response.arf) == (str(demo / "demo.rmf"), str(demo / "demo.arf"))
    assert Path.cwd() == tmp_path


def test_files_in_the_current_folder_come_first_as_in_xspec(demo, recorded, tmp_path, monkeypatch):
    shutil.copy(demo / "demo.arf", tmp_path)
    monkeypatch.chdir(tmp_path)
    assert fit(demo, "--model", "powerlaw", *PRIORS) == 0
    response = recorded["xspec"].AllData(1).response
    assert os.path.samefile(response.arf, tmp_path / "demo.arf")
    assert os.path.samefile(response.rmf, demo / "demo.rmf")


def test_files_of_the_command_line_replace_those_of_the_header(demo, recorded, tmp_path):
    shutil.copy(demo / "demo.rmf", tmp_path / "other.rmf")
    more = ["--rmf", str(tmp_path / "other.rmf"), "--no-background"]
    assert fit(demo, "--model", "powerlaw", *PRIORS, *more, out=tmp_path / "a") == 0
    spectrum = recorded["xspec"].AllData(1)
    assert spectrum.response.rmf == str(tmp_path / "other.rmf")
    # a new matrix takes the effective area away in XSPEC; the header's must come back
    assert spectrum.response.arf.endswith("demo.arf")
    with pytest.raises(Exception, match="background"):
        spectrum.background.values  # noqa: B018
    assert fit(demo, "--model", "powerlaw", *PRIORS, "--arf", "none", out=tmp_path / "b") == 0
    with pytest.raises(Exception, match=r"(?i)no arf"):
        recorded["xspec"].AllData(1).response.arf  # noqa: B018


def test_saved_sessions_are_restored_from_anywhere_and_saved_again(demo, recorded, tmp_path, monkeypatch, capsys):
    from xsixsa.embedded import xspec

    text = (
        "statistic cstat\ndata 1:1 demo.pha\nignore bad\nmodel powerlaw\n 2 0.01 -3 -2 9 10\n 1e-3 0.01 0 0 1e20 1e24\n"
    )
    (demo / "prompt.xcm").write_text(text)
    monkeypatch.chdir(tmp_path)

    def run(file, out):
        return main(["fit", str(file), "--engine", "embedded", "--out", out, "--notice", "0.5-6", *PRIORS])

    assert run(demo / "prompt.xcm", "out") == 0
    assert (xspec.AllData.nSpectra, xspec.AllModels(1).expression) == (1, "powerlaw")
    assert len(xspec.AllData(1).noticed) < 250
    assert Path.cwd() == tmp_path
    # the names in it are relative to where the spectrum is, and the run's folder is elsewhere
    assert (tmp_path / "out" / "session.xcm").read_text().startswith(f"cd {demo}\n")
    (tmp_path / "elsewhere.xcm").write_text(f"cd {demo}\n{text}")
    assert run("elsewhere.xcm", "again") == 0
    (tmp_path / "lost.xcm").write_text(text)
    assert run("lost.xcm", "third") == 2
    assert "loads demo.pha, which is neither here nor beside it" in capsys.readouterr().err


def test_real_spectrum_from_another_folder(shared, recorded, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    spectrum = shared / "data" / "chandra_3C273" / "3c273.pi"
    arguments = ["fit", str(spectrum), "--engine", "embedded", "--model", "phabs*powerlaw", "--notice", "0.5-6"]
    assert main([*arguments, "--prior", "nH=uniform:0:1", *PRIORS, "--out", "out"]) == 0
    # as XSPEC 12.9.1 counts them after `ignore **-0.5 6.0-**`
    assert len(recorded["xspec"].AllData(1).noticed) == 39
    assert recorded["xspec"].AllData(1).background.fileName.endswith("3c273_bg.pi")


WRONG = {
    "missing file": (["absent.pha", "--model", "powerlaw"], "no such file: absent.pha"),
    "not FITS": (["truth.json", "--model", "powerlaw"], "cannot be read as a FITS file"),
    "a response": (["demo.rmf", "--model", "powerlaw"], "holds no spectrum"),
    "a folder": ([".", "--model", "powerlaw"], "is a folder"),
    "no model": (["demo.pha"], "--model is needed"),
    "misspelt component": (["demo.pha", "--model", "powerlow"], "powerlaw"),
    "misspelt parameter": (["demo.pha", "--model", "powerlaw", "--prior", "PhoIndx=uniform:0:4"], "PhoIndex"),
    "no prior": (["demo.pha", "--model", "powerlaw", "--prior", "PhoIndex=uniform:0:4"], "prior of norm"),
    "impossible prior": (["demo.pha", "--model", "powerlaw", "--prior", "norm=uniform:1:0"], "norm=uniform:1:0"),
    "inverted range": (["demo.pha", "--model", "powerlaw", "--notice", "10-0.5"], "write the lower energy first"),
    "empty range": (["demo.pha", "--model", "powerlaw", "--notice", "20-30"], "no bin"),
    "engine": (["demo.pha", "--model", "powerlaw", "--engine", "spex"], "unknown engine 'spex'"),
    "preset": (["demo.pha", "--model", "powerlaw", "--preset", "fast"], "unknown preset 'fast'"),
    "workers": (["demo.pha", "--model", "powerlaw", "--workers", "0"], "--workers must be"),
    "seed": (["demo.pha", "--model", "powerlaw", "--seed", "-1"], "--seed"),
    "ess": (["demo.pha", "--model", "powerlaw", "--ess", "many"], "--ess"),
    "abundances": (["demo.pha", "--model", "powerlaw", "--abund", "milky"], "milky"),
    "statistic": (["demo.pha", "--model", "powerlaw", "--stat", "wat"], "wat"),
    "no response": (["nothing.pha", "--model", "powerlaw"], "give one with --rmf"),
    "named response": (["lost.pha", "--model", "powerlaw"], "names RESPFILE = lost.rmf"),
    "named background": (["lost_bg.pha", "--model", "powerlaw"], "--background none"),
    "mismatch": (["demo.pha", "--model", "powerlaw", "--arf", "short.arf"], "short.arf"),
    "two responses": (["demo.pha", "--model", "powerlaw", "--rmf", "demo.rmf", "--rmf", "demo.rmf"], "2 times"),
    "contradiction": (["demo.pha", "--model", "po", "--background", "b", "--no-background"], "contradict"),
    "xcm and model": (["session.xcm", "--model", "powerlaw"], "brings its own"),
    "xcm and spectrum": (["session.xcm", "demo.pha"], "give it alone"),
    "xcm without data": (["empty.xcm"], "loads no spectrum"),
    "unknown option": (["demo.pha", "--modle", "powerlaw"], "--modle"),
}


@pytest.fixture(scope="module")
def broken(demo):
    """The demo's folder with some files that cannot be used."""
    from astropy.io import fits

    for name, changes in {
        "nothing.pha": {"RESPFILE": "NONE"},
        "lost.pha": {"RESPFILE": "lost.rmf"},
        "lost_bg.pha": {"BACKFILE": "lost_bg.pha.gz"},
    }.items():
        with fits.open(demo / "demo.pha") as hdus:
            hdus[1].header.update(changes)
            hdus.writeto(demo / name)
    with fits.open(demo / "demo.arf") as hdus:
        hdus[1].data = hdus[1].data[:-5]
        hdus.writeto(demo / "short.arf")
    (demo / "empty.xcm").write_text("statistic cstat\n")
    (demo / "session.xcm").touch()
    return demo


@pytest.mark.parametrize("case", WRONG)
def test_wrong_use_is_answered_in_one_line_with_the_way_out(case, broken, tmp_path, monkeypatch, capfd, embedded):
    monkeypatch.chdir(broken)
    arguments, expected = WRONG[case]
    engine = [] if "--engine" in arguments else ["--engine", "embedded"]
    assert main(["fit", *arguments, *engine, "--out", str(tmp_path / "out")]) == 2
    captured = capfd.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("xsixsa: error: ")
    assert captured.err.count("\n") == 1
    assert expected in captured.err
    assert not (tmp_path / "out").exists()


def test_a_folder_with_something_in_it_is_left_alone(demo, tmp_path, capsys, embedded):
    (tmp_path / "mine.txt").write_text("precious")
    assert fit(demo, "--model", "powerlaw", *PRIORS, out=tmp_path) == 2
    assert main(["demo", "--out", str(tmp_path)]) == 2
    assert "not empty (mine.txt" in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]
    assert (tmp_path / "mine.txt").read_text() == "precious"


def test_pyxspec_that_is_missing_or_broken_is_said(demo, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "xspec", None)
    arguments = ["fit", str(demo / "demo.pha"), "--model", "powerlaw", "--out", str(tmp_path / "out")]
    assert main([*arguments, "--engine", "xspec"]) == 2
    assert "initialise HEASoft" in capsys.readouterr().err
    monkeypatch.delitem(sys.modules, "xspec")
    (tmp_path / "xspec.py").write_text("import libXS_that_is_not_there\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert main(arguments) == 2
    assert "does not load" in capsys.readouterr().err


def test_internal_errors_are_one_line_unless_debugging(demo, tmp_path, capsys, monkeypatch, embedded):
    def fail(*args, **kwargs):
        raise ZeroDivisionError("oh")

    monkeypatch.setattr(xsixsa, "fit", fail)
    assert fit(demo, "--model", "powerlaw", *PRIORS, out=tmp_path / "out") == 1
    error = capsys.readouterr().err
    assert error.startswith("xsixsa: internal error: ZeroDivisionError: oh")
    assert "Traceback" not in error
    monkeypatch.setenv("XSIXSA_DEBUG", "1")
    assert fit(demo, "--model", "powerlaw", *PRIORS, out=tmp_path / "out") == 1
    assert "Traceback" in capsys.readouterr().err


def test_interruption_says_that_nothing_was_saved(demo, tmp_path, capsys, monkeypatch, embedded):
    def interrupt(*args, out, **kwargs):
        out.mkdir()
        raise KeyboardInterrupt

    monkeypatch.setattr(xsixsa, "fit", interrupt)
    assert fit(demo, "--model", "powerlaw", *PRIORS, out=tmp_path / "out") == 130
    assert capsys.readouterr().err == "xsixsa: interrupted: nothing was saved\n"
    assert not (tmp_path / "out").exists()


def test_a_run_from_files_to_folder_and_back(demo, tmp_path, capsys, monkeypatch, embedded):
    # no network: importance sampling alone solves two parameters in seconds
    monkeypatch.setitem(options._PRESETS, "quick", options.Options(rounds=0, max_refits=0, simulations=1000))
    out = tmp_path / "run"
    more = [
        "--model",
        "powerlaw",
        "--notice",
        "3-9",
        "--preset",
        "quick",
        "--ess",
        "1000",
        "--seed",
        "1",
        "--workers",
        "1",
    ]
    status = fit(demo, *more, *PRIORS, out=out)
    printed = capsys.readouterr().out
    assert {p.name for p in out.iterdir()} == {
        "result.h5",
        "summary.json",
        "chain.fits",
        "session.xcm",
        "corner.png",
        "spectrum.png",
    }
    summary = json.loads((out / "summary.json").read_text())
    assert status == (0 if summary["converged"] else 3)
    assert summary["engine"]["name"] == "embedded"
    assert [p["name"] for p in summary["parameters"]] == ["PhoIndex", "norm"]
    for parameter in summary["parameters"]:
        assert parameter["q05"] < parameter["q16"] < parameter["q50"] < parameter["q84"] < parameter["q95"]
    chain = read_chain(out / "chain.fits")
    assert [p["parameter"] for p in chain.parameters] == ["PhoIndex", "norm"]
    assert np.median(chain.theta[:, 0]) == pytest.approx(summary["parameters"][0]["q50"], abs=0.03)
    assert chain.statistic.min() >= summary["best_fit_statistic"] - 1e-9
    for run in (out, out / "result.h5"):
        assert main(["show", str(run)]) == status
        assert capsys.readouterr().out.strip() in printed


def test_show_answers_what_is_no_run(tmp_path, capsys):
    (tmp_path / "text.h5").write_text("no")
    for name, expected in (("absent", "no such"), (".", "holds no result.h5"), ("text.h5", "not a result")):
        assert main(["show", str(tmp_path / name)]) == 2
        assert expected in capsys.readouterr().err


def test_help_is_fast_because_it_loads_nothing():
    code = (
        "import sys; from xsixsa.cli import main; main(['fit', '--help']); main(['--version'])\n"
        "heavy = {'numpy', 'scipy', 'torch', 'sbi', 'matplotlib', 'astropy'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "--notice" in done.stdout


@pytest.mark.slow
def test_interrupted_demo_keeps_what_was_finished(tmp_path):
    command = [sys.executable, "-m", "xsixsa", "demo", "--out", str(tmp_path / "out"), "--workers", "2", "--quiet"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
        time.sleep(15)
        os.killpg(process.pid, signal.SIGINT)
        _, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted" in error
    assert "Traceback" not in error
    run = tmp_path / "out" / "run"
    if (run / "result.h5").exists():
        assert "xsixsa show" in error
        assert main(["show", str(run)]) == 3


@pytest.mark.slow
def test_demo_finds_the_truth(tmp_path, capsys):
    assert main(["demo", "--out", str(tmp_path / "out"), "--seed", "1", "--quiet"]) == 0
    printed = capsys.readouterr().out
    assert "CONVERGED" in printed
    assert "corner.png" in printed
    result = xsixsa.load(tmp_path / "out" / "run")
    truth = json.loads((tmp_path / "out" / "data" / "truth.json").read_text())["truth"]
    mean, z = result.weights @ result.theta, []
    std = np.sqrt(result.weights @ (result.theta - mean) ** 2)
    z = (mean - [truth[name] for name in result.names]) / std
    assert np.abs(z).max() < 3.5
