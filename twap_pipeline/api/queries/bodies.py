"""The JSON objects of an order, an event and a fill."""

from typing import Any

from sqlalchemy import ColumnElement, FromClause, Numeric, Text, case, cast, func, literal, or_

from twap_pipeline.api.queries.json_format import json_text, to_json_value, to_significant
from twap_pipeline.storage.schema.models import twap_fills, twap_status
from twap_pipeline.storage.symbols.markets import is_spot, symbol

RAW_BYTES_MAX = 1_000_000
"""Maximum size of a source row in a response; a larger one is replaced by `OMITTED_RAW`."""

OMITTED_RAW = "raw_payload_omitted"
"""The only key of ``raw`` in place of a source row that is too large."""


def _market(asset: ColumnElement[Any]) -> ColumnElement[Any]:
    return case((asset.is_(None), None), (is_spot(asset), literal("spot", Text)), else_=literal("perp", Text))


def order_body(orders: FromClause, **more: ColumnElement[Any]) -> ColumnElement[Any]:
    """Return an order as JSON text, with more keys at its end; NULL if ``twap_id`` is NULL."""
    columns = orders.c
    body = json_text(
        twap_id=columns.twap_id,
        wallet=columns.wallet,
        asset=columns.asset,
        symbol=symbol(columns.asset, columns.last_status_at),
        market=_market(columns.asset),
        side=columns.side,
        status=columns.status,
        status_error=columns.status_error,
        size_requested=columns.size_requested,
        size_executed=columns.size_executed,
        notional_executed=columns.notional_executed,
        average_price=to_significant(columns.average_price),
        is_underfilled=columns.is_underfilled,
        started_at=columns.started_at,
        ended_at=columns.ended_at,
        last_status_at=columns.last_status_at,
        duration_minutes=columns.duration_minutes,
        reduce_only=columns.reduce_only,
        randomize=columns.randomize,
        event_count=columns.event_count,
        first_object_key=columns.first_object_key,
        last_object_key=columns.last_object_key,
        **more,
    )
    return case((columns.twap_id.is_not(None), body))


def event_body() -> ColumnElement[str]:
    """Return an event of ``twap_status`` as JSON text."""
    columns = twap_status.c
    price = columns.notional_executed / func.nullif(columns.size_executed, literal(0, Numeric), type_=Numeric)
    return json_text(
        twap_id=columns.twap_id,
        wallet=columns.wallet,
        ts=columns.ts,
        asset=columns.asset,
        symbol=symbol(columns.asset, columns.ts),
        market=_market(columns.asset),
        side=columns.side,
        status=columns.status,
        status_error=columns.status_error,
        size_requested=columns.size_requested,
        size_executed=columns.size_executed,
        notional_executed=columns.notional_executed,
        average_price=to_significant(price),
        started_at=columns.started_at,
        duration_minutes=columns.duration_minutes,
        reduce_only=columns.reduce_only,
        randomize=columns.randomize,
        object_key=columns.s3_object_key,
        raw=_raw(),
    )


def fill_body() -> ColumnElement[str]:
    """Return a fill of ``twap_fills`` as JSON text."""
    columns = twap_fills.c
    return json_text(
        trade_id=columns.trade_id,
        twap_id=columns.twap_id,
        wallet=columns.wallet,
        ts=columns.ts,
        asset=columns.asset,
        symbol=symbol(columns.asset, columns.ts),
        market=_market(columns.asset),
        dex=columns.dex,
        side=columns.side,
        direction=columns.direction,
        price=columns.price,
        size=columns.size,
        notional=columns.price * columns.size,
        realized_pnl=columns.realized_pnl,
        start_position=columns.start_position,
        fee=columns.fee,
        fee_token=columns.fee_token,
        builder_fee=columns.builder_fee,
        deployer_fee=columns.deployer_fee,
        priority_fee=columns.priority_fee,
        order_id=columns.order_id,
        is_taker=columns.is_taker,
        object_key=columns.s3_object_key,
    )


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
