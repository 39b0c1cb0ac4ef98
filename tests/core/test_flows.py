"""Neural posteriors: stored, restored, drawn from for many observations, ensembles, splines, warm starts."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import norm

from xsixsa.errors import OutputError, UsageError
from xsixsa.inference.flow import FlowOptions, NeuralPosterior, WhitenedFlow
from xsixsa.inference.many import ManyFlow
from xsixsa.inference.proposals import MixtureProposal, StudentMixture

SMALL = FlowOptions(transforms=3, hidden=24, epochs=12, batch=128)
SIGMA = 0.5


def simulate(d, rng, n=3000):
    """z from its prior and a noisy look at it: the posterior of z given x is normal, in closed form."""
    z = rng.standard_normal((n, d))
    return z, lambda epoch: (z + SIGMA * rng.standard_normal(z.shape)).astype(np.float32)


def trained(d=3, seed=1, options=SMALL, **more):
    rng = np.random.default_rng(seed)
    z, summaries = simulate(d, rng)
    posterior = NeuralPosterior(options, **more)
    posterior.fit(z, summaries, rng)
    return posterior


def embedding(d=3):
    import torch

    torch.manual_seed(3)
    return torch.nn.Sequential(
        torch.nn.Linear(d, 8), torch.nn.BatchNorm1d(8), torch.nn.GELU(), torch.nn.Linear(8, 2 * d)
    )


CASES = {
    "maf": {},
    "spline": {"options": replace(SMALL, kind="spline")},
    "ensemble": {"ensemble": 2},
    "one dimension": {"d": 1},
    "one dimension, spline": {"d": 1, "options": replace(SMALL, kind="spline")},
    "embedding": {"embedding": embedding},
    "two embeddings": {"embedding": embedding, "ensemble": 2},
    "four transforms, seven dimensions": {"d": 7, "options": replace(SMALL, transforms=4)},
}


@pytest.fixture(scope="module", params=list(CASES))
def case(request):
    arguments = dict(CASES[request.param])
    make = arguments.pop("embedding", None)
    return trained(**arguments, embedding=make and make()), make


def test_many_agrees_with_one_at_a_time(case):
    posterior, _ = case
    rng, d = np.random.default_rng(2), posterior._dim
    summaries = rng.standard_normal((4, d)).astype(np.float32)
    z = rng.standard_normal((4, 50, d))
    many = posterior.log_prob_many(z, summaries)
    for i in range(4):
        np.testing.assert_allclose(many[i], posterior.posterior(summaries[i]).log_prob(z[i]), atol=2e-4)
    drawn = posterior.sample_many(summaries, 4000, rng)
    assert drawn.shape == (4, 4000, d)
    for i in range(4):
        one = posterior.posterior(summaries[i]).sample(4000, rng)
        error = np.hypot(one.std(axis=0), drawn[i].std(axis=0)) / np.sqrt(4000)
        assert (np.abs(drawn[i].mean(axis=0) - one.mean(axis=0)) < 5 * error).all()
        np.testing.assert_allclose(drawn[i].std(axis=0), one.std(axis=0), rtol=0.1)


def test_draws_of_many_are_the_inverse_of_their_density(case):
    """The noise that made a draw comes back when the draw is sent through the flow."""
    posterior, _ = case
    rng, d = np.random.default_rng(3), posterior._dim
    summaries = rng.standard_normal((3, d)).astype(np.float32)
    for estimator in posterior._estimators:
        condition = posterior._condition(estimator, summaries)
        drawn = ManyFlow(estimator.net).sample(condition, 40, np.random.default_rng(5))
        noise = np.random.default_rng(5).standard_normal(drawn.shape, dtype=np.float32)
        import torch

        with torch.no_grad():
            for i in range(3):
                back = estimator.net(torch.as_tensor(condition[i])).transform(
                    torch.as_tensor(drawn[i], dtype=torch.float32)
                )
                np.testing.assert_allclose(back.numpy(), noise[i], atol=2e-3)


def test_many_does_not_depend_on_chunks(monkeypatch, case):
    posterior, _ = case
    summaries = np.random.default_rng(4).standard_normal((3, posterior._dim)).astype(np.float32)
    whole = posterior.sample_many(summaries, 30, np.random.default_rng(6))
    for rows in (7, 64):
        monkeypatch.setattr("xsixsa.inference.many._ROWS", rows)
        parts = posterior.sample_many(summaries, 30, np.random.default_rng(6))
        np.testing.assert_allclose(parts, whole, atol=1e-4)
        np.testing.assert_allclose(
            posterior.log_prob_many(whole, summaries), posterior.log_prob_many(parts, summaries), atol=2e-3
        )


def test_restored_posterior_is_the_same_bit_for_bit(tmp_path, case):
    posterior, make = case
    rng, d = np.random.default_rng(7), posterior._dim
    state = posterior.state()
    assert all(isinstance(v, (np.ndarray, float, int, str)) for v in state.values())
    # through a file that holds plain arrays only
    np.savez(tmp_path / "state.npz", **state)
    with np.load(tmp_path / "state.npz", allow_pickle=False) as f:
        read = {k: v if v.ndim else v.item() for k, v in f.items()}
    again = NeuralPosterior.from_state(read, embedding=make and make())
    assert again.options == posterior.options and again.ensemble == posterior.ensemble
    summary, z = rng.standard_normal(d).astype(np.float32), rng.standard_normal((100, d))
    ours, theirs = posterior.posterior(summary), again.posterior(summary)
    np.testing.assert_array_equal(ours.log_prob(z), theirs.log_prob(z))
    np.testing.assert_array_equal(
        ours.sample(50, np.random.default_rng(8)), theirs.sample(50, np.random.default_rng(8))
    )
    np.testing.assert_array_equal(
        posterior.log_prob_many(z[None], summary[None]), again.log_prob_many(z[None], summary[None])
    )


def test_posterior_in_closed_form_is_learnt(case):
    """Fresh pairs of z and summary: on average no density beats the exact posterior, and a trained one comes close."""
    posterior, _ = case
    z, summaries = simulate(posterior._dim, np.random.default_rng(9), 4000)
    x = summaries(0)
    learnt = posterior.log_prob_many(z[:, None], x)[:, 0]
    width = SIGMA / np.sqrt(1 + SIGMA**2)
    exact = norm(x / (1 + SIGMA**2), width).logpdf(z).sum(axis=1)
    lost = (exact - learnt) / posterior._dim
    assert -3 * lost.std() / np.sqrt(len(z)) < lost.mean() < 0.1


def test_foreign_states_are_refused():
    state = trained(options=replace(SMALL, epochs=1), embedding=embedding()).state()
    with pytest.raises(OutputError, match="embedding"):
        NeuralPosterior.from_state(state)
    with pytest.raises(OutputError, match="not a saved neural posterior"):
        NeuralPosterior.from_state({"format": "other"})


def test_ensemble_is_the_mixture_of_its_networks():
    posterior = trained(ensemble=3)
    at = posterior.posterior(np.zeros(3, np.float32))
    assert isinstance(at, MixtureProposal) and len(at.parts) == 3
    z = np.random.default_rng(1).standard_normal((20, 3))
    densities = np.array([np.exp(p.log_prob(z)) for p in at.parts])
    assert np.ptp(densities, axis=0).max() > 1e-3  # they are not copies of one network
    np.testing.assert_allclose(np.exp(at.log_prob(z)), densities.mean(axis=0), rtol=1e-6)
    assert {h["network"] for h in posterior.history} == {0, 1, 2}
    # fewer draws than networks
    assert posterior.sample_many(np.zeros((2, 3), np.float32), 2, np.random.default_rng(2)).shape == (2, 2, 3)


def test_warm_start_begins_where_the_last_fit_ended():
    rng = np.random.default_rng(10)
    z, summaries = simulate(2, rng)
    posterior = NeuralPosterior(SMALL)
    posterior.fit(z, summaries, rng, warm=True)  # nothing to start from: as a first fit
    cold = posterior.history[0]["validation"]
    posterior.fit(z, summaries, rng, warm=True)
    assert posterior.history[0]["validation"] < cold - 0.05
    posterior.fit(z, summaries, rng)
    assert posterior.history[0]["validation"] == pytest.approx(cold, abs=0.2)


def test_embedding_is_trained_with_the_flow():
    module = embedding()
    before = [p.detach().clone() for p in module.parameters()]
    trained(embedding=module, options=replace(SMALL, epochs=2))
    assert any((a != b).any() for a, b in zip(before, module.parameters(), strict=True))


@pytest.mark.parametrize("kind", ["maf", "spline"])
def test_refitted_flow_keeps_its_tails(kind):
    """Tails beyond the box of a spline: the density is normalised with all of them counted."""
    rng = np.random.default_rng(11)
    target = StudentMixture(np.ones(1), np.zeros((1, 2)), 0.04 * np.eye(2)[None], df=5.0)
    z = target.sample(4000, rng)
    flow = WhitenedFlow(z, np.full(4000, 1 / 4000), rng, n_train=3000, options=replace(SMALL, kind=kind))
    cover = target.widened(6.0, df=2.0)
    points = cover.sample(200_000, rng)
    ratio = np.exp(flow.log_prob(points) - cover.log_prob(points))
    assert ratio.mean() == pytest.approx(1, abs=5 * ratio.std() / np.sqrt(len(ratio)))
    far = np.linalg.norm(points, axis=1) > 5 * 0.2 * np.sqrt(5 / 3)
    drawn = flow.sample(100_000, rng)
    share = (np.linalg.norm(drawn, axis=1) > 5 * 0.2 * np.sqrt(5 / 3)).mean()
    assert share > 0.002
    assert share == pytest.approx((ratio * far).mean(), rel=0.25)


@pytest.mark.parametrize(
    "wrong", [{"kind": "glow"}, {"transforms": 0}, {"bins": 1.5}, {"validation": 1.0}, {"epochs": 0}]
)
def test_wrong_settings_are_named(wrong):
    with pytest.raises(UsageError, match=next(iter(wrong))):
        FlowOptions(**wrong)


def test_a_warm_start_leaves_earlier_proposals_as_they_were():
    rng = np.random.default_rng(1)
    z = rng.standard_normal((600, 2))
    x = z + 0.1 * rng.standard_normal((600, 2))
    posterior = NeuralPosterior(FlowOptions(transforms=2, hidden=16, epochs=4))
    posterior.fit(z, lambda epoch: x, rng)
    proposal = posterior.posterior(x[0])
    before = proposal.log_prob(z[:50])
    posterior.fit(z, lambda epoch: x, rng, warm=True)
    np.testing.assert_array_equal(proposal.log_prob(z[:50]), before)
    assert not np.array_equal(posterior.posterior(x[0]).log_prob(z[:50]), before)
