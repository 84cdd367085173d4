"""The pipeline as people drive it, through the real daemon and web server: sensor, overwriting, poison, backfill."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text

from twap_pipeline_tests.dagster_client import DagsterWeb, checkout, dagster_dev, until
from twap_pipeline_tests.factories import DAY, Bucket, event

_PARTITIONS = """
query ($asset: AssetKeyInput!) {
  assetNodeOrError(assetKey: $asset) {
    ... on AssetNode {
      partitionStats { numMaterialized numFailed }
      staleStatusByPartition
      partitionKeys
    }
  }
}"""
STATUS, ORDERS, STATS = ({"path": [name]} for name in ("twap_status", "twap_orders", "twap_daily_stats"))


@pytest.fixture
def web(bucket: Bucket, engine: Engine, tmp_path: Path) -> Iterator[DagsterWeb]:
    """A running Dagster on the test's bucket and database."""
    environment = {
        "TWAP_SOURCE_URL": bucket.directory.as_uri() + "/",
        "TWAP_START_DATE": str(DAY - timedelta(days=1)),
        "TWAP_SENSOR_INTERVAL_SECONDS": "5",
    }
    with dagster_dev(checkout(tmp_path / "checkout"), environment) as web:
        yield web


def partitions(web: DagsterWeb, asset: object = STATUS) -> dict[str, Any]:
    node: dict[str, Any] = web.ask(_PARTITIONS, asset=asset)["assetNodeOrError"]
    return node


def stale_status(web: DagsterWeb, day: str, asset: object = STATUS) -> str:
    node = partitions(web, asset)
    return str(dict(zip(node["partitionKeys"], node["staleStatusByPartition"], strict=True))[day])


def rows(engine: Engine, table: str = "twap_status") -> int:
    with engine.connect() as connection:
        return int(connection.execute(text(f"SELECT count(*) FROM {table}")).scalar_one())


def start_sensors(web: DagsterWeb) -> None:
    for name in ("new_twap_objects", "stale_twap_orders"):
        web.start_sensor(name)


def key(name: str, days: int = 0) -> str:
    return f"hourly/{DAY + timedelta(days=days):%Y/%m/%d}/12/{name}.parquet"


@pytest.mark.timeout(600)
def test_new_overwritten_and_poisoned_objects_find_their_way_by_the_sensor(
    web: DagsterWeb, bucket: Bucket, engine: Engine
) -> None:
    for number in range(49):
        bucket.put(key(f"{number:02}"), [event(number)])
    (bucket.directory / key("poison")).write_bytes(b"this is no parquet")
    start_sensors(web)

    until(lambda: rows(engine) == 49, 120, "49 of 50 objects are in")
    until(lambda: parked(engine) == [key("poison")], 120, "the poisoned object is parked after its failed_attempts")
    until(lambda: partitions(web)["partitionStats"]["numFailed"] == 1, 60, "the day is red once the last run ended")
    until(lambda: rows(engine, "twap_orders") == 49, 120, "the orders of the other 49 objects are there all the same")

    bucket.put(key("poison"), [event(50)], hours=2)
    until(lambda: rows(engine) == 50, 120, "the mended object is taken")
    until(lambda: partitions(web)["partitionStats"] == {"numMaterialized": 1, "numFailed": 0}, 60, "the day is green")
    until(lambda: stale_status(web, str(DAY)) == "FRESH", 60, "the day is fresh")

    bucket.put(key("07"), [event(7), event(7, status="finished", minute=30)], hours=3)
    until(lambda: rows(engine) == 51, 120, "the overwritten object is taken again")
    whole_line = (STATUS, ORDERS, STATS)
    until(
        lambda: [stale_status(web, str(DAY), asset) for asset in whole_line] == ["FRESH"] * 3,
        60,
        "the day is fresh again, and so is what hangs on it",
    )
    assert rows(engine, "twap_orders WHERE status = 'finished'") == 1


def parked(engine: Engine) -> list[str]:
    with engine.connect() as connection:
        return list(
            connection.execute(text("SELECT s3_object_key FROM etl_s3_ingest_log WHERE failed_attempts >= 3")).scalars()
        )


@pytest.mark.timeout(600)
def test_a_backfill_keeps_its_good_days_shows_its_bad_one_and_a_changed_day_goes_stale(
    web: DagsterWeb, bucket: Bucket, engine: Engine
) -> None:
    days = 14
    for number in range(days):
        bucket.put(key("a", days=number), [event(number)])
    (bucket.directory / key("bad", days=5)).write_bytes(b"this is no parquet")
    names = [str(DAY + timedelta(days=number)) for number in range(days)]
    web.run_to_end("observe_twap_s3_objects")
    identity = web.launch_backfill(["twap_status", "twap_orders", "twap_daily_stats"], names)

    ended = until(lambda: web.backfill_end(identity), 180, "the backfill ends")
    assert ended == "COMPLETED_FAILED"
    assert partitions(web)["partitionStats"] == {"numMaterialized": 13, "numFailed": 1}
    assert rows(engine) == 14

    bucket.put(key("a", days=3), [event(3), event(300)], hours=100)
    web.run_to_end("observe_twap_s3_objects")

    assert stale_status(web, names[3]) == "STALE"
    assert [stale_status(web, names[number]) for number in (2, 4)] == ["FRESH", "FRESH"]
    start_sensors(web)
    until(lambda: rows(engine, "twap_orders") == 15, 180, "the orders of every readable object are there")
