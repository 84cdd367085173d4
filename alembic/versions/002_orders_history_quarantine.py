"""Event details, the complete ingest log with its history, the quarantine, and the orders.

Revision ID: 002
Revises: 001
Create Date: 2026-11-26
"""

from collections.abc import Sequence

from alembic import op

from twap_pipeline.storage.schema.upgrade import refuse_data_loss

revision: str = "002"
down_revision: str | None = "001"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None
oldest_reader: str = "002"

UPGRADE = (
    # New columns are nullable or have a constant default: PostgreSQL rewrites no table.
    """
ALTER TABLE twap_status ADD started_at TIMESTAMPTZ, ADD status_error TEXT, ADD reduce_only BOOLEAN,
  ADD randomize BOOLEAN, ADD s3_last_modified TIMESTAMPTZ, ALTER inserted_at SET DEFAULT now()
""",
    """
ALTER TABLE etl_s3_ingest_log ADD etag TEXT, ADD size_bytes BIGINT, ADD sha256 TEXT, ADD object_date DATE,
  ADD failed_attempts INTEGER NOT NULL DEFAULT 0, ADD rows_read INTEGER, ADD rows_inserted INTEGER,
  ADD rows_updated INTEGER, ADD rows_unchanged INTEGER, ADD rows_superseded INTEGER, ADD rows_quarantined INTEGER,
  ADD rows_metadata INTEGER, ADD data_warnings JSONB, ADD checksum_verified BOOLEAN, ADD dagster_run_id TEXT,
  ADD orders_refreshed_at TIMESTAMPTZ,
  ADD CONSTRAINT etl_s3_ingest_log_row_counts_sum_check CHECK (rows_read
    = rows_inserted + rows_updated + rows_unchanged + rows_superseded + rows_quarantined + rows_metadata)
""",
    "CREATE INDEX etl_s3_ingest_log_object_date_idx ON etl_s3_ingest_log (object_date)",
    """
CREATE TABLE etl_s3_ingest_history (history_id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  s3_object_key TEXT NOT NULL REFERENCES etl_s3_ingest_log ON DELETE CASCADE,
  kind TEXT NOT NULL CONSTRAINT etl_s3_ingest_history_kind_check CHECK (kind IN
    ('replaced_version', 'reuploaded_unchanged', 'requeued', 'adjustment')),
  etag TEXT, last_modified TIMESTAMPTZ, size_bytes BIGINT, sha256 TEXT, ingested_at TIMESTAMPTZ, rows_read INTEGER,
  rows_inserted INTEGER, rows_updated INTEGER, rows_unchanged INTEGER, rows_superseded INTEGER,
  rows_quarantined INTEGER, rows_metadata INTEGER, dagster_run_id TEXT, recorded_at TIMESTAMPTZ NOT NULL DEFAULT now())
""",
    "CREATE INDEX etl_s3_ingest_history_s3_object_key_idx ON etl_s3_ingest_history (s3_object_key)",
    """
CREATE TABLE twap_status_quarantine (s3_object_key TEXT NOT NULL, row_number BIGINT NOT NULL, raw_row JSON NOT NULL,
  reason TEXT NOT NULL, quarantined_at TIMESTAMPTZ NOT NULL DEFAULT now(), PRIMARY KEY (s3_object_key, row_number))
""",
    # Empty: every loaded object is pending, and the next refresh fills the table.
    """
CREATE TABLE twap_orders (twap_id TEXT NOT NULL, wallet TEXT NOT NULL, asset TEXT, side TEXT, size_requested NUMERIC,
  size_executed NUMERIC, notional_executed NUMERIC,
  fill_ratio NUMERIC GENERATED ALWAYS AS (size_executed / nullif(size_requested, 0)) STORED,
  average_price NUMERIC GENERATED ALWAYS AS (notional_executed / nullif(size_executed, 0)) STORED,
  is_underfilled BOOLEAN GENERATED ALWAYS AS (ended_at IS NOT NULL AND size_executed < size_requested) STORED,
  status TEXT, status_error TEXT, last_status_at TIMESTAMPTZ NOT NULL, started_at TIMESTAMPTZ,
  start_date DATE GENERATED ALWAYS AS ((coalesce(started_at, first_event_at) AT TIME ZONE 'UTC')::date) STORED,
  ended_at TIMESTAMPTZ, duration_minutes INTEGER, reduce_only BOOLEAN, randomize BOOLEAN, event_count INTEGER NOT NULL,
  first_event_at TIMESTAMPTZ NOT NULL, first_object_key TEXT NOT NULL, last_object_key TEXT NOT NULL,
  refreshed_at TIMESTAMPTZ NOT NULL DEFAULT now(), PRIMARY KEY (twap_id, wallet))
""",
    "CREATE INDEX twap_orders_wallet_started_at_idx ON twap_orders (wallet, started_at)",
    "CREATE INDEX twap_orders_wallet_last_status_at_idx ON twap_orders (wallet, last_status_at)",
    "CREATE INDEX twap_orders_start_date_asset_idx ON twap_orders (start_date, asset)",
    "CREATE INDEX twap_orders_active_idx ON twap_orders (last_status_at) WHERE ended_at IS NULL",
    """
CREATE VIEW twap_daily_stats AS
SELECT start_date AS day, asset, side, status, count(*) AS order_count, count(DISTINCT wallet) AS wallet_count,
  count(*) FILTER (WHERE is_underfilled) AS underfilled_order_count, sum(size_requested) AS size_requested,
  sum(size_executed) AS size_executed, sum(notional_executed) AS notional_executed
FROM twap_orders GROUP BY start_date, asset, side, status
""",
)

DOWNGRADE = (
    "DROP VIEW twap_daily_stats",
    "DROP TABLE twap_orders",
    "DROP TABLE twap_status_quarantine",
    "DROP TABLE etl_s3_ingest_history",
    "DROP INDEX etl_s3_ingest_log_object_date_idx",
    """
ALTER TABLE etl_s3_ingest_log DROP CONSTRAINT etl_s3_ingest_log_row_counts_sum_check, DROP etag, DROP size_bytes,
  DROP sha256, DROP object_date, DROP failed_attempts, DROP rows_read, DROP rows_inserted, DROP rows_updated,
  DROP rows_unchanged, DROP rows_superseded, DROP rows_quarantined, DROP rows_metadata, DROP data_warnings,
  DROP checksum_verified, DROP dagster_run_id, DROP orders_refreshed_at
""",
    """
ALTER TABLE twap_status ALTER inserted_at DROP DEFAULT, DROP started_at, DROP status_error, DROP reduce_only,
  DROP randomize, DROP s3_last_modified
""",
)


def upgrade() -> None:
    """Add columns, tables, indexes and the view."""
    for statement in UPGRADE:
        op.execute(statement)


def downgrade() -> None:
    """Drop what `upgrade` added; refused while a table contains rows, unless data loss is allowed explicitly."""
    refuse_data_loss(
        "the downgrade to 001",
        "twap_status",
        "etl_s3_ingest_log",
        "etl_s3_ingest_history",
        "twap_status_quarantine",
        "twap_orders",
    )
    for statement in DOWNGRADE:
        op.execute(statement)
