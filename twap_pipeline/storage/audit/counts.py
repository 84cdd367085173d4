"""What the tables hold of each object, counted, and what the ledger's entries claim: the audit's evidence."""

from dataclasses import dataclass
from datetime import date, datetime

from sqlalchemy import Connection, text


@dataclass(frozen=True, slots=True)
class IngestLogRecord:
    """What an entry says of its object.

    Args:
        etag: The version; None in entries older than revision 002.
        last_modified: Of the version.
        earlier: LastModified of the versions before it, None for those from before revision 002.
        size_bytes: Its length.
        object_date: The UTC day it was filed under.
        loaded: Whether it says so.
        consistent: Whether its counts are there, if it is loaded, and fit each other.
    """

    etag: str | None
    last_modified: datetime
    earlier: tuple[datetime | None, ...]
    size_bytes: int | None
    object_date: date | None
    loaded: bool
    consistent: bool

    def has_version(self, version: datetime | None) -> bool:
        """Return whether the object ever had the version that a row names."""
        return version in (self.last_modified if self.etag else None, *self.earlier)


_RECORDS = """
SELECT s3_object_key, etag, last_modified, ARRAY(
    SELECT CASE WHEN version ->> 'etag' IS NOT NULL THEN (version ->> 'last_modified')::timestamptz END
    FROM jsonb_array_elements(previous_versions) AS version WHERE version ? 'last_modified') AS earlier,
  size_bytes, object_date, error_text IS NULL AS loaded, CASE WHEN error_text IS NOT NULL THEN rows_read IS NULL
    ELSE etag IS NULL OR (failed_attempts = 0 AND rows_read IS NOT NULL
    AND rows_ingested IS NOT DISTINCT FROM rows_inserted + rows_updated + rows_unchanged) END AS consistent
FROM etl_s3_ingest_log
"""


def read_ingest_log_records(connection: Connection) -> dict[str, IngestLogRecord]:
    """Return every entry's claim by key."""
    return {
        key: IngestLogRecord(etag, last_modified, tuple(earlier), *rest)
        for key, etag, last_modified, earlier, *rest in connection.execute(text(_RECORDS))
    }


def rows_by_version(connection: Connection) -> dict[tuple[str, datetime | None], int]:
    """Return the rows of each object's version, by key and the LastModified that the rows name."""
    statement = "SELECT s3_object_key, s3_last_modified, count(*) FROM twap_status GROUP BY 1, 2"
    return {(key, last_modified): count for key, last_modified, count in connection.execute(text(statement))}


def rejected_by_object(connection: Connection) -> dict[str, int]:
    """Return the quarantined rows of each object."""
    statement = "SELECT s3_object_key, count(*) FROM twap_status_quarantine GROUP BY 1"
    return {str(key): int(count) for key, count in connection.execute(text(statement))}
