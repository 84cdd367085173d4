"""Statements on ``twap_fills`` and on the reconciliation of orders with their fills.

Pages follow keys: the fills of an order (``wallet``, ``ts``, ``trade_id``), the orders of a state (``at``, ``twap_id``,
``wallet``), lowest first. A time range of orders applies to their last event; that of fills without an order, to the
last fill. The cost of a list of orders grows with the orders of its range, whose length the route limits.
"""

from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    DateTime,
    FromClause,
    Numeric,
    Select,
    Subquery,
    case,
    exists,
    func,
    literal,
    select,
    true,
    tuple_,
    union_all,
)

from twap_pipeline.api.queries.bodies import fill_body
from twap_pipeline.api.queries.json_format import json_object, json_text, to_significant
from twap_pipeline.domain.data_set import TWAP_FILLS
from twap_pipeline.storage.schema.models import etl_s3_ingest_log, twap_fills, twap_order_reconciliation, twap_orders
from twap_pipeline.storage.symbols.markets import symbol

_TIMESTAMP = DateTime(timezone=True)


def order_fills(twap_id: str, *, after: tuple[str, datetime, str] | None, limit: int) -> Select[Any]:
    """Return a statement for a page of an order's fills, oldest first.

    Rows: ``body`` as JSON text, and the key ``wallet``, ``ts``, ``trade_id``. The exchange gives an ID to one order of
    one wallet. If the data contain several wallets with the ID, the fills are sorted by wallet first.
    """
    columns = twap_fills.c
    key = (columns.wallet, columns.ts, columns.trade_id)
    statement = select(fill_body().label("body"), *key).where(columns.twap_id == twap_id)
    if after is not None:
        wallet, ts, trade_id = after
        statement = statement.where(tuple_(*key) > tuple_(wallet, literal(ts, _TIMESTAMP), trade_id))
    return statement.order_by(*key).limit(limit)


def reconciliation_of(orders: FromClause) -> FromClause:
    """Return the row of ``twap_order_reconciliation`` of each order, for a join on `true`."""
    view = twap_order_reconciliation
    # LIMIT lets PostgreSQL evaluate the view per order, by its indexes, instead of joining it whole.
    row = select(view).where(view.c.twap_id == orders.c.twap_id, view.c.wallet == orders.c.wallet).limit(1)
    return row.lateral("reconciliation")


def fill_totals(reconciled: FromClause) -> ColumnElement[Any]:
    """Return the sums of an order's fills as a JSON object; NULL if the database contains no fills at all."""
    columns = reconciled.c
    price = columns.notional_filled / func.nullif(columns.size_filled, literal(0, Numeric), type_=Numeric)
    totals = json_object(
        fill_count=columns.fill_count,
        size_filled=columns.size_filled,
        notional_filled=columns.notional_filled,
        average_price=to_significant(price),
        first_fill_at=columns.first_fill_at,
        last_fill_at=columns.last_fill_at,
        realized_pnl=columns.realized_pnl,
        fee=columns.fee,
        fee_token=columns.fee_token,
        reconciliation=columns.state,
    )
    return case((exists(select(twap_fills.c.trade_id)), totals))


def reconciliation_page(
    state: str, start: datetime, end: datetime, *, after: tuple[datetime, str, str] | None, limit: int
) -> Select[Any]:
    """Return a statement for a page of the orders in a state, from ``start`` to before ``end``, earliest first.

    Rows: ``body`` as JSON text, and the key ``at``, ``twap_id``, ``wallet``.
    """
    rows, at = _rows_without_order(start, end) if state == "no_order" else _rows_of_orders(start, end)
    columns = rows.c
    key = (at, columns.twap_id, columns.wallet)
    body = json_text(
        twap_id=columns.twap_id,
        wallet=columns.wallet,
        asset=columns.asset,
        symbol=symbol(columns.asset, at),
        state=columns.state,
        at=at,
        ended_at=columns.ended_at,
        fill_count=columns.fill_count,
        size_executed=columns.size_executed,
        size_filled=columns.size_filled,
        notional_executed=columns.notional_executed,
        notional_filled=columns.notional_filled,
    )
    statement = select(body.label("body"), at.label("at"), columns.twap_id, columns.wallet)
    statement = statement.where(columns.state == state, *_between(at, start, end))
    if after is not None:
        after_at, twap_id, wallet = after
        statement = statement.where(tuple_(*key) > tuple_(literal(after_at, _TIMESTAMP), twap_id, wallet))
    return statement.order_by(*key).limit(limit)


def reconciliation_counts(start: datetime, end: datetime) -> Select[Any]:
    """Return a statement for the number of orders per state, from ``start`` to before ``end``.

    Rows: ``state``, ``order_count``, only of states with orders.
    """
    counts = []
    for rows, at in (_rows_of_orders(start, end), _rows_without_order(start, end)):
        counts.append(select(rows.c.state).where(*_between(at, start, end)))
    states = union_all(*counts).subquery("states")
    return select(states.c.state, func.count().label("order_count")).group_by(states.c.state)


def _rows_of_orders(start: datetime, end: datetime) -> tuple[Subquery, ColumnElement[Any]]:
    """Return the orders of the range."""
    reconciled = reconciliation_of(twap_orders)
    rows = select(reconciled).join_from(twap_orders, reconciled, true())
    of_orders = rows.where(*_between(twap_orders.c.last_status_at, start, end)).subquery("of_orders")
    return of_orders, of_orders.c.last_status_at


def _rows_without_order(start: datetime, end: datetime) -> tuple[Subquery, ColumnElement[Any]]:
    """Return the groups of fills without an order, of the objects of the range's days."""
    log, fills, orders = etl_s3_ingest_log.c, twap_fills.c, twap_orders.c
    has_order = exists(select(orders.twap_id).where(orders.twap_id == fills.twap_id, orders.wallet == fills.wallet))
    keys = (
        select(fills.twap_id, fills.wallet)
        .join_from(etl_s3_ingest_log, twap_fills, log.s3_object_key == fills.s3_object_key)
        .where(log.data_set == TWAP_FILLS.name, log.object_date.between(start.date(), end.date()), ~has_order)
        .distinct()
        .subquery("keys")
    )
    reconciled = reconciliation_of(keys)
    rows = select(reconciled).join_from(keys, reconciled, true()).subquery("without_order")
    return rows, rows.c.last_fill_at


def _between(at: ColumnElement[Any], start: datetime, end: datetime) -> tuple[ColumnElement[bool], ...]:
    return at >= literal(start, _TIMESTAMP), at < literal(end, _TIMESTAMP)
