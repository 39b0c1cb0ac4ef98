"""The report in a real browser: quiet, whole without a network, and usable on a phone and by keyboard."""

from pathlib import Path

import pytest

from report.browser import browser, missing
from report.results import full_result
from xsixsa.report import write_report

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(missing() is not None, reason=str(missing())),
]

# relative luminance and contrast of WCAG 2; transparent backgrounds are looked up in the parents
CONTRAST = """
const parse = c => { const m = c.match(/[\\d.]+/g).map(Number); return m.length < 4 ? [...m, 1] : m; };
const channel = v => { v /= 255; return v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; };
const light = c => 0.2126 * channel(c[0]) + 0.7152 * channel(c[1]) + 0.0722 * channel(c[2]);
const behind = e => { for (; e; e = e.parentElement) { const c = parse(getComputedStyle(e).backgroundColor);
  if (c[3] > 0) return c; } return [255, 255, 255, 1]; };
const found = [];
for (const e of document.querySelectorAll('body *')) {
  if (![...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim())) continue;
  const a = light(parse(getComputedStyle(e).color)), b = light(behind(e));
  const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  if (ratio < 4.5) found.push(e.tagName + ' ' + ratio.toFixed(2) + ' ' + e.textContent.trim().slice(0, 30));
}
return found;
"""
LONG = "a_very_long_name_of_a_spectrum_without_any_place_to_break_" * 3 + ".pha"


@pytest.fixture(scope="module", params=["converged", "not converged"])
def report(request, tmp_path_factory):
    reasons = () if request.param == "converged" else ("Pareto k 0.93 is not below 0.7: a few draws carry the tail",)
    r = full_result(request.param, reasons, ("nH piles up at the lower edge",), n_spectra=2, background=True)
    r.observations[0]["name"] = LONG
    return write_report(r, tmp_path_factory.mktemp("report") / "report & <b>.html")


@pytest.mark.parametrize("width", [390, 320, 1200])
def test_page_fits_and_is_quiet(report, tmp_path, width):
    with browser(tmp_path / "profile", width) as tab:
        tab.open(report)
        assert [entry["message"] for entry in tab.console()] == []
        tab.run("document.querySelectorAll('details').forEach(d => d.open = true)")
        widths = tab.run("return [document.documentElement.scrollWidth, window.innerWidth]")
        assert widths[0] <= widths[1] == width
        sizes = tab.run("return [...document.images].map(i => [i.complete, i.naturalWidth, i.clientWidth])")
        assert len(sizes) == 4 and all(done and natural > 300 and shown > 300 for done, natural, shown in sizes)
        outside = tab.run(
            "return performance.getEntriesByType('resource').map(e => e.name).filter(n => !n.startsWith('data:'))"
        )
        assert outside == []
        # letters no smaller than a phone's reader can take in
        assert tab.run("return parseFloat(getComputedStyle(document.querySelector('td')).fontSize)") >= 12
        tab.picture(tmp_path / "page.png")
        assert (tmp_path / "page.png").stat().st_size > 10_000


def test_keyboard_reaches_the_verdict_and_what_scrolls(report, tmp_path):
    with browser(tmp_path / "profile", 390) as tab:
        tab.open(report)
        tab.press("\ue004")
        focus = tab.run("const e = document.activeElement; return [e.className, e.getBoundingClientRect().left]")
        assert focus[0] == "skip" and focus[1] >= 0
        tab.press("\ue007")
        assert tab.run("return location.hash") == "#main"
        scrolling = tab.run(
            "return [...document.querySelectorAll('*')].filter(e => e.scrollWidth > e.clientWidth + 1 "
            "&& getComputedStyle(e).overflowX === 'auto' && e.tabIndex < 0).map(e => e.outerHTML.slice(0, 60))"
        )
        assert scrolling == []


def test_text_stands_out(report, tmp_path):
    with browser(tmp_path / "profile") as tab:
        tab.open(report)
        tab.run("document.querySelectorAll('details').forEach(d => d.open = true)")
        assert tab.run(CONTRAST) == []


def test_pictures_of_the_documents_are_made_by_their_script(tmp_path, monkeypatch):
    """The script draws the report of a run as it looks on a desk and on a phone, and a session at the prompt."""
    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parents[2] / "docs"))
    import make_screenshot

    full_result().save(tmp_path / "result.h5")
    make_screenshot.main("report", tmp_path, tmp_path)
    said = "!XSPEC12>data 1;\n\n!XSPEC12>sixsa prior nH uniform 0 1;\n\nverdict: <b>\n!XSPEC12>exit\n"
    (tmp_path / "said.txt").write_text(said)
    make_screenshot.main("prompt", tmp_path / "said.txt", tmp_path)
    sizes = {path.stem: size_of(path) for path in tmp_path.glob("*.png")}
    assert sizes["report"] == (1150, 1150) and sizes["report-phone"] == (585, 1266) and sizes["prompt"][0] == 1060
    kept = {path.stem: size_of(path) for path in (make_screenshot.HERE / "figures").glob("*.png")}
    assert {name: kept[name] for name in ("report", "report-phone")} == {
        name: sizes[name] for name in ("report", "report-phone")
    }


def size_of(path):
    """Width and height of a PNG."""
    header = path.read_bytes()[:24]
    assert header.startswith(b"\x89PNG\r\n")
    return int.from_bytes(header[16:20]), int.from_bytes(header[20:24])
