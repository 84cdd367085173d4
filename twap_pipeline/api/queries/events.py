"""Statements on ``twap_status``: pages of events of all wallets, and pages of the events of an order.

Pages follow keys that never change: events by (``ts``, ``twap_id``, ``wallet``), events of an order by (``wallet``,
``ts``), lowest first. A row that exists when the first page is read is therefore on exactly one page, whatever is
loaded between two pages.

The cost of a page does not depend on the number of stored events. A page reads at most `SCAN_EVENTS_MAX` events in the
order of its key, and applies filters that no index contains to these events only. Its rows end where their source rows
reach `PAGE_RAW_BYTES_MAX`.

Statements differ in their parameters, and in which of these exist. Each statement is built once, as in `order_list`.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    CTE,
    BindParameter,
    ColumnElement,
    FromClause,
    Integer,
    Select,
    and_,
    bindparam,
    func,
    select,
    true,
    tuple_,
)

from twap_pipeline.api.queries.bodies import event_body, raw_bytes
from twap_pipeline.storage.schema.models import twap_status

SCAN_EVENTS_MAX = 10_000
"""Maximum number of events that one page reads."""

PAGE_RAW_BYTES_MAX = 8_000_000
"""A page ends with the event at which the source rows reach this size; its columns add less than that."""

_SHAPES_MAX = 128
_KEY = ("ts", "twap_id", "wallet")
_ORDER_KEY = ("wallet", "ts")
_FILTERS = ("asset", "side", "status")
"""Columns of the filters that no index contains."""


@dataclass(frozen=True, slots=True)
class EventFilter:
    """A selection of events; None selects all. ``start`` is inclusive, ``end`` exclusive."""

    wallet: str | None = None
    start: datetime | None = None
    end: datetime | None = None
    asset: str | None = None
    side: str | None = None
    status: str | None = None


def event_page(
    selection: EventFilter, *, after: tuple[datetime, str, str] | None, limit: int
) -> tuple[Select[Any], dict[str, Any]]:
    """Return a statement for a page of events, earliest first, and its parameters.

    Rows: those of `_bounded_rows`, and the last key that the page read, as ``scanned_…``, with ``is_scan_cut``, whether
    the scan reached its limit. If no event matches, there is one row, whose ``body`` is NULL; without any event, none.
    """
    filters = {name: value for name, value in asdict(selection).items() if value is not None}
    parameters = filters | _after_parameters(_KEY, after)
    is_filtered = not parameters.keys().isdisjoint(_FILTERS)
    limits = {"limit": limit, "scan_max": SCAN_EVENTS_MAX if is_filtered else limit, "bytes_max": PAGE_RAW_BYTES_MAX}
    return _build_page(frozenset(parameters)), {**parameters, **limits}


@lru_cache(_SHAPES_MAX)
def _build_page(parameters: frozenset[str]) -> Select[Any]:
    columns = twap_status.c
    scan = select(*(columns[name] for name in (*_KEY, *_FILTERS))).where(*_scan_conditions(parameters))
    scanned = _materialized(scan.order_by(*(columns[name] for name in _KEY)).limit(_integer("scan_max")), "scanned")

    key = [scanned.c[name] for name in _KEY]
    matches = select(*key).where(*(scanned.c[name] == bindparam(name) for name in _FILTERS if name in parameters))
    page = matches.order_by(*key).limit(_integer("limit")).cte("page")
    rows = _bounded_rows(page, _KEY).subquery("selected")
    is_cut = (func.count().over() >= _integer("scan_max")).label("is_scan_cut")
    last = select(*(column.label(f"scanned_{column.name}") for column in key), is_cut)
    last_row = last.order_by(*(column.desc() for column in key)).limit(1).subquery("scan")
    joined = select(rows, last_row).join_from(last_row, rows, true(), isouter=True)
    return joined.order_by(*(rows.c[name] for name in _KEY))


def _scan_conditions(parameters: frozenset[str]) -> list[ColumnElement[bool]]:
    """Return the conditions that the indexes on ``ts``, and on ``wallet`` and ``ts``, evaluate."""
    columns = twap_status.c
    conditions = []
    if "wallet" in parameters:
        conditions.append(columns.wallet == bindparam("wallet"))
    if "start" in parameters:
        conditions.append(columns.ts >= bindparam("start"))
    if "end" in parameters:
        conditions.append(columns.ts < bindparam("end"))
    if "after_ts" in parameters:
        conditions.append(_is_after(_KEY))
    return conditions


def _after_parameters(names: Sequence[str], key: tuple[Any, ...] | None) -> dict[str, Any]:
    """Return the parameters of `_is_after`; none without a key."""
    return {} if key is None else {f"after_{name}": value for name, value in zip(names, key, strict=True)}


def _is_after(names: Sequence[str]) -> ColumnElement[bool]:
    """Return the condition that an event follows the last event of the previous page."""
    columns = [twap_status.c[name] for name in names]
    return tuple_(*columns) > tuple_(*(bindparam(f"after_{column.name}", type_=column.type) for column in columns))


def _integer(name: str) -> BindParameter[int]:
    return bindparam(name, type_=Integer())


def order_events(twap_id: str, *, after: tuple[str, datetime] | None, limit: int) -> tuple[Select[Any], dict[str, Any]]:
    """Return a statement for a page of an order's events, oldest first, and its parameters.

    Rows: those of `_bounded_rows`, with the key ``wallet``, ``ts``.

    The exchange gives an ID to one order of one wallet. If the data contain several wallets with the ID, the events are
    sorted by wallet first.
    """
    parameters = {
        "twap_id": twap_id,
        "limit": limit,
        "bytes_max": PAGE_RAW_BYTES_MAX,
        **_after_parameters(_ORDER_KEY, after),
    }
    return _build_order_events(is_first_page=after is None), parameters


@lru_cache
def _build_order_events(*, is_first_page: bool) -> Select[Any]:
    columns = twap_status.c
    scan = select(columns.wallet, columns.ts, columns.twap_id).where(columns.twap_id == bindparam("twap_id"))
    if not is_first_page:
        scan = scan.where(_is_after(_ORDER_KEY))
    page = scan.order_by(columns.wallet, columns.ts).limit(_integer("limit")).cte("page")
    return _bounded_rows(page, _ORDER_KEY)


def _materialized(statement: Select[Any], name: str) -> CTE:
    """Return a CTE that PostgreSQL executes once, on its own: its LIMIT bounds what it reads."""
    return statement.cte(name).prefix_with("MATERIALIZED")


def _bounded_rows(page: CTE, key: Sequence[str]) -> Select[Any]:
    """Return a statement for the bodies of a page until its source rows reach `PAGE_RAW_BYTES_MAX`, at least one body.

    Rows: ``body`` as JSON text, the columns of ``page``, and ``page_count``, the number of rows of ``page``.

    Args:
        page: Keys of events, with the columns ``twap_id``, ``wallet`` and ``ts``.
        key: The columns that sort the page.
    """

    def order(rows: FromClause) -> list[ColumnElement[Any]]:
        return [rows.c[name] for name in key]

    def look_up(rows: FromClause, value: ColumnElement[Any]) -> FromClause:
        # LIMIT prevents a join by another column than the key, which stale statistics can select.
        is_event = and_(*(twap_status.c[name] == rows.c[name] for name in _KEY))
        return select(value).where(is_event).limit(1).lateral("event")

    event = look_up(page, raw_bytes().label("raw_bytes"))
    bytes_before = func.sum(event.c.raw_bytes).over(order_by=order(page), rows=(None, -1))
    sizes = select(page, func.coalesce(bytes_before, 0).label("bytes_before"), func.count().over().label("page_count"))
    sized = _materialized(sizes.join_from(page, event, true()), "sized")
    columns = [column for column in sized.c if column.name != "bytes_before"]
    event = look_up(sized, event_body().label("body"))
    return (
        select(event.c.body, *columns)
        .join_from(sized, event, true())
        .where(sized.c.bytes_before < _integer("bytes_max"))
        .order_by(*order(sized))
    )
