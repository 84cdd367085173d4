"""Encodes a frame as PostgreSQL's COPY text format.

Text and not binary: sizes are text already, NUMERIC parses them digit by digit, and text is the fastest to encode.
"""

import io
from collections.abc import Collection

import polars as pl

_ESCAPES = (("\\", "\\\\"), ("\t", "\\t"), ("\n", "\\n"), ("\r", "\\r"))
_SPECIAL = r"[\\\t\n\r]"


def copy_text(frame: pl.DataFrame, *, plain: Collection[str] = (), json: Collection[str] = ()) -> bytes:
    """Return the frame's rows as COPY text: one line per row, columns in the frame's order.

    Args:
        frame: Columns of type String, integer, Boolean or Datetime (µs, UTC).
        plain: String columns without backslash, tab or line end, which need no escaping.
        json: String columns of JSON, which contains no raw control characters: only backslashes are escaped.
    """
    texts = [name for name, dtype in frame.schema.items() if dtype == pl.String and name not in plain]
    special = frame.select(
        pl.col(name).str.contains("\\" if name in json else _SPECIAL, literal=name in json).any() for name in texts
    )
    escaped = [_escape(name, _ESCAPES[:1] if name in json else _ESCAPES) for name in texts if special[name].item()]
    out = io.BytesIO()
    (frame.with_columns(escaped) if escaped else frame).write_csv(
        out,
        include_header=False,
        separator="\t",
        quote_style="never",
        null_value="\\N",
        datetime_format="%Y-%m-%d %H:%M:%S%.6f+00",
    )
    return out.getvalue()


def _escape(name: str, escapes: tuple[tuple[str, str], ...]) -> pl.Expr:
    text = pl.col(name)
    for raw, escaped in escapes:
        text = text.str.replace_all(raw, escaped, literal=True)
    return text
