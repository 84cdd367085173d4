"""Corrects the planner's statistics of tables that were empty, and limits the time of statements over many rows.

Audits, repairs and data checks use this module; a refresh of orders uses the timeout only. Queries of one order, one
wallet or one object must not need statistics: they fix their plan themselves, because the API's role cannot collect
them.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from twap_pipeline.errors import StatementTimeoutError
from twap_pipeline.storage.sql_files import load_queries

STATEMENT_TIMEOUT_SECONDS = 3600.0
"""The limit of a statement unless the caller has a setting."""

_QUERY_CANCELED = "57014"  # not psycopg's class: the code location imports this module, and no driver
_QUERIES = load_queries("twap_pipeline.storage", "long_statements.sql")


def correct_empty_statistics(connection: Connection) -> None:
    """Run ANALYZE if the statistics of a table state that it is empty although it has pages.

    Autovacuum leaves such statistics if it analyzes a table during its first, uncommitted load. PostgreSQL then plans
    nested loops over whole tables. A role that does not own the tables gets a warning of the server, and no ANALYZE.
    """
    if connection.execute(text(_QUERIES["has_empty_statistics"])).scalar_one():
        connection.execute(text(_QUERIES["analyze_tables"]))


@contextmanager
def statement_timeout(connection: Connection, seconds: float, task: str) -> Iterator[None]:
    """Limit each statement of the current transaction, and name the task if PostgreSQL cancels one.

    Args:
        connection: In a transaction, which the caller rolls back after an error.
        seconds: The limit of each statement.
        task: What the statements do, for the error: ``refresh of twap_orders for 2025-08-20``.

    Raises:
        StatementTimeoutError: A statement reached the limit, or an administrator cancelled it.
    """
    timeout = {"statement_timeout": f"{max(1, round(seconds * 1000))}ms"}
    connection.execute(text(_QUERIES["set_statement_timeout"]), timeout)
    try:
        yield
    except DBAPIError as error:
        if getattr(error.orig, "sqlstate", None) != _QUERY_CANCELED:
            raise
        raise StatementTimeoutError(
            f"{task}: PostgreSQL cancelled a statement ({str(error.orig).splitlines()[0]}); the limit is {seconds:g}"
            " seconds (TWAP_MAINTENANCE_TIMEOUT_SECONDS). Its transaction was rolled back. Run ANALYZE as the owner of"
            " the tables, then run again; if the statement needs longer, raise the limit"
        ) from error
