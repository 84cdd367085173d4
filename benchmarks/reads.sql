-- Queries of benchmarks/reads.py. Parameters are psycopg's.
-- The queries named read_... are measured with values of random events: twap_id, wallet, ts, asset, key.

-- name: read_events_of_a_wallet_and_day
-- The first 100 events.
SELECT * FROM twap_status
WHERE wallet = %(wallet)s AND ts >= %(ts)s AND ts < %(ts)s + interval '1 day'
ORDER BY ts, twap_id LIMIT 100;

-- name: read_latest_event_of_an_order
-- One event.
SELECT * FROM twap_status WHERE twap_id = %(twap_id)s ORDER BY ts DESC LIMIT 1;

-- name: read_history_of_an_order
-- All events of an order.
SELECT * FROM twap_status WHERE twap_id = %(twap_id)s ORDER BY ts;

-- name: read_event_by_key
-- One event.
SELECT * FROM twap_status WHERE twap_id = %(twap_id)s AND wallet = %(wallet)s AND ts = %(ts)s;

-- name: read_events_of_an_asset
-- Any 100 events.
SELECT * FROM twap_status WHERE asset = %(asset)s LIMIT 100;

-- name: read_events_of_an_object
-- Any 100 events.
SELECT * FROM twap_status WHERE s3_object_key = %(key)s LIMIT 100;

-- name: read_order_by_key
-- One order.
SELECT * FROM twap_orders WHERE twap_id = %(twap_id)s AND wallet = %(wallet)s;

-- name: read_orders_of_a_wallet_and_year
-- The newest 100 orders.
SELECT * FROM twap_orders
WHERE wallet = %(wallet)s AND started_at >= %(ts)s - interval '1 year' AND started_at < %(ts)s
ORDER BY started_at DESC LIMIT 100;

-- name: read_active_orders
-- The newest 100 orders without an end.
SELECT * FROM twap_orders WHERE ended_at IS NULL ORDER BY last_status_at DESC LIMIT 100;

-- name: read_statistics_of_a_day
-- One row per asset, side and status.
SELECT * FROM twap_daily_stats WHERE day = %(ts)s ::date;

-- name: copy_events
-- Adds the events of the first object again, as other orders on a later day.
INSERT INTO twap_status (twap_id, wallet, ts, asset, side, size_requested, size_executed, notional_executed, status,
  duration_minutes, s3_object_key, raw_payload, inserted_at, started_at, status_error, reduce_only, randomize,
  s3_last_modified)
SELECT (twap_id::bigint + %(id_offset)s)::text, wallet, ts + %(time_offset)s, asset, side, size_requested,
  size_executed, notional_executed, status, duration_minutes, %(key)s, raw_payload, inserted_at,
  started_at + %(time_offset)s, status_error, reduce_only, randomize, s3_last_modified
FROM twap_status WHERE s3_object_key = 'copy-0.parquet';

-- name: copy_log_entry
-- Adds the log entry of the first object again, with another key and date.
INSERT INTO etl_s3_ingest_log (s3_object_key, last_modified, ingested_at, etag, object_date)
SELECT %(key)s, last_modified, ingested_at, etag, object_date + %(number)s
FROM etl_s3_ingest_log WHERE s3_object_key = 'copy-0.parquet';

-- name: sample_events
-- Values of random events, the same every time. Wallets with many events occur often.
SELECT twap_id, wallet, ts, asset, s3_object_key AS key FROM twap_status TABLESAMPLE BERNOULLI (2) REPEATABLE (1);

-- name: relation_sizes
-- Name and size of the tables and their indexes.
SELECT relname, pg_size_pretty(CASE relkind WHEN 'i' THEN pg_relation_size(oid) ELSE pg_table_size(oid) END)
FROM pg_class WHERE relname ~ '^twap_(status|orders)' AND relkind IN ('r', 'i')
ORDER BY relname;
