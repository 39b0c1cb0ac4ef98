"""A picture of a run's report: writes docs/figures/report.png through a headless Chromium.

xsixsa demo --out demo-run
python docs/make_screenshot.py demo-run/run
"""

import sys
import tempfile
from pathlib import Path

import xsixsa
from xsixsa.report import write_report

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tests"))

from report.browser import browser, missing  # noqa: E402


def main(run):
    """Write the report beside nothing of the user's, and take its first page."""
    if missing():
        sys.exit(missing())
    with tempfile.TemporaryDirectory() as folder:
        page = write_report(xsixsa.load(run), Path(folder, "report.html"))
        with browser(Path(folder, "profile"), 900, 1150) as tab:
            tab.open(page)
            tab.picture(HERE / "figures" / "report.png")


if __name__ == "__main__":
    main(sys.argv[1])
