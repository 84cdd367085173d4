"""Markdown for metadata in Dagster's UI: text bar charts and tables."""

from collections.abc import Mapping, Sequence

_BAR_WIDTH = 40


def bars(counts: Mapping[str, int]) -> str:
    """Return a bar chart of the counts as a code block, or an empty string if every count is zero."""
    largest = max(counts.values(), default=0)
    if not largest:
        return ""
    width = max(map(len, counts))
    lines = (f"{name:<{width}} {'█' * round(_BAR_WIDTH * count / largest)} {count}" for name, count in counts.items())
    return "```text\n" + "\n".join(lines) + "\n```"


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table; pipes in cells are escaped."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
