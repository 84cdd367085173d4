"""What keeps the cost of runs, checks and queries independent of the length of the history.

Revision ID: 005
Revises: 004
Create Date: 2026-11-26
"""

from collections.abc import Sequence

from alembic import op

from twap_pipeline.storage.schema.upgrade import refuse_data_loss

revision: str = "005"
down_revision: str | None = "004"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None
oldest_reader: str = "005"

UPGRADE = (
    # The newest event of each object, filled for the last days: the API's questions read no older ones.
    "ALTER TABLE etl_s3_ingest_log ADD last_event_at TIMESTAMPTZ",
    """
UPDATE etl_s3_ingest_log AS log
SET last_event_at = (SELECT max(ts) FROM twap_status AS event WHERE event.s3_object_key = log.s3_object_key)
WHERE object_date >= (SELECT max(object_date) FROM etl_s3_ingest_log) - 8
""",
    # No query uses them; an index of orders costs a sixth of the time in which they are written.
    "DROP INDEX twap_orders_wallet_started_at_idx",
    "ALTER TABLE twap_orders DROP fill_ratio",
    # The layouts of keys: which prefixes list the objects of a day.
    """
CREATE TABLE etl_s3_key_layouts (source_url TEXT NOT NULL, layout TEXT NOT NULL,
  first_seen_at TIMESTAMPTZ NOT NULL DEFAULT now(), PRIMARY KEY (source_url, layout))
""",
    # Results of the data checks by date.
    """
CREATE TABLE etl_data_check_results (check_name TEXT NOT NULL, object_date DATE NOT NULL, input_digest TEXT NOT NULL,
  violations BIGINT NOT NULL, examples JSON NOT NULL, checked_at TIMESTAMPTZ NOT NULL, duration_ms BIGINT NOT NULL,
  PRIMARY KEY (check_name, object_date))
""",
    # Archived months.
    """
CREATE TABLE etl_archived_months (month DATE PRIMARY KEY, rows BIGINT NOT NULL, sha256 TEXT NOT NULL,
  file_name TEXT NOT NULL, checksum TEXT NOT NULL, archived_at TIMESTAMPTZ NOT NULL DEFAULT now())
""",
)

DOWNGRADE = (
    "DROP TABLE etl_archived_months",
    "DROP TABLE etl_data_check_results",
    "DROP TABLE etl_s3_key_layouts",
    """
ALTER TABLE twap_orders
  ADD fill_ratio NUMERIC GENERATED ALWAYS AS (size_executed / nullif(size_requested, 0)) STORED
""",
    "CREATE INDEX twap_orders_wallet_started_at_idx ON twap_orders (wallet, started_at)",
    "ALTER TABLE etl_s3_ingest_log DROP last_event_at",
)


def upgrade() -> None:
    """Add the column and the tables; drop what no query uses."""
    for statement in UPGRADE:
        op.execute(statement)


def downgrade() -> None:
    """Undo `upgrade`, which rewrites twap_orders; refused while a table contains rows, unless data loss is allowed."""
    refuse_data_loss(
        "the downgrade to 004",
        "etl_s3_ingest_log",
        "etl_s3_key_layouts",
        "etl_data_check_results",
        "etl_archived_months",
    )
    for statement in DOWNGRADE:
        op.execute(statement)
