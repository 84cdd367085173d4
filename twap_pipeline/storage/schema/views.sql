-- The views at Alembic's head: what `models` declares. Keep them equal to the migrations.

-- name: twap_daily_stats
-- Orders per start date, asset, side and current status.
SELECT start_date AS day, asset, side, status, count(*) AS order_count, count(DISTINCT wallet) AS wallet_count,
  count(*) FILTER (WHERE is_underfilled) AS underfilled_order_count, sum(size_requested) AS size_requested,
  sum(size_executed) AS size_executed, sum(notional_executed) AS notional_executed
FROM twap_orders GROUP BY start_date, asset, side, status;

-- name: twap_order_fills
-- The fills of each order, summed. A sum is NULL if a fill lacks the value, and a fee also if the tokens differ.
SELECT twap_id, wallet, min(asset) AS asset, count(*) AS fill_count, min(ts) AS first_fill_at, max(ts) AS last_fill_at,
  sum(size) AS size_filled, sum(price * size) AS notional_filled,
  CASE WHEN count(realized_pnl) = count(*) THEN sum(realized_pnl) END AS realized_pnl,
  CASE WHEN count(fee) = count(*) AND count(fee_token) = count(*) AND min(fee_token) = max(fee_token) THEN sum(fee)
    END AS fee,
  CASE WHEN count(fee_token) = count(*) AND min(fee_token) = max(fee_token) THEN min(fee_token) END AS fee_token
FROM twap_fills GROUP BY twap_id, wallet;

-- name: twap_order_reconciliation
-- Per order, and per group of fills without an order: whether its fills add up to its executed totals.
-- Tolerances: less than 0.00000001 coins, and per fill 0.000001 USD, the last decimal of executed notionals.
-- PostgreSQL applies an equality with `wallet` or `twap_id` to both sides of the FULL JOIN.
SELECT twap_id, wallet, coalesce(orders.asset, fills.asset) AS asset, orders.started_at, orders.first_event_at,
  orders.ended_at, orders.last_status_at, coalesce(fills.fill_count, 0) AS fill_count,
  orders.size_executed, coalesce(fills.size_filled, 0) AS size_filled,
  orders.notional_executed, coalesce(fills.notional_filled, 0) AS notional_filled,
  fills.first_fill_at, fills.last_fill_at, fills.realized_pnl, fills.fee, fills.fee_token,
  CASE
    WHEN orders.last_status_at IS NULL THEN 'no_order'
    WHEN orders.ended_at IS NULL THEN 'running'
    WHEN orders.size_executed IS NULL OR orders.notional_executed IS NULL THEN 'unknown_totals'
    WHEN abs(coalesce(fills.size_filled, 0) - orders.size_executed) < 0.00000001
      AND abs(coalesce(fills.notional_filled, 0) - orders.notional_executed)
        <= 0.000001 * coalesce(fills.fill_count, 0) THEN 'reconciled'
    WHEN EXISTS (
      SELECT FROM generate_series(0, (orders.ended_at AT TIME ZONE 'UTC')::date - orders.start_date) AS number
      WHERE (
        SELECT bool_and(error_text IS NULL) FROM etl_s3_ingest_log
        WHERE data_set IS NOT DISTINCT FROM 'twap_fills' AND object_date = orders.start_date + number
      ) IS NOT TRUE
    ) THEN 'fills_not_loaded'
    WHEN abs(coalesce(fills.size_filled, 0) - orders.size_executed) < 0.00000001 THEN 'different_notional'
    WHEN coalesce(fills.size_filled, 0) < orders.size_executed THEN 'missing_fills'
    ELSE 'surplus_fills'
  END AS state
FROM twap_orders AS orders FULL JOIN twap_order_fills AS fills USING (twap_id, wallet);
