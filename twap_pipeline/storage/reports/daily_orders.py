"""Totals of the orders per start date, from ``twap_daily_stats``."""

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from sqlalchemy import Connection, RowMapping, select

from twap_pipeline.storage.schema.models import twap_daily_stats


@dataclass(frozen=True, slots=True)
class DailyOrderSummary:
    """Totals of the orders that started on one UTC date.

    Args:
        rows: Number of rows in ``twap_daily_stats``.
        notional_executed: Executed notional, USD.
        by_status: Status → number of orders, descending; "NULL" for a missing status.
        markets: Asset, number of orders and executed notional (USD), by notional, descending.
    """

    rows: int
    order_count: int
    underfilled_order_count: int
    notional_executed: Decimal
    by_status: Mapping[str, int]
    markets: Sequence[tuple[str, int, Decimal]]


def daily_figures(connection: Connection, days: Collection[date]) -> dict[date, DailyOrderSummary]:
    """Return date → totals for each of these dates; all zero for a date without orders."""
    stats = twap_daily_stats.c
    statement = select(
        stats.day, stats.asset, stats.status, stats.order_count, stats.underfilled_order_count, stats.notional_executed
    ).where(stats.day.in_(days))
    rows: dict[date, list[RowMapping]] = {day: [] for day in days}
    for row in connection.execute(statement).mappings():
        rows[row["day"]].append(row)
    return {day: _figures(day_rows) for day, day_rows in rows.items()}


def _figures(rows: Sequence[RowMapping]) -> DailyOrderSummary:
    by_status: Counter[str] = Counter()
    orders: Counter[str] = Counter()
    executed: defaultdict[str, Decimal] = defaultdict(Decimal)
    for row in rows:
        by_status[row["status"] or "NULL"] += row["order_count"]
        orders[row["asset"] or "NULL"] += row["order_count"]
        executed[row["asset"] or "NULL"] += row["notional_executed"] or 0
    return DailyOrderSummary(
        rows=len(rows),
        order_count=by_status.total(),
        underfilled_order_count=sum(row["underfilled_order_count"] for row in rows),
        notional_executed=sum(executed.values(), Decimal()),
        by_status=dict(by_status.most_common()),
        markets=sorted(((name, orders[name], executed[name]) for name in orders), key=lambda market: -market[2]),
    )
