-- Compares the stored rows of a data set with the rows that the objects contain, which are loaded into the temporary
-- tables expected_rows and expected_quarantined_rows. `compose` fills in {table}, {quarantine} and {key}.
-- A version is an object key and a LastModified; '-infinity' stands for the NULL of rows older than revision 002.
-- {stored_values} and {expected_values} are the compared columns as text, {differing} the names of those that differ,
-- {named_key} the key columns with their names. Archived months are those of twap_status.

-- name: create_tables
-- Creates the temporary tables of a session.
CREATE TEMP TABLE expected_rows (LIKE {table} INCLUDING DEFAULTS, PRIMARY KEY ({key}));
CREATE TEMP TABLE expected_quarantined_rows (
  LIKE {quarantine} INCLUDING DEFAULTS, PRIMARY KEY (s3_object_key, row_number));
CREATE TEMP TABLE known_versions (s3_object_key TEXT, last_modified TIMESTAMPTZ, is_at_end BOOLEAN);
CREATE TEMP TABLE versions_read (s3_object_key TEXT, last_modified TIMESTAMPTZ);
CREATE TEMP TABLE versions_failed (s3_object_key TEXT, last_modified TIMESTAMPTZ);

-- name: force_hash_joins
-- Sets hash joins until the transaction ends; with reltuples = 0, nested loops and merges by one column are quadratic.
SELECT set_config('enable_nestloop', 'off', true), set_config('enable_mergejoin', 'off', true);

-- name: record_known_versions
-- Records every version that a stored row may name, before or after the objects are read; impossible versions are none.
INSERT INTO known_versions
SELECT s3_object_key, CASE WHEN etag IS NOT NULL THEN last_modified ELSE '-infinity' END, :is_at_end
FROM etl_s3_ingest_log WHERE data_set = :data_set
UNION
SELECT s3_object_key, CASE WHEN etag IS NOT NULL THEN last_modified ELSE '-infinity' END, :is_at_end
FROM etl_s3_ingest_history
WHERE data_set = :data_set AND kind IN ('replaced_version', 'requeued') AND history_id <> ALL(:impossible);

-- name: record_version_read
-- Records a version that will be read.
INSERT INTO versions_read VALUES (:key, :last_modified);

-- name: record_version_failed
-- Records a version that could not be read.
INSERT INTO versions_failed VALUES (:key, :last_modified);

-- name: seed_unverifiable_rows
-- Copies the stored rows of known versions that will not be read, or share their LastModified with the current version.
INSERT INTO expected_rows
SELECT stored.* FROM {table} AS stored
JOIN (
  SELECT s3_object_key, last_modified FROM known_versions EXCEPT SELECT * FROM versions_read
  UNION
  SELECT s3_object_key, log.last_modified
  FROM etl_s3_ingest_log AS log JOIN etl_s3_ingest_history AS past USING (data_set, s3_object_key, last_modified)
  WHERE log.data_set = :data_set AND past.kind IN ('replaced_version', 'requeued') AND past.etag <> log.etag
    AND past.history_id <> ALL(:impossible)
) AS version ON version.s3_object_key = stored.s3_object_key
  AND version.last_modified = coalesce(stored.s3_last_modified, '-infinity');

-- name: create_row_mismatches
-- Compares stored and expected rows, except rows of versions that could not be read or were loaded during the reading,
-- and except archived rows.
CREATE TEMP TABLE row_mismatches ON COMMIT DROP AS
SELECT {key}, concat_ws(', ', {named_key}) AS named_key,
  CASE WHEN stored.s3_object_key IS NULL THEN 'missing' WHEN expected.s3_object_key IS NULL THEN 'added'
    ELSE 'changed' END AS kind,
  coalesce(expected.s3_object_key, stored.s3_object_key) AS s3_object_key,
  CASE WHEN stored.s3_object_key IS NOT NULL AND expected.s3_object_key IS NOT NULL
    THEN concat_ws(', ', {differing}) END AS differing_columns
FROM {table} AS stored FULL JOIN expected_rows AS expected USING ({key})
WHERE ({stored_values}) IS DISTINCT FROM ({expected_values}) AND NOT EXISTS (
  SELECT FROM (
    SELECT * FROM versions_failed
    UNION (
      SELECT s3_object_key, last_modified FROM known_versions WHERE is_at_end
      EXCEPT SELECT s3_object_key, last_modified FROM known_versions WHERE NOT is_at_end
    )
  ) AS ignored
  WHERE ignored.s3_object_key = stored.s3_object_key
    AND ignored.last_modified = coalesce(stored.s3_last_modified, '-infinity')
) AND (stored.s3_object_key IS NOT NULL OR date_trunc('month', expected.ts, 'UTC')::date
  <> ALL (ARRAY(SELECT month FROM etl_archived_months WHERE :data_set = 'twap_status')));

-- name: create_verified_objects
-- The loaded objects whose current version was read.
CREATE TEMP TABLE verified_objects ON COMMIT DROP AS
SELECT s3_object_key FROM etl_s3_ingest_log AS log
JOIN (SELECT * FROM versions_read EXCEPT SELECT * FROM versions_failed) AS read USING (s3_object_key, last_modified)
WHERE log.data_set = :data_set AND log.error_text IS NULL;

-- name: analyze_tables
-- Collects statistics of the temporary tables.
ANALYZE expected_rows, expected_quarantined_rows, known_versions, versions_read, versions_failed;

-- name: mismatches_by_object
-- Row mismatches per kind and object, with one example.
SELECT kind, s3_object_key, count(*), min(concat(named_key, ': ' || differing_columns)) AS example
FROM row_mismatches GROUP BY kind, s3_object_key ORDER BY kind, s3_object_key;

-- name: quarantine_mismatches
-- Differing quarantined rows per verified object, or per object that is not in the ingest log.
SELECT s3_object_key, count(*) AS rows
FROM {quarantine} AS stored
FULL JOIN expected_quarantined_rows AS expected USING (s3_object_key, row_number)
WHERE (stored.reason, stored.raw_row::text) IS DISTINCT FROM (expected.reason, expected.raw_row::text)
  AND (s3_object_key IN (SELECT s3_object_key FROM verified_objects)
    OR s3_object_key NOT IN (SELECT s3_object_key FROM etl_s3_ingest_log WHERE data_set = :data_set))
GROUP BY s3_object_key ORDER BY s3_object_key;

-- name: verified_entries
-- What the ingest log records of the verified objects.
SELECT s3_object_key, rows_read, rows_quarantined, rows_metadata,
  coalesce(data_warnings, jsonb_build_object()) AS data_warnings, sha256, checksum_verified
FROM etl_s3_ingest_log JOIN verified_objects USING (s3_object_key) WHERE data_set = :data_set;

-- name: unverifiable_rows
-- Number of stored rows per object of versions that were not read.
SELECT s3_object_key, count(*) AS rows FROM {table} AS stored WHERE NOT EXISTS (
  SELECT FROM (SELECT * FROM versions_read EXCEPT SELECT * FROM versions_failed) AS read
  WHERE read.s3_object_key = stored.s3_object_key
    AND read.last_modified = coalesce(stored.s3_last_modified, '-infinity')
) GROUP BY s3_object_key ORDER BY s3_object_key;

-- name: archived_rows
-- Number of rows per object that was read whose month is archived.
SELECT s3_object_key, count(*) AS rows FROM expected_rows
WHERE date_trunc('month', ts, 'UTC')::date
  = ANY (ARRAY(SELECT month FROM etl_archived_months WHERE :data_set = 'twap_status'))
GROUP BY s3_object_key ORDER BY s3_object_key;

-- name: delete_pending_orders
-- Deletes from differing_orders the orders of objects that the refresh of orders has not included yet.
DELETE FROM differing_orders AS differing
USING (
  SELECT DISTINCT event.twap_id, event.wallet
  FROM twap_status AS event JOIN etl_s3_ingest_log AS log USING (s3_object_key)
  WHERE log.data_set = 'twap_status' AND log.orders_refreshed_at IS NULL
) AS pending
WHERE differing.twap_id = pending.twap_id AND differing.wallet = pending.wallet;

-- name: order_mismatches
-- Number of differing orders per difference, with one example.
SELECT difference, count(*) AS orders, min(concat('order ', twap_id, ' of ', wallet)) AS example
FROM differing_orders GROUP BY difference ORDER BY difference;
