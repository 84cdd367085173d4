"""Markdown of metadata: names and cells from the data stay text."""

import re

import pytest

from twap_pipeline.defs.markdown import bars, table


@pytest.mark.parametrize(
    "name",
    [
        "x\n```\n<img src=x onerror=alert(1)>",
        "````````\n# title",
        "x\r```\u2028~~~",
        "`",
        "<script>",
    ],
    ids=ascii,
)
def test_bar_chart_name_cannot_close_the_code_block(name: str) -> None:
    first, *lines, last = bars({name: 2, "finished": 1}).splitlines()

    assert re.fullmatch("`{3,}text", first)
    assert (last, len(lines)) == (first.removesuffix("text"), 2)
    assert not any(last in line for line in lines)


def test_bar_chart_shortens_long_names() -> None:
    chart = bars({"a" * 60_000: 1, "b": 2})

    assert len(chart) < 400
    assert f"{'a' * 59}… " in chart


@pytest.mark.parametrize(
    ("cell", "shown"),
    [
        ("<img src=x>", r"\<img src=x\>"),
        ("a|b\nc", r"a\|b c"),
        ("[x](javascript:1)", r"\[x\]\(javascript:1\)"),
        ("\\| `x`", r"\\\| \`x\`"),
    ],
)
def test_table_cell_is_shown_as_text(cell: str, shown: str) -> None:
    assert table(("asset",), [[cell]]).splitlines()[2] == f"| {shown} |"
