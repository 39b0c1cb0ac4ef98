"""Every summary behind one interface, and what each of them promises by itself."""

import numpy as np
import pytest

from tests.core.analytic import AnalyticSession, cash, parameter
from xsixsa.correction.pool import Pool
from xsixsa.errors import UsageError
from xsixsa.inference.flow import FlowOptions
from xsixsa.inference.problem import Problem
from xsixsa.inference.rounds import Rounds
from xsixsa.options import Options, preset
from xsixsa.pipeline import run
from xsixsa.prior import LogUniform, Prior
from xsixsa.session import Background, Observation
from xsixsa.simulate import Segment, Simulator
from xsixsa.summaries.autoencoder import AutoEncoder, AutoEncoderOptions
from xsixsa.summaries.base import NAMES, make_summary, summary_from_state
from xsixsa.summaries.embedding import Embedding, EmbeddingOptions
from xsixsa.summaries.pca import PCA
from xsixsa.summaries.spectral import Spectral
from xsixsa.summaries.statistics import Intervals, interval_statistics, whole_statistics

BINS = (30, 12)
OFF_SOURCE = np.array([3.0, 5, 2, 0, 4, 3, 1, 6, 2, 3, 5, 2])
KINDS = {
    **{name: name for name in NAMES},
    "plain autoencoder": AutoEncoder(AutoEncoderOptions(denoise=False, epochs=5)),
    "deep autoencoder": AutoEncoder(AutoEncoderOptions(depth=3, latent=5, epochs=20)),
    "cold autoencoder": AutoEncoder(AutoEncoderOptions(warm=False, epochs=5)),
    "narrow pca": PCA(variance=0.6),
    "short spectral": Spectral(intervals=1),
    "cold embedding": Embedding(EmbeddingOptions(depth=1, features=3, warm=False)),
}


def observation(index, counts, background):
    n = len(counts)
    edges = np.stack([np.arange(n) + 0.5, np.arange(n) + 1.5], axis=1)
    one = np.ones(n)
    return Observation(
        index, f"{index}.pha", index, np.asarray(counts, float), edges, 1.0, one, one, "cstat", background, edges[:, 0]
    )


def expected(theta):
    """Two spectra of power laws, theta = (norm, slope), shape (n, 42)."""
    parts = [theta[:, :1] * (np.arange(n) + 1.0) ** -theta[:, 1:2] for n in BINS]
    return np.concatenate(parts, axis=1)


TRUTH = np.array([[200.0, 0.8]])


def simulator():
    """Two spectra, the second with a background file."""
    counts = np.random.default_rng(7).poisson(expected(TRUTH)[0])
    one = np.ones(BINS[1])
    background = Background(OFF_SOURCE, 10.0, one, one, "bg")
    return Simulator([observation(1, counts[: BINS[0]], None), observation(2, counts[BINS[0] :] + 1, background)])


def training(n, seed=0, width=1.0):
    rng = np.random.default_rng(seed)
    theta = np.stack([np.exp(rng.normal(5.3, width, n)), rng.uniform(0.8 - 0.7 * width, 0.8 + 0.7 * width, n)], axis=1)
    return theta, simulator().total(expected(theta))


def counts(total, seed=1):
    return np.random.default_rng(seed).poisson(total).astype(np.float32)


def fitted(kind, n=300, seed=5):
    summary = make_summary(KINDS[kind], simulator())
    summary.fit(training(n)[1], np.random.default_rng(seed))
    return summary


@pytest.fixture(scope="module")
def made():
    return {kind: fitted(kind) for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS)
def test_shape_and_information(made, kind):
    total = training(400, seed=2)[1]
    found = made[kind].transform(counts(total))
    assert found.shape[0] == 400 and found.ndim == 2 and found.dtype == np.float32 and np.isfinite(found).all()
    # Spectra one by one are compressed as they are together.
    np.testing.assert_allclose(made[kind].transform(counts(total)[3:5]), found[3:5], rtol=1e-4, atol=1e-4)
    # What was compressed is still in there: a linear fit on half of the spectra predicts the other half.
    design = np.concatenate([found, np.ones((400, 1))], axis=1)
    ridge = 1e-2 * np.eye(design.shape[1])
    brightness = np.log(total.sum(axis=1))
    weights = np.linalg.solve(design[:200].T @ design[:200] + ridge, design[:200].T @ brightness[:200])
    assert (brightness[200:] - design[200:] @ weights).std() < 0.3 * brightness.std()


@pytest.mark.parametrize("kind", KINDS)
def test_same_seed_same_summary(made, kind):
    y = counts(training(20, seed=3)[1])
    np.testing.assert_array_equal(fitted(kind).transform(y), made[kind].transform(y))
    if made[kind].embedding is not None:
        first = [next(s.embedding.parameters()) for s in (fitted(kind), fitted(kind), fitted(kind, seed=6))]
        assert bool((first[0] == first[1]).all()) and not bool((first[0] == first[2]).all())


@pytest.mark.parametrize("kind", KINDS)
def test_state_makes_the_same_summary_again(made, kind, tmp_path):
    state = made[kind].state()
    assert all(isinstance(v, np.ndarray | float | int | str) for v in state.values())
    np.savez(tmp_path / "state.npz", **state)
    with np.load(tmp_path / "state.npz", allow_pickle=False) as f:
        again = summary_from_state({k: f[k] for k in f.files})
    y = counts(training(20, seed=3)[1])
    np.testing.assert_array_equal(again.transform(y), made[kind].transform(y))
    assert again.name == made[kind].name and again.settings() == made[kind].settings()
    if made[kind].embedding is not None:
        import torch

        x = torch.as_tensor(made[kind].transform(y))
        assert bool((again.embedding(x) == made[kind].embedding(x)).all())
    # and it can be saved once more
    assert set(again.state()) == set(state)


@pytest.mark.parametrize("kind", KINDS)
def test_finite_far_from_the_training_set(made, kind):
    size = simulator().size
    odd = np.stack([np.zeros(size), np.full(size, 1e9), np.where(np.arange(size) == 5, 1e7, 0.0)])
    assert np.isfinite(made[kind].transform(odd)).all()


@pytest.mark.parametrize("kind", KINDS)
def test_few_simulations(kind):
    summary = fitted(kind, n=50)
    found = summary.transform(counts(training(50, seed=4)[1]))
    assert np.isfinite(found).all() and found.shape[1] >= 1
    assert found.std(axis=0).max() > 0


@pytest.mark.parametrize("kind", KINDS)
def test_next_round(kind):
    summary = fitted(kind)
    narrow = training(200, seed=6, width=0.1)[1]
    summary.fit(narrow, np.random.default_rng(8))
    found = summary.transform(counts(narrow))
    assert np.isfinite(found).all() and found.std(axis=0).max() > 0
    again = summary_from_state(summary.state())
    np.testing.assert_array_equal(again.transform(counts(narrow)), found)


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_varies(kind):
    """A training set of one spectrum without counts, again and again."""
    summary = make_summary(KINDS[kind], simulator().segments)
    nothing = np.zeros((60, simulator().size))
    if isinstance(summary, Spectral):
        with pytest.raises(UsageError, match="all simulated spectra are the same"):
            summary.fit(nothing, np.random.default_rng(1))
        return
    summary.fit(nothing, np.random.default_rng(1))
    assert np.isfinite(summary.transform(nothing[:3])).all()


def test_choosing():
    with pytest.raises(UsageError, match=r"'fourier'.*spectral"):
        make_summary("fourier", simulator())
    with pytest.raises(UsageError, match=r"'fourier'.*spectral"):
        Options(summary="fourier")
    held = PCA(variance=0.9)
    copied = make_summary(held, simulator())
    copied.fit(training(100)[1], np.random.default_rng(1))
    assert held._axes is None and copied.variance == 0.9
    assert Options(summary=held).as_dict()["summary"] == "PCA(variance=0.9, most=256)"
    assert preset("standard").as_dict()["summary"] == "autoencoder"
    made = make_summary("autoencoder", simulator(), Options(autoencoder=AutoEncoderOptions(latent=3)))
    assert made.options.latent == 3
    for wrong in (lambda: PCA(variance=1.5), lambda: PCA(most=0), lambda: Spectral(intervals=0)):
        with pytest.raises(UsageError):
            wrong()
    for wrong in ({"depth": 0}, {"latent": 2.5}):
        with pytest.raises(UsageError):
            AutoEncoderOptions(**wrong)
    with pytest.raises(UsageError):
        EmbeddingOptions(features=0)


def test_autoencoder_sizes_and_depth():
    assert [AutoEncoder().latent_size(n) for n in (5, 100, 3000)] == [8, 25, 64]
    linear = [k for k in fitted("deep autoencoder").state() if k.startswith("encoder") and k.endswith("weight")]
    # three hidden layers with their normalisations, and the latent one
    assert len(linear) == 3 * 2 + 1


def test_denoising_forgets_noise():
    """The denoiser's summary of two noisy versions of one spectrum differs less, in units of what spectra differ by."""
    total = training(1500, seed=1, width=0.3)[1] * 0.1
    ratio = {}
    for denoise in (True, False):
        summary = AutoEncoder(AutoEncoderOptions(denoise=denoise, epochs=25, latent=16))
        summary.fit(total, np.random.default_rng(3))
        clean = summary.transform(total[:500])
        noise = summary.transform(counts(total[:500], 1)) - summary.transform(counts(total[:500], 2))
        ratio[denoise] = noise.var(axis=0).sum() / clean.var(axis=0).sum()
    assert ratio[True] < 0.5 * ratio[False]


def test_warm_start_goes_on_from_where_it_was():
    total = training(600)[1]
    first = {}
    for warm in (True, False):
        summary = AutoEncoder(AutoEncoderOptions(warm=warm, epochs=12))
        summary.fit(total, np.random.default_rng(1))
        summary.fit(total, np.random.default_rng(2))
        first[warm] = summary.history[0]["validation"]
    assert first[True] < 0.5 * first[False]


def test_pca_is_that_of_the_textbook():
    total = training(400)[1]
    summary = PCA(variance=0.9)
    summary.fit(total, np.random.default_rng(1))
    noisy = np.random.default_rng(1).poisson(total.astype(np.float64)).astype(np.float32)
    x = np.log1p(noisy)
    x = (x - x.mean(axis=0)) / x.std(axis=0)
    values = np.linalg.svd(x, compute_uv=False) ** 2
    share = np.cumsum(values) / values.sum()
    kept = int(np.searchsorted(share, 0.9)) + 1
    assert summary.history == [{"components": kept, "variance": pytest.approx(share[kept - 1], rel=1e-4)}]
    scores = summary.transform(noisy)
    np.testing.assert_allclose(np.cov(scores.T, ddof=0), np.eye(kept), atol=2e-3)
    # More bins than spectra: the same from the smaller matrix.
    few = PCA(variance=0.9)
    few.fit(total[:30], np.random.default_rng(1))
    x = np.log1p(np.random.default_rng(1).poisson(total[:30].astype(np.float64)).astype(np.float32))
    np.testing.assert_allclose(few.transform(np.expm1(x)).var(axis=0), 1.0, rtol=1e-3)
    limited = PCA(most=2)
    limited.fit(total, np.random.default_rng(1))
    assert limited.history[0]["components"] == 2 and "2 components" in limited.notes[0]


def test_statistics_by_hand():
    spectrum = np.array([[4.0, 0.0, 2.0, 2.0]])
    names, values = whole_statistics(spectrum)
    found = dict(zip(names, values[0], strict=True))
    assert found["total"] == pytest.approx(np.log1p(8)) and found["mean"] == pytest.approx(np.log1p(2))
    assert found["std"] == pytest.approx(np.log1p(np.sqrt(2))) and found["skewness"] == pytest.approx(0.0)
    assert found["entropy"] == pytest.approx(0.5 * np.log(2) + 0.5 * np.log(4))
    assert found["percentile 50"] == pytest.approx(np.log1p(2)) and found["IQR"] == pytest.approx(np.log1p(1.0))
    edges = np.array([[1.0, 2.0], [2.0, 3.0], [3.0, 5.0], [5.0, 9.0]])
    names, values = interval_statistics(spectrum, Intervals(edges, 2))
    found = dict(zip(names, values[0], strict=True))
    assert found == {
        "sum 1-3 keV": pytest.approx(np.log(5)),
        "sum 3-9 keV": pytest.approx(np.log(5)),
        "energy 1-3 keV": pytest.approx(1.5),
        "energy 3-9 keV": pytest.approx(5.5),
        # the neighbour's rate times the own width: 4/6*2 and 4/2*6
        "excess 1-3 keV": pytest.approx((4 - 4 / 3) / np.sqrt(4 + 4 / 3 + 1)),
        "excess 3-9 keV": pytest.approx((4 - 12) / np.sqrt(17)),
        "hardness from 1-3 keV": pytest.approx(0.0),
        "slope from 1-3 keV": pytest.approx((np.log(4.5 / 6) - np.log(4.5 / 2)) / (np.log(5.5) - np.log(2))),
    }
    # Gratings come with energies that fall: the same intervals.
    names_back, values_back = interval_statistics(spectrum[:, ::-1], Intervals(edges[::-1], 2))
    assert names_back == names
    np.testing.assert_allclose(values_back, values)
    for odd in (np.zeros((1, 4)), np.full((1, 4), 1e12)):
        assert np.isfinite(whole_statistics(odd)[1]).all()
        assert np.isfinite(interval_statistics(odd, Intervals(edges, 9))[1]).all()


def test_statistics_that_do_not_cover_the_observation_are_dropped():
    sim, total = simulator(), training(300)[1]
    covering = make_summary("spectral", sim)
    covering.fit(total, np.random.default_rng(1))
    assert covering.history[0]["dropped"] == [] and covering.notes == ()
    # Counts where the simulations have none.
    odd = sim.observed.copy()
    odd[0] += 50_000.0
    summary = Spectral()
    summary.prepare(sim.segments, odd)
    summary.fit(total, np.random.default_rng(1))
    (note,), dropped = summary.notes, summary.history[0]["dropped"]
    assert any(name.startswith("sum 0.5-") and name.endswith("of spectrum 1") for name in dropped)
    assert not any(name.endswith("of spectrum 2") for name in dropped)
    assert set(summary.kept).isdisjoint(dropped) and note.startswith(f"{len(dropped)} of ")
    assert summary.transform(odd[None]).shape == (1, len(summary.kept))
    # Nothing covers: all are kept and it is said.
    two = [Segment("1", 0, 2, np.array([[1.0, 2.0], [2.0, 3.0]]), False)]
    pairs = np.random.default_rng(4).uniform(50, 100, (200, 1)) * [1.0, 2.0]
    lost = Spectral(intervals=1)
    lost.prepare(two, np.array([0.0, 1e6]))
    lost.fit(pairs, np.random.default_rng(1))
    assert lost.history[0]["dropped"] == [] and "no spectral statistic" in lost.notes[0] and len(lost.kept) > 5
    with pytest.raises(UsageError, match="prepare"):
        Spectral().fit(total, np.random.default_rng(1))


def test_layout_of_joint_spectra():
    segments = simulator().segments
    assert [(s.name, s.start, s.stop, s.off_source) for s in segments] == [
        ("1", 0, 30, False),
        ("2", 30, 42, False),
        ("2 off source", 42, 54, True),
    ]
    assert isinstance(segments[0], Segment) and segments[2].edges.shape == (12, 2)


TINY = Options(
    ess=300,
    simulations=250,
    rounds=2,
    min_draws=400,
    max_evaluations=12_000,
    max_refits=1,
    exploration=0.0,
    autoencoder=AutoEncoderOptions(epochs=5),
    posterior=FlowOptions(transforms=2, hidden=16, epochs=8),
    refit=FlowOptions(transforms=2, hidden=16, batch=1024, epochs=15, learning_rate=3e-3),
)


def session():
    """The two spectra with an exact likelihood, the background known."""
    sim = simulator()
    parameters = [parameter("norm", 1.0, 1e4, is_norm=True, index=1), parameter("slope", -1.0, 3.0, index=2)]
    observed = sim.observed[: sim.n_bins]
    made = AnalyticSession(
        parameters, expected, lambda t: cash(expected(t) + sim.background, observed), np.ones(sim.n_bins)
    )
    counts_2 = observed[BINS[0] :]
    one = np.ones(BINS[1])
    made.observations = (
        observation(1, observed[: BINS[0]], None),
        observation(2, counts_2, Background(OFF_SOURCE, 10.0, one, one, "bg")),
    )
    return made


def exact_log_evidence(made, n=400):
    """By quadrature over the prior's unit square."""
    prior = Prior.build(made, {"norm": LogUniform(1.0, 1e4), "slope": (-1.0, 3.0)})
    grid = (np.arange(n) + 0.5) / n
    u = np.stack(np.meshgrid(grid, grid), axis=-1).reshape(-1, 2)
    log_l = np.concatenate([-0.5 * made._statistic(prior.ppf(part)) for part in np.array_split(u, 20)])
    return float(np.log(np.exp(log_l - log_l.max()).mean()) + log_l.max())


@pytest.mark.parametrize("name", NAMES)
def test_a_fit_with_every_summary(name):
    made = session()
    prior = Prior.build(made, {"norm": LogUniform(1.0, 1e4), "slope": (-1.0, 3.0)})
    result = run(made, prior, TINY.changed(summary=name), 3, 1, None, False)
    assert abs(result.log_evidence - exact_log_evidence(made)) < 5 * result.log_evidence_err + 0.01
    assert [r["summary"]["name"] for r in result.history["rounds"]] == [name, name]
    assert result.options["summary"] == name


def test_embedding_is_trained_with_the_flow():
    made = session()
    prior = Prior.build(made, {"norm": LogUniform(1.0, 1e4), "slope": (-1.0, 3.0)})
    with made.pool() as pool:
        problem = Problem(prior, pool.evaluate, 3_000)
        options = TINY.changed(
            summary=Embedding(EmbeddingOptions(features=3)), posterior=FlowOptions(transforms=2, hidden=16, epochs=30)
        )
        rounds = Rounds(problem, Simulator(made.observations), options, Pool(2))
        untrained = Embedding(EmbeddingOptions(features=3))
        rounds.run(np.random.default_rng(1))
        assert rounds.posterior.condition.shape == (3,)
        totals = rounds.simulator.total(pool.evaluate(prior.sample(300, np.random.default_rng(2))).expected)
    untrained.fit(totals, np.random.default_rng(1))
    import torch

    theta = np.log(totals.sum(axis=1))
    spread = []
    for summary in (rounds.summary, untrained):
        with torch.no_grad():
            y = summary.embedding(torch.as_tensor(summary.transform(totals))).numpy()
        design = np.concatenate([y, y**2, np.ones((300, 1))], axis=1)
        spread.append((theta - design @ np.linalg.lstsq(design, theta, rcond=None)[0]).std())
    # What was trained for the parameters tells them better than random features of the same number.
    assert spread[0] < 0.6 * spread[1]


def test_dropped_statistics_are_named_in_the_result():
    made = session()
    prior = Prior.build(made, {"norm": LogUniform(1.0, 1e4), "slope": (-1.0, 3.0)})
    made.observations[0].counts[29] += 1e6
    options = TINY.changed(summary=Spectral(intervals=6), rounds=1)
    result = run(made, prior, options, 3, 1, None, False)
    assert any("spectral statistics dropped" in warning for warning in result.verdict.warnings)
    assert result.history["rounds"][0]["summary"]["notes"] and result.options["summary"] == "Spectral(intervals=6)"
