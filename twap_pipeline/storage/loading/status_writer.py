"""Writes the rows of one object into ``twap_status`` and counts the outcome of each row.

When several events share (twap_id, wallet, ts), the precedence rule decides which one is stored: the later lifecycle
status, then the newer object (LastModified, then key), then the later row. The result does not depend on the order,
repetition or concurrency of loading.

A batch is written in one of two ways. If all keys are new, COPY writes it into the table under a SAVEPOINT. Otherwise
COPY writes it into a staging table, and `merge` merges that. Defined here: encoding and the choice between the two.

If ``twap_status`` is partitioned by month, missing months are created first, and a batch is merged into each partition.
"""

import io
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, date
from enum import Enum, auto

import polars as pl
import psycopg
from psycopg import sql
from psycopg.rows import TupleRow
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from twap_pipeline.domain.months import next_month, start_of
from twap_pipeline.domain.normalize import NormalizedBatch
from twap_pipeline.domain.object_errors import object_errors
from twap_pipeline.domain.object_ref import ObjectRef
from twap_pipeline.domain.row_counts import RowCounts
from twap_pipeline.domain.status import CONTENT_COLUMNS, KEY_COLUMNS, ROW_COLUMNS, STATUS_RANK, UNKNOWN_STATUS_RANK
from twap_pipeline.domain.timestamps import months_of
from twap_pipeline.errors import ObjectInvalidError
from twap_pipeline.failpoints import failpoint
from twap_pipeline.storage.loading.copy_text import copy_text
from twap_pipeline.storage.loading.merge import (
    COPIED_COLUMNS,
    STAGED_COLUMNS,
    STAGING_TABLE,
    merge_staged,
    prepare_staging,
)
from twap_pipeline.storage.months.partitions import StatusTable, find_partitioned, partition_name, require_months

MAX_QUARANTINED_ROWS = 100_000
"""`load_rows` refuses an object with more quarantined rows than this: it is not of this feed."""

_COLUMNS_WITHOUT_SPECIALS = (
    *("twap_id", "wallet", "size_requested", "size_executed", "notional_executed"),
    "s3_last_modified",
)
_QUARANTINE_COLUMNS = ("s3_object_key", "row_number", "raw_row", "reason")


class LoadMode(Enum):
    """What is expected of an object's rows; it affects the speed of a load and not its result."""

    NEW = auto()
    """No version of the object is loaded: the keys are probably new."""
    RELOAD = auto()
    """A version of the object is loaded: the keys are probably stored already."""


@dataclass(frozen=True, slots=True)
class TargetTables:
    """Names of the two tables that a load writes.

    Args:
        status: A table like ``twap_status``, with its primary key.
        quarantine: A table like ``twap_status_quarantine``.
    """

    status: str
    quarantine: str


LIVE_TABLES = TargetTables("twap_status", "twap_status_quarantine")


@dataclass(frozen=True, slots=True)
class CopyBatch:
    """Encoded rows of an object, one per key.

    Args:
        text: The rows as COPY text, columns `COPIED_COLUMNS`, sorted by key: concurrent loaders lock shared rows in
            one order.
        copies: Per row of ``text``, how many further rows of the batch have the same key and content.
        superseded: Rows of the batch that another row of the batch supersedes.
        quarantined: Rows that could not be normalized: ``row_number``, ``raw_row``, ``reason``.
        metadata_rows: Number of the vendor's ``_metadata`` rows.
        months: The UTC months of the rows.
    """

    text: bytes
    copies: Sequence[int]
    superseded: int
    quarantined: pl.DataFrame
    metadata_rows: int
    months: Collection[date] = ()


def encode_batch(ref: ObjectRef, batch: NormalizedBatch) -> CopyBatch:
    """Return the rows of a batch as COPY text, duplicates of a key resolved by the precedence rule.

    Raises:
        ObjectInvalidError: The rows cannot be encoded.
    """
    with object_errors(ref.key, "cannot be encoded"):
        rows, copies = _resolve_duplicates(batch.rows.select(ROW_COLUMNS).sort(KEY_COLUMNS, maintain_order=True))
        full = rows.with_columns(
            pl.lit(ref.key).alias("s3_object_key"),
            pl.lit(f"{ref.last_modified.astimezone(UTC):%Y-%m-%d %H:%M:%S.%f}+00").alias("s3_last_modified"),
        )
        text = copy_text(full, plain=_COLUMNS_WITHOUT_SPECIALS, json=("raw_payload",))
        superseded = batch.rows.height - rows.height - sum(copies)
        return CopyBatch(text, copies, superseded, batch.rejected, batch.metadata_rows, months_of(rows["ts"]))


def _resolve_duplicates(rows: pl.DataFrame) -> tuple[pl.DataFrame, Sequence[int]]:
    """Return the row with the highest precedence per key, and how many copies of it there were.

    Args:
        rows: `ROW_COLUMNS`, sorted by key; rows with equal keys in the object's order.
    """
    repeats_key = [rows[name][1:] == rows[name][:-1] for name in KEY_COLUMNS]
    if not (repeats_key[0] & repeats_key[1] & repeats_key[2]).any():
        return rows, [0] * rows.height
    rank = pl.col("status").replace_strict(STATUS_RANK, default=UNKNOWN_STATUS_RANK, return_dtype=pl.Int8)
    winners = rows.sort(*KEY_COLUMNS, rank, maintain_order=True).unique(KEY_COLUMNS, keep="last", maintain_order=True)
    identical = [*KEY_COLUMNS, *CONTENT_COLUMNS]
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
    mode: LoadMode,
    target: TargetTables = LIVE_TABLES,
) -> RowCounts:
    """Write an object's rows within the caller's transaction and return their row counts.

    Args:
        connection: In a transaction, on psycopg 3. The caller commits.
        ref: The object. The caller prevents concurrent loads of the same object.
        batches: All of its rows.
        mode: Whether a version of the object is loaded already.
        target: The tables to write to.

    Raises:
        ObjectInvalidError: More than `MAX_QUARANTINED_ROWS` rows are quarantined, PostgreSQL rejects a value, or the
            table is partitioned and a month cannot store the rows.
        DatabaseUnavailableError: The table is partitioned, and a partition cannot be created.
    """
    driver_connection = connection.connection.driver_connection
    if not isinstance(driver_connection, psycopg.Connection):
        raise TypeError("rows are loaded through psycopg 3: use a postgresql+psycopg URL")
    row_counts = RowCounts()
    quarantined: list[pl.DataFrame] = []
    with data_errors(ref.key), driver_connection.cursor() as cursor:
        partitioned = find_partitioned(cursor, target.status)
        for batch in batches:
            if partitioned is not None:
                partitioned = require_months(cursor, partitioned, batch.months, ref.key)
            written = _copy_new_rows(cursor, target.status, batch) if mode is LoadMode.NEW else None
            if written is None:
                written = _merge(cursor, target.status, batch, partitioned)
            # The next batch is expected to be like this one.
            mode = LoadMode.NEW if written.inserted == len(batch.copies) else LoadMode.RELOAD
            row_counts += written + RowCounts(
                superseded=batch.superseded, quarantined=batch.quarantined.height, metadata=batch.metadata_rows
            )
            quarantined.append(batch.quarantined)
            if row_counts.quarantined > MAX_QUARANTINED_ROWS:
                reason = batch.quarantined["reason"][-1]
                raise ObjectInvalidError(
                    ref.key, f"more than {MAX_QUARANTINED_ROWS} rows cannot be read; the last one: {reason}"
                )
        _replace_quarantine(cursor, target.quarantine, ref, quarantined)
    return row_counts


def _copy_new_rows(cursor: psycopg.Cursor[TupleRow], table: str, batch: CopyBatch) -> RowCounts | None:
    """Copy a batch into the table; None, and nothing written, if one of its keys is stored already."""
    with suppress(psycopg.errors.UniqueViolation), cursor.connection.transaction():  # a SAVEPOINT
        _copy(cursor, table, COPIED_COLUMNS, batch.text)
        return RowCounts(inserted=len(batch.copies), unchanged=sum(batch.copies))
    return None


def _merge(
    cursor: psycopg.Cursor[TupleRow], table: str, batch: CopyBatch, partitioned: StatusTable | None
) -> RowCounts:
    prepare_staging(cursor, table)
    rows = zip(io.BytesIO(batch.text), batch.copies, strict=True)  # one line per row: COPY text escapes line feeds
    _copy(cursor, STAGING_TABLE, STAGED_COLUMNS, b"".join(b"%s\t%d\n" % (row[:-1], copies) for row, copies in rows))
    if partitioned is None:
        return merge_staged(cursor, table)
    row_counts = RowCounts()
    for month in sorted(batch.months):
        start, end = start_of(month), start_of(next_month(month))
        row_counts += merge_staged(cursor, partition_name(month), start.isoformat(), end.isoformat())
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
        _copy(cursor, table, _QUARANTINE_COLUMNS, copy_text(rows, json=("raw_row",)))
