-- The state of the pipeline for metrics and `twap-pipeline status`. Only `loaded_objects` reads the whole log; the cost
-- of the other queries depends on what is not done, on the days of the range, or on the attempts since :since.

-- name: state
-- One row: objects that are not done, each with the time of the oldest attempt, and the newest times.
SELECT unloaded.failed, unloaded.failed_since, unloaded.parked, pending.orders_pending, pending.orders_pending_since,
  newest.event_at AS newest_event_at, newest.object_at AS newest_object_at,
  (SELECT max(ingested_at) FROM etl_s3_ingest_log
    WHERE data_set = :data_set AND error_text IS NULL) AS last_load_at
FROM (
  SELECT count(*) FILTER (WHERE failed_attempts < :attempts_max) AS failed,
    min(ingested_at) FILTER (WHERE failed_attempts < :attempts_max) AS failed_since,
    count(*) FILTER (WHERE failed_attempts >= :attempts_max) AS parked
  FROM etl_s3_ingest_log WHERE data_set = :data_set AND error_text IS NOT NULL
) AS unloaded, (
  SELECT count(*) AS orders_pending, min(ingested_at) AS orders_pending_since
  FROM etl_s3_ingest_log AS log
  -- Orders are computed from statuses: the index of pending orders contains no other data set.
  WHERE orders_refreshed_at IS NULL AND data_set = 'twap_status' AND :data_set = 'twap_status' AND (error_text IS NULL
    OR EXISTS (SELECT FROM etl_s3_ingest_history AS past
      WHERE past.data_set = log.data_set AND past.s3_object_key = log.s3_object_key AND past.kind <> 'failed_attempt'))
) AS pending, (
  SELECT max(last_event_at) AS event_at, max(last_modified) AS object_at
  FROM etl_s3_ingest_log
  WHERE data_set = :data_set AND error_text IS NULL
    AND object_date >= (SELECT max(object_date) FROM etl_s3_ingest_log WHERE data_set = :data_set) - 8
) AS newest;

-- name: missing_days
-- The UTC days from :first to :last without a loaded object, by one index lookup per day: the order makes PostgreSQL use
-- the index of days also with the statistics of an empty table.
SELECT midnight::date AS day
FROM generate_series(CAST(:first AS date), CAST(:last AS date), interval '1 day') AS midnight
LEFT JOIN LATERAL (
  SELECT object_date FROM etl_s3_ingest_log
  WHERE data_set = :data_set AND object_date >= midnight::date AND object_date < midnight::date + 1 AND error_text IS NULL
  ORDER BY object_date LIMIT 1
) AS loaded ON true
WHERE loaded.object_date IS NULL ORDER BY midnight;

-- name: attempt_totals
-- Totals of the attempts per UTC day of the attempt, from :since. A replaced attempt is in the history with its time, so
-- that the totals of a past day stay the same.
SELECT (ingested_at AT TIME ZONE 'UTC')::date AS day,
  count(*) FILTER (WHERE is_loaded) AS loaded,
  count(*) FILTER (WHERE is_failed) AS failed,
  coalesce(sum(rows_inserted), 0)::bigint AS rows_inserted,
  coalesce(sum(rows_updated), 0)::bigint AS rows_updated,
  coalesce(sum(rows_unchanged), 0)::bigint AS rows_unchanged,
  coalesce(sum(rows_superseded), 0)::bigint AS rows_superseded,
  coalesce(sum(rows_quarantined), 0)::bigint AS rows_quarantined,
  coalesce(sum(rows_metadata), 0)::bigint AS rows_metadata,
  coalesce(sum(bytes_fetched), 0)::bigint AS bytes_fetched,
  count(bytes_fetched) FILTER (WHERE is_s3) AS s3_fetches,
  coalesce(sum(bytes_fetched) FILTER (WHERE is_s3), 0)::bigint AS s3_bytes_fetched,
  coalesce(sum(reading_ms), 0)::bigint AS reading_ms,
  coalesce(sum(decoding_ms), 0)::bigint AS decoding_ms,
  coalesce(sum(writing_ms), 0)::bigint AS writing_ms
FROM (
  SELECT ingested_at, error_text IS NULL AS is_loaded, error_text IS NOT NULL AND bytes_fetched IS NOT NULL AS is_failed,
    rows_inserted, rows_updated, rows_unchanged, rows_superseded, rows_quarantined, rows_metadata,
    bytes_fetched, starts_with(source_url, 's3://') AS is_s3, reading_ms, decoding_ms, writing_ms
  FROM etl_s3_ingest_log WHERE data_set = :data_set AND ingested_at >= :since
  UNION ALL
  SELECT past.ingested_at, past.kind IN ('replaced_version', 'requeued'), past.kind = 'failed_attempt',
    past.rows_inserted, past.rows_updated, past.rows_unchanged, past.rows_superseded, past.rows_quarantined,
    past.rows_metadata, past.bytes_fetched,
    -- The history entry of a deep audit has no source of its own.
    starts_with(coalesce(past.source_url,
      (SELECT source_url FROM etl_s3_ingest_log AS log
        WHERE log.data_set = past.data_set AND log.s3_object_key = past.s3_object_key)), 's3://'),
    past.reading_ms, past.decoding_ms, past.writing_ms
  FROM etl_s3_ingest_history AS past WHERE past.data_set = :data_set AND past.ingested_at >= :since
) AS attempts
GROUP BY day ORDER BY day;

-- name: unloaded_objects
-- The objects whose last attempt failed, parked ones first.
SELECT s3_object_key, object_date, failed_attempts, error_text, ingested_at AS attempted_at, data_set
FROM etl_s3_ingest_log WHERE error_text IS NOT NULL
ORDER BY failed_attempts DESC, data_set DESC, s3_object_key LIMIT :limit;

-- name: loaded_objects
-- One row: loaded objects, their days, and the events that all versions inserted. Reads the whole log.
SELECT count(*) FILTER (WHERE error_text IS NULL) AS objects,
  count(DISTINCT object_date) FILTER (WHERE error_text IS NULL) AS days,
  min(object_date) FILTER (WHERE error_text IS NULL) AS first_day,
  max(object_date) FILTER (WHERE error_text IS NULL) AS last_day,
  coalesce(sum(coalesce(rows_inserted, rows_ingested)), 0)::bigint
    + (SELECT coalesce(sum(rows_inserted), 0)::bigint FROM etl_s3_ingest_history WHERE data_set = :data_set) AS events
FROM etl_s3_ingest_log WHERE data_set = :data_set;
