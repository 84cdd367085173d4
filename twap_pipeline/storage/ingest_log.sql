-- Writes of the ingest log. Every statement that replaces an attempt copies it to etl_s3_ingest_history first.
-- Versions of a key have times in the order of their transactions: statement_timestamp() is taken under the key's lock.

-- name: lock_object
-- Locks one object key of a data set until the transaction ends, and limits every lock wait of the transaction.
SELECT set_config('lock_timeout', :lock_timeout, true), pg_advisory_xact_lock(hashtextextended(:data_set || ' ' || :key, 7));

-- name: record_version
-- Inserts or replaces the entry of an object; a replaced loaded version or failed attempt is copied to the history.
WITH replaced AS (
  INSERT INTO etl_s3_ingest_history (kind, data_set, s3_object_key, etag, last_modified, size_bytes, sha256, ingested_at,
    rows_read, rows_inserted, rows_updated, rows_unchanged, rows_superseded, rows_quarantined, rows_metadata,
    dagster_run_id, bytes_fetched, source_url, error_text, reading_ms, decoding_ms, writing_ms, recorded_at)
  SELECT CASE WHEN error_text IS NULL THEN 'replaced_version' ELSE 'failed_attempt' END,
    data_set, s3_object_key, etag, last_modified, size_bytes, sha256, ingested_at,
    rows_read, rows_inserted, rows_updated, rows_unchanged, rows_superseded, rows_quarantined, rows_metadata,
    dagster_run_id, bytes_fetched, source_url, error_text, reading_ms, decoding_ms, writing_ms, statement_timestamp()
  FROM etl_s3_ingest_log
  WHERE data_set = :data_set AND s3_object_key = :s3_object_key AND CASE WHEN error_text IS NULL
    THEN (etag, last_modified) IS DISTINCT FROM (:etag, CAST(:last_modified AS timestamptz))
    ELSE bytes_fetched IS NOT NULL END  -- NULL: no attempt since revision 004, or requeued and copied already
)
INSERT INTO etl_s3_ingest_log AS stored (data_set, s3_object_key, last_modified, etag, size_bytes, sha256, object_date,
  error_text, failed_attempts, ingested_at, rows_ingested,
  rows_read, rows_inserted, rows_updated, rows_unchanged, rows_superseded, rows_quarantined, rows_metadata,
  data_warnings, checksum_verified, dagster_run_id, bytes_fetched, source_url, last_event_at,
  reading_ms, decoding_ms, writing_ms)
VALUES (:data_set, :s3_object_key, :last_modified, :etag, :size_bytes, :sha256, :object_date,
  :error_text, CASE WHEN CAST(:error_text AS text) IS NULL THEN 0 ELSE 1 END, statement_timestamp(), :rows_ingested,
  :rows_read, :rows_inserted, :rows_updated, :rows_unchanged, :rows_superseded, :rows_quarantined, :rows_metadata,
  CAST(:data_warnings AS jsonb), :checksum_verified, :dagster_run_id, :bytes_fetched, :source_url, :last_event_at,
  :reading_ms, :decoding_ms, :writing_ms)
ON CONFLICT (data_set, s3_object_key) DO UPDATE SET
  last_modified = excluded.last_modified,
  etag = excluded.etag,
  size_bytes = excluded.size_bytes,
  sha256 = excluded.sha256,
  object_date = excluded.object_date,
  error_text = excluded.error_text,
  failed_attempts = CASE WHEN excluded.error_text IS NOT NULL AND stored.etag = excluded.etag
      AND stored.last_modified >= excluded.last_modified
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
  bytes_fetched = excluded.bytes_fetched,
  source_url = excluded.source_url,
  last_event_at = excluded.last_event_at,
  reading_ms = excluded.reading_ms,
  decoding_ms = excluded.decoding_ms,
  writing_ms = excluded.writing_ms,
  orders_refreshed_at = CASE WHEN excluded.error_text IS NOT NULL THEN stored.orders_refreshed_at END
RETURNING failed_attempts;

-- name: add_bytes_fetched
-- Adds the bytes of an attempt that another run made superfluous to the entry of the object.
UPDATE etl_s3_ingest_log SET bytes_fetched = coalesce(bytes_fetched, 0) + :bytes_fetched
WHERE data_set = :data_set AND s3_object_key = :key;

-- name: record_audit_read
-- Records the bytes that a deep audit reads, in the history of one object.
INSERT INTO etl_s3_ingest_history (data_set, s3_object_key, kind, ingested_at, bytes_fetched)
SELECT data_set, s3_object_key, 'deep_audit', now(), :bytes_fetched FROM etl_s3_ingest_log
WHERE data_set = :data_set AND s3_object_key = :key;

-- name: reset_attempts
-- Sets the failed attempts of the parked objects of a data set to 0; returns their keys.
UPDATE etl_s3_ingest_log SET failed_attempts = 0
WHERE data_set = :data_set AND error_text IS NOT NULL AND failed_attempts >= :attempts_max
RETURNING s3_object_key;

-- name: requeue
-- Marks loaded objects as failed with 0 attempts; their row counts are copied to the history.
WITH requeued AS (
  INSERT INTO etl_s3_ingest_history (data_set, s3_object_key, kind, etag, last_modified, size_bytes, sha256, ingested_at,
    rows_read, rows_inserted, rows_updated, rows_unchanged, rows_superseded, rows_quarantined, rows_metadata,
    dagster_run_id, bytes_fetched, source_url, error_text, reading_ms, decoding_ms, writing_ms, recorded_at)
  SELECT data_set, s3_object_key, 'requeued', etag, last_modified, size_bytes, sha256, ingested_at,
    rows_read, rows_inserted, rows_updated, rows_unchanged, rows_superseded, rows_quarantined, rows_metadata,
    dagster_run_id, bytes_fetched, source_url, error_text, reading_ms, decoding_ms, writing_ms, statement_timestamp()
  FROM etl_s3_ingest_log
  WHERE data_set = :data_set AND s3_object_key = ANY(:keys) AND (error_text IS NULL OR rows_read IS NOT NULL)
)
UPDATE etl_s3_ingest_log SET error_text = :reason, failed_attempts = 0, sha256 = NULL, rows_ingested = NULL,
  rows_read = NULL, rows_inserted = NULL, rows_updated = NULL, rows_unchanged = NULL, rows_superseded = NULL,
  rows_quarantined = NULL, rows_metadata = NULL, data_warnings = NULL, checksum_verified = NULL, bytes_fetched = NULL,
  reading_ms = NULL, decoding_ms = NULL, writing_ms = NULL
WHERE data_set = :data_set AND s3_object_key = ANY(:keys) AND (error_text IS NULL OR rows_read IS NOT NULL);

-- name: add_adjustment
-- Adds a correction of the sum of inserted rows to the history of an object, preferably a failed one; returns its key.
INSERT INTO etl_s3_ingest_history (data_set, s3_object_key, kind, rows_inserted)
SELECT data_set, s3_object_key, 'adjustment', CAST(:rows AS integer) FROM etl_s3_ingest_log WHERE data_set = :data_set
ORDER BY error_text IS NULL, s3_object_key LIMIT 1
RETURNING s3_object_key;

-- name: bytes_read_today
-- The bytes that all attempts and deep audits of all data sets since midnight UTC fetched, and the sizes of objects that
-- are being loaded.
SELECT coalesce(sum(bytes_fetched), 0) FROM (
  SELECT bytes_fetched FROM etl_s3_ingest_log WHERE ingested_at >= date_trunc('day', now(), 'UTC')
  UNION ALL
  SELECT bytes_fetched FROM etl_s3_ingest_history WHERE ingested_at >= date_trunc('day', now(), 'UTC')
  UNION ALL
  SELECT size_bytes FROM etl_s3_ingest_attempts WHERE started_at >= date_trunc('day', now(), 'UTC')
) AS attempts;

-- name: other_source
-- A source of a data set if none of its entries has this source; no row if the source is unknown or the same.
SELECT source_url FROM etl_s3_ingest_log
WHERE data_set = :data_set AND source_url IS NOT NULL
  AND NOT EXISTS (SELECT FROM etl_s3_ingest_log WHERE data_set = :data_set AND source_url = :source_url)
LIMIT 1;
