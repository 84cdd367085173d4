"""Daily order figures, summed up over sides for people to look at."""

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from sqlalchemy import Connection, RowMapping, select

from twap_pipeline.storage.schema.models import twap_daily_stats


@dataclass(frozen=True, slots=True)
class DailyOrderSummary:
    """The orders that started on one UTC day.

    Args:
        rows: Rows of ``twap_daily_stats``.
        order_count: Orders.
        underfilled_order_count: Those that ended with less executed than requested.
        notional_executed: USD.
        by_status: Orders by present status, most first.
        markets: Asset, orders and executed USD, largest first.
    """

    rows: int
    order_count: int
    underfilled_order_count: int
    notional_executed: Decimal
    by_status: Mapping[str, int]
    markets: Sequence[tuple[str, int, Decimal]]


def daily_figures(connection: Connection, days: Collection[date]) -> dict[date, DailyOrderSummary]:
    """Return the figures of each of these days, also of those without orders."""
    stats = twap_daily_stats.c
    statement = select(
        stats.day, stats.asset, stats.status, stats.order_count, stats.underfilled_order_count, stats.notional_executed
    ).where(stats.day.in_(days))
    rows: dict[date, list[RowMapping]] = {day: [] for day in days}
    for row in connection.execute(statement).mappings():
        rows[row["day"]].append(row)
    return {day: _figures(found) for day, found in rows.items()}


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
        markets=sorted(((name, orders[name], executed[name]) for name in orders), key=lambda one: -one[2]),
    )
