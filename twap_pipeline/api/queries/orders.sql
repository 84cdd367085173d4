-- name: wallet_summary
-- One row: totals of a wallet's orders in a range of last_status_at, and by_asset (JSON array as text).
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
    sum(size_requested)::text AS size_requested,
    sum(size_executed)::text AS size_executed,
    sum(notional_executed)::text AS notional_executed,
    (sum(notional_executed) / nullif(sum(size_executed), 0))::text AS average_price
  FROM orders_in_range
  GROUP BY asset, side
  ORDER BY sum(notional_executed) DESC NULLS LAST, asset, side
)
SELECT
  count(*) AS order_count,
  coalesce(sum(notional_executed), 0)::text AS notional_executed,
  to_char(min(coalesce(started_at, first_event_at)) AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS first_order_at,
  to_char(max(last_status_at) AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS last_event_at,
  (SELECT coalesce(json_agg(assets), '[]')::text FROM assets) AS by_asset
FROM orders_in_range;
