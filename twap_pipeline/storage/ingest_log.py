"""The ingest log ``etl_s3_ingest_log``: which version of which object is loaded, and its history.

Each data set has its own keys. A version is identified by key, ETag and LastModified. ``error_text`` of an entry
is NULL if and only if the version that the entry names is loaded. Failures increment ``failed_attempts``; after
`ATTEMPTS_MAX` the object is parked until a new version is listed or a person requests its key. Replaced row counts and
failed attempts go to ``etl_s3_ingest_history``. Statements about the rows themselves do not belong here.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime

from sqlalchemy import ARRAY, Connection, Text, any_, literal, select, text

from twap_pipeline.domain.data_set import TWAP_STATUS, DataSet
from twap_pipeline.domain.object_ref import ObjectRef
from twap_pipeline.domain.row_counts import RowCounts
from twap_pipeline.storage.schema.models import PHASES
from twap_pipeline.storage.schema.models import etl_s3_ingest_log as log
from twap_pipeline.storage.sql_files import load_queries

ATTEMPTS_MAX = 3
"""Failed attempts to load one version before it is parked."""

LOCK_WAIT_SECONDS = 900.0
"""``lock_timeout`` of a loader's transaction."""

_QUERIES = load_queries("twap_pipeline.storage", "ingest_log.sql")
_ROW_COUNT_COLUMNS = tuple(f"rows_{outcome}" for outcome in RowCounts().as_dict())


@dataclass(frozen=True, slots=True)
class IngestLogEntry:
    """The entry of one object key.

    Args:
        etag: ETag of the version; None in entries older than revision 002.
        last_modified: LastModified of the version.
        error_text: Reason of the last failure; None if the version is loaded.
        failed_attempts: Failed attempts to load this version.
        ingested_at: Time of the last attempt.
    """

    etag: str | None
    last_modified: datetime
    error_text: str | None
    failed_attempts: int
    ingested_at: datetime

    def includes(self, ref: ObjectRef) -> bool:
        """Return whether the entry names this version, or a later upload of the same ETag."""
        return self.etag == ref.etag and self.last_modified >= ref.last_modified

    def is_loaded(self, ref: ObjectRef) -> bool:
        """Return whether this version of the object, or a later upload of the same ETag, is loaded."""
        return self.error_text is None and self.includes(ref)

    def is_parked(self, ref: ObjectRef) -> bool:
        """Return whether this version of the object failed `ATTEMPTS_MAX` times."""
        return self.error_text is not None and self.includes(ref) and self.failed_attempts >= ATTEMPTS_MAX


@dataclass(frozen=True, slots=True)
class Attempt:
    """An attempt to load a version, as the log records it.

    Args:
        day: UTC date of the object's partition.
        source_url: Identity of the source, from `source_identity`.
        bytes_fetched: Bytes that were received for the attempt, repeated GET requests included.
        run_id: The Dagster run; None if there is none.
        phase_seconds: Phase of `PHASES` → seconds so far; phases that did not begin are left out.
        data_set: Data set of the object.
    """

    day: date
    source_url: str
    bytes_fetched: int
    run_id: str | None = None
    phase_seconds: Mapping[str, float] = field(default_factory=dict)
    data_set: DataSet = TWAP_STATUS


def read_ingest_log(
    connection: Connection, keys: Collection[str] | None = None, *, data_set: DataSet = TWAP_STATUS
) -> dict[str, IngestLogEntry]:
    """Return key → entry of a data set: of these keys, or of all if ``keys`` is None.

    Keys without an entry are left out.
    """
    columns = (log.c[name] for name in ("s3_object_key", *IngestLogEntry.__dataclass_fields__))
    statement = select(*columns).where(log.c.data_set == data_set.name)
    if keys is not None:
        statement = statement.where(log.c.s3_object_key == any_(literal(list(keys), ARRAY(Text))))
    return {key: IngestLogEntry(*values) for key, *values in connection.execute(statement)}


def lock_object(connection: Connection, data_set: DataSet, key: str) -> IngestLogEntry | None:
    """Lock a key of a data set until the transaction ends; return its entry, or None if there is none.

    Sets ``lock_timeout`` to `LOCK_WAIT_SECONDS` for the transaction. A second loader of the same key waits here.
    """
    parameters = {"lock_timeout": f"{LOCK_WAIT_SECONDS:g}s", "data_set": data_set.name, "key": key}
    connection.execute(text(_QUERIES["lock_object"]), parameters)
    return read_ingest_log(connection, [key], data_set=data_set).get(key)


def record_loaded(
    connection: Connection,
    ref: ObjectRef,
    attempt: Attempt,
    row_counts: RowCounts,
    *,
    data_warnings: Mapping[str, int],
    checksum_verified: bool,
    sha256: str,
    last_event_at: datetime | None = None,
) -> None:
    """Record that this version is loaded. Call it in the transaction that writes its rows."""
    _record_version(
        connection,
        ref,
        attempt,
        **{f"rows_{outcome}": count for outcome, count in row_counts.as_dict().items()},
        rows_ingested=row_counts.stored,
        rows_read=row_counts.total,
        data_warnings=json.dumps(data_warnings),
        checksum_verified=checksum_verified,
        sha256=sha256,
        last_event_at=last_event_at,
    )


def record_failed(connection: Connection, ref: ObjectRef, attempt: Attempt, error_text: str) -> int:
    """Record that this version failed to load; return its failed attempts, this one included."""
    return _record_version(connection, ref, attempt, error_text=error_text.replace("\0", "\\0"))


def record_skipped(connection: Connection, ref: ObjectRef, attempt: Attempt) -> None:
    """Add the fetched bytes of an attempt to the entry of the object, which another run has loaded meanwhile."""
    parameters = {"data_set": attempt.data_set.name, "key": ref.key, "bytes_fetched": attempt.bytes_fetched}
    connection.execute(text(_QUERIES["add_bytes_fetched"]), parameters)


def record_audit_read(connection: Connection, data_set: DataSet, refs: Sequence[ObjectRef]) -> None:
    """Record the bytes of the objects that a deep audit reads, so that they count against the budget of the day."""
    if refs:
        size_bytes = sum(ref.size_bytes for ref in refs)
        parameters = {"data_set": data_set.name, "key": refs[0].key, "bytes_fetched": size_bytes}
        connection.execute(text(_QUERIES["record_audit_read"]), parameters)


_VERSION_COLUMNS = (
    "rows_ingested",
    "rows_read",
    *_ROW_COUNT_COLUMNS,
    "data_warnings",
    "checksum_verified",
    "sha256",
    "last_event_at",
    "error_text",
)


def _record_version(connection: Connection, ref: ObjectRef, attempt: Attempt, **values: object) -> int:
    """Insert or replace the entry; columns without a value become NULL. Return the failed attempts."""
    parameters = {
        **dict.fromkeys(_VERSION_COLUMNS),
        "data_set": attempt.data_set.name,
        "s3_object_key": ref.key,
        "last_modified": ref.last_modified,
        "etag": ref.etag,
        "size_bytes": ref.size_bytes,
        "object_date": attempt.day,
        "source_url": attempt.source_url,
        "bytes_fetched": attempt.bytes_fetched,
        "dagster_run_id": attempt.run_id,
        **dict.fromkeys(f"{phase}_ms" for phase in PHASES),
        **{f"{phase}_ms": round(seconds * 1000) for phase, seconds in attempt.phase_seconds.items()},
        **values,
    }
    return int(connection.execute(text(_QUERIES["record_version"]), parameters).scalar_one())


def reset_attempts(connection: Connection, *, data_set: DataSet = TWAP_STATUS) -> list[str]:
    """Set the failed attempts of every parked object of a data set to 0; return the keys, sorted.

    The next ingestion loads them.
    """
    parameters = {"data_set": data_set.name, "attempts_max": ATTEMPTS_MAX}
    keys = connection.execute(text(_QUERIES["reset_attempts"]), parameters).scalars()
    return sorted(keys)


def requeue(connection: Connection, keys: Collection[str], reason: str, *, data_set: DataSet = TWAP_STATUS) -> None:
    """Mark loaded objects as failed: the next ingestion loads them again. Their row counts go to the history."""
    parameters = {"data_set": data_set.name, "keys": list(keys), "reason": reason}
    connection.execute(text(_QUERIES["requeue"]), parameters)


def add_adjustment(connection: Connection, data_set: DataSet, rows: int) -> str | None:
    """Add ``rows``, which may be negative, to the sum of inserted rows, after rows were deleted or row counts edited.

    Return the key whose history contains the adjustment; None if the data set has no entry.
    """
    parameters = {"data_set": data_set.name, "rows": rows}
    return connection.execute(text(_QUERIES["add_adjustment"]), parameters).scalar_one_or_none()


def bytes_read_today(connection: Connection) -> int:
    """Return the bytes that all attempts and deep audits since midnight UTC (server clock) fetched, of all data sets.

    An object that is being loaded, or whose process crashed, counts with its size.
    """
    return int(connection.execute(text(_QUERIES["bytes_read_today"])).scalar_one())


def find_other_source(connection: Connection, source_url: str, *, data_set: DataSet = TWAP_STATUS) -> str | None:
    """Return a source of a data set if no entry has this source; None if one has, or if the log records no source."""
    parameters = {"data_set": data_set.name, "source_url": source_url}
    return connection.execute(text(_QUERIES["other_source"]), parameters).scalar_one_or_none()
