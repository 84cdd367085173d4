"""Standing questions to the tables, each answered by the rows that are wrong *now*: as data, one SQL statement each.

Here belongs what a sound table looks like. When a question is asked, and how loudly an answer is told, is Dagster's
side (`defs.asset_checks`).
"""

from dataclasses import dataclass

from sqlalchemy import Connection, text

from twap_pipeline.domain.status import STATUS_RANK, UNKNOWN_STATUS_RANK
from twap_pipeline.storage.ingest_log import ATTEMPTS_MAX
from twap_pipeline.storage.orders.refresh import DIFFERENCES
from twap_pipeline.storage.status_sql import ENDED, quoted


@dataclass(frozen=True, slots=True)
class TableCheck:
    """One question.

    Args:
        name: In a few words, what holds when all is well.
        description: Why it matters, and what to do when it fails.
        violations_sql: SELECT of what is wrong, columns as a person wants to see them.
        table: The table that is asked about.
        is_error: Whether figures are wrong because of it; otherwise it is something to look at.
    """

    name: str
    description: str
    violations_sql: str
    table: str = "twap_status"
    is_error: bool = False


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What a question found.

    Args:
        count: Offending rows.
        columns: Names of the shown columns.
        examples: Some of the rows, as text.
    """

    count: int
    columns: tuple[str, ...]
    examples: tuple[tuple[str, ...], ...]


_BEFORE_THE_END = quoted({name for name, rank in STATUS_RANK.items() if rank < UNKNOWN_STATUS_RANK})

# The words in these statements are this package's own constants.
CHECKS: tuple[TableCheck, ...] = (
    TableCheck(
        "no_parked_objects",
        "A parked object's rows are missing. ListingSlice at error_text, then `twap-pipeline ingest --object-key KEY`.",
        "SELECT s3_object_key, failed_attempts, error_text FROM etl_s3_ingest_log"  # noqa: S608
        f" WHERE error_text IS NOT NULL AND failed_attempts >= {ATTEMPTS_MAX}",
        is_error=True,
    ),
    TableCheck(
        "row_count_matches_ingest_log",
        "Rows were added or deleted behind the ledger's back: run `twap-pipeline audit`.",
        "SELECT brought_in, held FROM (SELECT coalesce(sum(rows_inserted), 0) + coalesce(sum((SELECT"
        " sum((version ->> 'rows_inserted')::bigint) FROM jsonb_array_elements(previous_versions) AS version)), 0)"
        " AS brought_in FROM etl_s3_ingest_log) AS ledger, (SELECT count(*) AS held FROM twap_status) AS rows"
        " WHERE brought_in <> held",
        is_error=True,
    ),
    TableCheck(
        "event_times_in_range",
        "An event cannot be older than the exchange or younger than its object: a unit of time was misread.",
        "SELECT twap_id, wallet, ts, s3_object_key FROM twap_status"
        " WHERE ts < '2023-01-01' OR ts > s3_last_modified + interval '1 day'",
        is_error=True,
    ),
    TableCheck(
        "terminal_event_rate",
        "Orders last seven days at most. More than 5 % of a day's activations without an end seven days later"
        " means that objects are missing.",
        "SELECT day, activated, ended FROM (SELECT first.ts::date AS day, count(*) AS activated, count(*) FILTER (WHERE"  # noqa: S608
        " EXISTS (SELECT FROM twap_status AS last WHERE last.twap_id = first.twap_id"
        f" AND last.status IN ({ENDED}))) AS ended FROM twap_status AS first WHERE first.status = 'activated'"
        " AND first.ts < (SELECT max(ts) FROM twap_status) - interval '7 days' GROUP BY 1) AS days"
        " WHERE ended < 0.95 * activated AND activated - ended > 5 ORDER BY 1",
    ),
    TableCheck(
        "daily_row_count_anomaly",
        "A day with less than a third or more than three times the usual rows: objects are missing, or doubled.",
        "SELECT object_date, rows, usual FROM (SELECT object_date, sum(rows_read) AS rows, (SELECT"
        " percentile_cont(0.5) WITHIN GROUP (ORDER BY total) FROM (SELECT sum(rows_read) AS total FROM"
        " etl_s3_ingest_log WHERE object_date IS NOT NULL GROUP BY object_date HAVING sum(rows_read) >= 100) AS totals)"
        " AS usual FROM etl_s3_ingest_log WHERE object_date < (SELECT max(object_date) FROM etl_s3_ingest_log)"
        " GROUP BY object_date HAVING sum(rows_read) >= 100) AS days"
        " WHERE rows < usual / 3 OR rows > usual * 3 ORDER BY 1",
    ),
    TableCheck(
        "executed_size_lte_requested",
        "An order executed more than it asked for: the feed, or our reading of it, has changed.",
        "SELECT twap_id, wallet, ts, size_executed, size_requested FROM twap_status"
        " WHERE size_executed > size_requested",
    ),
    TableCheck(
        "no_execution_before_terminal_event",
        "An event before the end shows an executed size: the feed now reports progress, or statuses were mixed up.",
        "SELECT twap_id, wallet, ts, status, size_executed FROM twap_status"  # noqa: S608
        f" WHERE status IN ({_BEFORE_THE_END}) AND size_executed <> 0",
    ),
    TableCheck(
        "no_unknown_statuses",
        "The exchange has a new status. It is stored as it is; teach it to domain/twap_status.py.",
        "SELECT coalesce(status, 'NULL') AS status, count(*) AS rows, min(ts) AS first_seen FROM twap_status"  # noqa: S608
        f" WHERE status IS NULL OR status NOT IN ({quoted(set(STATUS_RANK))}) GROUP BY 1 ORDER BY 2 DESC",
    ),
    TableCheck(
        "no_quarantined_rows",
        "Rows that cannot be read without loss wait in twap_status_quarantine with their reasons.",
        "SELECT s3_object_key, row_number, reason FROM twap_status_quarantine ORDER BY 1, 2",
    ),
    TableCheck(
        "orders_match_events",
        "An order differs from its events in twap_status: run `refresh_twap_orders` for the days of its objects.",
        DIFFERENCES,
        table="twap_orders",
        is_error=True,
    ),
)

_EXAMPLES = 10


def run_check(connection: Connection, check: TableCheck) -> CheckResult:
    """Return what is wrong by this question."""
    counted = f"SELECT count(*) FROM ({check.violations_sql}) AS offenders"  # noqa: S608
    count = int(connection.execute(text(counted)).scalar_one())
    shown = connection.execute(text(f"{check.violations_sql} LIMIT {_EXAMPLES}")) if count else None
    rows = () if shown is None else tuple(tuple(str(value) for value in row) for row in shown)
    return CheckResult(count, () if shown is None else tuple(shown.keys()), rows)
