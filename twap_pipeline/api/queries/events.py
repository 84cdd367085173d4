"""Statements on ``twap_status``: pages of events of all wallets, and pages of the events of an order.

Pages follow keys that never change: events by (``ts``, ``twap_id``, ``wallet``), events of an order by (``wallet``,
``ts``), lowest first. A row that exists when the first page is read is therefore on exactly one page, whatever is
loaded between two pages.

The cost of a page does not depend on the number of stored events. A page reads at most `SCAN_EVENTS_MAX` events in the
order of its key, and applies filters that no index contains to these events only. Its rows end where their bodies
reach `RESPONSE_BYTES_MAX`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import CTE, ColumnElement, FromClause, Select, and_, func, literal, select, true, tuple_

from twap_pipeline.api.queries.bodies import event_body
from twap_pipeline.storage.schema.models import twap_status

SCAN_EVENTS_MAX = 10_000
"""Maximum number of events that one page reads."""

RESPONSE_BYTES_MAX = 8_000_000
"""A page ends with the row whose body reaches this size."""

_KEY = ("ts", "twap_id", "wallet")


@dataclass(frozen=True, slots=True)
class EventFilter:
    """A selection of events. None selects all.

    Args:
        wallet: Lower case.
        start: Beginning of the range of ``ts``, inclusive.
        end: End of the range of ``ts``, exclusive.
        asset: As the exchange writes it.
        side: ``A`` or ``B``.
        status: The status of the event.
    """

    wallet: str | None = None
    start: datetime | None = None
    end: datetime | None = None
    asset: str | None = None
    side: str | None = None
    status: str | None = None


def event_page(selection: EventFilter, *, after: tuple[datetime, str, str] | None, limit: int) -> Select[Any]:
    """Return a statement for a page of events, earliest first.

    Rows: those of `_bounded_rows`, and the last key that the page read, as ``scanned_…``, with ``is_scan_cut``, whether
    the scan reached its limit. If no event matches, there is one row, whose ``body`` is NULL; without any event, none.

    Args:
        selection: Which events.
        after: Key of the last event of the previous page.
        limit: Maximum number of events.
    """
    columns = twap_status.c
    values = {"asset": selection.asset, "side": selection.side, "status": selection.status}
    filters = {name: value for name, value in values.items() if value is not None}
    scan_limit = SCAN_EVENTS_MAX if filters else limit
    scan = select(*(columns[name] for name in (*_KEY, *values))).where(*_scan_conditions(selection, after))
    scanned = _materialized(scan.order_by(*(columns[name] for name in _KEY)).limit(scan_limit), "scanned")

    key = [scanned.c[name] for name in _KEY]
    matches = select(*key).where(*(scanned.c[name] == value for name, value in filters.items()))
    page = matches.order_by(*key).limit(limit).cte("page")
    rows = _bounded_rows(page, _KEY).subquery("selected")
    is_cut = (func.count().over() >= scan_limit).label("is_scan_cut")
    last = select(*(column.label(f"scanned_{column.name}") for column in key), is_cut)
    last_row = last.order_by(*(column.desc() for column in key)).limit(1).subquery("scan")
    joined = select(rows, last_row).join_from(last_row, rows, true(), isouter=True)
    return joined.order_by(*(rows.c[name] for name in _KEY))


def _scan_conditions(selection: EventFilter, after: tuple[datetime, str, str] | None) -> list[ColumnElement[bool]]:
    """Return the conditions that the indexes on ``ts``, and on ``wallet`` and ``ts``, evaluate."""
    columns, timestamp = twap_status.c, twap_status.c.ts.type
    conditions = []
    if selection.wallet is not None:
        conditions.append(columns.wallet == selection.wallet)
    if selection.start is not None:
        conditions.append(columns.ts >= literal(selection.start, timestamp))
    if selection.end is not None:
        conditions.append(columns.ts < literal(selection.end, timestamp))
    if after is not None:
        ts, twap_id, wallet = after
        conditions.append(
            tuple_(columns.ts, columns.twap_id, columns.wallet) > tuple_(literal(ts, timestamp), twap_id, wallet)
        )
    return conditions


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
    return _bounded_rows(page, ("wallet", "ts"))


def _materialized(statement: Select[Any], name: str) -> CTE:
    """Return a CTE that PostgreSQL executes once, on its own: its LIMIT bounds what it reads."""
    return statement.cte(name).prefix_with("MATERIALIZED")


def _bounded_rows(page: CTE, key: Sequence[str]) -> Select[Any]:
    """Return a statement for the bodies of a page until they reach `RESPONSE_BYTES_MAX`, at least the first body.

    Rows: ``body`` as JSON text, the columns of ``page``, and ``page_count``, the number of rows of ``page``.

    Args:
        page: Keys of events, with the columns ``twap_id``, ``wallet`` and ``ts``.
        key: The columns that sort the page.
    """

    def order(rows: FromClause) -> list[ColumnElement[Any]]:
        return [rows.c[name] for name in key]

    def look_up(rows: FromClause) -> FromClause:
        # LIMIT prevents a join by another column than the key, which stale statistics can select.
        is_event = and_(*(twap_status.c[name] == rows.c[name] for name in _KEY))
        return select(event_body().label("body")).where(is_event).limit(1).lateral("event")

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
