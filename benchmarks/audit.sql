-- Tables of an audit: every object is loaded, every sixteenth has an earlier version, every hundredth a quarantined row.

-- name: fill_log
-- One ingest log entry per object.
INSERT INTO etl_s3_ingest_log (s3_object_key, etag, last_modified, size_bytes, object_date, ingested_at, rows_ingested,
  rows_read, rows_inserted, rows_updated, rows_unchanged, rows_superseded, rows_quarantined, rows_metadata)
SELECT format('raw/twap_statuses/hourly/%s/%s/part.parquet',
    to_char(timestamptz '2025-08-17+00' + n / 24 * interval '1 day', 'YYYY/MM/DD'), to_char(n % 24, 'FM00')),
  lpad(to_hex(n), 32, '0'), '2026-01-01+00', 140000, date '2025-08-17' + n / 24, '2026-01-02+00', :rows,
  :rows + CASE WHEN n % 100 = 0 THEN 1 ELSE 0 END, :rows, 0, 0, 0, CASE WHEN n % 100 = 0 THEN 1 ELSE 0 END, 0
FROM generate_series(0, :objects - 1) AS n;

-- name: fill_history
-- An earlier version of every sixteenth object, whose rows were all replaced.
INSERT INTO etl_s3_ingest_history (s3_object_key, kind, etag, last_modified, ingested_at, recorded_at, rows_read,
  rows_inserted, rows_updated, rows_unchanged, rows_superseded, rows_quarantined, rows_metadata)
SELECT s3_object_key, 'replaced_version', 'e', '2025-12-01+00', '2025-12-02+00', '2026-01-02+00', 0, 0, 0, 0, 0, 0, 0
FROM etl_s3_ingest_log WHERE right(etag, 1) = '0';

-- name: fill_quarantine
-- The quarantined rows of the log.
INSERT INTO twap_status_quarantine (s3_object_key, row_number, raw_row, reason)
SELECT s3_object_key, 0, '{}', 'because' FROM etl_s3_ingest_log WHERE rows_quarantined = 1;

-- name: fill_rows
-- The rows of the log, each with a raw_payload of 400 bytes.
INSERT INTO twap_status (twap_id, wallet, ts, asset, side, status, s3_object_key, s3_last_modified, raw_payload)
SELECT row_number() OVER (), '0x' || repeat('1', 40), ingested_at, 'BTC', 'B', 'activated', s3_object_key,
  last_modified, ('"' || repeat('x', 400) || '"')::json
FROM etl_s3_ingest_log, generate_series(1, :rows);
