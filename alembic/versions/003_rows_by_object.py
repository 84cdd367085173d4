"""An index from an object to its rows: what the order-level table and the audit ask for.

Built beside the writers. A build that was killed leaves an invalid index, so what is there is dropped first.

Revision ID: 003
Revises: 002
Create Date: 2026-11-22
"""

from collections.abc import Sequence

from alembic import op

revision: str = "003"
down_revision: str | None = "002"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

INDEX = "twap_status_s3_object_key_idx"


def upgrade() -> None:
    """Build the index without blocking whoever writes."""
    with op.get_context().autocommit_block():
        op.drop_index(INDEX, "twap_status", if_exists=True, postgresql_concurrently=True)
        op.create_index(INDEX, "twap_status", ["s3_object_key"], postgresql_concurrently=True)


def downgrade() -> None:
    """Drop the index."""
    with op.get_context().autocommit_block():
        op.drop_index(INDEX, "twap_status", postgresql_concurrently=True)
