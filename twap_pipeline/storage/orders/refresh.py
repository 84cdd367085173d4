"""Refreshes ``twap_orders``: one row per order, a pure function of the order's events in ``twap_status``.

An order's row contains the values of its event with the highest lifecycle rank, the latest of several. The ingest log
records per object whether the orders of its events are refreshed (``orders_refreshed_at``). A refresh that was killed
is therefore repeated, and a late event is included. Queries that only read orders do not belong here.
"""

from dataclasses import dataclass
from datetime import date

from sqlalchemy import Connection, text

from twap_pipeline.storage.sql_files import load_queries

_QUERIES = load_queries("twap_pipeline.storage.orders", "refresh.sql")
_LOCK_KEY = 0x6F72_6465  # "orde"

DIFFERING_ORDERS = _QUERIES["differing_orders"]
"""SELECT of twap_id, wallet, difference: orders that differ from what their events give. It reads every event."""


@dataclass(frozen=True, slots=True)
class RefreshResult:
    """Counts of one refresh.

    Args:
        objects: Loaded objects of the date.
        inserted: New orders.
        updated: Changed orders.
    """

    objects: int
    inserted: int
    updated: int


def refresh_orders(connection: Connection, day: date) -> RefreshResult:
    """Upsert every order that has an event in one of a date's objects.

    Args:
        connection: In a transaction, which the caller commits. An advisory lock serializes refreshes until then: a
            later refresh reads all events that an earlier one read.
        day: UTC date of the objects' partition.
    """
    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK_KEY})
    loaded = connection.execute(text(_QUERIES["loaded_objects"]), {"day": day}).all()
    keys = [key for key, _ in loaded]
    inserted, updated = connection.execute(text(_QUERIES["refresh_orders"]), {"keys": keys}).one()
    ingested_at = [timestamp for _, timestamp in loaded]
    connection.execute(text(_QUERIES["mark_refreshed"]), {"keys": keys, "ingested_at": ingested_at})
    return RefreshResult(len(keys), inserted, updated)


def dates_pending_refresh(connection: Connection) -> dict[date, str]:
    """Return UTC date → digest of its loaded objects that no refresh included yet. A new load changes the digest."""
    return {row.object_date: row.digest for row in connection.execute(text(_QUERIES["dates_pending_refresh"]))}
