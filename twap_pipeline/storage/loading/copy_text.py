"""Encodes a frame as PostgreSQL's COPY text format.

Text and not binary: sizes are text already, NUMERIC parses them digit by digit, and text is the fastest to encode.
"""

import io

import polars as pl

_ESCAPES = (("\\", "\\\\"), ("\t", "\\t"), ("\n", "\\n"), ("\r", "\\r"))
_SPECIAL = r"[\\\t\n\r]"


def copy_text(frame: pl.DataFrame) -> bytes:
    """Return the frame's rows as COPY text: one line per row, columns in the frame's order.

    The columns are of type String, integer, Boolean or Datetime (µs, UTC).
    """
    special = frame.select(pl.col(pl.String).str.contains(_SPECIAL).any())
    escaped = [_escape(name) for name in special.columns if special[name].item()]
    out = io.BytesIO()
    frame.with_columns(escaped).write_csv(
        out,
        include_header=False,
        separator="\t",
        quote_style="never",
        null_value="\\N",
        datetime_format="%Y-%m-%d %H:%M:%S%.6f+00",
    )
    return out.getvalue()


def _escape(name: str) -> pl.Expr:
    text = pl.col(name)
    for raw, escaped in _ESCAPES:
        text = text.str.replace_all(raw, escaped, literal=True)
    return text
