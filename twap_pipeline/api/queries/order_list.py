"""The statement for a page of orders: filters, three sort keys, and a bound on what a page reads.

Pages follow a key, highest first. The default key is the numeric order of ``twap_id``, which never changes: an order
that exists when the first page is read is on exactly one page, whatever is loaded between two pages.

The cost of a page does not depend on the number of stored orders:

- A range of all wallets, and ``sort=notional``, read the orders of the range; the route limits its length.
- Every other page reads orders in the order of its key. It ends at the `SCAN_ORDERS_MAX`-th order, per requested wallet
  its share of it, even if fewer orders match the filters.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Literal

from sqlalchemy import (
    ARRAY,
    CTE,
    ColumnElement,
    DateTime,
    FromClause,
    Integer,
    Numeric,
    Select,
    Text,
    cast,
    func,
    literal,
    select,
    true,
    tuple_,
    union_all,
)

from twap_pipeline.api.queries.bodies import order_body
from twap_pipeline.api.queries.fills import fill_totals, reconciliation_of
from twap_pipeline.domain.symbols import Market
from twap_pipeline.storage.schema.models import twap_orders
from twap_pipeline.storage.symbols.markets import is_spot

SCAN_ORDERS_MAX = 10_000
"""Maximum number of orders in the order of the key that one page reads."""

Sort = Literal["twap_id", "ended", "notional"]
TimeField = Literal["started", "ended", "updated"]

_TIMESTAMP = DateTime(timezone=True)


@dataclass(frozen=True, slots=True)
class OrderFilter:
    """A selection of orders. None selects all.

    Args:
        wallets: Lower case; empty for all wallets.
        asset: As the exchange writes it.
        side: ``A`` or ``B``.
        status: The order's current status.
        market: ``spot`` or ``perp``.
        notional_min: Smallest executed notional, USD.
        time_field: The time that the range applies to: start, terminal event, or last event.
        start: Beginning of the range, inclusive.
        end: End of the range, exclusive.
    """

    wallets: Sequence[str] = ()
    asset: str | None = None
    side: str | None = None
    status: str | None = None
    market: Market | None = None
    notional_min: Decimal | None = None
    time_field: TimeField = "started"
    start: datetime | None = None
    end: datetime | None = None

    @property
    def has_range(self) -> bool:
        """Whether a bound of the range is set."""
        return self.start is not None or self.end is not None

    def is_in_key_order(self, sort: Sort) -> bool:
        """Return whether a page reads orders in the order of its key, and not all orders of the range."""
        is_range_of_key = sort == "ended" and self.time_field != "started"
        return sort != "notional" and (bool(self.wallets) or not self.has_range or is_range_of_key)


def order_page(
    selection: OrderFilter, *, sort: Sort, after: tuple[Any, ...] | None, limit: int, with_fills: bool = False
) -> Select[Any]:
    """Return a statement for a page of orders, highest key first.

    The key is ``digits`` (number of digits of ``twap_id``), ``twap_id``, ``wallet``; with ``sort=ended`` or
    ``sort=notional`` the column `sort_value` precedes it. Rows: ``body`` as JSON text, the key, and ``cut_…``, the key
    of the last order that the page read; its ``cut_digits`` is -1 if no order after it remains. If no order matches,
    there is one row, whose ``body`` is NULL.

    Args:
        selection: Which orders.
        sort: The sort key.
        after: Key of the last order of the previous page.
        limit: Maximum number of orders.
        with_fills: Whether to add the sums of the fills of each order, which reads all of them.
    """
    if selection.is_in_key_order(sort):
        cut = _scan_end(selection, sort, after, limit)
        page = _page_in_key_order(selection, sort, after, limit, cut)
    else:
        cut = select(*_no_key(sort)).cte("cut")
        page = _page_of_range(selection, sort, after, limit)
    rows = page.limit(limit).subquery("page")
    names = key_names(sort)
    key = [rows.c[name] for name in names]
    cut_key = [cut.c[name].label(f"cut_{name}") for name in names]
    if with_fills:
        reconciled = reconciliation_of(rows)
        body = order_body(rows, fills=fill_totals(reconciled))
        statement = select(body.label("body"), *key, *cut_key).join_from(cut, rows, true(), isouter=True)
        statement = statement.join(reconciled, true(), isouter=True)
    else:
        statement = select(order_body(rows).label("body"), *key, *cut_key).join_from(cut, rows, true(), isouter=True)
    return statement.order_by(*(column.desc() for column in key))


def key_names(sort: Sort) -> tuple[str, ...]:
    """Return the names of the key's columns."""
    names = ("digits", "twap_id", "wallet")
    return names if sort == "twap_id" else ("sort_value", *names)


def _key(orders: FromClause, sort: Sort) -> tuple[ColumnElement[Any], ...]:
    """Return the key of an order. An order that has ended has its last event at its end."""
    key = (func.length(orders.c.twap_id), orders.c.twap_id, orders.c.wallet)
    values = {"ended": orders.c.last_status_at, "notional": orders.c.notional_executed}
    return key if sort == "twap_id" else (values[sort], *key)


def _no_key(sort: Sort) -> list[ColumnElement[Any]]:
    """Return a key that is lower than each order's."""
    none: list[ColumnElement[Any]] = [
        literal(-1).label("digits"),
        literal("", Text).label("twap_id"),
        literal("", Text).label("wallet"),
    ]
    lowest: dict[str, ColumnElement[Any]] = {
        "ended": literal(datetime(1, 1, 1, tzinfo=UTC), _TIMESTAMP),
        "notional": literal(-1, Numeric),
    }
    return none if sort == "twap_id" else [lowest[sort].label("sort_value"), *none]


def _typed(values: Sequence[Any], sort: Sort) -> tuple[ColumnElement[Any], ...]:
    types: dict[str, list[Any]] = {"twap_id": [], "ended": [_TIMESTAMP], "notional": [Numeric()]}
    return tuple(
        cast(literal(value, kind), kind)
        for value, kind in zip(values, [*types[sort], Integer(), Text(), Text()], strict=True)
    )


def _scan_conditions(
    orders: FromClause, selection: OrderFilter, sort: Sort, after: tuple[Any, ...] | None
) -> list[ColumnElement[bool]]:
    """Return the conditions that the index of a scan in key order evaluates."""
    conditions: list[ColumnElement[bool]] = []
    if after is not None:
        conditions.append(tuple_(*_key(orders, sort)) < tuple_(*_typed(after, sort)))
    if selection.asset is not None and _has_asset_index(selection, sort):
        conditions.append(orders.c.asset == selection.asset)
    if sort == "ended" and selection.time_field != "started":
        conditions += _range_conditions(orders, selection)
    return conditions


def _has_asset_index(selection: OrderFilter, sort: Sort) -> bool:
    return sort == "twap_id" and not selection.wallets


def _filter_conditions(orders: FromClause, selection: OrderFilter, sort: Sort) -> list[ColumnElement[bool]]:
    """Return the conditions that no index evaluates."""
    equal = {"asset": selection.asset, "side": selection.side, "status": selection.status}
    if _has_asset_index(selection, sort):
        del equal["asset"]
    conditions = [orders.c[name] == value for name, value in equal.items() if value is not None]
    if selection.market is not None:
        spot = is_spot(orders.c.asset)
        conditions.append(spot if selection.market == "spot" else ~spot)
    if selection.notional_min is not None:
        conditions.append(orders.c.notional_executed >= selection.notional_min)
    if sort == "ended":
        conditions.append(orders.c.ended_at.is_not(None))
    if sort != "ended" or selection.time_field == "started":
        conditions += _range_conditions(orders, selection)
    if sort == "notional":
        conditions.append(orders.c.notional_executed.is_not(None))
    return conditions


def _range_conditions(orders: FromClause, selection: OrderFilter) -> list[ColumnElement[bool]]:
    columns = orders.c
    if selection.time_field == "started":
        return [
            *_between(func.coalesce(columns.started_at, columns.first_event_at), selection.start, selection.end),
            *_days_between(columns.start_date, selection.start, selection.end),
        ]
    # An index contains last_status_at. It equals ended_at where that is not NULL.
    conditions = _between(columns.last_status_at, selection.start, selection.end)
    if selection.time_field == "ended" and conditions:
        conditions.append(columns.ended_at.is_not(None))
    return conditions


def _between(column: ColumnElement[Any], start: datetime | None, end: datetime | None) -> list[ColumnElement[bool]]:
    bounds: Sequence[tuple[datetime | None, Callable[[Any], ColumnElement[bool]]]] = (
        (start, column.__ge__),
        (end, column.__lt__),
    )
    return [compare(literal(bound, _TIMESTAMP)) for bound, compare in bounds if bound is not None]


def _days_between(
    column: ColumnElement[Any], start: datetime | None, end: datetime | None
) -> list[ColumnElement[bool]]:
    """Return the conditions on the UTC day, which an index contains."""
    conditions = []
    if start is not None:
        conditions.append(column >= start.date())
    if end is not None:
        conditions.append(column <= end.date())
    return conditions


def _scan_end(selection: OrderFilter, sort: Sort, after: tuple[Any, ...] | None, limit: int) -> CTE:
    """Return the key of the last order that a page reads, or `_no_key` if the scan reaches the last order.

    With several wallets, it is the highest of the wallets' last keys: below it, orders of that wallet are not read.
    """
    has_filter = bool(_filter_conditions(twap_orders, selection, sort))
    orders_max = SCAN_ORDERS_MAX // max(1, len(selection.wallets)) if has_filter else limit
    names = key_names(sort)

    def scan(wallet: ColumnElement[str] | None) -> Select[Any]:
        key = _key(twap_orders, sort)
        statement = select(*(column.label(name) for name, column in zip(names, key, strict=True)))
        statement = statement.where(*_scan_conditions(twap_orders, selection, sort, after))
        if wallet is not None:
            statement = statement.where(twap_orders.c.wallet == wallet)
        return statement.order_by(*(column.desc() for column in key)).offset(orders_max - 1).limit(1)

    ends = _for_each_wallet(selection, scan, "ends").subquery("ends")
    ends_or_none = union_all(select(*(ends.c[name] for name in names)), select(*_no_key(sort))).subquery("cuts")
    highest = select(ends_or_none).order_by(*(ends_or_none.c[name].desc() for name in names)).limit(1)
    return highest.cte("cut").prefix_with("MATERIALIZED")


def _page_in_key_order(
    selection: OrderFilter, sort: Sort, after: tuple[Any, ...] | None, limit: int, cut: CTE
) -> Select[Any]:
    names = key_names(sort)
    lowest = tuple_(*(select(cut.c[name]).scalar_subquery() for name in names))

    def page(wallet: ColumnElement[str] | None) -> Select[Any]:
        key = _key(twap_orders, sort)
        statement = _select_orders(sort).where(
            *_scan_conditions(twap_orders, selection, sort, after),
            *_filter_conditions(twap_orders, selection, sort),
            tuple_(*key) >= lowest,
        )
        if wallet is not None:
            statement = statement.where(twap_orders.c.wallet == wallet)
        return statement.order_by(*(column.desc() for column in key)).limit(limit)

    orders = _for_each_wallet(selection, page, "orders").subquery("orders")
    return select(orders).order_by(*(orders.c[name].desc() for name in names))


def _page_of_range(selection: OrderFilter, sort: Sort, after: tuple[Any, ...] | None, limit: int) -> Select[Any]:
    """Return the statement that reads all orders of the range first, whatever the table statistics are."""
    conditions = _filter_conditions(twap_orders, selection, sort)
    if _has_asset_index(selection, sort) and selection.asset is not None:
        conditions.append(twap_orders.c.asset == selection.asset)
    if sort == "ended" and selection.time_field != "started":
        conditions += _range_conditions(twap_orders, selection)
    if selection.wallets:
        conditions.append(twap_orders.c.wallet.in_(selection.wallets))
    key = _key(twap_orders, sort)
    if after is not None:
        conditions.append(tuple_(*key) < tuple_(*_typed(after, sort)))
    in_range = _select_orders(sort).where(*conditions).cte("in_range").prefix_with("MATERIALIZED")
    return select(in_range).order_by(*(in_range.c[name].desc() for name in key_names(sort))).limit(limit)


def _select_orders(sort: Sort) -> Select[Any]:
    """Return a statement for all columns of orders and those of the key that are no columns."""
    key = dict(zip(key_names(sort), _key(twap_orders, sort), strict=True))
    added = [column.label(name) for name, column in key.items() if name not in twap_orders.c]
    return select(*twap_orders.c, *added)


def _for_each_wallet(
    selection: OrderFilter, make: Callable[[ColumnElement[str] | None], Select[Any]], name: str
) -> Select[Any]:
    """Return the rows of a statement for each requested wallet; of one statement for all wallets without a request."""
    if not selection.wallets:
        return make(None)
    requested = (
        func.unnest(literal(list(selection.wallets), ARRAY(Text)))
        .table_valued("wallet", name="requested")
        .render_derived()
    )
    rows = make(requested.c.wallet).lateral(f"{name}_of_wallet")
    return select(rows).join_from(requested, rows, true())
