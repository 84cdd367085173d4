"""SQL expressions that return an order, an event or a fill as JSON text."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, FromClause, Numeric, Text, case, cast, func, literal, or_

from twap_pipeline.api.queries.json_format import json_text, to_json_value, to_significant
from twap_pipeline.storage.schema.models import twap_fills, twap_status
from twap_pipeline.storage.symbols.markets import is_spot, symbol

RAW_BYTES_MAX = 1_000_000
"""Maximum size of a source row in a response; a larger one is replaced by `OMITTED_RAW`."""

OMITTED_RAW = "raw_payload_omitted"
"""The only key of ``raw`` in place of a source row that is too large."""


_ORDER_KEYS = (
    *("twap_id", "wallet", "asset", "symbol", "market", "side", "status", "status_error", "size_requested"),
    *("size_executed", "notional_executed", "average_price", "is_underfilled", "started_at", "ended_at"),
    *("last_status_at", "duration_minutes", "reduce_only", "randomize", "event_count"),
    *("first_object_key", "last_object_key"),
)
_EVENT_KEYS = (
    *("twap_id", "wallet", "ts", "asset", "symbol", "market", "side", "status", "status_error", "size_requested"),
    *("size_executed", "notional_executed", "average_price", "started_at", "duration_minutes", "reduce_only"),
    *("randomize", "object_key", "raw"),
)
_FILL_KEYS = (
    *("trade_id", "twap_id", "wallet", "ts", "asset", "symbol", "market", "dex", "side", "direction", "price", "size"),
    *("notional", "realized_pnl", "start_position", "fee", "fee_token", "builder_fee", "deployer_fee"),
    *("priority_fee", "order_id", "is_taker", "object_key"),
)


def _market(asset: ColumnElement[Any]) -> ColumnElement[Any]:
    return case((asset.is_(None), None), (is_spot(asset), literal("spot", Text)), else_=literal("perp", Text))


def order_body(orders: FromClause, **more: ColumnElement[Any]) -> ColumnElement[Any]:
    """Return an order as JSON text, with more keys at its end; NULL if ``twap_id`` is NULL."""
    columns = orders.c
    values = _values(
        _ORDER_KEYS,
        orders,
        symbol=symbol(columns.asset, columns.last_status_at),
        market=_market(columns.asset),
        average_price=to_significant(columns.average_price),
    )
    return case((columns.twap_id.is_not(None), json_text(**values, **more)))


def event_body() -> ColumnElement[str]:
    """Return an event of ``twap_status`` as JSON text."""
    columns = twap_status.c
    price = columns.notional_executed / func.nullif(columns.size_executed, literal(0, Numeric), type_=Numeric)
    values = _values(
        _EVENT_KEYS,
        twap_status,
        symbol=symbol(columns.asset, columns.ts),
        market=_market(columns.asset),
        average_price=to_significant(price),
        object_key=columns.s3_object_key,
        raw=_raw(),
    )
    return json_text(**values)


def fill_body() -> ColumnElement[str]:
    """Return a fill of ``twap_fills`` as JSON text."""
    columns = twap_fills.c
    values = _values(
        _FILL_KEYS,
        twap_fills,
        symbol=symbol(columns.asset, columns.ts),
        market=_market(columns.asset),
        notional=columns.price * columns.size,
        object_key=columns.s3_object_key,
    )
    return json_text(**values)


def _values(keys: Sequence[str], table: FromClause, **computed: ColumnElement[Any]) -> dict[str, ColumnElement[Any]]:
    """Return key → computed value, or else the column of the same name."""
    return {key: computed[key] if key in computed else table.c[key] for key in keys}


def raw_bytes() -> ColumnElement[Any]:
    """Return the size of the value ``raw`` in the body of an event of ``twap_status``; 0 without a source row."""
    return func.coalesce(func.octet_length(cast(_raw(), Text)), 0)


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
