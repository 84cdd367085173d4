-- name: wallet_summary
-- One row: totals of a wallet's orders in a range of last_status_at, by_asset and by_day (JSON arrays as text), and
-- fills_by_asset, totals of the fills in the range of ts; NULL if there are no fills at all.
WITH orders_in_range AS MATERIALIZED (
  SELECT * FROM twap_orders
  WHERE wallet = :wallet
    AND last_status_at >= coalesce(:start, '-infinity')
    AND last_status_at < coalesce(:end, 'infinity')
), assets AS (
  SELECT
    asset,
    side,
    count(*) AS order_count,
    count(*) FILTER (WHERE ended_at IS NULL) AS running,
    count(*) FILTER (WHERE status = 'finished') AS finished,
    count(*) FILTER (WHERE status = 'terminated') AS terminated,
    count(*) FILTER (WHERE status = 'error') AS error,
    count(*) FILTER (WHERE is_underfilled) AS underfilled_order_count,
    sum(size_requested) AS size_requested,
    sum(size_executed) AS size_executed,
    sum(notional_executed) AS notional_executed,
    sum(notional_executed) / nullif(sum(size_executed), 0) AS price
  FROM orders_in_range
  GROUP BY asset, side
), totals AS (
  -- The average price has ten significant digits.
  SELECT asset,
    {current_symbol} AS symbol,
    side, order_count, running, finished, terminated, error, underfilled_order_count,
    size_requested::text AS size_requested,
    size_executed::text AS size_executed,
    notional_executed::text AS notional_executed,
    trim_scale(to_char(price, '9.999999999EEEE')::numeric)::text AS average_price
  FROM assets
  ORDER BY assets.notional_executed DESC NULLS LAST, asset, side
), days AS (
  SELECT (last_status_at AT TIME ZONE 'UTC')::date AS day, count(*) AS order_count,
    coalesce(sum(notional_executed), 0)::text AS notional_executed
  FROM orders_in_range
  GROUP BY 1
  ORDER BY 1
), fills AS (
  SELECT asset, fee_token, count(*) AS fill_count, sum(price * size) AS notional_filled,
    CASE WHEN count(fee) = count(*) THEN sum(fee) END AS fee,
    CASE WHEN count(realized_pnl) = count(*) THEN sum(realized_pnl) END AS realized_pnl
  FROM twap_fills
  WHERE wallet = :wallet AND ts >= coalesce(:start, '-infinity') AND ts < coalesce(:end, 'infinity')
  GROUP BY asset, fee_token
), fill_totals AS (
  SELECT asset,
    {current_symbol} AS symbol,
    fill_count, notional_filled::text AS notional_filled, realized_pnl::text AS realized_pnl, fee::text AS fee, fee_token
  FROM fills
  ORDER BY fills.notional_filled DESC, asset, fee_token
)
SELECT
  count(*) AS order_count,
  coalesce(sum(notional_executed), 0)::text AS notional_executed,
  to_char(min(coalesce(started_at, first_event_at)) AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS first_order_at,
  to_char(max(last_status_at) AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS last_event_at,
  (SELECT coalesce(json_agg(totals), '[]')::text FROM totals) AS by_asset,
  (SELECT coalesce(json_agg(days), '[]')::text FROM days) AS by_day,
  CASE WHEN EXISTS (SELECT FROM twap_fills) THEN (SELECT coalesce(json_agg(fill_totals), '[]')::text FROM fill_totals)
    END AS fills_by_asset
FROM orders_in_range;

-- name: leaderboard
-- The wallets with the highest executed notional in a range of last_status_at, as JSON text. With :with_fills also the
-- sums of their fills in the range of ts, by token of the fee: NULL if there are no fills at all.
WITH wallets AS (
  SELECT
    wallet,
    count(*) AS order_count,
    count(DISTINCT asset) AS asset_count,
    sum(notional_executed) AS notional_executed,
    sum(notional_executed) FILTER (WHERE side = 'B') AS notional_bought,
    sum(notional_executed) FILTER (WHERE side = 'A') AS notional_sold
  FROM twap_orders
  WHERE last_status_at >= :start AND last_status_at < :end AND notional_executed > 0
    AND (asset = :asset OR :asset IS NULL)
    AND (:market IS NULL OR {is_spot} = (:market = 'spot'))
  GROUP BY wallet
  ORDER BY sum(notional_executed) DESC, wallet
  LIMIT :limit
)
SELECT json_build_object(
    'wallet', wallet,
    'order_count', order_count,
    'asset_count', asset_count,
    'notional_executed', notional_executed::text,
    'notional_bought', coalesce(notional_bought, 0)::text,
    'notional_sold', coalesce(notional_sold, 0)::text,
    'fills', CASE WHEN :with_fills AND EXISTS (SELECT FROM twap_fills) THEN coalesce(fills.by_token, '[]') END
  )::text AS body
FROM wallets
LEFT JOIN LATERAL (
  SELECT json_agg(tokens) AS by_token
  FROM (
    SELECT fee_token, count(*) AS fill_count, sum(price * size)::text AS notional_filled,
      CASE WHEN count(fee) = count(*) THEN sum(fee) END::text AS fee,
      CASE WHEN count(realized_pnl) = count(*) THEN sum(realized_pnl) END::text AS realized_pnl
    FROM twap_fills
    WHERE :with_fills AND wallet = wallets.wallet AND ts >= :start AND ts < :end
      AND (asset = :asset OR :asset IS NULL)
      AND (:market IS NULL OR {is_spot} = (:market = 'spot'))
    GROUP BY fee_token
    ORDER BY sum(price * size) DESC, fee_token
  ) AS tokens
) AS fills ON true
ORDER BY notional_executed DESC, wallet;
