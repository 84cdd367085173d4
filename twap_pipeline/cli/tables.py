"""Tables and numbers as a terminal shows them."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING

import click

from twap_pipeline.domain.row_counts import RowCounts

if TYPE_CHECKING:
    from twap_pipeline.storage.reports.ingest_summary import IngestDaySummary
    from twap_pipeline.storage.reports.order_history import Event


_KILO = 1000


def table(headers: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print rows under headers, numbers to the right."""
    texts = [[_cell(value) for value in row] for row in rows]
    numeric = [all(_is_number(row[place]) for row in texts) for place in range(len(headers))]
    widths = [max(map(len, column)) for column in zip(headers, *texts, strict=True)]
    for line in (list(headers), ["-" * width for width in widths], *texts):
        cells = (
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(line, widths, numeric, strict=True)
        )
        click.echo("  ".join(cells).rstrip())


def print_day_summary(reports: Sequence["IngestDaySummary"]) -> None:
    """Print the ledger by day, with a total."""
    row_counts = list(RowCounts().as_dict())
    total = RowCounts.sum_of(report.row_counts for report in reports)
    lines = [
        (report.day, report.objects, report.failed, report.row_counts.total, *report.row_counts.as_dict().values())
        for report in reports
    ]
    objects, failed = sum(report.objects for report in reports), sum(report.failed for report in reports)
    table(
        ["day (UTC)", "objects", "failed", "rows read", *row_counts],
        [*lines, ("all", objects, failed, total.total, *total.as_dict().values())],
    )


def print_order_history(events: Sequence["Event"]) -> None:
    """Print an order's events, oldest first."""
    table(
        ["when (UTC)", "status", "executed", "of", "notional USD", "message"],
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


def size(count: int) -> str:
    """Return bytes in a unit that can be read."""
    value = float(count)
    for unit in ("B", "kB", "MB"):
        if value < _KILO:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= _KILO
    return f"{value:.2f} GB"


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M:%S.%f")
    if isinstance(value, Decimal):
        return f"{value:f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _is_number(cell: str) -> bool:
    return cell == "-" or cell.replace(",", "").replace(".", "").isdigit()
