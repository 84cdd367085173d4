-- Queries of `run_lock.py`. The key of a run's lock is hashtextextended(run id, 5).

-- name: lock
-- Locks a run until the end of the transaction. The lock is shared, so that this statement never waits.
SELECT pg_advisory_xact_lock_shared(hashtextextended(:run_id, 5)),
  set_config('application_name', :application_name, true),
  set_config('idle_in_transaction_session_timeout', :idle_timeout, true);

-- name: keep
-- Restarts the idle timeout. It has no parameters: psycopg uses the simple protocol, and no portal keeps a snapshot.
SELECT;

-- name: locked
-- Those of the runs whose lock a session of this database has.
SELECT run_id FROM unnest(CAST(:run_ids AS text[])) AS run (run_id)
WHERE hashtextextended(run_id, 5) IN (
  SELECT (classid::bigint << 32) | objid::bigint FROM pg_locks
  WHERE locktype = 'advisory' AND objsubid = 1 AND granted
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
);

-- name: database_identity
-- The cluster and the database: equal for a primary server and its replicas, and through a connection pooler.
SELECT concat_ws('/', (SELECT system_identifier FROM pg_control_system()), oid)
FROM pg_database WHERE datname = current_database();
