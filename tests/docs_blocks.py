"""Code blocks of the documents, and how each is shown to work."""

import re
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
DOCUMENTS = ["README.md", "docker/README.md", "tcl/README.md", "benchmarks/README.md"]
_BLOCK = re.compile(
    r"(?:<!-- (?P<how>not run here|run by): (?P<what>[^\n]+?) -->\n)?```(?P<language>\w*)\n(?P<code>.*?)```", re.S
)


@dataclass(frozen=True)
class Block:
    """A block with its place; ``why`` says why it is not run, ``by`` which test file runs it instead."""

    document: str
    line: int
    language: str
    code: str
    why: str
    by: str

    def __str__(self):
        return f"{self.document}:{self.line}"


def paths():
    """README files of the repository, and docs/."""
    return [REPOSITORY / name for name in DOCUMENTS] + sorted((REPOSITORY / "docs").glob("*.md"))


def blocks(*languages):
    """Blocks of all documents in order, in these languages or in any; a document is named by its path in short."""
    found = []
    for path in paths():
        text = path.read_text()
        name = path.name if path.parent.name == "docs" else str(path.relative_to(REPOSITORY))
        for match in _BLOCK.finditer(text):
            if languages and match["language"] not in languages:
                continue
            line = text[: match.start("code")].count("\n") + 1
            what = {match["how"]: match["what"]}
            block = Block(
                name, line, match["language"], match["code"], what.get("not run here", ""), what.get("run by", "")
            )
            found.append(block)
    return found
