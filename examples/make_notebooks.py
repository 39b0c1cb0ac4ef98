"""Notebooks from scripts: `notebooks/*.py` are what people edit and review, `notebooks/*.ipynb` what people open.

    python examples/make_notebooks.py            # write the notebooks
    python examples/make_notebooks.py --check    # exit status 1 where one is not what its script gives

A script is in the percent format that Jupytext, VS Code and Spyder read too: `# %%` begins a cell of code,
`# %% [markdown]` one of text, `# %% tags=["parameters"]` one whose settings may be replaced.
"""

import json
import re
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parent / "notebooks"
_CELL = re.compile(r"^# %%(?: \[(?P<kind>markdown)\])?(?: tags=(?P<tags>\[.*\]))?$")


def cells(text):
    """Cells of a script as (kind, tags, lines), empty lines at their ends removed."""
    found = []
    for line in text.splitlines():
        start = _CELL.match(line)
        if start:
            found.append((start["kind"] or "code", json.loads(start["tags"] or "[]"), []))
        elif found:
            found[-1][2].append(line)
        elif line.strip():
            raise ValueError(f"{line!r} stands before the first cell")
    return [(kind, tags, "\n".join(lines).strip("\n").split("\n")) for kind, tags, lines in found]


def as_text(line):
    """A line of Markdown without the comment sign."""
    if line != "#" and not line.startswith("# "):
        raise ValueError(f"{line!r} in a cell of text is no comment")
    return line[2:]


def notebook(script):
    """The notebook of a script, without outputs.

    Parameters
    ----------
    script : pathlib.Path
        In percent format.

    Returns
    -------
    dict
        Notebook format 4.5.
    """
    made = []
    for number, (kind, tags, lines) in enumerate(cells(script.read_text(encoding="utf-8"))):
        source = [as_text(line) for line in lines] if kind == "markdown" else lines
        cell = {"cell_type": kind, "id": f"{script.stem.replace('_', '-')}-{number}", "metadata": {}}
        if tags:
            cell["metadata"]["tags"] = tags
        if kind == "code":
            cell |= {"execution_count": None, "outputs": []}
        made.append(cell | {"source": [line + "\n" for line in source[:-1]] + source[-1:]})
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
    return {"cells": made, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}


def text(script):
    """The file of a notebook."""
    return json.dumps(notebook(script), indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def main(check=False):
    """Write them all, or name those that are not in step."""
    stale = []
    for script in sorted(FOLDER.glob("*.py")):
        target = script.with_suffix(".ipynb")
        if check:
            if not target.is_file() or target.read_text(encoding="utf-8") != text(script):
                stale.append(target.name)
        else:
            target.write_text(text(script), encoding="utf-8")
    for name in stale:
        print(f"{name} is not what its script gives: run python examples/make_notebooks.py")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main(check="--check" in sys.argv[1:]))
