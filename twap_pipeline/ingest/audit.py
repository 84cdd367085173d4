"""Compares the source's listing, the ingest log and the row counts of the tables; reads no object.

An audit detects rows that were added, deleted or moved between objects, and inconsistent ingest log entries. Edited
values are detected by `deep_audit`, which reads the objects. Add a kind of finding to `AuditCode` and `_DESCRIPTIONS`.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from enum import StrEnum

from sqlalchemy import Engine

from twap_pipeline.domain.object_ref import KEY_DATE_PATTERNS, ObjectRef, partition_date
from twap_pipeline.storage.audit.counts import (
    IngestLogRecord,
    inconsistent_history,
    quarantined_rows_by_object,
    read_ingest_log_records,
    rows_by_version,
)
from twap_pipeline.storage.ingest_log import ATTEMPTS_MAX, IngestLogEntry, read_ingest_log
from twap_pipeline.storage.maintenance import STATEMENT_TIMEOUT_SECONDS, statement_timeout


class AuditCode(StrEnum):
    """Kinds of findings. The values are stable: operators and scripts rely on them."""

    NOT_INGESTED = "not_ingested"
    ETAG_CHANGED = "etag_changed"
    DELETED_FROM_SOURCE = "deleted_from_source"
    FAILED = "failed"
    PARKED = "parked"
    INCONSISTENT_LOG_ENTRY = "inconsistent_log_entry"
    REUPLOADED_UNCHANGED = "reuploaded_unchanged"
    BEFORE_START_DATE = "before_start_date"
    ORPHAN_ROWS = "orphan_rows"
    UNKNOWN_OBJECT_VERSION = "unknown_object_version"
    ROW_COUNT_MISMATCH = "row_count_mismatch"
    OBJECT_ROW_COUNT_EXCEEDED = "object_row_count_exceeded"
    QUARANTINE_COUNT_MISMATCH = "quarantine_count_mismatch"
    INCONSISTENT_HISTORY = "inconsistent_history"
    ROWS_MISSING = "rows_missing"
    ROWS_CHANGED = "rows_changed"
    ROWS_ADDED = "rows_added"
    LOG_COUNTS_MISMATCH = "log_counts_mismatch"
    QUARANTINED_ROWS_MISMATCH = "quarantined_rows_mismatch"
    ORDERS_MISMATCH = "orders_mismatch"
    OBJECT_UNREADABLE = "object_unreadable"
    UNVERIFIABLE_ROWS = "unverifiable_rows"


_DESCRIPTIONS = {
    AuditCode.NOT_INGESTED: "objects are listed but not in the ingest log: run `twap-pipeline ingest`",
    AuditCode.ETAG_CHANGED: "objects are listed with another ETag than the loaded one: run `twap-pipeline ingest`",
    AuditCode.DELETED_FROM_SOURCE: "loaded objects are no longer listed; their rows stay",
    AuditCode.FAILED: "objects failed to load; `twap-pipeline ingest` tries them again",
    AuditCode.PARKED: "objects failed too often: fix the cause, then run `twap-pipeline ingest --object-key KEY`",
    AuditCode.INCONSISTENT_LOG_ENTRY: "ingest log entries contradict themselves or the listing: they were edited",
    AuditCode.REUPLOADED_UNCHANGED: (
        "objects are listed with the ETag of the ingest log and a later LastModified: run `twap-pipeline ingest`"
    ),
    AuditCode.BEFORE_START_DATE: "objects are of days before TWAP_START_DATE: they are not ingested",
    AuditCode.ORPHAN_ROWS: "rows name an object that is not in the ingest log",
    AuditCode.UNKNOWN_OBJECT_VERSION: "rows name a version that their object never had",
    AuditCode.ROW_COUNT_MISMATCH: "the number of stored rows differs from the ingest log: rows were added or deleted",
    AuditCode.OBJECT_ROW_COUNT_EXCEEDED: "more rows name an object than it stored",
    AuditCode.QUARANTINE_COUNT_MISMATCH: "quarantined rows were added or deleted",
    AuditCode.INCONSISTENT_HISTORY: "history entries contradict themselves or the later versions: they were edited",
    AuditCode.ROWS_MISSING: "objects contain events that are not stored: rows were deleted",
    AuditCode.ROWS_CHANGED: "rows differ from their objects: values were edited, or rows moved to another object",
    AuditCode.ROWS_ADDED: "rows were added that no object contains",
    AuditCode.LOG_COUNTS_MISMATCH: "row counts, data warnings or checksums in the ingest log differ from the object",
    AuditCode.QUARANTINED_ROWS_MISMATCH: "quarantined rows differ from their objects",
    AuditCode.ORDERS_MISMATCH: "orders differ from their events in twap_status",
    AuditCode.OBJECT_UNREADABLE: "loaded objects can no longer be read: their rows are not verified",
    AuditCode.UNVERIFIABLE_ROWS: "rows of deleted objects and replaced versions: no object is left to verify them",
}
_INFORMATIONAL = {AuditCode.DELETED_FROM_SOURCE, AuditCode.BEFORE_START_DATE, AuditCode.UNVERIFIABLE_ROWS}


@dataclass(frozen=True, slots=True)
class AuditFinding:
    """One kind of difference.

    Args:
        code: Its kind.
        examples: Every occurrence: a key, or a key with details.
    """

    code: AuditCode
    examples: tuple[str, ...]

    @property
    def description(self) -> str:
        """What the finding means, and what to do."""
        return _DESCRIPTIONS[self.code]

    @property
    def is_informational(self) -> bool:
        """Whether the tables are correct in spite of the finding."""
        return self.code in _INFORMATIONAL


def has_errors(findings: Iterable[AuditFinding]) -> bool:
    """Return whether any finding is not informational."""
    return any(not finding.is_informational for finding in findings)


def to_findings(examples_by_code: Mapping[AuditCode, Iterable[str]]) -> list[AuditFinding]:
    """Return a finding per code that has examples; the examples are sorted."""
    findings = (AuditFinding(code, tuple(sorted(examples))) for code, examples in examples_by_code.items())
    return [finding for finding in findings if finding.examples]


def audit(
    engine: Engine,
    listing: Iterable[ObjectRef],
    since: date,
    key_date_patterns: Sequence[str] = KEY_DATE_PATTERNS,
    *,
    timeout_seconds: float = STATEMENT_TIMEOUT_SECONDS,
) -> list[AuditFinding]:
    """Return the differences between listing, ingest log and tables; empty if there are none.

    Args:
        engine: A database at head. The tables are read in one snapshot.
        listing: All objects of the source.
        since: First UTC date of the partitions; older objects are an informational finding.
        key_date_patterns: Regular expressions of dates in keys.
        timeout_seconds: Limit of each statement.

    Raises:
        StatementTimeoutError: A statement reached the limit.
    """
    listed = {ref.key: ref for ref in listing}
    with (
        engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection,
        statement_timeout(connection, timeout_seconds, "audit of the row counts"),
    ):
        faults = inconsistent_history(connection)
        entries, records = read_ingest_log(connection), read_ingest_log_records(connection, faults)
        stored, quarantined = rows_by_version(connection), quarantined_rows_by_object(connection)
    inconsistent = inconsistent_entries(records, listed, key_date_patterns)
    in_range = select_in_range(listed.values(), since, key_date_patterns)
    return to_findings(
        {
            **_compare_listing(listed, in_range, entries),
            AuditCode.BEFORE_START_DATE: [key for key in listed if key not in in_range],
            AuditCode.INCONSISTENT_LOG_ENTRY: [f"{key}: {reason}" for key, reason in inconsistent.items()],
            **_compare_rows(entries, records, stored),
            AuditCode.QUARANTINE_COUNT_MISMATCH: _compare_quarantine(entries, quarantined),
            AuditCode.INCONSISTENT_HISTORY: [
                f"{fault.key}: history entry {fault.history_id}: {fault.reason}" for fault in faults
            ],
        }
    )


def select_in_range(
    listing: Iterable[ObjectRef], since: date, key_date_patterns: Sequence[str]
) -> dict[str, ObjectRef]:
    """Return key → object of the objects whose partition is not before ``since``."""
    return {ref.key: ref for ref in listing if partition_date(ref, key_date_patterns) >= since}


def _compare_listing(
    listed: Mapping[str, ObjectRef], in_range: Mapping[str, ObjectRef], entries: Mapping[str, IngestLogEntry]
) -> dict[AuditCode, list[str]]:
    changed = {key for key, ref in in_range.items() if key in entries and not entries[key].includes(ref)}
    reuploaded = {key for key in changed if entries[key].etag == in_range[key].etag}
    failures = {key: entry for key, entry in entries.items() if entry.error_text is not None and key not in changed}
    return {
        AuditCode.NOT_INGESTED: [key for key in in_range if key not in entries],
        AuditCode.ETAG_CHANGED: list(changed - reuploaded),
        AuditCode.REUPLOADED_UNCHANGED: [
            f"{key}: ingested with {entries[key].last_modified}, listed with {in_range[key].last_modified}"
            for key in reuploaded
        ],
        AuditCode.DELETED_FROM_SOURCE: [
            key for key, entry in entries.items() if key not in listed and entry.error_text is None
        ],
        AuditCode.FAILED: [key for key, entry in failures.items() if entry.failed_attempts < ATTEMPTS_MAX],
        AuditCode.PARKED: [key for key, entry in failures.items() if entry.failed_attempts >= ATTEMPTS_MAX],
    }


def inconsistent_entries(
    records: Mapping[str, IngestLogRecord], listed: Mapping[str, ObjectRef], key_date_patterns: Sequence[str]
) -> dict[str, str]:
    """Return key → reason, for entries that contradict themselves or the listing of the same ETag."""
    reasons = {key: "its row counts do not match" for key, record in records.items() if not record.is_consistent}
    for key, ref in listed.items():
        record = records.get(key)
        if record is None or record.etag != ref.etag:
            continue
        day = partition_date(replace(ref, last_modified=record.last_modified), key_date_patterns)
        if record.size_bytes != ref.size_bytes:
            reasons[key] = f"size_bytes is {record.size_bytes}, listed {ref.size_bytes}"
        elif record.last_modified > ref.last_modified:
            reasons[key] = f"last_modified is {record.last_modified}, listed {ref.last_modified}"
        elif record.object_date != day:
            reasons[key] = f"object_date is {record.object_date}, its partition is {day}"
    return reasons


def _compare_rows(
    entries: Mapping[str, IngestLogEntry],
    records: Mapping[str, IngestLogRecord],
    stored: Mapping[tuple[str, datetime | None], int],
) -> dict[AuditCode, list[str]]:
    orphans, unknown_versions, exceeded = Counter[str](), Counter[str](), list[str]()
    for (key, version), count in stored.items():
        if key not in entries:
            orphans[key] += count
        elif not records[key].has_version(version):
            unknown_versions[key] += count
        elif _exceeds_row_counts(entries[key], records[key], version, count):
            exceeded.append(f"{key}: {count} rows, {entries[key].row_counts.stored} in the ingest log")
    inserted, total = sum(entry.inserted_by_all_versions for entry in entries.values()), sum(stored.values())
    mismatch = [f"{inserted} rows inserted according to the ingest log, {total} stored"]
    return {
        AuditCode.ORPHAN_ROWS: [f"{key}: {count} rows" for key, count in orphans.items()],
        AuditCode.UNKNOWN_OBJECT_VERSION: [f"{key}: {count} rows" for key, count in unknown_versions.items()],
        AuditCode.ROW_COUNT_MISMATCH: mismatch if inserted != total else [],
        AuditCode.OBJECT_ROW_COUNT_EXCEEDED: exceeded,
    }


def _exceeds_row_counts(entry: IngestLogEntry, record: IngestLogRecord, version: datetime | None, count: int) -> bool:
    """Return whether more rows name the loaded version than it stored.

    False if an earlier version has the same LastModified: their rows cannot be distinguished.
    """
    is_current = version == record.last_modified and version not in record.earlier_versions
    return is_current and record.is_loaded and record.etag is not None and count > entry.row_counts.stored


def _compare_quarantine(entries: Mapping[str, IngestLogEntry], quarantined: Mapping[str, int]) -> list[str]:
    mismatches = [
        f"{key}: {quarantined.get(key, 0)} quarantined rows, {entry.row_counts.quarantined} in the ingest log"
        for key, entry in entries.items()
        if entry.error_text is None and quarantined.get(key, 0) != entry.row_counts.quarantined
    ]
    return mismatches + [
        f"{key}: {count} quarantined rows, no ingest log entry"
        for key, count in quarantined.items()
        if key not in entries
    ]
