-- Statements of the repair. They run in the transaction of `compare`, which creates the table row_mismatches and forces
-- hash joins: the statistics of a table that is being loaded would otherwise lead to quadratic plans.

-- name: mismatch_owners
-- Objects that contain missing or changed rows.
SELECT DISTINCT s3_object_key FROM row_mismatches WHERE kind <> 'added';

-- name: delete_mismatched_rows
-- Deletes changed and added rows.
DELETE FROM twap_status AS stored USING row_mismatches AS mismatch
WHERE stored.twap_id = mismatch.twap_id AND stored.wallet = mismatch.wallet AND stored.ts = mismatch.ts;

-- name: delete_orphan_quarantined_rows
-- Deletes quarantined rows whose object is not in the ingest log.
DELETE FROM twap_status_quarantine AS stored
WHERE NOT EXISTS (SELECT FROM etl_s3_ingest_log AS log WHERE log.s3_object_key = stored.s3_object_key);

-- name: delete_orders_without_events
-- Deletes orders without any event.
DELETE FROM twap_orders AS stored WHERE NOT EXISTS (
  SELECT FROM twap_status AS event WHERE event.twap_id = stored.twap_id AND event.wallet = stored.wallet);

-- name: mark_orders_pending
-- Marks the objects of the remaining events of mismatched orders as pending for the refresh of orders.
UPDATE etl_s3_ingest_log SET orders_refreshed_at = NULL WHERE s3_object_key IN (
  SELECT event.s3_object_key FROM twap_status AS event JOIN row_mismatches USING (twap_id, wallet));

-- name: missing_insertions
-- Stored rows minus the sum of inserted rows in log and history.
SELECT (SELECT count(*) FROM twap_status) - coalesce((SELECT sum(rows_inserted) FROM etl_s3_ingest_log), 0)
  - coalesce((SELECT sum(rows_inserted) FROM etl_s3_ingest_history), 0);
