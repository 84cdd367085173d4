"""The pipeline as people drive it, through the real daemon and web server: sensor, overwriting, poison, backfill."""

import shutil
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text

from twap_pipeline.project import ROOT
from twap_pipeline_tests.dagster_web import LOCATION, DagsterWeb, dagster_dev, until
from twap_pipeline_tests.objects import DAY, Bucket, event

_START_SENSOR = """
mutation ($sensor: SensorSelector!) {
  startSensor(sensorSelector: $sensor) { ... on Sensor { name } ... on PythonError { message } }
}"""
_BACKFILL = """
mutation ($backfill: LaunchBackfillParams!) {
  launchPartitionBackfill(backfillParams: $backfill) {
    ... on LaunchBackfillSuccess { backfillId }
    ... on PythonError { message }
  }
}"""
_BACKFILL_STATUS = """
query ($id: String!) {
  partitionBackfillOrError(backfillId: $id) { ... on PartitionBackfill { status } ... on PythonError { message } }
}"""
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
STATUS = {"path": ["twap_status"]}


@pytest.fixture
def web(bucket: Bucket, engine: Engine, tmp_path: Path) -> Iterator[DagsterWeb]:
    """A running Dagster on the test's bucket and database."""
    checkout = tmp_path / "checkout"
    checkout.mkdir()
    for name in ("workspace.yaml", "dagster.yaml", "pyproject.toml"):
        shutil.copy(ROOT / name, checkout)
    environment = {
        "TWAP_SOURCE_URL": bucket.directory.as_uri() + "/",
        "TWAP_START_DATE": str(DAY - timedelta(days=1)),
        "TWAP_SENSOR_INTERVAL_SECONDS": "5",
    }
    with dagster_dev(checkout, environment) as web:
        yield web


def partitions(web: DagsterWeb) -> dict[str, Any]:
    node: dict[str, Any] = web.ask(_PARTITIONS, asset=STATUS)["assetNodeOrError"]
    return node


def stale_status(web: DagsterWeb, day: str) -> str:
    node = partitions(web)
    return str(dict(zip(node["partitionKeys"], node["staleStatusByPartition"], strict=True))[day])


def rows(engine: Engine) -> int:
    with engine.connect() as connection:
        return int(connection.execute(text("SELECT count(*) FROM twap_status")).scalar_one())


def start_sensor(web: DagsterWeb) -> None:
    web.ask(_START_SENSOR, sensor={**LOCATION, "sensorName": "new_twap_objects"})


def key(name: str, days: int = 0) -> str:
    return f"hourly/{DAY + timedelta(days=days):%Y/%m/%d}/12/{name}.parquet"


@pytest.mark.timeout(600)
def test_new_overwritten_and_poisoned_objects_find_their_way_by_the_sensor(
    web: DagsterWeb, bucket: Bucket, engine: Engine
) -> None:
    for number in range(49):
        bucket.put(key(f"{number:02}"), [event(number)])
    (bucket.directory / key("poison")).write_bytes(b"this is no parquet")
    start_sensor(web)

    until(lambda: rows(engine) == 49, 120, "49 of 50 objects are in")
    until(lambda: parked(engine) == [key("poison")], 120, "the poisoned object is parked after its attempts")
    until(lambda: partitions(web)["partitionStats"]["numFailed"] == 1, 60, "the day is red once the last run ended")

    bucket.put(key("poison"), [event(50)], hours=2)
    until(lambda: rows(engine) == 50, 120, "the mended object is taken")
    until(lambda: partitions(web)["partitionStats"] == {"numMaterialized": 1, "numFailed": 0}, 60, "the day is green")
    until(lambda: stale_status(web, str(DAY)) == "FRESH", 60, "the day is fresh")

    bucket.put(key("07"), [event(7), event(7, status="finished", minute=30)], hours=3)
    until(lambda: rows(engine) == 51, 120, "the overwritten object is taken again")
    until(lambda: stale_status(web, str(DAY)) == "FRESH", 60, "the day is fresh again")


def parked(engine: Engine) -> list[str]:
    with engine.connect() as connection:
        return list(
            connection.execute(text("SELECT s3_object_key FROM etl_s3_ingest_log WHERE attempts >= 3")).scalars()
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
    backfill = web.ask(_BACKFILL, backfill={"assetSelection": [STATUS], "partitionNames": names})
    identity = backfill["launchPartitionBackfill"]["backfillId"]

    def ended() -> str:
        status = str(web.ask(_BACKFILL_STATUS, id=identity)["partitionBackfillOrError"]["status"])
        return status if status.startswith(("COMPLETED", "FAILED")) else ""

    assert until(ended, 180, "the backfill ends") == "COMPLETED_FAILED"
    assert partitions(web)["partitionStats"] == {"numMaterialized": 13, "numFailed": 1}
    assert rows(engine) == 14

    bucket.put(key("a", days=3), [event(3), event(300)], hours=100)
    web.run_to_end("observe_twap_s3_objects")

    assert stale_status(web, names[3]) == "STALE"
    assert [stale_status(web, names[number]) for number in (2, 4)] == ["FRESH", "FRESH"]
