-- Statistics of the planner; see maintenance.py.

-- name: has_empty_statistics
-- Whether the statistics of a table with pages state that it has no rows.
SELECT EXISTS (
  SELECT FROM pg_class WHERE reltuples = 0 AND relpages > 0 AND oid IN (
    'twap_status'::regclass, 'twap_orders'::regclass, 'etl_s3_ingest_log'::regclass, 'etl_s3_ingest_history'::regclass)
);

-- name: analyze_tables
-- Collects statistics of all tables.
ANALYZE twap_status, twap_orders, etl_s3_ingest_log, etl_s3_ingest_history, twap_status_quarantine;

-- name: set_statement_timeout
-- Sets the timeout of each statement until the transaction ends.
SELECT set_config('statement_timeout', :statement_timeout, true);
