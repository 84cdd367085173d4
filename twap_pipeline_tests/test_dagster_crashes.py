"""SIGKILL on Dagster's processes during a tick and a run: no row is lost or duplicated.

`ingest.test_crashes` kills loaders at each failpoint, `defs.test_lost_runs` tests the end of the run that was killed.
"""

from pathlib import Path

import dagster as dg
import pytest
import yaml
from sqlalchemy import Engine

from twap_pipeline.paths import ROOT
from twap_pipeline_tests.dagster_client import process_group, until
from twap_pipeline_tests.factories import DAY, Bucket, event
from twap_pipeline_tests.invariants import ExpectedHash, PipelineScenario

_DAEMON = "dagster-daemon run -m twap_pipeline_tests.failpoint_code_location"
_SECONDS = 120.0
"""Limit of each step; a step takes some five seconds."""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A Dagster home with the settings of the checkout, whose paths are below the home."""
    home = tmp_path / "home"
    (home / "points").mkdir(parents=True)
    config = yaml.safe_load((ROOT / "dagster.yaml").read_text("utf-8"))
    for name in ("storage", "local_artifact_storage", "compute_logs"):
        del config[name]
    (home / "dagster.yaml").write_text(yaml.safe_dump(config), "utf-8")
    return home


@pytest.mark.fault("R2", "R4")
@pytest.mark.timeout(400)
def test_killed_tick_and_run_lose_and_duplicate_nothing(
    home: Path, bucket: Bucket, engine: Engine, expected_hash: ExpectedHash
) -> None:
    """All processes are killed while a run has loaded one of two objects and a tick is about to request the other."""
    scenario = PipelineScenario(bucket, engine, expected_hash)
    for name in "ab":
        bucket.put(f"hourly/{DAY:%Y/%m/%d}/12/{name}.parquet", [event(ord(name)), event(ord(name) + 1)])
    points = home / "points"
    environment = {
        "DAGSTER_HOME": str(home),
        "TWAP_SOURCE_URL": bucket.directory.as_uri() + "/",
        "TWAP_START_DATE": str(DAY),
        "TWAP_SENSOR_INTERVAL_SECONDS": "1",
        "TWAP_WRITE_CONCURRENCY": "1",
        "FAILPOINT_FOLDER": str(points),
    }
    loaded = "SELECT count(*) FROM etl_s3_ingest_log"

    (points / "after-commit").write_text("wait", "utf-8")
    with process_group(home, "daemon", _DAEMON.split(), environment):
        until((points / "after-commit.done").exists, _SECONDS, "the run has loaded an object")
        (points / "mid-tick").write_text("kill-group", "utf-8")
        until((points / "mid-tick.done").exists, _SECONDS, "all processes are killed during a tick")
    assert scenario.count(loaded) == 1

    daemon = process_group(home, "daemon", _DAEMON.split(), environment)
    with daemon, dg.DagsterInstance.from_config(str(home)) as instance:
        until(lambda: scenario.count(loaded) == 2, _SECONDS, "both objects are loaded")
        until(lambda: latest_run(instance).status == dg.DagsterRunStatus.SUCCESS, _SECONDS, "the second run ends")
        assert instance.get_runs_count() == 2

    scenario.assert_invariants()


def latest_run(instance: dg.DagsterInstance) -> dg.DagsterRun:
    (run,) = instance.get_runs(limit=1)
    return run
