"""The cost of planning when the ingest log contains every listed object, without the LIST requests."""

import statistics
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta

import psycopg

from benchmarks.harness import Bench
from benchmarks.subprocess_timer import Work
from twap_pipeline.domain.object_ref import ObjectRef, partition_date
from twap_pipeline.ingest.plan import group_by_day, plan
from twap_pipeline.storage.engine.engine import make_engine
from twap_pipeline.storage.engine.url import parse_database_url
from twap_pipeline.storage.ingest_log import read_ingest_log

_FIRST_DAY = date(2025, 8, 17)
_LAST_MODIFIED = datetime(2026, 1, 1, tzinfo=UTC)
_COPY_LOG_SQL = """
COPY etl_s3_ingest_log (s3_object_key, etag, last_modified, size_bytes, object_date, ingested_at, rows_ingested,
  rows_read, rows_inserted, rows_updated, rows_unchanged, rows_superseded, rows_quarantined, rows_metadata)
FROM STDIN
"""


def run(bench: Bench) -> None:
    """Print time and memory for ingest logs of increasing size."""
    print(f"{'plan, no new objects':<58} {'seconds':>8} {'CPU s':>7} {'added MB':>8}")
    for objects in (1_000,) if bench.is_quick else (10_000, 30_000, 100_000):
        bench.truncate()
        record_as_loaded(bench.url, hourly_objects(objects))
        results = [bench.measure(plan_hourly_objects, str(objects)) for _ in range(bench.rounds)]
        seconds = statistics.median(result.seconds for result in results)
        cpu = statistics.median(result.cpu_seconds for result in results)
        added = max(result.added_megabytes for result in results)
        print(f"{f'{objects:,} objects':<58} {seconds:>8.2f} {cpu:>7.2f} {added:>8.0f}")
    print(flush=True)


def hourly_objects(count: int) -> list[ObjectRef]:
    """Return the listing of an hourly feed."""
    return [
        ObjectRef(
            f"raw/twap_statuses/hourly/{_FIRST_DAY + timedelta(days=hour // 24):%Y/%m/%d}/{hour % 24:02}/part.parquet",
            f"{hour:032x}",
            _LAST_MODIFIED,
            140_000,
        )
        for hour in range(count)
    ]


def plan_hourly_objects(url: str, count: str) -> Work:
    """Prepare planning of `hourly_objects`: read the ingest log and compare.

    Raises:
        SystemExit: The plan contains an object.
    """
    listing = hourly_objects(int(count))
    engine = make_engine(parse_database_url(url))
    engine.connect().close()

    def plan_all() -> None:
        with engine.connect() as connection:
            ingest_log = read_ingest_log(connection)
        if any(plan(refs, ingest_log).pending for refs in group_by_day(listing).values()):
            raise SystemExit("the plan contains objects that the ingest log contains")

    return plan_all


def record_as_loaded(url: str, refs: Iterable[ObjectRef]) -> None:
    """Add an entry of a successful load per object to the ingest log."""
    counts = (100, 100, 100, 0, 0, 0, 0, 0)
    with psycopg.connect(url) as connection:
        with connection.cursor().copy(_COPY_LOG_SQL) as copy:
            for ref in refs:
                now = ref.last_modified
                copy.write_row((ref.key, ref.etag, now, ref.size_bytes, partition_date(ref), now, *counts))
        connection.execute("ANALYZE etl_s3_ingest_log")
