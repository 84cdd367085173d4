"""Markdown for metadata in Dagster's UI: text bar charts and tables.

Names and cells come from the data. They cannot close a code block, start a new row or insert HTML or links.
"""

import re
from collections.abc import Mapping, Sequence

_BAR_WIDTH = 40
_NAME_CHARACTERS_MAX = 60
_SPECIAL = re.compile(r"[\\`*_{}\[\]()<>#+!|~&]")


def bars(counts: Mapping[str, int]) -> str:
    """Return a bar chart of the counts as a code block, or an empty string if every count is zero."""
    largest = max(counts.values(), default=0)
    if not largest:
        return ""
    names = {name: _shorten(_to_one_line(name)) for name in counts}
    width = max(map(len, names.values()))
    lines = [
        f"{names[name]:<{width}} {'█' * round(_BAR_WIDTH * count / largest)} {count}" for name, count in counts.items()
    ]
    fence = "`" * (1 + max(2, *(len(run) for line in lines for run in re.findall("`*", line))))
    return "\n".join((f"{fence}text", *lines, fence))


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table whose cells show their text unchanged, in one line."""
    lines = [
        columns,
        ["---"] * len(columns),
        *([_SPECIAL.sub(r"\\\g<0>", _to_one_line(cell)) for cell in row] for row in rows),
    ]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _to_one_line(text: str) -> str:
    """Return text without line breaks and control characters."""
    return "".join(character if character.isprintable() else " " for character in text)


def _shorten(name: str) -> str:
    return name if len(name) <= _NAME_CHARACTERS_MAX else name[: _NAME_CHARACTERS_MAX - 1] + "…"
