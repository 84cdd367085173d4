"""``python -m benchmarks.checks``: measures the asset checks by day and in full, at a number of events over 50 days.

The columns are runs in this order: the first one, one after a new object, one without a change, a full one. The last
column repeats the run after a new object while the planner's statistics state that the tables are empty.
"""

import argparse
import time
from collections.abc import Sequence
from datetime import timedelta

import psycopg
from sqlalchemy import Engine

from benchmarks.harness import create_database, temporary_server, url_with_password
from twap_pipeline.storage.audit.data_check_runs import run_checks
from twap_pipeline.storage.audit.data_checks import CHECKS
from twap_pipeline.storage.orders.refresh import dates_pending_refresh, refresh_orders
from twap_pipeline.storage.sql_files import load_queries
from twap_pipeline_tests.storage.statistics import set_empty_statistics

_SQL = load_queries("benchmarks", "checks.sql")
_DAYS = 50
_EVENTS_PER_NEW_OBJECT = 1_500
_COLUMNS = ("first", "new object", "unchanged", "full", "reltuples = 0")


def main() -> None:
    """Print the seconds of each check and the evaluated dates per run."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.checks", description=__doc__)
    parser.add_argument("--events", type=int, default=2_000_000)
    options = parser.parse_args()
    with temporary_server() as (server_url, _):
        engine = create_database(server_url, "checks")
        orders = options.events // 2
        _fill(engine, 1, orders, timedelta(days=_DAYS), timedelta(0))
        _vacuum(engine)
        runs = [_run(engine)]
        for number in range(2):
            if number:
                runs += [_run(engine), _run(engine, is_full=True)]
            first = orders + 1 + number * _EVENTS_PER_NEW_OBJECT
            offset = timedelta(days=_DAYS + 1, hours=number)
            _fill(engine, first, _EVENTS_PER_NEW_OBJECT // 2, timedelta(minutes=20), offset)
            if number:
                set_empty_statistics(engine)
            runs.append(_run(engine))
        engine.dispose()
    _print_table(options.events, runs)


def _fill(engine: Engine, first_order: int, orders: int, period: timedelta, offset: timedelta) -> None:
    """Add events, their log entries and their orders."""
    values = {"first_order": first_order, "orders": orders, "period": period, "offset": offset}
    with psycopg.connect(url_with_password(engine)) as connection:
        connection.execute(_SQL["fill_events"].encode(), values)
        connection.execute(_SQL["fill_log"].encode())
    with engine.connect() as connection:
        days = list(dates_pending_refresh(connection))
    for day in days:
        with engine.begin() as connection:
            refresh_orders(connection, day)


def _vacuum(engine: Engine) -> None:
    with psycopg.connect(url_with_password(engine), autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE")


def _run(engine: Engine, *, is_full: bool = False) -> list[tuple[float, int]]:
    """Return seconds and evaluated dates per check.

    Raises:
        SystemExit: A check found a violation.
    """
    results = []
    started = time.perf_counter()
    for check, result in run_checks(engine, CHECKS, is_full=is_full):
        finished = time.perf_counter()
        if result.count and check.name != "daily_row_count_anomaly":
            raise SystemExit(f"{check.name}: {result.examples}")
        results.append((finished - started, result.evaluated_dates))
        started = finished
    return results


def _print_table(events: int, runs: Sequence[Sequence[tuple[float, int]]]) -> None:
    print(f"{f'seconds (dates) at {events:,} events':<40}" + "".join(f"{name:>16}" for name in _COLUMNS))
    for check, cells in zip(CHECKS, zip(*runs, strict=True), strict=True):
        print(f"{check.name:<40}" + "".join(f"{f'{seconds:.2f} ({dates})':>16}" for seconds, dates in cells))
    totals = [sum(seconds for seconds, _ in run) for run in runs]
    print(f"{'all checks':<40}" + "".join(f"{f'{total:.2f}':>16}" for total in totals))


if __name__ == "__main__":
    main()
