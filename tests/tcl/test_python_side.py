"""The Python side of the ``sixsa`` command: what it reads, what it refuses, what it writes."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xsixsa.demo import make_demo
from xsixsa.embedded import xspec as embedded
from xsixsa.errors import DataError, SessionError
from xsixsa.prompt import records
from xsixsa.prompt.__main__ import main
from xsixsa.prompt.handover import PromptParameter, read_hand_over
from xsixsa.prompt.records import read_records, write_records
from xsixsa.prompt.restore import check_statistic, restore_session, rounding_allowance
from xsixsa.prompt.saved import pieces, restore_saved

# records


@given(st.lists(st.lists(st.text(st.characters(blacklist_categories=["Cs"])), min_size=1), max_size=5))
def test_any_text_travels(tmp_path_factory, rows):
    file = tmp_path_factory.getbasetemp() / "records.txt"
    write_records(file, "kind", rows)
    assert read_records(file, "kind") == rows
    assert file.read_bytes().isascii()


def test_file_names_that_are_not_unicode_travel(tmp_path):
    name = os.fsdecode(b"caf\xe9")
    assert read_records(write_records(tmp_path / "r", "kind", [[name]]), "kind") == [[name]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "cut short|not a kind"),
        ("kind 1\na b", "cut short"),
        ("kind 1\na b\n", "cut short"),
        ("kind 1\na b\nend 4\n", "cut short"),
        ("other 1\nend 2\n", "is not a kind"),
        ("kind 2\nend 2\n", "version 1 of a kind, not 2"),
        ("kind 1\na  b\nend 3\n", "bad word"),
        ("kind 1\na%zz\nend 3\n", "bad word"),
        ("kind 1\na$b\nend 3\n", "bad word"),
    ],
)
def test_damaged_records(tmp_path, text, message):
    file = tmp_path / "records.txt"
    file.write_text(text)
    with pytest.raises(DataError, match=message):
        read_records(file, "kind")


def test_missing_and_huge_records(tmp_path, monkeypatch):
    with pytest.raises(DataError, match="cannot be read"):
        read_records(tmp_path / "none", "kind")
    monkeypatch.setattr(records, "_MAX_SIZE", 5)
    with pytest.raises(DataError, match="far too large"):
        read_records(write_records(tmp_path / "r", "kind", []), "kind")


# hand-over

GOOD = {
    "task": ["run"],
    "tcl": ["8.6.13"],
    "xspec": ["12.9.1"],
    "folder": ["/data"],
    "saved": ["/scratch/session.xcm"],
    "out": ["/data/sixsa-run"],
    "statistic": ["93.97445"],
    "method": ["C-Statistic"],
    "bins": ["104", "102"],
    "model": ["powerlaw"],
}
ROWS = [
    ["spectrum", "1", "/data/source.pha"],
    ["parameter", "", "1", "PhoIndex", "", "free", "2.1", "0.01", "-3", "-2", "9", "10"],
    ["parameter", "", "2", "norm", "", "free", "0.001", "0.01", "0", "0", "1e+20", "1e+24"],
]


def written(path, single=None, rows=ROWS, without=()):
    content = {k: v for k, v in {**GOOD, **(single or {})}.items() if k not in without}
    return write_records(path, "xsixsa-handover", [*([k, *v] for k, v in content.items()), *rows])


def test_hand_over_is_read(tmp_path):
    rows = [*ROWS, ["bayes", "", "1", "gauss", "2", "0.1"], ["prior", "2", "loguniform", "1e-5", "1e-2"]]
    rows += [["option", "ess", "500"], ["option", "bg", "1"], ["repeat", "energies", "reset"]]
    read = read_hand_over(written(tmp_path / "h", rows=rows))
    assert read.statistic == 93.97445 and (read.bins, read.dof) == (104, 102)
    assert read.native == {("", 1): ("gauss", 2.0, 0.1)}
    assert read.priors == {2: "loguniform:1e-05:0.01"}
    assert read.background and read.options["ess"] == "500"
    assert [p.specifier for p in read.free] == ["1", "2"]


@pytest.mark.parametrize(
    ("single", "rows", "message"),
    [
        ({}, [], "parameters are missing"),
        ({}, ROWS[1:], "spectra are numbered"),
        ({}, [*ROWS, ROWS[1]], "missing or doubled"),
        ({}, [*ROWS, ["nonsense", "1"]], "unknown record 'nonsense'"),
        ({}, [*ROWS, ["folder", "/x"]], "folder comes twice"),
        ({"folder": ["here"]}, ROWS, "folder is not an absolute path"),
        ({"statistic": ["nan"]}, ROWS, "nan is not finite"),
        ({"bins": ["104"]}, ROWS, "bins has 1 values instead of 2"),
        ({"task": ["bxa"]}, ROWS, "task 'bxa'"),
        ({"task": ["sh", "/bin/rm"]}, ROWS, "task 'sh"),
        ({}, [*ROWS, ["bayes", "", "3", "jeffreys"]], "prior of bayes"),
        ({}, [*ROWS, ["bayes", "", "1", "gauss", "1"]], "prior of bayes"),
        ({}, [*ROWS, ["prior", "nH", "flat", "0", "1"]], "prior of nH"),
        ({}, [*ROWS, ["prior", "nH", "uniform", "0"]], "prior of nH"),
        ({}, [*ROWS, ["option", "ess", "-5"]], "not a whole number"),
        ({}, [*ROWS, ["option", "shell", "1"]], "unknown option"),
        ({}, [*ROWS, ["repeat", "exec", "rm"]], "not one to repeat"),
        ({}, [*ROWS[:2], [*ROWS[2][:5], "odd", *ROWS[2][6:]]], "state 'odd'"),
    ],
)
def test_hand_over_that_cannot_be(tmp_path, single, rows, message):
    with pytest.raises(DataError, match=message):
        read_hand_over(written(tmp_path / "h", single, rows))


def test_hand_over_that_lacks_something(tmp_path):
    with pytest.raises(DataError, match="lacks saved, model"):
        read_hand_over(written(tmp_path / "h", without=("saved", "model")))


# saved sessions


def test_pieces_follow_the_directory():
    text = "statistic cstat\ncd ../../data/a\\ b\ndata 1:1 x.pha\ncd ../c\nignore 1:1-9\n"
    assert list(pieces(text, "/home/me/work")) == [
        ("/home/me/work", ["statistic cstat"]),
        ("/home/data/a b", ["data 1:1 x.pha"]),
        ("/home/data/c", ["ignore 1:1-9"]),
    ]


class Recorder:
    """An engine that keeps what it is told to restore, and from where."""

    def __init__(self):
        self.Xset, self.seen = self, []

    def restore(self, name):
        self.seen.append((os.getcwd(), Path(name).read_text().splitlines()[1:]))


def test_odd_names_are_reached_through_links(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    odd = tmp_path / "odd name [1];$x.pha"
    odd.touch()
    saved = tmp_path / "session.xcm"
    escaped = odd.name.replace(" ", "\\ ")
    saved.write_text(f"data 1:1 {escaped}\nbackgrnd 1 none\nresponse  2:1 plain.rmf\ndata 2:2 typed.pha{{3}}\n")
    engine = Recorder()
    restore_saved(engine, saved, str(tmp_path), tmp_path / "links")
    ((place, lines),) = engine.seen
    assert place == str(tmp_path)
    words = lines[0].split()
    assert words[:2] == ["data", "1:1"] and Path(words[2]).resolve() == odd
    assert lines[1:] == ["backgrnd 1 none", "response  2:1 plain.rmf", "data 2:2 typed.pha{3}"]


# restoring, with the embedded engine


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    return folder, make_demo(folder, seed=1)


@pytest.fixture
def prompt_session(demo, tmp_path, monkeypatch):
    """A hand-over as the prompt would write it for the demo's session; takes what differs from the truth."""
    folder, made = demo
    monkeypatch.chdir(folder)
    low, high = made.notice.split("-")

    def write(statistic=None, **changes):
        lines = ["statistic cstat", f"data 1:1 {made.spectrum}", f"abund {made.abund}", f"model {made.model}"]
        xspec = embedded
        xspec.AllData.clear()
        xspec.AllModels.clear()
        xspec.Xset.abund, xspec.Fit.statMethod = made.abund, "cstat"
        spectrum = xspec.Spectrum(made.spectrum)
        xspec.AllData.ignore("bad")
        spectrum.ignore(f"**-{float(low)} {float(high)}-**")
        model = xspec.Model(made.model)
        for i, truth in enumerate(made.truth.values(), start=1):
            # more digits than the prompt tells
            model(i).values = truth * 1.0000002
        if "freeze" in changes:
            model(changes.pop("freeze")).frozen = True
        parameters = []
        for i in range(1, model.nParameters + 1):
            p = model(i)
            value, delta, *limits = p.values
            state = "frozen" if p.frozen else "free"
            parameters.append(["parameter", "", i, p.name, p.unit, state, f"{value:.6g}", delta, *limits])
        lines[2:2] = [f"ignore 1:{spectrum.ignoredString().replace(' ', ',')}"]
        lines += [" ".join(str(v) for v in row[6:]) for row in parameters]
        saved = tmp_path / "session.xcm"
        saved.write_text("\n".join(lines) + "\n")
        c, n = xspec.Fit.statistic, len(spectrum.noticed)
        single = {
            "folder": [str(folder)],
            "saved": [str(saved)],
            "out": [str(tmp_path / "run")],
            "statistic": [f"{c if statistic is None else statistic:.10g}"],
            "bins": [n, n - sum(row[5] == "free" for row in parameters)],
            "model": [made.model],
        }
        rows = [["spectrum", 1, str(folder / made.spectrum)], *parameters, ["option", "engine", "embedded"]]
        rows += changes.pop("rows", [])
        return written(tmp_path / "handover.txt", {**single, **changes}, rows)

    return write


def test_session_is_restored_and_agrees(prompt_session):
    hand_over = read_hand_over(prompt_session(rows=[["bayes", "", "2", "gauss", "1.8", "0.1"]]))
    xspec, session = restore_session(hand_over)
    assert "at the prompt" in check_statistic(xspec, session, hand_over)
    priors = {p.index: p.native_prior for p in session.parameters}
    assert priors[2] == ("gauss", 1.8, 0.1)
    assert [priors[i] for i in priors if i != 2] == [None] * (len(priors) - 1)


def test_frozen_parameters_keep_their_place(prompt_session):
    hand_over = read_hand_over(prompt_session(freeze=1))
    xspec, session = restore_session(hand_over)
    before = [p.value for p in session.parameters]
    check_statistic(xspec, session, hand_over)
    assert [p.value for p in session.parameters] == before
    assert xspec.AllModels(1)(1).values[0] == hand_over.parameters[0].value


def test_other_statistic_is_refused(prompt_session):
    first = read_hand_over(prompt_session()).statistic
    hand_over = read_hand_over(prompt_session(statistic=first + 1.0))
    xspec, session = restore_session(hand_over)
    with pytest.raises(SessionError, match=r"fit statistic .*, the prompt .* the engine's model differs"):
        check_statistic(xspec, session, hand_over)


def test_other_session_is_refused(prompt_session):
    with pytest.raises(SessionError, match="bins are noticed, at the prompt there are 3"):
        restore_session(read_hand_over(prompt_session(bins=["3", "0"])))
    rows = [["parameter", "", "9", "extra", "", "free", "1", "0.1", "0", "0", "2", "2"]]
    with pytest.raises(SessionError, match="free parameters are not those of the prompt: 9 extra"):
        restore_session(read_hand_over(prompt_session(rows=rows)))
    with pytest.raises(SessionError, match="1 of the prompt's 2 spectra"):
        restore_session(read_hand_over(prompt_session(rows=[["spectrum", "2", "/data/b.pha"]])))
    with pytest.raises(SessionError, match="cannot be entered"):
        restore_session(read_hand_over(prompt_session(folder=["/nowhere/at/all"])))


@pytest.mark.parametrize(("value", "half"), [(1.23457, 5e-6), (0.00123457, 5e-9), (-99999.9, 0.05), (0.0, 0.0)])
def test_rounding_of_six_digits(value, half):
    parameter = PromptParameter("", 1, "p", "", "free", value, (0.01, 0, 0, 1, 1))
    np.testing.assert_allclose(rounding_allowance(parameter), half, rtol=1e-9)


def started(file):
    """The Python side as the prompt starts it."""
    command = [sys.executable, "-P", "-u", "-m", "xsixsa.prompt", str(file)]
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=600, check=False)


def test_failure_is_one_line_and_leaves_no_folder(prompt_session, tmp_path):
    file = prompt_session(statistic=1.0)
    done = subprocess.run(
        [sys.executable, "-P", "-m", "xsixsa.prompt", str(file)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 2
    (line,) = done.stdout.splitlines()
    assert line.startswith("E\tthe restored session has the fit statistic")
    assert not (tmp_path / "run").exists()


def test_wrong_call(capfd):
    assert main([]) == 2
    assert "Python side of the sixsa command" in capfd.readouterr().out


@pytest.mark.slow
def test_whole_run_with_the_embedded_engine(prompt_session, tmp_path):
    folder_priors = [["prior", name, *text.split(":")] for name, text in _demo_priors().items()]
    rows = [*folder_priors, ["option", "ess", "300"], ["option", "seed", "1"]]
    file = prompt_session(rows=rows)
    done = subprocess.run(
        [sys.executable, "-P", "-m", "xsixsa.prompt", str(file)],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode in (0, 3), done.stderr
    kinds = {line.split("\t")[0] for line in done.stdout.splitlines()}
    assert {"M", "P"} <= kinds and "E" not in kinds
    answer = read_records(tmp_path / "run" / "prompt.txt", "xsixsa-answer")
    assert {row[0] for row in answer} >= {"model", "verdict", "evidence", "parameter", "summary"}
    assert (tmp_path / "run" / "chain.fits").exists()


def _demo_priors():
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        return make_demo(Path(folder) / "d", seed=1).prior
