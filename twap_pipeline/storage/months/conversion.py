"""Converts ``twap_status`` between a plain table and a table that is partitioned by UTC month.

The conversion copies all rows into a new table that then replaces the old one, in one transaction: until its COMMIT,
the old table is unchanged, and an interrupted conversion leaves nothing. Readers continue during the copy; loads are
refused. It needs the disk space of a second copy of the table and its indexes. The form of the table is not a revision:
`drift` accepts both forms.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import date

import psycopg
from psycopg import sql
from psycopg.rows import TupleRow
from sqlalchemy import Connection, Engine, MetaData
from sqlalchemy.schema import CreateIndex
from sqlalchemy.sql.elements import quoted_name

from twap_pipeline.domain.months import format_month, month_range
from twap_pipeline.errors import DatabaseUnavailableError, TablePartitionError
from twap_pipeline.failpoints import failpoint
from twap_pipeline.storage.engine.session import psycopg_connection
from twap_pipeline.storage.months.partitions import (
    StatusTable,
    copy_grants,
    create_months,
    find_partitioned,
    read_table,
)
from twap_pipeline.storage.schema.drift import drift
from twap_pipeline.storage.schema.migration_lock import migration_lock
from twap_pipeline.storage.schema.models import twap_status
from twap_pipeline.storage.sql_files import load_queries

ROWS_PER_SECOND = 16_000
"""Rows that a conversion copies and indexes per second, for its estimate: 200,000 rows took 12.5 s on busy cores."""

BLOCKS_PER_STEP = 8_192
"""Blocks (64 MB) that one statement copies."""

LOCK_DEADLINE_SECONDS = 600.0
"""How long `lock_table` tries. It waits for `_LOCK_TIMEOUT` at a time: queries queue behind a waiting lock."""

_LOCK_TIMEOUT = "5s"
_LOCK_PAUSE_SECONDS = 1.0
_PROGRESS_SECONDS = 5.0
_TABLE, _NEW = twap_status.name, f"{twap_status.name}_conversion"
_QUERIES = load_queries(__package__, "conversion.sql")

Progress = Callable[[str], None]
"""Called with one line of text."""


@dataclass(frozen=True, slots=True)
class ConversionEstimate:
    """What a conversion needs.

    Args:
        rows: Rows of the table, an estimate of the planner.
        size_bytes: Size of the table with its indexes: as much free disk space is needed.
    """

    rows: int
    size_bytes: int

    @property
    def seconds(self) -> float:
        """Estimated duration."""
        return self.rows / ROWS_PER_SECOND


def estimate_conversion(connection: Connection) -> ConversionEstimate:
    """Return the estimate of a conversion, in either direction."""
    cursor: psycopg.Cursor[TupleRow] = psycopg_connection(connection).cursor()
    ((size_bytes, rows),) = cursor.execute(_QUERIES["size"].encode(), {"table": _TABLE}).fetchall()
    return ConversionEstimate(rows, size_bytes)


def partition_by_month(engine: Engine, progress: Progress, until: date | None = None) -> StatusTable:
    """Partition ``twap_status`` by month, or create missing months if it is partitioned.

    Args:
        engine: A database at head, as the owner of the tables.
        progress: Called at each step, and every few seconds.
        until: Create the months from the present one to this one too; loaders that do not own the tables cannot.

    Raises:
        TablePartitionError: The table is not as declared, or is in use by loads, or contains events of other months.
        DatabaseUnavailableError: Other sessions did not release the table.
    """
    with _conversion(engine) as (connection, cursor):
        table = find_partitioned(cursor, _TABLE)
        if table is None:
            _lock_and_check(connection, cursor)
            months = _require_valid_months(cursor)
            cursor.execute(_compose("create_partitioned"))
            new = create_months(cursor, read_table(cursor, _NEW), months)
            _rewrite(connection, cursor, new.owner, progress)
            table = read_table(cursor, _TABLE)
        if until is not None:
            table = create_months(cursor, table, {table.current_month, *month_range(table.current_month, until), until})
        for partition in table.partitions:
            copy_grants(cursor, _TABLE, partition)
        return table


def merge_partitions(engine: Engine, progress: Progress) -> None:
    """Make ``twap_status`` a plain table again.

    Raises:
        TablePartitionError: The table is not partitioned or not as declared, is in use, or has archived months.
        DatabaseUnavailableError: Other sessions did not release the table.
    """
    with _conversion(engine) as (connection, cursor):
        table = find_partitioned(cursor, _TABLE)
        if table is None:
            raise TablePartitionError(f"{_TABLE} is not partitioned: there is nothing to undo")
        if table.archived_month is not None:
            raise TablePartitionError(
                f"the months up to {format_month(table.archived_month)} are archived: restore them first with"
                " `twap-pipeline restore-month`"
            )
        _lock_and_check(connection, cursor)
        cursor.execute(_compose("create_plain"))
        _rewrite(connection, cursor, table.owner, progress)


@contextmanager
def _conversion(engine: Engine) -> Iterator[tuple[Connection, psycopg.Cursor[TupleRow]]]:
    """Yield a connection in a transaction under the migration lock, and a cursor; commit at the end."""
    with migration_lock(engine), engine.connect() as connection, connection.begin():
        yield connection, psycopg_connection(connection).cursor()


def _lock_and_check(connection: Connection, cursor: psycopg.Cursor[TupleRow]) -> None:
    if not _lock(cursor, _compose("lock_writers")):
        raise TablePartitionError(
            f"a session writes to {_TABLE}: stop the loads (sensors, schedules, `twap-pipeline ingest`), then run again"
        )
    count, key = cursor.execute(_QUERIES["loading_objects"].encode()).fetchone() or (0, None)
    if count:
        raise TablePartitionError(
            f"{count} objects are being loaded, for example {key}: wait for the loads, then run again; if no load runs,"
            " a process was killed: `twap-pipeline ingest` loads its objects"
        )
    if differences := drift(connection):
        raise TablePartitionError(
            f"the tables differ from the declared ones, first: {differences[0]}; correct it, then run again"
        )
    if dependents := cursor.execute(_QUERIES["dependent_objects"].encode(), {"table": _TABLE}).fetchall():
        names = ", ".join(str(name) for (name,) in dependents)
        raise TablePartitionError(
            f"{_TABLE} has {names}, which the new table would not have: drop them, run again, and create them again"
        )


def _require_valid_months(cursor: psycopg.Cursor[TupleRow]) -> list[date]:
    """Return the months of the stored events.

    Raises:
        TablePartitionError: One of them gets no partition.
    """
    rows = cursor.execute(_compose("rows_by_month")).fetchall()
    table = read_table(cursor, _TABLE)
    invalid = [f"{count} of {format_month(month)}" for month, count in rows if not table.is_valid_month(month)]
    if invalid:
        raise TablePartitionError(
            f"{_TABLE} contains events in months that get no partition: {', '.join(invalid[:10])}; the asset check"
            " event_times_in_range shows them: delete them or correct their objects, then run again"
        )
    return [month for month, _ in rows]


def _rewrite(connection: Connection, cursor: psycopg.Cursor[TupleRow], owner: str, progress: Progress) -> None:
    """Copy the rows into the empty new table, build its indexes, and replace the old table."""
    cursor.execute(_compose("set_owner", owner=sql.Identifier(owner)))
    copy_grants(cursor, _TABLE, _NEW)
    copied = _copy_rows(cursor, progress)
    failpoint("rows-copied")
    stored = sum(count for _, count in cursor.execute(_compose("rows_by_month")).fetchall())
    if copied != stored:
        raise TablePartitionError(f"{copied} rows were copied, {_TABLE} has {stored}; nothing was changed: run again")
    names = _build_indexes(connection, cursor, progress)
    progress("collecting statistics")
    cursor.execute(_compose("analyze"))
    lock_table(cursor, _TABLE)
    cursor.execute(_compose("replace"))
    for new, name in names.items():
        cursor.execute(sql.SQL(_QUERIES["rename_index"]).format(new=sql.Identifier(new), table=sql.Identifier(name)))


def _copy_rows(cursor: psycopg.Cursor[TupleRow], progress: Progress) -> int:
    """Copy the rows by ranges of blocks, and return their number."""
    columns = sql.SQL(", ").join(map(sql.Identifier, twap_status.columns.keys()))
    heaps = cursor.execute(_QUERIES["heaps"].encode(), {"table": _TABLE}).fetchall()
    total, done, rows, started, printed = sum(blocks for _, blocks in heaps), 0, 0, time.monotonic(), 0.0
    progress(f"copying {total:,} blocks")
    for heap, blocks in heaps:
        for block in range(0, blocks, BLOCKS_PER_STEP):
            statement = _compose(
                "copy_blocks",
                columns=columns,
                heap=sql.SQL(heap),
                start=sql.Literal(f"({block},0)"),
                end=sql.Literal(f"({block + BLOCKS_PER_STEP},0)"),
            )
            rows += cursor.execute(statement).rowcount
            done = min(done + BLOCKS_PER_STEP, total)
            seconds = time.monotonic() - started
            if seconds - printed >= _PROGRESS_SECONDS:
                printed = seconds
                progress(
                    f"copied {rows:,} rows, {done / total:.0%} in {seconds:.0f} s,"
                    f" about {seconds * (total - done) / done:.0f} s left; then the indexes"
                )
    return rows


def _build_indexes(connection: Connection, cursor: psycopg.Cursor[TupleRow], progress: Progress) -> dict[str, str]:
    """Build the declared indexes on the new table; return the name of each → the name that it must get."""
    indexes = twap_status.to_metadata(MetaData(), name=_NEW).indexes
    progress(f"building {len(indexes) + 1} indexes")
    names = {f"{_NEW}_pkey": f"{_TABLE}_pkey"}
    key = sql.SQL(", ").join(sql.Identifier(column.name) for column in twap_status.primary_key)
    cursor.execute(_compose("add_primary_key", name=sql.Identifier(f"{_NEW}_pkey"), columns=key))
    for index in indexes:
        name = str(index.name)
        new = name.replace(_TABLE, _NEW, 1)
        names[new] = name
        index.name = quoted_name(new, quote=None)
        connection.execute(CreateIndex(index))
    return names


def lock_table(cursor: psycopg.Cursor[TupleRow], table: str) -> None:
    """Lock a table against all other sessions until the transaction ends.

    Raises:
        DatabaseUnavailableError: Other sessions used it until the deadline.
    """
    deadline = time.monotonic() + LOCK_DEADLINE_SECONDS
    statement = sql.SQL(_QUERIES["lock_readers"]).format(table=sql.Identifier(table))
    while not _lock(cursor, statement):
        if time.monotonic() >= deadline:
            raise DatabaseUnavailableError(
                f"other sessions used {table} for {LOCK_DEADLINE_SECONDS:g} seconds: nothing was changed; end long"
                " queries (see pg_stat_activity), then run again"
            )
        time.sleep(_LOCK_PAUSE_SECONDS)


def _lock(cursor: psycopg.Cursor[TupleRow], statement: sql.Composed) -> bool:
    """Execute a LOCK under a SAVEPOINT; return whether it succeeded within `_LOCK_TIMEOUT`."""
    with (
        suppress(psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected),
        cursor.connection.transaction(),
    ):
        cursor.execute("SELECT set_config('lock_timeout', %s, true)", (_LOCK_TIMEOUT,))
        cursor.execute(statement)
        return True
    return False


def _compose(query: str, **parts: sql.Composable) -> sql.Composed:
    return sql.SQL(_QUERIES[query]).format(table=sql.Identifier(_TABLE), new=sql.Identifier(_NEW), **parts)
