"""Tables for metadata in Dagster's UI, which shows them without a click and each cell as text, without Markdown."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal

import dagster as dg

from twap_pipeline.defs.texts import shorten

_CELL_CHARACTERS_MAX = 300


def text_table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> dg.TableMetadataValue:
    """Return a table of texts: decimals are exact, timestamps are UTC, long texts are cut, None is empty."""
    records = [dg.TableRecord(dict(zip(columns, map(_to_text, row), strict=True))) for row in rows]
    return dg.MetadataValue.table(records, dg.TableSchema([dg.TableColumn(name) for name in columns]))


def _to_text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S.%f}"
    return shorten(f"{value:f}" if isinstance(value, Decimal) else str(value), _CELL_CHARACTERS_MAX)
