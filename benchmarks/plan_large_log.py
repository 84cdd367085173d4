"""Nothing new: what planning costs where the ledger holds every listed object, beyond the LIST calls."""

import statistics
from datetime import UTC, date, datetime, timedelta

import psycopg

from benchmarks.harness import Bench
from benchmarks.subprocess_timer import measure
from twap_pipeline.domain.object_ref import ObjectRef

_FIRST = date(2025, 8, 17)
_MODIFIED = datetime(2026, 1, 1, tzinfo=UTC)
_COLUMNS = (
    "s3_object_key, etag, last_modified, size_bytes, object_date, ingested_at, rows_ingested, rows_read, rows_inserted,"
    " rows_updated, rows_unchanged, rows_superseded, rows_quarantined, rows_metadata"
)


def run(bench: Bench) -> None:
    """Print seconds and megabytes for growing ledgers."""
    print(f"{'nothing new':<58} {'seconds':>8} {'CPU s':>7} {'added MB':>8}")
    for objects in (1_000,) if bench.is_quick else (10_000, 30_000, 100_000):
        bench.empty()
        _fill(bench.url, listing_of(objects))
        taken = [measure(bench.postmaster, "nothing_new", bench.url, str(objects)) for _ in range(bench.rounds)]
        seconds = statistics.median(one.seconds for one in taken)
        cpu = statistics.median(one.cpu_seconds for one in taken)
        added = max(one.added_megabytes for one in taken)
        print(f"{f'plan {objects:,} objects, all in the ledger':<58} {seconds:>8.2f} {cpu:>7.2f} {added:>8.0f}")
    print(flush=True)


def listing_of(objects: int) -> list[ObjectRef]:
    """Return a listing of hourly objects."""
    return [
        ObjectRef(
            f"raw/twap_statuses/hourly/{_FIRST + timedelta(days=number // 24):%Y/%m/%d}/{number % 24:02}/part.parquet",
            f"{number:032x}",
            _MODIFIED,
            140_000,
        )
        for number in range(objects)
    ]


def _fill(url: str, listing: list[ObjectRef]) -> None:
    with psycopg.connect(url) as connection:
        with connection.cursor().copy(f"COPY etl_s3_ingest_log ({_COLUMNS}) FROM STDIN".encode()) as copy:
            for ref in listing:
                said = (ref.key, ref.etag, ref.last_modified, ref.size_bytes, _FIRST, _MODIFIED)
                copy.write_row((*said, 100, 100, 100, 0, 0, 0, 0, 0))
        connection.execute("ANALYZE etl_s3_ingest_log")
