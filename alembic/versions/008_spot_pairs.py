"""The names of spot pairs.

Revision ID: 008
Revises: 007
Create Date: 2026-11-27
"""

from collections.abc import Sequence

from alembic import op

from twap_pipeline.storage.schema.upgrade import refuse_data_loss
from twap_pipeline.storage.symbols.spot_pairs import INSERT_SNAPSHOT

revision: str = "008"
down_revision: str | None = "007"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None
oldest_reader: str = "005"

CREATE_TABLE = """
CREATE TABLE spot_pairs (pair_index INTEGER NOT NULL, valid_from TIMESTAMPTZ NOT NULL, valid_to TIMESTAMPTZ,
  base TEXT NOT NULL, quote TEXT NOT NULL, source TEXT NOT NULL, recorded_at TIMESTAMPTZ NOT NULL DEFAULT now(),
  PRIMARY KEY (pair_index, valid_from),
  CONSTRAINT spot_pairs_validity_check CHECK (valid_to > valid_from))
"""


def upgrade() -> None:
    """Add the table and insert the shipped snapshot."""
    op.execute(CREATE_TABLE)
    op.execute(INSERT_SNAPSHOT)


def downgrade() -> None:
    """Drop the table; refused while it contains names of the exchange, unless data loss is allowed explicitly."""
    op.execute("DELETE FROM spot_pairs WHERE source LIKE 'snapshot of %'")  # `upgrade` inserts them again
    refuse_data_loss("the downgrade to 007", "spot_pairs")
    op.execute("DROP TABLE spot_pairs")
