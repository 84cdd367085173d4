"""Every statement over several rows ends soon when the planner's statistics are those of an empty table.

Autovacuum leaves ``reltuples = 0`` if it analyzes a table during its first, uncommitted load. Each operation runs with
these statistics and a timeout that only a quadratic plan reaches. A query with a join in any ``.sql`` file must be
executed by an operation: a new query needs a line in `OPERATIONS`. Not among them: the API's reconciliation of a range,
which looks up each of its orders. A load corrects such statistics at its end.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, Executable, TextClause, text
from sqlalchemy.event import listens_for
from sqlalchemy.exc import OperationalError

from twap_pipeline.api.queries import v1
from twap_pipeline.api.queries.active_orders import active_orders, pressure, pressure_history
from twap_pipeline.api.queries.coverage import coverage
from twap_pipeline.api.queries.events import EventFilter, event_page, order_events
from twap_pipeline.api.queries.fills import order_fills
from twap_pipeline.api.queries.order_list import OrderFilter, Sort, order_page
from twap_pipeline.api.queries.orders import daily_stats, leaderboard, wallet_summary
from twap_pipeline.domain.data_set import TWAP_FILLS, TWAP_STATUS
from twap_pipeline.domain.object_ref import ObjectRef
from twap_pipeline.errors import StatementTimeoutError
from twap_pipeline.exports.rows import select_rows
from twap_pipeline.exports.tax.queries import FillRange
from twap_pipeline.ingest.audit import audit
from twap_pipeline.ingest.deep_audit import deep_audit
from twap_pipeline.paths import ROOT
from twap_pipeline.source.local import LocalDirectory
from twap_pipeline.storage import ingest_attempts, ingest_log, long_statements, status_sql
from twap_pipeline.storage.audit.checksum import content_checksum
from twap_pipeline.storage.audit.data_check_runs import run_checks
from twap_pipeline.storage.audit.data_checks import CHECKS, FILLS_CHECKS, TableCheck
from twap_pipeline.storage.audit.verification import comparison_placeholders
from twap_pipeline.storage.data_set_sql import compose
from twap_pipeline.storage.long_statements import statement_timeout
from twap_pipeline.storage.orders.refresh import dates_pending_refresh, refresh_orders
from twap_pipeline.storage.reports import pipeline_state
from twap_pipeline.storage.reports.daily_orders import daily_figures
from twap_pipeline.storage.reports.ingest_summary import day_reports
from twap_pipeline.storage.reports.order_history import order_history
from twap_pipeline.storage.reports.partition_state import fills_partition, orders_partition, status_partition
from twap_pipeline.storage.sql_files import parse_queries
from twap_pipeline.storage.symbols import markets
from twap_pipeline_tests.factories import Bucket, event
from twap_pipeline_tests.invariants import ingest_everything
from twap_pipeline_tests.mutants import expect_failure, plan_by_statistics
from twap_pipeline_tests.storage.statistics import set_empty_statistics

ORDERS = 10_000
OBJECTS = 12_000
DAY = date(2025, 8, 20)
START, END = datetime(2025, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=UTC)
WALLET = "0x" + "1" * 40
TIMEOUT_SECONDS = 5.0

_FILL = f"""
INSERT INTO twap_status (twap_id, wallet, ts, asset, side, size_requested, size_executed, notional_executed, status,
  duration_minutes, started_at, s3_object_key, s3_last_modified, raw_payload)
SELECT n::text, CASE WHEN n %% 2 = 0 THEN '{WALLET}' ELSE '0x' || lpad(to_hex(n), 40, '0') END,
  '2025-08-20 00:00+00'::timestamptz + (n %% 1000 + terminal * 30) * interval '1 minute', 'BTC', 'B', 1, terminal,
  terminal, CASE terminal WHEN 0 THEN 'activated' ELSE 'finished' END, 30, NULL, 'object-' || n %% {OBJECTS},
  '2025-08-21+00', '{{}}'
FROM generate_series(1, {ORDERS}) AS n, generate_series(0, 1) AS terminal;
INSERT INTO etl_s3_ingest_log (s3_object_key, last_modified, ingested_at, etag, size_bytes, object_date, rows_ingested,
  rows_read, rows_inserted, rows_updated, rows_unchanged, rows_superseded, rows_quarantined, rows_metadata)
SELECT 'object-' || n, '2025-08-21+00', now(), 'e', 1, '2025-08-20', 0, 0, 0, 0, 0, 0, 0, 0
FROM generate_series(0, {OBJECTS - 1}) AS n;
INSERT INTO etl_s3_ingest_history (s3_object_key, kind, etag, last_modified, ingested_at, rows_read, rows_inserted,
  rows_updated, rows_unchanged, rows_superseded, rows_quarantined, rows_metadata)
SELECT s3_object_key, 'replaced_version', 'e' || n, '2025-08-20+00', ingested_at, 0, 0, 0, 0, 0, 0, 0
FROM etl_s3_ingest_log, generate_series(1, 3) AS n;
INSERT INTO etl_s3_ingest_log (data_set, s3_object_key, last_modified, ingested_at, etag, object_date)
SELECT 'twap_fills', s3_object_key, last_modified, ingested_at, etag, object_date FROM etl_s3_ingest_log;
INSERT INTO twap_fills (trade_id, wallet, twap_id, ts, asset, side, price, size, s3_object_key, s3_last_modified)
SELECT twap_id, wallet, twap_id, ts, 'BTC', 'buy', 1, 1, s3_object_key, s3_last_modified FROM twap_status
WHERE status = 'finished';
INSERT INTO twap_status_quarantine (s3_object_key, row_number, raw_row, reason)
SELECT s3_object_key, 0, '{{}}', 'because' FROM etl_s3_ingest_log WHERE data_set = 'twap_status';
INSERT INTO etl_archived_months (month, rows, sha256, file_name, checksum) VALUES ('2023-01-01', 0, 's', 'f', 'c')
"""

TAX_RANGE = FillRange(WALLET, START, END, "all")

Operation = Callable[[Connection], object]


def statement(executable: Executable, parameters: Mapping[str, Any] | None = None) -> Operation:
    return lambda connection: connection.execute(executable, parameters).all()


def check(table_check: TableCheck) -> Operation:
    return lambda connection: list(
        run_checks(connection.engine, [table_check], is_full=True, timeout_seconds=TIMEOUT_SECONDS)
    )


def keys(connection: Connection) -> list[str]:
    return list(connection.execute(text("SELECT DISTINCT s3_object_key FROM etl_s3_ingest_log")).scalars())


def objects(connection: Connection) -> list[ObjectRef]:
    return [ObjectRef(key, "e", START, 1) for key in keys(connection)]


def pages() -> Iterable[tuple[str, Operation]]:
    """Pages of orders by each sort key and source, and of events."""
    keys_after: dict[Sort, tuple[Any, ...]] = {
        "twap_id": (4, "9000", "0x"), "ended": (END, 4, "9000", "0x"), "notional": (2, 4, "9000", "0x"),
    }  # fmt: skip
    for wallets in ((), (WALLET,), (WALLET, "0x" + "0" * 40)):
        for sort, after in keys_after.items():
            for status in (None, "finished"):
                selection = OrderFilter(wallets, status=status, start=START, end=END)
                page = order_page(selection, sort=sort, after=after, limit=100)
                yield f"orders of {len(wallets)} wallets by {sort}, status {status}", statement(*page)
    for wallet in (None, WALLET):
        events = event_page(EventFilter(wallet, START, END, status="finished"), after=(START, "1", ""), limit=100)
        yield f"events of {wallet}", statement(*events)
    for is_latest in (True, False):
        page_v1 = v1.wallet_orders(WALLET, START, END, None, latest_per_twap=is_latest, limit=5000, offset=0)
        yield f"v1, latest_per_twap {is_latest}", statement(page_v1)


OPERATIONS: dict[str, Operation] = {
    **dict(pages()),
    **{f"check {table_check.name}": check(table_check) for table_check in (*CHECKS, *FILLS_CHECKS)},
    "order_events": statement(*order_events("500", after=None, limit=100)),
    "wallet_summary": statement(wallet_summary(WALLET, START, END)),
    "daily_stats": statement(daily_stats(START.date(), END.date(), None, after=None, limit=1000)),
    "coverage": statement(coverage(None, None, days_max=1000)),
    "active_orders": statement(active_orders(None, None, limit=100)),
    "pressure": statement(pressure(None, [60])),
    "pressure_history": statement(pressure_history("BTC", START, END, horizon_minutes=60)),
    "leaderboard": statement(leaderboard(START, END, asset=None, market="perp", limit=100)),
    "leaderboard with fills": statement(leaderboard(START, END, asset=None, market=None, limit=100, with_fills=True)),
    "export": statement(select_rows("orders", WALLET, START, END, market=None)),
    "ingest log": ingest_log.read_ingest_log,
    "ingest log of keys": lambda connection: ingest_log.read_ingest_log(connection, keys(connection)),
    "begin_attempts": lambda connection: ingest_attempts.begin_attempts(connection, TWAP_STATUS, objects(connection)),
    "requeue": lambda connection: ingest_log.requeue(connection, keys(connection), "because"),
    "bytes_read_today": ingest_log.bytes_read_today,
    "find_other_source": lambda connection: ingest_log.find_other_source(connection, "s3://other/"),
    "dates_pending_refresh": dates_pending_refresh,
    "refresh_orders": lambda connection: refresh_orders(connection, DAY),
    "content_checksum": content_checksum,
    "pipeline state": pipeline_state.read_pipeline_state,
    "missing days": lambda connection: pipeline_state.missing_days(connection, START.date(), END.date()),
    "attempt totals": lambda connection: pipeline_state.attempt_totals(connection, START),
    "loaded objects": pipeline_state.loaded_objects,
    "unloaded objects": lambda connection: pipeline_state.unloaded_objects(connection, 1_000),
    "daily_figures": lambda connection: daily_figures(connection, [DAY]),
    "day_reports": lambda connection: day_reports(connection, data_set=TWAP_STATUS),
    "fills_partition": lambda connection: fills_partition(connection, DAY),
    "status_partition": lambda connection: status_partition(connection, DAY),
    "orders_partition": lambda connection: orders_partition(connection, DAY),
    "order_fills": statement(order_fills("500", after=None, limit=100)),
    "tax rows of fills": statement(TAX_RANGE.select_executions("fills")),
    "tax rows of days": statement(TAX_RANGE.select_executions("days")),
    "tax order states": TAX_RANGE.read_order_states,
    "tax fees": lambda connection: TAX_RANGE.read_fees(connection, ["1"]),
    "tax profits": lambda connection: TAX_RANGE.read_profits(connection, ["1"]),
    "order_history": lambda connection: order_history(connection, "500"),
}


@pytest.fixture
def filled(engine: Engine) -> Engine:
    """Tables with 20,000 events of 10,000 orders, and 12,000 objects with three earlier versions each."""
    with engine.begin() as connection:
        for insert in _FILL.split(";\n"):
            connection.exec_driver_sql(insert)
    return engine


def cancelled(engine: Engine, operations: Iterable[tuple[str, Operation]]) -> list[str]:
    """Run the operations with the statistics of empty tables; return the names of those that reached the timeout."""
    names = []
    for name, operation in operations:
        set_empty_statistics(engine)
        with engine.connect() as connection:
            try:
                with statement_timeout(connection, TIMEOUT_SECONDS, name):
                    operation(connection)
            except StatementTimeoutError:
                names.append(name)
    return names


def joining_queries() -> dict[str, str]:
    """Return query → its file and name, for each named query that reads more than one table."""
    joins = re.compile(r"\b(JOIN|EXISTS|UNION|EXCEPT|USING|unnest)\b|\b(IN|ARRAY) ?\(\s*SELECT\b")
    others = {"merge.sql", "roles.sql", "session.sql", "run_lock.sql"}  # the last three: catalog tables
    others |= {"views.sql"}  # the check fills_reconcile_with_orders and daily_figures read the views
    others |= {"partitions.sql", "conversion.sql", "archive.sql"}  # catalog tables, or one scan of a table
    comparison = comparison_placeholders(TWAP_STATUS)
    files = [path for path in (ROOT / "twap_pipeline").rglob("*.sql") if path.name not in others]
    fragments = markets.FRAGMENTS | status_sql.FRAGMENTS
    return {
        compose(query, TWAP_STATUS, **comparison) if re.search(r"{\w+}", query) else query: f"{path.name}: {name}"
        for path in files
        for name, query in parse_queries(path.read_text("utf-8"), path.name, **fragments).items()
        if joins.search(query)
    }


@pytest.mark.fault("W8")
def test_no_statement_with_empty_statistics_is_quadratic(filled: Engine, tmp_path: Path) -> None:
    """`merge.sql` is composed at run time; `test_row_writer.py` runs it with the same statistics."""
    executed: set[str] = {table_check.violations_sql for table_check in (*CHECKS, *FILLS_CHECKS)}

    @listens_for(filled, "before_execute")
    def record(_connection: Connection, statement: Any, *_arguments: object) -> None:
        if isinstance(statement, TextClause):
            executed.add(statement.text)

    with filled.begin() as connection:
        refresh_orders(connection, DAY)
    assert cancelled(filled, OPERATIONS.items()) == []
    set_empty_statistics(filled)
    audit(filled, [], DAY, timeout_seconds=TIMEOUT_SECONDS)
    store = LocalDirectory(tmp_path)
    with filled.connect() as connection:
        all_keys = keys(connection)
    set_empty_statistics(filled)
    for data_set in (TWAP_STATUS, TWAP_FILLS):
        deep_audit(
            store,
            filled,
            [],
            requeue=True,
            deleted_keys=all_keys,
            timeout_seconds=TIMEOUT_SECONDS,
            data_set=data_set,
        )

    assert [name for query, name in joining_queries().items() if query not in executed] == []


@pytest.mark.fault("W8", control=True)
def test_control_of_empty_statistics_detects_bad_plan(filled: Engine) -> None:
    with expect_failure(plan_by_statistics):
        assert cancelled(filled, [("coverage", statement(coverage(None, None, days_max=1000)))]) == []


@pytest.mark.parametrize("table", ["twap_status", "twap_orders", "etl_s3_ingest_log"])
def test_empty_statistics_of_table_with_rows_are_corrected(engine: Engine, table: str) -> None:
    with engine.begin() as connection:
        assert not connection.execute(text(long_statements._QUERIES["has_empty_statistics"])).scalar_one()
        connection.execute(
            text("UPDATE pg_class SET reltuples = 0, relpages = 5 WHERE relname = :table"), {"table": table}
        )
        assert connection.execute(text(long_statements._QUERIES["has_empty_statistics"])).scalar_one()

        long_statements.correct_empty_statistics(connection)

        assert not connection.execute(text(long_statements._QUERIES["has_empty_statistics"])).scalar_one()


def test_load_with_empty_statistics_corrects_them(engine: Engine, bucket: Bucket) -> None:
    store = LocalDirectory(bucket.directory)
    bucket.put("a.parquet", [event(1)])
    ingest_everything(store, engine)
    set_empty_statistics(engine)

    bucket.put("b.parquet", [event(2)])
    ingest_everything(store, engine)

    with engine.connect() as connection:
        assert not connection.execute(text(long_statements._QUERIES["has_empty_statistics"])).scalar_one()


def test_statement_over_timeout_names_task_and_setting(engine: Engine) -> None:
    with (
        engine.connect() as connection,
        pytest.raises(StatementTimeoutError) as raised,
        statement_timeout(connection, 0.05, "refresh of twap_orders for 2025-08-20"),
    ):
        connection.execute(text("SELECT pg_sleep(5)"))

    message = str(raised.value)
    assert message.startswith("refresh of twap_orders for 2025-08-20: PostgreSQL cancelled a statement")
    assert "TWAP_MAINTENANCE_TIMEOUT_SECONDS" in message
    assert "\n" not in message


def test_other_error_within_statement_timeout_is_unchanged(engine: Engine) -> None:
    with (
        engine.connect() as connection,
        pytest.raises(OperationalError),
        statement_timeout(connection, 5, "a task"),
    ):
        connection.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))
