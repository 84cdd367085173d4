"""Table statistics as autovacuum leaves them when it analyzes a table during its first, uncommitted load."""

from sqlalchemy import Engine, text

TABLES = (
    *("twap_status", "twap_orders", "twap_fills"),
    *("etl_s3_ingest_log", "etl_s3_ingest_history", "twap_status_quarantine"),
)

_SET_EMPTY = """
UPDATE pg_class SET reltuples = 0, relpages = greatest(relpages, 100) WHERE oid IN (
  SELECT oid FROM pg_class WHERE relname = ANY(:tables)
  UNION SELECT indexrelid FROM pg_index WHERE indrelid::regclass::text = ANY(:tables))
"""
_DELETE_COLUMN_STATISTICS = "DELETE FROM pg_statistic WHERE starelid::regclass::text = ANY(:tables)"


def set_empty_statistics(engine: Engine) -> None:
    """Set ``reltuples = 0`` for our tables and their indexes, and switch off autovacuum, which would correct it.

    The planner ignores ``reltuples`` unless ``relpages`` is positive.
    """
    with engine.begin() as connection:
        for table in TABLES:
            connection.execute(text(f"ALTER TABLE {table} SET (autovacuum_enabled = off)"))
        for statement in (_SET_EMPTY, _DELETE_COLUMN_STATISTICS):
            connection.execute(text(statement), {"tables": list(TABLES)})
