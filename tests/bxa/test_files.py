"""Runs of BXA and UltraNest read back, and put beside a result."""

import json

import numpy as np
import pytest
from astropy.io import fits

from tests.standin import make_result
from xsixsa.bxa import compare_runs, plot_runs, read_run
from xsixsa.errors import DataError, UsageError


def write_run(folder, names, theta, weights, cube=None, logz=-50.0):
    (folder / "chains").mkdir(parents=True)
    (folder / "info").mkdir()
    table = np.column_stack([weights, -0.5 * np.arange(len(theta)), theta])
    header = " ".join(["weight", "logl", *names])
    np.savetxt(folder / "chains" / "weighted_post.txt", table, header=header, comments="")
    if cube is not None:
        table[:, 2:] = cube
        np.savetxt(folder / "chains" / "weighted_post_untransformed.txt", table, header=header, comments="")
    (folder / "info" / "results.json").write_text(json.dumps({"logz": logz, "logzerr": 0.2, "ncall": 1234}))
    return folder


def result_with_priors(**more):
    result = make_result(**more)
    ranges = ["uniform:0:1", "uniform:0:4", "loguniform:1e-06:0.001"]
    for row, prior in zip(result.parameters, ranges, strict=True):
        row |= {"prior": prior, "prior_origin": "explicit"}
    return result


def test_a_run_of_bxa(tmp_path):
    rng = np.random.default_rng(0)
    theta, cube = rng.random((50, 2)), rng.random((50, 2))
    run = read_run(write_run(tmp_path, ["PhoIndex", "log(norm)"], theta, rng.random(50), cube))
    assert run.names == ["PhoIndex", "norm"]
    assert run.theta == pytest.approx(np.column_stack([theta[:, 0], 10 ** theta[:, 1]]))
    assert run.weights.sum() == pytest.approx(1.0)
    assert run.u == pytest.approx(cube)
    assert (run.log_evidence, run.log_evidence_err, run.n_evaluations) == (-50.0, 0.2, 1234)
    assert "1234 evaluations" in repr(run)


def test_ultranests_numbered_folders(tmp_path):
    rng = np.random.default_rng(0)
    for number in (2, 10):
        write_run(tmp_path / f"run{number}", ["a"], rng.random((9, 1)), np.ones(9), logz=-number)
    assert read_run(tmp_path).log_evidence == -10
    assert read_run(tmp_path / "run2").log_evidence == -2
    assert read_run(tmp_path / "run2" / "chains" / "weighted_post.txt").log_evidence == -2


def write_chain(path, names, values):
    columns = [fits.Column(name=n, format="D", array=v) for n, v in zip(names, values.T, strict=True)]
    columns.append(fits.Column(name="FIT_STATISTIC", format="D", array=np.zeros(len(values))))
    table = fits.BinTableHDU.from_columns(columns, name="CHAIN")
    fits.HDUList([fits.PrimaryHDU(), table]).writeto(path)
    return path


def test_a_chain_alone(tmp_path):
    values = np.random.default_rng(0).random((20, 2))
    run = read_run(write_chain(tmp_path / "chain.fits", ["PhoIndex__2", "norm__3"], values))
    assert run.names == ["PhoIndex", "norm"]
    assert run.theta == pytest.approx(values)
    assert np.isnan(run.log_evidence)
    assert run.weights == pytest.approx(np.full(20, 0.05))


def test_a_chain_of_mixed_columns_cannot_be_trusted(tmp_path):
    values = np.random.default_rng(0).random((20, 2))
    path = write_chain(tmp_path / "chain.fits", ["PhoIndex__2", "log(norm)__3"], values)
    with pytest.raises(DataError, match=r"weighted_post\.txt"):
        read_run(path)
    write_run(tmp_path, ["PhoIndex", "log(norm)"], values, np.ones(20))
    assert read_run(path).theta[:, 1] == pytest.approx(10 ** values[:, 1])


def test_nothing_there_or_damaged(tmp_path):
    with pytest.raises(DataError, match="holds no finished run"):
        read_run(tmp_path)
    folder = write_run(tmp_path / "a", ["a"], np.ones((3, 1)), np.ones(3))
    (folder / "info" / "results.json").write_text("{")
    with pytest.raises(DataError, match="damaged"):
        read_run(folder)
    (folder / "chains" / "weighted_post.txt").write_text("weight logl a\n1 2\n")
    with pytest.raises(DataError, match="columns"):
        read_run(folder)
    (folder / "chains" / "weighted_post.txt").write_text("weight logl a\nx y z\n")
    with pytest.raises(DataError, match="damaged"):
        read_run(folder)


def nested_copy(tmp_path, result, shift=0.0, names=("nH", "PhoIndex", "log(norm)"), order=(0, 1, 2)):
    """The result's own posterior as BXA would have written it."""
    rows = np.random.default_rng(5).choice(len(result.weights), 8_000, p=result.weights)
    theta = result.theta[rows].copy()
    theta[:, 0] += shift
    theta[:, 2] = np.log10(theta[:, 2])
    return write_run(tmp_path, [names[i] for i in order], theta[:, order], np.ones(8_000))


def test_beside_a_result(tmp_path):
    result = result_with_priors()
    same = compare_runs(result, nested_copy(tmp_path / "a", result))
    assert same.agrees
    assert "powerlaw.norm" in same.table()
    turned = compare_runs(result, nested_copy(tmp_path / "b", result, order=(2, 0, 1)))
    assert turned.agrees
    other = compare_runs(result, nested_copy(tmp_path / "c", result, shift=0.02))
    assert not other.marginals[0].agrees
    assert other.marginals[1].agrees


def test_other_parameters_are_refused(tmp_path):
    result = result_with_priors()
    with pytest.raises(UsageError, match="kT"):
        compare_runs(result, nested_copy(tmp_path, result, names=("kT", "PhoIndex", "log(norm)")))


@pytest.mark.parametrize("converged", [True, False])
def test_overlaid_corner(tmp_path, converged):
    result = result_with_priors(converged=converged)
    folder = nested_copy(tmp_path / "a", result)
    path = plot_runs(result, {"BXA": folder}, tmp_path / "both.png")
    assert path.stat().st_size > 10_000
    figure = plot_runs(result, {"BXA": folder})
    words = [t.get_text() for legend in figure.legends for t in legend.get_texts()] + [
        t.get_text() for t in figure.texts
    ]
    assert any("BXA: ln Z = -50.00" in w for w in words)
    assert any("NOT CONVERGED" in w for w in words) is not converged
