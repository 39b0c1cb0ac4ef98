"""Python code blocks of the documents, and what each needs around it."""

import re
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
_BLOCK = re.compile(r"(<!-- not run here: (?P<why>[^\n]+?) -->\n)?```python\n(?P<code>.*?)```", re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A block with its place; ``why`` says why it is not run, or is empty."""

    document: str
    line: int
    code: str
    why: str

    def __str__(self):
        return f"{self.document}:{self.line}"


def blocks():
    """All blocks of the README and of docs/, in order."""
    found = []
    for path in [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))]:
        text = path.read_text()
        for match in _BLOCK.finditer(text):
            line = text[: match.start("code")].count("\n") + 1
            found.append(Block(path.name, line, match["code"], match["why"] or ""))
    return found
