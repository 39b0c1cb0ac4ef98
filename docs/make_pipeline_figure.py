"""The pipeline as a picture: writes docs/figures/pipeline.svg.

python docs/make_pipeline_figure.py
"""

from pathlib import Path
from xml.sax.saxutils import escape

TARGET = Path(__file__).parent / "figures" / "pipeline.svg"
WIDTH, HEIGHT = 980, 330
INK, SOFT, NET, EXACT = "#1b1f24", "#4a5159", "#dbe7f3", "#dff0e4"

# name, what it does, left, top, fill
BOXES = (
    ("session", "XSPEC or embedded", 10, 40, "#f1f3f5"),
    ("prior", "yours, never guessed", 175, 40, "#f1f3f5"),
    ("simulate", "expected counts and C", 340, 40, NET),
    ("summarise", "auto-encoder", 505, 40, NET),
    ("infer", "neural posterior", 670, 40, NET),
    ("look again", "from the prior alone", 340, 220, EXACT),
    ("correct", "by exact likelihood", 505, 220, EXACT),
    ("result", "weights and evidence", 670, 220, EXACT),
    ("hand over", "chain, report, BXA", 835, 220, "#f1f3f5"),
)
BOX = (145, 62)


def box(name, text, x, y, fill):
    """A named box with a line of explanation."""
    w, h = BOX
    return (
        f'<rect x="{x}" y="{y}" width="{w}" height="{h}" rx="6" fill="{fill}" stroke="{SOFT}"/>'
        f'<text x="{x + w / 2}" y="{y + 26}" font-size="16" font-weight="bold" fill="{INK}">{escape(name)}</text>'
        f'<text x="{x + w / 2}" y="{y + 47}" font-size="11.5" fill="{INK}">{escape(text)}</text>'
    )


def arrow(path, label="", x=0, y=0):
    """A line with a head, and a label beside it."""
    line = f'<path d="{path}" fill="none" stroke="{INK}" stroke-width="1.5" marker-end="url(#head)"/>'
    # a white rim keeps letters apart from lines that they cross
    rim = 'paint-order="stroke" stroke="#ffffff" stroke-width="5"'
    return line + (f'<text x="{x}" y="{y}" font-size="13" fill="{SOFT}" {rim}>{escape(label)}</text>' if label else "")


def draw():
    """The whole picture as SVG text."""
    w, h = BOX
    arrows = [arrow(f"M{x + w} {y + h / 2} h18") for _, _, x, y, _ in BOXES if x + w < 670 and y == 40]
    arrows += [arrow(f"M{x + w} {y + h / 2} h18") for _, _, x, y, _ in BOXES if x < 800 and y == 220]
    arrows += [
        arrow("M742 40 C742 5 412 5 412 38", "next round, on a truncated prior", 577, 32),
        arrow("M742 102 C742 170 590 150 578 218", "first proposal", 765, 175),
        arrow("M412 102 C412 160 540 150 560 218", "every draw, with its C", 385, 175),
        arrow("M247 102 C247 251 300 251 338 251"),
        arrow("M610 282 C610 325 546 325 546 284", "refit the proposal, draw again", 578, 326),
    ]
    title = "The pipeline of xsixsa"
    told = (
        "Session and prior lead to rounds of simulation, summary and neural posterior; every draw with its exact "
        "likelihood, and a second exploration from the prior, lead to the correction, the result and the hand-over."
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-labelledby="t d" font-family="sans-serif" text-anchor="middle">'
        f'<title id="t">{title}</title><desc id="d">{told}</desc>'
        '<defs><marker id="head" markerWidth="9" markerHeight="9" refX="7" refY="4" orient="auto">'
        f'<path d="M0 0 L8 4 L0 8 z" fill="{INK}"/></marker></defs>'
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>'
        + "".join(arrows)
        + "".join(box(*b) for b in BOXES)
        + "</svg>\n"
    )


if __name__ == "__main__":
    TARGET.write_text(draw())
