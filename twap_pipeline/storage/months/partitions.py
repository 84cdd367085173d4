"""The partitions of ``twap_status`` by UTC month, if the table is partitioned; and the months that a load needs.

There is no default partition. The loader creates the month of an event before it writes the event, from `FIRST_MONTH`
to the month after the present one by the server's clock: an event with a wrong year cannot create further partitions.
The partition of a month is named ``twap_status_2025_03``. Converting the table belongs to `conversion`.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import date

import psycopg
from psycopg import sql
from psycopg.rows import TupleRow

from twap_pipeline.domain.months import FIRST_MONTH, format_month, next_month, start_of
from twap_pipeline.errors import DatabaseUnavailableError, ObjectInvalidError
from twap_pipeline.storage.sql_files import load_queries

_QUERIES = load_queries(__package__, "partitions.sql")


@dataclass(frozen=True, slots=True)
class StatusTable:
    """A table of events, and its partitions.

    ``schema`` is an SQL identifier. ``current_month`` is by the server's clock; ``archived_month`` is the newest
    archived month, or None.
    """

    name: str
    schema: str
    owner: str
    is_partitioned: bool
    partitions: frozenset[str]
    current_month: date
    archived_month: date | None

    def has_month(self, month: date) -> bool:
        """Return whether the month has a partition."""
        return partition_name(month) in self.partitions

    def is_valid_month(self, month: date) -> bool:
        """Return whether events of this month get a partition."""
        return FIRST_MONTH <= month <= next_month(self.current_month)


def partition_name(month: date) -> str:
    """Return the name of the partition of a month."""
    return f"twap_status_{month:%Y_%m}"


def read_table(cursor: psycopg.Cursor[TupleRow], name: str) -> StatusTable:
    """Return a table of events.

    Raises:
        psycopg.errors.UndefinedTable: There is none with this name.
    """
    cursor.execute(_QUERIES["table"].encode(), {"table": name})
    ((is_partitioned, schema, owner, partitions, *months),) = cursor.fetchall()
    return StatusTable(name, schema, owner, is_partitioned, frozenset(partitions), *months)


def find_partitioned(cursor: psycopg.Cursor[TupleRow], name: str) -> StatusTable | None:
    """Return a table of events; None if it is not partitioned."""
    table = read_table(cursor, name)
    return table if table.is_partitioned else None


def require_months(
    cursor: psycopg.Cursor[TupleRow], table: StatusTable, months: Collection[date], key: str
) -> StatusTable:
    """Create the partitions that an object's events need, in the transaction of its load.

    Args:
        cursor: In the transaction. A second loader that needs a new month waits until it ends.
        table: From `find_partitioned`, in this transaction.
        months: Months of the events.
        key: The object, for errors.

    Returns:
        The table with the partitions of these months.

    Raises:
        ObjectInvalidError: A month is archived, or outside of the months that get a partition.
        DatabaseUnavailableError: A partition cannot be created.
    """
    if table.archived_month is not None and (archived := [month for month in months if month <= table.archived_month]):
        raise ObjectInvalidError(
            key,
            f"it has events of {format_month(min(archived))}, and the months up to {format_month(table.archived_month)}"
            " are archived: restore them first with `twap-pipeline restore-month`, the newest first",
        )
    missing = sorted(month for month in months if not table.has_month(month))
    if not missing:
        return table
    for month in missing:
        if not table.is_valid_month(month):
            raise ObjectInvalidError(
                key,
                f"it has events of {format_month(month)}; partitions are created from {format_month(FIRST_MONTH)} to"
                f" the month after the present one ({format_month(table.current_month)} by the server's clock)",
            )
    return create_months(cursor, table, missing)


def create_months(cursor: psycopg.Cursor[TupleRow], table: StatusTable, months: Iterable[date]) -> StatusTable:
    """Create and attach the partitions of months that have none; return the table with all of them.

    Raises:
        DatabaseUnavailableError: A partition cannot be created.
    """
    months = sorted(months)
    try:
        lock_partitions(cursor, table)
        table = read_table(cursor, table.name)
        for month in months:
            if not table.has_month(month):
                create_month(cursor, table, month)
                attach_month(cursor, table, month)
    except (
        psycopg.errors.InsufficientPrivilege,
        psycopg.errors.DuplicateTable,
        psycopg.errors.InvalidObjectDefinition,
    ) as error:
        names = ", ".join(format_month(month) for month in months if not table.has_month(month))
        remedy = (
            "run `twap-pipeline partition-by-month` as the owner of the tables"
            if isinstance(error, psycopg.errors.InsufficientPrivilege)
            else "rename, drop or attach the table that is in the way"
        )
        raise DatabaseUnavailableError(
            f"{table.name} has no partition for {names}, and it cannot be created: {error.diag.message_primary};"
            f" {remedy}, then run again"
        ) from error
    return read_table(cursor, table.name)


def lock_partitions(cursor: psycopg.Cursor[TupleRow], table: StatusTable) -> None:
    """Keep other sessions from creating or attaching partitions until the transaction ends."""
    cursor.execute(_compose("lock_partitions", table))


def create_month(cursor: psycopg.Cursor[TupleRow], table: StatusTable, month: date) -> None:
    """Create the empty table of a month, with the owner and the privileges of the partitioned table."""
    cursor.execute(_compose("create_month", table, month))
    copy_grants(cursor, table.name, partition_name(month))


def attach_month(cursor: psycopg.Cursor[TupleRow], table: StatusTable, month: date) -> None:
    """Attach the table of a month, and build its indexes."""
    cursor.execute(_compose("attach_month", table, month))


def copy_grants(cursor: psycopg.Cursor[TupleRow], table: str, name: str) -> None:
    """Give the table ``name`` the privileges of another table of its schema. A merge writes to a partition directly."""
    statements = cursor.execute(_QUERIES["grants"].encode(), {"table": table, "name": name}).fetchall()
    for (statement,) in statements:
        cursor.execute(str(statement).encode())


def _compose(query: str, table: StatusTable, month: date | None = None) -> sql.Composed:
    schema = sql.SQL(table.schema)
    names = {"table": sql.SQL("{}.{}").format(schema, sql.Identifier(table.name)), "owner": sql.Identifier(table.owner)}
    if month is not None:
        names["partition"] = sql.SQL("{}.{}").format(schema, sql.Identifier(partition_name(month)))
        names["start"] = sql.Literal(start_of(month))
        names["end"] = sql.Literal(start_of(next_month(month)))
    return sql.SQL(_QUERIES[query]).format(**names)
