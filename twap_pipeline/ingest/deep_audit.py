"""The tables against the objects themselves: every loaded object is read again and compared row by row.

Why by reading: a value that was changed in a row can be told only from the object. The row's own ``raw_payload`` may
have been changed with it, and JSON no longer knows in which types the object held its times; a digest per object in
the ledger would have to follow every row that a newer object takes over. Reading is exact, and it is cheap: a year of
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

from twap_pipeline.domain.object_ref import DAY_LAYOUTS, ObjectRef
from twap_pipeline.errors import ObjectError
from twap_pipeline.ingest.audit import Disagreement, contradicting_entries, in_range
from twap_pipeline.ingest.planning import plan
from twap_pipeline.ingest.reading import Reading
from twap_pipeline.source.object_store import ObjectStore
from twap_pipeline.storage.accounts import claims
from twap_pipeline.storage.ingest_log import read_ledger
from twap_pipeline.storage.mending import Mended, mend
from twap_pipeline.storage.shadow import (
    Account,
    WrongRows,
    compare,
    compare_quarantine,
    count_unproved,
    keep_unproved_rows,
    note_versions,
    proved_accounts,
    shadow_session,
)
from twap_pipeline.storage.twap_status import as_block, load_rows

_IN_MEMORY_BYTES = 32 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class DeepAudit:
    """What the reading showed.

    Args:
        found: Disagreements; none where every row is what the objects say.
        mended: What was done about them, where that was asked for.
    """

    found: list[Disagreement]
    mended: Mended | None = None


@dataclass(slots=True)
class _Read:
    accounts: dict[str, Account] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)


def loaded_objects(
    engine: Engine, listing: Iterable[ObjectRef], since: date, layouts: Sequence[str] = DAY_LAYOUTS
) -> list[ObjectRef]:
    """Return what a deep audit reads: every listed object that the ledger says is loaded."""
    with engine.connect() as connection:
        ledger = read_ledger(connection)
    return list(plan(in_range(listing, since, layouts).values(), ledger).loaded)


def deep_audit(
    store: ObjectStore,
    engine: Engine,
    refs: Sequence[ObjectRef],
    layouts: Sequence[str] = DAY_LAYOUTS,
    *,
    requeue: bool = False,
) -> DeepAudit:
    """Read objects again and compare rows, quarantine and accounts with them.

    Args:
        store: Where the objects lie.
        engine: The database, at head.
        refs: What to read, from `loaded_objects`.
        layouts: How keys name their day.
        requeue: Delete wrong rows and let the objects that hold them be taken again by the next ingestion.

    Raises:
        SourceError: The store as a whole refused or failed.
    """
    with shadow_session(engine) as connection:
        loaded = _as_loaded(connection, refs)
        keep_unproved_rows(connection, [(ref.key, ref.last_modified) for ref in loaded])
        read = _load_beside(store, connection, loaded)
        with connection.begin():
            wrong, quarantine = compare(connection), compare_quarantine(connection)
            accounts = [key for key, account in proved_accounts(connection).items() if account != read.accounts[key]]
            claimed = claims(connection)
            entries = contradicting_entries(claimed, {ref.key: ref for ref in refs}, layouts)
            found = [
                *_wrong_rows(wrong),
                *_beside_the_rows(accounts, quarantine, read.failed),
                _unproved(count_unproved(connection)),
            ]
            mendable = {key for key, claim in claimed.items() if key in read.accounts or not claim.loaded}
            mended = mend(connection, mendable & {*accounts, *quarantine, *entries}) if requeue else None
    return DeepAudit([one for one in found if one.touched], mended)


def _as_loaded(connection: Connection, refs: Iterable[ObjectRef]) -> list[ObjectRef]:
    """Return the objects with the LastModified under which they were loaded: same bytes may have been sent again."""
    with connection.begin():
        ledger = read_ledger(connection)
    return [replace(ref, last_modified=ledger[ref.key].last_modified) for ref in refs if ref.key in ledger]


def _load_beside(store: ObjectStore, connection: Connection, refs: Sequence[ObjectRef]) -> _Read:
    """Load every object into the session's own tables, each in a transaction; one that fails is noted."""
    read = _Read()
    for ref in refs:
        try:
            with tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY_BYTES) as file:
                store.fetch(ref, file)
                reading = Reading(ref, file)
                blocks = (as_block(ref, portion) for portion in reading.portions())
                with connection.begin():
                    fates = load_rows(connection, ref, blocks, seen_before=False)
            read.accounts[ref.key] = Account(fates.read, fates.quarantined, fates.bookkeeping, dict(reading.findings))
        except ObjectError as error:
            read.failed[ref.key] = error.reason
            with connection.begin():
                note_versions(connection, "failed_versions", [(ref.key, ref.last_modified)])
    return read


_MEANINGS = {
    "missing": "objects hold events that the table lacks: rows were deleted",
    "changed": "rows are not what their objects say: values were edited, or rows moved to another object",
    "added": "rows that no object holds were added",
}


def _wrong_rows(wrong: Iterable[WrongRows]) -> list[Disagreement]:
    told: dict[str, list[str]] = {kind: [] for kind in _MEANINGS}
    for one in wrong:
        told[one.kind].append(f"{one.key}: {one.count} rows, such as {one.example}")
    return [Disagreement(f"rows {kind}", meaning, tuple(told[kind])) for kind, meaning in _MEANINGS.items()]


def _beside_the_rows(
    accounts: Iterable[str], quarantine: Mapping[str, int], failed: Mapping[str, str]
) -> list[Disagreement]:
    rejected = tuple(f"{key}: {count} rows" for key, count in quarantine.items())
    unread = tuple(f"{key}: {reason}" for key, reason in sorted(failed.items()))
    return [
        Disagreement(
            "account", "the ledger counts other rows or findings than the object holds", tuple(sorted(accounts))
        ),
        Disagreement("quarantined rows", "quarantined rows are not what their objects say", rejected),
        Disagreement("unread", "loaded once, but could not be read again: nothing is proved of its rows", unread),
    ]


def _unproved(count: int) -> Disagreement:
    meaning = "rows of gone objects and of earlier versions: no object is left to compare them with"
    return Disagreement("unproved", meaning, (f"{count} rows",) if count else (), notice=True)
