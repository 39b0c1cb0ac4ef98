"""A network is saved with all that it depends on, and refuses what it is not for."""

from pathlib import Path

import h5py
import numpy as np
import pytest
from scipy import stats

import xsixsa
from tests.amortised.networks import COUNTS, PRIOR, inside, load, small_network, write_files
from xsixsa import Gaussian, LogUniform, Session, Uniform
from xsixsa.amortised.pattern import check_session
from xsixsa.amortised.store import distribution_from, distribution_state
from xsixsa.distributions import Exponential, as_distribution
from xsixsa.errors import DataError, OutputError, PriorError, SessionError, UsageError


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("network")
    write_files(folder)
    with inside(folder):
        yield folder


@pytest.fixture(scope="module")
def network(folder):
    made = small_network("plain.pha", exposure=(500.0, 2_000.0), summary="pca")
    made.save("network.h5")
    return made


def test_saved_and_loaded_it_is_the_same(network):
    again = xsixsa.load_network("network.h5")
    counts, exposure = network.vector(network.layout.observation)[None], np.array([1_000.0])
    z = network.sample(counts, 200, np.random.default_rng(1), exposure)
    assert z.shape == (1, 200, 2)
    np.testing.assert_array_equal(z, again.sample(counts, 200, np.random.default_rng(1), exposure))
    np.testing.assert_array_equal(network.log_prob(z, counts, exposure), again.log_prob(z, counts, exposure))
    assert again.fingerprint == network.fingerprint
    assert again.pattern == network.pattern
    assert again.prior.describe() == network.prior.describe()
    assert again.proposal.log_volume == network.proposal.log_volume
    odd = counts * np.linspace(0.2, 3, counts.shape[1])
    for vectors in (counts, odd.round()):
        assert (
            again.familiarity.check(again, vectors, exposure)[0]
            == network.familiarity.check(network, vectors, exposure)[0]
        )


def test_the_file_holds_what_it_depends_on(network):
    found = xsixsa.load_network("network.h5").pattern
    assert found["model"]["expression"] == "powerlaw"
    assert found["settings"]["abund"] == "wilm" and found["settings"]["xsect"] == "vern"
    assert found["response"]["rmf"] == "test.rmf" and len(found["response"]["rmf_hash"]) == 64
    assert found["exposure"] == [500.0, 2_000.0] and found["energies"][0] == pytest.approx(0.817, abs=0.01)
    assert found["engine"]["name"] == "embedded" and found["versions"]
    assert found["training"]["counts"] == list(COUNTS)
    assert [row["prior"] for row in found["prior"]] == ["uniform:0.5:3", "loguniform:0.001:0.1"]


def test_a_file_cut_short_or_altered_is_refused(network, tmp_path):
    content = Path("network.h5").read_bytes()
    (tmp_path / "whole.h5").write_bytes(content)
    for keep in (len(content) // 2, len(content) - 7, 100, 0):
        (tmp_path / "cut.h5").write_bytes(content[:keep])
        with pytest.raises(OutputError, match="cut short or damaged"):
            xsixsa.load_network(tmp_path / "cut.h5")
    with h5py.File(tmp_path / "whole.h5", "r+") as f:
        weights = f["arrays/posterior/mean"]
        weights[0] = weights[0] + 1e-3
    with pytest.raises(OutputError, match="not what was written"):
        xsixsa.load_network(tmp_path / "whole.h5")


def test_other_files_are_no_networks(network, tmp_path):
    with pytest.raises(OutputError, match="no such"):
        xsixsa.load_network(tmp_path / "none.h5")
    (tmp_path / "text.h5").write_text("counts")
    with pytest.raises(OutputError, match="not a xsixsa network"):
        xsixsa.load_network(tmp_path / "text.h5")
    with h5py.File(tmp_path / "other.h5", "w") as f:
        f["x"] = 1.0
    with pytest.raises(OutputError, match="some other HDF5 file"):
        xsixsa.load_network(tmp_path / "other.h5")
    with pytest.raises(OutputError, match="exists"):
        network.save("network.h5")


def test_wrong_vectors_and_a_missing_exposure(network):
    with pytest.raises(UsageError, match="numbers"):
        network.summarise(np.ones((1, 3)))
    with pytest.raises(UsageError, match="exposure of each spectrum"):
        network.summarise(np.ones((1, network.simulator.size)))


def test_the_same_seed_trains_the_same_network(network):
    again = small_network("plain.pha", exposure=(500.0, 2_000.0), summary="pca", workers=2)
    assert again.fingerprint == network.fingerprint


def test_training_spectra_follow_the_range(network):
    assert network.training["exposure"].min() >= 500.0 and network.training["exposure"].max() <= 2_000.0
    # expected counts lie in the range, so noisy ones leave it by no more than noise
    assert network.training["counts"].min() > COUNTS[0] - 6 * COUNTS[0] ** 0.5
    assert network.training["counts"].max() < COUNTS[1] + 6 * COUNTS[1] ** 0.5
    assert -3.0 < network.proposal.log_volume < 0.0


def test_sessions_that_it_was_not_trained_for(network):
    layout = network.layout
    assert check_session(layout, Session(load("plain.pha"))) == []
    with pytest.raises(SessionError, match=r"energy range is 2.* keV, the network was trained for 0\.8"):
        check_session(layout, Session(load("plain.pha", notice="**-2.0 9.0-**")))
    with pytest.raises(SessionError, match="trained for the model powerlaw"):
        check_session(layout, Session(load("plain.pha", model="TBabs*powerlaw")))
    with pytest.raises(SessionError, match="statistic is wstat"):
        check_session(layout, Session(load("source.pha")))
    xspec = load("plain.pha")
    xspec.AllModels(1).powerlaw.PhoIndex.frozen = True
    with pytest.raises(SessionError, match=r"PhoIndex .* was free .* fixed at 1 now"):
        check_session(layout, Session(xspec))
    xspec = load("plain.pha")
    xspec.Xset.abund = "angr"
    with pytest.raises(SessionError, match="abundances wilm, the session has angr"):
        check_session(layout, Session(xspec))


def test_another_response_under_the_same_name(network, tmp_path):
    write_files(tmp_path)
    from tests.session.ogip import write_response

    write_response(tmp_path, area=170.0)
    with inside(tmp_path), pytest.raises(SessionError, match=r"another response: ARF test\.arf"):
        check_session(network.layout, Session(load("plain.pha")))
    load("plain.pha")


def test_wrong_use_of_training(folder):
    session = Session(load("plain.pha"))
    with pytest.raises(UsageError, match="rise from a positive number"):
        xsixsa.train(session, PRIOR, counts=(300, 30))
    with pytest.raises(UsageError, match="simulations"):
        xsixsa.train(session, PRIOR, simulations=3)
    with pytest.raises(UsageError, match="unknown summary"):
        xsixsa.train(session, PRIOR, summary="mean")
    with pytest.raises(UsageError, match="of the prior gives 1e\\+09 to 1e\\+10 counts"):
        xsixsa.train(session, PRIOR, counts=(1e9, 1e10), simulations=500, progress=False)
    with pytest.raises(PriorError, match="prior of norm"):
        xsixsa.train(session, {"PhoIndex": (0, 3)}, progress=False)
    with pytest.raises(DataError, match="no such file"):
        xsixsa.train(session, PRIOR, spectra=["nosuch.pha"], progress=False)
    xspec = load("plain.pha")
    xspec.Fit.statMethod = "chi"
    with pytest.raises(UsageError, match="statistic is 'chi'"):
        xsixsa.train(xspec, PRIOR, progress=False)


@pytest.mark.parametrize(
    "distribution",
    [
        Uniform(0.1, 0.7),
        LogUniform(1e-7, 1 / 3),
        Gaussian(1.0, 0.123456789012345),
        Gaussian(1.0, 0.3).truncated(0.5, 1.7),
        Exponential(3.3),
        as_distribution(stats.gamma(2.2, scale=0.7)),
    ],
    ids=str,
)
def test_priors_are_stored_to_the_last_digit(distribution):
    import json

    again = distribution_from(json.loads(json.dumps(distribution_state(distribution))))
    u = np.linspace(0.001, 0.999, 50)
    np.testing.assert_array_equal(again.ppf(u), distribution.ppf(u))
    assert str(again) == str(distribution)
