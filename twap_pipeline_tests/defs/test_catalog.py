"""The settings of the asset catalog: key prefix, group and owners, with an in-memory Dagster instance."""

import itertools
from datetime import timedelta
from typing import Any

import dagster as dg
import pytest
from sqlalchemy import Engine

from twap_pipeline.definitions import build_definitions
from twap_pipeline.defs.catalog import AssetCatalog
from twap_pipeline.defs.partitions import range_tags
from twap_pipeline.settings import load_settings
from twap_pipeline_tests.factories import DAY, Bucket, event

NAMES = ["twap_s3_objects", "twap_status", "twap_orders", "twap_daily_stats"]
CATALOG = AssetCatalog(("hyperliquid", "twap"))


@pytest.fixture(autouse=True)
def prefix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TWAP_ASSET_KEY_PREFIX", "hyperliquid/twap")


def materializations(instance: dg.DagsterInstance, key: dg.AssetKey) -> dict[str, Any]:
    records = instance.fetch_materializations(key, limit=9).records
    return {str(record.partition_key): record.asset_materialization for record in records}


def test_key_prefix_applies_to_assets_checks_and_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TWAP_SOURCE_URL", "s3://bucket/statuses/")  # the sample has fills, too
    repository = build_definitions(load_settings()).get_repository_def()
    graph = repository.asset_graph
    keys = [dg.AssetKey(["hyperliquid", "twap", name]) for name in NAMES]

    assert graph.get_all_asset_keys() == set(keys)
    assert {check.asset_key for check in graph.asset_check_keys} == {CATALOG.status_key, CATALOG.orders_key}
    for parent, child in itertools.pairwise(keys):
        assert graph.get(child).parent_keys == {parent}
    for name, selected in {"ingest_twap_status": keys[1:], "refresh_twap_orders": keys[2:]}.items():
        assert repository.get_job(name).asset_layer.executable_asset_keys == set(selected)
    assert len(repository.get_job("check_twap_status").asset_layer.asset_graph.asset_check_keys) == len(
        graph.asset_check_keys
    )


def test_group_and_owners_apply_to_every_asset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TWAP_ASSET_GROUP", "exchange_data")
    monkeypatch.setenv("TWAP_ASSET_OWNERS", "team:finance, ops@example.com")

    graph = build_definitions(load_settings()).get_repository_def().asset_graph

    assert {node.group_name for node in graph.asset_nodes} == {"exchange_data"}
    owners = {node.key: node.owners for node in graph.asset_nodes if node.is_materializable}
    assert list(owners.values()) == [["team:finance", "ops@example.com"]] * 4


def test_key_prefix_partial_failure_records_good_partitions(
    instance: dg.DagsterInstance, bucket: Bucket, engine: Engine
) -> None:
    bucket.put(f"hourly/{DAY:%Y/%m/%d}/12/a.parquet", [event(1)])
    bad = bucket.directory / f"hourly/{DAY + timedelta(days=1):%Y/%m/%d}/12/bad.parquet"
    bad.parent.mkdir(parents=True)
    bad.write_bytes(b"not parquet")
    definitions = build_definitions(load_settings())
    sensor = definitions.resolve_sensor_def("new_twap_objects")
    with dg.build_sensor_context(
        instance=instance, definitions=definitions, resources=dict(definitions.resources or {})
    ) as context:
        requested = sensor(context)

    result = definitions.resolve_job_def("ingest_twap_status").execute_in_process(
        instance=instance, raise_on_error=False, tags=range_tags(DAY, DAY + timedelta(days=1))
    )

    assert isinstance(requested, dg.SensorResult)
    assert len(requested.run_requests or []) == 2
    assert not result.success
    assert list(materializations(instance, CATALOG.key("twap_s3_objects"))) == [str(DAY + timedelta(days=1)), str(DAY)]
    (good,) = materializations(instance, CATALOG.status_key).items()
    assert good[0] == str(DAY)
    assert good[1].tags["dagster/input_event_pointer/hyperliquid/twap/twap_s3_objects"].isdigit()
