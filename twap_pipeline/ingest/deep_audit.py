"""The tables against the objects themselves: every loaded object is read again and compared row by row.

Why by reading: a value that was changed in a row can be told only from the object. The row's own ``raw_payload`` may
have been changed with it, and JSON no longer knows in which types the object held its times; a digest per object in
the ledger would have to follow every row that a newer object takes over. ObjectReader is exact, and it is cheap: a year of
the feed is under 400 MB, some $0.04 from outside the region. Memory is that of loading one object; the database holds
a second, temporary copy of the rows while it lasts.

What it cannot prove, it counts: rows of objects that are gone and of earlier versions of overwritten ones. Such a
row's content, and a row that was added in such an object's name, only the sums of `audit` can betray. Nothing at all
can tell of the times of writing and of the run ids.
"""

import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date

from sqlalchemy import Connection, Engine

from twap_pipeline.domain.object_ref import KEY_DATE_PATTERNS, ObjectRef
from twap_pipeline.errors import ObjectError
from twap_pipeline.ingest.audit import AuditFinding, contradicting_entries, in_range
from twap_pipeline.ingest.object_reader import ObjectReader
from twap_pipeline.ingest.plan import plan
from twap_pipeline.source.base import ObjectStore
from twap_pipeline.storage.audit.counts import read_ingest_log_records
from twap_pipeline.storage.audit.repair import RepairResult, repair
from twap_pipeline.storage.audit.verification import (
    ExpectedCounts,
    RowMismatch,
    compare,
    compare_quarantine,
    count_unverifiable,
    record_versions,
    seed_unverifiable_rows,
    verification_session,
    verified_counts,
)
from twap_pipeline.storage.ingest_log import read_ingest_log
from twap_pipeline.storage.loading.status_writer import encode_batch, load_rows

_IN_MEMORY_BYTES = 32 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class DeepAuditResult:
    """What the reading showed.

    Args:
        found: Disagreements; none where every row is what the objects say.
        mended: What was done about them, where that was asked for.
    """

    found: list[AuditFinding]
    mended: RepairResult | None = None


@dataclass(slots=True)
class _ReloadResult:
    accounts: dict[str, ExpectedCounts] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)


def loaded_objects(
    engine: Engine, listing: Iterable[ObjectRef], since: date, key_date_patterns: Sequence[str] = KEY_DATE_PATTERNS
) -> list[ObjectRef]:
    """Return what a deep audit reads: every listed object that the ledger says is loaded."""
    with engine.connect() as connection:
        ledger = read_ingest_log(connection)
    return list(plan(in_range(listing, since, key_date_patterns).values(), ledger).loaded)


def deep_audit(
    store: ObjectStore,
    engine: Engine,
    refs: Sequence[ObjectRef],
    key_date_patterns: Sequence[str] = KEY_DATE_PATTERNS,
    *,
    requeue: bool = False,
) -> DeepAuditResult:
    """Read objects again and compare rows, quarantine and accounts with them.

    Args:
        store: Where the objects lie.
        engine: The database, at head.
        refs: What to read, from `loaded_objects`.
        key_date_patterns: How keys name their day.
        requeue: Delete wrong rows and let the objects that hold them be taken again by the next ingestion.

    Raises:
        SourceError: The store as a whole refused or failed.
    """
    with verification_session(engine) as connection:
        loaded = _as_loaded(connection, refs)
        seed_unverifiable_rows(connection, [(ref.key, ref.last_modified) for ref in loaded])
        read = _load_into_verification_tables(store, connection, loaded)
        with connection.begin():
            wrong, quarantine = compare(connection), compare_quarantine(connection)
            accounts = [key for key, account in verified_counts(connection).items() if account != read.accounts[key]]
            claimed = read_ingest_log_records(connection)
            entries = contradicting_entries(claimed, {ref.key: ref for ref in refs}, key_date_patterns)
            found = [
                *_row_mismatches(wrong),
                *_ingest_log_findings(accounts, quarantine, read.failed),
                _unproved(count_unverifiable(connection)),
            ]
            mendable = {key for key, claim in claimed.items() if key in read.accounts or not claim.loaded}
            mended = repair(connection, mendable & {*accounts, *quarantine, *entries}) if requeue else None
    return DeepAuditResult([one for one in found if one.examples], mended)


def _as_loaded(connection: Connection, refs: Iterable[ObjectRef]) -> list[ObjectRef]:
    """Return the objects with the LastModified under which they were loaded: same bytes may have been sent again."""
    with connection.begin():
        ledger = read_ingest_log(connection)
    return [replace(ref, last_modified=ledger[ref.key].last_modified) for ref in refs if ref.key in ledger]


def _load_into_verification_tables(
    store: ObjectStore, connection: Connection, refs: Sequence[ObjectRef]
) -> _ReloadResult:
    """Load every object into the session's own tables, each in a transaction; one that fails is noted."""
    read = _ReloadResult()
    for ref in refs:
        try:
            with tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY_BYTES) as file:
                store.fetch(ref, file)
                reading = ObjectReader(ref, file)
                blocks = (encode_batch(ref, batch) for batch in reading.batches())
                with connection.begin():
                    row_counts = load_rows(connection, ref, blocks, is_reload=False)
            read.accounts[ref.key] = ExpectedCounts(
                row_counts.total, row_counts.quarantined, row_counts.metadata, dict(reading.data_warnings)
            )
        except ObjectError as error:
            read.failed[ref.key] = error.reason
            with connection.begin():
                record_versions(connection, "failed_versions", [(ref.key, ref.last_modified)])
    return read


_MEANINGS = {
    "missing": "objects hold events that the table lacks: rows were deleted",
    "changed": "rows are not what their objects say: values were edited, or rows moved to another object",
    "added": "rows that no object holds were added",
}


def _row_mismatches(wrong: Iterable[RowMismatch]) -> list[AuditFinding]:
    told: dict[str, list[str]] = {kind: [] for kind in _MEANINGS}
    for one in wrong:
        told[one.kind].append(f"{one.key}: {one.count} rows, such as {one.example}")
    return [AuditFinding(f"rows {kind}", meaning, tuple(told[kind])) for kind, meaning in _MEANINGS.items()]


def _ingest_log_findings(
    accounts: Iterable[str], quarantine: Mapping[str, int], failed: Mapping[str, str]
) -> list[AuditFinding]:
    rejected = tuple(f"{key}: {count} rows" for key, count in quarantine.items())
    unread = tuple(f"{key}: {reason}" for key, reason in sorted(failed.items()))
    return [
        AuditFinding(
            "account", "the ledger counts other rows or data_warnings than the object holds", tuple(sorted(accounts))
        ),
        AuditFinding("quarantined rows", "quarantined rows are not what their objects say", rejected),
        AuditFinding("unread", "loaded once, but could not be read again: nothing is proved of its rows", unread),
    ]


def _unproved(count: int) -> AuditFinding:
    meaning = "rows of gone objects and of earlier versions: no object is left to compare them with"
    return AuditFinding("unproved", meaning, (f"{count} rows",) if count else (), is_informational=True)
