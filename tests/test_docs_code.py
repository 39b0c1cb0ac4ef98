"""Every Python block of the README and the documents runs, in order within its document, or says why it does not."""

import itertools
import shutil
import subprocess
import sys

import numpy as np
import pytest
from docs_blocks import REPOSITORY, blocks

from xsixsa.demo import make_demo

DOCUMENTS = {name: list(group) for name, group in itertools.groupby(blocks(), key=lambda block: block.document)}
# these fit a spectrum, load a run, or draw: minutes where the machine is busy
SLOW = {"README.md", "getting-started.md", "results.md", "bxa.md", "embedded.md"}


def cases():
    for name, held in DOCUMENTS.items():
        yield pytest.param(held, id=name, marks=[pytest.mark.slow] if name in SLOW else [])


def test_there_are_blocks_to_run():
    assert {"README.md", "getting-started.md", "priors.md", "adding-a-component.md"} <= set(DOCUMENTS)


@pytest.mark.parametrize("block", blocks(), ids=str)
def test_blocks_are_python(block):
    compile(block.code, str(block), "exec")


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with a spectrum `source.pha`, the embedded engine as `xspec`, and an empty session."""
    from xsixsa.embedded import xspec

    made = make_demo(tmp_path, seed=1)
    shutil.move(tmp_path / made.spectrum, tmp_path / "source.pha")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "xspec", xspec)
    yield tmp_path
    for held in (xspec.AllChains, xspec.AllModels, xspec.AllData):
        held.clear()


def first_run(place):
    """What the documents take for granted: a run in `run`, loaded as `result`."""
    import xsixsa

    (code,) = (block.code for block in DOCUMENTS["README.md"])
    exec(compile(code.replace('out="run")', 'out="run", preset="quick", ess=2000, seed=1)'), "README.md", "exec"), {})
    return xsixsa.load("run")


@pytest.mark.parametrize("held", cases())
def test_document_runs(held, place):
    # what the text around the blocks takes for granted
    names = {"theta": np.array([[0.1, 2.0], [0.2, 1.8]])} if held[0].document == "embedded.md" else {}
    if held[0].document == "results.md":
        import xspec

        import xsixsa

        names = {"result": first_run(place), "xspec": xspec, "xsixsa": xsixsa}
    for block in held:
        if not block.why:
            exec(compile(block.code, str(block), "exec"), names)


def site(folder):
    """Build the site."""
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    pytest.importorskip("mkdocs", reason="mkdocs is not installed (extra docs)")
    pytest.importorskip("mkdocstrings", reason="mkdocstrings is not installed (extra docs)")
    folder = tmp_path_factory.mktemp("site")
    done = site(folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_site_is_built_without_warnings_and_needs_nothing_from_outside(built):
    import re

    pages = list(built.glob("*.html"))
    assert {"index.html", "reference.html", "benchmarks.html", "results.html"} <= {page.name for page in pages}
    for page in pages:
        text = page.read_text()
        loaded = re.findall(r"<(?:script|img|link|iframe)[^>]*?(?:src|href)=\"([^\"]+)\"", text)
        assert loaded and not [target for target in loaded if target.startswith(("http", "//"))], page.name


def test_links_of_the_site_lead_somewhere(built):
    import re

    for page in built.glob("*.html"):
        for target in re.findall(r"href=\"([^\"]+)\"", page.read_text()):
            # the page of errors knows only addresses from the site's root
            if target.startswith(("http", "mailto:", "data:", "javascript:")) or page.name == "404.html":
                continue
            name, _, anchor = target.partition("#")
            other = (page.parent / name) if name else page
            assert other.exists(), f"{page.name} links to {target}"
            if anchor and other.suffix == ".html":
                assert re.search(rf"(id|name)=\"{re.escape(anchor)}\"", other.read_text()), f"{page.name}: {target}"


def test_reference_has_what_the_package_exports(built):
    import xsixsa

    text = (built / "reference.html").read_text()
    for name in set(xsixsa.__all__) - {"__version__"}:
        assert f'.{name}"' in text, name


def test_page_of_benchmarks_holds_what_was_measured(monkeypatch):
    import json

    monkeypatch.syspath_prepend(str(REPOSITORY / "docs"))
    from benchmarks_page import RESULTS, page

    text = page()
    made = json.loads((RESULTS / "agreement_pn.json").read_text())
    assert made["command"] in text and made["reference"]["command"] in text
    for run in made["runs"]:
        assert f"{run['log_evidence']:.3f} ± {run['log_evidence_err']:.3f}" in text
    for path in RESULTS.glob("agreement_*.json"):
        for run in json.loads(path.read_text())["runs"]:
            assert all(miss in text for miss in run["missed"])


def test_picture_of_the_pipeline_is_what_its_script_draws(monkeypatch):
    monkeypatch.syspath_prepend(str(REPOSITORY / "docs"))
    from make_pipeline_figure import TARGET, draw

    assert TARGET.read_text() == draw()
