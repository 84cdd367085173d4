-- Row counts per object, as stored and as recorded.

-- name: ingest_log_records
-- Every ingest log entry, the LastModified of earlier loaded versions, and whether its counts are consistent.
SELECT s3_object_key, etag, last_modified, ARRAY(
    SELECT CASE WHEN past.etag IS NOT NULL THEN past.last_modified END FROM etl_s3_ingest_history AS past
    WHERE past.s3_object_key = log.s3_object_key AND past.kind IN ('replaced_version', 'requeued')
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
