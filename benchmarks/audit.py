"""The audit that reads no object, by the number of objects.

Every listed object is loaded. The listing is generated in memory, so that no LIST request is measured.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import cast

from sqlalchemy import text

from benchmarks.harness import Bench
from benchmarks.subprocess_timer import Measurement, Work
from twap_pipeline.domain.object_ref import ObjectRef
from twap_pipeline.ingest.audit_runner import run_audit
from twap_pipeline.settings import DATASET_START
from twap_pipeline.source.base import ObjectStore
from twap_pipeline.storage.engine.engine import make_engine
from twap_pipeline.storage.engine.url import parse_database_url
from twap_pipeline.storage.sql_files import parse_queries

_ROWS_PER_OBJECT = 2


def run(bench: Bench) -> None:
    """Print seconds and memory of an audit for increasing numbers of objects."""
    print(f"{'audit, no differences':<58} {'seconds':>8} {'CPU s':>7} {'server':>7} {'added MB':>8}")
    largest = (1_000_000,) if bench.is_largest else ()
    for objects in (1_000,) if bench.is_quick else (10_000, 100_000, 200_000, *largest):
        measured = measure_audit(bench, objects, _ROWS_PER_OBJECT)
        print(
            f"{f'{objects:,} objects, {objects * _ROWS_PER_OBJECT:,} rows':<58} {measured.seconds:>8.2f}"
            f" {measured.cpu_seconds:>7.2f} {measured.server_cpu_seconds:>7.2f} {measured.added_megabytes:>8.0f}",
            flush=True,
        )
    print(flush=True)


def measure_audit(bench: Bench, objects: int, rows_per_object: int) -> Measurement:
    """Fill the tables of a bench and measure an audit in a child process.

    Args:
        bench: The database; its tables are emptied.
        objects: Number of loaded and listed objects.
        rows_per_object: Number of rows of each object.
    """
    bench.truncate()
    engine = make_engine(parse_database_url(bench.url))
    for query in parse_queries(Path(__file__).with_suffix(".sql").read_text("utf-8"), "audit.sql").values():
        with engine.begin() as connection:
            connection.execute(text(query), {"objects": objects, "rows": rows_per_object})
    engine.dispose()
    bench.vacuum()
    return bench.measure(audit_hourly_objects, str(objects))


class HourlyFeed:
    """The listing of an object store with hourly objects; see `ObjectStore`."""

    def __init__(self, objects: int) -> None:
        self._objects = objects

    def list_objects(self) -> Iterator[ObjectRef]:
        """Yield the objects in key order."""
        return map(_hourly_object, range(self._objects))


def _hourly_object(hour: int) -> ObjectRef:
    """Return an object of an hourly feed; `audit.sql` fills the same ones."""
    day = DATASET_START + timedelta(days=hour // 24)
    key = f"raw/twap_statuses/hourly/{day:%Y/%m/%d}/{hour % 24:02}/part.parquet"
    return ObjectRef(key, f"{hour:032x}", datetime(2026, 1, 1, tzinfo=UTC), 140_000)


def audit_hourly_objects(url: str, objects: str) -> Work:
    """Prepare an audit of tables that `measure_audit` has filled.

    Raises:
        SystemExit: The audit has a finding.
    """
    engine = make_engine(parse_database_url(url))
    engine.connect().close()
    store = cast("ObjectStore", HourlyFeed(int(objects)))

    def audit_all() -> None:
        if findings := run_audit(store, engine, since=DATASET_START).findings:
            raise SystemExit(f"the audit has findings: {findings[0].code}: {findings[0].examples[:3]}")

    return audit_all
