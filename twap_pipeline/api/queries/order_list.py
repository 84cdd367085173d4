"""The statement for a page of orders: filters, three sort keys, and a bound on what a page reads.

Pages follow a key, highest first. The default key is the numeric order of ``twap_id``, which never changes: an order
that exists when the first page is read is on exactly one page, whatever is loaded between two pages.

The cost of a page does not depend on the number of stored orders:

- A range of all wallets, and ``sort=notional``, read the orders of the range; the route limits its length.
- Every other page reads orders in the order of its key. It ends at the `SCAN_ORDERS_MAX`-th order, per requested wallet
  its share of it, even if fewer orders match the filters.

Statements of one `_Shape` differ in their parameters only. Each shape's statement is built once: SQLAlchemy needs more
time to build a statement than PostgreSQL to execute it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from typing import Any, Literal

from sqlalchemy import (
    ARRAY,
    CTE,
    BindParameter,
    ColumnElement,
    Date,
    DateTime,
    FromClause,
    Integer,
    Numeric,
    Select,
    Text,
    any_,
    bindparam,
    cast,
    func,
    literal,
    or_,
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

_SHAPES_MAX = 128
_TIMESTAMP = DateTime(timezone=True)

Sort = Literal["twap_id", "ended", "notional"]
TimeField = Literal["started", "ended", "updated"]


@dataclass(frozen=True, slots=True)
class OrderFilter:
    """A selection of orders; None selects all.

    Wallets are in lower case, ``min_notional`` is in USD, ``start`` is inclusive and ``end`` exclusive.
    """

    wallets: Sequence[str] = ()
    asset: str | None = None
    side: str | None = None
    status: str | None = None
    market: Market | None = None
    min_notional: Decimal | None = None
    time_field: TimeField = "started"
    start: datetime | None = None
    end: datetime | None = None

    def is_in_key_order(self, sort: Sort) -> bool:
        """Return whether a page reads orders in the order of its key, and not all orders of the range."""
        has_range = self.start is not None or self.end is not None
        is_range_of_key = sort == "ended" and self.time_field != "started"
        return sort != "notional" and (bool(self.wallets) or not has_range or is_range_of_key)


@dataclass(frozen=True, slots=True)
class _Shape:
    """What determines the text of a statement; ``parameters`` are the filters and ``after`` columns with a value."""

    sort: Sort
    time_field: TimeField
    market: Market | None
    is_in_key_order: bool
    has_fills: bool
    parameters: frozenset[str]

    @property
    def has_asset_index(self) -> bool:
        """Whether an index evaluates the filter on the asset in the order of the key."""
        return self.sort == "twap_id" and "wallets" not in self.parameters


def order_page(
    selection: OrderFilter, *, sort: Sort, after: tuple[Any, ...] | None, limit: int, with_fills: bool = False
) -> tuple[Select[Any], dict[str, Any]]:
    """Return a statement for a page of orders, highest key first, and its parameters.

    The key is ``digits`` (number of digits of ``twap_id``), ``twap_id``, ``wallet``; with ``sort=ended`` or
    ``sort=notional`` the column `sort_value` precedes it. Rows: ``body`` as JSON text, the key, and ``cut_…``, the key
    of the last order that the page read; its ``cut_digits`` is -1 if no order after it remains. If no order matches,
    there is one row, whose ``body`` is NULL.
    """
    filters = {
        "wallets": list(selection.wallets) or None,
        "asset": selection.asset,
        "side": selection.side,
        "status": selection.status,
        "min_notional": selection.min_notional,
        "start": selection.start,
        "end": selection.end,
    }
    parameters = {name: value for name, value in filters.items() if value is not None}
    if after is not None:
        parameters |= {f"after_{name}": value for name, value in zip(key_names(sort), after, strict=True)}
    shape = _Shape(
        sort,
        selection.time_field,
        selection.market,
        selection.is_in_key_order(sort),
        with_fills,
        frozenset(parameters),
    )
    scan_max = SCAN_ORDERS_MAX // max(1, len(selection.wallets))
    return _build_page(shape), {**parameters, "limit": limit, "scan_max": scan_max}


@lru_cache(_SHAPES_MAX)
def _build_page(shape: _Shape) -> Select[Any]:
    if shape.is_in_key_order:
        cut = _scan_end(shape)
        page = _page_in_key_order(shape, cut)
    else:
        cut = select(*_no_key(shape.sort)).cte("cut")
        page = _page_of_range(shape)
    rows = page.limit(_integer("limit")).subquery("page")
    names = key_names(shape.sort)
    key = [rows.c[name] for name in names]
    cut_key = [cut.c[name].label(f"cut_{name}") for name in names]
    joined: FromClause = cut.join(rows, true(), isouter=True)
    fills = {}
    if shape.has_fills:
        reconciled = reconciliation_of(rows)
        joined = joined.join(reconciled, true(), isouter=True)
        fills = {"fills": fill_totals(reconciled)}
    statement = select(order_body(rows, **fills).label("body"), *key, *cut_key).select_from(joined)
    return statement.order_by(*(column.desc() for column in key))


def _integer(name: str) -> BindParameter[int]:
    return bindparam(name, type_=Integer())


def key_names(sort: Sort) -> tuple[str, ...]:
    """Return the names of the key's columns."""
    names = ("digits", "twap_id", "wallet")
    return names if sort == "twap_id" else ("sort_value", *names)


def _key(sort: Sort) -> tuple[ColumnElement[Any], ...]:
    """Return the key of an order. An order that has ended has its last event at its end."""
    columns = twap_orders.c
    key = (func.length(columns.twap_id), columns.twap_id, columns.wallet)
    values = {"ended": columns.last_status_at, "notional": columns.notional_executed}
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


def _after(sort: Sort) -> ColumnElement[Any]:
    """Return the key of the last order of the previous page."""
    types: dict[str, list[Any]] = {"twap_id": [], "ended": [_TIMESTAMP], "notional": [Numeric()]}
    kinds = [*types[sort], Integer(), Text(), Text()]
    names = key_names(sort)
    return tuple_(
        *(cast(bindparam(f"after_{name}", type_=kind), kind) for name, kind in zip(names, kinds, strict=True))
    )


def _scan_conditions(shape: _Shape) -> list[ColumnElement[bool]]:
    """Return the conditions that the index of the key evaluates."""
    conditions: list[ColumnElement[bool]] = []
    if "after_twap_id" in shape.parameters:
        conditions.append(tuple_(*_key(shape.sort)) < _after(shape.sort))
    if "asset" in shape.parameters and shape.has_asset_index:
        conditions.append(twap_orders.c.asset == bindparam("asset"))
    if shape.sort == "ended" and shape.time_field != "started":
        conditions += _range_conditions(shape)
    return conditions


def _index_conditions_on_end(shape: _Shape) -> list[ColumnElement[bool]]:
    """Return those of `_scan_conditions` with ``sort=ended`` that need no other column than the time."""
    ended_at = twap_orders.c.last_status_at
    conditions: list[ColumnElement[bool]] = []
    if "after_sort_value" in shape.parameters:
        time = bindparam("after_sort_value", type_=_TIMESTAMP)
        is_within_time = bindparam("after_digits", type_=Integer()) > literal(0, Integer)  # else the time is complete
        conditions += [ended_at <= time, or_(ended_at < time, is_within_time)]
    if shape.time_field != "started":
        conditions += _between(ended_at, shape)
    return conditions


def _filter_conditions(shape: _Shape) -> list[ColumnElement[bool]]:
    """Return the conditions that no index evaluates."""
    names = ("side", "status") if shape.has_asset_index else ("asset", "side", "status")
    conditions = [twap_orders.c[name] == bindparam(name) for name in names if name in shape.parameters]
    if shape.market is not None:
        spot = is_spot(twap_orders.c.asset)
        conditions.append(spot if shape.market == "spot" else ~spot)
    if "min_notional" in shape.parameters:
        conditions.append(twap_orders.c.notional_executed >= bindparam("min_notional"))
    if shape.sort == "ended":
        conditions.append(twap_orders.c.ended_at.is_not(None))
    if shape.sort != "ended" or shape.time_field == "started":
        conditions += _range_conditions(shape)
    if shape.sort == "notional":
        conditions.append(twap_orders.c.notional_executed.is_not(None))
    return conditions


def _range_conditions(shape: _Shape) -> list[ColumnElement[bool]]:
    columns = twap_orders.c
    if shape.time_field == "started":
        return [
            *_between(func.coalesce(columns.started_at, columns.first_event_at), shape),
            *_days_between(columns.start_date, shape),
        ]
    # An index contains last_status_at. It equals ended_at where that is not NULL.
    conditions = _between(columns.last_status_at, shape)
    if shape.time_field == "ended" and conditions:
        conditions.append(columns.ended_at.is_not(None))
    return conditions


def _between(column: ColumnElement[Any], shape: _Shape) -> list[ColumnElement[bool]]:
    conditions = []
    if "start" in shape.parameters:
        conditions.append(column >= bindparam("start", type_=_TIMESTAMP))
    if "end" in shape.parameters:
        conditions.append(column < bindparam("end", type_=_TIMESTAMP))
    return conditions


def _days_between(column: ColumnElement[Any], shape: _Shape) -> list[ColumnElement[bool]]:
    """Return the conditions on the UTC day, which an index contains."""
    conditions = []
    if "start" in shape.parameters:
        conditions.append(column >= _day("start"))
    if "end" in shape.parameters:
        conditions.append(column <= _day("end"))
    return conditions


def _day(name: str) -> ColumnElement[Any]:
    return cast(func.timezone("UTC", bindparam(name, type_=_TIMESTAMP)), Date)


def _scan_end(shape: _Shape) -> CTE:
    """Return the key of the last order that a page reads, or `_no_key` if the scan reaches the last order.

    With several wallets, it is the highest of the wallets' last keys: below it, orders of that wallet are not read.
    With ``sort=ended``, it precedes all orders of that time: the time is in an index, the other columns of the key are
    not, and reading 10,000 rows would cost more than the page.
    """
    orders_max = _integer("scan_max" if _filter_conditions(shape) else "limit")
    names = key_names(shape.sort)

    def scan(wallet: ColumnElement[str] | None) -> Select[Any]:
        key = _key(shape.sort)
        conditions = _scan_conditions(shape)
        sorted_by = key
        if shape.sort == "ended":
            sorted_by = key[:1]
            key = (*sorted_by, literal(0, Integer), literal("", Text), literal("", Text))
            conditions = _index_conditions_on_end(shape)
        statement = select(*(column.label(name) for name, column in zip(names, key, strict=True))).where(*conditions)
        if wallet is not None:
            statement = statement.where(twap_orders.c.wallet == wallet)
        return statement.order_by(*(column.desc() for column in sorted_by)).offset(orders_max - 1).limit(1)

    ends = _for_each_wallet(shape, scan, "ends").subquery("ends")
    ends_or_none = union_all(select(*(ends.c[name] for name in names)), select(*_no_key(shape.sort))).subquery("cuts")
    highest = select(ends_or_none).order_by(*(ends_or_none.c[name].desc() for name in names)).limit(1)
    return highest.cte("cut").prefix_with("MATERIALIZED")


def _page_in_key_order(shape: _Shape, cut: CTE) -> Select[Any]:
    names = key_names(shape.sort)
    lowest = tuple_(*(select(cut.c[name]).scalar_subquery() for name in names))

    def page(wallet: ColumnElement[str] | None) -> Select[Any]:
        key = _key(shape.sort)
        statement = _select_orders(shape.sort).where(
            *_scan_conditions(shape), *_filter_conditions(shape), tuple_(*key) >= lowest
        )
        if wallet is not None:
            statement = statement.where(twap_orders.c.wallet == wallet)
        return statement.order_by(*(column.desc() for column in key)).limit(_integer("limit"))

    orders = _for_each_wallet(shape, page, "orders").subquery("orders")
    return select(orders).order_by(*(orders.c[name].desc() for name in names))


def _page_of_range(shape: _Shape) -> Select[Any]:
    """Return the statement that reads all orders of the range first, whatever the table statistics are."""
    conditions = [*_filter_conditions(shape), *_scan_conditions(shape)]
    if "wallets" in shape.parameters:
        conditions.append(twap_orders.c.wallet == any_(_wallets_parameter()))
    in_range = _select_orders(shape.sort).where(*conditions).cte("in_range").prefix_with("MATERIALIZED")
    return select(in_range).order_by(*(in_range.c[name].desc() for name in key_names(shape.sort)))


def _select_orders(sort: Sort) -> Select[Any]:
    """Return a statement for all columns of orders and those of the key that are no columns."""
    key = dict(zip(key_names(sort), _key(sort), strict=True))
    added = [column.label(name) for name, column in key.items() if name not in twap_orders.c]
    return select(*twap_orders.c, *added)


def _wallets_parameter() -> BindParameter[Sequence[str]]:
    return bindparam("wallets", type_=ARRAY(Text))


def _for_each_wallet(shape: _Shape, make: Callable[[ColumnElement[str] | None], Select[Any]], name: str) -> Select[Any]:
    """Return the rows of a statement for each requested wallet; of one statement for all wallets without a request."""
    if "wallets" not in shape.parameters:
        return make(None)
    requested = func.unnest(_wallets_parameter()).table_valued("wallet", name="requested").render_derived()
    rows = make(requested.c.wallet).lateral(f"{name}_of_wallet")
    return select(rows).join_from(requested, rows, true())
