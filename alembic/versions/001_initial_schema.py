"""Initial schema: the TWAP statuses and the ingest log.

Revision ID: 001
Revises:
Create Date: 2025-11-01
"""

from collections.abc import Sequence

from alembic import op

revision: str = "001"
down_revision: str | None = None
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None
oldest_reader: str = "001"

STATEMENTS = (
    """
CREATE TABLE twap_status (twap_id TEXT NOT NULL, wallet TEXT NOT NULL, ts TIMESTAMPTZ NOT NULL, asset TEXT, side TEXT,
  size_requested NUMERIC, size_executed NUMERIC, notional_executed NUMERIC, status TEXT, duration_minutes INTEGER,
  s3_object_key TEXT NOT NULL, raw_payload JSON, inserted_at TIMESTAMPTZ NOT NULL, PRIMARY KEY (twap_id, wallet, ts))
""",
    "CREATE INDEX twap_status_wallet_ts_idx ON twap_status (wallet, ts)",
    "CREATE INDEX twap_status_twap_id_idx ON twap_status (twap_id)",
    "CREATE INDEX twap_status_asset_idx ON twap_status (asset)",
    """
CREATE TABLE etl_s3_ingest_log (s3_object_key TEXT PRIMARY KEY, last_modified TIMESTAMPTZ NOT NULL,
  rows_ingested INTEGER, error_text TEXT, ingested_at TIMESTAMPTZ NOT NULL)
""",
)


def upgrade() -> None:
    """Create both tables."""
    for statement in STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    """Drop both tables; refused while they hold rows, unless asked for by name."""
    from twap_pipeline.storage.schema.upgrade import refuse_data_loss

    refuse_data_loss("DROP TABLE twap_status, etl_s3_ingest_log", "twap_status", "etl_s3_ingest_log")
    op.drop_table("etl_s3_ingest_log")
    op.drop_table("twap_status")
