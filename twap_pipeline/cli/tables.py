"""Tables for terminal output."""

import sys
from collections.abc import Iterable, Sequence
from datetime import datetime
from decimal import Decimal

from rich import box
from rich.console import Console
from rich.table import Table

from twap_pipeline.domain.row_counts import RowCounts
from twap_pipeline.storage.reports.ingest_summary import IngestDaySummary
from twap_pipeline.storage.reports.order_history import Event

_UNLIMITED_WIDTH = 10_000


def print_table(headers: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print rows under headers; columns of numbers are right-aligned.

    A terminal that is too narrow wraps cells. Other output is plain text with one line per row.
    """
    cells = [[_to_text(value) for value in row] for row in rows]
    table = Table(box=box.SIMPLE, show_edge=False, pad_edge=False)
    for index, header in enumerate(headers):
        is_numeric = all(_is_number(row[index]) for row in cells)
        table.add_column(header, justify="right" if is_numeric else "left", overflow="fold")
    for row in cells:
        table.add_row(*row)
    width = None if sys.stdout.isatty() else _UNLIMITED_WIDTH
    Console(width=width, highlight=False, markup=False, emoji=False).print(table)


def print_day_summary(summaries: Sequence[IngestDaySummary]) -> None:
    """Print the row counts of each UTC day, and their total."""
    total = RowCounts.sum_of(summary.row_counts for summary in summaries)
    rows: list[Sequence[object]] = [
        (day.day, day.objects, day.failed, day.row_counts.total, *day.row_counts.as_dict().values())
        for day in summaries
    ]
    objects, failed = sum(day.objects for day in summaries), sum(day.failed for day in summaries)
    rows.append(("total", objects, failed, total.total, *total.as_dict().values()))
    print_table(["date (UTC)", "objects", "failed", "rows read", *total.as_dict()], rows)


def print_order_history(events: Sequence[Event]) -> None:
    """Print the events of an order."""
    print_table(
        ["ts (UTC)", "status", "executed", "requested", "notional USD", "message"],
        [
            (
                event.ts,
                event.status,
                event.size_executed,
                event.size_requested,
                event.notional_executed,
                event.status_error,
            )
            for event in events
        ],
    )


def _to_text(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M:%S.%f")
    if isinstance(value, Decimal):
        return f"{value:f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _is_number(cell: str) -> bool:
    return cell == "-" or cell.replace(",", "").replace(".", "").isdigit()
