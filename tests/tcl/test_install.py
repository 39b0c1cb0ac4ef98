"""``xsixsa install-tcl``."""

import io
import sys

import pytest

from xsixsa.cli import main as command_line
from xsixsa.errors import OutputError
from xsixsa.prompt.install import install_tcl, plan, remove_tcl, tcl_word


def test_install_is_idempotent_and_removable(tmp_path):
    rc = tmp_path / ".xspec" / "xspec.rc"
    rc.parent.mkdir()
    rc.write_text("abund wilm\nlmod mine /x")
    first = plan(tmp_path, "/opt/python")
    assert len(first.changes) == 2
    install_tcl(first)
    once = rc.read_text()
    assert once.startswith("source ") and once.count("sixsa.tcl") == 1
    assert once.endswith("\nabund wilm\nlmod mine /x")
    assert plan(tmp_path, "/opt/python").changes == ()
    install_tcl(plan(tmp_path, "/opt/python"))
    assert rc.read_text() == once
    # another interpreter: only the file that names it changes
    moved = plan(tmp_path, "/opt/other")
    assert moved.changes == (f"write {first.loader}",)
    install_tcl(moved)
    assert rc.read_text() == once and "/opt/other" in first.loader.read_text()
    assert len(remove_tcl(tmp_path)) == 2
    assert rc.read_text() == "abund wilm\nlmod mine /x"
    assert not first.loader.exists()
    assert remove_tcl(tmp_path) == []


def test_install_where_there_was_nothing_and_a_link(tmp_path):
    install_tcl(plan(tmp_path, "/opt/python"))
    remove_tcl(tmp_path)
    assert not (tmp_path / ".xspec" / "xspec.rc").exists()
    real = tmp_path / "dotfiles.rc"
    real.touch()
    (tmp_path / ".xspec" / "xspec.rc").symlink_to(real)
    install_tcl(plan(tmp_path, "/opt/python"))
    assert "sixsa.tcl" in real.read_text() and (tmp_path / ".xspec" / "xspec.rc").is_symlink()


def test_install_where_it_cannot(tmp_path):
    (tmp_path / ".xspec").write_text("a file")
    with pytest.raises(OutputError):
        install_tcl(plan(tmp_path, "/opt/python"))


def test_interpreter_is_recorded_by_its_path_as_it_stands(tmp_path):
    link = tmp_path / "venv python"
    link.symlink_to(sys.executable)
    assert f"variable python {tcl_word(str(link))}\n" in plan(tmp_path, str(link)).loader_text


@pytest.mark.parametrize("answer", ["y\n", "yes\n", "n\n", "\n", ""])
def test_install_asks(tmp_path, monkeypatch, capsys, answer):
    monkeypatch.setenv("HOME", str(tmp_path))
    terminal = io.StringIO(answer)
    terminal.isatty = lambda: True
    monkeypatch.setattr(sys, "stdin", terminal)
    assert command_line(["install-tcl"]) == 0
    said = capsys.readouterr().out
    agreed = answer.startswith("y")
    assert (tmp_path / ".xspec" / "sixsa.tcl").exists() is agreed
    assert ("nothing was changed" in said) is not agreed
    assert (f"source {tmp_path}/.xspec/sixsa.tcl" in said) is agreed


def test_install_with_nobody_to_ask(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    assert command_line(["install-tcl"]) == 2
    assert "give --yes" in capsys.readouterr().err
    assert not (tmp_path / ".xspec").exists()
    assert command_line(["install-tcl", "--yes"]) == 0
    assert command_line(["install-tcl", "--remove"]) == 0
    assert "removed" in capsys.readouterr().out
