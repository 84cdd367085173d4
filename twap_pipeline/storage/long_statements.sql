-- Statistics of the planner; see maintenance.py.

-- name: has_empty_statistics
-- Whether the statistics of a table with pages, or of a partition, state that it has no rows.
SELECT EXISTS (
  SELECT FROM pg_class WHERE reltuples = 0 AND relpages > 0 AND oid IN (
    SELECT 'twap_status'::regclass UNION ALL SELECT 'twap_orders'::regclass
    UNION ALL SELECT 'twap_fills'::regclass UNION ALL SELECT 'etl_s3_ingest_log'::regclass UNION ALL SELECT 'etl_s3_ingest_history'::regclass
    UNION ALL SELECT inhrelid FROM pg_inherits WHERE inhparent = 'twap_status'::regclass)
);

-- name: analyze_tables
-- Collects statistics of all tables.
ANALYZE twap_status, twap_orders, twap_fills, etl_s3_ingest_log, etl_s3_ingest_history, twap_status_quarantine,
  twap_fills_quarantine;

-- name: set_statement_timeout
-- Sets the timeout of each statement until the transaction ends.
SELECT set_config('statement_timeout', :statement_timeout, true);
