"""Whether listing, ledger and rows agree: every way in which they can differ, each with what it touches.

This audit lists the source and counts rows; it reads no object. So it sees what was added, deleted or moved between
objects, and entries that contradict themselves. Values that were edited only the objects can betray: `deep_audit`.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime

from sqlalchemy import Engine

from twap_pipeline.domain.object_ref import KEY_DATE_PATTERNS, ObjectRef, partition_date
from twap_pipeline.storage.audit.counts import (
    IngestLogRecord,
    read_ingest_log_records,
    rejected_by_object,
    rows_by_version,
)
from twap_pipeline.storage.ingest_log import ATTEMPTS_MAX, IngestLogEntry, read_ingest_log


@dataclass(frozen=True, slots=True)
class AuditFinding:
    """One way in which they differ.

    Args:
        code: Short name of the way.
        description: What it means and what to do.
        examples: Keys, or counts, that show it.
        is_informational: It is told, but nothing is wrong: the tables are what they should be.
    """

    code: str
    description: str
    examples: tuple[str, ...]
    is_informational: bool = False


def has_errors(found: Iterable[AuditFinding]) -> bool:
    """Return whether any of it is more than a notice."""
    return any(not one.is_informational for one in found)


def audit(
    engine: Engine, listing: Iterable[ObjectRef], since: date, key_date_patterns: Sequence[str] = KEY_DATE_PATTERNS
) -> list[AuditFinding]:
    """Compare listing, ledger and rows, the tables as of one moment; nothing is returned when they agree.

    Args:
        engine: A database at head.
        listing: All objects of the source.
        since: The first UTC day that is to be ingested; older objects are not missed.
        key_date_patterns: How keys name their day.
    """
    listed = {ref.key: ref for ref in listing}
    with engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
        ledger, claimed = read_ingest_log(connection), read_ingest_log_records(connection)
        found = [
            *_listing_and_ledger(listed, in_range(listed.values(), since, key_date_patterns), ledger),
            _entries(contradicting_entries(claimed, listed, key_date_patterns)),
            _sent_again(claimed, listed),
            *_ledger_and_rows(ledger, claimed, rows_by_version(connection)),
            _quarantine(ledger, rejected_by_object(connection)),
        ]
    return [one for one in found if one.examples]


def in_range(listing: Iterable[ObjectRef], since: date, key_date_patterns: Sequence[str]) -> dict[str, ObjectRef]:
    """Return the objects that are to be ingested, by key."""
    return {ref.key: ref for ref in listing if partition_date(ref, key_date_patterns) >= since}


def _listing_and_ledger(
    listed: Mapping[str, ObjectRef], expected: Mapping[str, ObjectRef], ledger: Mapping[str, IngestLogEntry]
) -> list[AuditFinding]:
    missing = [key for key in expected if key not in ledger]
    changed = [key for key, ref in expected.items() if key in ledger and ledger[key].etag != ref.etag]
    gone = [key for key, entry in ledger.items() if key not in listed and entry.error_text is None]
    unread = {key: entry for key, entry in ledger.items() if entry.error_text and key not in changed}
    failed = [key for key, entry in unread.items() if entry.failed_attempts < ATTEMPTS_MAX]
    parked = [key for key, entry in unread.items() if entry.failed_attempts >= ATTEMPTS_MAX]
    return [
        AuditFinding("not ingested", "listed, not in the ledger: run `twap-pipeline ingest`", _sorted(missing)),
        AuditFinding("changed", "listed with another ETag than was read: run `twap-pipeline ingest`", _sorted(changed)),
        AuditFinding("gone", "loaded once, listed no more: its rows stay", _sorted(gone), is_informational=True),
        AuditFinding("failed", "will be tried again by `twap-pipeline ingest`", _sorted(failed)),
        AuditFinding(
            "parked", "failed too often; after a look, `twap-pipeline ingest --object-key KEY`", _sorted(parked)
        ),
    ]


def contradicting_entries(
    claimed: Mapping[str, IngestLogRecord], listed: Mapping[str, ObjectRef], key_date_patterns: Sequence[str]
) -> dict[str, str]:
    """Return key → what is wrong, for entries that contradict themselves or the listing of the very same version."""
    wrong = {key: "its counts do not fit each other" for key, claim in claimed.items() if not claim.consistent}
    for key, ref in listed.items():
        claim = claimed.get(key)
        if claim is None or claim.etag != ref.etag:
            continue
        if claim.size_bytes != ref.size_bytes:
            wrong[key] = f"{claim.size_bytes} bytes, listed with {ref.size_bytes}"
        elif claim.last_modified > ref.last_modified:
            wrong[key] = f"last modified {claim.last_modified}, listed with {ref.last_modified}"
        elif claim.object_date != (
            day := partition_date(replace(ref, last_modified=claim.last_modified), key_date_patterns)
        ):
            wrong[key] = f"filed under {claim.object_date}, its day is {day}"
    return wrong


def _entries(wrong: Mapping[str, str]) -> AuditFinding:
    told = [f"{key}: {fault}" for key, fault in wrong.items()]
    return AuditFinding(
        "ledger entries", "entries contradict themselves or the listing: they were edited", _sorted(told)
    )


def _sent_again(claimed: Mapping[str, IngestLogRecord], listed: Mapping[str, ObjectRef]) -> AuditFinding:
    told = [
        f"{key}: loaded as of {claim.last_modified}, listed with {listed[key].last_modified}"
        for key, claim in claimed.items()
        if key in listed and claim.etag == listed[key].etag and claim.last_modified < listed[key].last_modified
    ]
    meaning = "the very bytes that were loaded now bear a later time: they were sent again, or the entry was edited"
    return AuditFinding("sent again", meaning, _sorted(told), is_informational=True)


def _ledger_and_rows(
    ledger: Mapping[str, IngestLogEntry],
    claimed: Mapping[str, IngestLogRecord],
    held: Mapping[tuple[str, datetime | None], int],
) -> list[AuditFinding]:
    stray, no_version = Counter[str](), Counter[str]()
    too_many = []
    for (key, version), count in held.items():
        if key not in ledger:
            stray[key] += count
        elif not claimed[key].has_version(version):
            no_version[key] += count
        elif _holds_more(ledger[key], claimed[key], version, count):
            too_many.append(f"{key}: {count} rows, of {ledger[key].row_counts.stored} at most")
    brought, rows = sum(entry.inserted_by_all_versions for entry in ledger.values()), sum(held.values())
    totals = [] if brought == rows else [f"the ledger brought in {brought} rows, the table holds {rows}"]
    return [
        AuditFinding("rows without ledger", "rows of objects that the ledger does not know", _counted(stray)),
        AuditFinding("rows of no version", "rows name a version that their object never had", _counted(no_version)),
        AuditFinding("row count", "rows were added or deleted behind the ledger's back", _sorted(totals)),
        AuditFinding("rows of an object", "an object has more rows than it brought in", _sorted(too_many)),
    ]


def _holds_more(entry: IngestLogEntry, claim: IngestLogRecord, version: datetime | None, count: int) -> bool:
    """Return whether a version has more rows than it can; unknown where an earlier one bears the same time."""
    present = version == claim.last_modified and version not in claim.earlier and entry.error_text is None
    return present and claim.etag is not None and count > entry.row_counts.stored


def _quarantine(ledger: Mapping[str, IngestLogEntry], rejected: Mapping[str, int]) -> AuditFinding:
    wrong = [
        f"{key}: {rejected.get(key, 0)} rows kept, {entry.row_counts.quarantined} counted"
        for key, entry in ledger.items()
        if entry.error_text is None and rejected.get(key, 0) != entry.row_counts.quarantined
    ]
    wrong += [f"{key}: {count} rows kept, not in the ledger" for key, count in rejected.items() if key not in ledger]
    return AuditFinding("quarantine", "quarantined rows were added or deleted", _sorted(wrong))


def _counted(rows: Counter[str]) -> tuple[str, ...]:
    return _sorted(f"{key}: {count} rows" for key, count in rows.items())


def _sorted(touched: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(touched))
