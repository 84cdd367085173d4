"""Counts of the stored rows per object, and the ingest log's records that an audit compares them with."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import date, datetime

from sqlalchemy import Connection, text

from twap_pipeline.storage.sql_files import load_queries

_QUERIES = load_queries("twap_pipeline.storage.audit", "counts.sql")


@dataclass(frozen=True, slots=True)
class IngestLogRecord:
    """The columns of an ingest log entry that an audit verifies.

    Args:
        etag: ETag of the version; None in entries older than revision 002.
        last_modified: LastModified of the version.
        earlier_versions: LastModified of earlier loaded versions, without impossible ones; None for versions older than
            revision 002.
        size_bytes: Size of the version.
        object_date: UTC date of the object's partition.
        is_loaded: Whether the entry records a loaded version.
        is_consistent: Whether the row counts exist if and only if the version is loaded, and match each other.
    """

    etag: str | None
    last_modified: datetime
    earlier_versions: tuple[datetime | None, ...]
    size_bytes: int | None
    object_date: date | None
    is_loaded: bool
    is_consistent: bool

    def has_version(self, last_modified: datetime | None) -> bool:
        """Return whether the log or the history contains a version with this LastModified."""
        return last_modified in (self.last_modified if self.etag else None, *self.earlier_versions)


@dataclass(frozen=True, slots=True)
class HistoryFault:
    """An entry of the ingest history that the loader cannot have written.

    Args:
        history_id: Number of the entry.
        key: Its object.
        reason: What is wrong.
        is_impossible: Whether the version cannot have existed: its rows have no version.
    """

    history_id: int
    key: str
    reason: str
    is_impossible: bool


def inconsistent_history(connection: Connection) -> list[HistoryFault]:
    """Return the entries of the history that contradict themselves or the order of the versions, by key."""
    return [HistoryFault(*row) for row in connection.execute(text(_QUERIES["inconsistent_history"]))]


def impossible_versions(faults: Collection[HistoryFault]) -> list[int]:
    """Return the history_id of each impossible version."""
    return [fault.history_id for fault in faults if fault.is_impossible]


def read_ingest_log_records(connection: Connection, faults: Collection[HistoryFault]) -> dict[str, IngestLogRecord]:
    """Return key → record of every ingest log entry.

    Args:
        connection: In a transaction.
        faults: From `inconsistent_history`.
    """
    impossible = {"impossible": impossible_versions(faults)}
    return {
        row.s3_object_key: IngestLogRecord(
            row.etag,
            row.last_modified,
            tuple(row.earlier_versions),
            row.size_bytes,
            row.object_date,
            row.is_loaded,
            row.is_consistent,
        )
        for row in connection.execute(text(_QUERIES["ingest_log_records"]), impossible)
    }


def rows_by_version(connection: Connection) -> dict[tuple[str, datetime | None], int]:
    """Return (key, LastModified) → number of stored rows; the LastModified of rows older than revision 002 is None."""
    rows = connection.execute(text(_QUERIES["rows_by_version"]))
    return {(key, last_modified): count for key, last_modified, count in rows}


def quarantined_rows_by_object(connection: Connection) -> dict[str, int]:
    """Return key → number of quarantined rows."""
    return {row.s3_object_key: row.rows for row in connection.execute(text(_QUERIES["quarantined_rows_by_object"]))}
