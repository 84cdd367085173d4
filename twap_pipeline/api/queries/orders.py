"""Questions to ``twap_orders``: a wallet added up, and the daily figures.

A range of a wallet's orders is on ``last_status_at``: for an ended order its end, for another its last event. Every order
has one, so no order falls out of every range.
"""

from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from sqlalchemy import DateTime, Select, TextClause, bindparam, func, literal, select, text, tuple_

from twap_pipeline.api.queries.json_format import json_object, rfc3339_sql
from twap_pipeline.storage.schema.models import twap_daily_stats as daily

# The parts that are put together below are this module's own constants.

PERIOD = "wallet = :wallet AND last_status_at >= coalesce(:start, '-infinity') AND last_status_at < coalesce(:end, 'infinity')"
"""A wallet's orders in a range; a bound that is None is open."""

LATEST_EVENT_SQL = (
    "(SELECT max(last_status_at) FROM twap_orders WHERE start_date >= (SELECT max(start_date) FROM twap_orders) - 8)"
)
"""The latest event known. Orders last seven days at most, so it belongs to one that began in the last eight."""

_SUMMARY = f"""
WITH chosen AS MATERIALIZED (SELECT * FROM twap_orders WHERE {PERIOD}),
lines AS (
  SELECT asset, side, count(*) AS orders, count(*) FILTER (WHERE ended_at IS NULL) AS running,
    count(*) FILTER (WHERE status = 'finished') AS finished,
    count(*) FILTER (WHERE status = 'terminated') AS terminated,
    count(*) FILTER (WHERE status = 'error') AS error,
    count(*) FILTER (WHERE is_underfilled) AS is_underfilled,
    sum(size_requested)::text AS size_requested, sum(size_executed)::text AS size_executed,
    sum(notional_executed)::text AS notional_executed,
    (sum(notional_executed) / nullif(sum(size_executed), 0))::text AS average_price
  FROM chosen GROUP BY asset, side ORDER BY sum(notional_executed) DESC NULLS LAST, asset, side
)
SELECT count(*) AS orders, coalesce(sum(notional_executed), 0)::text AS notional_executed,
  {rfc3339_sql("min(coalesce(started_at, first_event_at))")} AS first_order_at,
  {rfc3339_sql("max(last_status_at)")} AS last_event_at,
  (SELECT coalesce(json_agg(lines), '[]')::text FROM lines) AS by_asset
FROM chosen
"""  # noqa: S608


def period(statement: TextClause, wallet: str, start: datetime | None, end: datetime | None) -> TextClause:
    """Return a statement with the parameters of `PERIOD`."""
    moment = DateTime(timezone=True)
    return statement.bindparams(
        bindparam("wallet", wallet), bindparam("start", start, moment), bindparam("end", end, moment)
    )


def wallet_summary(wallet: str, start: datetime | None, end: datetime | None) -> TextClause:
    """Return a statement for a wallet's orders added up.

    One row: ``orders``, ``notional_executed`` and the two times as to_json_value, ``by_asset`` a JSON list as text.
    """
    return period(text(_SUMMARY), wallet, start, end)


@dataclass(frozen=True, slots=True)
class DailyStatsCursor:
    """Where a page of daily figures begins: after this line. What is NULL counts as empty."""

    day: date
    asset: str
    side: str
    status: str


def daily_stats(
    start: date, end: date, asset: str | None, *, after: DailyStatsCursor | None, limit: int
) -> Select[Any]:
    """Return a statement for the daily figures of a range of days, oldest first.

    Rows: the body as JSON text, then the line's place.
    """
    columns = daily.c
    key = (columns.day, *(func.coalesce(column, "") for column in (columns.asset, columns.side, columns.status)))
    names = ("day", "asset", "side", "status")
    statement = select(json_object(**dict(columns)), *(one.label(name) for one, name in zip(key, names, strict=True)))
    statement = statement.where(
        columns.day >= literal(start, columns.day.type), columns.day < literal(end, columns.day.type)
    )
    if asset is not None:
        statement = statement.where(columns.asset == asset)
    if after is not None:
        place = tuple_(literal(after.day, columns.day.type), *map(literal, (after.asset, after.side, after.status)))
        statement = statement.where(columns.day >= literal(after.day, columns.day.type), tuple_(*key) > place)
    return statement.order_by(*key).limit(limit)
