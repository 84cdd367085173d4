"""What should be running now, and what it would still execute. Estimates, and named so.

The feed tells executed sizes only when an order ends. So an order without an end is taken to execute evenly over its
duration. One that is past its expected end and `GRACE` is stale: its end is late, lost, or outside the data.
"""

from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy import ARRAY, Integer, Text, TextClause, bindparam, text

from twap_pipeline.api.queries.json_format import rfc3339_sql
from twap_pipeline.api.queries.orders import LATEST_EVENT_SQL

GRACE = timedelta(minutes=30)
"""How long after its expected end an order's terminal event may be missing before it counts as stale."""

PRICE_AGE_DAYS = 7

# The parts that are put together below are this module's own constants.

_RUNNING = f"""
open_orders AS (
  SELECT *, CASE WHEN status IS DISTINCT FROM 'waitingForTrigger'
    THEN coalesce(started_at, first_event_at) + duration_minutes * interval '1 minute' END AS expected_end
  FROM twap_orders
  WHERE ended_at IS NULL AND (wallet = :wallet OR :wallet IS NULL) AND (asset = :asset OR :asset IS NULL)
), running AS MATERIALIZED (
  SELECT *, coalesce(expected_end + interval '{GRACE.total_seconds():.0f} s' < now(), false) AS stale,
    greatest(0, extract(epoch FROM expected_end - now()) / 60) AS minutes_left
  FROM open_orders
)"""  # noqa: S608

_ACTIVE = f"""
WITH {_RUNNING}, to_json_value AS (
  SELECT stale, expected_end AS ends, last_status_at AS at, row_number() OVER (
      PARTITION BY stale ORDER BY CASE WHEN stale THEN now() - expected_end ELSE expected_end - now() END, twap_id
    ) AS place,
    json_build_object('twap_id', twap_id, 'wallet', wallet, 'asset', asset, 'side', side, 'status', status,
      'size_requested', size_requested::text, 'started_at', {rfc3339_sql("started_at")},
      'duration_minutes', duration_minutes, 'expected_end', {rfc3339_sql("expected_end")},
      'estimate_remaining_size', round(CASE WHEN expected_end IS NULL THEN size_requested
        ELSE size_requested * least(1, minutes_left / nullif(duration_minutes, 0)) END, 8)::text) AS body
  FROM running
)
SELECT {rfc3339_sql("now()")} AS as_of, {rfc3339_sql(LATEST_EVENT_SQL)} AS data_until,
  count(*) FILTER (WHERE NOT stale) AS active_count, count(*) FILTER (WHERE stale) AS stale_count,
  coalesce(json_agg(body ORDER BY place) FILTER (WHERE NOT stale AND place <= :limit), '[]')::text AS active,
  coalesce(json_agg(body ORDER BY place) FILTER (WHERE stale AND place <= :limit), '[]')::text AS stale
FROM to_json_value
"""  # noqa: S608

_PRESSURE = f"""
WITH {_RUNNING}, prices AS (
  SELECT DISTINCT ON (asset) asset, average_price, last_status_at FROM twap_orders
  WHERE start_date >= (now() AT TIME ZONE 'UTC')::date - {PRICE_AGE_DAYS} AND average_price IS NOT NULL
    AND ended_at IS NOT NULL
  ORDER BY asset, last_status_at DESC
), expected AS (
  SELECT asset, minutes, count(*) AS orders,
    coalesce(sum(part) FILTER (WHERE side = 'B'), 0) AS buy, coalesce(sum(part) FILTER (WHERE side = 'A'), 0) AS sell
  FROM running CROSS JOIN unnest(:horizons) AS minutes CROSS JOIN LATERAL (
    SELECT size_requested * least(1, least(minutes, minutes_left) / nullif(duration_minutes, 0)) AS part
  )
  WHERE NOT stale AND minutes_left > 0
  GROUP BY asset, minutes
), by_asset AS (
  SELECT asset, max(orders) AS orders, average_price, last_status_at,
    json_agg(json_build_object('horizon_minutes', minutes, 'estimate_buy_size', round(buy, 8)::text,
      'estimate_sell_size', round(sell, 8)::text, 'estimate_net_size', round(buy - sell, 8)::text,
      'estimate_net_notional', round((buy - sell) * average_price, 2)::text) ORDER BY minutes) AS horizons,
    max(abs(buy - sell) * coalesce(average_price, 0)) AS weight
  FROM expected LEFT JOIN prices USING (asset)
  GROUP BY asset, average_price, last_status_at
)
SELECT {rfc3339_sql("now()")} AS as_of, {rfc3339_sql(LATEST_EVENT_SQL)} AS data_until,
  coalesce(json_agg(json_build_object('asset', asset, 'orders', orders,
    'estimate_price', round(average_price, 8)::text, 'price_at', {rfc3339_sql("last_status_at")},
    'horizons', horizons) ORDER BY weight DESC, asset), '[]')::text AS assets
FROM by_asset
"""  # noqa: S608


def active_orders(wallet: str | None, asset: str | None, *, limit: int) -> TextClause:
    """Return a statement for the orders without an end.

    One row: ``as_of``, ``data_until``, ``active_count``, ``stale_count``, and ``active`` and ``stale``, JSON lists as
    text of at most ``limit`` each: of the active those that end first, of the stale those that were due last.
    """
    return _bind_filters(_ACTIVE, wallet, asset).bindparams(limit=limit)


def pressure(asset: str | None, horizons_minutes: Sequence[int]) -> TextClause:
    """Return a statement for what active orders would still execute within these times.

    One row: ``as_of``, ``data_until``, ``assets``, a JSON list as text. Waiting and stale orders do not count.
    """
    horizons = bindparam("horizons", sorted(set(horizons_minutes)), ARRAY(Integer))
    return _bind_filters(_PRESSURE, None, asset).bindparams(horizons)


def _bind_filters(statement: str, wallet: str | None, asset: str | None) -> TextClause:
    return text(statement).bindparams(bindparam("wallet", wallet, Text()), bindparam("asset", asset, Text()))
