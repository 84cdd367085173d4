"""Parsers of single feed values of any type: exact text, or null if a value cannot be read without loss.

Numbers stay text from the exchange to PostgreSQL's NUMERIC, without a float in between. If the feed itself contains a
double, its shortest text is used (0.1, not 0.1000000000000000055). Timestamps belong in ``timestamps``.
"""

import json

import polars as pl

_DECIMAL = r"^[+-]?([0-9]{1,500}(\.[0-9]{0,500})?|\.[0-9]{1,500})([eE][+-]?[0-9]{1,3})?$"
_WALLET = r"^0x[0-9a-f]{40}$"
_INT32_MAX = 2**31 - 1
_ID_DIGITS_MAX = 100


def decimal_text(column: str, dtype: pl.DataType) -> pl.Expr:
    """Return the number as text with all its digits; null if it is null, NaN, infinite or not a decimal number."""
    text = pl.col(column).cast(pl.String)
    if dtype == pl.String:
        text = text.str.strip_chars()
    return pl.when(text.str.contains(_DECIMAL)).then(text)


def integer_text(column: str, dtype: pl.DataType) -> pl.Expr:
    """Return the digits of a whole number without leading zeros; null if it is negative or not a whole number."""
    if dtype.is_integer():
        value = pl.col(column)
        return pl.when(value >= 0).then(value).cast(pl.String)
    text = decimal_text(column, dtype)
    if dtype.is_float() or isinstance(dtype, pl.Decimal):
        text = text.str.replace(r"\.0*$", "")
    digits = text.str.extract(r"^0*([0-9]+)$", 1)
    return pl.when(digits.str.len_bytes() <= _ID_DIGITS_MAX).then(digits)


def parse_minutes(column: str, dtype: pl.DataType) -> pl.Expr:
    """Return whole minutes (Int64, within PostgreSQL's INTEGER); null if the value is not."""
    value = pl.col(column) if dtype.is_integer() else integer_text(column, dtype)
    number = value.cast(pl.Int64, strict=False)
    return pl.when(number.is_between(0, _INT32_MAX)).then(number)


def parse_wallet(column: str) -> pl.Expr:
    """Return the address in lower case; null if it is not a valid address."""
    lower = pl.col(column).cast(pl.String).str.strip_chars().str.to_lowercase()
    return pl.when(lower.str.contains(_WALLET)).then(lower)


def status_text(statuses: pl.Series) -> pl.Series:
    """Return statuses as text: unchanged, or as JSON if the column is a struct or a map."""
    name = statuses.name
    if isinstance(statuses.dtype, pl.Map):
        texts = [value if value is None else json.dumps(value, default=str) for value in statuses.to_list()]
        return pl.Series(name, texts, pl.String)
    if not isinstance(statuses.dtype, pl.Struct):
        return statuses.cast(pl.String)
    json_text = pl.when(pl.col(name).is_not_null()).then(pl.col(name).struct.json_encode())
    return statuses.to_frame().select(json_text.alias(name)).to_series()


def split_status(text: pl.Series) -> pl.DataFrame:
    """Return columns ``status`` and ``status_error`` from any form of the feed.

    ``{"error": "message"}`` and ``error: message`` become status ``error`` and the message. The form of the exchange's
    API, ``{"status": "error", "description": "message"}``, becomes the status and the description, which is None if it
    is missing or empty. Other text is the status, verbatim.
    """
    statuses = text.to_list()
    parts = {value: _split(value) for value in set(statuses)}
    columns = {"status": 0, "status_error": 1}
    return pl.DataFrame(
        {name: [parts[value][index] for value in statuses] for name, index in columns.items()},
        schema=dict.fromkeys(columns, pl.String),
    )


def _split(text: str | None) -> tuple[str | None, str | None]:
    if text is None:
        return None, None
    if text.lstrip()[:1] in ("{", '"'):
        return _split_json(text)
    name, colon, message = text.partition(":")
    return ("error", message.strip()) if colon and name.strip() == "error" else (text, None)


def _split_json(text: str) -> tuple[str | None, str | None]:
    try:
        value = json.loads(text)
        json.dumps(value, ensure_ascii=False).encode()  # raises for a lone surrogate, which PostgreSQL cannot store
    except (ValueError, RecursionError):
        return text, None
    if isinstance(value, str):
        return value, None
    present = {name: content for name, content in value.items() if content is not None}
    if isinstance(status := present.get("status"), str):  # as in the answers of the exchange's API
        name, message = _split(status)
        description = present.get("description") or message
        return name, description if description is None or isinstance(description, str) else json.dumps(description)
    if len(present) != 1:
        return (text if present else None), None
    name, content = next(iter(present.items()))
    return name, content if isinstance(content, str) else json.dumps(content)
