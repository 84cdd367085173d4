"""Bar charts for metadata in Dagster's UI: Markdown with one SVG image as a data URI.

The UI shows Markdown images, and neither inline SVG, HTML nor Vega. It shows Markdown of 1,000 characters and more only
after a click, and its pages have little width: the SVG is short and narrow. Names come from the data: they cannot end
the image, and a browser runs no script of an image.
"""

import re
from collections.abc import Mapping
from decimal import Decimal
from html import escape

from twap_pipeline.defs.texts import shorten

BARS_MAX = 8
"""Bars of `bar_chart`; the last one is the sum of all further values."""

CHART_WIDTH = 325
"""Width of every chart in pixels: that of the value column of an asset's overview."""

_NAME_CHARACTERS_MAX = 20
_BAR_PIXELS = 165
_COLUMN_PIXELS = 100
_NOT_IN_URL = re.compile(r"[%#&<>\"\\]")


def column_chart(title: str, counts: Mapping[int, int]) -> str:
    """Return a chart with one column per UTC hour; the largest count is a label on the left."""
    largest = max(counts.values(), default=0)
    scale = _COLUMN_PIXELS / (largest or 1)
    columns = "".join(f"M{50 + 11 * hour} 110v-{count * scale:.0f}" for hour, count in counts.items() if count)
    hours = "".join(f"<text x='{45 + 11 * hour}' y='125'>{hour:02}:00</text>" for hour in range(0, 24, 6))
    return _image(
        title,
        130,
        f"<path d='{columns}' stroke='#4f43dd' stroke-width='9'/><path d='M44 110h266' stroke='#999'/>"
        f"<text y='16'>{largest:,}</text><text y='113'>0</text>{hours}",
    )


def bar_chart(title: str, values: Mapping[str, int | Decimal]) -> str:
    """Return a chart with one horizontal bar per name, in the given order, with the value rounded to an integer."""
    items = list(values.items())
    if len(items) > BARS_MAX:
        further = items[BARS_MAX - 1 :]
        items[BARS_MAX - 1 :] = [(f"{len(further)} others", sum(value for _, value in further))]
    scale = _BAR_PIXELS / max((float(value) for _, value in items if value > 0), default=1)
    bars = "".join(f"M156 {10 + 20 * row}h{max(float(value), 0) * scale:.0f}" for row, (_, value) in enumerate(items))
    labels = "".join(
        f"<text y='{14 + 20 * row}'>{escape(_label(name), quote=False)} {value:,.0f}</text>"
        for row, (name, value) in enumerate(items)
    )
    return _image(
        title,
        max(20 * len(items), 1),
        f"<path d='{bars}' stroke='#4f43dd' stroke-width='14'/>"
        f"<g text-anchor='end' transform='translate(150)'>{labels}</g>",
    )


def _image(title: str, height: int, content: str) -> str:
    svg = (
        f"<svg xmlns='http://www.w3.org/2000/svg' width='{CHART_WIDTH}' height='{height}' font-family='sans-serif'"
        f" font-size='11' fill='#777'>{content}</svg>"
    )
    encoded = _NOT_IN_URL.sub(lambda character: f"%{ord(character[0]):02X}", svg)
    return f"![{title}](<data:image/svg+xml,{encoded}>)"


def _label(name: str) -> str:
    """Return a name without line breaks and control characters, cut to a few characters."""
    text = "".join(character if character.isprintable() else " " for character in name)
    return shorten(text, _NAME_CHARACTERS_MAX)
