"""`install`, the settings, the log, and forks."""

import logging
import os
import subprocess
import sys

import numpy as np
import pytest

from xsixsa.errors import UsageError

CHECK = """
import logging, sys
logging.basicConfig(level=logging.INFO)
from xsixsa.embedded import install
{before}
assert install() is {embedded}
import xspec
assert bool(getattr(xspec, "__xsixsa_embedded__", False)) is {embedded}
assert not {{"torch", "sbi", "matplotlib"}} & set(sys.modules)
"""


def _run(before, embedded, path=""):
    code = CHECK.format(before=before, embedded=embedded)
    environment = {**os.environ, "PYTHONPATH": path}
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=120)


def _package():
    return os.path.dirname(os.path.dirname(sys.modules["xsixsa"].__file__))


def test_install_takes_the_place_that_is_empty(xspec):
    done = _run("import sys; sys.modules.pop('xspec', None)", True, _package())
    assert done.returncode == 0, done.stderr
    assert "embedded engine" in done.stderr


def test_install_never_replaces_a_real_one(xspec, tmp_path):
    (tmp_path / "xspec.py").write_text("Xset = 'the real one'\n")
    done = _run("", False, os.pathsep.join([str(tmp_path), _package()]))
    assert done.returncode == 0, done.stderr
    assert "the real XSPEC, which stays" in done.stderr


def test_install_where_the_real_one_cannot_load(xspec, tmp_path):
    (tmp_path / "xspec.py").write_text("raise ImportError('libXS.so: cannot open shared object file')\n")
    done = _run("", True, os.pathsep.join([str(tmp_path), _package()]))
    assert done.returncode == 0, done.stderr
    assert "libXS.so" in done.stderr


def test_it_says_what_it_is(xspec):
    assert xspec.__xsixsa_embedded__ is True
    assert all("embedded" in text for text in xspec.Xset.version)


def test_settings(xspec):
    xset = xspec.Xset
    xset.cosmo = "50"
    assert xset.cosmo == ("50", "0", "0.73")
    xset.cosmo = ",,0.5"
    assert xset.cosmo == ("50", "0", "0.5")
    xset.cosmo = "70 .1 0"
    assert xset.cosmo == ("70", "0.1", "0")
    xset.parallel.leven = 4
    xset.parallel.reset()
    assert xset.parallel.leven == 1
    for name, wrong in [("abund", "foo"), ("xsect", "foo"), ("cosmo", "x"), ("cosmo", "-1"), ("chatter", 2.5)]:
        with pytest.raises(UsageError):
            setattr(xset, name, wrong)
    for name in ("statmethod", "abund"):
        with pytest.raises(UsageError):
            setattr(xspec.Fit, name, "cstat")
    for name, wrong in [
        ("query", 3),
        ("bayes", "maybe"),
        ("weight", "heavy"),
        ("method", "magic"),
        ("nIterations", 0),
        ("criticalDelta", -1.0),
        ("statTest", "x"),
    ]:
        with pytest.raises(UsageError):
            setattr(xspec.Fit, name, wrong)


def test_chatter_decides_what_is_said_and_the_log_gets_a_copy(xspec, loaded, tmp_path, caplog, capsys):
    xspec.Xset.logChatter = 10
    with caplog.at_level(logging.INFO, logger="xsixsa.embedded"):
        xspec.AllModels.show()
        assert not caplog.records
        xspec.Xset.openLog(str(tmp_path / "run.log"))
        xspec.AllModels.calcFlux("2.0 10.0")
        assert not caplog.records
        xspec.Xset.chatter = 10
        xspec.AllModels.show()
        assert any("PhoIndex" in record.getMessage() for record in caplog.records)
    xspec.Xset.closeLog()
    assert xspec.Xset.log is None
    text = (tmp_path / "run.log").read_text()
    assert "Spectrum Number: 1" in text and "PhoIndex" in text
    assert capsys.readouterr().out == ""


def test_a_forked_child_computes_the_same(loaded):
    xspec, _, _ = loaded
    theta = np.random.default_rng(0).uniform([0, 1, 1e-4], [0.5, 3, 1e-3], size=(40, 3))
    keys = [("", 1, i) for i in (1, 2, 3)]
    _, wanted = xspec.AllModels.evaluateBatch(keys, theta)
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.write(write, xspec.AllModels.evaluateBatch(keys, theta)[1].tobytes())
            code = 0
        finally:
            os._exit(code)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        found = np.frombuffer(pipe.read())
    assert os.waitpid(child, 0)[1] == 0
    np.testing.assert_array_equal(found, wanted)
