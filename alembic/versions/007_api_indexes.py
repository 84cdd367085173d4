"""Indexes of the API's lists: orders by number, wallet, asset and latest time; events by time.

CREATE INDEX CONCURRENTLY does not block writers. A cancelled build leaves an invalid index; the upgrade drops it first.
An index of a partitioned table cannot be built concurrently: there, writers wait for the build.

Revision ID: 007
Revises: 006
Create Date: 2026-11-27
"""

from collections.abc import Sequence

from alembic import context, op
from sqlalchemy import text

revision: str = "007"
down_revision: str | None = "006"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None
oldest_reader: str = "005"

# The numeric order of twap_id, whose values are digits without leading zeros.
INDEXES = {
    "twap_orders_order_idx": ("twap_orders", [text("length(twap_id)"), "twap_id", "wallet"]),
    "twap_orders_wallet_order_idx": ("twap_orders", ["wallet", text("length(twap_id)"), "twap_id"]),
    "twap_orders_asset_order_idx": ("twap_orders", ["asset", text("length(twap_id)"), "twap_id", "wallet"]),
    "twap_orders_last_status_at_idx": ("twap_orders", ["last_status_at"]),
    "twap_status_ts_idx": ("twap_status", ["ts"]),
}


def upgrade() -> None:
    """Build the indexes, concurrently where PostgreSQL can."""
    _for_each_index(create=True)


def downgrade() -> None:
    """Drop the indexes; no data is lost."""
    _for_each_index(create=False)


def _for_each_index(*, create: bool) -> None:
    with op.get_context().autocommit_block():
        for name, (table, columns) in INDEXES.items():
            concurrently = not _is_partitioned(table)
            op.drop_index(name, table, if_exists=True, postgresql_concurrently=concurrently)
            if create:
                op.create_index(name, table, columns, postgresql_concurrently=concurrently)


def _is_partitioned(table: str) -> bool:
    if context.is_offline_mode():
        return False
    statement = text("SELECT relkind = 'p' FROM pg_class WHERE oid = to_regclass(:table)")
    return bool(op.get_bind().scalar(statement, {"table": table}))
