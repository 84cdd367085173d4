"""Compares the stored rows with the objects: loads them again into temporary tables, in a session of its own.

The loader (`status_writer.load_rows`) writes the temporary tables, so the precedence rule is implemented once. Defined
here: the session, its tables and the comparison. `ingest.deep_audit` reads the objects; `repair` deletes wrong rows.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, Engine, text

from twap_pipeline.storage.engine.session import require_one_session
from twap_pipeline.storage.loading.status_writer import TargetTables
from twap_pipeline.storage.sql_files import load_queries

Version = tuple[str, datetime]
"""An object's key and LastModified, which its rows name."""

EXPECTED_TABLES = TargetTables("expected_twap_status", "expected_twap_status_quarantine")
"""Temporary tables of a `verification_session` for the rows that the objects contain."""

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
class ExpectedCounts:
    """The columns of an ingest log entry that depend on the object alone, not on the order of loading."""

    rows_read: int | None
    rows_quarantined: int | None
    rows_metadata: int | None
    data_warnings: Mapping[str, int]


@contextmanager
def verification_session(engine: Engine) -> Iterator[Connection]:
    """Yield a connection with the empty temporary tables of a verification; close it at the end.

    Raises:
        ConfigurationError: A connection pooler in transaction mode changes the server session.
    """
    with engine.connect() as connection:
        require_one_session(connection, "a deep audit")
        with connection.begin():
            connection.execute(text(_QUERIES["create_tables"]))
        try:
            yield connection
        finally:
            connection.invalidate()  # the pool must not reuse a session with temporary tables


def seed_unverifiable_rows(connection: Connection, versions: Iterable[Version]) -> None:
    """Copy the rows that no object can verify to the expected rows: of deleted objects and of replaced versions.

    By the precedence rule these rows take part in the loads that follow.

    Args:
        connection: From `verification_session`, not in a transaction.
        versions: The versions that will be read.
    """
    with connection.begin():
        connection.execute(text(_QUERIES["force_hash_joins"]))
        rows = [{"key": key, "last_modified": last_modified} for key, last_modified in versions]
        if rows:
            connection.execute(text(_QUERIES["record_version_read"]), rows)
        connection.execute(text(_QUERIES["record_versions_at_start"]))
        connection.execute(text(_QUERIES["seed_unverifiable_rows"]))


def record_failed_versions(connection: Connection, versions: Iterable[Version]) -> None:
    """Record that versions could not be read: their rows are neither verified nor wrong."""
    rows = [{"key": key, "last_modified": last_modified} for key, last_modified in versions]
    with connection.begin():
        connection.execute(text(_QUERIES["record_version_failed"]), rows)


def compare(connection: Connection) -> list[RowMismatch]:
    """Compare stored and expected rows, and return the differences per kind and object.

    Args:
        connection: From `verification_session`, at the start of a transaction. The other functions of this module and
            `repair` run in the same transaction and use its tables ``row_mismatches`` and ``verified_objects``.
    """
    connection.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"))
    for name in (
        "force_hash_joins",
        "record_versions_at_end",
        "analyze_tables",
        "create_row_mismatches",
        "create_verified_objects",
    ):
        connection.execute(text(_QUERIES[name]))
    rows = connection.execute(text(_QUERIES["mismatches_by_object"]))
    return [RowMismatch(kind, key, count, example) for kind, key, count, example in rows]


def compare_quarantine(connection: Connection) -> dict[str, int]:
    """Return key → number of wrong quarantined rows; includes keys that are not in the ingest log."""
    return {row.s3_object_key: row.rows for row in connection.execute(text(_QUERIES["quarantine_mismatches"]))}


def verified_counts(connection: Connection) -> dict[str, ExpectedCounts]:
    """Return key → counts in the ingest log, of the objects that were read."""
    return {
        key: ExpectedCounts(read, quarantined, metadata_rows, data_warnings)
        for key, read, quarantined, metadata_rows, data_warnings in connection.execute(
            text(_QUERIES["verified_counts"])
        )
    }


def count_unverifiable(connection: Connection) -> int:
    """Return the number of stored rows that no object verifies."""
    return int(connection.execute(text(_QUERIES["count_unverifiable"])).scalar_one())
