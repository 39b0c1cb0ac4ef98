"""Every code block of the README and the documents runs, in order within its document, or says why it does not."""

import itertools
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from docs_blocks import REPOSITORY, blocks

from tests.tcl.conftest import Prompt, interpreters


def by_document(language):
    held = itertools.groupby(blocks(language), key=lambda block: block.document)
    return {name: list(group) for name, group in held}


DOCUMENTS = by_document("python")
# these fit a spectrum, load a run, or draw: minutes where the machine is busy
SLOW = {"README.md", "in-pyxspec.md", "results.md", "bxa.md", "embedded.md", "calibration.md", "summaries.md"}
# numbers of simulations that a document advises and a test need not wait for
SMALLER = {"calibration.md": {"calibrate(300,": "calibrate(30,", "n=500": "n=50"}}
# what the shell runs in one go, and the prompt
SHELL = {name: [b for b in held if not b.why and not b.by] for name, held in by_document("sh").items()}
PROMPT = by_document("xspec")
# settings that take less than a minute, where a block asks for a run
SMALL = "-ess 300 -seed 1 -max-evaluations 12000 -engine embedded"


def cases():
    for name, held in DOCUMENTS.items():
        if all(block.why or block.by for block in held):
            continue
        yield pytest.param(held, id=name, marks=[pytest.mark.slow] if name in SLOW else [])


def test_there_are_blocks_to_run():
    assert {"README.md", "in-pyxspec.md", "priors.md", "adding-a-component.md"} <= set(DOCUMENTS)
    assert SHELL["from-the-shell.md"] and {"at-the-prompt.md", "results.md"} <= set(PROMPT)


def test_every_block_has_a_language_that_is_run():
    assert {block.language for block in blocks()} == {"python", "sh", "xspec"}
    for block in blocks():
        # a block that another test runs names the file, which knows the document
        if block.by:
            text = (REPOSITORY / block.by).read_text()
            assert "README" in text or block.document in text, block


@pytest.mark.parametrize("block", blocks("python"), ids=str)
def test_blocks_are_python(block):
    compile(block.code, str(block), "exec")


@pytest.mark.parametrize("block", blocks("sh"), ids=str)
def test_blocks_are_shell(block):
    done = subprocess.run(["bash", "-n"], input=block.code, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and not done.stderr, done.stderr


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with an absorbed power law as `source.pha`, the embedded engine as `xspec`, and an empty session."""
    from xsixsa import demo
    from xsixsa.embedded import xspec

    monkeypatch.setattr(demo, "TRUTH", demo.TRUTH | {"bbodyrad.norm": 1e-12})
    made = demo.make_demo(tmp_path, seed=1)
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


def first_network(place):
    """A network in `network.h5`, trained with the session that it leaves loaded."""
    import xspec

    import xsixsa

    load_session()
    prior = {"nH": (0, 1), "PhoIndex": (0, 4), "norm": xsixsa.LogUniform(1e-4, 1e-2)}
    options = {"simulations": 2000, "summary": "pca", "seed": 1, "progress": False}
    xsixsa.train(xspec, prior, counts=(500, 50_000), out="network.h5", **options)


def taken_for_granted(document, place):
    """What the text around the blocks of a document takes for granted."""
    import xspec

    import xsixsa

    if document == "embedded.md":
        return {"theta": np.array([[0.1, 2.0], [0.2, 1.8]])}
    if document == "results.md":
        return {"result": first_run(place), "xspec": xspec, "xsixsa": xsixsa}
    if document == "calibration.md":
        first_network(place)
        return {"xspec": xspec}
    return {}


@pytest.mark.parametrize("held", cases())
def test_document_runs(held, place):
    names = taken_for_granted(held[0].document, place)
    for block in held:
        code = block.code
        for long, short in SMALLER.get(block.document, {}).items():
            code = code.replace(long, short)
        if not (block.why or block.by):
            exec(compile(code, str(block), "exec"), names)


def load_session():
    """An absorbed power law for `source.pha`."""
    import xspec

    xspec.Fit.statMethod = "cstat"
    xspec.AllData("1:1 source.pha")
    xspec.AllData.ignore("bad")
    xspec.AllData.ignore("**-0.5 10.0-**")
    xspec.Model("TBabs*powerlaw")


def save_session(place):
    """`session.xcm` as XSPEC leaves it."""
    import xspec

    load_session()
    xspec.Xset.save(str(place / "session.xcm"), info="a")


@pytest.mark.slow
@pytest.mark.parametrize("held", [pytest.param(held, id=name) for name, held in SHELL.items() if held])
def test_document_runs_in_the_shell(held, place):
    """With an empty home and no HEASoft, as on a fresh machine; every command has to end well, as the shell sees it."""
    save_session(place)
    (place / "home").mkdir()
    path = f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin"
    script = "set -e\n" + "\n".join(block.code for block in held)
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=place,
        env={"HOME": str(place / "home"), "PATH": path, "LANG": "C.UTF-8"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert (place / "run" / "report.html").is_file()
    assert "exit status" not in done.stdout


def typed(held):
    """Lines as typed, without XSPEC's prompt."""
    lines = [line for block in held if not block.why for line in block.code.splitlines()]
    assert all(line.startswith("XSPEC12> ") for line in lines)
    return [line.removeprefix("XSPEC12> ") for line in lines]


@pytest.mark.tcl
@pytest.mark.parametrize("tclsh", interpreters(), ids=os.path.basename)
@pytest.mark.parametrize("held", [pytest.param(held, id=name) for name, held in PROMPT.items()])
def test_document_runs_at_a_stand_in_of_the_prompt(held, tclsh, tmp_path):
    """XSPEC's own commands are stand-ins, and so is the Python side: what `sixsa` is told has to be right."""
    python = tmp_path / "python"
    standin = REPOSITORY / "tests" / "tcl" / "python_standin.py"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{standin}" "$@"\n')
    python.chmod(0o755)
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "run").mkdir()
    (folder / "run" / "chain.fits").write_text("chain")
    (folder / "run" / "session.xcm").write_text("query yes\n")
    lines = typed(held)
    commands = {line.split()[0] for line in lines} - {"sixsa", "chain", "fit", "model", "@run/session.xcm"}
    assert commands <= {"data", "ignore", "statistic", "abund", "error", "flux"}
    loaded = "set standin::spectra [list /data/source.pha]"
    out = Prompt(tclsh, folder, python)(*(f"proc {name} {{args}} {{}}" for name in sorted(commands)), loaded, *lines)
    assert "chain.fits" in out and "sixsa: internal error" not in out


@pytest.mark.slow
@pytest.mark.tcl
@pytest.mark.skipif(shutil.which("xspec") is None, reason="no xspec on the PATH (HEASoft is not initialised)")
@pytest.mark.parametrize("held", [pytest.param(held, id=name) for name, held in PROMPT.items()])
def test_document_runs_at_the_real_prompt(held, place):
    """In batch, with small settings where a block asks for a run; all that XSPEC refuses begins with three stars."""
    from xsixsa.prompt.install import install_tcl, plan

    (place / "home").mkdir()
    installation = plan(place / "home", sys.executable)
    install_tcl(installation)
    lines = [re.sub(r"^sixsa run$", f"sixsa run {SMALL}", line) for line in typed(held)]
    # this engine for all: PyXspec needs minutes for what the others need seconds
    lines = [re.sub(r"^(sixsa run (?!.*-engine).*)$", r"\1 -engine embedded", line) for line in lines]
    if held[0].document == "results.md":
        first_run(place)
    script = place / "script.xcm"
    # what XSPEC asks is answered; starting values of a new model are its own
    script.write_text("\n".join([installation.batch_line, "query yes", *with_values(lines)]) + "\n")
    done = subprocess.run(
        ["xspec", "-", str(script)],
        cwd=place,
        env={**os.environ, "HOME": str(place / "home"), "PGPLOT_TYPE": "/null"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    out = done.stdout.decode(errors="replace") + done.stderr.decode(errors="replace")
    assert "***" not in out, out[-3000:]
    assert "Errors calculated from chains" in out
    assert "Parameter distribution is derived from loaded chain files" in out


def with_values(lines):
    """A script has to answer what `model` asks for: an empty line for each parameter takes its default."""
    for line in lines:
        yield line + " & & &" if line.startswith("model ") else line


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
    assert not [path for path in built.rglob("*") if path.suffix in (".py", ".pyc") or path.name == "__pycache__"]
    pages = list(built.glob("*.html"))
    assert {"index.html", "reference.html", "benchmarks.html", "results.html"} <= {page.name for page in pages}
    for page in pages:
        text = page.read_text()
        loaded = re.findall(r"<(?:script|img|link|iframe)[^>]*?(?:src|href)=\"([^\"]+)\"", text)
        assert loaded and not [target for target in loaded if target.startswith(("http", "//"))], page.name


def test_links_of_the_site_lead_somewhere(built):
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


@pytest.fixture
def benchmarks_page(monkeypatch):
    monkeypatch.syspath_prepend(str(REPOSITORY / "docs"))
    import benchmarks_page

    return benchmarks_page


def test_page_of_benchmarks_holds_what_was_measured(benchmarks_page):
    text = benchmarks_page.page()
    made = json.loads((benchmarks_page.RESULTS / "agreement_pn.json").read_text())
    assert made["command"] in text and made["reference"]["command"] in text
    for run in made["runs"]:
        assert f"{run['log_evidence']:.3f} ± {run['log_evidence_err']:.3f}" in text
    for path in benchmarks_page.RESULTS.glob("*.json"):
        held = json.loads(path.read_text())
        assert f"`benchmarks/results/{path.name}`" in text or held["command"] in text
        assert all(miss in text for run in held.get("runs", []) for miss in run.get("missed", []))


def test_page_of_benchmarks_shows_files_of_any_layout(benchmarks_page, tmp_path):
    files = {
        "new_kind": {
            "title": "A new | kind",
            "command": "python benchmarks/new.py",
            "versions": {"numpy": "2.0"},
            "passed": False,
            "depth": {"a": {"b": 0.25}},
            "vector": list(range(100)),
            "nothing": None,
            "rows": [{"seed": 1, "x": 12345.6, "missed": ["x above 3"]}, {"seed": 2, "extra": "text | bar"}],
            "by_name": {"first": {"y": 1}, "second": {"y": float("inf")}},
        },
        # an agreement that another version of the benchmark has left
        "agreement_odd": {"case": "odd", "runs": [{"seed": 7, "ess": 77}, {"seed": 8, "ess": 88}]},
        "empty": {},
    }
    for name, held in files.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(held))
    text = benchmarks_page.page(tmp_path)
    for part in (
        "## A new | kind",
        "`python benchmarks/new.py`",
        "numpy 2.0",
        "| passed | **no** |",
        "| depth.a.b | 0.25 |",
    ):
        assert part in text
    assert "| vector | 100 values |" in text and "| nothing | - |" in text
    assert "| 1 | 12\N{NO-BREAK SPACE}346 | x above 3 | - |" in text and "| 2 | - | - | text \\| bar |" in text
    assert "- Missed: x above 3" in text and "| second | inf |" in text
    assert "| 7 | 77 |" in text and "## Empty" in text


def test_picture_of_the_pipeline_is_what_its_script_draws(monkeypatch):
    monkeypatch.syspath_prepend(str(REPOSITORY / "docs"))
    from make_pipeline_figure import TARGET, draw

    assert TARGET.read_text() == draw()
