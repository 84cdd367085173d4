"""One row per order, the daily figures over it, and the ledger's word on which objects it has taken in.

Revision ID: 004
Revises: 003
Create Date: 2026-11-22
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "004"
down_revision: str | None = "003"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

DAILY_STATS = """
CREATE VIEW twap_daily_stats AS
SELECT start_date AS day, asset, side, status, count(*) AS order_count, count(DISTINCT wallet) AS wallet_count,
  count(*) FILTER (WHERE is_underfilled) AS underfilled_order_count, sum(size_requested) AS size_requested,
  sum(size_executed) AS size_executed, sum(notional_executed) AS notional_executed
FROM twap_orders GROUP BY start_date, asset, side, status
"""


def upgrade() -> None:
    """Create the table empty: every loaded object counts as not yet taken in, and the next refresh fills it."""
    op.create_table(
        "twap_orders",
        sa.Column("twap_id", sa.Text, nullable=False),
        sa.Column("wallet", sa.Text, nullable=False),
        sa.Column("asset", sa.Text),
        sa.Column("side", sa.Text),
        sa.Column("size_requested", sa.Numeric),
        sa.Column("size_executed", sa.Numeric),
        sa.Column("notional_executed", sa.Numeric),
        sa.Column(
            "fill_ratio",
            sa.Numeric,
            sa.Computed("size_executed / NULLIF(size_requested, (0)::numeric)", persisted=True),
        ),
        sa.Column(
            "average_price",
            sa.Numeric,
            sa.Computed("notional_executed / NULLIF(size_executed, (0)::numeric)", persisted=True),
        ),
        sa.Column(
            "is_underfilled",
            sa.Boolean,
            sa.Computed("ended_at IS NOT NULL AND size_executed < size_requested", persisted=True),
        ),
        sa.Column("status", sa.Text),
        sa.Column("status_error", sa.Text),
        sa.Column("last_status_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True)),
        sa.Column(
            "start_date",
            sa.Date,
            sa.Computed("(COALESCE(started_at, first_event_at) AT TIME ZONE 'UTC'::text)::date", persisted=True),
        ),
        sa.Column("ended_at", sa.DateTime(timezone=True)),
        sa.Column("duration_minutes", sa.Integer),
        sa.Column("reduce_only", sa.Boolean),
        sa.Column("randomize", sa.Boolean),
        sa.Column("event_count", sa.Integer, nullable=False),
        sa.Column("first_event_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("first_object_key", sa.Text, nullable=False),
        sa.Column("last_object_key", sa.Text, nullable=False),
        sa.Column("refreshed_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.PrimaryKeyConstraint("twap_id", "wallet"),
    )
    op.create_index("twap_orders_wallet_started_at_idx", "twap_orders", ["wallet", "started_at"])
    op.create_index("twap_orders_wallet_last_status_at_idx", "twap_orders", ["wallet", "last_status_at"])
    op.create_index("twap_orders_start_date_asset_idx", "twap_orders", ["start_date", "asset"])
    op.create_index(
        "twap_orders_active_idx", "twap_orders", ["last_status_at"], postgresql_where=sa.text("ended_at IS NULL")
    )
    op.execute(DAILY_STATS)
    op.add_column("etl_s3_ingest_log", sa.Column("orders_refreshed_at", sa.DateTime(timezone=True)))


def downgrade() -> None:
    """Drop them; refused while there are orders, unless asked for by name."""
    from twap_pipeline.storage.schema.upgrade import refuse_data_loss

    refuse_data_loss("dropping the order-level table", "twap_orders")
    op.drop_column("etl_s3_ingest_log", "orders_refreshed_at")
    op.execute("DROP VIEW twap_daily_stats")
    op.drop_table("twap_orders")
