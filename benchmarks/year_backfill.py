"""``python -m benchmarks.year_backfill``: measures a backfill by Dagster's daemon.

The limit is COPY of the ready rows of both tables. The load of the same objects without Dagster shows Dagster's share.
"""

import argparse
import time
from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path

from sqlalchemy import Engine

from benchmarks.backfill_runs import run_times
from benchmarks.harness import create_database, temporary_server, url_with_password
from benchmarks.workloads import copy_tables, dump_tables, write_objects
from twap_pipeline.ingest.load import ingest_objects
from twap_pipeline.ingest.plan import group_by_day
from twap_pipeline.source.base import open_store
from twap_pipeline.storage.audit.checksum import content_checksum
from twap_pipeline.storage.orders.refresh import refresh_orders
from twap_pipeline_tests.dagster_client import checkout, dagster_dev, until

_FIRST_DAY = date(2025, 8, 17)
_ASSETS = ("twap_status", "twap_orders", "twap_daily_stats")
_TIMEOUT_SECONDS = 7200.0


def main() -> None:
    """Print the durations of both loads and the overhead of Dagster per day."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.year_backfill", description=__doc__)
    parser.add_argument("--days", type=int, default=365)
    parser.add_argument("--objects-per-day", type=int, default=4)
    parser.add_argument("--rows-per-object", type=int, default=1_500)
    options = parser.parse_args()
    days = [_FIRST_DAY + timedelta(days=number) for number in range(options.days)]
    with temporary_server() as (server_url, folder):
        objects = folder / "objects"
        write_objects(objects, days, options.objects_per_day, options.rows_per_object)
        source_url = objects.as_uri() + "/"
        direct, backfilled = create_database(server_url, "direct"), create_database(server_url, "backfilled")
        direct_seconds = _load_without_dagster(direct, source_url)
        dump_tables(url_with_password(direct), folder / "tables")
        copied = create_database(server_url, "copied")
        copy = copy_tables(url_with_password(copied), str(folder / "tables"))
        started = time.perf_counter()
        copy()
        copy_seconds = time.perf_counter() - started
        copied.dispose()
        backfill_seconds, runs, run_seconds = _load_by_backfill(backfilled, source_url, folder, days)
        is_equal = _checksum(direct) == _checksum(backfilled)
        direct.dispose()
        backfilled.dispose()
    rows = options.days * options.objects_per_day * options.rows_per_object
    print(f"{options.days} days, {options.days * options.objects_per_day:,} objects, {rows:,} rows")
    print(f"COPY of both tables (limit): {copy_seconds:.1f} s")
    print(f"without Dagster: {direct_seconds:.1f} s, {direct_seconds / copy_seconds:.2f} x limit")
    print(f"backfill: {backfill_seconds:.1f} s, {backfill_seconds / copy_seconds:.2f} x limit")
    overhead_ms = 1000 * (run_seconds - direct_seconds) / options.days
    print(f"its {runs} runs: {run_seconds:.1f} s in total, {overhead_ms:.0f} ms per day more than without Dagster")
    print(f"tables are equal: {is_equal}")


def _load_without_dagster(engine: Engine, source_url: str) -> float:
    """Load every object and refresh the orders, day by day, in this process; return the seconds."""
    store = open_store(source_url)
    started = time.perf_counter()
    for day, refs in group_by_day(store.list_objects()).items():
        ingest_objects(store, engine, refs, day)
        with engine.begin() as connection:
            refresh_orders(connection, day)
    return time.perf_counter() - started


def _load_by_backfill(engine: Engine, source_url: str, folder: Path, days: Sequence[date]) -> tuple[float, int, float]:
    """Return the seconds from launch to end, the number of runs, and the sum of their durations in seconds."""
    environment = {
        "DATABASE_URL": url_with_password(engine),
        "TWAP_SOURCE_URL": source_url,
        "TWAP_HOME": str(folder / "home"),
    }
    with dagster_dev(checkout(folder / "checkout"), environment) as web:
        web.run_to_end("observe_twap_s3_objects")
        started = time.perf_counter()
        backfill_id = web.launch_backfill(_ASSETS, [day.isoformat() for day in days])
        status = until(lambda: web.backfill_final_status(backfill_id), _TIMEOUT_SECONDS, "the backfill ends")
        seconds = time.perf_counter() - started
        if status != "COMPLETED_SUCCESS":
            raise SystemExit(f"the backfill ended with status {status}")
        durations = [end - start for start, end in run_times(web, backfill_id)]
    return seconds, len(durations), sum(durations)


def _checksum(engine: Engine) -> str:
    with engine.connect() as connection:
        return content_checksum(connection)


if __name__ == "__main__":
    main()
