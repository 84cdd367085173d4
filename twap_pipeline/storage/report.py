"""Questions that people ask of the tables: what came in per day, one order's life, which table this is."""

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal

from sqlalchemy import Connection, RowMapping, func, select, text

from twap_pipeline.domain.quality import Fates
from twap_pipeline.domain.twap_status import CONTENT_COLUMNS, KEY_COLUMNS, TERMINAL_STATUSES
from twap_pipeline.storage.models import etl_s3_ingest_log as log
from twap_pipeline.storage.models import twap_daily_stats, twap_status


@dataclass(frozen=True, slots=True)
class DayReport:
    """The ledger's account of one UTC day of objects."""

    day: date
    objects: int
    failed: int
    size_bytes: int
    fates: Fates


@dataclass(frozen=True, slots=True)
class Event:
    """One event of an order, as stored."""

    ts: datetime
    status: str | None
    status_error: str | None
    size_requested: Decimal | None
    size_executed: Decimal | None
    notional_executed: Decimal | None
    asset: str | None
    side: str | None
    wallet: str
    duration_minutes: int | None
    s3_object_key: str


@dataclass(frozen=True, slots=True)
class DailyFigures:
    """The orders that started on one UTC day.

    Args:
        rows: Rows of ``twap_daily_stats``.
        orders: Orders.
        under_filled: Those that ended with less executed than requested.
        notional_executed: USD.
        by_status: Orders by present status, most first.
        markets: Asset, orders and executed USD, largest first.
    """

    rows: int
    orders: int
    under_filled: int
    notional_executed: Decimal
    by_status: Mapping[str, int]
    markets: Sequence[tuple[str, int, Decimal]]


def daily_figures(connection: Connection, days: Collection[date]) -> dict[date, DailyFigures]:
    """Return the figures of each of these days, also of those without orders."""
    stats = twap_daily_stats.c
    statement = select(
        stats.day, stats.asset, stats.status, stats.orders, stats.under_filled, stats.notional_executed
    ).where(stats.day.in_(days))
    rows: dict[date, list[RowMapping]] = {day: [] for day in days}
    for row in connection.execute(statement).mappings():
        rows[row["day"]].append(row)
    return {day: _figures(found) for day, found in rows.items()}


def _figures(rows: Sequence[RowMapping]) -> DailyFigures:
    by_status: Counter[str] = Counter()
    orders: Counter[str] = Counter()
    executed: defaultdict[str, Decimal] = defaultdict(Decimal)
    for row in rows:
        by_status[row["status"] or "NULL"] += row["orders"]
        orders[row["asset"] or "NULL"] += row["orders"]
        executed[row["asset"] or "NULL"] += row["notional_executed"] or 0
    return DailyFigures(
        rows=len(rows),
        orders=by_status.total(),
        under_filled=sum(row["under_filled"] for row in rows),
        notional_executed=sum(executed.values(), Decimal()),
        by_status=dict(by_status.most_common()),
        markets=sorted(((name, orders[name], executed[name]) for name in orders), key=lambda one: -one[2]),
    )


def day_reports(connection: Connection, run_ids: Sequence[str] | None = None) -> list[DayReport]:
    """Return the ledger by day, of all objects or of those that these Dagster runs took."""
    counts = [func.coalesce(func.sum(log.c[f"rows_{fate}"]), 0) for fate in Fates().as_dict()]
    statement = (
        select(
            log.c.object_date,
            func.count().filter(log.c.error_text.is_(None)),
            func.count().filter(log.c.error_text.is_not(None)),
            func.coalesce(func.sum(log.c.size_bytes), 0),
            *counts,
        )
        .where(log.c.object_date.is_not(None))
        .group_by(log.c.object_date)
        .order_by(log.c.object_date)
    )
    if run_ids is not None:
        statement = statement.where(log.c.dagster_run_id.in_(run_ids))
    return [
        DayReport(day, objects, failed, int(size), Fates(*map(int, fates)))
        for day, objects, failed, size, *fates in connection.execute(statement)
    ]


def failed_objects(connection: Connection, run_ids: Sequence[str]) -> list[tuple[str, str, int]]:
    """Return key, error and attempts of the objects that these runs could not take."""
    statement = (
        select(log.c.s3_object_key, log.c.error_text, log.c.attempts)
        .where(log.c.error_text.is_not(None), log.c.dagster_run_id.in_(run_ids))
        .order_by(log.c.s3_object_key)
    )
    return [(key, error, attempts) for key, error, attempts in connection.execute(statement)]


def order_story(connection: Connection, twap_id: str) -> list[Event]:
    """Return an order's events, oldest first; none if it is not there."""
    names = Event.__dataclass_fields__
    statement = select(*(twap_status.c[name] for name in names)).where(twap_status.c.twap_id == twap_id)
    return [Event(*row) for row in connection.execute(statement.order_by(twap_status.c.ts))]


def largest_ended_order(connection: Connection) -> str | None:
    """Return the order that executed the most dollars, as an example worth showing."""
    statement = (
        select(twap_status.c.twap_id)
        .where(twap_status.c.status.in_(TERMINAL_STATUSES), twap_status.c.notional_executed.is_not(None))
        .order_by(twap_status.c.notional_executed.desc(), twap_status.c.twap_id)
        .limit(1)
    )
    return connection.execute(statement).scalar_one_or_none()


def table_hash(connection: Connection) -> str:
    """Return a digest of every event's key and content, the same whatever object or order they came in (32 hex)."""
    columns = ", ".join(
        f"extract(epoch FROM {name})" if name in {"ts", "started_at"} else f"{name}::text"
        for name in (*KEY_COLUMNS, *CONTENT_COLUMNS)
    )
    row = f"md5(row({columns})::text)"
    total = " || ".join(
        f"lpad(to_hex(coalesce(sum(('x' || substr({row}, {start}, 8))::bit(32)::bigint), 0)::bigint), 16, '0')"
        for start in (1, 9)
    )
    return str(connection.execute(text(f"SELECT {total} FROM twap_status")).scalar_one())  # noqa: S608
