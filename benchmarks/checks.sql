-- Queries of benchmarks/checks.py. Parameters are psycopg's.

-- name: fill_events
-- Adds events of orders with an activation and an end 30 minutes later, spread over a period; one object per hour.
INSERT INTO twap_status (twap_id, wallet, ts, asset, side, size_requested, size_executed, notional_executed, status,
  duration_minutes, started_at, s3_object_key, s3_last_modified, raw_payload)
SELECT number::text, '0x' || lpad(to_hex(number %% 5000), 40, '0'), ts, 'BTC', 'B', 10, 10 * is_end, 1000 * is_end,
  CASE is_end WHEN 0 THEN 'activated' ELSE 'finished' END, 30, start_at,
  'hourly/' || to_char(ts, 'YYYY/MM/DD/HH24') || '/part.parquet', date_trunc('day', ts) + interval '1 day',
  json_build_object('twap_id', number, 'time', ts, 'state_user', 'wallet', 'state_coin', 'BTC', 'state_sz', '10')
FROM (
  SELECT number, is_end, start_at, start_at + is_end * interval '30 minutes' AS ts
  FROM (
    SELECT number, '2025-08-17 00:00+00'::timestamptz
      + (number - %(first_order)s) * (%(period)s::interval / %(orders)s) + %(offset)s AS start_at
    FROM generate_series(%(first_order)s, %(first_order)s + %(orders)s - 1) AS number
  ) AS orders CROSS JOIN generate_series(0, 1) AS is_end
  ORDER BY ts
) AS events;

-- name: fill_log
-- Adds log entries of the objects that have none.
INSERT INTO etl_s3_ingest_log (s3_object_key, last_modified, ingested_at, etag, size_bytes, object_date, source_url,
  rows_ingested, rows_read, rows_inserted, rows_updated, rows_unchanged, rows_superseded, rows_quarantined, rows_metadata)
SELECT s3_object_key, min(s3_last_modified), now(), 'e', 1000, min(ts)::date, 's3://bench/', count(*), count(*), count(*),
  0, 0, 0, 0, 0
FROM twap_status GROUP BY s3_object_key ON CONFLICT DO NOTHING;
