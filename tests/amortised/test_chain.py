"""Training to calibration on a small instrument, and what docs/calibration.md says about it, line by line."""

import contextlib
import json
import runpy

import numpy as np
import pytest

import xsixsa
from tests.conftest import REPOSITORY
from xsixsa.amortised.train import TrainOptions
from xsixsa.inference.flow import FlowOptions

SMALL = TrainOptions(flow=FlowOptions(transforms=3, hidden=32, batch=128, epochs=40, patience=15))
PRIOR = {"powerlaw.norm": "loguniform:0.01:0.3", "kT": (0.3, 3.0), "bbodyrad.norm": "loguniform:1:3000"}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Session of one slice of the example's burst, the network, and the folder."""
    from xsixsa.embedded import xspec

    folder = tmp_path_factory.mktemp("chain")
    example = runpy.run_path(str(REPOSITORY / "examples" / "many_bursts.py"))
    xspec.AllData.clear()
    with contextlib.chdir(folder):
        slices, _ = example["make_burst"](folder, 3)
        example["load"](slices[2])
        options = {"counts": (1e3, 3e4), "simulations": 3_000, "seed": 1, "progress": False, "workers": 1}
        net = xsixsa.train(xspec, PRIOR, options=SMALL, out="network.h5", **options)
        yield xspec, net, folder
    xspec.AllModels.clear()
    xspec.AllData.clear()


@pytest.mark.slow
def test_blocks_of_the_document(trained, monkeypatch, capsys):
    """All python blocks of calibration.md, with fewer spectra."""
    xspec, _, folder = trained
    monkeypatch.chdir(folder)
    from tests.docs_blocks import blocks

    held = [block for block in blocks("python") if block.document == "calibration.md"]
    space = {"xspec": xspec}
    for block in held:
        small = block.code.replace("calibrate(300, xspec)", "calibrate(60, xspec, seed=1, workers=1)")
        exec(compile(small.replace("n=500", "n=40, workers=1, seed=1"), str(block), "exec"), space)
    said = capsys.readouterr().out
    assert "calibration: " in said and "simulated spectra have a statistic below" in said
    assert set(json.loads((folder / "calibration.json").read_text())) >= {"passed", "network", "corrected"}
    assert (folder / "calibration.png").exists()


@pytest.mark.slow
def test_trained_network_is_calibrated_after_correction(trained):
    xspec, net, _ = trained
    found = net.calibrate(200, xspec, draws=400, seed=2, workers=1)
    assert found.corrected is not None and found.corrected.passed, found.summary()
    good = found.corrected.goodness()
    assert abs(good["z_mean"]) < 0.4 and good["z_std"] == pytest.approx(1, abs=0.2)


@pytest.mark.slow
def test_flags_of_a_trained_network(trained):
    xspec, net, _ = trained
    session = xsixsa.Session(xspec)
    rng = np.random.default_rng(3)
    with session.pool(workers=1) as pool:

        def evaluate(z):
            found = pool.evaluate(net.prior.from_normal(z))
            return found.expected, found.valid

        drawn = net.proposal.draw(400, rng, evaluate)
    good = net.familiarity.check(net, net.simulate(drawn.expected, rng, drawn.exposure), drawn.exposure)
    assert good.flagged.sum() <= 12
    line = drawn.expected.copy()
    line[:, 60:62] += 0.02 * line.sum(axis=1, keepdims=True)
    assert net.familiarity.check(net, net.simulate(line, rng, drawn.exposure), drawn.exposure).flagged.mean() > 0.95
