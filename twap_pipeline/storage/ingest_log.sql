-- Writes of the ingest log. Every statement that replaces row counts copies them to etl_s3_ingest_history first.

-- name: lock_object
-- Locks one object key until the transaction ends, and limits every lock wait of the transaction.
SELECT set_config('lock_timeout', :lock_timeout, true), pg_advisory_xact_lock(hashtextextended(:key, 7));

-- name: record_version
-- Inserts or replaces the entry of an object; a replaced loaded version is copied to the history.
WITH replaced AS (
  INSERT INTO etl_s3_ingest_history (s3_object_key, kind, etag, last_modified, size_bytes, sha256, ingested_at,
    rows_read, rows_inserted, rows_updated, rows_unchanged, rows_superseded, rows_quarantined, rows_metadata,
    dagster_run_id)
  SELECT s3_object_key, 'replaced_version', etag, last_modified, size_bytes, sha256, ingested_at,
    rows_read, rows_inserted, rows_updated, rows_unchanged, rows_superseded, rows_quarantined, rows_metadata,
    dagster_run_id
  FROM etl_s3_ingest_log
  WHERE s3_object_key = :s3_object_key AND error_text IS NULL AND etag IS DISTINCT FROM :etag
)
INSERT INTO etl_s3_ingest_log AS stored (s3_object_key, last_modified, etag, size_bytes, sha256, object_date,
  error_text, failed_attempts, ingested_at, rows_ingested,
  rows_read, rows_inserted, rows_updated, rows_unchanged, rows_superseded, rows_quarantined, rows_metadata,
  data_warnings, checksum_verified, dagster_run_id)
VALUES (:s3_object_key, :last_modified, :etag, :size_bytes, :sha256, :object_date,
  :error_text, CASE WHEN CAST(:error_text AS text) IS NULL THEN 0 ELSE 1 END, now(), :rows_ingested,
  :rows_read, :rows_inserted, :rows_updated, :rows_unchanged, :rows_superseded, :rows_quarantined, :rows_metadata,
  CAST(:data_warnings AS jsonb), :checksum_verified, :dagster_run_id)
ON CONFLICT (s3_object_key) DO UPDATE SET
  last_modified = excluded.last_modified,
  etag = excluded.etag,
  size_bytes = excluded.size_bytes,
  sha256 = excluded.sha256,
  object_date = excluded.object_date,
  error_text = excluded.error_text,
  failed_attempts = CASE WHEN excluded.error_text IS NOT NULL AND stored.etag = excluded.etag
    THEN stored.failed_attempts + 1 ELSE excluded.failed_attempts END,
  ingested_at = excluded.ingested_at,
  rows_ingested = excluded.rows_ingested,
  rows_read = excluded.rows_read,
  rows_inserted = excluded.rows_inserted,
  rows_updated = excluded.rows_updated,
  rows_unchanged = excluded.rows_unchanged,
  rows_superseded = excluded.rows_superseded,
  rows_quarantined = excluded.rows_quarantined,
  rows_metadata = excluded.rows_metadata,
  data_warnings = excluded.data_warnings,
  checksum_verified = excluded.checksum_verified,
  dagster_run_id = excluded.dagster_run_id,
  orders_refreshed_at = CASE WHEN excluded.error_text IS NOT NULL THEN stored.orders_refreshed_at END
RETURNING failed_attempts;

-- name: record_same_content
-- Replaces the ETag of a loaded object whose content did not change; returns its key, or no row.
WITH reuploaded AS (
  INSERT INTO etl_s3_ingest_history (s3_object_key, kind, etag, last_modified, size_bytes, sha256)
  SELECT s3_object_key, 'reuploaded_unchanged', etag, :last_modified, size_bytes, sha256 FROM etl_s3_ingest_log
  WHERE s3_object_key = :key AND error_text IS NULL AND sha256 = :sha256 AND last_modified <= :last_modified
  RETURNING s3_object_key
)
UPDATE etl_s3_ingest_log AS log SET etag = :etag FROM reuploaded
WHERE log.s3_object_key = reuploaded.s3_object_key
RETURNING log.s3_object_key;

-- name: reset_attempts
-- Sets the failed attempts of parked objects to 0; returns their keys.
UPDATE etl_s3_ingest_log SET failed_attempts = 0
WHERE error_text IS NOT NULL AND failed_attempts >= :attempts_max
RETURNING s3_object_key;

-- name: requeue
-- Marks loaded objects as failed with 0 attempts; their row counts are copied to the history.
WITH requeued AS (
  INSERT INTO etl_s3_ingest_history (s3_object_key, kind, etag, last_modified, size_bytes, sha256, ingested_at,
    rows_read, rows_inserted, rows_updated, rows_unchanged, rows_superseded, rows_quarantined, rows_metadata,
    dagster_run_id)
  SELECT s3_object_key, 'requeued', etag, last_modified, size_bytes, sha256, ingested_at,
    rows_read, rows_inserted, rows_updated, rows_unchanged, rows_superseded, rows_quarantined, rows_metadata,
    dagster_run_id
  FROM etl_s3_ingest_log
  WHERE s3_object_key = ANY(:keys) AND (error_text IS NULL OR rows_read IS NOT NULL)
  RETURNING s3_object_key
)
UPDATE etl_s3_ingest_log AS log SET error_text = :reason, failed_attempts = 0, sha256 = NULL, rows_ingested = NULL,
  rows_read = NULL, rows_inserted = NULL, rows_updated = NULL, rows_unchanged = NULL, rows_superseded = NULL,
  rows_quarantined = NULL, rows_metadata = NULL, data_warnings = NULL, checksum_verified = NULL
FROM requeued WHERE log.s3_object_key = requeued.s3_object_key;

-- name: add_adjustment
-- Adds a correction of the sum of inserted rows to the history of one object, preferably a failed one; returns its key.
INSERT INTO etl_s3_ingest_history (s3_object_key, kind, rows_inserted)
SELECT s3_object_key, 'adjustment', CAST(:rows AS integer) FROM etl_s3_ingest_log
ORDER BY error_text IS NULL, s3_object_key LIMIT 1
RETURNING s3_object_key;

-- name: bytes_read_today
-- The bytes of the objects whose last attempt was since midnight UTC.
SELECT coalesce(sum(size_bytes), 0) FROM etl_s3_ingest_log WHERE ingested_at >= date_trunc('day', now(), 'UTC');
