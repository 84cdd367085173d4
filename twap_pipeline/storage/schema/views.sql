-- The views at Alembic's head: what `models` declares. Keep them equal to `schema.sql` and the migrations.

-- name: twap_daily_stats
-- Orders per start date, asset, side and current status.
SELECT start_date AS day, asset, side, status, count(*) AS order_count, count(DISTINCT wallet) AS wallet_count,
  count(*) FILTER (WHERE is_underfilled) AS underfilled_order_count, sum(size_requested) AS size_requested,
  sum(size_executed) AS size_executed, sum(notional_executed) AS notional_executed
FROM twap_orders GROUP BY start_date, asset, side, status;

-- name: twap_order_fills
-- The fills of each order, summed. Sums of fees are NULL if an order has fees in several tokens.
SELECT twap_id, wallet, count(*) AS fill_count, min(ts) AS first_fill_at, max(ts) AS last_fill_at,
  sum(size) AS size_filled, sum(price * size) AS notional_filled, sum(realized_pnl) AS realized_pnl,
  CASE WHEN count(DISTINCT fee_token) <= 1 THEN sum(fee) END AS fee,
  CASE WHEN count(DISTINCT fee_token) <= 1 THEN max(fee_token) END AS fee_token
FROM twap_fills GROUP BY twap_id, wallet;

-- name: twap_order_reconciliation
-- Per order, and per group of fills without an order: whether its fills add up to its executed totals.
-- Tolerances: one millionth of the total, and for the notional 0.00001 USD more per fill, for its rounding.
SELECT twap_id, wallet, orders.asset, orders.ended_at, coalesce(fills.fill_count, 0) AS fill_count,
  orders.size_executed, coalesce(fills.size_filled, 0) AS size_filled,
  orders.notional_executed, coalesce(fills.notional_filled, 0) AS notional_filled,
  CASE
    WHEN orders.last_status_at IS NULL THEN 'no_order'
    WHEN orders.ended_at IS NULL THEN 'running'
    WHEN orders.size_executed IS NULL OR orders.notional_executed IS NULL THEN 'unknown_totals'
    WHEN abs(coalesce(fills.size_filled, 0) - orders.size_executed) <= orders.size_executed * 0.000001
      AND abs(coalesce(fills.notional_filled, 0) - orders.notional_executed)
        <= orders.notional_executed * 0.000001 + 0.00001 * coalesce(fills.fill_count, 0) THEN 'reconciled'
    WHEN EXISTS (
      SELECT FROM generate_series((orders.start_date)::timestamp, orders.ended_at AT TIME ZONE 'UTC', '1 day') AS day
      WHERE NOT EXISTS (SELECT FROM etl_s3_ingest_log AS log
        WHERE log.data_set = 'twap_fills' AND log.object_date = day::date AND log.error_text IS NULL)
    ) THEN 'fills_not_loaded'
    WHEN coalesce(fills.size_filled, 0) < orders.size_executed THEN 'missing_fills'
    WHEN fills.size_filled > orders.size_executed THEN 'surplus_fills'
    ELSE 'different_notional'
  END AS state
FROM twap_orders AS orders FULL JOIN twap_order_fills AS fills USING (twap_id, wallet);
