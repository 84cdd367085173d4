-- The whole schema at revision 002, for a database set up without Alembic: `python -m twap_pipeline.storage.init`
-- executes this and stamps head. A test proves it equal to the migrations.

CREATE TABLE twap_status (
  twap_id TEXT NOT NULL,
  wallet TEXT NOT NULL,
  ts TIMESTAMPTZ NOT NULL,
  asset TEXT,
  side TEXT,
  size_requested NUMERIC,
  size_executed NUMERIC,
  notional_executed NUMERIC,
  status TEXT,
  duration_minutes INTEGER,
  s3_object_key TEXT NOT NULL,
  raw_payload JSON,
  inserted_at TIMESTAMPTZ NOT NULL DEFAULT now(),
  started_at TIMESTAMPTZ,
  status_error TEXT,
  reduce_only BOOLEAN,
  randomize BOOLEAN,
  s3_last_modified TIMESTAMPTZ,
  PRIMARY KEY (twap_id, wallet, ts)
);
CREATE INDEX twap_status_wallet_ts_idx ON twap_status (wallet, ts);
CREATE INDEX twap_status_twap_id_idx ON twap_status (twap_id);
CREATE INDEX twap_status_asset_idx ON twap_status (asset);

CREATE TABLE etl_s3_ingest_log (
  s3_object_key TEXT PRIMARY KEY,
  last_modified TIMESTAMPTZ NOT NULL,
  rows_ingested INTEGER,
  error_text TEXT,
  ingested_at TIMESTAMPTZ NOT NULL,
  etag TEXT,
  size_bytes BIGINT,
  object_date DATE,
  attempts INTEGER NOT NULL DEFAULT 0,
  rows_read INTEGER,
  rows_inserted INTEGER,
  rows_updated INTEGER,
  rows_unchanged INTEGER,
  rows_superseded INTEGER,
  rows_quarantined INTEGER,
  rows_bookkeeping INTEGER,
  findings JSONB,
  digest_verified BOOLEAN,
  dagster_run_id TEXT,
  previous_versions JSONB NOT NULL DEFAULT '[]'::jsonb,
  CONSTRAINT etl_s3_ingest_log_rows_accounted_check CHECK (rows_read
    = rows_inserted + rows_updated + rows_unchanged + rows_superseded + rows_quarantined + rows_bookkeeping)
);
CREATE INDEX etl_s3_ingest_log_object_date_idx ON etl_s3_ingest_log (object_date);

CREATE TABLE twap_status_rejected (
  s3_object_key TEXT NOT NULL,
  row_number BIGINT NOT NULL,
  raw_row JSON NOT NULL,
  reason TEXT NOT NULL,
  rejected_at TIMESTAMPTZ NOT NULL DEFAULT now(),
  PRIMARY KEY (s3_object_key, row_number)
);
