"""What archived months mean for orders and audits: their events exist only in files.

Months are archived oldest first. An order has archived events if its first event is before the end of the newest
archived month. Such an order keeps its row: it is never derived from the rest of its events.
"""

from collections.abc import Collection
from datetime import date, datetime

from sqlalchemy import Connection, text

from twap_pipeline.domain.months import format_month
from twap_pipeline.errors import TablePartitionError
from twap_pipeline.storage.sql_files import load_queries

_QUERIES = load_queries(__package__, "archived.sql")

IGNORE_ARCHIVED_ORDERS = _QUERIES["ignore_archived_orders"]
"""Statement that deletes the orders with archived events from the temporary table ``differing_orders``."""


def count_archived_rows(connection: Connection) -> int:
    """Return the number of events in archived months."""
    return int(connection.execute(text(_QUERIES["archived_rows"])).scalar_one())


def keep_archived_orders(connection: Connection, keys: Collection[str]) -> None:
    """Delete the orders with archived events from the temporary table ``selected_orders``.

    Args:
        connection: In the transaction of a refresh.
        keys: The objects whose orders are selected.

    Raises:
        TablePartitionError: One of these orders has an event in an object whose orders are not refreshed yet.
    """
    month, until = _archived_until(connection)
    if month is None:
        return
    query = text(_QUERIES["archived_orders_of_pending_objects"])
    orders, example = connection.execute(query, {"keys": list(keys), "until": until}).one()
    if orders:
        raise TablePartitionError(
            f"{orders} orders of new objects have archived events, for example order {example}; they cannot be derived"
            f" from the rest of their events: restore the archived months first, {format_month(month)} and before, with"
            " `twap-pipeline restore-month`, then refresh again"
        )
    connection.execute(text(_QUERIES["deselect_archived_orders"]), {"until": until})


def _archived_until(connection: Connection) -> tuple[date | None, datetime | None]:
    """Return the newest archived month and the time at which it ends; None if no month is archived."""
    month, until = connection.execute(text(_QUERIES["archived_until"])).one()
    return month, until
