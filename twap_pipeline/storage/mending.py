"""Undoing what an audit found, so that the next ingestion ends with the right table and a ledger that adds up.

Wrong rows are deleted and the objects that hold their events are given back to ingestion: nothing is written here
that only a reading of the object can know.
"""

from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import Connection, text

from twap_pipeline.storage.ingest_log import book_correction, requeue

REQUEUED = "the audit found its rows or its account changed; it will be taken again"


@dataclass(frozen=True, slots=True)
class Mended:
    """What was done.

    Args:
        requeued: Objects that the next ingestion takes again.
        deleted: Rows of ``twap_status`` that were deleted: changed ones, and those that no object holds.
        deleted_rejected: Quarantined rows that name no object of the ledger, deleted.
        corrected: Rows added to the ledger's sum, so that it is the table's again.
        bearer: The object in whose history the correction stands.
    """

    requeued: tuple[str, ...]
    deleted: int
    deleted_rejected: int
    corrected: int = 0
    bearer: str | None = None

    @property
    def did_anything(self) -> bool:
        """Whether there was anything to mend."""
        return bool(self.requeued or self.deleted or self.deleted_rejected or self.corrected)


_DELETE = """
DELETE FROM real_twap_status AS stored USING wrong_rows AS wrong
WHERE stored.twap_id = wrong.twap_id AND stored.wallet = wrong.wallet AND stored.ts = wrong.ts
"""
_DELETE_REJECTED = """
DELETE FROM real_twap_status_rejected
WHERE s3_object_key NOT IN (SELECT s3_object_key FROM etl_s3_ingest_log)
"""
_ORDERS = """
DELETE FROM twap_orders AS one WHERE NOT EXISTS (
  SELECT FROM real_twap_status AS stored WHERE stored.twap_id = one.twap_id AND stored.wallet = one.wallet);
UPDATE etl_s3_ingest_log SET orders_refreshed_at = NULL WHERE s3_object_key IN (
  SELECT stored.s3_object_key FROM real_twap_status AS stored JOIN wrong_rows USING (twap_id, wallet))
"""
_MISSING_IN_THE_SUM = """
SELECT (SELECT count(*) FROM real_twap_status) - coalesce(sum(coalesce(rows_inserted, 0) + (
  SELECT coalesce(sum((version ->> 'rows_inserted')::bigint), 0)
  FROM jsonb_array_elements(previous_versions) AS version)), 0)
FROM etl_s3_ingest_log
"""


def mend(connection: Connection, touched: Collection[str]) -> Mended:
    """Delete wrong rows and requeue objects, in the transaction of `shadow.compare`.

    Orders that are left without events go too; those that lost some of theirs are due for a refresh.

    Args:
        connection: From `shadow.shadow_session`.
        touched: Objects whose account or quarantine is wrong; those that hold wrong or missing rows are added.
    """
    owners = connection.execute(text("SELECT DISTINCT s3_object_key FROM wrong_rows WHERE kind <> 'added'")).scalars()
    keys = sorted({*touched, *owners})
    deleted = connection.execute(text(_DELETE)).rowcount
    deleted_rejected = connection.execute(text(_DELETE_REJECTED)).rowcount
    connection.execute(text(_ORDERS))
    requeue(connection, keys, REQUEUED)
    rows = int(connection.execute(text(_MISSING_IN_THE_SUM)).scalar_one())
    bearer = book_correction(connection, rows) if rows else None
    return Mended(tuple(keys), deleted, deleted_rejected, rows, bearer)
