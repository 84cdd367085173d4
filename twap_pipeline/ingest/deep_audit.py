"""Compares the tables with the objects: reads every loaded object again and compares row by row.

Only the object reveals an edited value: ``raw_payload`` can be edited together with the columns. Reading is exact and
cheap: a year of the feed is less than 400 MB, about $0.04 from outside the bucket's region. Memory is that of loading
one object. The database contains a second, temporary copy of the rows until the end.

Rows of deleted objects and of replaced versions are counted, but cannot be verified. Only the sums of `audit` detect
that such rows were added or deleted. docs/reference/audit-codes.md lists what neither audit can detect.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date

from sqlalchemy import Connection, Engine, text

from twap_pipeline.domain.object_ref import KEY_DATE_PATTERNS, ObjectRef, partition_date
from twap_pipeline.errors import ObjectError
from twap_pipeline.ingest.audit import AuditCode, AuditFinding, inconsistent_entries, select_in_range, to_findings
from twap_pipeline.ingest.fetch import fetch
from twap_pipeline.ingest.object_reader import ObjectReader
from twap_pipeline.source.base import ObjectStore
from twap_pipeline.source.object_file import ObjectFile
from twap_pipeline.storage.audit.counts import inconsistent_history, read_ingest_log_records
from twap_pipeline.storage.audit.repair import RepairResult, repair
from twap_pipeline.storage.audit.verification import (
    EXPECTED_TABLES,
    ExpectedEntry,
    Version,
    compare,
    compare_quarantine,
    order_mismatches,
    record_failed_versions,
    seed_unverifiable_rows,
    unverifiable_rows,
    verification_session,
    verified_entries,
)
from twap_pipeline.storage.ingest_log import read_ingest_log
from twap_pipeline.storage.loading.status_writer import LoadMode, encode_batch, load_rows
from twap_pipeline.storage.maintenance import STATEMENT_TIMEOUT_SECONDS, statement_timeout

_IN_MEMORY_BYTES = 32 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class DeepAuditResult:
    """Result of a deep audit.

    Args:
        findings: The differences; empty if every row was verified.
        repair: What was repaired; None if no repair was requested.
    """

    findings: list[AuditFinding]
    repair: RepairResult | None = None


@dataclass(slots=True)
class _ReloadResult:
    """Expected log entries of the objects that were read, and errors of the others, by key."""

    entries: dict[str, ExpectedEntry] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)


def loaded_objects(
    engine: Engine, listing: Iterable[ObjectRef], since: date, key_date_patterns: Sequence[str] = KEY_DATE_PATTERNS
) -> list[ObjectRef]:
    """Return the objects that a deep audit reads: every listed object whose ETag is loaded, with any LastModified."""
    with engine.connect() as connection:
        entries = read_ingest_log(connection)
    in_range = select_in_range(listing, since, key_date_patterns)
    return [
        ref
        for key, ref in in_range.items()
        if key in entries and entries[key].error_text is None and entries[key].etag == ref.etag
    ]


def deleted_objects(engine: Engine, listing: Iterable[ObjectRef]) -> set[str]:
    """Return the keys of the ingest log that the source does not list."""
    with engine.connect() as connection:
        entries = read_ingest_log(connection)
    return set(entries) - {ref.key for ref in listing}


def deep_audit(
    store: ObjectStore,
    engine: Engine,
    refs: Sequence[ObjectRef],
    key_date_patterns: Sequence[str] = KEY_DATE_PATTERNS,
    *,
    requeue: bool = False,
    deleted_keys: Collection[str] = (),
    timeout_seconds: float = STATEMENT_TIMEOUT_SECONDS,
) -> DeepAuditResult:
    """Read objects again and compare rows, quarantined rows and log entries with them, and orders with the rows.

    Args:
        store: The object store.
        engine: A database at head.
        refs: The objects to read, from `loaded_objects`.
        key_date_patterns: Regular expressions of dates in keys.
        requeue: Delete wrong rows, requeue the objects that contain the right ones, and write wrong orders.
        deleted_keys: Loaded keys that the source no longer lists; a repair corrects their row counts.
        timeout_seconds: Limit of each statement.

    Raises:
        SourceError: The store failed or refused access as a whole.
        StatementTimeoutError: A statement reached the limit; nothing was repaired.
    """
    with verification_session(engine) as connection:
        with connection.begin(), statement_timeout(connection, timeout_seconds, "copy of unverifiable rows"):
            faults = inconsistent_history(connection)
            versions = _versions_to_verify(connection, refs)
            seed_unverifiable_rows(connection, [version for pair in versions.values() for version in pair], faults)
        to_read = [ref for ref in refs if ref.key in versions]
        reloaded = _load_expected_rows(store, connection, to_read, versions, key_date_patterns)
        with connection.begin():
            connection.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"))
            with statement_timeout(connection, timeout_seconds, "comparison of the tables with the objects"):
                mismatches, quarantine = compare(connection, faults), compare_quarantine(connection)
                records = read_ingest_log_records(connection, faults)
                wrong_entries = {
                    key: columns
                    for key, entry in verified_entries(connection).items()
                    if (columns := entry.differing_columns(reloaded.entries[key]))
                }
                unverifiable = unverifiable_rows(connection)
            with statement_timeout(connection, timeout_seconds, "comparison of twap_orders with twap_status"):
                orders = order_mismatches(connection)
            repaired = None
            if requeue:
                inconsistent = inconsistent_entries(records, {ref.key: ref for ref in refs}, key_date_patterns)
                repairable = {key for key, record in records.items() if key in reloaded.entries or not record.is_loaded}
                with statement_timeout(connection, timeout_seconds, "repair"):
                    repaired = repair(
                        connection,
                        repairable & {*wrong_entries, *quarantine, *inconsistent},
                        deleted_keys=deleted_keys,
                        faults=faults,
                    )
    examples: dict[AuditCode, list[str]] = {
        AuditCode.ROWS_MISSING: [],
        AuditCode.ROWS_CHANGED: [],
        AuditCode.ROWS_ADDED: [],
        AuditCode.LOG_COUNTS_MISMATCH: [f"{key}: {', '.join(columns)}" for key, columns in wrong_entries.items()],
        AuditCode.QUARANTINED_ROWS_MISMATCH: [f"{key}: {count} rows" for key, count in quarantine.items()],
        AuditCode.ORDERS_MISMATCH: [
            f"{difference}: {count} orders, for example {example}" for difference, count, example in orders
        ],
        AuditCode.OBJECT_UNREADABLE: [f"{key}: {reason}" for key, reason in reloaded.errors.items()],
        AuditCode.UNVERIFIABLE_ROWS: [f"{key}: {count} rows" for key, count in unverifiable.items()],
    }
    for mismatch in mismatches:
        code = AuditCode(f"rows_{mismatch.kind}")
        examples[code].append(f"{mismatch.key}: {mismatch.count} rows, for example {mismatch.example}")
    return DeepAuditResult(to_findings(examples), repaired)


def _versions_to_verify(connection: Connection, refs: Iterable[ObjectRef]) -> dict[str, set[Version]]:
    """Return key → the versions that the bytes of an object verify: as listed, and as loaded with the same ETag."""
    entries = read_ingest_log(connection)
    return {
        ref.key: {(ref.key, ref.last_modified), (ref.key, entries[ref.key].last_modified)}
        for ref in refs
        if ref.key in entries
    }


def _load_expected_rows(
    store: ObjectStore,
    connection: Connection,
    refs: Sequence[ObjectRef],
    versions: Mapping[str, Iterable[Version]],
    key_date_patterns: Sequence[str],
) -> _ReloadResult:
    """Load every object into `EXPECTED_TABLES`, one transaction each; record the objects that fail."""
    result = _ReloadResult()
    for ref in refs:
        try:
            with ObjectFile(max_size=_IN_MEMORY_BYTES) as file:
                fetched = fetch(store, ref, file)
                reader = ObjectReader(ref, file, day=partition_date(ref, key_date_patterns))
                batches = (encode_batch(ref, batch) for batch in reader.batches())
                with connection.begin():
                    row_counts = load_rows(connection, ref, batches, mode=LoadMode.NEW, target=EXPECTED_TABLES)
            result.entries[ref.key] = ExpectedEntry(
                row_counts.total,
                row_counts.quarantined,
                row_counts.metadata,
                dict(reader.data_warnings),
                fetched.sha256,
                fetched.checksum_verified,
            )
        except ObjectError as error:
            result.errors[ref.key] = error.reason
            record_failed_versions(connection, versions[ref.key])
    return result
