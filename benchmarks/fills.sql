-- Queries of benchmarks/fills.py. Parameters are psycopg's.

-- name: fill
-- Inserts one ended order with many slices of one day, its fills, and the log entry of their object.
INSERT INTO twap_orders (twap_id, wallet, asset, side, size_requested, size_executed, notional_executed, status,
  last_status_at, started_at, ended_at, duration_minutes, reduce_only, randomize, event_count, first_event_at,
  first_object_key, last_object_key)
VALUES (%(twap_id)s, %(wallet)s, 'HYPE', 'B', %(slices)s, %(slices)s, %(slices)s * 42.05, 'finished',
  '2026-04-30T23:00Z', '2026-04-30Z', '2026-04-30T23:00Z', 1380, false, true, 2, '2026-04-30Z', 'a', 'a');

INSERT INTO twap_fills (trade_id, wallet, twap_id, ts, asset, market, side, direction, price, size, realized_pnl,
  start_position, fee, fee_token, is_taker, s3_object_key, s3_last_modified)
SELECT (900000000000000 + n)::text, %(wallet)s, %(twap_id)s,
  timestamptz '2026-04-30Z' + n * (interval '22 hours' / %(slices)s), 'HYPE', 'perp', 'buy', 'Open Long', 42.05, 1, 0,
  n - 1, 0.018923, 'USDC', true, 'date=2026-04-30/fills.parquet', '2026-05-01T10:00Z'
FROM generate_series(1, %(slices)s) AS n;

INSERT INTO etl_s3_ingest_log (data_set, s3_object_key, last_modified, ingested_at, object_date, rows_read, rows_inserted,
  rows_updated, rows_unchanged, rows_superseded, rows_quarantined, rows_metadata)
VALUES ('twap_fills', 'date=2026-04-30/fills.parquet', '2026-05-01T10:00Z', '2026-05-01T10:01Z', '2026-04-30', %(slices)s,
  %(slices)s, 0, 0, 0, 0, 0);

-- name: select_reconciliation
-- The row of the order in the view.
SELECT fill_count, size_filled, notional_filled, state FROM twap_order_reconciliation WHERE twap_id = %(twap_id)s;

-- name: count_states
-- The whole view.
SELECT state, count(*) FROM twap_order_reconciliation GROUP BY state ORDER BY state;
