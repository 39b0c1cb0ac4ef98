"""The ``sixsa`` command at the prompt of the real XSPEC, in batch and on a terminal."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from tests.conftest import shared_path
from xsixsa.prompt.install import install_tcl, plan, tcl_word

from .terminal import Terminal

pytestmark = [
    pytest.mark.tcl,
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("xspec") is None, reason="no xspec on the PATH (HEASoft is not initialised)"),
]

FILES = ("PN_spectrum_grp20.fits", "PN.rmf", "PN.arf", "PNbackground_spectrum.fits")
MODEL = "model TBabs*(bbodyrad+powerlaw) & 0.1 & 0.76 & 0.17 & 2.1 & 3e-4"
PRIORS = (
    "sixsa prior nH uniform 0 0.5",
    "sixsa prior kT uniform 1e-3 2",
    "sixsa prior bbodyrad.norm loguniform 0.01 1",
    "sixsa prior PhoIndex uniform 0 5",
    "sixsa prior 5 loguniform 1e-5 1e-2",
)
# settings small enough for a machine that has other things to do
SMALL = "-ess 300 -seed 1 -max-evaluations 12000"
PROMPT = r"XSPEC12>\s*$"


class Xspec:
    """The program with a home of its own, in which the command is installed."""

    def __init__(self, home, folder):
        self.folder = folder
        self.installation = plan(home, sys.executable)
        install_tcl(self.installation)
        self.environment = {**os.environ, "HOME": str(home), "TERM": "xterm", "PGPLOT_TYPE": "/null"}
        self.scratch = folder.parent / "scratch"
        self.scratch.mkdir()
        self.environment["TMPDIR"] = str(self.scratch)
        # plot looks here for help, and some installations forget to say where it is
        self.environment.setdefault("LHEA_HELP", os.path.join(os.environ.get("HEADAS", "/"), "help"))

    def loading(self, spectrum="PN_spectrum_grp20.fits"):
        return (
            "query yes",
            f"data {spectrum}",
            "backgrnd none",
            "ignore bad",
            "ignore **-0.5 10.0-**",
            "abund angr",
            "statistic cstat",
            MODEL,
        )

    def batch(self, *lines, timeout=900):
        script = self.folder.parent / "script.xcm"
        script.write_text("\n".join([self.installation.batch_line, *lines]) + "\n", encoding="utf-8")
        done = subprocess.run(
            ["xspec", "-", str(script)],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout,
            check=False,
        )
        return done.stdout.decode(errors="replace") + done.stderr.decode(errors="replace")

    def terminal(self):
        terminal = Terminal(["xspec"], cwd=self.folder, env=self.environment)
        terminal.expect(PROMPT)
        for line in (*self.loading(), *PRIORS):
            terminal.type(line)
            terminal.expect(re.escape(line[-10:]))
            terminal.expect(PROMPT)
        return terminal


@pytest.fixture
def xspec(tmp_path):
    home, folder = tmp_path / "home", tmp_path / "work"
    home.mkdir()
    folder.mkdir()
    for name in FILES:
        shutil.copy(shared_path("data", "xmm_NGC7793-ULX4", name), folder)
    return Xspec(home, folder)


def after(text, words):
    assert words in text, text[-3000:]
    return text.split(words, 1)[1]


def test_whole_run_in_batch_with_pyxspec(xspec):
    out = xspec.batch(
        *xspec.loading(),
        *PRIORS,
        f"sixsa run {SMALL} -engine xspec",
        "error 1",
        "flux 0.5 10 err 200 68",
        "margin 1 0.05 0.15 3",
        "cpd /null",
        "plot chain 1 2",
        "tclout chatter",
        'puts "CHATTER $xspec_tclout"',
        "tclout stat",
        'puts "STAT $xspec_tclout"',
        "sixsa evidence",
        # a second run: its own folder, its own chain
        f"sixsa run {SMALL} -engine embedded",
        "chain info",
        "error 4",
    )
    first = after(out, "engine xspec 12")
    assert "Errors calculated from chains" in first
    assert "Parameter distribution is derived from loaded chain files" in first
    assert "CHATTER 10 10" in first
    assert float(re.search(r"STAT ([\d.]+)", first)[1]) == pytest.approx(92.47, abs=0.05)
    # the evidence that BXA finds with the same prior is -65.04 +- 0.30
    assert float(re.search(r"sixsa: log-evidence (-[\d.]+)", first)[1]) == pytest.approx(-65.04, abs=0.3)
    low, high = (float(v) for v in re.search(r"\n\s+1\s+([\d.]+)\s+([\d.]+)\s+\(", first).groups())
    assert (low, high) == pytest.approx((0.058, 0.125), abs=0.012)
    second = after(first, "engine embedded")
    assert re.search(r"1\.\s+\S*/sixsa-run-2/chain.fits", second)
    assert "2.  " not in after(second, "Loaded chains")[:200]
    assert "Errors calculated from chains" in second
    assert not re.search(r"namespace eval|proc ::", out)  # the command's own code is not echoed


def test_line_and_the_verbs_after_a_run(xspec):
    """`eqwidth ... err`, `margin` and `flux ... err` answer from the chain, also after `sixsa chain` and `best`."""
    model = "model TBabs*(powerlaw+gaussian) & 0.1 & 2.1 & 3e-4 & 1.0 & 0.05 & 1e-5"
    out = xspec.batch(
        *xspec.loading()[:-1],
        model,
        "freeze 4",
        "freeze 5",
        *(PRIORS[0], PRIORS[3]),
        "sixsa prior powerlaw.norm loguniform 1e-5 1e-2",
        "sixsa prior gaussian.norm loguniform 1e-7 1e-3",
        f"sixsa run {SMALL} -engine embedded",
        "eqwidth 3 err 200 90",
        "margin 2 1.5 3.0 6",
        "sixsa show",
        "sixsa plot spectrum",
        "sixsa plot corner",
        "chain unload 1",
        "sixsa chain",
        'puts "LOADED"',
        "error 2",
        "newpar 2 3",
        "sixsa best",
        "error 2",
        "flux 0.5 10 err 100 68",
    )
    ended = after(out, "chain loaded")
    width = after(ended, "eqwidth 3 err 200 90")
    assert "Parameter distribution is derived from loaded chain files" in width.split("margin")[0]
    low, high = (float(v) for v in re.search(r"error range:\s+(\S+) - (\S+) keV", width).groups())
    assert 0 < low < high < 0.1
    table = fits.getdata(xspec.folder / "sixsa-run" / "chain.fits")
    index = np.asarray(table[next(name for name in table.names if name.startswith("PhoIndex"))])
    rows = re.findall(r"^ +[\d.]+ +([\d.]+) +([\d.]+)$", after(ended, "Prob. density").split("sixsa show")[0], re.M)
    assert len(rows) == 6
    for share, middle in rows:
        inside = np.abs(index - float(middle)) < 0.125
        assert float(share) == pytest.approx(inside.mean(), abs=2e-3)
    assert {p.name for p in (xspec.folder / "sixsa-run").glob("*.png")} == {"corner.png", "spectrum.png"}
    assert "verdict: " in ended
    for part in (after(ended, "LOADED").split("newpar")[0], after(ended, "sixsa best")):
        assert "Errors calculated from chains" in part
    assert "derived from loaded chain files" in after(ended, "sixsa best")
    assert "***" not in ended


def test_session_of_two_groups_and_a_named_model(xspec):
    """Links, frozen parameters, a second source, W-stat, a prior of bayes set before the command was there."""
    name = FILES[0]
    script = (
        f"data 1:1 {name} 2:2 {name}",
        "ignore bad",
        "ignore 1-2:**-0.5 10.0-**",
        "abund wilm",
        "statistic cstat",
        "model TBabs*powerlaw & 0.1 & 2.3 & 3e-4 & 0.1 & =p2 & 4e-4",
        "response 2:1 PN.rmf",
        "response 2:2 PN.rmf",
        "model 2:bkg gauss & 1.0 & 0.1 & 1e-5 & & &",
        "freeze bkg:2",
        "bayes bkg:1 gauss 1. 0.05",
        "bayes on",
        "fit",
        "sixsa prior nH@1 uniform 0 1",
        "sixsa prior 4 uniform 0 1",
        "sixsa prior PhoIndex uniform 0 5",
        "sixsa prior 3 loguniform 1e-5 1e-2",
        "sixsa prior 6 loguniform 1e-5 1e-2",
        "sixsa prior gaussian.norm loguniform 1e-6 1e-3",
        "sixsa run -ess 200 -seed 1 -max-evaluations 20000 -engine embedded",
        "error bkg:1",
        "error 4",
        "show fit",
    )
    out = xspec.batch("query yes", *script)
    assert "prior LineE gaussian:1:0.05 cut to [0, 1000000] (XSPEC's bayes setting)" in out
    assert "statistic wstat" in out
    ended = after(out, "chain loaded")
    assert ended.count("Errors calculated from chains") == 2
    assert "Statistic includes a Bayesian contribution" in ended  # bayes is on again


def test_bayes_before_the_command(xspec):
    script = xspec.folder.parent / "late.xcm"
    lines = (*xspec.loading(), "bayes 4 gauss 2.2 0.1", "bayes on", xspec.installation.batch_line, "sixsa run")
    script.write_text("\n".join(lines) + "\n")
    done = subprocess.run(
        ["xspec", "-", str(script)],
        cwd=xspec.folder,
        env=xspec.environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert "***sixsa: bayes is on with priors that were set before sixsa could record them" in done.stdout + done.stderr


@pytest.mark.parametrize("name", ["a b", "a[exec touch canary]", "a$HOME;touch canary", 'it\'s "x" {(1)}'])
def test_hostile_names(xspec, name):
    """The working directory, and a folder that spectra are loaded from, with names that Tcl or FITSIO would act on."""
    work = xspec.folder / name
    inner = work / "in $x;y"
    inner.mkdir(parents=True)
    for file in FILES:
        shutil.copy(xspec.folder / file, work / file)
        shutil.copy(xspec.folder / file, inner / file)
    spectrum = tcl_word(f"{inner.name}/{FILES[0]}")
    out = xspec.batch(
        f"cd {tcl_word(str(work))}",
        *xspec.loading(spectrum),
        f"response {tcl_word(FILES[1])}",
        f"arf {tcl_word(FILES[2])}",
        *PRIORS,
        f"sixsa run {SMALL} -engine embedded -out {tcl_word('run ' + name)}",
        "cd /",
        "error 1",
    )
    assert "chain loaded" in out
    assert "Errors calculated from chains" in after(out, "chain loaded")
    assert sorted(p.name for p in work.iterdir()) == sorted([*FILES, inner.name, "run " + name])
    # only the link stays by which XSPEC knows the chain
    assert [[p.name for p in folder.iterdir()] for folder in xspec.scratch.glob("sixsa.*")] == [["chain.fits"]]


def test_bxa_beside_a_run(xspec):
    out = xspec.batch(
        *xspec.loading(),
        *PRIORS,
        "fit",
        f"sixsa run {SMALL} -engine embedded -nobest -nochain",
        # nothing was touched: the fit still counts
        "flux 0.5 10 err 100 68",
        "sixsa bxa -live 100 -seed 1 -engine embedded",
        "sixsa chain sixsa-run/bxa",
        "error 1",
    )
    assert "Fit is not currently valid" not in out
    checked = after(out, "BXA, 100 live points")
    assert "BXA agrees with the run" in checked
    assert float(re.search(r"log-evidence (-[\d.]+) \S+ [\d.]+ on the whole prior", checked)[1]) == pytest.approx(
        -65.0, abs=1
    )
    assert "Errors calculated from chains" in after(checked, "chain loaded")


def test_terminal_ctrl_c_second_run_and_chain(xspec):
    terminal = xspec.terminal()
    try:
        terminal.type(f"sixsa run {SMALL} -engine embedded")
        terminal.expect(r"(propose|simulate): [4-9]\d\d\d of", 180)
        terminal.press(b"\x03")
        terminal.expect(r"sixsa: interrupted", 60)
        terminal.expect(PROMPT)
        assert not _python_children(terminal.pid)
        terminal.type("show fit")
        terminal.expect(r"C-Statistic\s+=\s+93\.97")
        terminal.type(f"sixsa run {SMALL} -engine embedded -out second")
        terminal.expect(r"verdict: ", 300)
        terminal.expect(r"chain loaded", 60)
        terminal.type("error 1")
        terminal.expect("Errors calculated from chains")
        terminal.type("flux 0.5 10 err 100 68")
        terminal.expect("derived from loaded chain files")
        terminal.type("plot chain")
        terminal.expect(PROMPT)
    finally:
        terminal.close()


def test_terminal_killed_child_and_background(xspec):
    terminal = xspec.terminal()
    try:
        terminal.type(f"sixsa run {SMALL} -engine embedded")
        terminal.expect(r"simulate: \d\d+ of", 180)
        (child,) = _python_children(terminal.pid)
        os.kill(child, signal.SIGKILL)
        terminal.expect(r"the Python side was killed \(SIGKILL\)", 30)
        terminal.expect(PROMPT)
        terminal.type(f"sixsa run {SMALL} -engine embedded -bg -out later")
        terminal.expect("running in the background")
        time.sleep(5)
        terminal.press(b"\x03")  # not for the background
        terminal.type("show fit")
        terminal.expect(r"C-Statistic\s+=\s+93\.97")
        deadline = time.monotonic() + 300
        while time.monotonic() < deadline:
            terminal.type("sixsa status")
            said = terminal.expect(r"(process \d+|chain loaded|ended early: .*)", 60)
            assert "ended early" not in said, said
            if "chain loaded" in said:
                break
            time.sleep(3)
        else:
            raise AssertionError("the run in the background did not end")
        terminal.type("error 1")
        terminal.expect("Errors calculated from chains")
    finally:
        terminal.close()


def _python_children(pid):
    words = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(w) for w in words if "xsixsa.prompt" in Path(f"/proc/{w}/cmdline").read_text()]
