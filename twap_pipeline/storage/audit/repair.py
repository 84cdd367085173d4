"""Repairs what a deep audit found: deletes wrong rows and marks their objects as not loaded.

A repair writes no row values: the next ingestion loads them from the objects. Comparisons belong to `verification`.
"""

from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import Connection, text

from twap_pipeline.storage.ingest_log import add_adjustment, requeue
from twap_pipeline.storage.sql_files import load_queries

REQUEUE_REASON = "an audit found wrong rows or row counts of this object; the next ingestion loads it again"
_QUERIES = load_queries("twap_pipeline.storage.audit", "repair.sql")


@dataclass(frozen=True, slots=True)
class RepairResult:
    """What a repair changed.

    Args:
        requeued: Keys that the next ingestion loads again.
        deleted: Deleted rows of ``twap_status``: changed rows, and rows that no object contains.
        deleted_quarantined: Deleted quarantined rows whose object is not in the ingest log.
        adjustment: Rows added to the ingest log's sum, so that it equals the number of stored rows.
        adjusted_key: The object whose history contains the adjustment; None if there is none.
    """

    requeued: tuple[str, ...]
    deleted: int
    deleted_quarantined: int
    adjustment: int = 0
    adjusted_key: str | None = None

    @property
    def has_changes(self) -> bool:
        """Whether the repair changed anything."""
        return bool(self.requeued or self.deleted or self.deleted_quarantined or self.adjustment)


def repair(connection: Connection, keys: Collection[str]) -> RepairResult:
    """Delete wrong rows and requeue objects, in the transaction of `verification.compare`.

    Orders without events are deleted. Orders that lost some of their events become pending for a refresh.

    Args:
        connection: From `verification_session`, after `compare`. The caller commits.
        keys: Objects with wrong row counts or quarantined rows; those with missing or changed rows are added.
    """
    owners = connection.execute(text(_QUERIES["mismatch_owners"])).scalars()
    requeued = sorted({*keys, *owners})
    deleted = connection.execute(text(_QUERIES["delete_mismatched_rows"])).rowcount
    deleted_quarantined = connection.execute(text(_QUERIES["delete_orphan_quarantined_rows"])).rowcount
    connection.execute(text(_QUERIES["delete_orders_without_events"]))
    connection.execute(text(_QUERIES["mark_orders_pending"]))
    requeue(connection, requeued, REQUEUE_REASON)
    rows = int(connection.execute(text(_QUERIES["missing_insertions"])).scalar_one())
    adjusted_key = add_adjustment(connection, rows) if rows else None
    return RepairResult(tuple(requeued), deleted, deleted_quarantined, rows, adjusted_key)
