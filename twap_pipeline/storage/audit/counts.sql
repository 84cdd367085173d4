-- Row counts per object, as stored and as recorded.

-- name: ingest_log_records
-- Every ingest log entry, the LastModified of earlier loaded versions, and whether its counts are consistent.
SELECT s3_object_key, etag, last_modified, ARRAY(
    SELECT CASE WHEN past.etag IS NOT NULL THEN past.last_modified END FROM etl_s3_ingest_history AS past
    WHERE past.s3_object_key = log.s3_object_key AND past.kind IN ('replaced_version', 'requeued')
      AND past.history_id <> ALL(:impossible)
  ) AS earlier_versions,
  size_bytes, object_date, error_text IS NULL AS is_loaded,
  CASE WHEN error_text IS NOT NULL THEN rows_read IS NULL
    ELSE etag IS NULL OR (failed_attempts = 0 AND rows_read IS NOT NULL
      AND rows_ingested IS NOT DISTINCT FROM rows_inserted + rows_updated + rows_unchanged)
  END AS is_consistent
FROM etl_s3_ingest_log AS log;

-- name: rows_by_version
-- Stored rows per object and LastModified.
SELECT s3_object_key, s3_last_modified, count(*) FROM twap_status GROUP BY s3_object_key, s3_last_modified;

-- name: quarantined_rows_by_object
-- Quarantined rows per object.
SELECT s3_object_key, count(*) AS rows FROM twap_status_quarantine GROUP BY s3_object_key;

-- name: inconsistent_history
-- History entries of versions that the loader cannot have written, with the reason, and whether the version is impossible.
-- A server's clock can go back by less than an hour, for example after a failover.
SELECT history_id, s3_object_key, reason, reason <> 'rows_read is not the sum of its row counts' AS is_impossible
FROM (
  SELECT history_id, s3_object_key, CASE
    WHEN ingested_at > recorded_at + interval '1 hour' THEN 'it was replaced before it was loaded'
    WHEN recorded_at > next_ingested_at + interval '1 hour' THEN 'the next version was loaded before it was replaced'
    WHEN rows_read <> rows_inserted + rows_updated + rows_unchanged + rows_superseded + rows_quarantined + rows_metadata
      THEN 'rows_read is not the sum of its row counts'
  END AS reason
  FROM (
    SELECT s3_object_key, past.history_id, past.ingested_at, past.recorded_at, past.rows_read, past.rows_inserted,
      past.rows_updated, past.rows_unchanged, past.rows_superseded, past.rows_quarantined, past.rows_metadata,
      lead(past.ingested_at, 1, CASE WHEN log.error_text IS NULL OR log.rows_read IS NOT NULL THEN log.ingested_at END)
      OVER (PARTITION BY s3_object_key ORDER BY past.history_id) AS next_ingested_at
    -- History rows reference the log. PostgreSQL has no nested loop for a FULL JOIN, whatever the table statistics are.
    FROM etl_s3_ingest_log AS log FULL JOIN (
      SELECT * FROM etl_s3_ingest_history WHERE kind IN ('replaced_version', 'requeued')
    ) AS past USING (s3_object_key)
  ) AS versions
) AS entries
WHERE reason IS NOT NULL ORDER BY s3_object_key, history_id;
