"""Refreshes ``twap_orders``: one row per order, a pure function of the order's events in ``twap_status``.

An order's row contains the values of its event with the highest lifecycle rank, the latest of several. The ingest log
records per object whether the orders of its events are refreshed (``orders_refreshed_at``). A refresh that was killed
is therefore repeated, and a late event is included. Queries that only read orders do not belong here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from sqlalchemy import Connection, text

from twap_pipeline.storage.months.archived import IGNORE_ARCHIVED_ORDERS, keep_archived_orders
from twap_pipeline.storage.sql_files import load_queries
from twap_pipeline.storage.status_sql import FRAGMENTS

_QUERIES = load_queries("twap_pipeline.storage.orders", "refresh.sql", **FRAGMENTS)
_LOCK_KEY = 0x6F72_6465  # "orde"

COMPARE_ORDERS_OF_OBJECTS = (
    _QUERIES["create_selected_orders"],
    _QUERIES["select_orders_of_objects"],
    _QUERIES["derive_orders"],
    _QUERIES["compare_derived_orders"],
    _QUERIES["delete_differences_pending_refresh"],
    IGNORE_ARCHIVED_ORDERS,
)
"""Statements that compare the orders with an event in the objects ``:keys`` with their events.

The differences are in the table ``differing_orders``, as after `compare_orders`. Orders whose events are not refreshed
yet are left out, and orders without events or with archived events.
"""


@dataclass(frozen=True, slots=True)
class RefreshResult:
    """Counts of one refresh.

    Args:
        objects: Objects whose events were included.
        inserted: New orders.
        updated: Changed orders.
    """

    objects: int
    inserted: int
    updated: int


def refresh_orders(connection: Connection, day: date, *, recompute: bool = False) -> RefreshResult:
    """Upsert every order that has an event in an object of a date that no refresh included yet.

    A new order is derived from its events in these objects alone: an event in any other object is either included
    already, and then the order is stored, or the refresh of that object's date will include it. An order that is stored
    is derived from all of its events.

    Args:
        connection: In a transaction, which the caller commits. An advisory lock serializes refreshes until then: a
            later refresh reads all events that an earlier one read. Until then the planner joins by index lookups only.
        day: UTC date of the objects' partition.
        recompute: Also include the objects that were refreshed before, and derive every order from all of its events.

    Raises:
        TablePartitionError: An order of a new object has archived events. Other orders with archived events are kept.
    """
    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK_KEY})
    loaded = connection.execute(text(_QUERIES["loaded_objects"]), {"day": day, "recompute": recompute}).all()
    if not loaded:
        return RefreshResult(0, 0, 0)
    connection.execute(text(_QUERIES["force_index_lookups"]))
    keys = [key for key, _ in loaded]
    create_selected_orders(connection)
    selection = "select_orders_of_objects" if recompute else "select_stored_orders_of_objects"
    connection.execute(text(_QUERIES[selection]), {"keys": keys})
    keep_archived_orders(connection, keys)
    inserted, updated = write_selected_orders(connection, () if recompute else keys)
    ingested_at = [timestamp for _, timestamp in loaded]
    connection.execute(text(_QUERIES["mark_refreshed"]), {"keys": keys, "ingested_at": ingested_at})
    return RefreshResult(len(keys), inserted, updated)


def create_selected_orders(connection: Connection) -> None:
    """Create the empty temporary table ``selected_orders`` (twap_id, wallet), which the transaction's end drops."""
    connection.execute(text(_QUERIES["create_selected_orders"]))


def write_selected_orders(connection: Connection, keys: Sequence[str] = ()) -> tuple[int, int]:
    """Derive orders and write those that differ; return the numbers of inserted and updated orders.

    Orders without events are not deleted. The table ``derived_orders`` remains until the transaction ends.

    Args:
        connection: In a transaction with the table ``selected_orders``, whose orders are derived from all events.
        keys: Objects; their other orders are derived from the events in these objects.
    """
    connection.execute(text(_QUERIES["derive_orders"]), {"keys": list(keys)})
    inserted, updated = connection.execute(text(_QUERIES["write_orders"])).one()
    return inserted, updated


def compare_orders(connection: Connection) -> None:
    """Compare every stored order with its events; the differences are in the table ``differing_orders``.

    The table has the columns twap_id, wallet and difference (``missing``, ``without events`` or ``differs``), and
    exists until the transaction ends. An order whose events are not refreshed yet is one of them.
    """
    create_selected_orders(connection)
    connection.execute(text(_QUERIES["derive_orders"]), {"keys": None})
    connection.execute(text(_QUERIES["compare_derived_orders"]))
    connection.execute(text(_QUERIES["add_orders_without_events"]))
    connection.execute(text(IGNORE_ARCHIVED_ORDERS))


def dates_pending_refresh(connection: Connection) -> dict[date, str]:
    """Return UTC date → digest of its loaded objects that no refresh included yet. A new load changes the digest."""
    return {row.object_date: row.digest for row in connection.execute(text(_QUERIES["dates_pending_refresh"]))}
