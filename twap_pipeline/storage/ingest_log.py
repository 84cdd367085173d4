"""The ledger, ``etl_s3_ingest_log``: which version of which object is in the table. The single memory of ingestion.

An entry's ``error_text`` is NULL exactly when the version it names is loaded. A failed version counts its failed_attempts;
after `ATTEMPTS_MAX` it is parked until its bytes change or somebody asks for it by key. When a new version replaces
a loaded one, the old one's account moves to ``previous_versions``. A version is its bytes: where the very bytes are
sent again under another ETag, only that ETag is written.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from sqlalchemy import Connection, Function, bindparam, case, func, select, text, type_coerce, update
from sqlalchemy.dialects.postgresql import JSONB, insert
from sqlalchemy.sql.dml import ReturningInsert

from twap_pipeline.domain.object_ref import ObjectRef
from twap_pipeline.domain.row_counts import RowCounts
from twap_pipeline.storage.schema.models import etl_s3_ingest_log as log

ATTEMPTS_MAX = 3
"""Failed attempts at one version before it is parked."""

LOCK_WAIT_SECONDS = 900.0
"""How long a loader's transaction waits for another's of the same object or events."""


@dataclass(frozen=True, slots=True)
class IngestLogEntry:
    """What the ledger says of one key.

    Args:
        etag: The version it speaks of; None in entries older than revision 002.
        last_modified: That version's LastModified.
        object_date: The UTC day it was filed under.
        error_text: Why it is not loaded; None when it is.
        failed_attempts: Failed attempts at this version.
        row_counts: What became of its rows, once loaded.
        inserted_by_all_versions: Rows that this version and earlier ones of the key brought in.
        history: Entries of its history: versions before this one, and accounts set aside by a requeue.
    """

    etag: str | None
    last_modified: datetime
    object_date: date | None
    error_text: str | None
    failed_attempts: int
    row_counts: RowCounts
    inserted_by_all_versions: int
    history: int = 0

    def is_loaded(self, ref: ObjectRef) -> bool:
        """Return whether this very version is loaded."""
        return self.error_text is None and self.etag == ref.etag

    def is_parked(self, ref: ObjectRef) -> bool:
        """Return whether this very version failed as often as it may."""
        return self.error_text is not None and self.etag == ref.etag and self.failed_attempts >= ATTEMPTS_MAX


_ROW_OUTCOMES = tuple(RowCounts().as_dict())
_EARLIER_INSERTS = text(
    "(SELECT coalesce(sum((version ->> 'rows_inserted')::bigint), 0)"
    " FROM jsonb_array_elements(etl_s3_ingest_log.previous_versions) AS version) AS earlier_inserts"
)
_SELECT = select(
    *(
        log.c[name]
        for name in ("s3_object_key", "etag", "last_modified", "object_date", "error_text", "failed_attempts")
    ),
    _EARLIER_INSERTS,
    func.jsonb_array_length(log.c.previous_versions),
    *(log.c[f"rows_{outcome}"] for outcome in _ROW_OUTCOMES),
)


_SELECT_ONE = _SELECT.where(log.c.s3_object_key == bindparam("key"))
_LOCK = text(
    "SELECT set_config('lock_timeout', :wait, true), set_config('synchronous_commit', 'off', true),"
    " pg_advisory_xact_lock(hashtextextended(:key, 7))"
)


def read_ingest_log(connection: Connection) -> dict[str, IngestLogEntry]:
    """Return every entry by key."""
    return {row.s3_object_key: _entry(row) for row in connection.execute(_SELECT)}


def lock_object(connection: Connection, key: str) -> IngestLogEntry | None:
    """Lock a key until the transaction ends and return its entry: of two loaders at once, one waits for the other.

    No statement of the transaction waits longer than `LOCK_WAIT_SECONDS` for another session; what is said then is
    `ingest.retrying.explain_lock_timeout`'s. Its COMMIT does not wait for the disk: `flush_wal` does, once for many objects.
    """
    connection.execute(_LOCK, {"wait": f"{LOCK_WAIT_SECONDS:g}s", "key": key})
    row = connection.execute(_SELECT_ONE, {"key": key}).one_or_none()
    return None if row is None else _entry(row)


def flush_wal(connection: Connection) -> None:
    """Return when all that was committed before is on disk, and wherever else the server's COMMIT waits for.

    Rows and entry of an object are lost or kept together also without this, since they are one transaction.
    """
    connection.execute(text("SELECT pg_logical_emit_message(true, 'twap_pipeline', 'flush')"))
    connection.commit()


def loaded_keys(connection: Connection, versions: Mapping[str, str]) -> set[str]:
    """Return the keys whose version, given by its ETag, is loaded."""
    statement = select(log.c.s3_object_key, log.c.etag).where(
        log.c.s3_object_key.in_(list(versions)), log.c.error_text.is_(None)
    )
    return {key for key, etag in connection.execute(statement) if versions[key] == etag}


def record_loaded(
    connection: Connection,
    ref: ObjectRef,
    day: date,
    row_counts: RowCounts,
    *,
    data_warnings: Mapping[str, int],
    checksum_verified: bool,
    sha256: str,
    run_id: str | None,
) -> None:
    """Write that this version is loaded, in the same transaction as its rows."""
    values = {
        **{f"rows_{outcome}": count for outcome, count in row_counts.as_dict().items()},
        "rows_ingested": row_counts.stored,
        "rows_read": row_counts.total,
        "data_warnings": dict(data_warnings),
        "checksum_verified": checksum_verified,
        "sha256": sha256,
        "dagster_run_id": run_id,
    }
    connection.execute(_RECORD_LOADED, _key_params(ref, day) | values)


def record_same_content(connection: Connection, ref: ObjectRef, sha256: str) -> bool:
    """Write a loaded object's new ETag where its bytes are the loaded ones; return whether they are.

    The version is the one that was loaded, and its LastModified too; the ETag it had then moves to the history.
    """
    known = (log.c.s3_object_key == ref.key) & log.c.error_text.is_(None) & (log.c.sha256 == sha256)
    known &= log.c.last_modified <= ref.last_modified
    entry = func.jsonb_build_object("sent_again_at", ref.last_modified, "etag", log.c.etag)
    history = log.c.previous_versions.op("||")(type_coerce(entry, JSONB))
    return connection.execute(update(log).where(known).values(etag=ref.etag, previous_versions=history)).rowcount == 1


def record_failed(connection: Connection, ref: ObjectRef, day: date, error_text: str, run_id: str | None) -> int:
    """Write that this version could not be loaded and return its failed attempts so far."""
    values = {"error_text": error_text.replace("\0", "\\0"), "dagster_run_id": run_id}
    return int(connection.execute(_RECORD_FAILED, _key_params(ref, day) | values).scalar_one())


def _key_params(ref: ObjectRef, day: date) -> dict[str, object]:
    return {
        "s3_object_key": ref.key,
        "last_modified": ref.last_modified,
        "etag": ref.etag,
        "size_bytes": ref.size_bytes,
        "object_date": day,
    }


def reset_attempts(connection: Connection) -> list[str]:
    """Give every parked object its attempts back and return their keys: they are taken again like new ones."""
    parked = log.c.error_text.is_not(None) & (log.c.failed_attempts >= ATTEMPTS_MAX)
    statement = update(log).where(parked).values(failed_attempts=0).returning(log.c.s3_object_key)
    return sorted(connection.execute(statement).scalars())


def requeue(connection: Connection, keys: Collection[str], why: str) -> None:
    """Let objects be taken again like new ones; an account that is there stays, as that of an earlier version."""
    nothing = dict.fromkeys(_VERSION_COLUMNS)
    loaded = log.c.s3_object_key.in_(keys) & (log.c.error_text.is_(None) | log.c.rows_read.is_not(None))
    history = log.c.previous_versions.op("||")(type_coerce(_version_snapshot(), JSONB))
    connection.execute(
        update(log).where(loaded).values(error_text=why, failed_attempts=0, previous_versions=history, **nothing)
    )


def add_adjustment(connection: Connection, rows: int) -> str | None:
    """Add so many rows to what the ledger brought in, as an entry of its own in some object's history.

    Needed where rows were deleted or accounts edited: the sum must be the table's, and nothing is erased.

    Returns:
        The object that bears it; None where the ledger is empty.
    """
    bearer = select(log.c.s3_object_key).order_by(log.c.error_text.is_(None), log.c.s3_object_key).limit(1)
    entry = func.jsonb_build_object("corrected_at", func.now(), "rows_inserted", rows)
    history = log.c.previous_versions.op("||")(type_coerce(entry, JSONB))
    statement = update(log).where(log.c.s3_object_key == bearer.scalar_subquery()).values(previous_versions=history)
    return connection.execute(statement.returning(log.c.s3_object_key)).scalar_one_or_none()


def bytes_read_today(connection: Connection) -> int:
    """Return the bytes of the objects that were read, or tried, since midnight UTC by the database's clock."""
    midnight = func.date_trunc("day", func.now(), "UTC")
    statement = select(func.coalesce(func.sum(log.c.size_bytes), 0)).where(log.c.ingested_at >= midnight)
    return int(connection.execute(statement).scalar_one())


_COUNTS = tuple(f"rows_{outcome}" for outcome in _ROW_OUTCOMES)
_VERSION = ("etag", "sha256", "last_modified", "size_bytes", "ingested_at", "dagster_run_id", "rows_read", *_COUNTS)


def _version_snapshot() -> Function[object]:
    """Return what an entry says of its version, to be kept when another takes its place."""
    return func.jsonb_build_object(*(part for name in _VERSION for part in (text(f"'{name}'"), log.c[name])))


_VERSION_COLUMNS = ("rows_ingested", "rows_read", "data_warnings", "checksum_verified", "sha256", *_COUNTS)


def _record(given: Collection[str], fixed: Mapping[str, object], again: Mapping[str, object]) -> "ReturningInsert[Any]":
    """Return the statement that writes an entry; an account that another takes the place of moves to the history.

    Args:
        given: Columns that each execution gives, beside the version's.
        fixed: Columns that are always the same.
        again: Where the key has an entry, columns that are something else.
    """
    of_version = ("s3_object_key", "last_modified", "etag", "size_bytes", "object_date")
    statement = insert(log).values(
        {**{name: bindparam(name) for name in (*of_version, *given)}, "ingested_at": func.now(), **fixed}
    )
    new = statement.excluded
    was_loaded = log.c.error_text.is_(None) & log.c.etag.is_distinct_from(new.etag)
    history = log.c.previous_versions.op("||")(type_coerce(_version_snapshot(), JSONB))
    written = {name: new[name] for name in (*of_version[1:], *given, "ingested_at", *fixed)}
    kept = {"previous_versions": case((was_loaded, history), else_=log.c.previous_versions)}
    return statement.on_conflict_do_update(
        index_elements=[log.c.s3_object_key], set_={**written, **again, **kept}
    ).returning(log.c.failed_attempts)


_RECORD_LOADED = _record(
    (*_VERSION_COLUMNS, "dagster_run_id"), {"error_text": None, "failed_attempts": 0, "orders_refreshed_at": None}, {}
)
_RECORD_FAILED = _record(
    ("error_text", "dagster_run_id"),
    {"failed_attempts": 1, **dict.fromkeys(_VERSION_COLUMNS)},
    {"failed_attempts": case((log.c.etag == bindparam("etag"), log.c.failed_attempts + 1), else_=1)},
)


def _entry(row: Sequence[Any]) -> IngestLogEntry:
    _, etag, last_modified, object_date, error_text, failed_attempts, earlier_inserts, history, *counts = row
    row_counts = RowCounts(*(count or 0 for count in counts))
    inserted = row_counts.inserted + int(earlier_inserts)
    return IngestLogEntry(etag, last_modified, object_date, error_text, failed_attempts, row_counts, inserted, history)
