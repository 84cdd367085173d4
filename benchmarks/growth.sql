-- Queries of the growth benchmark. Parameters are SQLAlchemy's.

-- name: select_logged_objects
-- The objects of the ingest log, in key order.
SELECT s3_object_key, etag, last_modified, size_bytes FROM etl_s3_ingest_log ORDER BY s3_object_key COLLATE "C";

-- name: select_source
-- The source URL and the first day of the ingest log.
SELECT min(source_url), min(object_date) FROM etl_s3_ingest_log;

-- name: copy_events
-- Adds the events of a day again, as other orders of the same wallets on a later day.
INSERT INTO twap_status (twap_id, wallet, ts, asset, side, size_requested, size_executed, notional_executed, status,
  duration_minutes, s3_object_key, raw_payload, inserted_at, started_at, status_error, reduce_only, randomize,
  s3_last_modified)
SELECT (twap_id::bigint + :id_offset)::text, wallet, ts + :time_offset, asset, side, size_requested, size_executed,
  notional_executed, status, duration_minutes, :key, raw_payload, inserted_at, started_at + :time_offset, status_error,
  reduce_only, randomize, s3_last_modified
FROM twap_status WHERE s3_object_key = :copied_key;

-- name: copy_log_entry
-- Adds the log entry of the copied object, whose orders are not refreshed yet.
INSERT INTO etl_s3_ingest_log (s3_object_key, last_modified, rows_ingested, ingested_at, etag, size_bytes, object_date,
  rows_read, rows_inserted, rows_updated, rows_unchanged, rows_superseded, rows_quarantined, rows_metadata, source_url)
SELECT :key, last_modified, rows_ingested, ingested_at, etag, size_bytes, :day, rows_read, rows_inserted, rows_updated,
  rows_unchanged, rows_superseded, rows_quarantined, rows_metadata, source_url
FROM etl_s3_ingest_log WHERE s3_object_key = :copied_key;

-- name: select_values
-- A wallet with a usual number of orders, one of its orders, and the bounds of the last day with events.
SELECT wallet, min(twap_id) AS twap_id, max(ts) - interval '1 day' AS start, max(ts) AS "end"
FROM twap_status
WHERE s3_object_key = (SELECT max(s3_object_key) FROM etl_s3_ingest_log)
GROUP BY wallet ORDER BY abs(count(*) - 100), wallet LIMIT 1;
