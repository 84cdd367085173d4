"""Table statistics as autovacuum leaves them when it analyzes a table during its first, uncommitted load."""

from sqlalchemy import Engine, text

_SET_EMPTY = """
UPDATE pg_class SET reltuples = 0, relpages = greatest(relpages, 100) WHERE oid IN (
  SELECT oid FROM pg_class WHERE relname IN ('twap_status', 'twap_orders', 'etl_s3_ingest_log', 'etl_s3_ingest_history')
  UNION SELECT indexrelid FROM pg_index WHERE indrelid IN ('twap_status'::regclass, 'twap_orders'::regclass));
DELETE FROM pg_statistic WHERE starelid IN ('twap_status'::regclass, 'twap_orders'::regclass)
"""


def set_empty_statistics(engine: Engine) -> None:
    """Set ``reltuples = 0`` for our tables and their indexes, and switch off autovacuum, which would correct it.

    The planner ignores ``reltuples`` unless ``relpages`` is positive.
    """
    with engine.begin() as connection:
        for table in ("twap_status", "twap_orders"):
            connection.execute(text(f"ALTER TABLE {table} SET (autovacuum_enabled = off)"))
        connection.execute(text(_SET_EMPTY))
