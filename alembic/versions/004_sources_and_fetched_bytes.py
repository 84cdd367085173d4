"""The source and the fetched bytes of each attempt, failed attempts in the history, and objects that are being loaded.

Revision ID: 004
Revises: 003
Create Date: 2026-11-26
"""

from collections.abc import Sequence

from alembic import op

from twap_pipeline.storage.schema.upgrade import refuse_data_loss

revision: str = "004"
down_revision: str | None = "003"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None
oldest_reader: str = "002"

UPGRADE = (
    # New columns are nullable: PostgreSQL rewrites no table. NULL means that an attempt is older than this revision.
    "ALTER TABLE etl_s3_ingest_log ADD bytes_fetched BIGINT, ADD source_url TEXT",
    "CREATE INDEX etl_s3_ingest_log_ingested_at_idx ON etl_s3_ingest_log (ingested_at)",
    "CREATE INDEX etl_s3_ingest_log_source_url_idx ON etl_s3_ingest_log (source_url)",
    """
ALTER TABLE etl_s3_ingest_history ADD bytes_fetched BIGINT, ADD source_url TEXT, ADD error_text TEXT,
  DROP CONSTRAINT etl_s3_ingest_history_kind_check,
  ADD CONSTRAINT etl_s3_ingest_history_kind_check CHECK (kind IN
    ('replaced_version', 'failed_attempt', 'deep_audit', 'reuploaded_unchanged', 'requeued', 'adjustment'))
""",
    "CREATE INDEX etl_s3_ingest_history_ingested_at_idx ON etl_s3_ingest_history (ingested_at)",
    """
CREATE TABLE etl_s3_ingest_attempts (s3_object_key TEXT PRIMARY KEY, etag TEXT NOT NULL, size_bytes BIGINT,
  is_alone BOOLEAN NOT NULL DEFAULT false, started_at TIMESTAMPTZ NOT NULL DEFAULT now())
""",
)

DOWNGRADE = (
    "DROP TABLE etl_s3_ingest_attempts",
    "DELETE FROM etl_s3_ingest_history WHERE kind IN ('failed_attempt', 'deep_audit')",
    """
ALTER TABLE etl_s3_ingest_history DROP bytes_fetched, DROP source_url, DROP error_text,
  DROP CONSTRAINT etl_s3_ingest_history_kind_check,
  ADD CONSTRAINT etl_s3_ingest_history_kind_check CHECK (kind IN
    ('replaced_version', 'reuploaded_unchanged', 'requeued', 'adjustment'))
""",
    "DROP INDEX etl_s3_ingest_history_ingested_at_idx",
    "DROP INDEX etl_s3_ingest_log_ingested_at_idx",
    "ALTER TABLE etl_s3_ingest_log DROP bytes_fetched, DROP source_url",
)


def upgrade() -> None:
    """Add columns, indexes and the table of objects that are being loaded."""
    for statement in UPGRADE:
        op.execute(statement)


def downgrade() -> None:
    """Drop what `upgrade` added; refused while a table contains rows, unless data loss is allowed explicitly."""
    refuse_data_loss("the downgrade to 003", "etl_s3_ingest_log", "etl_s3_ingest_history", "etl_s3_ingest_attempts")
    for statement in DOWNGRADE:
        op.execute(statement)
