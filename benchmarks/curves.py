"""Draws curves as one SVG file: both axes are logarithmic, so that linear growth is a diagonal and a bend is seen."""

import math
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

Points = Sequence[tuple[float, float]]

_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _LEGEND = 520, 360, 60, 40, 300
_COLORS = ("#4f43dd", "#d9480f", "#2b8a3e", "#c2255c", "#1971c2", "#e67700", "#862e9c", "#087f5b", "#495057", "#a61e4d")


def write_curves(path: Path, title: str, x_name: str, y_name: str, curves: Mapping[str, Points]) -> None:
    """Write an SVG file with one line per curve; its folder is created. Values must be positive."""
    xs = [x for points in curves.values() for x, _ in points]
    ys = [y for points in curves.values() for _, y in points]
    x_decades, y_decades = _decades(xs), _decades(ys)

    def place(x: float, y: float) -> str:
        right = _LEFT + (_WIDTH - _LEFT) * _share(x, x_decades)
        down = (_HEIGHT - _BOTTOM) * (1 - _share(y, y_decades)) + 30
        return f"{right:.1f},{down:.1f}"

    parts = [f"<text x='{_LEFT}' y='16' font-weight='bold'>{escape(title)}</text>"]
    for decade in range(x_decades[0], x_decades[1] + 1):
        top, bottom = place(10**decade, 10 ** y_decades[1]), place(10**decade, 10 ** y_decades[0])
        parts.append(f"<path d='M{top} L{bottom}' stroke='#ddd'/>")
        label = f"x='{bottom.split(',')[0]}' y='{_HEIGHT - _BOTTOM + 46}' text-anchor='middle'"
        parts.append(f"<text {label}>{10**decade:,}</text>")
    for decade in range(y_decades[0], y_decades[1] + 1):
        left, right_end = place(10 ** x_decades[0], 10**decade), place(10 ** x_decades[1], 10**decade)
        parts.append(f"<path d='M{left} L{right_end}' stroke='#ddd'/>")
        parts.append(
            f"<text x='{_LEFT - 6}' y='{float(left.split(',')[1]) + 4}' text-anchor='end'>{10**decade:g}</text>"
        )
    for number, (name, points) in enumerate(curves.items()):
        color, line = _COLORS[number % len(_COLORS)], " ".join(place(x, y) for x, y in sorted(points))
        dash = " stroke-dasharray='5 3'" if number >= len(_COLORS) else ""
        parts.append(f"<polyline points='{line}' fill='none' stroke='{color}' stroke-width='2'{dash}/>")
        y = 40 + 16 * number
        parts.append(f"<path d='M{_WIDTH + 20} {y - 4}h20' stroke='{color}' stroke-width='2'{dash}/>")
        parts.append(f"<text x='{_WIDTH + 46}' y='{y}'>{escape(name)}</text>")
    parts.append(f"<text x='{(_LEFT + _WIDTH) / 2}' y='{_HEIGHT + 30}' text-anchor='middle'>{escape(x_name)}</text>")
    parts.append(f"<text x='14' y='{_HEIGHT / 2}' transform='rotate(-90 14 {_HEIGHT / 2})'>{escape(y_name)}</text>")
    height = max(_HEIGHT + 40, 60 + 16 * len(curves))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {_WIDTH + _LEGEND} {height}' font-family='sans-serif'"
        f" font-size='11' fill='#333'><rect width='100%' height='100%' fill='#fff'/>{''.join(parts)}</svg>\n"
    )


def _decades(values: Sequence[float]) -> tuple[int, int]:
    """Return the exponents of ten around positive values."""
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    return low, max(high, low + 1)


def _share(value: float, decades: tuple[int, int]) -> float:
    return (math.log10(value) - decades[0]) / (decades[1] - decades[0])
