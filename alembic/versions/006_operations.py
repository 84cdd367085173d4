"""What metrics and `twap-pipeline status` read: durations of attempts, and indexes of what is not done.

Revision ID: 006
Revises: 005
Create Date: 2026-11-27
"""

from collections.abc import Sequence

from alembic import op

from twap_pipeline.storage.schema.upgrade import refuse_data_loss

revision: str = "006"
down_revision: str | None = "005"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None
oldest_reader: str = "005"

# New columns are nullable: PostgreSQL rewrites no table. NULL means that an attempt is older than this revision.
ADD_COLUMNS = (
    "ALTER TABLE etl_s3_ingest_log ADD reading_ms INTEGER, ADD decoding_ms INTEGER, ADD writing_ms INTEGER",
    "ALTER TABLE etl_s3_ingest_history ADD reading_ms INTEGER, ADD decoding_ms INTEGER, ADD writing_ms INTEGER",
)

# Both contain few entries, however long the log is.
INDEXES = {
    "etl_s3_ingest_log_not_loaded_idx": (
        "CREATE INDEX CONCURRENTLY etl_s3_ingest_log_not_loaded_idx ON etl_s3_ingest_log (s3_object_key)"
        " WHERE error_text IS NOT NULL"
    ),
    "etl_s3_ingest_log_orders_pending_idx": (
        "CREATE INDEX CONCURRENTLY etl_s3_ingest_log_orders_pending_idx ON etl_s3_ingest_log (object_date)"
        " WHERE orders_refreshed_at IS NULL"
    ),
}

DROP_COLUMNS = (
    "ALTER TABLE etl_s3_ingest_log DROP reading_ms, DROP decoding_ms, DROP writing_ms",
    "ALTER TABLE etl_s3_ingest_history DROP reading_ms, DROP decoding_ms, DROP writing_ms",
)


def upgrade() -> None:
    """Build the indexes concurrently, then add the columns: a build that was killed is repeated from the start."""
    with op.get_context().autocommit_block():
        for name, statement in INDEXES.items():
            op.drop_index(name, "etl_s3_ingest_log", if_exists=True, postgresql_concurrently=True)
            op.execute(statement)
    for statement in ADD_COLUMNS:
        op.execute(statement)


def downgrade() -> None:
    """Drop columns and indexes; refused while the log contains entries, unless data loss is allowed."""
    refuse_data_loss("the downgrade to 005", "etl_s3_ingest_log", "etl_s3_ingest_history")
    for statement in DROP_COLUMNS:
        op.execute(statement)
    for name in INDEXES:
        op.execute(f"DROP INDEX {name}")
