"""Writes the rows of one object into the table of its data set and counts the outcome of each row.

When several rows have the same key, the precedence rule decides which one is stored: of statuses the later lifecycle
status, then the row of the newer object (LastModified, then key), then the later row. The result does not depend on the
order, repetition or concurrency of loading.

A batch is written in one of two ways. If all keys are new, COPY writes it into the table under a SAVEPOINT. Otherwise
COPY writes it into a staging table, and `merge` merges that. Defined here: encoding and the choice between the two.

If the table is partitioned by month, missing months are created first, and a batch is merged into each partition.
"""

import io
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, date

import polars as pl
import psycopg
from psycopg import sql
from psycopg.rows import TupleRow
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from twap_pipeline.domain.data_set import TWAP_STATUS, DataSet
from twap_pipeline.domain.months import next_month, start_of
from twap_pipeline.domain.normalized_batch import NormalizedBatch
from twap_pipeline.domain.object_errors import object_errors
from twap_pipeline.domain.object_ref import ObjectRef
from twap_pipeline.domain.row_counts import RowCounts
from twap_pipeline.domain.status import STATUS_RANK, UNKNOWN_STATUS_RANK
from twap_pipeline.domain.timestamps import months_of
from twap_pipeline.errors import ObjectInvalidError
from twap_pipeline.failpoints import failpoint
from twap_pipeline.storage.engine.session import psycopg_connection
from twap_pipeline.storage.loading.copy_text import copy_text
from twap_pipeline.storage.loading.merge import (
    copied_columns,
    merge_staged,
    prepare_staging,
    staged_columns,
    staging_table,
)
from twap_pipeline.storage.months.partitions import StatusTable, find_partitioned, partition_name, require_months

MAX_QUARANTINED_ROWS = 100_000
"""`load_rows` refuses an object with more quarantined rows than this: it is not of this feed."""

_QUARANTINE_COLUMNS = ("s3_object_key", "row_number", "raw_row", "reason")


@dataclass(frozen=True, slots=True)
class CopyBatch:
    """Encoded rows of an object, one per key.

    Args:
        text: The rows as COPY text, columns `copied_columns`, sorted by key: concurrent loaders lock shared rows in
            one order.
        copies: Per row of ``text``, how many further rows of the batch have the same key and content.
        superseded: Rows of the batch that another row of the batch supersedes.
        quarantined: Rows that could not be normalized: ``row_number``, ``raw_row``, ``reason``.
        metadata_rows: Number of rows that are not of the data set.
        months: The UTC months of the rows.
    """

    text: bytes
    copies: Sequence[int]
    superseded: int
    quarantined: pl.DataFrame
    metadata_rows: int
    months: Collection[date]


def encode_batch(ref: ObjectRef, batch: NormalizedBatch, data_set: DataSet = TWAP_STATUS) -> CopyBatch:
    """Return the rows of a batch as COPY text, duplicates of a key resolved by the precedence rule.

    Raises:
        ObjectInvalidError: The rows cannot be encoded.
    """
    with object_errors(ref.key, "cannot be encoded"):
        sorted_rows = batch.rows.select(data_set.row_columns).sort(data_set.key_columns, maintain_order=True)
        rows, copies = _resolve_duplicates(sorted_rows, data_set)
        full = rows.with_columns(
            pl.lit(ref.key).alias("s3_object_key"),
            pl.lit(f"{ref.last_modified.astimezone(UTC):%Y-%m-%d %H:%M:%S.%f}+00").alias("s3_last_modified"),
        )
        text = copy_text(full)
        superseded = batch.rows.height - rows.height - sum(copies)
        return CopyBatch(text, copies, superseded, batch.rejected, batch.metadata_rows, months_of(rows["ts"]))


def _resolve_duplicates(rows: pl.DataFrame, data_set: DataSet) -> tuple[pl.DataFrame, Sequence[int]]:
    """Return the row with the highest precedence per key, and how many copies of it there were.

    Args:
        rows: The row columns, sorted by key; rows with equal keys in the object's order.
        data_set: Data set of the rows.
    """
    key = data_set.key_columns
    repeats_key = rows.select(pl.all_horizontal(pl.col(name) == pl.col(name).shift() for name in key)).to_series()
    if not repeats_key.any():
        return rows, [0] * rows.height
    winners = rows
    if data_set.status_column is not None:
        status = pl.col(data_set.status_column)
        rank = status.replace_strict(STATUS_RANK, default=UNKNOWN_STATUS_RANK, return_dtype=pl.Int8)
        winners = rows.sort(*key, rank, maintain_order=True)
    winners = winners.unique(key, keep="last", maintain_order=True)
    identical = [*data_set.row_columns]
    sizes = winners.join(
        rows.group_by(identical).len(), on=identical, how="left", nulls_equal=True, maintain_order="left"
    )
    return winners, [size - 1 for size in sizes["len"]]


@contextmanager
def data_errors(key: str) -> Iterator[None]:
    """Raise `ObjectInvalidError` if PostgreSQL, or psycopg, refuses a value of the object within the block.

    These are errors of the SQLSTATE classes 22 (data exception) and 54 (program limit exceeded). All others are raised
    unchanged.
    """
    try:
        yield
    except (psycopg.Error, DBAPIError) as error:
        cause = error.orig if isinstance(error, DBAPIError) else error
        if not isinstance(cause, psycopg.Error) or not _is_data_error(cause):
            raise
        context = f" ({cause.diag.context})" if cause.diag.context else ""
        text = cause.diag.message_primary or str(cause)
        raise ObjectInvalidError(
            key, f"PostgreSQL cannot store one of its rows: {type(cause).__name__}: {text}{context}"
        ) from error


def _is_data_error(error: psycopg.Error) -> bool:
    return isinstance(error, psycopg.DataError) or (error.sqlstate or "")[:2] in ("22", "54")


def load_rows(
    connection: Connection,
    ref: ObjectRef,
    batches: Iterable[CopyBatch],
    *,
    data_set: DataSet = TWAP_STATUS,
    tables: tuple[str, str] | None = None,
) -> RowCounts:
    """Write an object's rows within the caller's transaction and return their row counts.

    Args:
        connection: In a transaction, on psycopg 3. The caller commits.
        ref: The object. The caller prevents concurrent loads of the same object.
        batches: All of its rows.
        data_set: Data set of the object.
        tables: Tables to write instead of the data set's table and its quarantine.

    Raises:
        ObjectInvalidError: More than `MAX_QUARANTINED_ROWS` rows are quarantined, PostgreSQL rejects a value, or the
            table is partitioned and a month cannot store the rows.
        DatabaseUnavailableError: The table is partitioned, and a partition cannot be created.
    """
    table, quarantine_table = tables or (data_set.name, data_set.quarantine_table)
    row_counts = RowCounts()
    quarantined: list[pl.DataFrame] = []
    are_keys_new = True
    with data_errors(ref.key), psycopg_connection(connection).cursor() as cursor:
        partitioned = find_partitioned(cursor, table)
        for batch in batches:
            if partitioned is not None:
                partitioned = require_months(cursor, partitioned, batch.months, ref.key)
            written = _copy_new_rows(cursor, data_set, table, batch) if are_keys_new else None
            if written is None:
                written = _merge(cursor, data_set, table, batch, partitioned)
            # The next batch is expected to be like this one.
            are_keys_new = written.inserted == len(batch.copies)
            row_counts += written + RowCounts(
                superseded=batch.superseded, quarantined=batch.quarantined.height, metadata=batch.metadata_rows
            )
            quarantined.append(batch.quarantined)
            if row_counts.quarantined > MAX_QUARANTINED_ROWS:
                reason = batch.quarantined["reason"][-1]
                raise ObjectInvalidError(
                    ref.key, f"more than {MAX_QUARANTINED_ROWS} rows cannot be read; the last one: {reason}"
                )
        _replace_quarantine(cursor, quarantine_table, ref, quarantined)
    return row_counts


def _copy_new_rows(
    cursor: psycopg.Cursor[TupleRow], data_set: DataSet, table: str, batch: CopyBatch
) -> RowCounts | None:
    """Copy a batch into the table; None, and nothing written, if one of its keys is stored already."""
    with suppress(psycopg.errors.UniqueViolation), cursor.connection.transaction():  # a SAVEPOINT
        _copy(cursor, table, copied_columns(data_set), batch.text)
        return RowCounts(inserted=len(batch.copies), unchanged=sum(batch.copies))
    return None


def _merge(
    cursor: psycopg.Cursor[TupleRow], data_set: DataSet, table: str, batch: CopyBatch, partitioned: StatusTable | None
) -> RowCounts:
    prepare_staging(cursor, data_set, table)
    rows = zip(io.BytesIO(batch.text), batch.copies, strict=True)  # one line per row: COPY text escapes line feeds
    text = b"".join(b"%s\t%d\n" % (row[:-1], copies) for row, copies in rows)
    _copy(cursor, staging_table(data_set), staged_columns(data_set), text)
    if partitioned is None:
        return merge_staged(cursor, data_set, table)
    row_counts = RowCounts()
    for month in sorted(batch.months):
        start, end = start_of(month), start_of(next_month(month))
        row_counts += merge_staged(cursor, data_set, partition_name(month), start.isoformat(), end.isoformat())
    return row_counts


def _copy(cursor: psycopg.Cursor[TupleRow], table: str, columns: Sequence[str], text: bytes) -> None:
    if text:
        names = sql.SQL(", ").join(map(sql.Identifier, columns))
        with cursor.copy(sql.SQL("COPY {} ({}) FROM STDIN").format(sql.Identifier(table), names)) as copy:
            copy.write(text)
            failpoint("mid-copy")


def _replace_quarantine(
    cursor: psycopg.Cursor[TupleRow], table: str, ref: ObjectRef, quarantined: Sequence[pl.DataFrame]
) -> None:
    """Replace the object's quarantined rows by those of this version."""
    cursor.execute(
        sql.SQL("DELETE FROM {} WHERE s3_object_key = %s").format(sql.Identifier(table)),
        (ref.key,),
    )
    if frames := [frame for frame in quarantined if frame.height]:
        rows = pl.concat(frames).select(pl.lit(ref.key).alias("s3_object_key"), *_QUARANTINE_COLUMNS[1:])
        _copy(cursor, table, _QUARANTINE_COLUMNS, copy_text(rows))
