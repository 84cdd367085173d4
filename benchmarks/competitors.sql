-- Statements of benchmarks/competitor_loaders.py. Parameters are psycopg's, by position.

-- name: insert_row
-- Inserts one row.
INSERT INTO twap_status (twap_id, wallet, ts, asset, side, size_requested, size_executed, notional_executed, status,
  duration_minutes, s3_object_key, raw_payload)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
ON CONFLICT DO NOTHING;

-- name: insert_from_staging
-- Moves the rows of the table that a tool has loaded, whose columns may be text.
INSERT INTO twap_status (twap_id, wallet, ts, asset, side, size_requested, size_executed, notional_executed, status,
  duration_minutes, s3_object_key, raw_payload)
SELECT twap_id::text, wallet::text, ts::timestamptz, asset::text, side::text, size_requested::numeric,
  size_executed::numeric, notional_executed::numeric, status::text, duration_minutes::integer, s3_object_key::text,
  raw_payload::json
FROM staging
ON CONFLICT (twap_id, wallet, ts) DO UPDATE SET status = excluded.status;
