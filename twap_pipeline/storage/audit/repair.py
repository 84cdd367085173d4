"""Undoing what an audit found, so that the next ingestion ends with the right table and a ledger that adds up.

Wrong rows are deleted and the objects that hold their events are given back to ingestion: nothing is written here
that only a reading of the object can know.
"""

from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import Connection, text

from twap_pipeline.storage.ingest_log import add_adjustment, requeue

REQUEUED = "the audit found its rows or its account changed; it will be taken again"


@dataclass(frozen=True, slots=True)
class RepairResult:
    """What was done.

    Args:
        requeued: Objects that the next ingestion takes again.
        deleted: Rows of ``twap_status`` that were deleted: changed ones, and those that no object holds.
        deleted_quarantined: Quarantined rows that name no object of the ledger, deleted.
        adjustment: Rows added to the ledger's sum, so that it is the table's again.
        adjusted_key: The object in whose history the correction stands.
    """

    requeued: tuple[str, ...]
    deleted: int
    deleted_quarantined: int
    adjustment: int = 0
    adjusted_key: str | None = None

    @property
    def has_changes(self) -> bool:
        """Whether there was anything to repair."""
        return bool(self.requeued or self.deleted or self.deleted_quarantined or self.adjustment)


_DELETE = """
DELETE FROM stored_twap_status AS stored USING row_mismatches AS wrong
WHERE stored.twap_id = wrong.twap_id AND stored.wallet = wrong.wallet AND stored.ts = wrong.ts
"""
_DELETE_REJECTED = """
DELETE FROM stored_twap_status_quarantine
WHERE s3_object_key NOT IN (SELECT s3_object_key FROM etl_s3_ingest_log)
"""
_ORDERS = """
DELETE FROM twap_orders AS one WHERE NOT EXISTS (
  SELECT FROM stored_twap_status AS stored WHERE stored.twap_id = one.twap_id AND stored.wallet = one.wallet);
UPDATE etl_s3_ingest_log SET orders_refreshed_at = NULL WHERE s3_object_key IN (
  SELECT stored.s3_object_key FROM stored_twap_status AS stored JOIN row_mismatches USING (twap_id, wallet))
"""
_MISSING_IN_THE_SUM = """
SELECT (SELECT count(*) FROM stored_twap_status) - coalesce(sum(coalesce(rows_inserted, 0) + (
  SELECT coalesce(sum((version ->> 'rows_inserted')::bigint), 0)
  FROM jsonb_array_elements(previous_versions) AS version)), 0)
FROM etl_s3_ingest_log
"""


def repair(connection: Connection, touched: Collection[str]) -> RepairResult:
    """Delete wrong rows and requeue objects, in the transaction of `shadow.compare`.

    Orders that are left without events go too; those that lost some of theirs are due for a refresh.

    Args:
        connection: From `shadow.verification_session`.
        touched: Objects whose account or quarantine is wrong; those that hold wrong or missing rows are added.
    """
    owners = connection.execute(
        text("SELECT DISTINCT s3_object_key FROM row_mismatches WHERE kind <> 'added'")
    ).scalars()
    keys = sorted({*touched, *owners})
    deleted = connection.execute(text(_DELETE)).rowcount
    deleted_quarantined = connection.execute(text(_DELETE_REJECTED)).rowcount
    connection.execute(text(_ORDERS))
    requeue(connection, keys, REQUEUED)
    rows = int(connection.execute(text(_MISSING_IN_THE_SUM)).scalar_one())
    adjusted_key = add_adjustment(connection, rows) if rows else None
    return RepairResult(tuple(keys), deleted, deleted_quarantined, rows, adjusted_key)
