"""The pipeline with plain ``dagster dev``: a backfill with a bad object, stale partitions, and repairs by sensors.

One instance serves all steps: starting it and its runs is most of the time. The gate has cheaper tests of each step in
process (`defs.test_failed_partitions`, `defs.test_staleness`), and of ``dagster dev`` in `test_browser`.
"""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from twap_pipeline_tests.dagster_client import DagsterWeb, dagster_dev_on_bucket, object_key, until
from twap_pipeline_tests.factories import DAY, Bucket, event

_PARTITION_STATS = """
query ($asset: AssetKeyInput!) {
  assetNodeOrError(assetKey: $asset) { ... on AssetNode { partitionStats { numMaterialized numFailed } } }
}"""
_STALE_STATUS = """
query ($asset: AssetKeyInput!, $days: [String!]) {
  assetNodeOrError(assetKey: $asset) { ... on AssetNode { staleStatusByPartition(partitions: $days) } }
}"""
STATUS, ORDERS, STATS = ({"path": [name]} for name in ("twap_status", "twap_orders", "twap_daily_stats"))


@pytest.fixture
def web(bucket: Bucket, engine: Engine, tmp_path: Path) -> Iterator[DagsterWeb]:
    """``dagster dev`` on the test's bucket and database."""
    with dagster_dev_on_bucket(bucket, tmp_path / "checkout") as web:
        yield web


def partition_stats(web: DagsterWeb, asset: object = STATUS) -> dict[str, int]:
    stats: dict[str, int] = web.query(_PARTITION_STATS, asset=asset)["assetNodeOrError"]["partitionStats"]
    return stats


def failed_counts(web: DagsterWeb) -> list[int]:
    """Return the number of failed partitions per asset."""
    return [partition_stats(web, asset)["numFailed"] for asset in (STATUS, ORDERS, STATS)]


def stale_status(web: DagsterWeb, day: str, asset: object = STATUS) -> str:
    (status,) = web.query(_STALE_STATUS, asset=asset, days=[day])["assetNodeOrError"]["staleStatusByPartition"]
    return str(status)


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


@pytest.mark.long
@pytest.mark.timeout(600)
def test_backfill_with_bad_object_is_repaired_by_sensors(
    web: DagsterWeb, bucket: Bucket, engine: Engine, tmp_path: Path
) -> None:
    days = 14
    for number in range(days):
        bucket.put(object_key("a", days=number), [event(number)])
    (bucket.directory / object_key("bad", days=5)).write_bytes(b"not parquet")
    partition_keys = [str(DAY + timedelta(days=number)) for number in range(days)]
    assert web.locations() == ["twap_pipeline"]
    assert (tmp_path / "checkout" / ".twap" / "dagster" / "history").is_dir(), "runs are stored in the checkout"

    web.run_to_end("observe_twap_s3_objects")
    backfill_id = web.launch_backfill(["twap_status", "twap_orders", "twap_daily_stats"], partition_keys)

    status = until(lambda: web.backfill_final_status(backfill_id), 180, "the backfill ends")
    assert status == "COMPLETED_FAILED"
    assert partition_stats(web) == {"numMaterialized": 13, "numFailed": 1}
    assert count_rows(engine) == 14
    until(lambda: failed_counts(web) == [1, 0, 0], 120, "only the bad partition is failed")
    until(
        lambda: checks_without_success(web) == ["ingest_log_matches_source"],
        120,
        "every check is evaluated, and one reports the bad object",
    )

    bucket.put(object_key("a", days=3), [event(3), event(3, status="finished", minute=30)], hours=100)
    web.run_to_end("observe_twap_s3_objects")

    assert stale_status(web, partition_keys[3]) == "STALE"
    assert [stale_status(web, partition_keys[number]) for number in (2, 4)] == ["FRESH", "FRESH"]

    bucket.put(object_key("bad", days=5), [event(50)], hours=101)
    web.start_sensor("new_twap_objects")

    until(lambda: count_rows(engine) == 16, 120, "the overwritten and the replaced object are loaded")
    until(lambda: count_rows(engine, "twap_orders WHERE status = 'finished'") == 1, 120, "the orders are refreshed")
    until(lambda: failed_counts(web) == [0, 0, 0], 120, "no partition is failed")
    until(lambda: checks_without_success(web) == [], 120, "every check passed, without a click")
    until(
        lambda: {stale_status(web, partition_keys[3], asset) for asset in (STATUS, ORDERS, STATS)} == {"FRESH"},
        60,
        "the partition and its downstream partitions are fresh",
    )
