"""Compares the stored rows with the objects: loads them again into temporary tables, in a session of its own.

The loader (`row_writer.load_rows`) writes the temporary tables, so the precedence rule is implemented once. Defined
here: the session, its tables and the comparison. `ingest.deep_audit` reads the objects; `repair` deletes wrong rows.
The functions after `verification_session` need its connection.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

from psycopg import sql
from sqlalchemy import Connection, Engine, text

from twap_pipeline.domain.data_set import DataSet
from twap_pipeline.storage.audit.counts import HistoryFault, impossible_versions
from twap_pipeline.storage.data_set_sql import column_list, execute
from twap_pipeline.storage.engine.session import require_one_session
from twap_pipeline.storage.loading.merge import copied_columns
from twap_pipeline.storage.long_statements import correct_empty_statistics
from twap_pipeline.storage.orders.refresh import compare_orders
from twap_pipeline.storage.sql_files import load_queries

Version = tuple[str, datetime]
"""An object's key and LastModified, which its rows name."""

EXPECTED_TABLES = ("expected_rows", "expected_quarantined_rows")
"""The temporary tables of a `verification_session` for the rows that the objects contain."""

_QUERIES = load_queries("twap_pipeline.storage.audit", "verification.sql")


@dataclass(frozen=True, slots=True)
class RowMismatch:
    """Rows of one object that differ from what the objects contain.

    Args:
        kind: ``missing``, ``changed`` or ``added``.
        key: The object that contains the rows; for added rows, the object that they name.
        count: Number of rows.
        example: One of the rows, with the columns that differ.
    """

    kind: str
    key: str
    count: int
    example: str


@dataclass(frozen=True, slots=True)
class ExpectedEntry:
    """The columns of an ingest log entry that depend on the object alone, not on the order of loading."""

    rows_read: int | None
    rows_quarantined: int | None
    rows_metadata: int | None
    data_warnings: Mapping[str, int]
    sha256: str | None
    checksum_verified: bool | None

    def differing_columns(self, other: "ExpectedEntry") -> list[str]:
        """Return the names of the columns whose values differ."""
        return [name for name in self.__dataclass_fields__ if getattr(self, name) != getattr(other, name)]


@contextmanager
def verification_session(engine: Engine, data_set: DataSet) -> Iterator[Connection]:
    """Yield a connection with the empty temporary tables of a verification; close it at the end.

    Raises:
        ConfigurationError: A connection pooler in transaction mode changes the server session.
    """
    with engine.connect() as connection:
        require_one_session(connection, "a deep audit")
        with connection.begin():
            correct_empty_statistics(connection)
            execute(connection, _QUERIES["create_tables"], data_set)
        try:
            yield connection
        finally:
            connection.invalidate()  # the pool must not reuse a session with temporary tables


def seed_unverifiable_rows(
    connection: Connection, data_set: DataSet, versions: Iterable[Version], faults: Collection[HistoryFault]
) -> None:
    """Copy the rows that no object can verify to the expected rows: of deleted objects and of replaced versions.

    By the precedence rule these rows take part in the loads that follow.

    Args:
        connection: In a transaction.
        data_set: The data set.
        versions: The versions that will be read.
        faults: From `counts.stored_objects`; no row can be of an impossible version.
    """
    connection.execute(text(_QUERIES["force_hash_joins"]))
    _record_versions(connection, "record_version_read", versions)
    parameters = {"impossible": impossible_versions(faults), "is_at_end": False}
    execute(connection, _QUERIES["record_known_versions"], data_set, parameters)
    execute(connection, _QUERIES["seed_unverifiable_rows"], data_set, parameters)


def record_failed_versions(connection: Connection, versions: Iterable[Version]) -> None:
    """Record that versions could not be read: their rows are neither verified nor wrong."""
    with connection.begin():
        _record_versions(connection, "record_version_failed", versions)


def _record_versions(connection: Connection, query: str, versions: Iterable[Version]) -> None:
    rows = [{"key": key, "last_modified": last_modified} for key, last_modified in versions]
    if rows:
        connection.execute(text(_QUERIES[query]), rows)


def compare(connection: Connection, data_set: DataSet, faults: Collection[HistoryFault]) -> list[RowMismatch]:
    """Compare stored and expected rows, and return the differences per kind and object.

    Args:
        connection: In a REPEATABLE READ transaction. The functions below and `repair` run in the same transaction and
            use its tables ``row_mismatches`` and ``verified_objects``.
        data_set: The data set.
        faults: As for `seed_unverifiable_rows`.
    """
    connection.execute(text(_QUERIES["force_hash_joins"]))
    parameters = {"impossible": impossible_versions(faults), "is_at_end": True}
    execute(connection, _QUERIES["record_known_versions"], data_set, parameters)
    connection.execute(text(_QUERIES["analyze_tables"]))
    execute(connection, _QUERIES["create_row_mismatches"], data_set, **comparison_placeholders(data_set))
    execute(connection, _QUERIES["create_verified_objects"], data_set)
    rows = connection.execute(text(_QUERIES["mismatches_by_object"]))
    return [RowMismatch(kind, key, count, example) for kind, key, count, example in rows]


def comparison_placeholders(data_set: DataSet) -> dict[str, sql.Composable]:
    """Return the placeholders of ``create_row_mismatches``.

    Values are compared as text, because equal decimals and equal JSON can have different texts.
    """
    columns = [name for name in copied_columns(data_set) if name not in data_set.key_columns]
    differs = "CASE WHEN stored.{column}::text IS DISTINCT FROM expected.{column}::text THEN {name} END"
    return {
        "stored_values": column_list(columns, "stored.{column}::text"),
        "expected_values": column_list(columns, "expected.{column}::text"),
        "differing": column_list(columns, differs),
        "named_key": column_list(data_set.key_columns, "{name} || ' ' || {column}"),
    }


def compare_quarantine(connection: Connection, data_set: DataSet) -> dict[str, int]:
    """Return key → number of wrong quarantined rows; includes keys that are not in the ingest log."""
    return _count_by_object(connection, "quarantine_mismatches", data_set)


def verified_entries(connection: Connection, data_set: DataSet) -> dict[str, ExpectedEntry]:
    """Return key → columns of the ingest log, of the objects that were read."""
    rows = execute(connection, _QUERIES["verified_entries"], data_set)
    return {key: ExpectedEntry(*columns) for key, *columns in rows}


def unverifiable_rows(connection: Connection, data_set: DataSet) -> dict[str, int]:
    """Return key → number of stored rows that no object verifies."""
    return _count_by_object(connection, "unverifiable_rows", data_set)


def archived_rows_by_object(connection: Connection, data_set: DataSet) -> dict[str, int]:
    """Return key → number of rows of archived months, which are in no table; of the objects that were read."""
    return _count_by_object(connection, "archived_rows", data_set)


def _count_by_object(connection: Connection, query: str, data_set: DataSet) -> dict[str, int]:
    return {row.s3_object_key: row.rows for row in execute(connection, _QUERIES[query], data_set)}


def order_mismatches(connection: Connection) -> list[tuple[str, int, str]]:
    """Compare the stored orders with the stored events; return difference, number of orders and an example.

    Orders of objects that are not refreshed yet are left out. `repair` uses the table ``differing_orders``.
    """
    compare_orders(connection)
    connection.execute(text(_QUERIES["delete_pending_orders"]))
    return [
        (difference, count, example)
        for difference, count, example in connection.execute(text(_QUERIES["order_mismatches"]))
    ]
