"""Statements on ``twap_status``: pages of a wallet's orders or events, and all events of an order.

Pages follow keys that never change: orders by numeric ``twap_id``, events by (``ts``, ``twap_id``). A row that exists
when the first page is read is therefore on exactly one page, whatever is loaded between two pages.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from sqlalchemy import ColumnElement, FromClause, Select, TextClause, func, literal, select, text, tuple_
from sqlalchemy.dialects.postgresql import distinct_on

from twap_pipeline.api.queries.json_format import json_object, json_text
from twap_pipeline.domain.status import TERMINAL_STATUSES
from twap_pipeline.storage.schema.models import twap_status
from twap_pipeline.storage.sql_files import load_queries

_QUERIES = load_queries(__package__, "events.sql")
_CREATION_TOLERANCE = timedelta(days=1)
"""How much earlier than its order's creation an event may be."""

TimeField = Literal["event", "started", "ended"]


@dataclass(frozen=True, slots=True)
class EventFilter:
    """A selection of a wallet's events.

    Args:
        wallet: Lower case.
        start: Beginning of the range, inclusive; None is unbounded.
        end: End of the range, exclusive; None is unbounded.
        time_field: The time that the range applies to: ``event`` (each event), ``started`` (start of the order) or
            ``ended`` (terminal event).
        asset: Only this asset.
        status: Only this status.
    """

    wallet: str
    start: datetime | None = None
    end: datetime | None = None
    time_field: TimeField = "event"
    asset: str | None = None
    status: str | None = None


def wallet_orders(selection: EventFilter, *, after: str | None, limit: int, offset: int = 0) -> Select[Any]:
    """Return a statement for a page of orders, each at its latest event in the range, highest ``twap_id`` first.

    ``selection.status`` applies to that latest event. Rows: ``body`` as JSON text, ``twap_id``. An ID is digits without
    leading zeros, of any length, so (number of digits, text) is its numeric order.

    Args:
        selection: Which events of the wallet.
        after: ``twap_id`` of the last order of the previous page.
        limit: Maximum number of orders.
        offset: Orders to skip.
    """
    events = twap_status.c
    digits = func.length(events.twap_id).label("digits")
    latest = (
        select(digits, events.twap_id, events.wallet, events.ts, events.asset, events.status)
        .ext(distinct_on(digits, events.twap_id))
        .where(*_in_range(selection))
        .order_by(digits.desc(), events.twap_id.desc(), events.ts.desc())
    )
    if after is not None:
        latest = latest.where(tuple_(digits.element, events.twap_id) < tuple_(func.length(literal(after)), after))
    orders = latest.subquery("latest")
    page = (
        select(orders)
        .where(*_has_values(orders, selection))
        .order_by(orders.c.digits.desc(), orders.c.twap_id.desc())
        .limit(limit)
        .offset(offset)
        .subquery("page")
    )
    is_in_page = (events.twap_id == page.c.twap_id) & (events.wallet == page.c.wallet) & (events.ts == page.c.ts)
    return (
        select(_body().label("body"), events.twap_id)
        .select_from(twap_status.join(page, is_in_page))
        .order_by(page.c.digits.desc(), page.c.twap_id.desc())
    )


def wallet_events(
    selection: EventFilter, *, after: tuple[datetime, str] | None, limit: int, offset: int = 0
) -> Select[Any]:
    """Return a statement for a page of events, the latest first. Rows: ``body`` as JSON text, ``ts``, ``twap_id``.

    Args:
        selection: Which events of the wallet.
        after: ``ts`` and ``twap_id`` of the last event of the previous page.
        limit: Maximum number of events.
        offset: Events to skip.
    """
    events = twap_status.c
    statement = select(_body().label("body"), events.ts, events.twap_id).where(
        *_in_range(selection), *_has_values(twap_status, selection)
    )
    if after is not None:
        ts, twap_id = after
        statement = statement.where(tuple_(events.ts, events.twap_id) < tuple_(literal(ts, events.ts.type), twap_id))
    return statement.order_by(events.ts.desc(), events.twap_id.desc()).limit(limit).offset(offset)


def order_events(twap_id: str) -> TextClause:
    """Return a statement for the events of an order, oldest first. Rows: ``body`` as JSON text."""
    return text(_QUERIES["order_events"]).bindparams(twap_id=twap_id)


def _has_values(events: FromClause, selection: EventFilter) -> list[ColumnElement[bool]]:
    values = {"status": selection.status, "asset": selection.asset}
    return [events.c[name] == value for name, value in values.items() if value is not None]


def _in_range(selection: EventFilter) -> list[ColumnElement[bool]]:
    events = twap_status.c
    conditions: list[ColumnElement[bool]] = [events.wallet == selection.wallet]
    time: ColumnElement[Any] = events.ts
    if selection.time_field == "started":
        time = _order_start()
        if selection.start is not None:  # lets PostgreSQL use the index on (wallet, ts)
            conditions.append(events.ts >= selection.start - _CREATION_TOLERANCE)
    if selection.time_field == "ended":
        conditions.append(events.status.in_(sorted(TERMINAL_STATUSES)))
    if selection.start is not None:
        conditions.append(time >= literal(selection.start, events.ts.type))
    if selection.end is not None:
        conditions.append(time < literal(selection.end, events.ts.type))
    return conditions


def _order_start() -> ColumnElement[Any]:
    """Return the start of an event's order, from another event if this event lacks it; as in ``twap_orders``."""
    other = twap_status.alias("other")
    activated_at = func.min(other.c.ts).filter(other.c.status == "activated")
    start = (
        select(func.coalesce(func.min(other.c.started_at), activated_at))
        .where(other.c.twap_id == twap_status.c.twap_id, other.c.wallet == twap_status.c.wallet)
        .correlate(twap_status)
        .scalar_subquery()
    )
    return func.coalesce(twap_status.c.started_at, start)


def _body() -> ColumnElement[str]:
    events = twap_status.c
    return json_text(
        twap_id=events.twap_id,
        asset=events.asset,
        side=events.side,
        status=events.status,
        duration_minutes=events.duration_minutes,
        latest_ts=events.ts,
        executed=json_object(size=events.size_executed, notional=events.notional_executed),
        raw=events.raw_payload,
    )
