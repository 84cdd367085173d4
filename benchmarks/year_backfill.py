"""``python -m benchmarks.year_backfill``: a year as one backfill by Dagster's own daemon, beside the same work without it."""

import argparse
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import psycopg
from sqlalchemy import Engine

from twap_pipeline.embedded import EmbeddedPostgres
from twap_pipeline.ingest.load import ingest_objects
from twap_pipeline.ingest.plan import group_by_day
from twap_pipeline.sample import write_object
from twap_pipeline.source.local import LocalDirectory
from twap_pipeline.storage.audit.checksum import content_checksum
from twap_pipeline.storage.engine.engine import make_engine
from twap_pipeline.storage.engine.url import parse_database_url
from twap_pipeline.storage.orders.refresh import refresh_orders
from twap_pipeline.storage.schema.upgrade import upgrade
from twap_pipeline_tests.dagster_client import DagsterWeb, checkout, dagster_dev, until

FIRST = date(2025, 8, 17)
ASSETS = ("twap_status", "twap_orders", "twap_daily_stats")
_DEADLINE_SECONDS = 7200.0
_GOOD_END = "COMPLETED_SUCCESS"
_RUNS = "query { runsOrError(limit: 10000) { ... on Runs { results { status startTime endTime } } } }"


def main() -> None:
    """Print what both ways took, and Dagster's share of a day."""
    options = argparse.ArgumentParser(prog="python -m benchmarks.year_backfill", description=__doc__)
    options.add_argument("--days", type=int, default=365)
    options.add_argument("--objects-per-day", type=int, default=4)
    options.add_argument("--rows-per-object", type=int, default=1_500)
    given = options.parse_args()
    days = [FIRST + timedelta(days=number) for number in range(given.days)]
    with tempfile.TemporaryDirectory(prefix="twap-benchmark-") as name:
        folder = Path(name)
        folder.chmod(0o711)
        _write_objects(folder / "objects", days, given.objects_per_day, given.rows_per_object)
        with EmbeddedPostgres(folder / "postgres") as server:
            url = server.start()
            plain, direct = _database(url, "direct"), _database(url, "backfill")
            own = _directly(plain, LocalDirectory(folder / "objects"))
            whole, runs, in_runs = _by_backfill(direct, folder, days)
            same = _hash(plain) == _hash(direct)
            plain.dispose()
            direct.dispose()
    rows = given.days * given.objects_per_day * given.rows_per_object
    print(f"{given.days} days, {given.days * given.objects_per_day:,} objects, {rows:,} rows")
    print(
        f"without Dagster: {own:.1f} s; backfill: {whole:.1f} s from click to end, {in_runs:.1f} s of it in {runs} runs"
    )
    print(f"Dagster's share of a day: {1000 * (in_runs - own) / given.days:.0f} ms in the runs,", end=" ")
    print(f"{1000 * (whole - own) / given.days:.0f} ms in all; tables the same: {same}")


def _write_objects(folder: Path, days: Sequence[date], objects: int, rows: int) -> None:
    twap_id = 1_050_000
    for day in days:
        midnight = datetime(day.year, day.month, day.day, tzinfo=UTC)
        for number in range(objects):
            path = folder / f"hourly/{day:%Y/%m/%d}/{number:02}/part-0000.parquet"
            write_object(path, rows, seed=twap_id, day=midnight, first_twap_id=twap_id)
            twap_id += rows


def _database(server_url: str, name: str) -> Engine:
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
    engine = make_engine(parse_database_url(server_url).set(database=name))
    upgrade(engine)
    return engine


def _directly(engine: Engine, store: LocalDirectory) -> float:
    started = time.perf_counter()
    for day, refs in group_by_day(store.list_objects()).items():
        ingest_objects(store, engine, refs, day)
        with engine.begin() as connection:
            refresh_orders(connection, day)
    return time.perf_counter() - started


def _by_backfill(engine: Engine, folder: Path, days: Sequence[date]) -> tuple[float, int, float]:
    """Return seconds from the click to the end, how many runs it took, and their seconds together."""
    environment = {
        "DATABASE_URL": engine.url.render_as_string(hide_password=False),
        "TWAP_SOURCE_URL": (folder / "objects").as_uri() + "/",
        "TWAP_HOME": str(folder / "home"),
    }
    with dagster_dev(checkout(folder / "checkout"), environment) as web:
        web.run_to_end("observe_twap_s3_objects")
        before = len(_runs(web))
        started = time.perf_counter()
        identity = web.launch_backfill(ASSETS, [day.isoformat() for day in days])
        if (end := until(lambda: web.backfill_end(identity), _DEADLINE_SECONDS, "the backfill ends")) != _GOOD_END:
            raise SystemExit(f"the backfill ended as {end}")
        seconds = time.perf_counter() - started
        runs = _runs(web)
    spans = [run["endTime"] - run["startTime"] for run in runs[: len(runs) - before]]
    return seconds, len(spans), sum(spans)


def _runs(web: DagsterWeb) -> list[dict[str, float]]:
    runs: list[dict[str, float]] = web.ask(_RUNS)["runsOrError"]["results"]
    return runs


def _hash(engine: Engine) -> str:
    with engine.connect() as connection:
        return content_checksum(connection)


if __name__ == "__main__":
    main()
