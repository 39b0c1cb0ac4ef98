"""Figures by content: what is drawn, where, and what is written on them."""

import numpy as np
import pytest
from standin import make_result

from xsixsa.errors import OutputError, UsageError
from xsixsa.plot import corner_figure, plot_corner, plot_spectrum, spectrum_figure
from xsixsa.plot.common import interval_text
from xsixsa.summary_text import weighted_quantile


def texts(figure):
    return "\n".join(t.get_text() for t in figure.texts) + (figure.get_suptitle() if figure.get_suptitle() else "")


def test_interval_keeps_two_digits_of_the_smaller_error():
    assert interval_text(0.19, 0.2, 0.213) == "$0.200^{+0.013}_{-0.010}$"
    assert interval_text(2.2e-5, 2.3e-5, 2.45e-5) == r"$(2.30^{+0.15}_{-0.10})\times10^{-5}$"
    assert interval_text(900.0, 1000.0, 1150.0) == "$1000^{+150}_{-100}$"
    assert interval_text(1.0, 1.0, 1.0) == "$1.000^{+0.000}_{-0.000}$"


def test_corner_respects_weights_names_and_units():
    result = make_result()
    figure = corner_figure(result, truths={"nH": 0.2})
    panels = np.array(figure.axes).reshape(3, 3)
    assert [axes.get_xlabel() for axes in panels[-1]] == ["nH (10^22)", "PhoIndex", "powerlaw.norm"]
    # the draws are 1.5 times as wide as the posterior: unweighted quantiles would give 0.015
    low, middle, high = weighted_quantile(result.theta[:, 0], result.weights, [0.16, 0.5, 0.84])
    assert high - middle == pytest.approx(0.01, rel=0.05)
    assert panels[0, 0].get_title() == f"nH = {interval_text(low, middle, high)}"
    lines = sorted(line.get_xdata()[0] for line in panels[0, 0].lines)
    np.testing.assert_allclose(lines, sorted([low, middle, high, 0.2]), rtol=1e-3)
    left, right = panels[-1, 0].get_xlim()
    assert 0.15 < left < 0.18
    assert 0.22 < right < 0.25
    assert "NOT CONVERGED" not in texts(figure)
    assert "embedded 0.1.0" in texts(figure)


def test_wide_positive_parameter_gets_a_logarithmic_axis():
    result = make_result(dim=2)
    result.theta[:, 1] = 10.0 ** (5 * (result.theta[:, 1] - 1.7) / 0.15)
    panels = np.array(corner_figure(result).axes).reshape(2, 2)
    assert panels[-1, 1].get_xscale() == "log"
    assert panels[-1, 0].get_xscale() == "linear"


@pytest.mark.parametrize("dim", [1, 3])
def test_both_figures_say_when_a_run_has_not_converged(dim):
    result = make_result(converged=False, dim=dim)
    for figure in (corner_figure(result), spectrum_figure(result)):
        assert "NOT CONVERGED" in texts(figure)
        assert "Pareto k" in texts(figure)


def test_a_run_with_a_single_draw_is_drawn_and_leaves_logging_alone():
    import logging

    result = make_result(converged=False)
    result.weights = np.zeros(len(result.weights))
    result.weights[5], result.ess = 1.0, 1.0
    handlers = list(logging.getLogger().handlers)
    panels = np.array(corner_figure(result).axes).reshape(3, 3)
    low, high = panels[-1, 0].get_xlim()
    assert low < result.theta[5, 0] < high
    assert logging.getLogger().handlers == handlers


def test_a_channel_that_starts_at_zero_keeps_the_axis_positive():
    result = make_result()
    result.observations[0]["edges"][0, 0] = 0.0
    top, bottom = spectrum_figure(result).axes
    assert top.get_xlim()[0] == bottom.get_xlim()[0] == pytest.approx(0.2 * result.observations[0]["edges"][0, 1])


def test_an_interrupted_run_shows_its_data_alone():
    result = make_result(converged=False)
    result.predictive = result.predictive[:0]
    result.predictive_best = np.full(60, np.nan)
    top, _ = spectrum_figure(result).axes
    assert len(points(top)) == 60
    assert [text.get_text() for text in top.get_legend().get_texts()] == ["data"]


def test_truths_of_unknown_parameters_are_refused():
    with pytest.raises(UsageError, match=r"gamma.*nH, PhoIndex"):
        corner_figure(make_result(), truths={"gamma": 1})
    with pytest.raises(UsageError, match="2 truths for 3"):
        corner_figure(make_result(), truths=[1, 2])


def points(axes):
    """Data points of the only error-bar container."""
    return axes.containers[0].lines[0].get_xydata()


def test_spectrum_is_in_xspec_units():
    result = make_result()
    top, bottom = spectrum_figure(result).axes
    observation = result.observations[0]
    edges = observation["edges"]
    rate = observation["counts"] / observation["exposure"] / np.diff(edges, axis=1)[:, 0]
    np.testing.assert_allclose(points(top), np.stack([edges.mean(axis=1), rate], axis=1))
    counts, model = observation["counts"], result.predictive_best
    np.testing.assert_allclose(points(bottom)[:, 1], (counts - model) / np.sqrt(np.maximum(counts, 1)))
    assert (top.get_xscale(), top.get_yscale(), bottom.get_yscale()) == ("log", "log", "linear")
    assert top.get_xlim() == pytest.approx((0.5, 10))
    assert (bottom.get_xlabel(), bottom.get_ylabel()) == ("Energy (keV)", "(data-model)/error")
    assert top.get_ylabel() == "counts s$^{-1}$ keV$^{-1}$"


def test_bands_hold_what_would_be_observed_again():
    result = make_result(bins=200)
    top, _ = spectrum_figure(result).axes
    wide, narrow = (band.get_paths()[0].get_extents() for band in top.collections[:2])
    assert wide.y1 > narrow.y1
    held = []
    for vertices in (band.get_paths()[0].vertices for band in top.collections[:2]):
        inside = []
        for x, y in points(top):
            edge = vertices[np.isclose(vertices[:, 0], x, rtol=0.02)][:, 1]
            inside.append(edge.min() <= y <= edge.max())
        held.append(np.mean(inside))
    assert 0.88 <= held[0] <= 1.0
    assert 0.55 <= held[1] <= 0.85


def test_background_is_subtracted_and_said():
    result = make_result(background=True)
    top, _ = spectrum_figure(result).axes
    observation = result.observations[0]
    net = observation["counts"] - 0.1 * observation["background_counts"]
    width = np.diff(observation["edges"], axis=1)[:, 0]
    np.testing.assert_allclose(points(top)[:, 1], net / observation["exposure"] / width)
    assert "background subtracted" in top.get_title(loc="left")


def test_sparse_bins_are_merged_for_display_without_crossing_a_gap():
    result = make_result(bins=400, level=1.0)
    observation = result.observations[0]
    keep = np.r_[0:150, 200:400]
    for key in ("counts", "edges"):
        observation[key] = observation[key][keep]
    result.predictive, result.predictive_best = result.predictive[:, keep], result.predictive_best[keep]
    gap = observation["edges"][149, 1], observation["edges"][150, 0]
    top, _ = spectrum_figure(result).axes
    shown = points(top)
    assert len(shown) < 60
    assert not ((shown[:, 0] > gap[0]) & (shown[:, 0] < gap[1])).any()
    assert "merged" in top.get_title(loc="left")
    spans = [np.ptp(path.vertices[:, 0]) for path in top.collections[-2].get_paths()]
    width = np.array(spans)
    total = (shown[:, 1] * width * observation["exposure"]).sum()
    assert total == pytest.approx(observation["counts"].sum(), rel=1e-6)


def test_each_spectrum_has_its_panel():
    figure = spectrum_figure(make_result(n_spectra=3))
    assert [axes.get_title(loc="left") for axes in figure.axes[::2]] == [f"spectrum {i}: s{i}.pha" for i in (1, 2, 3)]


def test_files_are_written_whole_and_pyplot_is_left_alone(tmp_path):
    from matplotlib import pyplot

    open_before = pyplot.get_fignums()
    result = make_result()
    for write, name in ((plot_corner, "corner.png"), (plot_spectrum, "spectrum.pdf")):
        assert write(result, tmp_path / name).stat().st_size > 5000
        with pytest.raises(OutputError, match="exists"):
            write(result, tmp_path / name, overwrite=False)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["corner.png", "spectrum.pdf"]
    with pytest.raises(UsageError, match="ends in one of"):
        plot_corner(result, tmp_path / "corner.xyz")
    assert len(plot_corner(result).axes) == 9
    assert len(plot_spectrum(result).axes) == 2
    assert pyplot.get_fignums() == open_before
