-- What the tables hold for one partition: a UTC date of objects. Rows are found by the object that they name, so that an
-- event in several objects counts once and the counts of all dates add up to the table.

-- name: objects
-- One row: objects, bytes and row counts of the ingest log.
SELECT
  count(*) FILTER (WHERE error_text IS NULL) AS loaded,
  count(*) FILTER (WHERE error_text IS NOT NULL) AS failed,
  count(*) FILTER (WHERE error_text IS NOT NULL AND failed_attempts >= :attempts_max) AS parked,
  coalesce(sum(size_bytes) FILTER (WHERE error_text IS NULL), 0)::bigint AS bytes_loaded,
  coalesce(sum(rows_inserted), 0) AS rows_inserted,
  coalesce(sum(rows_updated), 0) AS rows_updated,
  coalesce(sum(rows_unchanged), 0) AS rows_unchanged,
  coalesce(sum(rows_superseded), 0) AS rows_superseded,
  coalesce(sum(rows_quarantined), 0) AS rows_quarantined,
  coalesce(sum(rows_metadata), 0) AS rows_metadata
FROM etl_s3_ingest_log WHERE data_set = :data_set AND object_date = :day;

-- name: attempts
-- One row: number of attempts to load an object and the bytes that they fetched, failed and replaced ones included.
SELECT count(*) AS attempts, coalesce(sum(bytes_fetched), 0)::bigint AS bytes_fetched FROM (
  SELECT bytes_fetched FROM etl_s3_ingest_log WHERE data_set = :data_set AND object_date = :day
  UNION ALL
  SELECT bytes_fetched FROM etl_s3_ingest_history
  -- A deep audit of many dates is recorded in the history of one object.
  WHERE kind <> 'deep_audit' AND data_set = :data_set AND s3_object_key = ANY(ARRAY(
    SELECT s3_object_key FROM etl_s3_ingest_log WHERE data_set = :data_set AND object_date = :day))
) AS attempt WHERE bytes_fetched IS NOT NULL;

-- name: data_warnings
-- The data warnings of the loaded objects, with their rows, the most frequent ones first.
SELECT warning.key, sum(warning.value::bigint) AS rows
FROM etl_s3_ingest_log CROSS JOIN jsonb_each_text(data_warnings) AS warning
WHERE data_set = :data_set AND object_date = :day GROUP BY warning.key ORDER BY rows DESC, warning.key LIMIT 20;

-- name: failed_objects
-- The objects that are not loaded, with the reason of the last failure.
SELECT s3_object_key, failed_attempts, error_text FROM etl_s3_ingest_log
WHERE data_set = :data_set AND object_date = :day AND error_text IS NOT NULL ORDER BY s3_object_key LIMIT 20;

-- name: events
-- Number of stored events by UTC hour and status; 'NULL' for a missing status.
SELECT extract(hour FROM ts AT TIME ZONE 'UTC')::integer AS hour, left(coalesce(status, 'NULL'), 60) AS name,
  count(*) AS events
FROM twap_status
WHERE s3_object_key = ANY(ARRAY(
  SELECT s3_object_key FROM etl_s3_ingest_log WHERE data_set = 'twap_status' AND object_date = :day))
GROUP BY hour, name;

-- name: latest_events
-- The latest stored events.
SELECT ts, twap_id, asset, side, status, size_executed, notional_executed
FROM twap_status
WHERE s3_object_key = ANY(ARRAY(
  SELECT s3_object_key FROM etl_s3_ingest_log WHERE data_set = 'twap_status' AND object_date = :day))
ORDER BY ts DESC, twap_id, wallet LIMIT 8;

-- name: fills
-- Number of stored fills by UTC hour and market, and their executed notional.
SELECT extract(hour FROM ts AT TIME ZONE 'UTC')::integer AS hour, coalesce(dex, market, 'NULL') AS name,
  count(*) AS fills, sum(price * size) AS notional
FROM twap_fills
WHERE s3_object_key = ANY(ARRAY(
  SELECT s3_object_key FROM etl_s3_ingest_log WHERE data_set = 'twap_fills' AND object_date = :day))
GROUP BY hour, name;

-- name: latest_fills
-- The latest stored fills.
SELECT ts, twap_id, asset, side, direction, price, size, fee, fee_token
FROM twap_fills
WHERE s3_object_key = ANY(ARRAY(
  SELECT s3_object_key FROM etl_s3_ingest_log WHERE data_set = 'twap_fills' AND object_date = :day))
ORDER BY ts DESC, trade_id, wallet LIMIT 8;

-- name: orders
-- Number and executed notional of the orders that started on the date, by status.
SELECT coalesce(status, 'NULL') AS name, count(*) AS orders,
  count(*) FILTER (WHERE ended_at IS NULL) AS open_orders,
  count(*) FILTER (WHERE is_underfilled) AS underfilled_orders,
  coalesce(sum(notional_executed), 0) AS notional_executed
FROM twap_orders WHERE start_date = :day
GROUP BY name ORDER BY orders DESC, name;
