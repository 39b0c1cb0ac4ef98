"""The ``sixsa`` command under a plain Tcl shell, with stand-ins of XSPEC and of the Python side."""

import os
import re
import shutil
import signal
import time
from pathlib import Path

import pytest

from xsixsa.prompt import script_path
from xsixsa.prompt.handover import read_hand_over
from xsixsa.prompt.install import loader_text, tcl_word

from .python_standin import HOSTILE

pytestmark = pytest.mark.tcl

VERBS = ("run", "prior", "status", "show", "plot", "chain", "best", "evidence", "bxa", "stop", "help")


def calls(out):
    return re.findall(r"^CALL (.*)$", out, re.MULTILINE)


def untouched(out):
    """Chatter and query as they were."""
    return "CHATTER 10 10" in out and "QUERY on" in out


# what it says


@pytest.mark.parametrize("words", ["sixsa", "sixsa ?", "sixsa help", "sixsa h", "sixsa run ?", "sixsa prior ?"])
def test_help(prompt, words):
    out = prompt(words)
    assert all(f"sixsa {verb}" in out for verb in VERBS)
    assert calls(out) == []


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("sixsa bxa", "nothing has run in this session"),
        ("sixsa nonsense", 'no verb "nonsense"; there are run, prior'),
        ("sixsa s", 'no verb "s"'),  # status, show, stop
        ("sixsa run -bogus 1", 'no option "-bogus"'),
        ("sixsa run 500", 'no option "500"'),
        ("sixsa run -ess", "-ess needs a value"),
        ("sixsa run -ess many", '-ess must be a whole number, not "many"'),
        ("sixsa run -out {}", "-out needs the name of a folder"),
        ("sixsa stop", "nothing runs in the background"),
        ("sixsa show", "nothing has run in this session"),
        ("sixsa show nowhere", "holds no finished run"),
        ("sixsa plot", "usage: sixsa plot corner|spectrum"),
        ("sixsa plot pie", 'no plot "pie"'),
        ("sixsa chain a b", "one run at a time"),
    ],
)
def test_wrong_use_is_one_line(prompt, line, message):
    assert message in prompt.refused(line)


@pytest.mark.parametrize(
    ("before", "message"),
    [
        ("set standin::spectra {}", "no data are loaded"),
        ("set standin::model {}", "no model is defined"),
        ("set standin::bins 0", "no channel is noticed"),
    ],
)
def test_nothing_to_run(prompt, before, message):
    assert message in prompt.refused(before, "sixsa run")
    assert not list(prompt.folder.iterdir())


def test_message_is_printed_where_xspec_would_drop_it(prompt):
    script = prompt.folder / "batch.xcm"
    script.write_text("sixsa nonsense\nputs never\n")
    out = prompt("@batch.xcm")
    assert '***sixsa: no verb "nonsense"' in prompt.errors
    assert "never" not in out
    prompt("catch {sixsa nonsense}")
    assert prompt.errors == ""


def test_interpreter_that_is_gone(prompt):
    prompt.python.unlink()
    assert "the Python recorded at installation is gone" in prompt.refused("sixsa run")
    assert "no Python is recorded" in prompt.refused("unset ::sixsa::python", "sixsa run")


@pytest.mark.parametrize("place", ["plain", "a b [exec touch canary] $x;"])
def test_loader_reads_the_command_from_anywhere(prompt, place):
    """What the installer writes; XSPEC finds `proc sixsa` in it before it has run it."""
    folder = prompt.folder.parent / place
    shutil.copytree(script_path().parent, folder)
    loader = prompt.folder.parent / "loader.tcl"
    loader.write_text(loader_text(str(prompt.python), folder / "sixsa.tcl"))
    assert [line.split()[:2] for line in loader.read_text().splitlines() if "proc" in line.split()[:1]] == [
        ["proc", "sixsa"]
    ]
    out = prompt(f"source {tcl_word(str(loader))}", "puts $::sixsa::python", "sixsa run -nochain")
    assert str(prompt.python) in out and "verdict: CONVERGED" in out
    assert not (prompt.folder / "canary").exists()
    shutil.rmtree(folder)
    assert "was not loaded" in prompt(f"source {tcl_word(str(loader))}", "catch {sixsa run} message", "puts $message")
    assert "sixsa.tcl is gone" in prompt.errors


# a run


def test_run_takes_the_answer_over(prompt):
    out = prompt("sixsa run -ess 500 -seed 3", "sixsa status", "sixsa evidence")
    run = prompt.folder / "sixsa-run"
    made = calls(out)
    assert made[0].startswith(f"save all {prompt.scratch}/sixsa.") and not Path(made[0].split()[2]).exists()
    assert made[1:] == [
        "newpar 1 0.1001",
        "newpar 2 2.2002",
        "newpar 3 0.00100003",
        "fit",
        "chain clear",
        f"chain load {run}/chain.fits",
    ]
    assert untouched(out)
    assert "verdict: CONVERGED" in out and "ünïcode" in out and "warning: beware" in out
    assert "log-evidence -65.0 +- 0.1" in out
    assert "statistic 90.00" in out
    assert {"option ess 500", "option seed 3"} <= set(prompt.seen.read_text().splitlines())


@pytest.mark.parametrize(
    ("options", "done"),
    [
        ("-nobest", ["chain"]),
        ("-nochain", ["newpar", "fit"]),
        ("-nobest -nochain", []),
        ("-nob -noc", []),
    ],
)
def test_what_is_not_wanted_is_left(prompt, options, done):
    out = prompt(f"sixsa run {options}")
    assert {call.split()[0] for call in calls(out)} == {"save", *done}
    assert untouched(out)


def test_second_run_has_its_own_folder_and_chain(prompt):
    out = prompt("sixsa run", "sixsa run", "sixsa chain sixsa-run", "sixsa best sixsa-run-2")
    assert sorted(p.name for p in prompt.folder.iterdir()) == ["sixsa-run", "sixsa-run-2"]
    loaded = [call.rsplit("/", 2)[1] for call in calls(out) if call.startswith("chain load")]
    assert loaded == ["sixsa-run", "sixsa-run-2", "sixsa-run"]
    assert re.findall("^CHAIN .*", out, re.MULTILINE) == [f"CHAIN {prompt.folder}/sixsa-run/chain.fits"]


def test_run_that_did_not_converge_says_so_and_is_taken_over(prompt):
    prompt.environment["SIXSA_STANDIN"] = "unconverged"
    assert "chain load" in prompt("sixsa run")


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("refuse", "the free parameters are not those of the prompt"),
        ("crash", "the Python side failed (status 1): ImportError: libstdc++.so.6: wrong version"),
        ("die", "the Python side was killed (SIGKILL)"),
    ],
)
def test_run_without_an_answer(prompt, what, message):
    prompt.environment["SIXSA_STANDIN"] = what
    assert message in prompt.refused("sixsa run")
    out = prompt("catch {sixsa run}", "sixsa status")
    assert f"ended early: {message}" in out
    assert [c.split()[0] for c in calls(out)] == ["save"]
    assert untouched(out)
    # the log stays where it says more than the message
    kept = {p.name for folder in prompt.scratch.iterdir() for p in folder.iterdir()}
    assert kept == (set() if what == "refuse" else {"session.xcm", "handover.txt", "log.txt"})


def test_prompt_goes_on_after_ctrl_c(prompt):
    prompt.environment["SIXSA_STANDIN"] = "wait"
    process = prompt.start(["puts [catch {sixsa run} message]$message"])
    try:
        _wait_for(prompt.seen.exists)
        time.sleep(0.5)
        # on a terminal Ctrl-C goes to the whole group; XSPEC ignores it, a plain tclsh would not. Not before: a child
        # seen earlier may be one that Tcl had just forked and that is gone
        child = _wait_for(lambda: _child_of(process.pid))
        os.kill(child, signal.SIGINT)
        out, _ = process.communicate(timeout=30)
    finally:
        process.kill()
    assert "1sixsa: interrupted: nothing was saved" in out
    assert untouched(out)


def _child_of(pid):
    words = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return int(words[0]) if words else None


def _wait_for(look, seconds=20):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = look()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError("it did not come")


def test_model_changed_meanwhile(prompt):
    assert "is not that of the run" in prompt.refused("sixsa run", "set standin::model phabs", "sixsa chain")
    out = "lset standin::parameters 1 10 {T = p1}"
    assert "the free parameters at the prompt (1 3) are not those of the run (1 2 3)" in prompt.refused(
        out, "sixsa best sixsa-run"
    )


def test_bxa_beside_the_last_run_and_a_named_one(prompt):
    out = prompt("sixsa run -nobest", "sixsa bxa -live 100", "sixsa bxa sixsa-run -out other")
    assert read_hand_over(prompt.seen).task == ("bxa", f"{prompt.folder}/sixsa-run")
    assert (prompt.folder / "sixsa-run" / "bxa" / "prompt.txt").exists() and (prompt.folder / "other").is_dir()
    # a check changes nothing
    assert [c.split()[0] for c in calls(out)] == ["save", "chain", "chain", "save", "save"]
    assert "is not that of the run" in prompt.refused("set standin::model phabs", "sixsa bxa sixsa-run")
    assert 'no option "-ess" of bxa' in prompt.refused("sixsa bxa sixsa-run -ess 3")


# in the background


def until(condition):
    return f"for {{set i 0}} {{$i < 400 && !({condition})}} {{incr i}} {{after 50}}"


UNTIL_ENDED = until("[::sixsa::JobState] eq {ended}")


def test_background_run_is_taken_over_when_looked_at(prompt):
    prompt.environment["SIXSA_STANDIN"] = "slow"
    wait = "for {set i 0} {$i < 200 && [::sixsa::JobState] eq {running}} {incr i} {after 50}"
    out = prompt(
        "sixsa run -bg",
        "sixsa status",
        "puts [catch {sixsa run} m]$m",
        wait,
        "puts HERE",
        "sixsa status",
        "sixsa status",
    )
    before, after = out.split("HERE")
    assert "running in the background" in before
    assert "1sixsa: a run is under way" in before
    assert "chain loaded" not in before and "chain loaded" in after
    assert after.count("verdict: CONVERGED") == 1
    assert len(re.findall("CALL fit", after)) == 1
    assert untouched(out)


def test_background_run_is_stopped(prompt):
    prompt.environment["SIXSA_STANDIN"] = "wait"
    look = until("[dict get $::sixsa::job last] eq {waiting} || [::sixsa::JobState] eq {ended}")
    again = "puts [catch {sixsa chain} m]$m"
    out = prompt("sixsa run -bg", look, "sixsa stop", UNTIL_ENDED, "sixsa status", again)
    assert "ended early: interrupted: nothing was saved" in out
    assert "1sixsa: the last run has no answer: interrupted" in out


def test_prompt_does_not_wait_for_a_background_run_at_its_end(prompt):
    prompt.environment["SIXSA_STANDIN"] = "wait"
    start = time.monotonic()
    out = prompt("sixsa run -bg", "puts [dict get $::sixsa::job pid]PID")
    assert time.monotonic() - start < 20
    os.kill(int(re.search(r"(\d+)PID", out)[1]), signal.SIGKILL)


# names


PLACES = ["a b", "a[1]", "a[exec touch canary]", "a$HOME", "a;touch canary", 'a"b', "a'b"]
# what looks like a number is still a name
PLACES += ["010", "0x10", "1e3", "50."]
NAMES = [*PLACES, "a{b", "a}b", "a\\b", "a(b)", "~a", "ü#%&"]


@pytest.mark.parametrize("locale", ["C.UTF-8", "C"])
@pytest.mark.parametrize("name", NAMES)
def test_hostile_working_directory(prompt, name, locale):
    prompt.environment["LC_ALL"] = locale
    prompt.folder = prompt.folder / name
    prompt.folder.mkdir()
    out = prompt("sixsa run", "sixsa show", "sixsa plot corner")
    assert sorted(p.name for p in prompt.folder.iterdir()) == ["sixsa-run"]
    hand_over = read_hand_over(prompt.seen)
    assert hand_over.folder == str(prompt.folder)
    assert hand_over.out == str(prompt.folder / "sixsa-run")
    loaded = re.search(r"^CHAIN (.*)$", out, re.MULTILINE)[1]
    assert re.fullmatch(r"[A-Za-z0-9_./+@-]+", loaded)
    assert Path(loaded).resolve() == (prompt.folder / "sixsa-run" / "chain.fits").resolve()


@pytest.mark.parametrize("name", NAMES)
def test_hostile_names_of_spectra_runs_and_parameters(prompt, name):
    prompt(
        f"set standin::spectra [list {tcl_word('/data/' + name)} {tcl_word(name)}]",
        f"sixsa run -out {tcl_word(name)}",
        f"catch {{sixsa prior {tcl_word(name)} uniform 0 1}}",
        f"catch {{sixsa {tcl_word(name)}}}",
        f"sixsa show {tcl_word(name)}",
    )
    hand_over = read_hand_over(prompt.seen)
    assert hand_over.spectra == ("/data/" + name, name)
    assert Path(hand_over.out) == prompt.folder / name
    assert [p.name for p in prompt.folder.iterdir()] == [name]


def test_nothing_that_comes_back_is_evaluated(prompt):
    (prompt.folder / "canary").touch()
    out = prompt("sixsa run", "sixsa show", "sixsa evidence", "sixsa status")
    assert out.count(" ".join(HOSTILE.split())) >= 4
    assert (prompt.folder / "canary").exists()


def test_best_value_that_is_no_number(prompt):
    prompt.environment["SIXSA_VALUES"] = "1.0 [tclexit] 2"
    assert "no number" in prompt.refused("sixsa run")


@pytest.mark.parametrize("damage", ["cut", "version", "kind"])
def test_damaged_answer(prompt, damage):
    prompt("sixsa run")
    file = prompt.folder / "sixsa-run" / "prompt.txt"
    text = file.read_text()
    if damage == "cut":
        file.write_text("\n".join(text.splitlines()[:-2]) + "\n")
    else:
        file.write_text(text.replace("xsixsa-answer 1", "xsixsa-answer 2" if damage == "version" else "other 1"))
    assert str(file) in prompt.refused("sixsa show sixsa-run")
