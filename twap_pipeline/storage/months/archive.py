"""Moves a month of ``twap_status`` to a parquet file and drops its partition, and puts it back.

Each runs in one transaction. The file is complete, on disk and compared with the rows before the partition is dropped;
until the COMMIT, the rows are in the table. An interrupted archive leaves a file, which is never overwritten.
What archived months mean for orders and audits is in `archived`.
"""

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from pathlib import Path

import polars as pl
import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
from psycopg import sql
from psycopg.rows import TupleRow
from sqlalchemy import Boolean, DateTime, Engine, Integer

from twap_pipeline.domain.months import format_month, month_of, next_month, start_of
from twap_pipeline.errors import TablePartitionError
from twap_pipeline.failpoints import failpoint
from twap_pipeline.storage.engine.session import psycopg_connection
from twap_pipeline.storage.loading.copy_text import copy_text
from twap_pipeline.storage.months.conversion import lock_table
from twap_pipeline.storage.months.partitions import (
    StatusTable,
    attach_month,
    create_month,
    find_partitioned,
    lock_partitions,
    partition_name,
)
from twap_pipeline.storage.schema.models import twap_status
from twap_pipeline.storage.sql_files import load_queries

BATCH_ROWS = 20_000
"""Rows of a row group of the file, and rows in memory."""

_QUERIES = load_queries(__package__, "archive.sql")
_TABLE = twap_status.name
_COPY = "archived_rows_copy"
_TYPES = ((DateTime, pa.timestamp("us", "UTC")), (Integer, pa.int32()), (Boolean, pa.bool_()))
_EXAMPLES = 5


@dataclass(frozen=True, slots=True)
class ArchivedMonth:
    """A month in a file, as ``etl_archived_months`` records it: ``sha256`` of the file, ``checksum`` of the rows."""

    month: date
    rows: int
    sha256: str
    file_name: str
    checksum: str


def archive_month(engine: Engine, month: date, directory: Path) -> ArchivedMonth:
    """Write the events of a month to a parquet file, compare the file with the rows, and drop the partition.

    Args:
        engine: A database at head, as the owner of the tables.
        month: A month with a partition, before the previous month. Earlier months must be archived.
        directory: An existing directory.

    Raises:
        TablePartitionError: The month must not be archived, or the file cannot be written or differs from the rows.
        DatabaseUnavailableError: Other sessions did not release the table.
    """
    path = directory / f"{partition_name(month)}.parquet"
    with engine.begin() as connection:
        cursor: psycopg.Cursor[TupleRow] = psycopg_connection(connection).cursor()
        table = _require_partitioned(cursor)
        _require_archivable(cursor, table, month)
        with _removed_after_error(path):
            _write_file(cursor, month, path)
            failpoint("archive-written")
            columns = pq.read_schema(path).names
            cursor.execute(_QUERIES["create_copy"].encode())
            _copy_file(cursor, path, _COPY, columns)
            written = _count_and_checksum(cursor, _COPY, columns)
            stored = _count_and_checksum(cursor, partition_name(month), columns)
            if written != stored:
                raise TablePartitionError(f"the file {path} differs from the rows: nothing was dropped; run again")
            failpoint("archive-verified")
            archived = ArchivedMonth(month, stored[0], _sha256(path), path.name, stored[1])
            lock_table(cursor, _TABLE)
            cursor.execute(_compose("drop_month", month))
            cursor.execute(_QUERIES["record"].encode(), asdict(archived))
            failpoint("month-dropped")
    return archived


def restore_month(engine: Engine, path: Path) -> ArchivedMonth:
    """Put the events of a file back as the partition of their month. The file is not deleted.

    Args:
        engine: A database at head, as the owner of the tables.
        path: A file that `archive_month` wrote for this database.

    Raises:
        TablePartitionError: The file is not an archive of this database, or the partition cannot be created.
    """
    try:
        sha256 = _sha256(path)
    except OSError as error:
        raise TablePartitionError(f"cannot read {path}: {error.strerror or error}") from error
    with engine.begin() as connection:
        cursor: psycopg.Cursor[TupleRow] = psycopg_connection(connection).cursor()
        table = _require_partitioned(cursor)
        lock_partitions(cursor, table)
        row = cursor.execute(_QUERIES["remove_record"].encode(), {"sha256": sha256}).fetchone()
        if row is None:
            raise TablePartitionError(
                f"{path} is not an archived month of this database: etl_archived_months has no row with its SHA-256"
                f" {sha256}; the month is restored already, or the file was changed"
            )
        month, rows, file_name, checksum = row
        try:
            create_month(cursor, table, month)
        except psycopg.errors.DuplicateTable as error:
            raise TablePartitionError(
                f"the table {partition_name(month)} exists already: rename or drop it, then run again"
            ) from error
        columns = pq.read_schema(path).names
        _copy_file(cursor, path, partition_name(month), columns)
        if _count_and_checksum(cursor, partition_name(month), columns) != (rows, checksum):
            raise TablePartitionError(f"the rows of {path} differ from the archived rows: nothing was restored")
        attach_month(cursor, table, month)
        cursor.execute(_compose("analyze_month", month))
        failpoint("month-restored")
    return ArchivedMonth(month, rows, sha256, file_name, checksum)


def _require_partitioned(cursor: psycopg.Cursor[TupleRow]) -> StatusTable:
    table = find_partitioned(cursor, _TABLE)
    if table is None:
        raise TablePartitionError(
            f"{_TABLE} is not partitioned: run `twap-pipeline partition-by-month` first"
            " (docs/how-to/partition-by-month.md)"
        )
    return table


def _require_archivable(cursor: psycopg.Cursor[TupleRow], table: StatusTable, month: date) -> None:
    """Lock the partition of a month against writes, and check that the month may be archived."""
    name = format_month(month)
    previous = month_of(table.current_month - timedelta(days=1))
    if month >= previous:
        raise TablePartitionError(f"{name} is not older than the previous month {format_month(previous)}: wait")
    if file_name := cursor.execute(_QUERIES["is_archived"].encode(), {"month": month}).fetchone():
        raise TablePartitionError(f"{name} is archived already, in the file {file_name[0]}")
    if not table.has_month(month):
        raise TablePartitionError(f"{_TABLE} has no partition for {name}: there is nothing to archive")
    cursor.execute(_compose("lock_month", month))
    start, end = start_of(month), start_of(next_month(month))
    if earlier := cursor.execute(_QUERIES["earlier_event"].encode(), {"start": start}).fetchone():
        raise TablePartitionError(f"months are archived oldest first: archive {earlier[0]:%Y-%m} before {name}")
    unfinished = cursor.execute(_compose("unfinished_objects", month), {"start": start, "end": end}).fetchall()
    if unfinished:
        examples = ", ".join(f"{key} ({reason})" for key, reason in unfinished[:_EXAMPLES])
        raise TablePartitionError(
            f"{len(unfinished)} objects of {name} are not finished: {examples}; run `twap-pipeline ingest`, and archive"
            " the month when every object is loaded and its orders are refreshed"
        )


@contextmanager
def _removed_after_error(path: Path) -> Iterator[None]:
    """Delete the file if the block raises an error: the transaction is rolled back, and the rows are in the table.

    Raises:
        TablePartitionError: The file exists already, or cannot be written.
    """
    if path.exists():
        raise TablePartitionError(
            f"{path} exists already: an interrupted archive left it, or the month was archived and restored before;"
            " move it to another directory, then run again"
        )
    try:
        yield
    except BaseException as error:
        path.unlink(missing_ok=True)
        if not isinstance(error, OSError):
            raise
        raise TablePartitionError(
            f"cannot write {path}: {error.strerror or error}; choose an existing directory with free space"
        ) from error


def _write_file(cursor: psycopg.Cursor[TupleRow], month: date, path: Path) -> None:
    """Write the rows to the file, and the file to disk."""
    schema = pa.schema([(column.name, _arrow_type(column.type)) for column in twap_status.columns])
    columns = sql.SQL(", ").join(
        sql.SQL("{}::text" if field.type == pa.string() else "{}").format(sql.Identifier(field.name))
        for field in schema
    )
    query = sql.SQL(_QUERIES["select_rows"]).format(columns=columns, table=sql.Identifier(partition_name(month)))
    with (
        path.open("wb") as file,
        pq.ParquetWriter(file, schema, compression="zstd") as writer,
        cursor.connection.cursor(name="archive_month") as rows,
    ):
        rows.execute(query)
        while batch := rows.fetchmany(BATCH_ROWS):
            values = zip(*batch, strict=True)
            arrays = [pa.array(column, field.type) for column, field in zip(values, schema, strict=True)]
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema))
    _flush(path)
    _flush(path.parent)


def _arrow_type(column_type: object) -> pa.DataType:
    """Return the type of a column in the file; decimals and JSON are text, because no other type is exact."""
    return next((arrow for declared, arrow in _TYPES if isinstance(column_type, declared)), pa.string())


def _flush(path: Path) -> None:
    """Write a file or a directory to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _copy_file(cursor: psycopg.Cursor[TupleRow], path: Path, table: str, columns: Sequence[str]) -> None:
    names = sql.SQL(", ").join(map(sql.Identifier, columns))
    statement = sql.SQL(_QUERIES["copy_rows"]).format(table=sql.Identifier(table), columns=names)
    with pq.ParquetFile(path) as file, cursor.copy(statement) as copy:
        for batch in file.iter_batches(BATCH_ROWS):
            frame = pl.from_arrow(batch)
            if isinstance(frame, pl.DataFrame):
                copy.write(copy_text(frame))


def _count_and_checksum(cursor: psycopg.Cursor[TupleRow], table: str, columns: Sequence[str]) -> tuple[int, str]:
    names = sql.SQL(", ").join(map(sql.Identifier, columns))
    query = sql.SQL(_QUERIES["count_and_checksum"]).format(table=sql.Identifier(table), columns=names)
    ((rows, checksum),) = cursor.execute(query).fetchall()
    return rows, checksum


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _compose(query: str, month: date) -> sql.Composed:
    return sql.SQL(_QUERIES[query]).format(partition=sql.Identifier(partition_name(month)))
