-- Checks of the stored data: each query returns the violations. Statuses equal those of domain/status.py, by test.

-- name: no_parked_objects
-- Objects that reached the limit of failed attempts (ATTEMPTS_MAX = 3).
SELECT s3_object_key, failed_attempts, error_text FROM etl_s3_ingest_log
WHERE error_text IS NOT NULL AND failed_attempts >= 3;

-- name: row_count_matches_ingest_log
-- The sum of inserted rows in log and history, and the stored rows, where they differ.
SELECT inserted, stored FROM (
  SELECT coalesce((SELECT sum(rows_inserted) FROM etl_s3_ingest_log), 0)
    + coalesce((SELECT sum(rows_inserted) FROM etl_s3_ingest_history), 0) AS inserted,
    (SELECT count(*) FROM twap_status) AS stored
) AS counts WHERE inserted <> stored;

-- name: event_times_in_range
-- Events before the exchange existed, or more than a day after their object was written and after its day.
SELECT status.twap_id, status.wallet, status.ts, status.s3_object_key
FROM twap_status AS status LEFT JOIN etl_s3_ingest_log AS log ON log.s3_object_key = status.s3_object_key
WHERE status.ts < '2023-01-01' OR status.ts > interval '1 day'
  + greatest(status.s3_last_modified, CAST(log.object_date + 1 AS timestamp) AT TIME ZONE 'UTC');

-- name: terminal_event_rate
-- Dates on which less than 95 % of the activated orders have a terminal event seven days later.
SELECT day, activated, ended FROM (
  SELECT ts::date AS day, count(*) AS activated, count(*) FILTER (WHERE has_ended) AS ended
  FROM (
    SELECT ts, status,
      bool_or(status IN ('error', 'finished', 'stopped', 'terminated')) OVER (PARTITION BY twap_id) AS has_ended
    FROM twap_status
  ) AS events
  WHERE status = 'activated' AND ts < (SELECT max(ts) FROM twap_status) - interval '7 days'
  GROUP BY 1
) AS days
WHERE ended < 0.95 * activated AND activated - ended > 5 ORDER BY day;

-- name: daily_row_count_anomaly
-- Dates whose objects have less than a third, or more than three times, the median number of rows.
SELECT object_date, rows, usual FROM (
  SELECT object_date, sum(rows_read) AS rows, (
      SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY total) FROM (
        SELECT sum(rows_read) AS total FROM etl_s3_ingest_log WHERE object_date IS NOT NULL
        GROUP BY object_date HAVING sum(rows_read) >= 100) AS totals) AS usual
  FROM etl_s3_ingest_log
  WHERE object_date < (SELECT max(object_date) FROM etl_s3_ingest_log)
  GROUP BY object_date HAVING sum(rows_read) >= 100
) AS days
WHERE rows < usual / 3 OR rows > usual * 3 ORDER BY object_date;

-- name: executed_size_lte_requested
-- Events that executed more than the order requested.
SELECT twap_id, wallet, ts, size_executed, size_requested FROM twap_status WHERE size_executed > size_requested;

-- name: no_execution_before_terminal_event
-- Events before the terminal event with an executed size.
SELECT twap_id, wallet, ts, status, size_executed FROM twap_status
WHERE status IN ('activated', 'waitingForTrigger') AND size_executed <> 0;

-- name: no_unknown_statuses
-- Statuses that domain/status.py does not contain.
SELECT coalesce(status, 'NULL') AS status, count(*) AS rows, min(ts) AS first_event_at FROM twap_status
WHERE status IS NULL
  OR status NOT IN ('activated', 'error', 'finished', 'stopped', 'terminated', 'waitingForTrigger')
GROUP BY 1 ORDER BY 2 DESC;

-- name: no_quarantined_rows
-- Quarantined rows with their reasons.
SELECT s3_object_key, row_number, reason FROM twap_status_quarantine ORDER BY s3_object_key, row_number;

-- name: orders_match_events
-- Orders that differ from their events; `orders.refresh.compare_orders` creates the table.
SELECT twap_id, wallet, difference FROM differing_orders ORDER BY twap_id, wallet;
