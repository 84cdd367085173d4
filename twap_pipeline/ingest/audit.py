"""Compares the source's listing, the ingest log and the row counts of the tables; reads no object.

An audit detects rows that were added, deleted or moved between objects, and inconsistent ingest log entries. Edited
values are detected by `deep_audit`, which reads the objects. Add a kind of finding to `AuditCode` and `_DESCRIPTIONS`.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime
from enum import StrEnum
from typing import TypeVar

from sqlalchemy import Engine

from twap_pipeline.domain.data_set import TWAP_STATUS, DataSet
from twap_pipeline.domain.object_ref import KEY_DATE_PATTERNS, ObjectRef, day_from_key, is_escaped, utc_date
from twap_pipeline.storage.audit.counts import IngestLogRecord, StoredObject, stored_objects
from twap_pipeline.storage.audit.repair import RepairResult
from twap_pipeline.storage.ingest_log import ATTEMPTS_MAX
from twap_pipeline.storage.long_statements import STATEMENT_TIMEOUT_SECONDS, statement_timeout
from twap_pipeline.storage.months.archived import count_archived_rows

EXAMPLES_MAX = 10_000
"""Occurrences of a finding that are kept as examples. All of them are counted."""

_Keyed = TypeVar("_Keyed", ObjectRef, StoredObject)


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
    ARCHIVED_ROWS = "archived_rows"


def ingest_command(data_set: DataSet) -> str:
    """Return the command that loads a data set."""
    return "twap-pipeline ingest" + ("" if data_set == TWAP_STATUS else f" --data-set {data_set.name}")


_DESCRIPTIONS = {
    AuditCode.NOT_INGESTED: "objects are listed but not in the ingest log: run `{ingest}`",
    AuditCode.ETAG_CHANGED: "objects are listed with another ETag than the loaded one: run `{ingest}`",
    AuditCode.DELETED_FROM_SOURCE: "loaded objects are no longer listed; their rows stay",
    AuditCode.FAILED: "objects failed to load; `{ingest}` tries them again",
    AuditCode.PARKED: "objects failed too often: fix the cause, then run `{ingest} --object-key KEY`",
    AuditCode.INCONSISTENT_LOG_ENTRY: "ingest log entries contradict themselves or the listing: they were edited",
    AuditCode.REUPLOADED_UNCHANGED: (
        "objects are listed with the ETag of the ingest log and a later LastModified: run `{ingest}`"
    ),
    AuditCode.BEFORE_START_DATE: (
        "objects are of days before TWAP_START_DATE, or TWAP_FILLS_START_DATE for fills: they are not ingested"
    ),
    AuditCode.ORPHAN_ROWS: "rows name an object that is not in the ingest log",
    AuditCode.UNKNOWN_OBJECT_VERSION: "rows name a version that their object never had",
    AuditCode.ROW_COUNT_MISMATCH: "the number of stored rows differs from the ingest log: rows were added or deleted",
    AuditCode.OBJECT_ROW_COUNT_EXCEEDED: "more rows name an object than it stored",
    AuditCode.QUARANTINE_COUNT_MISMATCH: "quarantined rows were added or deleted",
    AuditCode.INCONSISTENT_HISTORY: "history entries contradict themselves or the later versions: they were edited",
    AuditCode.ROWS_MISSING: "objects contain rows that are not stored: rows were deleted",
    AuditCode.ROWS_CHANGED: "rows differ from their objects: values were edited, or rows moved to another object",
    AuditCode.ROWS_ADDED: "rows were added that no object contains",
    AuditCode.LOG_COUNTS_MISMATCH: "row counts, data warnings or checksums in the ingest log differ from the object",
    AuditCode.QUARANTINED_ROWS_MISMATCH: "quarantined rows differ from their objects",
    AuditCode.ORDERS_MISMATCH: "orders differ from their events in twap_status",
    AuditCode.OBJECT_UNREADABLE: "loaded objects can no longer be read: their rows are not verified",
    AuditCode.UNVERIFIABLE_ROWS: "rows of deleted objects and replaced versions: no object is left to verify them",
    AuditCode.ARCHIVED_ROWS: "objects contain events of archived months: restore a month to verify its rows",
}
_INFORMATIONAL = {
    AuditCode.DELETED_FROM_SOURCE,
    AuditCode.BEFORE_START_DATE,
    AuditCode.UNVERIFIABLE_ROWS,
    AuditCode.ARCHIVED_ROWS,
}


Difference = tuple[AuditCode, str]
"""One occurrence of a finding: its code and its example."""


@dataclass(frozen=True, slots=True)
class AuditFinding:
    """One kind of difference.

    Args:
        code: Its kind.
        examples: The first `EXAMPLES_MAX` occurrences: a key, or a key with details.
        count: Number of occurrences.
        data_set: Data set that was audited.
    """

    code: AuditCode
    examples: tuple[str, ...]
    count: int
    data_set: DataSet = TWAP_STATUS

    @property
    def description(self) -> str:
        """What the finding means, and what to do."""
        return _DESCRIPTIONS[self.code].format(ingest=ingest_command(self.data_set))

    @property
    def is_informational(self) -> bool:
        """Whether the tables are correct in spite of the finding."""
        return self.code in _INFORMATIONAL


@dataclass(frozen=True, slots=True)
class AuditReport:
    """Result of an audit.

    Args:
        findings: Every difference, informational ones included.
        objects_read: Objects that a deep audit read; 0 for other audits.
        repair: What was repaired; None if no repair was requested.
    """

    findings: Sequence[AuditFinding]
    objects_read: int = 0
    repair: RepairResult | None = None

    @property
    def has_errors(self) -> bool:
        """Whether any finding is not informational."""
        return any(not finding.is_informational for finding in self.findings)

    def as_json(self) -> dict[str, object]:
        """Return the report as one JSON object."""
        return {
            "has_errors": self.has_errors,
            "objects_read": self.objects_read,
            "findings": [
                {
                    "code": str(finding.code),
                    "description": finding.description,
                    "is_informational": finding.is_informational,
                    "count": finding.count,
                    "examples": finding.examples,
                }
                for finding in self.findings
            ],
            "repair": asdict(self.repair) if self.repair else None,
        }


def to_findings(differences: Iterable[Difference], data_set: DataSet = TWAP_STATUS) -> list[AuditFinding]:
    """Return a finding per code that occurs, in the order of `AuditCode`."""
    counts = dict.fromkeys(AuditCode, 0)
    examples: dict[AuditCode, list[str]] = {code: [] for code in AuditCode}
    for code, example in differences:
        counts[code] += 1
        if counts[code] <= EXAMPLES_MAX:
            examples[code].append(example)
    return [AuditFinding(code, tuple(examples[code]), count, data_set) for code, count in counts.items() if count]


def audit(
    engine: Engine,
    listing: Iterable[ObjectRef],
    since: date,
    key_date_patterns: Sequence[str] = KEY_DATE_PATTERNS,
    *,
    timeout_seconds: float = STATEMENT_TIMEOUT_SECONDS,
    data_set: DataSet = TWAP_STATUS,
) -> list[AuditFinding]:
    """Return the differences between listing, ingest log and tables; empty if there are none.

    The listing, all objects of the source in key order, and the tables are read as streams: the memory does not depend
    on the number of objects. The tables are read in one snapshot, taken before the first object is listed. Objects
    before ``since`` are an informational finding.

    Raises:
        StatementTimeoutError: A statement reached the limit.
        ValueError: The listing is not in key order.
    """
    with (
        engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection,
        statement_timeout(connection, timeout_seconds, "audit of the row counts"),
    ):
        archived = count_archived_rows(connection) if data_set == TWAP_STATUS else 0
        differences = _find_differences(
            listing, stored_objects(connection, data_set), since, key_date_patterns, archived
        )
        return to_findings(differences, data_set)


def _find_differences(
    listing: Iterable[ObjectRef],
    stored: Iterable[StoredObject],
    since: date,
    key_date_patterns: Sequence[str],
    archived_rows: int,
) -> Iterator[Difference]:
    inserted_rows = stored_rows = 0
    for key, ref, item in merge_by_key(listing, stored):
        entry = item.entry if item else None
        yield from _compare_listing(key, ref, entry, since, key_date_patterns)
        if item is not None:
            yield from _compare_rows(item)
            inserted_rows += entry.rows_inserted if entry else 0
            stored_rows += sum(count for _, count in item.rows)
    if inserted_rows != stored_rows + archived_rows:
        found = f"{stored_rows} stored" + (f" and {archived_rows} archived" if archived_rows else "")
        sums = f"{inserted_rows} rows inserted according to the ingest log, {found}"
        yield AuditCode.ROW_COUNT_MISMATCH, sums


def merge_by_key(
    listing: Iterable[ObjectRef], stored: Iterable[StoredObject]
) -> Iterator[tuple[str, ObjectRef | None, StoredObject | None]]:
    """Yield each key with what is listed and what is stored of it, from two streams in key order.

    Objects with an escaped key come last. They are few, and not in the order of the listing.

    Raises:
        ValueError: A stream is not in key order.
    """
    escaped_refs: dict[str, ObjectRef] = {}
    escaped_items: dict[str, StoredObject] = {}
    refs, items = _hold_escaped(listing, escaped_refs), _hold_escaped(stored, escaped_items)
    ref, item = next(refs, None), next(items, None)
    while ref is not None or item is not None:
        key = min(head.key for head in (ref, item) if head is not None)
        listed = ref if ref is not None and ref.key == key else None
        found = item if item is not None and item.key == key else None
        yield key, listed, found
        ref = next(refs, None) if listed else ref
        item = next(items, None) if found else item
    for key in sorted({*escaped_refs, *escaped_items}):
        yield key, escaped_refs.get(key), escaped_items.get(key)


def _hold_escaped(stream: Iterable[_Keyed], escaped: dict[str, _Keyed]) -> Iterator[_Keyed]:
    """Yield the objects of a stream in key order; put those with an escaped key into ``escaped`` instead."""
    previous = None
    for item in stream:
        if is_escaped(item.key):
            escaped[item.key] = item
        elif previous is not None and item.key <= previous:
            raise ValueError(f"the objects are not in key order: {item.key!r} follows {previous!r}")
        else:
            previous = item.key
            yield item


def _compare_listing(
    key: str, ref: ObjectRef | None, entry: IngestLogRecord | None, since: date, key_date_patterns: Sequence[str]
) -> Iterator[Difference]:
    """Yield the differences between a listed object and its ingest log entry; either may be missing."""
    is_changed = False
    day_of_key = day_from_key(key, key_date_patterns)
    if ref is None:
        if entry is not None and entry.is_loaded:
            yield AuditCode.DELETED_FROM_SOURCE, key
    elif (day_of_key or utc_date(ref.last_modified)) < since:
        yield AuditCode.BEFORE_START_DATE, key
    elif entry is None:
        yield AuditCode.NOT_INGESTED, key
    elif entry.etag != ref.etag:
        is_changed = True
        yield AuditCode.ETAG_CHANGED, key
    elif entry.last_modified < ref.last_modified:
        is_changed = True
        versions = f"ingested with {entry.last_modified}, listed with {ref.last_modified}"
        yield AuditCode.REUPLOADED_UNCHANGED, f"{key}: {versions}"
    if entry is not None and not entry.is_loaded and not is_changed:
        yield AuditCode.FAILED if entry.failed_attempts < ATTEMPTS_MAX else AuditCode.PARKED, key
    if entry is not None and (reason := entry_inconsistency(entry, ref, day_of_key)):
        yield AuditCode.INCONSISTENT_LOG_ENTRY, f"{key}: {reason}"


def entry_inconsistency(entry: IngestLogRecord, ref: ObjectRef | None, day_of_key: date | None) -> str | None:
    """Return how an entry contradicts itself, or the listing of the same ETag; None if it does not."""
    if ref is not None and entry.etag == ref.etag:
        day = day_of_key or utc_date(entry.last_modified)
        if entry.size_bytes != ref.size_bytes:
            return f"size_bytes is {entry.size_bytes}, listed {ref.size_bytes}"
        if entry.last_modified > ref.last_modified:
            return f"last_modified is {entry.last_modified}, listed {ref.last_modified}"
        if entry.object_date != day:
            return f"object_date is {entry.object_date}, its partition is {day}"
    return None if entry.is_consistent else "its row counts do not match"


def _compare_rows(item: StoredObject) -> Iterator[Difference]:
    """Yield the differences between stored rows, quarantined rows, history and ingest log entry of one object."""
    key, entry = item.key, item.entry
    for fault in item.faults:
        yield AuditCode.INCONSISTENT_HISTORY, f"{key}: history entry {fault.history_id}: {fault.reason}"
    if entry is None:
        if item.rows:
            yield AuditCode.ORPHAN_ROWS, f"{key}: {sum(count for _, count in item.rows)} rows"
        if item.quarantined:
            counts = f"{item.quarantined} quarantined rows, no ingest log entry"
            yield AuditCode.QUARANTINE_COUNT_MISMATCH, f"{key}: {counts}"
        return
    unknown = 0
    for version, count in item.rows:
        if not entry.has_version(version):
            unknown += count
        elif _exceeds_row_counts(entry, version, count):
            yield AuditCode.OBJECT_ROW_COUNT_EXCEEDED, f"{key}: {count} rows, {entry.rows_stored} in the ingest log"
    if unknown:
        yield AuditCode.UNKNOWN_OBJECT_VERSION, f"{key}: {unknown} rows"
    if entry.is_loaded and item.quarantined != entry.rows_quarantined:
        counts = f"{item.quarantined} quarantined rows, {entry.rows_quarantined} in the ingest log"
        yield AuditCode.QUARANTINE_COUNT_MISMATCH, f"{key}: {counts}"


def _exceeds_row_counts(entry: IngestLogRecord, version: datetime | None, count: int) -> bool:
    """Return whether more rows name the loaded version than it stored.

    False if an earlier version has the same LastModified: their rows cannot be distinguished.
    """
    is_current = version == entry.last_modified and version not in entry.earlier_versions
    return is_current and entry.is_loaded and entry.etag is not None and count > entry.rows_stored
