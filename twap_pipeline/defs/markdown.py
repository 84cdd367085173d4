"""Numbers that people would rather look at than read, as the Markdown that Dagster's UI shows: bars and tables."""

from collections.abc import Mapping, Sequence

_BAR_WIDTH = 40


def bars(counts: Mapping[str, int]) -> str:
    """Return counts as a plot of text bars; empty where all are zero."""
    largest = max(counts.values(), default=0)
    if not largest:
        return ""
    width = max(map(len, counts))
    lines = (f"{name:<{width}} {'█' * round(_BAR_WIDTH * count / largest)} {count}" for name, count in counts.items())
    return "```text\n" + "\n".join(lines) + "\n```"


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return rows as a table, each cell as the text that it is."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
