"""The tables at Alembic's head, declared in SQLAlchemy. A test asserts that the migrations create exactly these.

Add every table, column, constraint and index here and in a migration.
"""

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Computed,
    Connection,
    Date,
    DateTime,
    ForeignKeyConstraint,
    Identity,
    Index,
    Integer,
    MetaData,
    Numeric,
    PrimaryKeyConstraint,
    Table,
    Text,
    event,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from twap_pipeline.storage.sql_files import load_queries

metadata = MetaData(
    naming_convention={
        "pk": "%(table_name)s_pkey",
        "ix": "%(table_name)s_%(column_0_N_name)s_idx",
        "uq": "%(table_name)s_%(column_0_N_name)s_key",
        "fk": "%(table_name)s_%(column_0_N_name)s_fkey",
        "ck": "%(table_name)s_%(constraint_name)s_check",
    }
)

ALEMBIC_VERSION_TABLE = "twap_alembic_version"
"""Dagster's storage uses ``alembic_version``; both may share a database."""


def _timestamp(name: str, *, nullable: bool = True, default_now: bool = False) -> Column[object]:
    return Column(name, DateTime(timezone=True), nullable=nullable, server_default=func.now() if default_now else None)


twap_status = Table(
    "twap_status",
    metadata,
    Column("twap_id", Text, primary_key=True),
    Column("wallet", Text, primary_key=True),
    Column("ts", DateTime(timezone=True), primary_key=True),
    Column("asset", Text),
    Column("side", Text),
    Column("size_requested", Numeric),
    Column("size_executed", Numeric),
    Column("notional_executed", Numeric),
    Column("status", Text),
    Column("duration_minutes", Integer),
    Column("s3_object_key", Text, nullable=False),
    Column("raw_payload", JSON),
    _timestamp("inserted_at", nullable=False, default_now=True),
    _timestamp("started_at"),
    Column("status_error", Text),
    Column("reduce_only", Boolean),
    Column("randomize", Boolean),
    _timestamp("s3_last_modified"),
    Index(None, "wallet", "ts"),
    Index(None, "twap_id"),
    Index(None, "asset"),
    Index(None, "s3_object_key"),
    Index(None, "ts"),
)

Index(
    "twap_status_wallet_order_idx",
    twap_status.c.wallet,
    func.length(twap_status.c.twap_id),
    twap_status.c.twap_id,
    twap_status.c.ts,
)

PHASES = ("reading", "decoding", "writing")
"""Phases of an attempt to load an object; the log records the milliseconds of each."""

_ROW_OUTCOMES = ("inserted", "updated", "unchanged", "superseded", "quarantined", "metadata")

etl_s3_ingest_log = Table(
    "etl_s3_ingest_log",
    metadata,
    Column("s3_object_key", Text, nullable=False),
    _timestamp("last_modified", nullable=False),
    Column("rows_ingested", Integer),
    Column("error_text", Text),
    Column("ingested_at", DateTime(timezone=True), nullable=False, index=True),
    Column("etag", Text),
    Column("size_bytes", BigInteger),
    Column("sha256", Text),
    Column("object_date", Date, index=True),
    Column("failed_attempts", Integer, nullable=False, server_default=text("0")),
    Column("rows_read", Integer),
    *(Column(f"rows_{outcome}", Integer) for outcome in _ROW_OUTCOMES),
    Column("data_warnings", JSONB),
    Column("checksum_verified", Boolean),
    Column("dagster_run_id", Text),
    _timestamp("orders_refreshed_at"),
    Column("bytes_fetched", BigInteger),
    Column("source_url", Text, index=True),
    _timestamp("last_event_at"),
    *(Column(f"{phase}_ms", Integer) for phase in PHASES),
    Column("data_set", Text, nullable=False, server_default="twap_status"),
    PrimaryKeyConstraint("data_set", "s3_object_key"),
    CheckConstraint("rows_read = " + " + ".join(f"rows_{outcome}" for outcome in _ROW_OUTCOMES), name="row_counts_sum"),
)
"""One row per object of a data set: the current version, and whether it is loaded."""

Index(
    "etl_s3_ingest_log_not_loaded_idx",
    etl_s3_ingest_log.c.data_set,
    etl_s3_ingest_log.c.s3_object_key,
    postgresql_where=etl_s3_ingest_log.c.error_text.is_not(None),
)
Index(
    "etl_s3_ingest_log_orders_pending_idx",
    etl_s3_ingest_log.c.object_date,
    postgresql_where=text("orders_refreshed_at IS NULL AND data_set = 'twap_status'::text"),
)

etl_s3_ingest_history = Table(
    "etl_s3_ingest_history",
    metadata,
    Column("history_id", BigInteger, Identity(always=True), primary_key=True),
    Column("s3_object_key", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("etag", Text),
    _timestamp("last_modified"),
    Column("size_bytes", BigInteger),
    Column("sha256", Text),
    Column("ingested_at", DateTime(timezone=True), index=True),
    Column("rows_read", Integer),
    *(Column(f"rows_{outcome}", Integer) for outcome in _ROW_OUTCOMES),
    Column("dagster_run_id", Text),
    _timestamp("recorded_at", nullable=False, default_now=True),
    Column("bytes_fetched", BigInteger),
    Column("source_url", Text),
    Column("error_text", Text),
    *(Column(f"{phase}_ms", Integer) for phase in PHASES),
    Column("data_set", Text, nullable=False, server_default="twap_status"),
    CheckConstraint(
        "kind IN ('replaced_version', 'failed_attempt', 'deep_audit', 'reuploaded_unchanged', 'requeued',"
        " 'adjustment')",
        name="kind",
    ),
    ForeignKeyConstraint(
        ["data_set", "s3_object_key"],
        ["etl_s3_ingest_log.data_set", "etl_s3_ingest_log.s3_object_key"],
        name="etl_s3_ingest_history_s3_object_key_fkey",
        ondelete="CASCADE",
    ),
    Index("etl_s3_ingest_history_s3_object_key_idx", "data_set", "s3_object_key"),
)
"""One row per event in the past of an object. The meaning of the columns depends on ``kind``:

- ``replaced_version``: a loaded version that another version replaced; all columns are that version's.
- ``failed_attempt``: a failed attempt that a later attempt replaced; it has ``error_text`` and no row counts.
- ``deep_audit``: ``bytes_fetched`` by a deep audit at ``ingested_at``, in the history of the first object that it read.
- ``requeued``: a loaded version that a repair requeued; all columns are that version's.
- ``reuploaded_unchanged``: written before revision 004: the same bytes under another ETag; the former ``etag``, the
  upload's ``last_modified``.
- ``adjustment``: ``rows_inserted`` corrects the sum of all rows after a repair; it may be negative.
"""

etl_s3_ingest_attempts = Table(
    "etl_s3_ingest_attempts",
    metadata,
    Column("s3_object_key", Text, nullable=False),
    Column("etag", Text, nullable=False),
    Column("size_bytes", BigInteger),
    Column("is_alone", Boolean, nullable=False, server_default=text("false")),
    _timestamp("started_at", nullable=False, default_now=True),
    Column("data_set", Text, nullable=False, server_default="twap_status"),
    PrimaryKeyConstraint("data_set", "s3_object_key"),
)
"""One row per object that a process is loading. A row without a process means that the process ended abnormally."""

etl_s3_key_layouts = Table(
    "etl_s3_key_layouts",
    metadata,
    Column("source_url", Text, primary_key=True),
    Column("layout", Text, primary_key=True),
    _timestamp("first_seen_at", nullable=False, default_now=True),
)
"""One row per layout of a source's keys; see `domain.object_ref.key_layout`."""

twap_status_quarantine = Table(
    "twap_status_quarantine",
    metadata,
    Column("s3_object_key", Text, primary_key=True),
    Column("row_number", BigInteger, primary_key=True),
    Column("raw_row", JSON, nullable=False),
    Column("reason", Text, nullable=False),
    _timestamp("quarantined_at", nullable=False, default_now=True),
)

etl_archived_months = Table(
    "etl_archived_months",
    metadata,
    Column("month", Date, primary_key=True),
    Column("rows", BigInteger, nullable=False),
    Column("sha256", Text, nullable=False),
    Column("file_name", Text, nullable=False),
    Column("checksum", Text, nullable=False),
    _timestamp("archived_at", nullable=False, default_now=True),
)
"""One row per month of ``twap_status`` whose events are in a file and not in the table."""

twap_orders = Table(
    "twap_orders",
    metadata,
    Column("twap_id", Text, primary_key=True),
    Column("wallet", Text, primary_key=True),
    Column("asset", Text),
    Column("side", Text),
    Column("size_requested", Numeric),
    Column("size_executed", Numeric),
    Column("notional_executed", Numeric),
    Column(
        "average_price", Numeric, Computed("notional_executed / NULLIF(size_executed, (0)::numeric)", persisted=True)
    ),
    Column(
        "is_underfilled", Boolean, Computed("ended_at IS NOT NULL AND size_executed < size_requested", persisted=True)
    ),
    Column("status", Text),
    Column("status_error", Text),
    _timestamp("last_status_at", nullable=False),
    _timestamp("started_at"),
    Column(
        "start_date",
        Date,
        Computed("(COALESCE(started_at, first_event_at) AT TIME ZONE 'UTC'::text)::date", persisted=True),
    ),
    _timestamp("ended_at"),
    Column("duration_minutes", Integer),
    Column("reduce_only", Boolean),
    Column("randomize", Boolean),
    Column("event_count", Integer, nullable=False),
    _timestamp("first_event_at", nullable=False),
    Column("first_object_key", Text, nullable=False),
    Column("last_object_key", Text, nullable=False),
    _timestamp("refreshed_at", nullable=False, default_now=True),
    Index(None, "wallet", "last_status_at"),
    Index(None, "start_date", "asset"),
    Index(None, "last_status_at"),
)
Index("twap_orders_active_idx", twap_orders.c.last_status_at, postgresql_where=twap_orders.c.ended_at.is_(None))
_ORDER = (func.length(twap_orders.c.twap_id), twap_orders.c.twap_id)  # the numeric order of twap_id
Index("twap_orders_order_idx", *_ORDER, twap_orders.c.wallet)
Index("twap_orders_wallet_order_idx", twap_orders.c.wallet, *_ORDER)
Index("twap_orders_asset_order_idx", twap_orders.c.asset, *_ORDER, twap_orders.c.wallet)

twap_daily_stats = Table(
    "twap_daily_stats",
    MetaData(),  # a view: `metadata` contains only tables to create and compare
    Column("day", Date),
    Column("asset", Text),
    Column("side", Text),
    Column("status", Text),
    Column("order_count", BigInteger),
    Column("wallet_count", BigInteger),
    Column("underfilled_order_count", BigInteger),
    Column("size_requested", Numeric),
    Column("size_executed", Numeric),
    Column("notional_executed", Numeric),
)

twap_fills = Table(
    "twap_fills",
    metadata,
    Column("trade_id", Text, primary_key=True),
    Column("wallet", Text, primary_key=True),
    Column("twap_id", Text, nullable=False),
    _timestamp("ts", nullable=False),
    Column("asset", Text, nullable=False),
    Column("market", Text),
    Column("dex", Text),
    Column("base_symbol", Text),
    Column("quote_symbol", Text),
    Column("side", Text, nullable=False),
    Column("direction", Text),
    Column("price", Numeric, nullable=False),
    Column("size", Numeric, nullable=False),
    Column("realized_pnl", Numeric),
    Column("start_position", Numeric),
    Column("fee", Numeric),
    Column("fee_token", Text),
    Column("builder_fee", Numeric),
    Column("deployer_fee", Numeric),
    Column("priority_fee", Numeric),
    Column("order_id", Text),
    Column("is_taker", Boolean),
    Column("other_fields", JSON),
    Column("s3_object_key", Text, nullable=False),
    _timestamp("s3_last_modified", nullable=False),
    _timestamp("inserted_at", nullable=False, default_now=True),
    Index("twap_fills_order_idx", "twap_id", "wallet", "ts"),
    Index(None, "wallet", "ts"),
    Index(None, "s3_object_key"),
)
"""One row per fill of a TWAP order: a slice that was executed, with its fees; see `domain.fills`."""

twap_fills_quarantine = Table(
    "twap_fills_quarantine",
    metadata,
    Column("s3_object_key", Text, primary_key=True),
    Column("row_number", BigInteger, primary_key=True),
    Column("raw_row", JSON, nullable=False),
    Column("reason", Text, nullable=False),
    _timestamp("quarantined_at", nullable=False, default_now=True),
)

twap_order_fills = Table(
    "twap_order_fills",
    MetaData(),
    Column("twap_id", Text),
    Column("wallet", Text),
    Column("asset", Text),
    Column("fill_count", BigInteger),
    _timestamp("first_fill_at"),
    _timestamp("last_fill_at"),
    Column("size_filled", Numeric),
    Column("notional_filled", Numeric),
    Column("realized_pnl", Numeric),
    Column("fee", Numeric),
    Column("fee_token", Text),
)
"""A view: the fills of each order, summed."""

twap_order_reconciliation = Table(
    "twap_order_reconciliation",
    MetaData(),
    Column("twap_id", Text),
    Column("wallet", Text),
    Column("asset", Text),
    _timestamp("started_at"),
    _timestamp("first_event_at"),
    _timestamp("ended_at"),
    _timestamp("last_status_at"),
    Column("fill_count", BigInteger),
    Column("size_executed", Numeric),
    Column("size_filled", Numeric),
    Column("notional_executed", Numeric),
    Column("notional_filled", Numeric),
    _timestamp("first_fill_at"),
    _timestamp("last_fill_at"),
    Column("realized_pnl", Numeric),
    Column("fee", Numeric),
    Column("fee_token", Text),
    Column("state", Text),
)
"""A view: whether the fills of each order add up to its executed totals."""

spot_pairs = Table(
    "spot_pairs",
    metadata,
    Column("pair_index", Integer, primary_key=True, autoincrement=False),
    Column("valid_from", DateTime(timezone=True), primary_key=True),
    _timestamp("valid_to"),
    Column("base", Text, nullable=False),
    Column("quote", Text, nullable=False),
    Column("source", Text, nullable=False),
    _timestamp("recorded_at", nullable=False, default_now=True),
    CheckConstraint("valid_to > valid_from", name="validity"),
)
"""One row per spot pair and range of time in which its names are valid; see `domain.symbols`."""

etl_data_check_results = Table(
    "etl_data_check_results",
    metadata,
    Column("check_name", Text, primary_key=True),
    Column("object_date", Date, primary_key=True),
    Column("input_digest", Text, nullable=False),
    Column("violations", BigInteger, nullable=False),
    Column("examples", JSON, nullable=False),
    _timestamp("checked_at", nullable=False),
    Column("duration_ms", BigInteger, nullable=False),
)
"""One row per data check and UTC date of objects: the result of the last evaluation. See ``data_check_runs``."""

VIEWS = load_queries(__package__, "views.sql")
"""Name of a view → its SELECT."""


@event.listens_for(metadata, "after_create")
def _create_views(_metadata: MetaData, connection: Connection, **_arguments: object) -> None:
    for name, query in VIEWS.items():
        connection.exec_driver_sql(f"CREATE VIEW {name} AS {query}")
