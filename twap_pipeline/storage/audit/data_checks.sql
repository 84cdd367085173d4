-- Checks of the stored data: each query returns the violations. Lists of statuses are placeholders, see `status_sql`.
-- Scope DAY: :keys are the objects of one UTC date, and :day is the date; without a date it is NULL, and :keys are the
-- objects that the rows name but the ingest log records without a date, or not at all.

-- name: no_parked_objects
-- Objects that reached the limit of failed attempts (ATTEMPTS_MAX = 3).
SELECT s3_object_key, failed_attempts, error_text FROM etl_s3_ingest_log
WHERE data_set = 'twap_status' AND error_text IS NOT NULL AND failed_attempts >= 3;

-- name: row_count_matches_ingest_log
-- The sum of inserted rows in log and history, and the stored and archived rows, where they differ.
SELECT inserted, stored FROM (
  SELECT coalesce((SELECT sum(rows_inserted) FROM etl_s3_ingest_log WHERE data_set = 'twap_status'), 0)
    + coalesce((SELECT sum(rows_inserted) FROM etl_s3_ingest_history WHERE data_set = 'twap_status'), 0) AS inserted,
    (SELECT count(*) FROM twap_status) + coalesce((SELECT sum(rows) FROM etl_archived_months), 0) AS stored
) AS counts WHERE inserted <> stored;

-- name: event_times_in_range
-- Events before the exchange existed, or more than a day after their object was written and after its day.
SELECT twap_id, wallet, ts, s3_object_key FROM twap_status
WHERE s3_object_key = ANY(:keys) AND (ts < '2023-01-01' OR ts > interval '1 day'
  + greatest(s3_last_modified, CAST(CAST(:day AS date) + 1 AS timestamp) AT TIME ZONE 'UTC'));

-- name: terminal_event_rate
-- Dates on which less than 95 % of the activated orders have a terminal event seven days later.
SELECT day, activated, ended FROM (
  SELECT ts::date AS day, count(*) AS activated, count(*) FILTER (WHERE (
      -- An aggregate fixes the plan: one lookup by twap_id per activated order.
      SELECT bool_or(other.status IN ({terminal_statuses}))
      FROM twap_status AS other WHERE other.twap_id = event.twap_id)) AS ended
  FROM twap_status AS event
  WHERE s3_object_key = ANY(:keys) AND status = 'activated'
    AND ts < (SELECT max(object_date) FROM etl_s3_ingest_log WHERE data_set = 'twap_status') - interval '7 days'
  GROUP BY 1
) AS days
WHERE ended < 0.95 * activated AND activated - ended > 5 ORDER BY day;

-- name: daily_row_count_anomaly
-- Dates whose objects have less than a third, or more than three times, the median number of rows.
WITH totals AS MATERIALIZED (
  SELECT object_date, sum(rows_read) AS rows FROM etl_s3_ingest_log
  WHERE data_set = 'twap_status' AND object_date IS NOT NULL GROUP BY object_date HAVING sum(rows_read) >= 100
)
SELECT object_date, rows, usual
FROM totals CROSS JOIN (SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY rows) AS usual FROM totals) AS median
WHERE object_date < (SELECT max(object_date) FROM etl_s3_ingest_log WHERE data_set = 'twap_status')
  AND (rows < usual / 3 OR rows > usual * 3)
ORDER BY object_date;

-- name: executed_size_lte_requested
-- Events that executed more than the order requested.
SELECT twap_id, wallet, ts, size_executed, size_requested FROM twap_status
WHERE s3_object_key = ANY(:keys) AND size_executed > size_requested;

-- name: no_execution_before_terminal_event
-- Events before the terminal event with an executed size.
SELECT twap_id, wallet, ts, status, size_executed FROM twap_status
WHERE s3_object_key = ANY(:keys) AND status IN ({early_statuses}) AND size_executed <> 0;

-- name: no_unknown_statuses
-- Statuses that domain/status.py does not contain.
SELECT coalesce(status, 'NULL') AS status, count(*) AS rows, min(ts) AS first_event_at FROM twap_status
WHERE s3_object_key = ANY(:keys) AND (status IS NULL
  OR status NOT IN ({known_statuses}))
GROUP BY 1 ORDER BY 2 DESC;

-- name: no_quarantined_rows
-- Quarantined rows with their reasons.
SELECT s3_object_key, row_number, reason FROM twap_status_quarantine ORDER BY s3_object_key, row_number;

-- name: fill_count_matches_ingest_log
-- The sum of inserted fills in log and history, and the stored fills, where they differ.
SELECT inserted, stored FROM (
  SELECT coalesce((SELECT sum(rows_inserted) FROM etl_s3_ingest_log WHERE data_set = 'twap_fills'), 0)
    + coalesce((SELECT sum(rows_inserted) FROM etl_s3_ingest_history WHERE data_set = 'twap_fills'), 0) AS inserted,
    (SELECT count(*) FROM twap_fills) AS stored
) AS counts WHERE inserted <> stored;

-- name: no_quarantined_fills
-- Quarantined rows of objects of fills, with their reasons.
SELECT s3_object_key, row_number, reason FROM twap_fills_quarantine ORDER BY s3_object_key, row_number;

-- name: no_parked_fill_objects
-- Objects of fills that reached the limit of failed attempts (ATTEMPTS_MAX = 3).
SELECT s3_object_key, failed_attempts, error_text FROM etl_s3_ingest_log
WHERE data_set = 'twap_fills' AND error_text IS NOT NULL AND failed_attempts >= 3;

-- name: fill_times_in_range
-- Fills before the exchange existed, or more than a day after their object was written and after its day.
SELECT trade_id, wallet, ts, s3_object_key FROM twap_fills
WHERE s3_object_key = ANY(:keys) AND (ts < '2023-01-01' OR ts > interval '1 day'
  + greatest(s3_last_modified, CAST(CAST(:day AS date) + 1 AS timestamp) AT TIME ZONE 'UTC'));

-- name: fills_reconcile_with_orders
-- Orders whose fills do not add up to their executed size and notional, and fills without an order, if fills are loaded.
SELECT twap_id, wallet, state, fill_count, size_executed, size_filled, notional_executed, notional_filled
FROM twap_order_reconciliation
WHERE state IN ('missing_fills', 'surplus_fills', 'different_notional', 'no_order') AND EXISTS (SELECT FROM twap_fills)
ORDER BY length(twap_id), twap_id, wallet;

-- name: orders_match_events
-- Differing orders of the objects; without a date also stored orders that have no event, and none in an archived month.
SELECT twap_id, wallet, difference FROM differing_orders
UNION ALL
SELECT twap_id, wallet, 'without events' FROM twap_orders AS stored
WHERE CAST(:day AS date) IS NULL
  AND first_event_at >= coalesce(
    (SELECT (max(month) + interval '1 month') AT TIME ZONE 'UTC' FROM etl_archived_months), '-infinity')
  AND (
  -- An aggregate fixes the plan: one lookup by twap_id per order.
  SELECT count(*) FROM twap_status AS event
  WHERE event.twap_id = stored.twap_id AND event.wallet IS NOT DISTINCT FROM stored.wallet) = 0
ORDER BY twap_id, wallet;
