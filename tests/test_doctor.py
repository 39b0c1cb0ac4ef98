"""`xsixsa doctor`: a line for each thing, what to do about a problem, and its exit status."""

import sys

import numpy as np
import pytest

from tests.session.fake_xspec import FakeXspec
from xsixsa.cli import doctor, main
from xsixsa.session import Session


def test_all_is_well_with_the_embedded_engine(capsys, tmp_path, monkeypatch):
    monkeypatch.delenv("LD_LIBRARY_PATH", raising=False)
    monkeypatch.delenv("PYTHONPATH", raising=False)
    assert main(["doctor", "--engine", "embedded"]) == 0
    printed = capsys.readouterr().out
    lines = [line for line in printed.splitlines() if line.startswith("OK")]
    names = ["python", "packages", "engine", "libraries", "model data", "start", "workers", "rate"]
    assert len(lines) == len(names) and all(name in line for name, line in zip(names, lines, strict=True))
    assert "PROBLEM" not in printed and printed.rstrip().endswith("all is well")


@pytest.mark.xspec
def test_all_is_well_with_xspec(capsys):
    status = main(["doctor", "--engine", "xspec"])
    printed = capsys.readouterr().out
    problems = [line for line in printed.splitlines() if line.startswith("PROBLEM")]
    # an installation without the tables of APEC and its like is a problem, and everything else works
    assert all("model data none in" in line for line in problems), printed
    assert status == int(bool(problems))
    assert "XSPEC" in printed and "modelData" in printed and "OK       workers" in printed


def test_a_problem_is_exit_status_1_and_says_what_to_do(capsys, monkeypatch):
    monkeypatch.setattr(doctor, "_in_fresh_python", lambda code: (1, "ModuleNotFoundError: No module named 'xspec'"))
    monkeypatch.delenv("HEADAS", raising=False)
    monkeypatch.delenv("LD_LIBRARY_PATH", raising=False)
    monkeypatch.setenv("HEADAS", "/opt/none")
    assert main(["doctor", "--engine", "xspec"]) == 1
    printed = capsys.readouterr().out
    assert "PROBLEM  engine     PyXspec cannot be imported" in printed
    assert "-> HEADAS is /opt/none, but PyXspec is not on PYTHONPATH: source $HEADAS/headas-init.sh" in printed
    assert "PROBLEM  model data" in printed or "OK       model data" not in printed
    assert "problem(s)" in printed and "OK       workers" not in printed


def test_unknown_engine_and_broken_session(capsys, tmp_path):
    assert main(["doctor", "--engine", "none"]) == 2
    assert "unknown engine" in capsys.readouterr().err
    found = list(doctor.workers("embedded", str(tmp_path / "none.xcm")))
    assert [c.ok for c in found] == [False] and "no such file" in found[0].text


@pytest.mark.parametrize(
    ("status", "said", "expected"),
    [
        (1, "ImportError: undefined symbol: PyExc", "does not load: ImportError: undefined symbol"),
        (-11, "ended by signal 11", "does not load: ended by signal 11"),
    ],
)
def test_a_broken_pyxspec_is_a_problem_even_where_another_engine_could_serve(monkeypatch, status, said, expected):
    monkeypatch.setattr(doctor, "_in_fresh_python", lambda code: (status, said))
    found, xspec_loads = doctor.engines("auto")
    assert not found.ok and not xspec_loads and expected in found.text and "built" in found.remedy


def test_what_crashes_in_a_fresh_python_is_told():
    status, said = doctor._in_fresh_python("import os; print('last words', flush=True); os.abort()")
    assert status == -6 and said == "ended by signal 6 after: last words"


def test_packages_shadowed_by_pythonpath(monkeypatch, tmp_path):
    package = tmp_path / "astropy"
    package.mkdir()
    (package / "__init__.py").write_text("raise ImportError('of another Python')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.delenv("LD_LIBRARY_PATH", raising=False)
    (found,) = doctor.packages()
    assert not found.ok and "astropy ImportError of another Python" in found.text and "PYTHONPATH" in found.remedy
    (shadow,) = doctor.libraries()
    assert not shadow.ok and str(package) in shadow.text and "PYTHONPATH" in shadow.remedy


def test_a_clashing_library_is_a_problem_only_where_it_does_harm(monkeypatch, tmp_path):
    (tmp_path / "libstdc++.so.6").touch()
    monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path))
    monkeypatch.delenv("PYTHONPATH", raising=False)
    for status, ok in ((0, True), (1, False)):
        monkeypatch.setattr(
            doctor, "_in_fresh_python", lambda code, status=status: (status, "GLIBCXX_3.4.32 not found")
        )
        (found,) = doctor.libraries()
        assert found.ok is ok and "libstdc++.so.6" in found.text
    assert "GLIBCXX" in found.text and found.remedy


def test_disagreement_and_failing_models_are_problems():
    assert not doctor._agreement(100.0, 100.001, "a session", 10).ok
    assert doctor._agreement(100.0, 100.0 + 1e-9, "a session", 10).ok
    engine = FakeXspec()
    session = Session(engine)
    theta = np.array([[p.value for p in session.parameters]])
    assert doctor._rate(session, theta).ok
    engine.misbehave = lambda values: -1.0
    assert not doctor._rate(session, theta).ok


def test_python_is_this_one():
    assert sys.executable in doctor.python().text and doctor.python().ok
