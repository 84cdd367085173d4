"""Checks of the stored data: each is one SELECT of the current violations.

Add a check here and its query, of the same name, to ``data_checks.sql``. When a check runs, and its severity in
Dagster's UI, belong to `defs.asset_checks`.
"""

from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import Connection, func, select, text

from twap_pipeline.storage.maintenance import correct_empty_statistics
from twap_pipeline.storage.orders.refresh import compare_orders
from twap_pipeline.storage.sql_files import load_queries

_EXAMPLES = 10


@dataclass(frozen=True, slots=True)
class TableCheck:
    """One check.

    Args:
        name: The condition that is true if all is well.
        description: Why the condition matters, and what to do if it is violated.
        violations_sql: SELECT of the violations; its columns are shown to people.
        table: The table that is checked.
        is_error: Whether a violation makes figures wrong; otherwise it is a warning.
        prepare: Creates the temporary tables that ``violations_sql`` reads.
    """

    name: str
    description: str
    violations_sql: str
    table: str = "twap_status"
    is_error: bool = False
    prepare: Callable[[Connection], None] | None = None


@dataclass(frozen=True, slots=True)
class CheckResult:
    """Violations of one check.

    Args:
        count: Number of violations.
        columns: Column names; empty if there are no violations.
        examples: The first violations, values as text.
    """

    count: int
    columns: tuple[str, ...]
    examples: tuple[tuple[str, ...], ...]


_QUERIES = load_queries("twap_pipeline.storage.audit", "data_checks.sql")


def _check(name: str, description: str, *, is_error: bool = False) -> TableCheck:
    return TableCheck(name, description, _QUERIES[name], is_error=is_error)


CHECKS: tuple[TableCheck, ...] = (
    _check(
        "no_parked_objects",
        "The rows of a parked object are missing. Read error_text, then run `twap-pipeline ingest --object-key KEY`.",
        is_error=True,
    ),
    _check(
        "row_count_matches_ingest_log",
        "Rows were added or deleted without an ingest log entry: run `twap-pipeline audit`.",
        is_error=True,
    ),
    _check(
        "event_times_in_range",
        "An event cannot be older than the exchange or newer than its object: a time unit was inferred wrongly.",
        is_error=True,
    ),
    _check(
        "terminal_event_rate",
        "An order lasts at most seven days. If more than 5 % of a date's activated orders have no terminal event seven"
        " days later, objects are missing.",
    ),
    _check(
        "daily_row_count_anomaly",
        "A date has less than a third, or more than three times, the usual rows: objects are missing or duplicated.",
    ),
    _check(
        "executed_size_lte_requested",
        "An order executed more than it requested: the feed has changed, or a column is mapped wrongly.",
    ),
    _check(
        "no_execution_before_terminal_event",
        "An event before the terminal event has an executed size: the feed reports progress, or statuses are wrong.",
    ),
    _check(
        "no_unknown_statuses",
        "The exchange has a new status, which is stored verbatim: add it to domain/status.py.",
    ),
    _check(
        "no_quarantined_rows",
        "Rows that cannot be normalized without loss are in twap_status_quarantine with their reasons.",
    ),
    TableCheck(
        "orders_match_events",
        "An order differs from its events in twap_status: run `refresh_twap_orders` for the dates of its objects.",
        _QUERIES["orders_match_events"],
        table="twap_orders",
        is_error=True,
        prepare=compare_orders,
    ),
)


def run_check(connection: Connection, check: TableCheck) -> CheckResult:
    """Run a check in the current transaction and return its violations."""
    correct_empty_statistics(connection)
    if check.prepare is not None:
        check.prepare(connection)
    violations = text(check.violations_sql).columns().subquery("violations")
    count = connection.execute(select(func.count()).select_from(violations)).scalar_one()
    if not count:
        return CheckResult(0, (), ())
    rows = connection.execute(select(text("*")).select_from(violations).limit(_EXAMPLES))
    return CheckResult(count, tuple(rows.keys()), tuple(tuple(map(str, row)) for row in rows))
