"""Notebooks are what their scripts give, and run: quick ones with small settings always, all in the slow tests."""

import json
import sys
from pathlib import Path

import pytest

NOTEBOOKS = Path(__file__).resolve().parents[1] / "examples" / "notebooks"
NAMES = sorted(path.stem for path in NOTEBOOKS.glob("*.py"))
# settings that take seconds, in place of those of the cell tagged "parameters"
SMALL = """\
from xsixsa.options import preset

options = preset("quick").changed(rounds=0, simulations=400, ess=200, min_draws=300, max_evaluations=8_000)
settings = {"options": options, "workers": 1}
"""
MORE = {"many_spectra": "spectra = 2\n", "truncated_prior": "draws = 4_000\n", "bxa": "live_points = 50\n"}
# what each must have said, whatever the settings
SAID = {
    "background": "with no background count",
    "bxa": "on the whole prior",
    "first_posterior": "XSPEC's 90 % range of nH, from the chain",
    "joint_fit": "second instrument over the first",
    "many_spectra": "the truth is inside",
    "truncated_prior": "sigma apart",
}
# nested sampling, however small, takes its time; so do several runs
SLOW = {"bxa", "many_spectra", "truncated_prior"}


@pytest.fixture
def make(monkeypatch):
    """The script that makes notebooks."""
    monkeypatch.syspath_prepend(str(NOTEBOOKS.parent))
    import make_notebooks

    return make_notebooks


@pytest.fixture
def read():
    """Reads a notebook; skips where what runs notebooks is not installed."""
    nbformat = pytest.importorskip("nbformat", reason="nbformat is not installed (extra notebooks)")
    pytest.importorskip("nbclient", reason="nbclient is not installed (extra notebooks)")
    pytest.importorskip("ipykernel", reason="ipykernel is not installed (extra notebooks)")
    return lambda name: nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)


def execute(notebook, folder, monkeypatch):
    """Run all cells in a process of their own, with this Python; text that they wrote."""
    from nbclient import NotebookClient

    # an empty home and configuration: nobody's kernels, start-up files or settings
    kernels = folder / "share" / "jupyter" / "kernels" / "python3"
    kernels.mkdir(parents=True)
    argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    (kernels / "kernel.json").write_text(json.dumps({"argv": argv, "display_name": "Python 3", "language": "python"}))
    for name, value in {
        "JUPYTER_PATH": folder / "share" / "jupyter",
        "JUPYTER_DATA_DIR": folder / "share" / "jupyter",
        "JUPYTER_CONFIG_DIR": folder / "config",
        "JUPYTER_RUNTIME_DIR": folder / "runtime",
        "IPYTHONDIR": folder / "ipython",
        "TMPDIR": folder,
    }.items():
        monkeypatch.setenv(name, str(value))
    NotebookClient(notebook, timeout=900, kernel_name="python3", resources={"metadata": {"path": folder}}).execute()
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    return "".join(output.text for output in outputs if output.output_type == "stream"), outputs


def test_every_notebook_has_a_script_and_is_in_step_with_it(make):
    assert {path.stem for path in NOTEBOOKS.glob("*.ipynb")} == set(NAMES) == set(SAID)
    assert make.main(check=True) == 0


def test_a_notebook_that_is_not_in_step_is_named(make, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(make, "FOLDER", tmp_path)
    script = tmp_path / "a.py"
    script.write_text('# %% [markdown]\n# # Title\n#\n# text\n\n# %% tags=["parameters"]\nx = 1\n\ny = 2\n')
    assert make.main(check=True) == 1
    assert make.main() == 0 and make.main(check=True) == 0
    text, code = json.loads((tmp_path / "a.ipynb").read_text())["cells"]
    assert text["source"] == ["# Title\n", "\n", "text"]
    assert code["source"] == ["x = 1\n", "\n", "y = 2"] and code["metadata"] == {"tags": ["parameters"]}
    script.write_text("# %%\nx = 2\n")
    assert make.main(check=True) == 1
    assert "a.ipynb is not what its script gives" in capsys.readouterr().out
    script.write_text("x = 1\n# %%\n")
    with pytest.raises(ValueError, match="before the first cell"):
        make.main()


@pytest.mark.parametrize("name", NAMES)
def test_notebook_is_valid_and_says_how_to_use_pyxspec(name, read):
    import nbformat

    notebook = read(name)
    nbformat.validate(notebook)
    assert all(not cell.outputs and cell.execution_count is None for cell in notebook.cells if cell.cell_type == "code")
    assert sum("parameters" in cell.metadata.get("tags", []) for cell in notebook.cells) == 1
    assert "**PyXspec**" in notebook.cells[0].source


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] if n in SLOW else []) for n in NAMES])
def test_notebook_with_small_settings(name, read, tmp_path, monkeypatch):
    notebook = read(name)
    (settings,) = (cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", []))
    settings.source = SMALL + MORE.get(name, "")
    text, _ = execute(notebook, tmp_path, monkeypatch)
    assert SAID[name] in text


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_notebook_as_it_is(name, read, tmp_path, monkeypatch):
    text, outputs = execute(read(name), tmp_path, monkeypatch)
    assert SAID[name] in text
    assert "CONVERGED" in text.upper() and "NOT CONVERGED" not in text.upper()
    pictures = [output for output in outputs if "image/png" in output.get("data", {})]
    assert len(pictures) == {"first_posterior": 2, "joint_fit": 1, "bxa": 1}.get(name, 0)
