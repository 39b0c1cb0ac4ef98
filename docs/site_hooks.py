"""What the site is given when it is built: the page of benchmarks, and pages that the navigation does not list yet."""

import re
import sys
from pathlib import Path

from mkdocs.structure.files import File

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from benchmarks_page import page  # noqa: E402


def on_config(config):
    """Documents that nobody put into the navigation go to the end of "Using it": none is lost."""

    def listed(nav):
        for entry in nav:
            for value in entry.values():
                yield from listed(value) if isinstance(value, list) else [value]

    known = set(listed(config.nav))
    (using,) = (entry["Using it"] for entry in config.nav if "Using it" in entry)
    for path in sorted(HERE.glob("*.md")):
        if path.name not in known:
            title = next((s[2:] for s in path.read_text().splitlines() if s.startswith("# ")), path.stem)
            using.append({title: path.name})
    return config


def on_files(files, config):
    """The page of benchmarks, from the results as they are."""
    files.append(File.generated(config, "benchmarks.md", content=page(HERE.parent / "benchmarks" / "results")))
    return files


def on_page_markdown(markdown, **_):
    """Links to files of the repository that are no documents: the site names them, since it does not hold them."""
    return re.sub(r"(?<!!)\[([^\]]+)\]\(\.\./([^)\s]+)\)", r"\1 (`\2` in the repository)", markdown)


def on_page_content(html, **_):
    """Roles of numpydoc docstrings (:class:, :func:, :meth:) mean nothing in Markdown: only the name is kept."""
    return re.sub(r":(?:class|func|meth|mod|attr):<code>~?([^<]+)</code>", r"<code>\1</code>", html)
