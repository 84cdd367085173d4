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
        description: The condition, and what a violation means or needs. Dagster's UI shows it with either result.
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
        "No object is parked, so that no rows are missing. If one is, read etl_s3_ingest_log.error_text, correct the"
        " cause, then run `twap-pipeline ingest --object-key KEY`.",
        is_error=True,
    ),
    _check(
        "row_count_matches_ingest_log",
        "The table has as many rows as the ingest log records. If not, another program added or deleted rows: run"
        " `twap-pipeline audit`.",
        is_error=True,
    ),
    _check(
        "event_times_in_range",
        "No event is older than the exchange or newer than its object. If one is, its time unit was inferred wrongly.",
        is_error=True,
    ),
    _check(
        "terminal_event_rate",
        "At least 95 % of a date's activated orders have a terminal event seven days later, when each order has ended."
        " If not, objects are missing.",
    ),
    _check(
        "daily_row_count_anomaly",
        "Each date has between a third and three times the usual rows. If not, objects are missing or duplicated.",
    ),
    _check(
        "executed_size_lte_requested",
        "No order executed more than it requested. If one did, the feed has changed, or a column is mapped wrongly.",
    ),
    _check(
        "no_execution_before_terminal_event",
        "Only terminal events have an executed size. If not, the feed reports progress now, or statuses are wrong.",
    ),
    _check(
        "no_unknown_statuses",
        "Every status is known. A new one is stored verbatim, and ranks between activation and end until it is added to"
        " `twap_pipeline/domain/status.py`.",
    ),
    _check(
        "no_quarantined_rows",
        "No row is quarantined. Rows that cannot be stored without loss are in twap_status_quarantine, with reasons.",
    ),
    TableCheck(
        "orders_match_events",
        "Every order equals the result of its events in twap_status. If not, run the job `refresh_twap_orders` for the"
        " days of its objects, with recompute: true in the configuration of twap_orders.",
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
