-- Queries of `ingest_attempts.py`.

-- name: begin
-- Marks objects as being read. A mark that exists already for the same version was left by a process that ended.
INSERT INTO etl_s3_ingest_attempts (data_set, s3_object_key, etag, size_bytes, is_alone, started_at)
SELECT DISTINCT ON (s3_object_key) :data_set, s3_object_key, etag, size_bytes, :is_alone, now()
FROM unnest(CAST(:keys AS text[]), CAST(:etags AS text[]), CAST(:sizes AS bigint[])) AS object (s3_object_key, etag, size_bytes)
ORDER BY s3_object_key
ON CONFLICT (data_set, s3_object_key) DO UPDATE SET
  etag = excluded.etag,
  size_bytes = excluded.size_bytes,
  is_alone = excluded.is_alone,
  started_at = excluded.started_at;

-- name: find
-- The marks of these objects.
SELECT s3_object_key, etag, is_alone FROM etl_s3_ingest_attempts WHERE data_set = :data_set AND s3_object_key = ANY(:keys);

-- name: remove
-- Deletes the marks of these objects.
DELETE FROM etl_s3_ingest_attempts WHERE data_set = :data_set AND s3_object_key = ANY(:keys);
