-- Stored results of the data checks, and what one evaluation reads. '0001-01-01' stands for no date.

-- name: read_day_digests
-- A digest per UTC date of the log entries of a data set. A load, a failed attempt, a requeue and a refresh change it.
SELECT object_date, sum(hashtextextended(concat_ws(' ', s3_object_key, ingested_at, orders_refreshed_at,
  rows_read IS NULL), 0))::text AS digest
FROM etl_s3_ingest_log WHERE data_set = :data_set AND object_date IS NOT NULL GROUP BY object_date ORDER BY object_date;

-- name: read_results
-- The stored results of one check, newest date first.
SELECT object_date, input_digest, violations, examples, checked_at, duration_ms
FROM etl_data_check_results WHERE check_name = :check_name ORDER BY object_date DESC;

-- name: read_duration
-- Milliseconds of the last evaluation of each date, added over checks; NULL if there is none.
SELECT sum(duration_ms)::bigint FROM etl_data_check_results WHERE check_name = ANY(:check_names);

-- name: keys_of_day
-- The objects of one UTC date.
SELECT s3_object_key FROM etl_s3_ingest_log WHERE data_set = :data_set AND object_date = :day;

-- name: keys_without_date
-- Objects that rows name and the ingest log records without a date, or not at all: one index lookup per object.
WITH RECURSIVE named (s3_object_key) AS (
  (SELECT s3_object_key FROM {table} ORDER BY s3_object_key LIMIT 1)
  UNION ALL
  SELECT (SELECT next.s3_object_key FROM {table} AS next WHERE next.s3_object_key > named.s3_object_key
    ORDER BY next.s3_object_key LIMIT 1)
  FROM named WHERE named.s3_object_key IS NOT NULL
)
SELECT s3_object_key FROM named WHERE s3_object_key IS NOT NULL
EXCEPT SELECT s3_object_key FROM etl_s3_ingest_log WHERE data_set = :data_set AND object_date IS NOT NULL;

-- name: write_result
-- Inserts or replaces the result of a date. The transaction began before it read the rows.
INSERT INTO etl_data_check_results (check_name, object_date, input_digest, violations, examples, checked_at, duration_ms)
VALUES (:check_name, :object_date, :input_digest, :violations, CAST(:examples AS json), now(),
  extract(epoch FROM clock_timestamp() - now()) * 1000)
ON CONFLICT (check_name, object_date) DO UPDATE SET
  input_digest = excluded.input_digest,
  violations = excluded.violations,
  examples = excluded.examples,
  checked_at = excluded.checked_at,
  duration_ms = excluded.duration_ms;

-- name: delete_other_results
-- Deletes the results of dates that the check does not have any more.
DELETE FROM etl_data_check_results WHERE check_name = :check_name AND object_date <> ALL(:dates);

-- name: discard_results
-- Deletes every result: the next run of the checks evaluates every date.
DELETE FROM etl_data_check_results;
