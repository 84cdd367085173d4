"""Whether listing, ledger and rows agree: every way in which they can differ, each with what it touches."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date

from sqlalchemy import Connection, text

from twap_pipeline.domain.object_ref import DAY_LAYOUTS, ObjectRef, object_day
from twap_pipeline.storage.ingest_log import ATTEMPTS_MAX, LedgerEntry, read_ledger


@dataclass(frozen=True, slots=True)
class Disagreement:
    """One way in which they differ.

    Args:
        kind: Short name of the way.
        meaning: What it means and what to do.
        touched: Keys, or counts, that show it.
    """

    kind: str
    meaning: str
    touched: tuple[str, ...]


def audit(
    connection: Connection, listing: Iterable[ObjectRef], since: date, layouts: Sequence[str] = DAY_LAYOUTS
) -> list[Disagreement]:
    """Compare listing, ledger and rows; nothing is returned when they agree.

    Args:
        connection: To a database at head.
        listing: All objects of the source.
        since: The first UTC day that is to be ingested; older objects are not missed.
        layouts: How keys name their day.
    """
    ledger = read_ledger(connection)
    listed = {ref.key: ref for ref in listing if object_day(ref, layouts) >= since}
    return [
        found
        for found in (*_listing_and_ledger(listed, ledger), *_ledger_and_rows(connection, ledger))
        if found.touched
    ]


def _listing_and_ledger(listed: dict[str, ObjectRef], ledger: dict[str, LedgerEntry]) -> list[Disagreement]:
    missing = [key for key in listed if key not in ledger]
    changed = [key for key, ref in listed.items() if key in ledger and ledger[key].etag != ref.etag]
    gone = [key for key, entry in ledger.items() if key not in listed and entry.error_text is None]
    unread = {key: entry for key, entry in ledger.items() if entry.error_text and key not in changed}
    failed = [key for key, entry in unread.items() if entry.attempts < ATTEMPTS_MAX]
    parked = [key for key, entry in unread.items() if entry.attempts >= ATTEMPTS_MAX]
    return [
        Disagreement("not ingested", "listed, not in the ledger: run `twap-pipeline ingest`", _sorted(missing)),
        Disagreement("changed", "listed with another ETag than was read: run `twap-pipeline ingest`", _sorted(changed)),
        Disagreement("gone", "loaded once, listed no more: its rows stay", _sorted(gone)),
        Disagreement("failed", "will be tried again by `twap-pipeline ingest`", _sorted(failed)),
        Disagreement(
            "parked", "failed too often; after a look, `twap-pipeline ingest --object-key KEY`", _sorted(parked)
        ),
    ]


def _ledger_and_rows(connection: Connection, ledger: dict[str, LedgerEntry]) -> list[Disagreement]:
    per_key = {
        str(key): int(count)
        for key, count in connection.execute(text("SELECT s3_object_key, count(*) FROM twap_status GROUP BY 1"))
    }
    rejected = {
        str(key): int(count)
        for key, count in connection.execute(
            text("SELECT s3_object_key, count(*) FROM twap_status_rejected GROUP BY 1")
        )
    }
    stray = [f"{key}: {count} rows" for key, count in per_key.items() if key not in ledger]
    brought = sum(entry.inserted_by_all_versions for entry in ledger.values())
    held = sum(per_key.values())
    totals = [] if brought == held else [f"the ledger brought in {brought} rows, the table holds {held}"]
    too_many = [
        f"{key}: {per_key[key]} rows, of {entry.fates.held} at most"
        for key, entry in ledger.items()
        if entry.error_text is None
        and entry.inserted_by_all_versions == entry.fates.inserted
        and per_key.get(key, 0) > entry.fates.held
    ]
    quarantine = [
        f"{key}: {rejected.get(key, 0)} rows kept, {entry.fates.quarantined} counted"
        for key, entry in ledger.items()
        if entry.error_text is None and rejected.get(key, 0) != entry.fates.quarantined
    ]
    return [
        Disagreement("rows without ledger", "rows of objects that the ledger does not know", _sorted(stray)),
        Disagreement("row count", "rows were added or deleted behind the ledger's back", _sorted(totals)),
        Disagreement("rows of an object", "an object has more rows than it brought in", _sorted(too_many)),
        Disagreement("quarantine", "quarantined rows were added or deleted", _sorted(quarantine)),
    ]


def _sorted(touched: list[str]) -> tuple[str, ...]:
    return tuple(sorted(touched))
