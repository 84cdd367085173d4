"""The pipeline with Dagster's daemon and web server: sensor, overwritten and bad objects, backfill."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text

from twap_pipeline_tests.dagster_client import DagsterWeb, dagster_dev_on_bucket, object_key, until
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
    """``dagster dev`` on the test's bucket and database."""
    with dagster_dev_on_bucket(bucket, tmp_path / "checkout") as web:
        yield web


def partitions(web: DagsterWeb, asset: object = STATUS) -> dict[str, Any]:
    node: dict[str, Any] = web.query(_PARTITIONS, asset=asset)["assetNodeOrError"]
    return node


def failed_counts(web: DagsterWeb) -> list[int]:
    """Return the number of failed partitions per asset."""
    return [partitions(web, asset)["partitionStats"]["numFailed"] for asset in (STATUS, ORDERS, STATS)]


def stale_status(web: DagsterWeb, day: str, asset: object = STATUS) -> str:
    node = partitions(web, asset)
    return str(dict(zip(node["partitionKeys"], node["staleStatusByPartition"], strict=True))[day])


def count_rows(engine: Engine, table: str = "twap_status") -> int:
    with engine.connect() as connection:
        return int(connection.execute(text(f"SELECT count(*) FROM {table}")).scalar_one())


_CHECKS = """
query ($asset: AssetKeyInput!) {
  assetNodeOrError(assetKey: $asset) {
    ... on AssetNode {
      assetChecksOrError { ... on AssetChecks { checks { name executionForLatestMaterialization { status } } } }
    }
  }
}"""


def checks_without_success(web: DagsterWeb) -> list[str]:
    """Return the checks of ``twap_status`` and ``twap_orders`` that the web UI does not show as passed."""
    nodes = [web.query(_CHECKS, asset=asset)["assetNodeOrError"] for asset in (STATUS, ORDERS)]
    checks = [check for node in nodes for check in node["assetChecksOrError"]["checks"]]
    return [
        check["name"]
        for check in checks
        if (check["executionForLatestMaterialization"] or {}).get("status") != "SUCCEEDED"
    ]


@pytest.mark.timeout(600)
def test_sensor_ingests_new_overwritten_and_replaced_objects(web: DagsterWeb, bucket: Bucket, engine: Engine) -> None:
    for number in range(49):
        bucket.put(object_key(f"{number:02}"), [event(number)])
    (bucket.directory / object_key("bad")).write_bytes(b"not parquet")
    web.start_sensor("new_twap_objects")

    until(lambda: count_rows(engine) == 49, 120, "49 of 50 objects are loaded")
    until(
        lambda: parked_keys(engine) == [object_key("bad")],
        120,
        "the bad object is parked after three failed attempts",
    )
    until(lambda: partitions(web)["partitionStats"]["numFailed"] == 1, 60, "the partition is failed after the last run")
    until(lambda: count_rows(engine, "twap_orders") == 49, 120, "the orders of the other 49 objects are refreshed")

    bucket.put(object_key("bad"), [event(50)], hours=2)
    until(lambda: count_rows(engine) == 50, 120, "the replaced object is loaded")
    until(
        lambda: partitions(web)["partitionStats"] == {"numMaterialized": 1, "numFailed": 0},
        60,
        "the partition is materialized",
    )
    until(lambda: stale_status(web, str(DAY)) == "FRESH", 60, "the partition is fresh")

    bucket.put(object_key("07"), [event(7), event(7, status="finished", minute=30)], hours=3)
    until(lambda: count_rows(engine) == 51, 120, "the overwritten object is loaded again")
    lineage = (STATUS, ORDERS, STATS)
    until(
        lambda: [stale_status(web, str(DAY), asset) for asset in lineage] == ["FRESH"] * 3,
        60,
        "the partition and its downstream partitions are fresh",
    )
    assert count_rows(engine, "twap_orders WHERE status = 'finished'") == 1


def parked_keys(engine: Engine) -> list[str]:
    with engine.connect() as connection:
        return list(
            connection.execute(text("SELECT s3_object_key FROM etl_s3_ingest_log WHERE failed_attempts >= 3")).scalars()
        )


@pytest.mark.timeout(600)
def test_backfill_fails_bad_partition_and_changed_one_is_stale(web: DagsterWeb, bucket: Bucket, engine: Engine) -> None:
    days = 14
    for number in range(days):
        bucket.put(object_key("a", days=number), [event(number)])
    (bucket.directory / object_key("bad", days=5)).write_bytes(b"not parquet")
    partition_keys = [str(DAY + timedelta(days=number)) for number in range(days)]
    web.run_to_end("observe_twap_s3_objects")
    backfill_id = web.launch_backfill(["twap_status", "twap_orders", "twap_daily_stats"], partition_keys)

    status = until(lambda: web.backfill_final_status(backfill_id), 180, "the backfill ends")
    assert status == "COMPLETED_FAILED"
    assert partitions(web)["partitionStats"] == {"numMaterialized": 13, "numFailed": 1}
    assert count_rows(engine) == 14
    until(lambda: failed_counts(web) == [1, 0, 0], 120, "only the bad partition is failed")
    until(
        lambda: checks_without_success(web) == ["ingest_log_matches_source"],
        120,
        "every check is evaluated, and one reports the bad object",
    )

    bucket.put(object_key("bad", days=5), [event(50)], hours=2)
    repair_id = web.launch_backfill(["twap_status", "twap_orders", "twap_daily_stats"], [partition_keys[5]])
    assert until(lambda: web.backfill_final_status(repair_id), 180, "the repair ends") == "COMPLETED_SUCCESS"
    until(lambda: checks_without_success(web) == [], 120, "every check passed, without a click")
    assert failed_counts(web) == [0, 0, 0]

    bucket.put(object_key("a", days=3), [event(3), event(300)], hours=100)
    web.run_to_end("observe_twap_s3_objects")

    assert stale_status(web, partition_keys[3]) == "STALE"
    assert [stale_status(web, partition_keys[number]) for number in (2, 4)] == ["FRESH", "FRESH"]
