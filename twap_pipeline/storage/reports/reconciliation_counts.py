"""Orders and fills by state of the reconciliation."""

from sqlalchemy import Connection, func, select

from twap_pipeline.storage.schema.models import twap_order_reconciliation


def reconciliation_counts(connection: Connection) -> list[tuple[str, int, int]]:
    """Return state, number of orders and number of fills, most orders first. Reads all orders and all fills."""
    columns = twap_order_reconciliation.c
    orders = func.count()
    statement = (
        select(columns.state, orders, func.sum(columns.fill_count)).group_by(columns.state).order_by(orders.desc())
    )
    return [(state, count, int(fills)) for state, count, fills in connection.execute(statement)]
