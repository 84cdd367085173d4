"""Statements on ``twap_status``: pages of a wallet's orders or events, and pages of the events of an order.

Pages follow keys that never change: orders by numeric ``twap_id``, events by (``ts``, ``twap_id``), events of an order
by (``wallet``, ``ts``). A row that exists when the first page is read is therefore on exactly one page, whatever is
loaded between two pages.

The cost of a page does not depend on the number of stored events. A page scans at most `SCAN_EVENTS_MAX` events in the
order of its key, and applies filters that no index contains to these events only. Its rows end where their bodies
reach `RESPONSE_BYTES_MAX`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from sqlalchemy import (
    CTE,
    ColumnElement,
    FromClause,
    Select,
    Text,
    and_,
    case,
    cast,
    func,
    literal,
    or_,
    select,
    true,
    tuple_,
)
from sqlalchemy.dialects.postgresql import distinct_on

from twap_pipeline.api.queries.json_format import json_object, json_text, to_json_value
from twap_pipeline.domain.status import TERMINAL_STATUSES
from twap_pipeline.storage.schema.models import twap_status

SCAN_EVENTS_MAX = 25_000
"""Maximum number of events in a wallet's range that one page scans."""

RESPONSE_BYTES_MAX = 8_000_000
"""A page ends with the row whose body reaches this size."""

RAW_BYTES_MAX = 1_000_000
"""Maximum size of a source row in a response; a larger one is replaced by `OMITTED_RAW`."""

OMITTED_RAW = "raw_payload_omitted"
"""The only key of ``raw`` in place of a source row that is too large."""

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

    ``selection.status`` applies to that latest event. An ID is digits without leading zeros, of any length, so (number
    of digits, text) is its numeric order. Rows: those of `_with_scan_end`, with the key ``twap_id``.

    Args:
        selection: Which events of the wallet.
        after: ``twap_id`` of the last order of the previous page.
        limit: Maximum number of orders.
        offset: Orders to skip.
    """
    digits = func.length(twap_status.c.twap_id)
    scan = select(digits.label("digits"), twap_status.c.twap_id).where(*_scan_conditions(twap_status, selection))
    if after is not None:
        scan = scan.where(tuple_(digits, twap_status.c.twap_id) < tuple_(func.length(literal(after)), after))
    scan = scan.order_by(digits.desc(), twap_status.c.twap_id.desc(), twap_status.c.ts.desc())
    scanned = _materialized(scan.limit(SCAN_EVENTS_MAX), "scanned")

    key = (scanned.c.digits, scanned.c.twap_id)
    orders = select(*key).ext(distinct_on(*key)).order_by(*(column.desc() for column in key)).subquery("orders")
    events = twap_status.alias("events")
    latest = (
        select(events.c.ts, events.c.asset, events.c.status)
        .where(events.c.twap_id == orders.c.twap_id, *_scan_conditions(events, selection))
        .where(*_time_conditions(events, selection))
        .order_by(events.c.ts.desc())
        .limit(1)
        .lateral("latest")
    )
    page = (
        select(orders.c.digits, orders.c.twap_id, literal(selection.wallet).label("wallet"), latest.c.ts)
        .join_from(orders, latest, true())
        .where(*_value_conditions(latest, selection))
        .order_by(orders.c.digits.desc(), orders.c.twap_id.desc())
        .limit(limit)
        .offset(offset)
        .cte("page")
    )
    rows = _bounded_rows(page, ("digits", "twap_id"), _wallet_body(), descending=True)
    return _with_scan_end(rows, scanned, ("digits", "twap_id"), SCAN_EVENTS_MAX)


def wallet_events(
    selection: EventFilter, *, after: tuple[datetime, str] | None, limit: int, offset: int = 0
) -> Select[Any]:
    """Return a statement for a page of events, the latest first.

    Rows: those of `_with_scan_end`, with the key ``ts``, ``twap_id``.

    Args:
        selection: Which events of the wallet.
        after: ``ts`` and ``twap_id`` of the last event of the previous page.
        limit: Maximum number of events.
        offset: Events to skip.
    """
    columns = twap_status.c
    scan = select(columns.ts, columns.twap_id, columns.wallet, columns.asset, columns.status, columns.started_at)
    scan = scan.where(*_scan_conditions(twap_status, selection))
    if after is not None:
        ts, twap_id = after
        scan = scan.where(tuple_(columns.ts, columns.twap_id) < tuple_(literal(ts, columns.ts.type), twap_id))
    scan_limit = SCAN_EVENTS_MAX if _has_filter(selection) else limit + offset
    scanned = _materialized(scan.order_by(columns.ts.desc(), columns.twap_id.desc()).limit(scan_limit), "scanned")

    page = (
        select(scanned.c.ts, scanned.c.twap_id, scanned.c.wallet)
        .where(*_time_conditions(scanned, selection), *_value_conditions(scanned, selection))
        .order_by(scanned.c.ts.desc(), scanned.c.twap_id.desc())
        .limit(limit)
        .offset(offset)
        .cte("page")
    )
    rows = _bounded_rows(page, ("ts", "twap_id"), _wallet_body(), descending=True)
    return _with_scan_end(rows, scanned, ("ts", "twap_id"), scan_limit)


def order_events(twap_id: str, *, after: tuple[str, datetime] | None, limit: int) -> Select[Any]:
    """Return a statement for a page of an order's events, oldest first.

    Rows: those of `_bounded_rows`, with the key ``wallet``, ``ts``.

    The exchange gives an ID to one order of one wallet. If the data contain several wallets with the ID, the events are
    sorted by wallet first.

    Args:
        twap_id: The order.
        after: ``wallet`` and ``ts`` of the last event of the previous page.
        limit: Maximum number of events.
    """
    columns = twap_status.c
    scan = select(columns.wallet, columns.ts, columns.twap_id).where(columns.twap_id == twap_id)
    if after is not None:
        wallet, ts = after
        scan = scan.where(tuple_(columns.wallet, columns.ts) > tuple_(wallet, literal(ts, columns.ts.type)))
    page = scan.order_by(columns.wallet, columns.ts).limit(limit).cte("page")
    return _bounded_rows(page, ("wallet", "ts"), _history_body())


def _scan_conditions(events: FromClause, selection: EventFilter) -> list[ColumnElement[bool]]:
    """Return the conditions that the indexes on ``wallet`` and ``ts`` evaluate."""
    ts, start, end = events.c.ts, selection.start, selection.end
    conditions: list[ColumnElement[bool]] = [events.c.wallet == selection.wallet]
    if selection.time_field == "started":  # an order's end does not limit how late its events are
        start, end = start and start - _CREATION_TOLERANCE, None
    if start is not None:
        conditions.append(ts >= literal(start, ts.type))
    if end is not None:
        conditions.append(ts < literal(end, ts.type))
    return conditions


def _time_conditions(events: FromClause, selection: EventFilter) -> list[ColumnElement[bool]]:
    """Return the conditions of ``time_field`` that no index evaluates."""
    if selection.time_field == "ended":
        return [events.c.status.in_(sorted(TERMINAL_STATUSES))]
    if selection.time_field == "event":
        return []
    started_at, ts_type = _order_start(events), twap_status.c.ts.type
    bounds = ((selection.start, started_at.__ge__), (selection.end, started_at.__lt__))
    return [compare(literal(bound, ts_type)) for bound, compare in bounds if bound is not None]


def _value_conditions(events: FromClause, selection: EventFilter) -> list[ColumnElement[bool]]:
    values = {"status": selection.status, "asset": selection.asset}
    return [events.c[name] == value for name, value in values.items() if value is not None]


def _has_filter(selection: EventFilter) -> bool:
    """Return whether a scanned event can fail a condition."""
    return selection.time_field != "event" or selection.asset is not None or selection.status is not None


def _order_start(events: FromClause) -> ColumnElement[Any]:
    """Return the start of an event's order, from another event if this event lacks it; as in ``twap_orders``."""
    other = twap_status.alias("other")
    activated_at = func.min(other.c.ts).filter(other.c.status == "activated")
    started_at = events.c.started_at
    start = (
        select(func.coalesce(func.min(other.c.started_at), activated_at))
        .where(other.c.twap_id == events.c.twap_id, other.c.wallet == events.c.wallet)
        .correlate(events)
        .scalar_subquery()
    )
    return func.coalesce(started_at, start)


def _materialized(statement: Select[Any], name: str) -> CTE:
    """Return a CTE that PostgreSQL executes once, on its own: its LIMIT bounds what it reads."""
    return statement.cte(name).prefix_with("MATERIALIZED")


def _bounded_rows(page: CTE, key: Sequence[str], body: ColumnElement[str], *, descending: bool = False) -> Select[Any]:
    """Return a statement for the bodies of a page until they reach `RESPONSE_BYTES_MAX`, at least the first body.

    Rows: ``body`` as JSON text, the columns of ``page``, and ``page_count``, the number of rows of ``page``.

    Args:
        page: Keys of events, with the columns ``twap_id``, ``wallet`` and ``ts``.
        key: The columns that sort the page.
        body: A JSON text of columns of ``twap_status``.
        descending: Whether the highest key is the first.
    """

    def order(rows: FromClause) -> list[ColumnElement[Any]]:
        return [rows.c[name].desc() if descending else rows.c[name] for name in key]

    def look_up(rows: FromClause) -> FromClause:
        # LIMIT prevents a join by another column than the key, which stale statistics can select.
        is_event = and_(*(twap_status.c[name] == rows.c[name] for name in ("twap_id", "wallet", "ts")))
        return select(body.label("body")).where(is_event).limit(1).lateral("event")

    event = look_up(page)
    bytes_before = func.sum(func.octet_length(event.c.body)).over(order_by=order(page), rows=(None, -1))
    sizes = select(page, func.coalesce(bytes_before, 0).label("bytes_before"), func.count().over().label("page_count"))
    sized = _materialized(sizes.join_from(page, event, true()), "sized")
    columns = [column for column in sized.c if column.name != "bytes_before"]
    event = look_up(sized)
    return (
        select(event.c.body, *columns)
        .join_from(sized, event, true())
        .where(sized.c.bytes_before < RESPONSE_BYTES_MAX)
        .order_by(*order(sized))
    )


def _with_scan_end(rows: Select[Any], scanned: CTE, key: Sequence[str], scan_limit: int) -> Select[Any]:
    """Return a statement for the rows of a page and the end of its scan, highest key first.

    Each row has in addition the lowest scanned key, as ``scanned_…``, and ``is_scan_cut``, whether the scan reached its
    limit. If no scanned event is selected, there is one row, whose ``body`` is NULL; if there is no event, no row.
    """
    lowest = [scanned.c[name].label(f"scanned_{name}") for name in key]
    is_cut = (func.count().over() >= scan_limit).label("is_scan_cut")
    scan = select(*lowest, is_cut).order_by(*(scanned.c[name] for name in key)).limit(1).subquery("scan")
    page = rows.subquery("selected")
    return (
        select(page, scan).join_from(scan, page, true(), isouter=True).order_by(*(page.c[name].desc() for name in key))
    )


def _wallet_body() -> ColumnElement[str]:
    events = twap_status.c
    return json_text(
        twap_id=events.twap_id,
        asset=events.asset,
        side=events.side,
        status=events.status,
        duration_minutes=events.duration_minutes,
        latest_ts=events.ts,
        executed=json_object(size=events.size_executed, notional=events.notional_executed),
        raw=_raw(),
    )


def _history_body() -> ColumnElement[str]:
    events = twap_status.c
    return json_text(
        wallet=events.wallet,
        ts=events.ts,
        asset=events.asset,
        side=events.side,
        size_requested=events.size_requested,
        size_executed=events.size_executed,
        notional_executed=events.notional_executed,
        status=events.status,
        duration_minutes=events.duration_minutes,
        raw=_raw(),
    )


def _raw() -> ColumnElement[Any]:
    """Return the source row, or a JSON object with the statement that reads it if it exceeds `RAW_BYTES_MAX`.

    The stored size is compared first: it may be compressed, but PostgreSQL returns it without reading the value.
    """
    columns = twap_status.c
    key = (("twap_id", columns.twap_id), ("wallet", columns.wallet), ("ts", to_json_value(columns.ts)))
    predicate = func.concat_ws(
        " AND ", *(func.concat(literal(f"{name} = "), func.quote_literal(value)) for name, value in key)
    )
    statement = func.concat(literal("SELECT raw_payload FROM twap_status WHERE "), predicate)
    omitted = func.json_build_object(
        OMITTED_RAW, func.json_build_object("maximum_bytes", RAW_BYTES_MAX, "sql", statement)
    )
    is_too_large = or_(
        func.pg_column_size(columns.raw_payload) > RAW_BYTES_MAX,
        func.octet_length(cast(columns.raw_payload, Text)) > RAW_BYTES_MAX,
    )
    return case((is_too_large, omitted), else_=columns.raw_payload)
