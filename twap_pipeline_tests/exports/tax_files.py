"""Helpers for tests of tax files from fills: orders that add up to the stored fills, and written files."""

import csv
import io

from sqlalchemy import Engine, text

from twap_pipeline.exports.export import ExportRequest, PreparedExport, prepare_export

ORDERS_OF_FILLS = """
INSERT INTO twap_orders (twap_id, wallet, asset, side, size_executed, notional_executed, status, last_status_at,
  started_at, ended_at, event_count, first_event_at, first_object_key, last_object_key)
SELECT twap_id, wallet, max(asset), CASE max(side) WHEN 'buy' THEN 'B' ELSE 'A' END, sum(size),
  sum(price * size), 'finished', max(ts), min(ts), max(ts), 2, min(ts), 'a', 'b'
FROM twap_fills GROUP BY twap_id, wallet
"""
"""Ended orders whose executed totals are the sums of their fills."""


def insert_orders_of_fills(engine: Engine) -> None:
    """Insert an ended order for each order that has fills."""
    with engine.begin() as connection:
        connection.execute(text(ORDERS_OF_FILLS))


def write(engine: Engine, request: ExportRequest) -> tuple[PreparedExport, str]:
    """Return an export and its file."""
    with engine.connect() as connection:
        prepared = prepare_export(connection, request)
        batches = connection.execute(prepared.statement).partitions(1_000)
        rows = b"".join(prepared.writer.rows(batch) for batch in batches)
    return prepared, (prepared.writer.begin() + rows + prepared.writer.end()).decode()


def read_rows(engine: Engine, request: ExportRequest) -> list[dict[str, str]]:
    """Return the lines of an export by the names of their columns."""
    return list(csv.DictReader(io.StringIO(write(engine, request)[1])))
