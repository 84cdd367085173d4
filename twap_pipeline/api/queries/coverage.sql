-- name: coverage
-- One row: totals of the ingest log's objects of statuses in a range of days, and missing_days, days_without_fills
-- (NULL without any object of fills) and days (JSON arrays as text).
WITH history AS (
  SELECT s3_object_key, count(*) AS history_entry_count, sum(rows_inserted) AS history_rows_inserted
  FROM etl_s3_ingest_history
  WHERE kind <> 'failed_attempt' AND data_set = 'twap_status'
  GROUP BY s3_object_key
), entries AS (
  SELECT *, coalesce(object_date, (last_modified AT TIME ZONE 'UTC')::date) AS day
  -- History rows reference the log. PostgreSQL has no nested loop for a FULL JOIN, whatever the table statistics are.
  FROM (SELECT * FROM etl_s3_ingest_log WHERE data_set = 'twap_status') AS log FULL JOIN history USING (s3_object_key)
), days_with_objects AS (
  SELECT
    day,
    count(*) FILTER (WHERE error_text IS NULL) AS objects,
    count(*) FILTER (WHERE error_text IS NOT NULL) AS failed,
    count(*) FILTER (WHERE error_text IS NOT NULL AND failed_attempts >= :attempts_max) AS parked,
    coalesce(sum(rows_read), 0) AS rows_read,
    coalesce(sum(coalesce(rows_inserted, rows_ingested)), 0) + coalesce(sum(history_rows_inserted), 0) AS rows_inserted,
    coalesce(sum(rows_quarantined), 0) AS rows_quarantined,
    count(*) FILTER (WHERE orders_refreshed_at IS NULL AND (error_text IS NULL OR history_entry_count > 0))
      AS objects_pending_refresh
  FROM entries
  GROUP BY day
), days_with_fills AS (
  SELECT
    object_date AS day,
    count(*) FILTER (WHERE error_text IS NULL) AS fill_objects,
    count(*) FILTER (WHERE error_text IS NOT NULL) AS fill_objects_failed,
    coalesce(sum(rows_read), 0) AS fill_rows
  FROM etl_s3_ingest_log
  WHERE data_set = 'twap_fills'
  GROUP BY object_date
), span AS (
  SELECT coalesce(:start, min(day)) AS first_day, coalesce(:end - 1, max(day)) AS last_day FROM days_with_objects
), days AS (
  SELECT
    midnight::date AS day,
    coalesce(objects, 0) AS objects,
    coalesce(failed, 0) AS failed,
    coalesce(parked, 0) AS parked,
    coalesce(rows_read, 0) AS rows_read,
    coalesce(rows_inserted, 0) AS rows_inserted,
    coalesce(rows_quarantined, 0) AS rows_quarantined,
    coalesce(objects_pending_refresh, 0) AS objects_pending_refresh,
    coalesce(fill_objects, 0) AS fill_objects,
    coalesce(fill_objects_failed, 0) AS fill_objects_failed,
    coalesce(fill_rows, 0) AS fill_rows
  FROM span
  CROSS JOIN generate_series(first_day, least(last_day, first_day + :days_max), interval '1 day') AS midnight
  LEFT JOIN days_with_objects ON days_with_objects.day = midnight::date
  LEFT JOIN days_with_fills ON days_with_fills.day = midnight::date
)
SELECT
  (SELECT first_day FROM span)::text AS start,
  (SELECT last_day + 1 FROM span)::text AS end,
  (SELECT last_day + 1 - first_day FROM span) AS range_days,
  coalesce(sum(objects), 0)::bigint AS objects,
  coalesce(sum(failed), 0)::bigint AS failed,
  coalesce(sum(parked), 0)::bigint AS parked,
  coalesce(sum(rows_read), 0)::bigint AS rows_read,
  coalesce(sum(rows_inserted), 0)::bigint AS rows_inserted,
  coalesce(sum(rows_quarantined), 0)::bigint AS rows_quarantined,
  coalesce(sum(objects_pending_refresh), 0)::bigint AS objects_pending_refresh,
  coalesce(json_agg(day ORDER BY day) FILTER (WHERE objects = 0), '[]')::text AS missing_days,
  CASE WHEN EXISTS (SELECT FROM days_with_fills) THEN coalesce(json_agg(day ORDER BY day)
    FILTER (WHERE objects > 0 AND fill_objects = 0), '[]')::text END AS days_without_fills,
  (SELECT to_char(max(last_modified) AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
    FROM etl_s3_ingest_log WHERE error_text IS NULL AND data_set = 'twap_status') AS last_object_at,
  (SELECT to_char(max(ingested_at) AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
    FROM etl_s3_ingest_log WHERE error_text IS NULL AND data_set = 'twap_status') AS last_ingested_at,
  (SELECT to_char(max(last_event_at) AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') FROM etl_s3_ingest_log
    WHERE object_date >= (SELECT max(object_date) FROM etl_s3_ingest_log WHERE data_set = 'twap_status') - 8
      AND data_set = 'twap_status' AND orders_refreshed_at IS NOT NULL
  ) AS last_event_at,
  (SELECT coalesce(json_agg(to_char(month, 'YYYY-MM') ORDER BY month), '[]')::text FROM etl_archived_months)
    AS archived_months,
  coalesce(json_agg(days ORDER BY day), '[]')::text AS days
FROM days;
