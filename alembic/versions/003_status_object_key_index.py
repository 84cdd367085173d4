"""Two indexes of the events: by object key for the refresh of orders and the audit, by order for the API's pages.

CREATE INDEX CONCURRENTLY does not block writers. A cancelled build leaves an invalid index; the upgrade drops it first.

Revision ID: 003
Revises: 002
Create Date: 2026-11-26
"""

from collections.abc import Sequence

from alembic import op
from sqlalchemy import text

revision: str = "003"
down_revision: str | None = "002"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None
oldest_reader: str = "002"

INDEXES = {
    "twap_status_s3_object_key_idx": ["s3_object_key"],
    # The numeric order of twap_id, whose values are digits without leading zeros.
    "twap_status_wallet_order_idx": ["wallet", text("length(twap_id)"), "twap_id", "ts"],
}


def upgrade() -> None:
    """Build the indexes concurrently."""
    with op.get_context().autocommit_block():
        for name, columns in INDEXES.items():
            op.drop_index(name, "twap_status", if_exists=True, postgresql_concurrently=True)
            op.create_index(name, "twap_status", columns, postgresql_concurrently=True)


def downgrade() -> None:
    """Drop the indexes; no data is lost."""
    with op.get_context().autocommit_block():
        for name in INDEXES:
            op.drop_index(name, "twap_status", postgresql_concurrently=True)
