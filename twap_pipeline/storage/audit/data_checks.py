"""The checks of the stored data: each is one SELECT of the current violations.

Add a check here and its query, of the same name, to ``data_checks.sql``. `data_check_runs` evaluates the checks. When a
check runs belongs to `defs.asset_checks`.
"""

import hashlib
from dataclasses import dataclass
from enum import Enum, auto

from twap_pipeline.domain.data_set import TWAP_FILLS, TWAP_STATUS, DataSet
from twap_pipeline.storage.orders.refresh import COMPARE_ORDERS_OF_OBJECTS
from twap_pipeline.storage.sql_files import load_queries
from twap_pipeline.storage.status_sql import FRAGMENTS

_QUERIES = load_queries("twap_pipeline.storage.audit", "data_checks.sql", **FRAGMENTS)


class CheckScope(Enum):
    """What one evaluation of a check reads."""

    DAY = auto()
    """The rows of one UTC date's objects. The result of each date is stored; a date is evaluated after it changed."""
    TABLE = auto()
    """A whole table, because the check has no form by date. The result is stored and valid for the present UTC day."""
    LOG = auto()
    """Tables with a row per object, or with exceptions only. Each run evaluates the check; nothing is stored."""


@dataclass(frozen=True, slots=True)
class TableCheck:
    """One check.

    Args:
        name: The condition that is true if all is well.
        description: The condition, and what a violation means or needs. Dagster's UI shows it with either result.
        scope: What one evaluation reads.
        table: The table that is checked.
        data_set: Data set whose objects and dates the check reads.
        is_error: Whether a violation makes figures wrong; otherwise it is a warning.
        prepare: Statements that create the temporary tables of ``violations_sql``.
        delay_days: A date is evaluated when the newest object is at least this many days newer.
        follows_loads: Whether a whole table is also evaluated after an object of the data set was loaded.
    """

    name: str
    description: str
    scope: CheckScope = CheckScope.DAY
    table: str = "twap_status"
    data_set: DataSet = TWAP_STATUS
    is_error: bool = False
    prepare: tuple[str, ...] = ()
    delay_days: int = 0
    follows_loads: bool = False

    @property
    def violations_sql(self) -> str:
        """SELECT of the violations; its columns are shown to people."""
        return _QUERIES[self.name]

    @property
    def digest(self) -> str:
        """Digest of the SQL: another definition of the check does not use the results of this one."""
        return hashlib.sha256("\n".join((*self.prepare, self.violations_sql)).encode()).hexdigest()[:16]


CHECKS: tuple[TableCheck, ...] = (
    TableCheck(
        "no_parked_objects",
        "No object is parked, so that no rows are missing. If one is, read etl_s3_ingest_log.error_text, correct the"
        " cause, then run `twap-pipeline ingest --object-key KEY`.",
        CheckScope.LOG,
        is_error=True,
    ),
    TableCheck(
        "row_count_matches_ingest_log",
        "The table has as many rows as the ingest log records. If not, another program added or deleted rows: run"
        " `twap-pipeline audit`.",
        CheckScope.TABLE,
        is_error=True,
    ),
    TableCheck(
        "event_times_in_range",
        "No event is older than the exchange or newer than its object. If one is, its time unit was inferred wrongly.",
        is_error=True,
    ),
    TableCheck(
        "terminal_event_rate",
        "At least 95 % of a date's activated orders have a terminal event seven days later, when each order has ended."
        " If not, objects are missing.",
        delay_days=8,
    ),
    TableCheck(
        "daily_row_count_anomaly",
        "Each date has between a third and three times the usual rows. If not, objects are missing or duplicated.",
        CheckScope.LOG,
    ),
    TableCheck(
        "executed_size_lte_requested",
        "No order executed more than it requested. If one did, the feed has changed, or a column is mapped wrongly.",
    ),
    TableCheck(
        "no_execution_before_terminal_event",
        "Only terminal events have an executed size. If not, the feed reports progress now, or statuses are wrong.",
    ),
    TableCheck(
        "no_unknown_statuses",
        "Every status is known. A new one is stored verbatim, and ranks between activation and end until it is added to"
        " `twap_pipeline/domain/status.py`.",
    ),
    TableCheck(
        "no_quarantined_rows",
        "No row is quarantined. Rows that cannot be stored without loss are in twap_status_quarantine, with reasons.",
        CheckScope.LOG,
    ),
    TableCheck(
        "orders_match_events",
        "Every order equals the result of its events in twap_status, unless its refresh is pending. If not, run the job"
        " `refresh_twap_orders` for the dates of the examples, with `recompute: true` in its configuration.",
        table="twap_orders",
        is_error=True,
        prepare=COMPARE_ORDERS_OF_OBJECTS,
    ),
)
"""The checks of statuses and orders."""

FILLS_CHECKS: tuple[TableCheck, ...] = (
    TableCheck(
        "fill_count_matches_ingest_log",
        "The table has as many rows as the ingest log records. If not, another program added or deleted rows: run"
        " `twap-pipeline audit --data-set twap_fills`.",
        CheckScope.TABLE,
        table="twap_fills",
        data_set=TWAP_FILLS,
        is_error=True,
    ),
    TableCheck(
        "no_quarantined_fills",
        "No row of an object of fills is quarantined. Rows that cannot be stored without loss are in"
        " twap_fills_quarantine, with reasons.",
        CheckScope.LOG,
        table="twap_fills",
        data_set=TWAP_FILLS,
    ),
    TableCheck(
        "no_parked_fill_objects",
        "No object of the fills is parked, so that no fills are missing. If one is, read etl_s3_ingest_log.error_text,"
        " correct the cause, then run `twap-pipeline ingest --data-set twap_fills --object-key KEY`.",
        CheckScope.LOG,
        table="twap_fills",
        data_set=TWAP_FILLS,
        is_error=True,
    ),
    TableCheck(
        "fill_times_in_range",
        "No fill is older than the exchange or newer than its object. If one is, its time unit was inferred wrongly.",
        table="twap_fills",
        data_set=TWAP_FILLS,
        is_error=True,
    ),
    TableCheck(
        "fills_reconcile_with_orders",
        "The fills of every ended order add up to its executed size and notional, except if the fills of a day of the"
        " order are not loaded. If not, fills are missing or duplicated, or an order is missing.",
        CheckScope.TABLE,
        table="twap_fills",
        data_set=TWAP_FILLS,
        follows_loads=True,
    ),
)
"""The checks of fills, for an installation that loads them."""
