"""Questions to ``twap_status``: a wallet's orders or events in pages, and an order's whole story.

**What pages promise.** The first page fixes which events belong to the list: those that were there. Whatever page they
fall on, each comes once, as it stands when its page is read. Events that arrive later, of whatever time, stay out, so
that they neither shift nor double anything. The bound is the next transaction id at the first page: a row written by
that transaction or a later one is late. Two cases lean to the side of showing too much, never too little: an object
that was being written at that very moment may add events to later pages, and so may one that replaced stored events
(rule V9), since a replaced event must not get lost.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Select,
    and_,
    exists,
    func,
    literal,
    literal_column,
    not_,
    or_,
    select,
    tuple_,
)
from sqlalchemy.sql.selectable import NamedFromClause

from twap_pipeline.domain.twap_status import TERMINAL_STATUSES
from twap_pipeline.storage.models import etl_s3_ingest_log as log
from twap_pipeline.storage.models import twap_status
from twap_pipeline.storage.queries.expressions import json_object, nested

_NEXT_XID = literal_column("pg_snapshot_xmax(pg_current_snapshot())::text::bigint", BigInteger)
_XIDS = 2**32
"""Rows tell transaction ids modulo this; of two, the later is the one less than half of it ahead."""

_FRESH = timedelta(days=7)
"""Only rows written since this long before the first page can be late; it spares the others the look."""

_CLOCK_SKEW = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a page begins: after this event, in the set that the first page fixed.

    Args:
        ts: The event's time.
        twap_id: The event's order.
        bound: The next transaction id when the first page was read.
        first_read_at: When that was.
    """

    ts: datetime
    twap_id: str
    bound: int
    first_read_at: datetime


@dataclass(frozen=True, slots=True)
class EventFilter:
    """Which events of a wallet.

    Args:
        wallet: Lower case.
        start: Beginning of the range, inside it; None when open.
        end: End of the range, outside it; None when open.
        on: What the range is on: ``event`` (the event's time), ``started`` (the order's start) or ``ended`` (the time
            of its terminal event).
        asset: Only this one.
        status: Only events of this status; with `latest_per_twap`, only orders whose latest event has it.
        latest_per_twap: Of each order only the latest of these events.
    """

    wallet: str
    start: datetime | None = None
    end: datetime | None = None
    on: str = "event"
    asset: str | None = None
    status: str | None = None
    latest_per_twap: bool = True


def wallet_events(wanted: EventFilter, *, after: Place | None, limit: int, offset: int = 0) -> Select[Any]:
    """Return a statement for a page of a wallet's events, the latest first.

    Rows: the body as JSON text, ``ts`` and ``twap_id`` of the event, ``bound`` and ``read_at`` of the first page.
    """
    row = twap_status.alias("row")
    body = json_object(
        twap_id=row.c.twap_id,
        asset=row.c.asset,
        side=row.c.side,
        status=row.c.status,
        duration_minutes=row.c.duration_minutes,
        latest_ts=row.c.ts,
        executed=nested(size=row.c.size_executed, notional=row.c.notional_executed),
        raw=row.c.raw_payload,
    )
    bound = _NEXT_XID if after is None else literal(after.bound, BigInteger)
    read_at = func.now() if after is None else literal(after.first_read_at, row.c.ts.type)
    statement = select(body, row.c.ts, row.c.twap_id, bound.label("bound"), read_at.label("read_at"))
    statement = statement.where(_within(row, wanted, after))
    if wanted.latest_per_twap:
        later = twap_status.alias("later")
        statement = statement.where(
            ~exists().where(_same_order(later, row), later.c.ts > row.c.ts).where(_within(later, wanted, after))
        )
    if wanted.status is not None:
        statement = statement.where(row.c.status == wanted.status)
    if wanted.asset is not None:
        statement = statement.where(row.c.asset == wanted.asset)
    if after is not None:
        place = tuple_(literal(after.ts, row.c.ts.type), literal(after.twap_id))
        statement = statement.where(tuple_(row.c.ts, row.c.twap_id) < place)
    return statement.order_by(row.c.ts.desc(), row.c.twap_id.desc()).limit(limit).offset(offset)


def order_events(twap_id: str) -> Select[Any]:
    """Return a statement for every event of an order, oldest first. Rows: the body as JSON text."""
    row = twap_status.alias("row")
    names = (
        "wallet",
        "ts",
        "asset",
        "side",
        "size_requested",
        "size_executed",
        "notional_executed",
        "status",
        "duration_minutes",
    )
    body = json_object(**{name: row.c[name] for name in names}, raw=row.c.raw_payload)
    return select(body).where(row.c.twap_id == twap_id).order_by(row.c.ts, row.c.wallet)


def _same_order(one: NamedFromClause, other: NamedFromClause) -> ColumnElement[bool]:
    return and_(one.c.twap_id == other.c.twap_id, one.c.wallet == other.c.wallet)


def _within(row: NamedFromClause, wanted: EventFilter, after: Place | None) -> ColumnElement[bool]:
    """Whether an event is of the wallet, in the range, and of the set that the first page fixed."""
    conditions = [row.c.wallet == wanted.wallet]
    moment: ColumnElement[Any] = row.c.ts
    if wanted.on == "started":
        moment = func.coalesce(row.c.started_at, _start_of(row))
        if wanted.start is not None:  # an order's events follow its start: what the index can use
            conditions.append(row.c.ts >= wanted.start - _CLOCK_SKEW)
    if wanted.on == "ended":
        conditions.append(row.c.status.in_(sorted(TERMINAL_STATUSES)))
    if wanted.start is not None:
        conditions.append(moment >= literal(wanted.start, row.c.ts.type))
    if wanted.end is not None:
        conditions.append(moment < literal(wanted.end, row.c.ts.type))
    if after is not None:
        conditions.append(not_(_late(row, after)))
    return and_(*conditions)


def _start_of(row: NamedFromClause) -> ColumnElement[datetime]:
    """When an order began, by its other events; the same rule as in ``twap_orders``."""
    other = twap_status.alias()
    activated = func.min(other.c.ts).filter(other.c.status == "activated")
    return (
        select(func.coalesce(func.min(other.c.started_at), activated)).where(_same_order(other, row)).scalar_subquery()
    )


def _late(row: NamedFromClause, after: Place) -> ColumnElement[bool]:
    """Whether an event arrived after the first page; see the module's promise."""
    xid = literal_column(f"{row.name}.xmin::text::bigint", BigInteger)
    ahead = (xid - literal(after.bound, BigInteger)).op("&")(literal_column(str(_XIDS - 1)))
    replaced = exists().where(
        log.c.s3_object_key == row.c.s3_object_key,
        or_(log.c.rows_updated > 0, log.c.ingested_at != row.c.inserted_at),
    )
    fresh = row.c.inserted_at > literal(after.first_read_at - _FRESH, row.c.ts.type)
    return and_(fresh, ahead < _XIDS // 2, not_(replaced))
