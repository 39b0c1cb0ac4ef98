"""What docs/amortised.md says, line by line."""

import shlex

import pytest

from tests.amortised.networks import QUICK, inside, load, write_files
from tests.docs_blocks import blocks
from tests.session.ogip import counts_like, write_spectrum
from xsixsa.amortised import train
from xsixsa.cli import main


@pytest.fixture
def folder(tmp_path, monkeypatch):
    write_files(tmp_path)
    for i in range(3):
        write_spectrum(tmp_path / f"s{i}.pha", counts_like(60 + i, 1_500.0))
    monkeypatch.setattr(train, "TrainOptions", lambda: QUICK)
    with inside(tmp_path):
        yield tmp_path


def held(*languages):
    """Blocks of the document."""
    return [b.code for b in blocks(*languages) if b.document == "amortised.md"]


@pytest.mark.slow
def test_python(folder, capsys):
    space = {"xspec": load("plain.pha")}
    code = held("python")
    assert len(code) == 2
    exec(code[0].replace("simulations=10_000", "simulations=800, workers=1, progress=False"), space)
    exec(code[1].replace("seed=2", "seed=2, workers=1, progress=False"), space)
    assert "3 converged" in capsys.readouterr().out
    assert (folder / "corner.png").exists() and (folder / "posteriors" / "table.fits").exists()


@pytest.mark.slow
def test_shell(folder, capsys):
    (code,) = held("sh")
    lines = [line for line in code.replace("\\\n", " ").splitlines() if line.strip()]
    assert [line.split()[1] for line in lines] == ["train", "apply", "calibrate"]
    more = {"train": "--simulations 800 --engine embedded --seed 1", "apply": "--ess 400", "calibrate": "--draws 200"}
    for line in lines:
        words = shlex.split(line.replace("-n 300", "-n 40"))[1:]
        status = main([*words, *more[words[0]].split(), "--workers", "1", "--quiet"])
        assert status in ((0, 3) if words[0] == "calibrate" else (0,)), capsys.readouterr().err
    said = capsys.readouterr().out
    assert "3 spectra: 3 converged" in said and "calibration: " in said
    assert (folder / "calibration" / "calibration.json").exists()
