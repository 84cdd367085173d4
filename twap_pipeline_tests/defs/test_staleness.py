"""Stale partitions: an overwritten object makes its day stale, also after a run in which another day failed."""

from datetime import timedelta

import dagster as dg
from dagster._utils.test.data_versions import get_stale_status_resolver
from sqlalchemy import Engine

from twap_pipeline.defs.catalog import AssetCatalog
from twap_pipeline.defs.jobs import INGEST_JOB
from twap_pipeline.defs.partitions import range_tags
from twap_pipeline_tests.defs.code_location import load_definitions
from twap_pipeline_tests.defs.sensor_ticks import key
from twap_pipeline_tests.factories import DAY, Bucket, event

CATALOG = AssetCatalog()
DAYS = [DAY + timedelta(days=number) for number in range(3)]


def stale_statuses(instance: dg.DagsterInstance, asset: dg.AssetKey) -> list[str]:
    """Return the status of each day, as the web UI shows it."""
    assets = load_definitions().assets or []
    resolver = get_stale_status_resolver(
        instance, [item for item in assets if isinstance(item, dg.AssetsDefinition | dg.SourceAsset)]
    )
    return [resolver.get_status(asset, str(day)).value for day in DAYS]


def run(instance: dg.DagsterInstance, name: str, **tags: str) -> bool:
    job = load_definitions().resolve_job_def(name)
    return job.execute_in_process(instance=instance, tags=tags, raise_on_error=False).success


def test_overwritten_object_makes_its_day_stale(instance: dg.DagsterInstance, bucket: Bucket, engine: Engine) -> None:
    for number in range(3):
        bucket.put(key("a", days=number), [event(number)])
    (bucket.directory / key("bad", days=2)).write_bytes(b"not parquet")
    assert run(instance, "observe_twap_s3_objects")
    assert not run(instance, INGEST_JOB, **range_tags(DAYS[0], DAYS[2]))
    assert stale_statuses(instance, CATALOG.status_key) == ["FRESH", "FRESH", "MISSING"]

    bucket.put(key("a", days=1), [event(1), event(1, status="finished", minute=30)], hours=100)
    assert run(instance, "observe_twap_s3_objects")
    assert stale_statuses(instance, CATALOG.status_key) == ["FRESH", "STALE", "MISSING"]

    assert run(instance, INGEST_JOB, **range_tags(DAYS[1], DAYS[1]))
    for asset in (CATALOG.status_key, CATALOG.orders_key, CATALOG.daily_stats_key):
        assert stale_statuses(instance, asset)[1] == "FRESH"
