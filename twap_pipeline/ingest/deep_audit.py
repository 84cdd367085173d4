"""Compares the tables of a data set with the objects: reads every object again and compares row by row.

Only the object reveals an edited value: ``raw_payload`` can be edited together with the columns. Reading is exact and
cheap: a year of the feed is less than 400 MB, about $0.04 from outside the bucket's region. Memory is that of loading
one object. The database contains a second, temporary copy of the rows until the end. Orders are compared with the
statuses that they are derived from.

Rows of deleted objects and of replaced versions are counted, but cannot be verified. Only the sums of `audit` detect
that such rows were added or deleted. docs/reference/audit-codes.md lists what neither audit can detect.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import date

from sqlalchemy import Connection, Engine, text

from twap_pipeline.domain.data_set import TWAP_STATUS, DataSet
from twap_pipeline.domain.object_ref import KEY_DATE_PATTERNS, ObjectRef, day_from_key, partition_date
from twap_pipeline.errors import ObjectError
from twap_pipeline.ingest.audit import AuditCode, AuditReport, Difference, entry_inconsistency, to_findings
from twap_pipeline.ingest.fetch import fetch
from twap_pipeline.ingest.object_reader import ObjectReader
from twap_pipeline.source.base import ObjectStore
from twap_pipeline.source.object_file import ObjectFile
from twap_pipeline.storage.audit.counts import HistoryFault, StoredObject, stored_objects
from twap_pipeline.storage.audit.repair import repair
from twap_pipeline.storage.audit.verification import (
    EXPECTED_TABLES,
    ExpectedEntry,
    Version,
    archived_rows_by_object,
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
from twap_pipeline.storage.loading.row_writer import encode_batch, load_rows
from twap_pipeline.storage.long_statements import STATEMENT_TIMEOUT_SECONDS, statement_timeout


def loaded_objects(
    engine: Engine,
    listing: Iterable[ObjectRef],
    since: date,
    key_date_patterns: Sequence[str] = KEY_DATE_PATTERNS,
    data_set: DataSet = TWAP_STATUS,
) -> list[ObjectRef]:
    """Return the objects that a deep audit reads: every listed object whose ETag is loaded, with any LastModified."""
    with engine.connect() as connection:
        entries = read_ingest_log(connection, data_set=data_set)
    loaded = {key: entry.etag for key, entry in entries.items() if entry.error_text is None}
    return [
        ref for ref in listing if loaded.get(ref.key) == ref.etag and partition_date(ref, key_date_patterns) >= since
    ]


def deleted_objects(engine: Engine, listing: Iterable[ObjectRef], data_set: DataSet = TWAP_STATUS) -> set[str]:
    """Return the keys of the ingest log that the source does not list."""
    with engine.connect() as connection:
        entries = read_ingest_log(connection, data_set=data_set)
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
    data_set: DataSet = TWAP_STATUS,
) -> AuditReport:
    """Read objects again and compare rows, quarantined rows and log entries with them, and orders with the statuses.

    The objects are those of `loaded_objects`. ``requeue`` deletes wrong rows, requeues the objects that contain the
    right ones, writes wrong orders, and corrects the row counts of ``deleted_keys``, which the source no longer lists.

    Raises:
        SourceError: The store failed or refused access as a whole.
        StatementTimeoutError: A statement reached the limit; nothing was repaired.
    """
    with verification_session(engine, data_set) as connection:
        with connection.begin(), statement_timeout(connection, timeout_seconds, "copy of unverifiable rows"):
            faults, versions = _read_versions(connection, data_set, refs)
            to_verify = [version for pair in versions.values() for version in pair]
            seed_unverifiable_rows(connection, data_set, to_verify, faults)
        to_read = [ref for ref in refs if ref.key in versions]
        expected, unreadable = _load_expected_rows(
            store, connection, to_read, versions, key_date_patterns, data_set=data_set
        )
        with connection.begin():
            connection.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"))
            with statement_timeout(connection, timeout_seconds, "comparison of the tables with the objects"):
                mismatches = compare(connection, data_set, faults)
                quarantine = compare_quarantine(connection, data_set)
                wrong_entries = {
                    key: columns
                    for key, entry in verified_entries(connection, data_set).items()
                    if (columns := entry.differing_columns(expected[key]))
                }
                unverifiable = unverifiable_rows(connection, data_set)
                archived = archived_rows_by_object(connection, data_set)
            orders: list[tuple[str, int, str]] = []
            if data_set == TWAP_STATUS:
                with statement_timeout(connection, timeout_seconds, "comparison of twap_orders with twap_status"):
                    orders = order_mismatches(connection)
            repaired = None
            if requeue:
                with statement_timeout(connection, timeout_seconds, "repair"):
                    wrong = {*wrong_entries, *quarantine}
                    stored = stored_objects(connection, data_set)
                    keys = _keys_to_requeue(stored, refs, key_date_patterns, wrong=wrong, reloaded=expected)
                    repaired = repair(connection, data_set, keys, deleted_keys=deleted_keys, faults=faults)

    def differences() -> Iterator[Difference]:
        for mismatch in mismatches:
            example = f"{mismatch.key}: {mismatch.count} rows, for example {mismatch.example}"
            yield AuditCode(f"rows_{mismatch.kind}"), example
        for key, columns in sorted(wrong_entries.items()):
            yield AuditCode.LOG_COUNTS_MISMATCH, f"{key}: {', '.join(columns)}"
        for key, count in quarantine.items():
            yield AuditCode.QUARANTINED_ROWS_MISMATCH, f"{key}: {count} rows"
        for difference, count, example in orders:
            yield AuditCode.ORDERS_MISMATCH, f"{difference}: {count} orders, for example {example}"
        for key, reason in unreadable.items():
            yield AuditCode.OBJECT_UNREADABLE, f"{key}: {reason}"
        for key, count in unverifiable.items():
            yield AuditCode.UNVERIFIABLE_ROWS, f"{key}: {count} rows"
        for key, count in archived.items():
            yield AuditCode.ARCHIVED_ROWS, f"{key}: {count} rows"

    return AuditReport(to_findings(differences(), data_set), len(refs), repaired)


def _read_versions(
    connection: Connection, data_set: DataSet, refs: Iterable[ObjectRef]
) -> tuple[list[HistoryFault], dict[str, set[Version]]]:
    """Return the wrong history entries, and key → the versions that the bytes of an object verify.

    These are the version as listed, and as loaded with the same ETag.
    """
    listed = {ref.key: ref for ref in refs}
    faults: list[HistoryFault] = []
    versions: dict[str, set[Version]] = {}
    for item in stored_objects(connection, data_set):
        faults += item.faults
        if item.entry is not None and (ref := listed.get(item.key)):
            versions[item.key] = {(item.key, ref.last_modified), (item.key, item.entry.last_modified)}
    return faults, versions


def _keys_to_requeue(
    stored: Iterable[StoredObject],
    refs: Iterable[ObjectRef],
    key_date_patterns: Sequence[str],
    *,
    wrong: Collection[str],
    reloaded: Collection[str],
) -> set[str]:
    """Return the keys of wrong or inconsistent entries whose object was read, or is not loaded."""
    listed = {ref.key: ref for ref in refs}
    return {
        item.key
        for item in stored
        if item.entry is not None
        and (item.key in reloaded or not item.entry.is_loaded)
        and (
            item.key in wrong
            or entry_inconsistency(item.entry, listed.get(item.key), day_from_key(item.key, key_date_patterns))
        )
    }


def _load_expected_rows(
    store: ObjectStore,
    connection: Connection,
    refs: Iterable[ObjectRef],
    versions: Mapping[str, Iterable[Version]],
    key_date_patterns: Sequence[str],
    *,
    data_set: DataSet,
) -> tuple[dict[str, ExpectedEntry], dict[str, str]]:
    """Load every object into the expected tables, one transaction each; record the objects that fail.

    Returns:
        Key → expected log entry of each object that was read, and key → error of each of the others.
    """
    entries: dict[str, ExpectedEntry] = {}
    errors: dict[str, str] = {}
    for ref in refs:
        try:
            with ObjectFile() as file:
                fetched = fetch(store, ref, file)
                reader = ObjectReader(ref, file, day=partition_date(ref, key_date_patterns), data_set=data_set)
                batches = (encode_batch(ref, batch, data_set) for batch in reader.batches())
                with connection.begin():
                    row_counts = load_rows(connection, ref, batches, data_set=data_set, tables=EXPECTED_TABLES)
            entries[ref.key] = ExpectedEntry(
                row_counts.total,
                row_counts.quarantined,
                row_counts.metadata,
                dict(reader.data_warnings),
                fetched.sha256,
                fetched.checksum_verified,
            )
        except ObjectError as error:
            errors[ref.key] = error.reason
            record_failed_versions(connection, versions[ref.key])
    return entries, errors
