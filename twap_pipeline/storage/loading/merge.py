"""Merges staged rows into the status table, under the precedence rule.

Defined here: how `merge.sql` is composed and executed. Which batches are merged is decided in `status_writer`.
"""

import psycopg
from psycopg import sql
from psycopg.rows import TupleRow

from twap_pipeline.domain.row_counts import RowCounts
from twap_pipeline.domain.status import ROW_COLUMNS
from twap_pipeline.storage.sql_files import load_queries
from twap_pipeline.storage.status_sql import rank_sql

COPIED_COLUMNS: tuple[str, ...] = (*ROW_COLUMNS, "s3_object_key", "s3_last_modified")
"""Columns that a load writes. PostgreSQL sets ``inserted_at``."""

STAGING_TABLE = "twap_status_staging"
STAGED_COLUMNS: tuple[str, ...] = (*COPIED_COLUMNS, "copies")
"""Columns of `STAGING_TABLE`. ``copies``: further rows of the batch with the same key and content."""


def prepare_staging(cursor: psycopg.Cursor[TupleRow], target: str) -> None:
    """Create `STAGING_TABLE` like the status table, or empty it. PostgreSQL drops it when the transaction ends."""
    cursor.execute(_compose("prepare_staging", target), prepare=False)


def merge_staged(cursor: psycopg.Cursor[TupleRow], target: str) -> RowCounts:
    """Merge the staged rows into the status table and return their row counts.

    Rows that stay as they are stored are neither locked nor rewritten. A row that loses to a concurrent transaction
    counts as superseded.

    Args:
        cursor: In the transaction that filled `STAGING_TABLE`; no key may occur there twice.
        target: Name of the status table.
    """
    (counts,) = cursor.execute(_compose("merge_staged", target), prepare=False)
    return RowCounts(*map(int, counts))


def _compose(query: str, target: str) -> sql.Composed:
    return sql.SQL(load_queries(__package__, "merge.sql")[query]).format(
        target=sql.Identifier(target),
        staged_rank=sql.SQL(rank_sql("staged.status")),
        stored_rank=sql.SQL(rank_sql("stored.status")),
        excluded_rank=sql.SQL(rank_sql("excluded.status")),
    )
