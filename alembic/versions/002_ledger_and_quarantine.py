"""The ledger's full account, the quarantine, and what an event says beside 001's columns.

Revision ID: 002
Revises: 001
Create Date: 2026-11-22
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "002"
down_revision: str | None = "001"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

STATUS_COLUMNS = (
    sa.Column("started_at", sa.DateTime(timezone=True)),
    sa.Column("status_error", sa.Text),
    sa.Column("reduce_only", sa.Boolean),
    sa.Column("randomize", sa.Boolean),
    sa.Column("s3_last_modified", sa.DateTime(timezone=True)),
)
ROW_OUTCOMES = ("inserted", "updated", "unchanged", "superseded", "quarantined", "metadata")
LEDGER_COLUMNS = (
    sa.Column("etag", sa.Text),
    sa.Column("size_bytes", sa.BigInteger),
    sa.Column("object_date", sa.Date),
    sa.Column("failed_attempts", sa.Integer, nullable=False, server_default=sa.text("0")),
    sa.Column("rows_read", sa.Integer),
    *(sa.Column(f"rows_{outcome}", sa.Integer) for outcome in ROW_OUTCOMES),
    sa.Column("data_warnings", postgresql.JSONB),
    sa.Column("checksum_verified", sa.Boolean),
    sa.Column("dagster_run_id", sa.Text),
    sa.Column("previous_versions", postgresql.JSONB, nullable=False, server_default=sa.text("'[]'::jsonb")),
)


def upgrade() -> None:
    """Add columns (nullable or with a constant default: no table is rewritten) and the quarantine."""
    for column in STATUS_COLUMNS:
        op.add_column("twap_status", column._copy())
    op.alter_column("twap_status", "inserted_at", server_default=sa.func.now())
    for column in LEDGER_COLUMNS:
        op.add_column("etl_s3_ingest_log", column._copy())
    op.create_check_constraint(
        "rows_accounted",
        "etl_s3_ingest_log",
        "rows_read = " + " + ".join(f"rows_{outcome}" for outcome in ROW_OUTCOMES),
    )
    op.create_index("etl_s3_ingest_log_object_date_idx", "etl_s3_ingest_log", ["object_date"])
    op.create_table(
        "twap_status_quarantine",
        sa.Column("s3_object_key", sa.Text, nullable=False),
        sa.Column("row_number", sa.BigInteger, nullable=False),
        sa.Column("raw_row", sa.JSON, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("quarantined_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.PrimaryKeyConstraint("s3_object_key", "row_number"),
    )


def downgrade() -> None:
    """Drop what 002 added; refused while it holds data, unless asked for by name."""
    from twap_pipeline.storage.schema.upgrade import refuse_data_loss

    refuse_data_loss(
        "dropping 002's columns and the quarantine", "twap_status", "etl_s3_ingest_log", "twap_status_quarantine"
    )
    op.drop_table("twap_status_quarantine")
    op.drop_index("etl_s3_ingest_log_object_date_idx", "etl_s3_ingest_log")
    op.drop_constraint("rows_accounted", "etl_s3_ingest_log", type_="check")
    for column in reversed(LEDGER_COLUMNS):
        op.drop_column("etl_s3_ingest_log", column.name)
    op.alter_column("twap_status", "inserted_at", server_default=None)
    for column in reversed(STATUS_COLUMNS):
        op.drop_column("twap_status", column.name)
