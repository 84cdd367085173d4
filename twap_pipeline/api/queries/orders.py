"""Statements on ``twap_orders``: one order, the summary of a wallet, the leaderboard, and the daily statistics.

A time range applies to ``last_status_at``, which every order has: the time of the terminal event, or of the last event
of an order that has not ended. The list of orders is in `order_list`.
"""

from datetime import date, datetime
from typing import Any

from sqlalchemy import DateTime, Select, Text, TextClause, bindparam, func, literal, select, text, true, tuple_

from twap_pipeline.api.queries.bodies import order_body
from twap_pipeline.api.queries.fills import fill_totals, reconciliation_of
from twap_pipeline.api.queries.json_format import json_text
from twap_pipeline.storage.schema.models import twap_daily_stats, twap_orders
from twap_pipeline.storage.sql_files import load_queries
from twap_pipeline.storage.symbols.markets import FRAGMENTS, symbol

_QUERIES = load_queries(__package__, "orders.sql", **FRAGMENTS)
_TIMESTAMP = DateTime(timezone=True)
_RECONCILED = reconciliation_of(twap_orders)
_ORDERS_WITH_ID = (
    select(order_body(twap_orders, fills=fill_totals(_RECONCILED)).label("body"))
    .join_from(twap_orders, _RECONCILED, true(), isouter=True)
    .where(twap_orders.c.twap_id == bindparam("twap_id"))
    .order_by(twap_orders.c.wallet)
)
"""Rows: ``body`` as JSON text."""


def orders_with_id(twap_id: str) -> tuple[Select[Any], dict[str, Any]]:
    """Return a statement for the orders with an ID and their fills, one per wallet, and its parameters."""
    return _ORDERS_WITH_ID, {"twap_id": twap_id}


def wallet_summary(wallet: str, start: datetime | None, end: datetime | None) -> TextClause:
    """Return a statement for the totals of a wallet's orders from ``start`` to before ``end``; None is unbounded.

    One row: ``order_count``, ``notional_executed``, two timestamps as text, ``by_asset`` and ``by_day``, JSON arrays as
    text, and ``fills_by_asset``, a JSON array as text: of the fills from ``start`` to before ``end``, whatever their
    order's last event is; None if the database contains no fills.
    """
    return text(_QUERIES["wallet_summary"]).bindparams(
        bindparam("wallet", wallet), bindparam("start", start, _TIMESTAMP), bindparam("end", end, _TIMESTAMP)
    )


def leaderboard(
    start: datetime, end: datetime, *, asset: str | None, market: str | None, limit: int, with_fills: bool = False
) -> TextClause:
    """Return a statement for the wallets with the highest executed notional from ``start`` to before ``end``.

    Rows: ``body`` as JSON text. The cost grows with the orders of the range; with fills, also with the fills of the
    ranked wallets in the range, whatever the last event of their order is.
    """
    return text(_QUERIES["leaderboard"]).bindparams(
        bindparam("start", start, _TIMESTAMP),
        bindparam("end", end, _TIMESTAMP),
        bindparam("asset", asset, Text()),
        bindparam("market", market, Text()),
        bindparam("limit", limit),
        bindparam("with_fills", with_fills),
    )


def daily_stats(
    start: date, end: date, asset: str | None, *, after: tuple[date, str, str, str] | None, limit: int
) -> Select[Any]:
    """Return a statement for a page of daily statistics from ``start`` to before ``end``, oldest first.

    Rows: ``body`` as JSON text, then the key ``day``, ``asset``, ``side``, ``status``, where NULL becomes ''.
    """
    columns = twap_daily_stats.c
    key = (
        columns.day.label("day"),
        *(func.coalesce(columns[name], "").label(name) for name in ("asset", "side", "status")),
    )
    body = json_text(**dict(columns), symbol=symbol(columns.asset, func.now()))
    statement = select(body.label("body"), *key).where(columns.day >= start, columns.day < end)
    if asset is not None:
        statement = statement.where(columns.asset == asset)
    if after is not None:
        day, *names = after
        key_after = tuple_(literal(day, columns.day.type), *map(literal, names))
        statement = statement.where(columns.day >= day, tuple_(*(column.element for column in key)) > key_after)
    return statement.order_by(*key).limit(limit)
