-- Statements of the repair of a data set; `compose` fills in {table}, {quarantine} and {key}. They run in the transaction
-- of `compare`, which creates the table row_mismatches and forces hash joins: the statistics of a table that is being
-- loaded would otherwise lead to quadratic plans.

-- name: mismatch_owners
-- Objects that contain missing or changed rows.
SELECT DISTINCT s3_object_key FROM row_mismatches WHERE kind <> 'added';

-- name: delete_mismatched_rows
-- Deletes changed and added rows.
DELETE FROM {table} WHERE ({key}) IN (SELECT {key} FROM row_mismatches);

-- name: delete_orphan_quarantined_rows
-- Deletes quarantined rows whose object is not in the ingest log.
DELETE FROM {quarantine} AS stored
WHERE NOT EXISTS (SELECT FROM etl_s3_ingest_log AS log
  WHERE log.data_set = :data_set AND log.s3_object_key = stored.s3_object_key);

-- name: delete_impossible_versions
-- Deletes history entries.
DELETE FROM etl_s3_ingest_history WHERE history_id = ANY(:history_ids);

-- name: correct_history_sums
-- Sets rows_read of history entries to the sum of their row counts.
UPDATE etl_s3_ingest_history SET rows_read
  = rows_inserted + rows_updated + rows_unchanged + rows_superseded + rows_quarantined + rows_metadata
WHERE history_id = ANY(:history_ids);

-- name: recount_deleted_objects
-- Sets the row counts of loaded objects without a source to their stored rows, where both disagree; returns the keys.
UPDATE etl_s3_ingest_log AS log SET rows_read = stored.rows + stored.quarantined, rows_ingested = stored.rows,
  rows_inserted = stored.rows, rows_updated = 0, rows_unchanged = 0, rows_superseded = 0,
  rows_quarantined = stored.quarantined, rows_metadata = 0, failed_attempts = 0
FROM unnest(CAST(:keys AS text[])) AS deleted (key) CROSS JOIN LATERAL (
  SELECT (
    SELECT count(*)::integer FROM {table} AS event JOIN etl_s3_ingest_log AS entry USING (s3_object_key)
    WHERE entry.data_set = :data_set AND event.s3_object_key = deleted.key AND event.s3_last_modified = entry.last_modified
  ) AS rows, (
    SELECT count(*)::integer FROM {quarantine} WHERE s3_object_key = deleted.key
  ) AS quarantined
) AS stored
WHERE log.data_set = :data_set AND log.s3_object_key = deleted.key AND log.error_text IS NULL AND log.etag IS NOT NULL
  AND (log.failed_attempts <> 0 OR log.rows_read IS NULL OR log.rows_quarantined <> stored.quarantined
    OR log.rows_ingested IS DISTINCT FROM log.rows_inserted + log.rows_updated + log.rows_unchanged
    OR log.rows_inserted + log.rows_updated + log.rows_unchanged < stored.rows)
RETURNING log.s3_object_key;

-- name: select_wrong_orders
-- Selects the differing orders, and the orders of mismatched rows.
INSERT INTO selected_orders
SELECT twap_id, wallet FROM differing_orders UNION SELECT twap_id, wallet FROM row_mismatches;

-- name: delete_orders_without_events
-- Deletes the selected orders that have no event.
DELETE FROM twap_orders AS stored
USING (SELECT twap_id, wallet FROM selected_orders EXCEPT SELECT twap_id, wallet FROM derived_orders) AS without_events
WHERE stored.twap_id = without_events.twap_id AND stored.wallet = without_events.wallet;

-- name: missing_insertions
-- Stored and archived rows minus the sum of inserted rows in log and history. Archived months are those of twap_status.
SELECT (SELECT count(*) FROM {table})
  + coalesce((SELECT sum(rows) FROM etl_archived_months WHERE :data_set = 'twap_status'), 0)
  - coalesce((SELECT sum(rows_inserted) FROM etl_s3_ingest_log WHERE data_set = :data_set), 0)
  - coalesce((SELECT sum(rows_inserted) FROM etl_s3_ingest_history WHERE data_set = :data_set), 0);
