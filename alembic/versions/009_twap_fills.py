"""Fills of TWAP orders, and the data set of each object in the ingest log.

Revision ID: 009
Revises: 008
Create Date: 2026-11-27
"""

from collections.abc import Sequence

from alembic import op

from twap_pipeline.storage.schema.upgrade import refuse_data_loss

revision: str = "009"
down_revision: str | None = "008"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None
oldest_reader: str = "005"

CREATE_TABLES = (
    """
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
)
""",
    "CREATE INDEX twap_fills_order_idx ON twap_fills (twap_id, wallet, ts)",
    "CREATE INDEX twap_fills_wallet_ts_idx ON twap_fills (wallet, ts)",
    "CREATE INDEX twap_fills_s3_object_key_idx ON twap_fills (s3_object_key)",
    """
CREATE TABLE twap_fills_quarantine (
  s3_object_key TEXT NOT NULL,
  row_number BIGINT NOT NULL,
  raw_row JSON NOT NULL,
  reason TEXT NOT NULL,
  quarantined_at TIMESTAMPTZ NOT NULL DEFAULT now(),
  PRIMARY KEY (s3_object_key, row_number)
)
""",
)

CREATE_VIEWS = (
    """
CREATE VIEW twap_order_fills AS
SELECT twap_id, wallet, min(asset) AS asset, count(*) AS fill_count, min(ts) AS first_fill_at, max(ts) AS last_fill_at,
  sum(size) AS size_filled, sum(price * size) AS notional_filled,
  CASE WHEN count(realized_pnl) = count(*) THEN sum(realized_pnl) END AS realized_pnl,
  CASE WHEN count(fee) = count(*) AND count(fee_token) = count(*) AND min(fee_token) = max(fee_token) THEN sum(fee)
    END AS fee,
  CASE WHEN count(fee_token) = count(*) AND min(fee_token) = max(fee_token) THEN min(fee_token) END AS fee_token
FROM twap_fills GROUP BY twap_id, wallet
""",
    """
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
FROM twap_orders AS orders FULL JOIN twap_order_fills AS fills USING (twap_id, wallet)
""",
)

# A default that is a constant: PostgreSQL rewrites no table. The entries of all earlier revisions are of twap_status.
ADD_DATA_SET = (
    "ALTER TABLE etl_s3_ingest_history DROP CONSTRAINT etl_s3_ingest_history_s3_object_key_fkey",
    *(
        f"ALTER TABLE {table} ADD data_set TEXT NOT NULL DEFAULT 'twap_status'"
        for table in ("etl_s3_ingest_log", "etl_s3_ingest_history", "etl_s3_ingest_attempts")
    ),
    *(
        f"ALTER TABLE {table} DROP CONSTRAINT {table}_pkey, ADD PRIMARY KEY (data_set, s3_object_key)"
        for table in ("etl_s3_ingest_log", "etl_s3_ingest_attempts")
    ),
    "ALTER TABLE etl_s3_ingest_history ADD CONSTRAINT etl_s3_ingest_history_s3_object_key_fkey"
    " FOREIGN KEY (data_set, s3_object_key) REFERENCES etl_s3_ingest_log (data_set, s3_object_key) ON DELETE CASCADE",
    "DROP INDEX etl_s3_ingest_history_s3_object_key_idx",
    "CREATE INDEX etl_s3_ingest_history_s3_object_key_idx ON etl_s3_ingest_history (data_set, s3_object_key)",
    "DROP INDEX etl_s3_ingest_log_not_loaded_idx",
    "CREATE INDEX etl_s3_ingest_log_not_loaded_idx ON etl_s3_ingest_log (data_set, s3_object_key)"
    " WHERE error_text IS NOT NULL",
    "DROP INDEX etl_s3_ingest_log_orders_pending_idx",
    "CREATE INDEX etl_s3_ingest_log_orders_pending_idx ON etl_s3_ingest_log (object_date)"
    " WHERE orders_refreshed_at IS NULL AND data_set = 'twap_status'",
)

DROP_DATA_SET = (
    "DELETE FROM etl_s3_ingest_log WHERE data_set <> 'twap_status'",
    "DELETE FROM etl_s3_ingest_attempts WHERE data_set <> 'twap_status'",
    "ALTER TABLE etl_s3_ingest_history DROP CONSTRAINT etl_s3_ingest_history_s3_object_key_fkey",
    # Dropping the column drops the keys and indexes that contain it.
    *(
        f"ALTER TABLE {table} DROP data_set"
        for table in ("etl_s3_ingest_history", "etl_s3_ingest_log", "etl_s3_ingest_attempts")
    ),
    *(
        f"ALTER TABLE {table} ADD PRIMARY KEY (s3_object_key)"
        for table in ("etl_s3_ingest_log", "etl_s3_ingest_attempts")
    ),
    "ALTER TABLE etl_s3_ingest_history ADD CONSTRAINT etl_s3_ingest_history_s3_object_key_fkey"
    " FOREIGN KEY (s3_object_key) REFERENCES etl_s3_ingest_log ON DELETE CASCADE",
    "CREATE INDEX etl_s3_ingest_history_s3_object_key_idx ON etl_s3_ingest_history (s3_object_key)",
    "CREATE INDEX etl_s3_ingest_log_not_loaded_idx ON etl_s3_ingest_log (s3_object_key) WHERE error_text IS NOT NULL",
    "CREATE INDEX etl_s3_ingest_log_orders_pending_idx ON etl_s3_ingest_log (object_date)"
    " WHERE orders_refreshed_at IS NULL",
)


def upgrade() -> None:
    """Extend the keys of the ingest log, which locks it while its indexes are built; add tables and views."""
    for statement in (*ADD_DATA_SET, *CREATE_TABLES, *CREATE_VIEWS):
        op.execute(statement)


def downgrade() -> None:
    """Drop the fills and their log entries; refused while the table contains fills, unless data loss is allowed."""
    refuse_data_loss(
        "the downgrade to 008",
        *("twap_fills", "twap_fills_quarantine"),
        *("etl_s3_ingest_log", "etl_s3_ingest_history", "etl_s3_ingest_attempts"),
    )
    for view in ("twap_order_reconciliation", "twap_order_fills"):
        op.execute(f"DROP VIEW {view}")
    for table in ("twap_fills_quarantine", "twap_fills"):
        op.execute(f"DROP TABLE {table}")
    for statement in DROP_DATA_SET:
        op.execute(statement)
