"""What the database contains per object: the ingest log entry that an audit verifies, and the number of stored rows."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import NamedTuple

from sqlalchemy import Connection, text

from twap_pipeline.domain.data_set import DataSet
from twap_pipeline.storage.data_set_sql import compose
from twap_pipeline.storage.sql_files import load_queries

_QUERIES = load_queries("twap_pipeline.storage.audit", "counts.sql")
_ROWS_PER_FETCH = 2_000


class IngestLogRecord(NamedTuple):
    """The columns of an ingest log entry that an audit verifies.

    Args:
        etag: ETag of the version; None in entries older than revision 002.
        last_modified: LastModified of the version.
        size_bytes: Size of the version.
        object_date: UTC date of the object's partition.
        is_loaded: Whether the entry records a loaded version.
        failed_attempts: Failed attempts to load this version.
        is_consistent: Whether the row counts exist if and only if the version is loaded, and match each other.
        rows_stored: Rows that this version inserted, updated or found unchanged; 0 unless it is loaded.
        rows_quarantined: Quarantined rows of this version; 0 unless it is loaded.
        rows_inserted: Rows that this and all earlier versions of the object inserted.
        earlier_versions: LastModified of earlier loaded versions, without impossible ones; None for versions older than
            revision 002.
    """

    etag: str | None
    last_modified: datetime
    size_bytes: int | None
    object_date: date | None
    is_loaded: bool
    failed_attempts: int
    is_consistent: bool
    rows_stored: int
    rows_quarantined: int
    rows_inserted: int
    earlier_versions: Sequence[datetime | None]

    def has_version(self, last_modified: datetime | None) -> bool:
        """Return whether the log or the history contains a version with this LastModified."""
        return last_modified in (self.last_modified if self.etag else None, *self.earlier_versions)


@dataclass(frozen=True, slots=True)
class HistoryFault:
    """An entry of the ingest history that the loader cannot have written.

    Args:
        history_id: Number of the entry.
        reason: What is wrong.
        is_impossible: Whether the version cannot have existed: its rows have no version.
    """

    history_id: int
    reason: str
    is_impossible: bool


class StoredObject(NamedTuple):
    """What the database contains of one object.

    Args:
        key: Its key.
        entry: Its ingest log entry; None if there is none.
        faults: Its wrong history entries, by number.
        rows: LastModified of a version and the number of stored rows that name it, for each version. The LastModified
            of rows older than revision 002 is None.
        quarantined: Number of quarantined rows.
    """

    key: str
    entry: IngestLogRecord | None
    faults: Sequence[HistoryFault] = ()
    rows: Sequence[tuple[datetime | None, int]] = ()
    quarantined: int = 0


def stored_objects(connection: Connection, data_set: DataSet) -> Iterator[StoredObject]:
    """Yield every object of a data set: of the ingest log, the stored and the quarantined rows, in key order.

    A server-side cursor reads them, so that the memory does not depend on their number.

    Args:
        connection: In a transaction, which must not end before the last object.
        data_set: The data set.
    """
    options = {"stream_results": True, "yield_per": _ROWS_PER_FETCH}
    query, parameters = text(compose(_QUERIES["stored_objects"], data_set)), {"data_set": data_set.name}
    with connection.execute(query, parameters, execution_options=options) as result:
        for key, *columns, earlier_versions, faults, versions, counts, quarantined in result:
            has_entry = columns[1] is not None  # last_modified
            yield StoredObject(
                key,
                IngestLogRecord._make([*columns, earlier_versions or ()]) if has_entry else None,
                [HistoryFault(*fault) for fault in faults or ()],
                list(zip(versions or (), counts or (), strict=True)),
                quarantined or 0,
            )


def impossible_versions(faults: Collection[HistoryFault]) -> list[int]:
    """Return the history_id of each impossible version."""
    return [fault.history_id for fault in faults if fault.is_impossible]
