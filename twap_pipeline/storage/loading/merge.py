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
    query = sql.SQL(load_queries(__package__, "merge.sql")["prepare_staging"]).format(target=sql.Identifier(target))
    cursor.execute(query, prepare=False)


def merge_staged(
    cursor: psycopg.Cursor[TupleRow], target: str, start: str = "-infinity", end: str = "infinity"
) -> RowCounts:
    """Merge the staged rows into the status table and return their row counts.

    Rows that stay as they are stored are neither locked nor rewritten. A row that loses to a concurrent transaction
    counts as superseded.

    Args:
        cursor: In the transaction that filled `STAGING_TABLE`; no key may occur there twice.
        target: Name of the status table, or of a partition of it.
        start: First event time of the rows to merge.
        end: Event time after the rows to merge.
    """
    query = sql.SQL(load_queries(__package__, "merge.sql")["merge_staged"]).format(
        target=sql.Identifier(target),
        start=sql.Literal(start),
        end=sql.Literal(end),
        staged_rank=sql.SQL(rank_sql("staged.status")),
        stored_rank=sql.SQL(rank_sql("stored.status")),
        excluded_rank=sql.SQL(rank_sql("excluded.status")),
    )
    (counts,) = cursor.execute(query, prepare=False)
    return RowCounts(*map(int, counts))
