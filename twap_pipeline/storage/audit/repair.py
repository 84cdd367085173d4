"""Repairs what a deep audit found: deletes wrong rows and marks their objects as not loaded.

A repair writes no values of rows: the next ingestion loads them from the objects. Orders are derived from the events
that remain. Comparisons belong to `verification`.
"""

from collections.abc import Collection
from dataclasses import asdict, dataclass

from sqlalchemy import Connection, text

from twap_pipeline.domain.data_set import TWAP_STATUS, DataSet
from twap_pipeline.storage.audit.counts import HistoryFault, impossible_versions
from twap_pipeline.storage.audit.data_check_runs import discard_results
from twap_pipeline.storage.data_set_sql import execute
from twap_pipeline.storage.ingest_log import add_adjustment, requeue
from twap_pipeline.storage.months.archived import keep_archived_orders
from twap_pipeline.storage.orders.refresh import create_selected_orders, write_selected_orders
from twap_pipeline.storage.sql_files import load_queries

REQUEUE_REASON = "an audit found wrong rows or row counts of this object; the next ingestion loads it again"
_QUERIES = load_queries("twap_pipeline.storage.audit", "repair.sql")


@dataclass(frozen=True, slots=True)
class RepairResult:
    """What a repair changed.

    Args:
        requeued: Keys that the next ingestion loads again.
        deleted_rows: Deleted rows of the table: changed rows, and rows that no object contains.
        deleted_quarantined_rows: Deleted quarantined rows whose object is not in the ingest log.
        deleted_history_entries: Deleted history entries of impossible versions.
        recounted: Keys whose row counts now equal the stored rows, because the source has no such object any more.
        orders_written: Orders that were inserted or updated from their events.
        orders_deleted: Deleted orders without events.
        adjustment: Rows added to the ingest log's sum, so that it equals the number of stored rows.
        adjusted_key: The object whose history contains the adjustment; None if there is none.
    """

    requeued: tuple[str, ...]
    deleted_rows: int
    deleted_quarantined_rows: int
    deleted_history_entries: int = 0
    recounted: tuple[str, ...] = ()
    orders_written: int = 0
    orders_deleted: int = 0
    adjustment: int = 0
    adjusted_key: str | None = None

    @property
    def has_changes(self) -> bool:
        """Whether the repair changed anything."""
        return any(asdict(self).values())


def repair(
    connection: Connection,
    data_set: DataSet,
    keys: Collection[str],
    *,
    deleted_keys: Collection[str],
    faults: Collection[HistoryFault],
) -> RepairResult:
    """Delete wrong rows and requeue objects, in the transaction of `verification.compare`; write the wrong orders.

    Args:
        connection: From `verification_session`, after `verification.order_mismatches` for statuses. The caller
            commits.
        data_set: The data set.
        keys: Objects with wrong row counts or quarantined rows; those with missing or changed rows are added.
        deleted_keys: Keys that the source no longer lists. They cannot be loaded again, so that their row counts are
            set to the stored rows.
        faults: Wrong history entries. Impossible versions are deleted, sums are corrected.
    """
    owners = connection.execute(text(_QUERIES["mismatch_owners"])).scalars()
    requeued = sorted({*keys, *owners})
    deleted = execute(connection, _QUERIES["delete_mismatched_rows"], data_set).rowcount
    deleted_quarantined = execute(connection, _QUERIES["delete_orphan_quarantined_rows"], data_set).rowcount
    impossible = impossible_versions(faults)
    connection.execute(text(_QUERIES["delete_impossible_versions"]), {"history_ids": impossible})
    wrong_sums = [fault.history_id for fault in faults if not fault.is_impossible]
    connection.execute(text(_QUERIES["correct_history_sums"]), {"history_ids": wrong_sums})
    deleted_objects = {"keys": list(deleted_keys)}
    recounted = execute(connection, _QUERIES["recount_deleted_objects"], data_set, deleted_objects).scalars()
    orders_written, orders_deleted = _write_wrong_orders(connection) if data_set == TWAP_STATUS else (0, 0)
    requeue(connection, requeued, REQUEUE_REASON, data_set=data_set)
    rows = int(execute(connection, _QUERIES["missing_insertions"], data_set).scalar_one())
    result = RepairResult(
        tuple(requeued),
        deleted,
        deleted_quarantined,
        len(impossible),
        tuple(sorted(recounted)),
        orders_written,
        orders_deleted,
        rows,
        adjusted_key=add_adjustment(connection, data_set, rows) if rows else None,
    )
    if result.has_changes:
        discard_results(connection)
    return result


def _write_wrong_orders(connection: Connection) -> tuple[int, int]:
    """Write the differing orders and those of mismatched events; return the numbers of written and deleted orders."""
    create_selected_orders(connection)
    connection.execute(text(_QUERIES["select_wrong_orders"]))
    keep_archived_orders(connection, ())
    written = sum(write_selected_orders(connection))
    return written, connection.execute(text(_QUERIES["delete_orders_without_events"])).rowcount
