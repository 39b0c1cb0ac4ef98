"""Results of benchmarks as Markdown, whatever their layout: nothing that was measured is left out."""

import math

_PLAIN = (str, int, float, bool, type(None))
# what a reader cannot use: vectors of the problem, long columns of numbers
_LONGEST_LIST = 12
_MOST_COLUMNS = 14


def number(value, digits=3):
    """A number for a table."""
    if value is None:
        return "-"
    if not math.isfinite(value):
        return str(value)
    return f"{value:,.0f}".replace(",", "\N{NO-BREAK SPACE}") if abs(value) >= 1000 else f"{value:.{digits}g}"


def text_of(value):
    """A plain value, or a short list of them, for a table."""
    if isinstance(value, bool):
        return "yes" if value else "**no**"
    if isinstance(value, int) and abs(value) < 1000:
        return str(value)
    if isinstance(value, int | float):
        return number(value, 5)
    if isinstance(value, list):
        return ", ".join(text_of(v) for v in value)
    return "-" if value is None else str(value).replace("\n", " ")


def table(head, rows):
    """A table in Markdown; bars inside cells would end them."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines) + "\n"


def versions(made):
    """Versions in a line."""
    return ", ".join(f"{name} {version}" for name, version in made.get("versions", {}).items())


def words(name):
    """A key as words."""
    return str(name).replace("_", " ")


def is_short(value):
    """Whether a value can stand in a cell."""
    if isinstance(value, list):
        return len(value) <= _LONGEST_LIST and all(isinstance(v, _PLAIN) for v in value)
    return isinstance(value, _PLAIN)


def flat(values, before=""):
    """Nested dictionaries as one, names joined by dots; what is too long for a cell is said to be there."""
    found = {}
    for name, value in values.items():
        if isinstance(value, dict):
            found |= flat(value, f"{before}{words(name)}.")
        elif is_short(value):
            found[before + words(name)] = text_of(value)
        elif isinstance(value, list):
            found[before + words(name)] = f"{len(value)} values"
    return found


def rows_table(rows):
    """A table of dictionaries: across, a row each; or a column each where there are many quantities."""
    rows = [flat(row) for row in rows]
    names = list(dict.fromkeys(name for row in rows for name in row))
    if len(names) <= _MOST_COLUMNS or len(rows) > len(names):
        return table(names, [[row.get(name, "-") for name in names] for row in rows])
    first, *rest = names
    return table(
        [first, *(row.get(first, "-") for row in rows)],
        [[name, *(row.get(name, "-") for row in rows)] for name in rest],
    )


def is_table(value):
    """Whether a value is a list, or a dictionary, of dictionaries."""
    inside = list(value.values()) if isinstance(value, dict) else value
    return isinstance(inside, list) and len(inside) > 1 and all(isinstance(v, dict) for v in inside)


def missed(value):
    """Every bound that was missed, wherever it is noted."""
    found = []
    for name, inner in value.items() if isinstance(value, dict) else enumerate(value):
        if name == "missed" and isinstance(inner, list):
            found += [text_of(miss) for miss in inner]
        elif isinstance(inner, dict | list):
            found += missed(inner)
    return found


def anything(name, made, title=None):
    """A section for a result of any layout: command, versions, single values, then each table.

    Parameters
    ----------
    name : str
        Of the file, without its end.
    made : dict
        What it holds.
    title : str, optional
        Heading; the file's own title or its name by default.

    Returns
    -------
    str
    """
    parts = [f"## {title or made.get('title') or words(name).capitalize()}\n"]
    if made.get("command"):
        parts.append(f"`{made['command']}`\n")
    if made.get("versions"):
        parts.append(f"{versions(made)}.\n")
    tables = {key: value for key, value in made.items() if is_table(value)}
    single = {k: v for k, v in made.items() if k not in tables and k not in ("title", "command", "versions")}
    if single:
        parts.append(table(["what", "value"], list(flat(single).items())))
    for key, value in tables.items():
        rows = [{"": inner, **row} for inner, row in value.items()] if isinstance(value, dict) else value
        parts.append(f"### {words(key).capitalize()}\n")
        parts.append(rows_table(rows))
    misses = missed(made)
    if misses:
        parts.append("\n".join(f"- Missed: {miss}" for miss in misses) + "\n")
    return "\n".join(parts)
