"""Charts of metadata: names from the data stay text, and normal charts are short enough to be shown at once."""

import re
from decimal import Decimal
from urllib.parse import unquote
from xml.etree import ElementTree

import pytest

from twap_pipeline.defs.charts import BARS_MAX, bar_chart, column_chart

INLINE_CHARACTERS_MAX = 999
"""Dagster's UI shows longer Markdown after a click only."""


def svg(markdown: str) -> ElementTree.Element:
    """Return the SVG of the only image of a Markdown text."""
    match = re.fullmatch(r"!\[[\w ,]+\]\(<data:image/svg\+xml,([^<>\n\\&#\"]*)>\)", markdown)
    assert match, markdown
    return ElementTree.fromstring(unquote(match[1]))


def labels(markdown: str) -> list[str]:
    """Return the texts of a chart."""
    return [element.text or "" for element in svg(markdown).iter("{http://www.w3.org/2000/svg}text")]


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("</text></svg><img/>", "</text></svg><img/>"),
        ("]]>&amp;%3Cb%3E", "]]>&amp;%3Cb%3E"),
        (">)\n\n# title ![x](y)", ">)  # title ![x](y)"),
        ("'\"`\\#?", "'\"`\\#?"),
        ("x\u2028\u202e\x00\ufffe", "x    "),
        ("a" * 60_000, "a" * 19 + "…"),
    ],
    ids=ascii,
)
def test_name_in_bar_chart_is_shown_as_text(name: str, shown: str) -> None:
    assert labels(bar_chart("orders by status", {name: 1234})) == [f"{shown} 1,234"]


def test_bar_chart_adds_up_further_values() -> None:
    chart = bar_chart("markets", {f"M{number}": Decimal(1000 - number) for number in range(20)})

    assert labels(chart)[-2:] == ["M6 994", f"{20 - BARS_MAX + 1} others {sum(1000 - n for n in range(7, 20)):,}"]
    assert len(labels(chart)) == BARS_MAX


def test_column_chart_has_one_column_per_counted_hour() -> None:
    chart = column_chart("events by hour", {hour: 0 if hour == 8 else 100 * hour for hour in range(1, 24)})
    columns = svg(chart)[0].attrib["d"]

    assert columns.count("M") == 22
    assert columns.endswith("v-100")
    assert labels(chart) == ["2,300", "0", "00:00", "06:00", "12:00", "18:00"]


@pytest.mark.parametrize("chart", [column_chart("x", {}), bar_chart("x", {}), bar_chart("x", {"a": 0, "b": -1})])
def test_chart_without_positive_values_is_valid(chart: str) -> None:
    assert svg(chart).tag.endswith("svg")


def test_charts_of_full_days_are_shown_without_a_click() -> None:
    names = ("waitingForTrigger", *(f"xyz:FARTCOIN{number}" for number in range(20)))

    assert len(column_chart("events by hour", dict.fromkeys(range(24), 99999))) <= INLINE_CHARACTERS_MAX
    assert len(bar_chart("executed notional by market, USD", dict.fromkeys(names, 10**10))) <= INLINE_CHARACTERS_MAX
