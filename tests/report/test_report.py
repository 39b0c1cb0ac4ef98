"""The report: one page, everything in it, nothing from outside, and the verdict first."""

import itertools
import json
import re
import shlex
from dataclasses import replace
from html.parser import HTMLParser
from types import SimpleNamespace

import numpy as np
import pytest

from report.results import full_result
from xsixsa.cli import main
from xsixsa.cli.parser import build_parser
from xsixsa.cli.values import parse_priors
from xsixsa.correction.emulator import EmulatorOptions
from xsixsa.options import preset
from xsixsa.plot import history_figure
from xsixsa.report import report_html, write_report
from xsixsa.report.checks import predictive_checks
from xsixsa.report.repeat import command, python_code

HOSTILE = '"><script>alert(1)</script><img src=x onerror=alert(2)>.pha'


class Page(HTMLParser):
    """Elements with their attributes, and the text."""

    def __init__(self, html):
        super().__init__()
        self.elements, self.text, self._open = [], [], []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self._open.append(tag)

    def handle_endtag(self, tag):
        while self._open and self._open.pop() != tag:
            pass

    def handle_data(self, data):
        if self._open[-1:] != ["style"]:
            self.text.append(data)

    def all(self, tag):
        return [attrs for name, attrs in self.elements if name == tag]


@pytest.fixture
def no_pictures(monkeypatch):
    """Drawing takes seconds and is not what the test is about."""
    names = ("spectrum", "corner", "history", "checks")
    monkeypatch.setattr("xsixsa.report.page._pictures", lambda *_: dict.fromkeys(names, "data:image/png;base64,"))


@pytest.fixture(scope="module")
def page():
    return Page(report_html(full_result()))


def test_nothing_comes_from_outside(page):
    for _, attrs in page.elements:
        for name in ("src", "href"):
            if name in attrs:
                assert attrs[name].startswith(("data:", "#"))
        assert not any(name.startswith("on") for name in attrs)
    assert not page.all("script")
    assert any(a.get("http-equiv") == "Content-Security-Policy" for a in page.all("meta"))


def test_accessible_in_its_structure(page):
    assert page.all("html") == [{"lang": "en"}]
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    assert len(page.all("img")) == 4 and all(len(a["alt"]) > 20 for a in page.all("img"))
    assert page.all("th") and all(a.get("scope") in ("row", "col") for a in page.all("th"))
    assert len(page.all("caption")) == len(page.all("table"))
    identifiers = {a["id"] for _, a in page.elements if "id" in a}
    assert all(a["href"][1:] in identifiers for a in page.all("a"))
    assert page.all("a")[0] == {"class": "skip", "href": "#main"}


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("converged", "good"),
        ("converged, poor fit", "doubtful"),
        ("not converged", "bad"),
        ("not trustworthy", "bad"),
    ],
)
def test_the_verdict_comes_first_and_looks_it(text, kind, no_pictures):
    reasons = ("Pareto k 0.93 is not below 0.7",) if kind == "bad" else ()
    html = report_html(full_result(text, reasons, ("nH piles up",), dim=2, bins=10))
    page = Page(html)
    assert f"<title>{text.upper()}" in html
    assert any(a.get("class") == f"verdict {kind}" for a in page.all("section"))
    words = " ".join(page.text)
    assert words.index(text.upper()) < words.index("Parameters")
    assert all(reason in words for reason in reasons) and "nH piles up" in words
    if kind == "bad":
        assert "Do not use the numbers" in words


def test_what_the_user_names_stays_text(no_pictures):
    r = full_result(dim=2, bins=10)
    r.observations[0]["name"] = HOSTILE
    r.model_expression = "</h1><script>alert(3)</script>"
    r.session_text = "</pre><script>alert(4)</script>"
    r.settings["<b>"] = "<script>"
    r.parameters[0]["prior_origin"] = "<script>alert(5)</script>"
    html = report_html(r)
    page = Page(html)
    assert not page.all("script") and not page.all("b")
    assert not any("onerror" in attrs for _, attrs in page.elements)
    assert HOSTILE.split("/")[-1] in "".join(page.text)


def test_an_interrupted_run_is_reported_without_what_it_lacks():
    r = full_result("not converged", ("interrupted before the end",), dim=2, bins=10)
    r.predictive = np.empty((0, 10), np.float32)
    r.predictive_best = np.full(10, np.nan)
    r.final_log_weights = np.empty(0)
    r.log_evidence = r.log_evidence_err = r.pareto_k = float("nan")
    r.history, r.goodness = {"rounds": [], "refinement": []}, {}
    html = report_html(r)
    assert ">nan<" not in html and "nan " not in re.sub(r"base64,[^\"]*", "", html)
    assert "interrupted before it made predictive spectra" in html
    assert "not known" in html


def test_modes_are_told_apart_where_there_are_two(no_pictures):
    r = full_result(dim=2, bins=10)
    assert len(r.modes) == 1
    page = Page(report_html(r))
    assert not any(a.get("id") == "modes" for _, a in page.elements)
    values = [dict(zip(r.names, (0.123, 2.5), strict=True)), dict(zip(r.names, (0.01, 0.02), strict=True))]
    one = {"weight": 0.7, "weight_err": 0.01, "mean": values[0], "std": values[1], "best_statistic": 61.25}
    r._modes = [one, one | {"weight": 0.3, "best_statistic": 63.5}]
    page = Page(report_html(r))
    words = " ".join(page.text)
    assert "2 modes" in words and "0.700 ± 0.010" in words and "63.50" in words and "0.123 ± 0.01" in words
    assert {"href": "#modes"} in page.all("a")


def test_rounds_show_where_they_drew_and_how_they_ended(no_pictures):
    r = full_result(dim=2, bins=10)
    words = " ".join(Page(report_html(r)).text)  # as an earlier version left it
    assert "Rounds of simulation" in words
    more = {"proposal": "truncated <prior>", "efficiency": 0.0123, "coverage": [0.5, 0.97], "notes": ["a note"]}
    r.history["rounds"][1] |= more | {"summary": {"name": "pca", "notes": []}, "stopped": "the volume stays"}
    html = report_html(r)
    words = " ".join(Page(html).text)
    assert "truncated <prior>" in words and "<prior>" not in html and "1.2 %" in words and "0.03" in words
    assert "Round 2: a note; the rounds ended: the volume stays." in words


def test_summaries_without_training_have_no_panel_of_losses():
    r = full_result(dim=2, bins=10)
    losses = [{"training": 2.0, "validation": 2.1}]

    def panels(**entry):
        r.history = {"rounds": [{"round": 1, **entry}], "refinement": []}
        return [axes.get_title() for axes in history_figure(r).axes]

    pca = {"summary": {"name": "pca"}, "compression": [{"components": 5}]}
    assert panels(**pca, posterior=losses) == ["neural posterior"]
    trained = {"summary": {"name": "mine"}, "compression": losses}
    assert panels(**trained, posterior=losses) == ["summary: mine", "neural posterior"]


def test_checks_pass_for_the_truth_and_fail_for_another_model():
    r = full_result(bins=60, level=200.0)
    good = predictive_checks(r)
    assert good.alarming == []
    assert all(0.0 < b.pit < 1.0 for b in good.bands)
    assert sum(b.observed for b in good.bands) == r.observations[0]["counts"].sum()
    r.observations[0]["counts"] = np.round(1.5 * r.observations[0]["counts"])
    bad = predictive_checks(r)
    assert "total counts of spectrum 1" in bad.alarming
    assert any("Cash" in what for what in bad.alarming)


def test_a_line_in_one_band_is_found_there():
    r = full_result(bins=60, level=200.0)
    counts = r.observations[0]["counts"]
    counts[40:43] += 60
    low, high = r.observations[0]["edges"][40, 0], r.observations[0]["edges"][42, 1]
    found = [b for b in predictive_checks(r).bands if b.alarming]
    assert found and all(b.energy_low < high and b.energy_high > low for b in found)


@pytest.mark.parametrize("seed", range(5))
def test_places_of_a_right_model_are_spread_over_the_unit_interval(seed):
    places = [b.pit for b in predictive_checks(full_result(n_spectra=8, seed=seed)).bands]
    assert len(places) >= 24 and 0.3 < np.mean(places) < 0.7 and np.std(places) > 0.15


def test_background_belongs_to_the_replicates():
    checks = predictive_checks(full_result(background=True))
    assert checks.alarming == []


def test_the_command_repeats_the_run():
    r = full_result()
    words = shlex.split(command(r))
    arguments = build_parser().parse_args(words[1:])
    assert arguments.command == "fit" and arguments.seed == 1 and arguments.ess == 5000
    assert arguments.preset == "standard" and arguments.engine == "embedded"
    assert [str(p) for p in parse_priors(arguments.prior).values()] == [p["prior"] for p in r.parameters]
    compile(python_code(r), "report", "exec")


def test_what_the_shell_cannot_say_is_left_to_python():
    r = full_result()
    r.parameters[0]["prior"] = "scipy beta(2, 5)"
    assert command(r) is None
    assert "..." in python_code(r) and "scipy beta(2, 5)" in python_code(r)
    compile(python_code(r), "report", "exec")


@pytest.mark.parametrize(
    "changed",
    [
        {"simulations": 123, "rounds": 3},
        {"proposal": ("truncated", "coarse"), "until": None, "summary": "pca"},
        {
            "refit": replace(preset("standard").refit, epochs=3),
            "posterior": replace(preset("standard").posterior, batch=64),
        },
        {"emulator": EmulatorOptions(gate=0.2), "correction": "sir"},
        {"max_seconds": 12.5, "ess": 300},
    ],
)
@pytest.mark.parametrize("base", ["standard", "quick", "thorough"])
def test_settings_of_no_preset_are_made_again_by_the_python_code(base, changed):
    r = full_result()
    wanted = preset(base).changed(**changed)
    # as a file gives them back
    r.options = json.loads(json.dumps(wanted.as_dict()))
    code = python_code(r)
    compile(code, "report", "exec")
    given = {}

    def fit(xspec, prior, *, seed, out, **rest):
        given.update(rest)

    lines = [line for line in code.splitlines() if "import x" not in line and "Xset.restore" not in line]
    exec("\n".join(lines), {"xsixsa": SimpleNamespace(fit=fit), "xspec": None})
    made = given.get("options") or preset(given.pop("preset")).changed(**given)
    assert made == wanted
    assert (command(r) is None) == ("ess" not in changed)


def test_a_summary_that_is_an_object_is_not_claimed_to_be_repeated():
    r = full_result()
    r.options["summary"] = "PCA(variance=0.9)"
    assert command(r) is None and "see the table of settings" in python_code(r)
    compile(python_code(r), "report", "exec")


def test_the_command_line_writes_it_and_protects_what_is_there(tmp_path, capsys, no_pictures):
    run = tmp_path / "a run"
    run.mkdir()
    full_result(dim=2, bins=10).save(run / "result.h5")
    assert main(["report", str(run)]) == 0
    assert "verdict: CONVERGED" in capsys.readouterr().out
    assert (run / "report.html").read_text().startswith("<!DOCTYPE html>")
    assert main(["report", str(run)]) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert main(["report", str(run / "result.h5"), "--out", str(tmp_path / "x.html"), "--title", "A & B"]) == 0
    assert "A &amp; B" in (tmp_path / "x.html").read_text()
    assert main(["report", str(tmp_path)]) == 2
    assert main(["report", str(run), "--out", str(tmp_path / "no" / "x.html")]) == 2


def test_a_run_that_has_not_converged_gives_its_exit_status(tmp_path, no_pictures):
    full_result("not converged", ("too few",), dim=2, bins=10).save(tmp_path / "result.h5")
    assert main(["report", str(tmp_path)]) == 3


def test_page_is_written_whole(tmp_path, no_pictures):
    path = write_report(full_result(dim=2, bins=10), tmp_path / "r.html")
    assert path.read_text().rstrip().endswith("</html>")
    assert [p.name for p in tmp_path.iterdir()] == ["r.html"]
