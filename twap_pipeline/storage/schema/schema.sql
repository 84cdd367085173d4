-- The complete schema at revision 009. `python -m twap_pipeline.storage.schema.create` executes this file and stamps
-- Alembic's head. A test asserts that it equals the result of the migrations.

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
CREATE INDEX twap_status_s3_object_key_idx ON twap_status (s3_object_key);
CREATE INDEX twap_status_wallet_order_idx ON twap_status (wallet, length(twap_id), twap_id, ts);
CREATE INDEX twap_status_ts_idx ON twap_status (ts);

CREATE TABLE etl_s3_ingest_log (
  s3_object_key TEXT NOT NULL,
  last_modified TIMESTAMPTZ NOT NULL,
  rows_ingested INTEGER,
  error_text TEXT,
  ingested_at TIMESTAMPTZ NOT NULL,
  etag TEXT,
  size_bytes BIGINT,
  sha256 TEXT,
  object_date DATE,
  failed_attempts INTEGER NOT NULL DEFAULT 0,
  rows_read INTEGER,
  rows_inserted INTEGER,
  rows_updated INTEGER,
  rows_unchanged INTEGER,
  rows_superseded INTEGER,
  rows_quarantined INTEGER,
  rows_metadata INTEGER,
  data_warnings JSONB,
  checksum_verified BOOLEAN,
  dagster_run_id TEXT,
  orders_refreshed_at TIMESTAMPTZ,
  bytes_fetched BIGINT,
  source_url TEXT,
  last_event_at TIMESTAMPTZ,
  reading_ms INTEGER,
  decoding_ms INTEGER,
  writing_ms INTEGER,
  data_set TEXT NOT NULL DEFAULT 'twap_status',
  PRIMARY KEY (data_set, s3_object_key),
  CONSTRAINT etl_s3_ingest_log_row_counts_sum_check CHECK (rows_read
    = rows_inserted + rows_updated + rows_unchanged + rows_superseded + rows_quarantined + rows_metadata)
);
CREATE INDEX etl_s3_ingest_log_object_date_idx ON etl_s3_ingest_log (object_date);
CREATE INDEX etl_s3_ingest_log_ingested_at_idx ON etl_s3_ingest_log (ingested_at);
CREATE INDEX etl_s3_ingest_log_source_url_idx ON etl_s3_ingest_log (source_url);
CREATE INDEX etl_s3_ingest_log_not_loaded_idx ON etl_s3_ingest_log (data_set, s3_object_key)
  WHERE error_text IS NOT NULL;
CREATE INDEX etl_s3_ingest_log_orders_pending_idx ON etl_s3_ingest_log (object_date)
  WHERE orders_refreshed_at IS NULL AND data_set = 'twap_status';

CREATE TABLE etl_s3_ingest_history (
  history_id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  s3_object_key TEXT NOT NULL,
  kind TEXT NOT NULL,
  etag TEXT,
  last_modified TIMESTAMPTZ,
  size_bytes BIGINT,
  sha256 TEXT,
  ingested_at TIMESTAMPTZ,
  rows_read INTEGER,
  rows_inserted INTEGER,
  rows_updated INTEGER,
  rows_unchanged INTEGER,
  rows_superseded INTEGER,
  rows_quarantined INTEGER,
  rows_metadata INTEGER,
  dagster_run_id TEXT,
  recorded_at TIMESTAMPTZ NOT NULL DEFAULT now(),
  bytes_fetched BIGINT,
  source_url TEXT,
  error_text TEXT,
  reading_ms INTEGER,
  decoding_ms INTEGER,
  writing_ms INTEGER,
  data_set TEXT NOT NULL DEFAULT 'twap_status',
  CONSTRAINT etl_s3_ingest_history_kind_check CHECK (kind IN
    ('replaced_version', 'failed_attempt', 'deep_audit', 'reuploaded_unchanged', 'requeued', 'adjustment')),
  CONSTRAINT etl_s3_ingest_history_s3_object_key_fkey FOREIGN KEY (data_set, s3_object_key)
    REFERENCES etl_s3_ingest_log (data_set, s3_object_key) ON DELETE CASCADE
);
CREATE INDEX etl_s3_ingest_history_s3_object_key_idx ON etl_s3_ingest_history (data_set, s3_object_key);
CREATE INDEX etl_s3_ingest_history_ingested_at_idx ON etl_s3_ingest_history (ingested_at);

CREATE TABLE etl_s3_ingest_attempts (
  s3_object_key TEXT NOT NULL,
  etag TEXT NOT NULL,
  size_bytes BIGINT,
  is_alone BOOLEAN NOT NULL DEFAULT false,
  started_at TIMESTAMPTZ NOT NULL DEFAULT now(),
  data_set TEXT NOT NULL DEFAULT 'twap_status',
  PRIMARY KEY (data_set, s3_object_key)
);

CREATE TABLE etl_s3_key_layouts (
  source_url TEXT NOT NULL,
  layout TEXT NOT NULL,
  first_seen_at TIMESTAMPTZ NOT NULL DEFAULT now(),
  PRIMARY KEY (source_url, layout)
);

CREATE TABLE twap_status_quarantine (
  s3_object_key TEXT NOT NULL,
  row_number BIGINT NOT NULL,
  raw_row JSON NOT NULL,
  reason TEXT NOT NULL,
  quarantined_at TIMESTAMPTZ NOT NULL DEFAULT now(),
  PRIMARY KEY (s3_object_key, row_number)
);

CREATE TABLE twap_orders (
  twap_id TEXT NOT NULL,
  wallet TEXT NOT NULL,
  asset TEXT,
  side TEXT,
  size_requested NUMERIC,
  size_executed NUMERIC,
  notional_executed NUMERIC,
  average_price NUMERIC GENERATED ALWAYS AS (notional_executed / nullif(size_executed, 0)) STORED,
  is_underfilled BOOLEAN GENERATED ALWAYS AS (ended_at IS NOT NULL AND size_executed < size_requested) STORED,
  status TEXT,
  status_error TEXT,
  last_status_at TIMESTAMPTZ NOT NULL,
  started_at TIMESTAMPTZ,
  start_date DATE GENERATED ALWAYS AS ((coalesce(started_at, first_event_at) AT TIME ZONE 'UTC')::date) STORED,
  ended_at TIMESTAMPTZ,
  duration_minutes INTEGER,
  reduce_only BOOLEAN,
  randomize BOOLEAN,
  event_count INTEGER NOT NULL,
  first_event_at TIMESTAMPTZ NOT NULL,
  first_object_key TEXT NOT NULL,
  last_object_key TEXT NOT NULL,
  refreshed_at TIMESTAMPTZ NOT NULL DEFAULT now(),
  PRIMARY KEY (twap_id, wallet)
);
CREATE INDEX twap_orders_wallet_last_status_at_idx ON twap_orders (wallet, last_status_at);
CREATE INDEX twap_orders_start_date_asset_idx ON twap_orders (start_date, asset);
CREATE INDEX twap_orders_active_idx ON twap_orders (last_status_at) WHERE ended_at IS NULL;
CREATE INDEX twap_orders_last_status_at_idx ON twap_orders (last_status_at);
CREATE INDEX twap_orders_order_idx ON twap_orders (length(twap_id), twap_id, wallet);
CREATE INDEX twap_orders_wallet_order_idx ON twap_orders (wallet, length(twap_id), twap_id);
CREATE INDEX twap_orders_asset_order_idx ON twap_orders (asset, length(twap_id), twap_id, wallet);

CREATE VIEW twap_daily_stats AS
SELECT start_date AS day, asset, side, status, count(*) AS order_count, count(DISTINCT wallet) AS wallet_count,
  count(*) FILTER (WHERE is_underfilled) AS underfilled_order_count, sum(size_requested) AS size_requested,
  sum(size_executed) AS size_executed, sum(notional_executed) AS notional_executed
FROM twap_orders GROUP BY start_date, asset, side, status;

CREATE TABLE etl_data_check_results (
  check_name TEXT NOT NULL,
  object_date DATE NOT NULL,
  input_digest TEXT NOT NULL,
  violations BIGINT NOT NULL,
  examples JSON NOT NULL,
  checked_at TIMESTAMPTZ NOT NULL,
  duration_ms BIGINT NOT NULL,
  PRIMARY KEY (check_name, object_date)
);

CREATE TABLE etl_archived_months (
  month DATE PRIMARY KEY,
  rows BIGINT NOT NULL,
  sha256 TEXT NOT NULL,
  file_name TEXT NOT NULL,
  checksum TEXT NOT NULL,
  archived_at TIMESTAMPTZ NOT NULL DEFAULT now()
);

CREATE TABLE spot_pairs (
  pair_index INTEGER NOT NULL,
  valid_from TIMESTAMPTZ NOT NULL,
  valid_to TIMESTAMPTZ,
  base TEXT NOT NULL,
  quote TEXT NOT NULL,
  source TEXT NOT NULL,
  recorded_at TIMESTAMPTZ NOT NULL DEFAULT now(),
  PRIMARY KEY (pair_index, valid_from),
  CONSTRAINT spot_pairs_validity_check CHECK (valid_to > valid_from)
);

CREATE TABLE twap_fills (
  trade_id TEXT NOT NULL,
  wallet TEXT NOT NULL,
  twap_id TEXT NOT NULL,
  ts TIMESTAMPTZ NOT NULL,
  asset TEXT NOT NULL,
  market TEXT,
  dex TEXT,
  base_symbol TEXT,
  quote_symbol TEXT,
  side TEXT NOT NULL,
  direction TEXT,
  price NUMERIC NOT NULL,
  size NUMERIC NOT NULL,
  realized_pnl NUMERIC,
  start_position NUMERIC,
  fee NUMERIC,
  fee_token TEXT,
  builder_fee NUMERIC,
  deployer_fee NUMERIC,
  priority_fee NUMERIC,
  order_id TEXT,
  is_taker BOOLEAN,
  other_fields JSON,
  s3_object_key TEXT NOT NULL,
  s3_last_modified TIMESTAMPTZ NOT NULL,
  inserted_at TIMESTAMPTZ NOT NULL DEFAULT now(),
  PRIMARY KEY (trade_id, wallet)
);
CREATE INDEX twap_fills_order_idx ON twap_fills (twap_id, wallet, ts);
CREATE INDEX twap_fills_wallet_ts_idx ON twap_fills (wallet, ts);
CREATE INDEX twap_fills_s3_object_key_idx ON twap_fills (s3_object_key);

CREATE TABLE twap_fills_quarantine (
  s3_object_key TEXT NOT NULL,
  row_number BIGINT NOT NULL,
  raw_row JSON NOT NULL,
  reason TEXT NOT NULL,
  quarantined_at TIMESTAMPTZ NOT NULL DEFAULT now(),
  PRIMARY KEY (s3_object_key, row_number)
);

CREATE VIEW twap_order_fills AS
SELECT twap_id, wallet, min(asset) AS asset, count(*) AS fill_count, min(ts) AS first_fill_at, max(ts) AS last_fill_at,
  sum(size) AS size_filled, sum(price * size) AS notional_filled,
  CASE WHEN count(realized_pnl) = count(*) THEN sum(realized_pnl) END AS realized_pnl,
  CASE WHEN count(fee) = count(*) AND count(fee_token) = count(*) AND min(fee_token) = max(fee_token) THEN sum(fee)
    END AS fee,
  CASE WHEN count(fee_token) = count(*) AND min(fee_token) = max(fee_token) THEN min(fee_token) END AS fee_token
FROM twap_fills GROUP BY twap_id, wallet;

CREATE VIEW twap_order_reconciliation AS
SELECT twap_id, wallet, coalesce(orders.asset, fills.asset) AS asset, orders.started_at, orders.first_event_at,
  orders.ended_at, orders.last_status_at, coalesce(fills.fill_count, 0) AS fill_count,
  orders.size_executed, coalesce(fills.size_filled, 0) AS size_filled,
  orders.notional_executed, coalesce(fills.notional_filled, 0) AS notional_filled,
  fills.first_fill_at, fills.last_fill_at, fills.realized_pnl, fills.fee, fills.fee_token,
  CASE
    WHEN orders.last_status_at IS NULL THEN 'no_order'
    WHEN orders.ended_at IS NULL THEN 'running'
    WHEN orders.size_executed IS NULL OR orders.notional_executed IS NULL THEN 'unknown_totals'
    WHEN abs(coalesce(fills.size_filled, 0) - orders.size_executed) < 0.00000001
      AND abs(coalesce(fills.notional_filled, 0) - orders.notional_executed)
        <= 0.000001 * coalesce(fills.fill_count, 0) THEN 'reconciled'
    WHEN EXISTS (
      SELECT FROM generate_series(0, (orders.ended_at AT TIME ZONE 'UTC')::date - orders.start_date) AS number
      WHERE (
        SELECT bool_and(error_text IS NULL) FROM etl_s3_ingest_log
        WHERE data_set IS NOT DISTINCT FROM 'twap_fills' AND object_date = orders.start_date + number
      ) IS NOT TRUE
    ) THEN 'fills_not_loaded'
    WHEN abs(coalesce(fills.size_filled, 0) - orders.size_executed) < 0.00000001 THEN 'different_notional'
    WHEN coalesce(fills.size_filled, 0) < orders.size_executed THEN 'missing_fills'
    ELSE 'surplus_fills'
  END AS state
FROM twap_orders AS orders FULL JOIN twap_order_fills AS fills USING (twap_id, wallet);
