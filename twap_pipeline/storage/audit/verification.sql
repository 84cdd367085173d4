-- Compares the stored statuses with the rows that the objects contain, which are loaded into temporary tables.
-- A version is an object key and a LastModified; '-infinity' stands for the NULL of rows older than revision 002.

-- name: create_tables
-- Creates the temporary tables of a session.
CREATE TEMP TABLE expected_twap_status (LIKE twap_status INCLUDING DEFAULTS, PRIMARY KEY (twap_id, wallet, ts));
CREATE TEMP TABLE expected_twap_status_quarantine (
  LIKE twap_status_quarantine INCLUDING DEFAULTS, PRIMARY KEY (s3_object_key, row_number));
CREATE TEMP TABLE versions_at_start (s3_object_key TEXT, last_modified TIMESTAMPTZ);
CREATE TEMP TABLE versions_at_end (s3_object_key TEXT, last_modified TIMESTAMPTZ);
CREATE TEMP TABLE versions_read (s3_object_key TEXT, last_modified TIMESTAMPTZ);
CREATE TEMP TABLE versions_failed (s3_object_key TEXT, last_modified TIMESTAMPTZ);

-- name: force_hash_joins
-- Sets hash joins until the transaction ends; with reltuples = 0, nested loops and merges by one column are quadratic.
SELECT set_config('enable_nestloop', 'off', true), set_config('enable_mergejoin', 'off', true);

-- name: record_versions_at_start
-- Records every version that a stored row may name; impossible versions are none.
INSERT INTO versions_at_start
SELECT s3_object_key, CASE WHEN etag IS NOT NULL THEN last_modified ELSE '-infinity' END FROM etl_s3_ingest_log
WHERE data_set = 'twap_status'
UNION
SELECT s3_object_key, CASE WHEN etag IS NOT NULL THEN last_modified ELSE '-infinity' END FROM etl_s3_ingest_history
WHERE data_set = 'twap_status' AND kind IN ('replaced_version', 'requeued') AND history_id <> ALL(:impossible);

-- name: record_versions_at_end
-- Records the same after the objects were read.
INSERT INTO versions_at_end
SELECT s3_object_key, CASE WHEN etag IS NOT NULL THEN last_modified ELSE '-infinity' END FROM etl_s3_ingest_log
WHERE data_set = 'twap_status'
UNION
SELECT s3_object_key, CASE WHEN etag IS NOT NULL THEN last_modified ELSE '-infinity' END FROM etl_s3_ingest_history
WHERE data_set = 'twap_status' AND kind IN ('replaced_version', 'requeued') AND history_id <> ALL(:impossible);

-- name: record_version_read
-- Records a version that will be read.
INSERT INTO versions_read VALUES (:key, :last_modified);

-- name: record_version_failed
-- Records a version that could not be read.
INSERT INTO versions_failed VALUES (:key, :last_modified);

-- name: seed_unverifiable_rows
-- Copies the stored rows of known versions that will not be read, or share their LastModified with the current version.
INSERT INTO expected_twap_status
SELECT stored.* FROM twap_status AS stored
JOIN (
  SELECT * FROM versions_at_start EXCEPT SELECT * FROM versions_read
  UNION
  SELECT s3_object_key, log.last_modified
  FROM etl_s3_ingest_log AS log JOIN etl_s3_ingest_history AS past USING (data_set, s3_object_key, last_modified)
  WHERE log.data_set = 'twap_status' AND past.kind IN ('replaced_version', 'requeued') AND past.etag <> log.etag
    AND past.history_id <> ALL(:impossible)
) AS version ON version.s3_object_key = stored.s3_object_key
  AND version.last_modified = coalesce(stored.s3_last_modified, '-infinity');

-- name: create_row_mismatches
-- Compares stored and expected rows, except rows of versions that could not be read or were loaded during the reading,
-- and except archived rows.
CREATE TEMP TABLE row_mismatches ON COMMIT DROP AS
SELECT twap_id, wallet, ts,
  CASE WHEN stored.s3_object_key IS NULL THEN 'missing' WHEN expected.s3_object_key IS NULL THEN 'added'
    ELSE 'changed' END AS kind,
  coalesce(expected.s3_object_key, stored.s3_object_key) AS s3_object_key,
  CASE WHEN stored.s3_object_key IS NOT NULL AND expected.s3_object_key IS NOT NULL THEN concat_ws(', ',
    CASE WHEN stored.asset IS DISTINCT FROM expected.asset THEN 'asset' END,
    CASE WHEN stored.side IS DISTINCT FROM expected.side THEN 'side' END,
    CASE WHEN stored.size_requested::text IS DISTINCT FROM expected.size_requested::text THEN 'size_requested' END,
    CASE WHEN stored.size_executed::text IS DISTINCT FROM expected.size_executed::text THEN 'size_executed' END,
    CASE WHEN stored.notional_executed::text IS DISTINCT FROM expected.notional_executed::text
      THEN 'notional_executed' END,
    CASE WHEN stored.status IS DISTINCT FROM expected.status THEN 'status' END,
    CASE WHEN stored.duration_minutes IS DISTINCT FROM expected.duration_minutes THEN 'duration_minutes' END,
    CASE WHEN stored.started_at IS DISTINCT FROM expected.started_at THEN 'started_at' END,
    CASE WHEN stored.status_error IS DISTINCT FROM expected.status_error THEN 'status_error' END,
    CASE WHEN stored.reduce_only IS DISTINCT FROM expected.reduce_only THEN 'reduce_only' END,
    CASE WHEN stored.randomize IS DISTINCT FROM expected.randomize THEN 'randomize' END,
    CASE WHEN stored.raw_payload::text IS DISTINCT FROM expected.raw_payload::text THEN 'raw_payload' END,
    CASE WHEN stored.s3_object_key IS DISTINCT FROM expected.s3_object_key THEN 's3_object_key' END,
    CASE WHEN stored.s3_last_modified IS DISTINCT FROM expected.s3_last_modified THEN 's3_last_modified' END
  ) END AS differing_columns
FROM twap_status AS stored FULL JOIN expected_twap_status AS expected USING (twap_id, wallet, ts)
WHERE (
  stored.asset, stored.side, stored.size_requested::text, stored.size_executed::text, stored.notional_executed::text,
  stored.status, stored.duration_minutes, stored.started_at, stored.status_error, stored.reduce_only,
  stored.randomize, stored.raw_payload::text, stored.s3_object_key, stored.s3_last_modified
) IS DISTINCT FROM (
  expected.asset, expected.side, expected.size_requested::text, expected.size_executed::text,
  expected.notional_executed::text, expected.status, expected.duration_minutes, expected.started_at,
  expected.status_error, expected.reduce_only, expected.randomize, expected.raw_payload::text,
  expected.s3_object_key, expected.s3_last_modified
) AND NOT EXISTS (
  SELECT FROM (
    SELECT * FROM versions_failed UNION (SELECT * FROM versions_at_end EXCEPT SELECT * FROM versions_at_start)
  ) AS ignored
  WHERE ignored.s3_object_key = stored.s3_object_key
    AND ignored.last_modified = coalesce(stored.s3_last_modified, '-infinity')
) AND (stored.s3_object_key IS NOT NULL
  OR date_trunc('month', ts, 'UTC')::date <> ALL (ARRAY(SELECT month FROM etl_archived_months)));

-- name: create_verified_objects
-- The loaded objects whose current version was read.
CREATE TEMP TABLE verified_objects ON COMMIT DROP AS
SELECT s3_object_key FROM etl_s3_ingest_log AS log
JOIN (SELECT * FROM versions_read EXCEPT SELECT * FROM versions_failed) AS read USING (s3_object_key, last_modified)
WHERE log.data_set = 'twap_status' AND log.error_text IS NULL;

-- name: analyze_tables
-- Collects statistics of the temporary tables.
ANALYZE expected_twap_status, expected_twap_status_quarantine, versions_at_start, versions_at_end, versions_read,
  versions_failed;

-- name: mismatches_by_object
-- Row mismatches per kind and object, with one example.
SELECT kind, s3_object_key, count(*),
  min(concat('order ', twap_id, ' at ', ts, ': ' || differing_columns)) AS example
FROM row_mismatches GROUP BY kind, s3_object_key ORDER BY kind, s3_object_key;

-- name: quarantine_mismatches
-- Differing quarantined rows per verified object, or per object that is not in the ingest log.
SELECT s3_object_key, count(*) AS rows
FROM twap_status_quarantine AS stored
FULL JOIN expected_twap_status_quarantine AS expected USING (s3_object_key, row_number)
WHERE (stored.reason, stored.raw_row::text) IS DISTINCT FROM (expected.reason, expected.raw_row::text)
  AND (s3_object_key IN (SELECT s3_object_key FROM verified_objects)
    OR s3_object_key NOT IN (SELECT s3_object_key FROM etl_s3_ingest_log WHERE data_set = 'twap_status'))
GROUP BY s3_object_key ORDER BY s3_object_key;

-- name: verified_entries
-- What the ingest log records of the verified objects.
SELECT s3_object_key, rows_read, rows_quarantined, rows_metadata, coalesce(data_warnings, '{}') AS data_warnings, sha256,
  checksum_verified
FROM etl_s3_ingest_log JOIN verified_objects USING (s3_object_key) WHERE data_set = 'twap_status';

-- name: unverifiable_rows
-- Number of stored rows per object of versions that were not read.
SELECT s3_object_key, count(*) AS rows FROM twap_status AS stored WHERE NOT EXISTS (
  SELECT FROM (SELECT * FROM versions_read EXCEPT SELECT * FROM versions_failed) AS read
  WHERE read.s3_object_key = stored.s3_object_key
    AND read.last_modified = coalesce(stored.s3_last_modified, '-infinity')
) GROUP BY s3_object_key ORDER BY s3_object_key;

-- name: archived_rows
-- Number of events per object that was read whose month is archived.
SELECT s3_object_key, count(*) AS rows FROM expected_twap_status
WHERE date_trunc('month', ts, 'UTC')::date = ANY (ARRAY(SELECT month FROM etl_archived_months))
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
