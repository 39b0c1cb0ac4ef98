"""The history of a run as one figure: all that was recorded is in it, and nothing that was not."""

from types import SimpleNamespace

import numpy as np
import pytest

from tests.core.analytic import poisson_gamma
from tests.core.test_analytic import NO_NETWORK, SMALL, solve
from xsixsa.errors import UsageError
from xsixsa.plot import history_figure

LOSSES = [{"training": 3.0 / (i + 1), "validation": 3.2 / (i + 1)} for i in range(10)]


def made_up(rounds=2, latents=3, steps=True, text="converged", **more):
    rng = np.random.default_rng(1)
    histograms = [
        {"edges": np.linspace(-3, 3, 25).tolist(), "counts": rng.poisson(20, 24).tolist(), "observed": 0.3 * i}
        for i in range(latents)
    ]
    entries = [
        {"round": i + 1, "proposal": "prior", "autoencoder": LOSSES, "posterior": LOSSES, "efficiency": 0.02 * (i + 1)}
        | {"pool_ess": 10.0 * (i + 1), "n_evaluations": 4000 * (i + 1), "counts_rank": 0.4}
        | {"coverage": rng.random(latents).tolist(), "latent_histograms": histograms}
        for i in range(rounds)
    ]
    refinement = [
        {"step": s, "draws": 1000, "efficiency": e, "pool_ess": 1e4 * e, "n_evaluations": 10_000 + i * 1000}
        for i, (s, e) in enumerate((("t-mixture", 0.1), ("refitted flow", 0.7), ("final draws", 0.8)))
    ]
    return SimpleNamespace(
        history={"rounds": entries, "refinement": refinement if steps else []} | more,
        verdict=SimpleNamespace(text=text, reasons=("effective sample size 10 of the 1000 asked for",)),
        options={"ess": 1000},
    )


def titles(figure):
    return [axes.get_title() for part in figure.subfigs for axes in part.axes]


def test_everything_recorded_is_shown(tmp_path):
    figure = history_figure(made_up(emulator={"training": LOSSES}))
    found = titles(figure)
    for title in ("summary: auto-encoder", "neural posterior", "likelihood emulator", "latent 1", "latent 3"):
        assert title in found
    axes = {a.get_title(): a for part in figure.subfigs for a in part.axes}
    lines = axes["neural posterior"].get_lines()
    np.testing.assert_allclose(lines[0].get_ydata(), [e["training"] for e in LOSSES])
    assert len(axes["rank of the observation among simulations"].get_lines()) == 4
    marked = [line.get_xdata()[0] for line in axes["latent 2"].get_lines()]
    assert marked == [0.3]
    sizes = axes["effective sample size of all draws"].get_lines()[0]
    np.testing.assert_allclose(sizes.get_ydata(), [10, 20, 1e3, 7e3, 8e3])
    np.testing.assert_allclose(sizes.get_xdata(), [4000, 8000, 10_000, 11_000, 12_000])
    labels = [t.get_text() for t in axes["efficiency of each step's draws"].get_legend().get_texts()]
    assert labels == ["round: prior", "t-mixture", "refitted flow", "final draws"]


def test_the_most_outlying_latents_of_many():
    result = made_up(rounds=1, latents=40)
    ranks = [0.5] * 40
    ranks[17] = 0.999
    result.history["rounds"][0]["coverage"] = ranks
    found = [t for t in titles(history_figure(result)) if t.startswith("latent ")]
    assert len(found) == 12 and "latent 18" in found


def test_what_is_absent_is_left_out():
    assert "neural posterior" not in titles(history_figure(made_up(rounds=0)))
    bare = made_up(latents=0)
    for entry in bare.history["rounds"]:
        for key in ("coverage", "latent_histograms", "counts_rank", "autoencoder"):
            del entry[key]
    assert not [t for t in titles(history_figure(bare)) if t.startswith(("latent", "rank", "summary"))]
    empty = made_up(rounds=0, steps=False)
    texts = [t.get_text() for part in history_figure(empty).subfigs for t in part.texts]
    assert texts == ["this run recorded no history"]


def test_a_run_that_has_not_converged_says_so():
    assert history_figure(made_up())._suptitle is None
    assert "NOT CONVERGED" in history_figure(made_up(text="not converged"))._suptitle.get_text()


def test_one_call_on_real_runs(tmp_path):
    result = solve(poisson_gamma([20.0, 50.0]), SMALL)
    path = result.plot_history(tmp_path / "history.png")
    assert path.stat().st_size > 20_000
    found = titles(result.plot_history())
    assert "neural posterior" in found and any(t.startswith("latent ") for t in found)
    assert solve(poisson_gamma([20.0, 50.0]), NO_NETWORK).plot_history(tmp_path / "none.pdf").exists()
    with pytest.raises(UsageError, match="ends in one of"):
        result.plot_history(tmp_path / "history.doc")
