"""The digest of the bytes that were loaded, by which bytes that are sent again are known.

Revision ID: 005
Revises: 004
Create Date: 2026-11-23
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "005"
down_revision: str | None = "004"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    """Add the column; entries from before have none, and their objects are read once more if they are sent again."""
    op.add_column("etl_s3_ingest_log", sa.Column("sha256", sa.Text))


def downgrade() -> None:
    """Drop it: the objects' bytes give it again."""
    op.drop_column("etl_s3_ingest_log", "sha256")
