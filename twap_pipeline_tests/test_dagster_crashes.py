"""SIGKILL on Dagster's processes during ticks and runs: no row is lost or duplicated."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from sqlalchemy import Engine

from twap_pipeline_tests.dagster_client import LOCATION, DagsterWeb, checkout, dagster_dev, until
from twap_pipeline_tests.factories import DAY, Bucket, event
from twap_pipeline_tests.invariants import ExpectedHash, PipelineScenario

_RUNS = """{
  runsOrError(filter: {pipelineName: "ingest_twap_status"}) { ... on Runs { results { status tags { key value } } } }
}"""
_TICKS = """
query ($sensor: SensorSelector!) {
  sensorOrError(sensorSelector: $sensor) { ... on Sensor { sensorState { ticks { status } } } }
}"""
SENSOR = {**LOCATION, "sensorName": "new_twap_objects"}


@pytest.fixture
def crashing_checkout(tmp_path: Path) -> Path:
    """A checkout whose code location has failpoints, with one run at a time."""
    folder = checkout(tmp_path / "checkout")
    module = {"module_name": "twap_pipeline_tests.failpoint_code_location", "location_name": "twap_pipeline"}
    (folder / "workspace.yaml").write_text(yaml.safe_dump({"load_from": [{"python_module": module}]}), "utf-8")
    (folder / "pyproject.toml").unlink()  # it also names the code location
    config = yaml.safe_load((folder / "dagster.yaml").read_text("utf-8"))
    config["concurrency"]["pools"]["default_limit"] = 1
    config["run_monitoring"] |= {"poll_interval_seconds": 1, "max_runtime_seconds": 30}
    (folder / "dagster.yaml").write_text(yaml.safe_dump(config), "utf-8")
    (folder / "points").mkdir()
    return folder


def runs(web: DagsterWeb) -> list[tuple[str, str]]:
    """Return status and run key of every ingest run, oldest first."""
    results: list[dict[str, Any]] = web.query(_RUNS)["runsOrError"]["results"]
    tags = [{tag["key"]: tag["value"] for tag in run["tags"]} for run in results]
    return [(run["status"], tag["dagster/run_key"]) for run, tag in zip(results, tags, strict=True)][::-1]


def ticks(web: DagsterWeb) -> list[str]:
    return [tick["status"] for tick in web.query(_TICKS, sensor=SENSOR)["sensorOrError"]["sensorState"]["ticks"]]


@pytest.mark.fault("R2", "R4")
@pytest.mark.timeout(400)
def test_killed_ticks_and_runs_lose_and_duplicate_nothing(
    crashing_checkout: Path, bucket: Bucket, engine: Engine, expected_hash: ExpectedHash
) -> None:
    scenario = PipelineScenario(bucket, engine, expected_hash)
    for name in "ab":
        bucket.put(f"hourly/{DAY:%Y/%m/%d}/12/{name}.parquet", [event(ord(name)), event(ord(name) + 1)])
    points = crashing_checkout / "points"
    environment = {
        "TWAP_SOURCE_URL": bucket.directory.as_uri() + "/",
        "TWAP_START_DATE": str(DAY),
        "TWAP_SENSOR_INTERVAL_SECONDS": "2",
        "FAILPOINT_FOLDER": str(points),
        "DAGSTER_SENSOR_GRPC_TIMEOUT_SECONDS": "5",
    }
    (points / "mid-tick").write_text("kill-group", "utf-8")
    with dagster_dev(crashing_checkout, environment) as web:
        web.start_sensor("new_twap_objects")
        until((points / "mid-tick.done").exists, 60, "all Dagster processes are killed during a tick")
    assert scenario.count("SELECT count(*) FROM etl_s3_ingest_log") == 0

    (points / "mid-tick").write_text("sleep", "utf-8")
    (points / "after-commit").write_text("kill-group", "utf-8")
    with dagster_dev(crashing_checkout, environment) as web:
        until((points / "after-commit.done").exists, 120, "all Dagster processes are killed during a run")
    assert scenario.count("SELECT count(*) FROM etl_s3_ingest_log") == 1

    (points / "before-commit").write_text("kill-run", "utf-8")
    with dagster_dev(crashing_checkout, environment) as web:
        until(lambda: scenario.count("SELECT count(*) FROM etl_s3_ingest_log") == 2, 120, "both objects are loaded")
        until(
            lambda: [status for status, _ in runs(web)] == ["FAILURE", "FAILURE", "SUCCESS"], 60, "the third run ends"
        )
        keys = [key for _, key in runs(web)]
        assert "FAILURE" in ticks(web), "the tick that exceeded its timeout"

    assert len(set(keys)) == 3
    scenario.assert_invariants()
