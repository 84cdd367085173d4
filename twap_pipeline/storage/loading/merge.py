"""Merges staged rows into the table of a data set, under the precedence rule.

Defined here: how `merge.sql` is composed and executed. Which batches are merged is decided in `row_writer`.
"""

from functools import cache

import psycopg
from psycopg import sql
from psycopg.rows import TupleRow

from twap_pipeline.domain.data_set import DataSet
from twap_pipeline.domain.row_counts import RowCounts
from twap_pipeline.storage.data_set_sql import column_list, compose
from twap_pipeline.storage.sql_files import load_queries
from twap_pipeline.storage.status_sql import rank_sql

_OBJECT_COLUMNS = ("s3_object_key", "s3_last_modified")


def copied_columns(data_set: DataSet) -> tuple[str, ...]:
    """Return the columns that a load writes. PostgreSQL sets ``inserted_at``."""
    return (*data_set.row_columns, *_OBJECT_COLUMNS)


def staged_columns(data_set: DataSet) -> tuple[str, ...]:
    """Return the columns of the staging table.

    ``copies``: further rows of the batch with the same key and content.
    """
    return (*copied_columns(data_set), "copies")


def staging_table(data_set: DataSet) -> str:
    """Return the name of the temporary table of the rows to merge."""
    return f"{data_set.name}_staging"


def prepare_staging(cursor: psycopg.Cursor[TupleRow], data_set: DataSet, target: str) -> None:
    """Create the staging table like the data set's table, or empty it. PostgreSQL drops it with the transaction's end.

    Args:
        cursor: In the transaction.
        data_set: Data set of the rows.
        target: Name of the data set's table, or of a table like it.
    """
    cursor.execute(_compose("prepare_staging", data_set, target=sql.Identifier(target)), prepare=False)


def merge_staged(
    cursor: psycopg.Cursor[TupleRow],
    data_set: DataSet,
    target: str,
    start: str = "-infinity",
    end: str = "infinity",
) -> RowCounts:
    """Merge the staged rows into a table and return their row counts.

    Rows that stay as they are stored are neither locked nor rewritten. A row that loses to a concurrent transaction
    counts as superseded.

    Args:
        cursor: In the transaction that filled the staging table; no key may occur there twice.
        data_set: Data set of the rows.
        target: Name of the data set's table, of a table like it, or of a partition of it.
        start: First time ``ts`` of the rows to merge.
        end: Time ``ts`` after the rows to merge.
    """
    query = _compose(
        "merge_staged", data_set, target=sql.Identifier(target), start=sql.Literal(start), end=sql.Literal(end)
    )
    (counts,) = cursor.execute(query, prepare=False)
    return RowCounts(*map(int, counts))


def _compose(query: str, data_set: DataSet, **names: sql.Composable) -> bytes:
    merge_query = load_queries(__package__, "merge.sql")[query]
    return compose(merge_query, data_set, **_placeholders(data_set), **names).encode()


@cache
def _placeholders(data_set: DataSet) -> dict[str, sql.Composable]:
    """Return the placeholders of ``merge.sql`` that the columns of the data set determine."""
    key, content, columns = data_set.key_columns, data_set.content_columns, copied_columns(data_set)
    json_column, other_columns = data_set.json_column, columns[len(key) :]
    status = data_set.status_column
    ranks = {row: rank_sql(f"{row}.{status}") if status else "0" for row in ("staged", "stored", "excluded")}
    return {
        "staging": sql.Identifier(staging_table(data_set)),
        "columns": column_list(columns),
        "columns_as_text": column_list(columns, "{column}", {json_column: "{column}::text AS {column}"}),
        "columns_as_json": column_list(columns, "{column}", {json_column: "{column}::json"}),
        "staged_content": column_list(content, "staged.{column}"),
        "stored_content": column_list(content, "stored.{column}", {json_column: "stored.{column}::text"}),
        "assignments": column_list(other_columns, "{column} = excluded.{column}"),
        "key_order": column_list(key, '{column} COLLATE "C"', {"ts": "{column}"}),
        "is_same_key": column_list(
            key,
            "candidate.{column} IS NOT DISTINCT FROM staged.{column}",
            {key[0]: "candidate.{column} = staged.{column}"},
            separator=" AND ",
        ),
        **{f"{row}_rank": sql.SQL(rank) for row, rank in ranks.items()},
    }
