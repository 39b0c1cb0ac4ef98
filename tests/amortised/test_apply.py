"""Many spectra from one network: exact whatever the network, resumable, and no bad file stops the others."""

import copy
from dataclasses import replace

import numpy as np
import pytest
from astropy.table import Table

import xsixsa
from tests.amortised.networks import brute_force, inside, load, small_network, write_files
from tests.session.ogip import counts_like, write_spectrum
from xsixsa import Session
from xsixsa.amortised import apply as apply_module
from xsixsa.amortised.correct import Correction, CorrectionOptions
from xsixsa.amortised.posterior import verdict_of
from xsixsa.amortised.refine import refine
from xsixsa.cli import main
from xsixsa.correction.pool import effective_size
from xsixsa.errors import OutputError, SessionError, UsageError


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("apply")
    write_files(folder)
    with inside(folder):
        yield folder


@pytest.fixture(scope="module")
def network(folder):
    made = small_network("plain.pha", exposure=(500.0, 2_000.0))
    made.save("network.h5")
    return made


def agrees(result, mean, deviation, evidence):
    """Whether a result is the posterior found by brute force, within its own errors."""
    size = result.ess
    found = result.weights @ result.theta
    spread = np.sqrt(result.weights @ (result.theta - found) ** 2)
    np.testing.assert_array_less(np.abs(found - mean), 4.5 * deviation / size**0.5)
    np.testing.assert_allclose(spread, deviation, rtol=4.5 / (2 * size) ** 0.5)
    assert abs(result.log_evidence - evidence) < 4.5 * max(result.log_evidence_err, 0.01)


@pytest.mark.parametrize("exposure", [1_000.0, 1_700.0])
def test_the_posterior_is_exact(network, exposure):
    write_spectrum("new.pha", counts_like(7, 2_000.0), exposure=exposure)
    # the session holds another spectrum, of another exposure: only its expected counts are used
    applied = network.apply(["new.pha"], load("plain.pha"), ess=2_000, seed=3, workers=1, progress=False)
    result = applied.result(0)
    assert applied.converged and result.ess >= 2_000 and result.observations[0]["exposure"] == exposure
    session = Session(load("new.pha"))
    agrees(result, *brute_force(session))
    # what else takes a result takes this one, once its own spectrum is loaded
    assert result.fingerprint == session.fingerprint


def test_with_a_background_too(folder):
    network = small_network("source.pha", simulations=800)
    rng = np.random.default_rng(11)
    write_spectrum("new_back.pha", rng.poisson(25.0, 30), exposure=3_000.0, back=1.5, response=None, kind="BKG")
    write_spectrum("new.pha", counts_like(8, 2_000.0) + rng.poisson(5.0, 30), background="new_back.pha", back=1.0)
    result = network.apply("new.pha", load("source.pha"), ess=2_000, seed=3, workers=1, progress=False).result(0)
    session = Session(load("new.pha"))
    assert session.statistic == "wstat"
    agrees(result, *brute_force(session))
    assert result.fingerprint == session.fingerprint


@pytest.mark.parametrize("spectrum", ["plain.pha", "source.pha"])
def test_the_statistic_is_the_engines(network, spectrum):
    session = Session(load(spectrum))
    o = session.observations[0]
    theta = network.prior.sample(40, np.random.default_rng(1))
    answer = session.evaluate(theta)
    stand = copy.copy(network)
    if o.background is not None:
        from xsixsa.simulate import Simulator

        stand.simulator = Simulator((o,))
        stand.summarise = lambda counts, exposure=None: np.zeros(
            (len(counts), network.summarise(np.zeros((1, 25)), 1e3).shape[1])
        )
    correction = Correction(stand, o, o, CorrectionOptions(), np.random.default_rng(1))
    _, log_l = correction.likelihood(answer.expected, answer.valid)
    np.testing.assert_allclose(-2 * log_l, answer.statistic, rtol=1e-9)


def _evaluator(network, session):
    def evaluate(z):
        answer = session.evaluate(network.prior.from_normal(z))
        return answer.expected, answer.valid

    return evaluate


def _advance(correction, evaluate):
    while not correction.done:
        correction.receive(*evaluate(correction.propose()))


class Blind:
    """A network that is sure of the wrong place."""

    def __init__(self, centre):
        self.centre = centre

    def sample_many(self, summaries, n, rng):
        return self.centre + 0.1 * rng.standard_normal((len(summaries), n, 2))

    def log_prob_many(self, z, summaries):
        r = (z - self.centre) / 0.1
        return -0.5 * (r**2).sum(axis=2) - np.log(2 * np.pi) - 2 * np.log(0.1)


def test_a_wrong_network_costs_draws_not_exactness(network):
    session = Session(load("other.pha"))
    mean, deviation, evidence = brute_force(session)
    wrong = copy.copy(network)
    wrong.posterior = Blind(network.prior.to_normal(mean[None]) + 1.5)
    o = session.observations[0]
    correction = Correction(wrong, o, o, CorrectionOptions(ess=1_500), np.random.default_rng(2))
    _advance(correction, _evaluator(network, session))
    assert correction.history[0]["efficiency"] < 0.02
    assert verdict_of(correction, [])[0].converged
    weights = np.exp(correction.pool.honest_log_weights() - correction.pool.log_evidence)
    found = weights @ network.prior.from_normal(correction.pool.z)
    np.testing.assert_array_less(np.abs(found - mean), 4.5 * deviation / 1_500**0.5)
    from xsixsa.correction.evidence import estimate_evidence

    assert estimate_evidence(correction.final_log_weights).value == pytest.approx(evidence, abs=0.1)


def test_a_budget_that_runs_out_is_said(network):
    session = Session(load("other.pha"))
    wrong = copy.copy(network)
    wrong.posterior = Blind(np.array([2.5, 2.5]))
    o = session.observations[0]
    correction = Correction(wrong, o, o, CorrectionOptions(ess=500, max_evaluations=500), np.random.default_rng(2))
    _advance(correction, _evaluator(network, session))
    verdict, _ = verdict_of(correction, [])
    assert correction.n_evaluations == 500 and not verdict.converged
    assert any("500 evaluations allowed ran out" in reason for reason in verdict.reasons)
    assert refine(correction, _evaluator(network, session)) is False


@pytest.mark.slow
def test_refinement_is_exact_too(network):
    session = Session(load("other.pha"))
    mean, deviation, evidence = brute_force(session)
    o = session.observations[0]
    correction = Correction(
        network, o, o, CorrectionOptions(ess=1_500, max_evaluations=20_000), np.random.default_rng(4)
    )
    _advance(correction, _evaluator(network, session))
    assert refine(correction, _evaluator(network, session)) and correction.refined
    assert verdict_of(correction, [])[0].converged
    weights = np.exp(correction.pool.honest_log_weights() - correction.pool.log_evidence)
    found = weights @ network.prior.from_normal(correction.pool.z)
    np.testing.assert_array_less(np.abs(found - mean), 4.5 * deviation / 1_500**0.5)
    assert correction.pool.log_evidence == pytest.approx(evidence, abs=0.1)


def test_one_bad_file_among_good_ones_and_what_is_written(network, folder):
    write_spectrum("empty.pha", np.zeros(30))
    (folder / "text.pha").write_text("nothing")
    names = ["plain.pha", "text.pha", "other.pha", "empty.pha"]
    said = []
    applied = network.apply(
        names, load("plain.pha"), out="out", ess=300, seed=1, workers=2, progress=lambda e: said.append(e.message)
    )
    status = [r["status"] for r in applied.rows]
    assert status[1] == status[3] == "error" and "error" not in (status[0], status[2])
    assert "empty spectrum" in applied.rows[3]["reason"] and "text.pha" in applied.rows[1]["reason"]
    assert sum("left out" in m for m in said) == 2 and not applied.converged
    assert "2 could not be used" in applied.summary()
    tables = [Table.read("out/table.fits"), Table.read("out/table.ecsv")]
    for table in tables:
        assert list(table["name"]) == names and len(table) == 4
        np.testing.assert_array_equal(np.isfinite(np.asarray(table["norm_q50"], float)), [True, False, True, False])
    assert tables[0].colnames == tables[1].colnames
    saved = xsixsa.load("out/other.pha.h5")
    assert saved.names == ["PhoIndex", "norm"] and saved.ess >= 300
    assert saved.quantile("norm", 0.5) == pytest.approx(tables[0]["norm_q50"][2])
    with pytest.raises(UsageError, match=r"text\.pha has no result"):
        applied.result("text.pha")
    with pytest.raises(UsageError, match="no spectrum 'x'"):
        applied.result("x")


def test_it_goes_on_where_it_was_interrupted(network, monkeypatch):
    monkeypatch.setattr(apply_module, "_MOST_AT_ONCE", 2)
    for i in range(3):
        write_spectrum(f"s{i}.pha", counts_like(20 + i, 2_000.0))
    names, xspec = [f"s{i}.pha" for i in range(3)], load("plain.pha")

    def stop(event):
        if event.stage.startswith("2/3"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt, match="2 of 3 spectra are finished in part"):
        network.apply(names, xspec, out="part", ess=300, seed=9, workers=1, progress=stop)
    assert len(Table.read("part/table.fits")) == 2
    events = []
    went_on = network.apply(names, xspec, out="part", ess=300, workers=1, progress=events.append)
    assert went_on.converged and len(went_on) == 3
    at_once = network.apply(names, xspec, ess=300, seed=9, workers=2, progress=False)
    assert 0 < went_on.n_evaluations < 0.7 * at_once.n_evaluations
    for i in range(3):
        np.testing.assert_allclose(went_on.result(i).theta, at_once.result(i).theta, rtol=1e-9)
        assert went_on.result(i).log_evidence == pytest.approx(at_once.result(i).log_evidence, abs=1e-6)
    assert network.apply(names, xspec, out="part", ess=300, progress=False).n_evaluations == 0


def test_a_folder_of_something_else(network, folder):
    xspec = load("plain.pha")
    network.apply(["plain.pha"], xspec, out="mine", ess=200, seed=1, workers=1, progress=False)
    with pytest.raises(OutputError, match=r"ess=200, not of 300"):
        network.apply(["plain.pha"], xspec, out="mine", ess=300, progress=False)
    with pytest.raises(OutputError, match="results with seed 1"):
        network.apply(["plain.pha"], xspec, out="mine", ess=200, seed=2, progress=False)
    other = copy.copy(network)
    other.prior = xsixsa.Prior(network.prior.parameters, [(0.5, 2.9), network.prior.distributions[1]])
    with pytest.raises(OutputError, match="results of another network"):
        other.apply(["plain.pha"], xspec, out="mine", ess=200, progress=False)
    (folder / "full").mkdir()
    (folder / "full" / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match="not empty"):
        network.apply(["plain.pha"], xspec, out="full", progress=False)
    # the same name, another spectrum: said in its row, the old result stays
    write_spectrum("plain2.pha", counts_like(55))
    (folder / "mine" / "plain2.pha.h5").write_bytes((folder / "mine" / "plain.pha.h5").read_bytes())
    rows = network.apply(["plain2.pha"], xspec, out="mine", ess=200, workers=1, progress=False).rows
    assert rows[0]["status"] == "error" and "another spectrum of this name" in rows[0]["reason"]


def test_wrong_use(network):
    with pytest.raises(UsageError, match="needs the loaded session"):
        network.apply(["plain.pha"])
    with pytest.raises(UsageError, match="no spectra"):
        network.apply([], load("plain.pha"))
    with pytest.raises(UsageError, match="ess must be"):
        network.apply(["plain.pha"], load("plain.pha"), ess=0)
    with pytest.raises(SessionError, match="trained for the model powerlaw"):
        network.apply(["plain.pha"], load("plain.pha", model="bbodyrad"), progress=False)
    o = Session(load("plain.pha")).observations[0]
    short = replace(o, counts=o.counts[:5], name="short")
    row = network.apply([short], load("plain.pha"), workers=1, progress=False).rows[0]
    assert row["status"] == "error" and "5 bins, the network's spectra have 25" in row["reason"]


def test_the_loaded_spectrum_is_the_default(network):
    applied = network.apply(xspec=load("other.pha"), ess=300, seed=1, workers=1, progress=False)
    assert len(applied) == 1 and applied.result(0).verdict.converged
    assert applied.rows[0]["name"] == "other.pha"


def test_trained_for_the_spectra_at_hand(folder):
    for i in range(3):
        write_spectrum(f"h{i}.pha", counts_like(40 + i, 1_500.0))
    names = [f"h{i}.pha" for i in range(3)]
    network = small_network("plain.pha", counts=None, spectra=names, simulations=800)
    assert network.proposal.region is not None and network.proposal.region.log_volume < -2.0
    again = xsixsa.load_network(network.save("union.h5"))
    applied = again.apply(names, load("plain.pha"), ess=500, seed=2, workers=1, progress=False)
    assert applied.converged
    for i in range(3):
        result = applied.result(i)
        z = network.prior.to_normal(result.sample(500, 1))
        assert network.proposal.region.contains(z).mean() > 0.98
    agrees(applied.result(0), *brute_force(Session(load("h0.pha"))))


def test_the_command_line(network, capsys, folder):
    load("plain.pha")
    arguments = ["apply", "network.h5", "plain.pha", "nosuch.pha", "--out", "cli", "--ess", "300", "--quiet"]
    assert main([*arguments, "--workers", "1", "--seed", "3"]) == 3
    out = capsys.readouterr().out
    assert "plain.pha" in out and "1 converged, 1 could not be used" in out
    assert main(["show", "cli/plain.pha.h5"]) == 0
    assert "CONVERGED" in capsys.readouterr().out
    assert main(["apply", "cli/table.fits", "plain.pha"]) == 2
    assert "not a xsixsa network" in capsys.readouterr().err
    (folder / "elsewhere").mkdir()
    (folder / "elsewhere" / "network.h5").write_bytes((folder / "network.h5").read_bytes())
    assert main(["apply", "elsewhere/network.h5", "plain.pha", "--rmf", "plain.pha", "--out", "no"]) == 2
    assert "not the RMF of the training (test.rmf)" in capsys.readouterr().err


def test_training_from_the_command_line(folder, capsys):
    arguments = ["train", "plain.pha", "--model", "powerlaw", "--notice", "0.8-9", "--engine", "embedded", "--quiet"]
    arguments += ["--prior", "PhoIndex=uniform:0.5:3", "--prior", "norm=loguniform:1e-3:1e-1", "--workers", "1"]
    assert main([*arguments, "--counts", "300", "--out", "x.h5"]) == 2
    assert "--counts '300' is not LOW-HIGH" in capsys.readouterr().err
    small = [*arguments, "--counts", "300-30000", "--simulations", "150", "--summary", "pca", "--seed", "1"]
    assert main([*small, "--out", "x.h5"]) == 0
    assert xsixsa.load_network("x.h5").settings["simulations"] == 150
    assert main([*small, "--out", "x.h5"]) == 2
    assert "x.h5 exists" in capsys.readouterr().err


def test_effective_size_of_the_ledger():
    from xsixsa.amortised.ledger import kish

    log_w = np.append(np.random.default_rng(1).normal(0, 3, 500), [-np.inf, -np.inf])
    assert kish(log_w) == pytest.approx(effective_size(log_w)) and kish(np.array([-np.inf])) == 0.0
