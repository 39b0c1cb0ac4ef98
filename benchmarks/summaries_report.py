"""Table and figure of `summaries.py`, into the documents."""

from __future__ import annotations

from pathlib import Path

import numpy as np

DOCS = Path(__file__).resolve().parents[1] / "docs"
PAGE, FIGURE = DOCS / "summaries.md", DOCS / "figures" / "summaries.png"
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
SAMPLES = {"neural": "neural posterior", "weighted": "exact weights", "sir": "SIR, 1 of 32", "refined": "refined run"}
AGREEMENT = 2e-3


def labels(content: dict) -> list[str]:
    """Summaries in the order in which they were measured."""
    return list(dict.fromkeys(run["label"] for run in content["runs"]))


def of(content: dict, label: str) -> list[dict]:
    """Runs of one summary, all seeds."""
    return [run for run in content["runs"] if run["label"] == label]


def middle(runs: list[dict], *keys: str):
    """Median over seeds of a number, or of every entry of a list."""
    values = []
    for run in runs:
        for key in keys:
            run = run[key]
        values.append(run)
    return np.median(values, axis=0)


def _short(value: float) -> str:
    return f"{value:.2g}" if value < 9.95 else f"{value:.0f}"


def _cell(values: list[float]) -> str:
    """Median over seeds, and the range where there are several."""
    text = [_short(v) for v in (float(np.median(values)), min(values), max(values))]
    return text[0] if len(values) == 1 else f"{text[0]} ({text[1]}-{text[2]})"


def case_table(content: dict) -> str:
    """One row for each summary: largest divergence of each sample, efficiency, cost."""
    head = ["summary", "numbers", *SAMPLES.values(), "efficiency", "training (s)", "evaluations"]
    rows = [head, ["---"] * len(head)]
    for label in labels(content):
        runs = of(content, label)
        worst = [_cell([1e3 * max(run[sample]["divergence"]) for run in runs]) for sample in SAMPLES]
        efficiency = _cell([100 * run["weighted"]["efficiency"] for run in runs])
        rows.append(
            [label, f"{middle(runs, 'size'):.0f}", *worst, f"{efficiency} %"]
            + [f"{middle(runs, 'processor_seconds'):.0f}", f"{middle(runs, 'refined', 'evaluations'):.0f}"]
        )
    floor = content["floor"]
    rows.append(["*floor*", "", *(f"{1e3 * max(floor[k]):.2g}" for k in ("halves", "halves", "sir", "halves"))])
    rows[-1] += [""] * (len(head) - len(rows[-1]))
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def parameter_table(content: dict) -> str:
    """Divergence of every parameter, before correction and with exact weights."""
    names = content["parameters"]
    head = ["summary", *(f"`{name}`" for name in names)]
    rows = [head, ["---"] * len(head)]
    for label in labels(content):
        runs = of(content, label)
        before, after = middle(runs, "neural", "divergence"), middle(runs, "weighted", "divergence")
        rows.append([label, *(f"{_short(1e3 * b)} → {_short(1e3 * a)}" for b, a in zip(before, after, strict=True))])
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def section(content: dict) -> str:
    """Both tables of one case, and how they were made."""
    seeds = sorted({run["seed"] for run in content["runs"]})
    many = f"Median of seeds {seeds[0]} to {seeds[-1]} (lowest-highest)" if len(seeds) > 1 else f"Seed {seeds[0]}"
    reference = content["reference"]
    return (
        f"### {content['title']}\n\n"
        f"{many}; divergences in 1e-3 nat, the largest of {len(content['parameters'])} marginals.\n\n"
        f"{case_table(content)}\n\n"
        f"Every parameter, neural posterior → exact weights (1e-3 nat):\n\n{parameter_table(content)}\n\n"
        f"`{content['command']}`, {content['workers']} workers; reference: `{reference['command']}`, ESS "
        f"{reference['ess']:.0f}.\n"
    )


def figure(contents: list[dict]):
    """Largest divergence of each sample, summary by summary; one panel for each case."""
    from matplotlib.figure import Figure

    colours = dict(zip(SAMPLES, ("#b3261e", "#1d4e89", "#854d0e", "#3f6212"), strict=True))
    made = Figure(figsize=(10, 0.6 + 3.1 * len(contents)), layout="constrained")
    panels = made.subplots(len(contents), 1, squeeze=False)[:, 0]
    for axes, content in zip(panels, contents, strict=True):
        order = labels(content)
        for j, (sample, title) in enumerate(SAMPLES.items()):
            for i, label in enumerate(order):
                y = [max(run[sample]["divergence"]) for run in of(content, label)]
                x = np.full(len(y), i + 0.16 * (j - 1.5))
                axes.plot(x, y, "o", color=colours[sample], markersize=5, alpha=0.8, label=title if i == 0 else None)
        axes.axhline(AGREEMENT, color="0.3", linewidth=0.9, linestyle="--", label="agreement, 2e-3 nat")
        axes.axhline(max(content["floor"]["sir"]), color=colours["sir"], linewidth=0.9, linestyle=":")
        axes.set_yscale("log")
        axes.set_xticks(range(len(order)), order)
        axes.set_ylabel("largest divergence (nat)")
        axes.set_title(content["title"], fontsize=9, loc="left", color="0.25")
    panels[0].legend(fontsize=8, frameon=False, ncols=5, loc="lower center", bbox_to_anchor=(0.5, 1.12))
    return made


def write_report(contents: list[dict]) -> None:
    """The tables between the marks of the page, and the figure beside it.

    Raises
    ------
    SystemExit
        The page has lost its marks, or nothing was measured.
    """
    if not contents:
        raise SystemExit("nothing was measured yet")
    text = PAGE.read_text()
    if BEGIN not in text or END not in text:
        raise SystemExit(f"{PAGE} has no lines {BEGIN} and {END}")
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    figure(contents).savefig(FIGURE, dpi=110)
    picture = f"![Largest divergence of each sample]({FIGURE.relative_to(DOCS)})\n"
    held = "\n".join([picture, *(section(content) for content in contents)])
    PAGE.write_text(f"{before}{BEGIN}\n\n{held}\n{END}{after}")
    print(f"wrote the tables of {PAGE} and {FIGURE}")
