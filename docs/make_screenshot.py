"""Pictures for the documents, through a headless Chromium.

xsixsa demo --out demo-run
python docs/make_screenshot.py report demo-run/run      # docs/figures/report.png and report-phone.png

xspec - session.xcm > said.txt                          # examples/prompt_session.xcm says how
python docs/make_screenshot.py prompt said.txt          # docs/figures/prompt.png
"""

import html
import re
import sys
import tempfile
from pathlib import Path

import xsixsa
from xsixsa.report import write_report

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tests"))

from report.browser import browser, missing  # noqa: E402

PAGE = """<!DOCTYPE html><html lang="en"><meta charset="utf-8"><title>XSPEC</title>
<style>body{{margin:0;background:#10151c;color:#e6e9ee}}pre{{padding:1rem;font:14px/1.35 monospace}}</style>
<pre>{}</pre></html>"""


def report_page(run, folder):
    """The report of a run, and for each picture its name, width, height and scale: on a desk, on a phone."""
    page = write_report(xsixsa.load(run), folder / "report.html")
    return page, [("report", 1150, 1150, 1.0), ("report-phone", 390, 844, 1.5)]


def prompt_page(said, folder):
    """What XSPEC said, from the first prior on, as it stands on a terminal: without its echo's blank lines."""
    text = Path(said).read_text(errors="replace")
    text = text[text.index("XSPEC12>sixsa prior") :]
    text = re.sub(r"!?XSPEC12>(.*?);?\n", r"XSPEC12>\1\n", text.split("!XSPEC12>exit")[0])
    lines = [line.split("\r")[-1] for line in re.sub(r"\n\n(?=XSPEC12>sixsa prior)", "\n", text).split("\n")]
    page = folder / "prompt.html"
    page.write_text(PAGE.format(html.escape("\n".join(lines).rstrip())))
    return page, [("prompt", 1060, 19 * len(lines) + 10, 1.0)]


def main(kind, source, figures=HERE / "figures"):
    """Make the pictures of one kind."""
    if missing():
        sys.exit(missing())
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        page, pictures = {"report": report_page, "prompt": prompt_page}[kind](source, folder)
        for name, width, height, scale in pictures:
            with browser(folder / f"profile-{name}", width, height, scale) as tab:
                tab.open(page)
                tab.picture(Path(figures) / f"{name}.png")


if __name__ == "__main__":
    main(*sys.argv[1:])
