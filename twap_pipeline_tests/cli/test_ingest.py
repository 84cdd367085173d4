"""The command ``ingest``: what it loads, counts and records."""

import json
import os
import signal
from datetime import timedelta
from pathlib import Path

import pytest
import yaml
from sqlalchemy import URL, Engine, text

from twap_pipeline.cli import dagster_runs
from twap_pipeline.cli.dagster_runs import open_instance
from twap_pipeline.definitions import build_definitions
from twap_pipeline.failpoints import FailpointName, activate_failpoint
from twap_pipeline.paths import ROOT
from twap_pipeline.settings import load_settings
from twap_pipeline.source.local import LocalDirectory
from twap_pipeline.storage.ingest_log import ATTEMPTS_MAX
from twap_pipeline_tests.cli.command_runner import Command, count_rows, key, order_ids
from twap_pipeline_tests.factories import DAY, Bucket, event
from twap_pipeline_tests.fill_factories import fill, fill_frame
from twap_pipeline_tests.invariants import ingest_everything
from twap_pipeline_tests.s3_server import S3Server


def test_ingest_end_is_exclusive(command: Command, bucket: Bucket, database: URL) -> None:
    bucket.put(key("a"), [event(1)])

    before = command("ingest", "--start", str(DAY - timedelta(days=1)), "--end", str(DAY))
    including = command("ingest", "--start", str(DAY), "--end", str(DAY + timedelta(days=1)), "--dry-run")

    assert f"no objects from {DAY - timedelta(days=1)} to {DAY} (exclusive)" in before.err
    assert "would ingest 1 objects" in including.out


def test_ingest_without_new_objects_refreshes_stale_orders(command: Command, bucket: Bucket, engine: Engine) -> None:
    bucket.put(key("a"), [event(1)])
    ingest_everything(LocalDirectory(bucket.directory), engine)
    assert order_ids(engine) == []

    assert command("ingest").status == 0

    assert order_ids(engine) == ["1"]


def test_ingest_twice_ingests_once(command: Command, bucket: Bucket, engine: Engine) -> None:
    bucket.put(key("a"), [event(1), event(1, status="finished", minute=30)])

    first, second = command("ingest"), command("ingest")

    assert (first.status, second.status) == (0, 0)
    assert "ingested 1 objects, 0 failed (1 Dagster runs)" in first.out
    assert "run 1 of 1: loading 1 objects\n" in first.err
    assert "no new objects (1 already ingested)" in second.out
    assert count_rows(engine) == 2


def test_ingest_records_prefixed_assets_and_code_location(
    recorded_command: Command, bucket: Bucket, database: URL, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the location of the web server, the timeline and the pages of jobs do not list the runs."""
    monkeypatch.setenv("TWAP_ASSET_KEY_PREFIX", "hyperliquid/twap")
    bucket.put(key("a"), [event(1)])
    assert recorded_command("ingest").status == 0
    (server_location,) = yaml.safe_load((ROOT / "workspace.yaml").read_text("utf-8"))["load_from"]

    with open_instance(load_settings()) as instance:
        (run,) = instance.get_runs()
        keys = {tuple(asset.path) for asset in instance.all_asset_keys()}

    names = ("twap_s3_objects", "twap_status", "twap_orders", "twap_daily_stats")
    assert keys == {("hyperliquid", "twap", name) for name in names}
    assert run.remote_job_origin is not None
    origin = run.remote_job_origin.repository_origin
    assert origin.code_location_origin.location_name == server_location["python_module"]["location_name"]
    assert origin.repository_name == build_definitions(load_settings()).get_repository_def().name
    assert run.tags_for_storage()[".dagster/repository"] == "__repository__@twap_pipeline"


@pytest.mark.usefixtures("database")
def test_ingest_runs_cover_no_day_without_objects(
    command: Command, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dagster's UI shows such a day as missing, not as materialized."""
    ranges: list[list[str]] = []

    def run_job(*_: object, tags: dict[str, str], **__: object) -> str:
        ranges.append(sorted(tags.values()))
        return "run"

    monkeypatch.setattr(dagster_runs, "_run_job", run_job)
    for number in (0, 1, 3):
        bucket.put(f"hourly/{DAY + timedelta(days=number):%Y/%m/%d}/12/a.parquet", [event(1)])

    assert command("ingest").status == 0

    assert ranges == [["2025-08-20", "2025-08-21"], ["2025-08-23", "2025-08-23"]]


def test_ingest_with_bad_object_exits_with_status_1(command: Command, bucket: Bucket, engine: Engine) -> None:
    """The orders of the other objects are refreshed."""
    bucket.put(key("a"), [event(1), event(1, status="finished", minute=30), event(2)])
    (bucket.directory / key("bad")).write_bytes(b"not parquet")

    outcome = command("ingest")

    assert outcome.status == 1
    assert f"failed: {key('bad')}: is not a readable parquet file" in outcome.err
    assert "ingested 1 objects, 1 failed" in outcome.out
    assert order_ids(engine) == ["1", "2"]


def test_ingest_of_fills_reports_loaded_and_failed_objects(
    command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, database: URL
) -> None:
    folder = tmp_path / "fills" / "by_dex" / "xyz" / "fills" / "perp" / "twap_fills" / "date=2026-03-01"
    folder.mkdir(parents=True)
    fill_frame(fill(1), fill(2)).write_parquet(folder / "a.parquet")
    (folder / "bad.parquet").write_bytes(b"not parquet")
    monkeypatch.setenv("TWAP_FILLS_URL", (tmp_path / "fills").as_uri() + "/")

    outcome = command("ingest", "--data-set", "twap_fills")

    assert outcome.status == 1
    assert "twap_fills/date=2026-03-01/bad.parquet: is not a readable parquet file" in outcome.err
    assert "ingested 1 objects, 1 failed" in outcome.out
    assert ["2026-03-01", "1", "1", "2", "2"] in [line.split()[:5] for line in outcome.out.splitlines()]


def test_ingest_with_only_parked_objects_exits_with_status_1(command: Command, bucket: Bucket, engine: Engine) -> None:
    (bucket.directory / f"{DAY}.parquet").write_bytes(b"not parquet")
    for _ in range(ATTEMPTS_MAX):
        ingest_everything(LocalDirectory(bucket.directory), engine)

    outcome = command("ingest")

    assert outcome.status == 1
    assert f"skipped 1 parked objects: {DAY}.parquet" in outcome.err


def test_ingest_json_has_runs_rows_and_failures(command: Command, bucket: Bucket, database: URL) -> None:
    bucket.put(key("a"), [event(1), event(2, wallet="?")])

    outcome = command("ingest", "--json")
    result = json.loads(outcome.out)

    assert (result["objects_ingested"], outcome.err) == (1, "")
    assert len(result["runs"]) == 1
    assert (result["rows"]["read"], result["rows"]["inserted"], result["rows"]["quarantined"]) == (2, 1, 1)
    assert result["failed"] == []


def test_dry_run_writes_nothing(command: Command, bucket: Bucket, engine: Engine) -> None:
    bucket.put(key("a"), [event(1)])

    outcome = command("ingest", "--dry-run")

    assert outcome.status == 0
    assert "dry run: would ingest 1 objects in 1 partitions" in outcome.out
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM etl_s3_ingest_log")).scalar_one() == 0


@pytest.mark.fault("X1")
def test_dry_run_on_s3_sends_no_get(
    command: Command, bucket: Bucket, database: URL, s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.put("a.parquet", [event(1)])
    s3.client().create_bucket(Bucket="twap")
    s3.client().upload_file(str(bucket.directory / "a.parquet"), "twap", f"raw/{DAY:%Y/%m/%d}/a.parquet")
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3.url)
    s3.requests.clear()

    outcome = command("ingest", "--source", "s3://twap/raw/", "--dry-run", "--json")

    assert json.loads(outcome.out)["objects"] == 1
    assert s3.requests["GET"] == 0


def test_ingest_source_option_loads_from_s3(
    command: Command, bucket: Bucket, engine: Engine, s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.put("a.parquet", [event(1)])
    s3.client().create_bucket(Bucket="twap")
    s3.client().upload_file(str(bucket.directory / "a.parquet"), "twap", f"raw/{DAY:%Y/%m/%d}/a.parquet")
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3.url)

    environment = dict(os.environ)

    outcome = command("ingest", "--source", "s3://twap/raw/")

    assert outcome.status == 0
    assert os.environ == environment, "the option is passed as a setting, not through the environment"
    with engine.connect() as connection:
        stored = connection.execute(text("SELECT s3_object_key FROM twap_status")).scalar_one()
    assert stored == f"raw/{DAY:%Y/%m/%d}/a.parquet"


def test_ingest_object_key_loads_only_that_object(command: Command, bucket: Bucket, engine: Engine) -> None:
    bucket.put(key("a"), [event(1)])
    bucket.put(key("b"), [event(2)])

    outcome = command("ingest", "--object-key", key("b"))

    assert outcome.status == 0
    with engine.connect() as connection:
        assert connection.execute(text("SELECT twap_id FROM twap_status")).scalars().all() == ["2"]


def test_ingest_file_loads_only_that_file(
    command: Command, bucket: Bucket, engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its directory is another source than the configured one."""
    bucket.put(key("a"), [event(1)])
    folder = Bucket(tmp_path / "one")
    for number, name in enumerate(("x.parquet", "y.parquet", "below/x.parquet"), start=2):
        folder.put(name, [event(number)])
    file = str(folder.directory / "x.parquet")

    loaded = command("ingest", "--file", file)
    monkeypatch.setenv("TWAP_SOURCE_URL", bucket.directory.as_uri() + "/")
    other_source = command("ingest")
    both = command("ingest", "--file", file, "--source", "file:///x/")

    assert (loaded.status, order_ids(engine)) == (0, ["2"])
    assert other_source.status == 1
    assert "TWAP_ACCEPT_SOURCE_URLS=" in other_source.err
    assert (both.status, "either --file or --source" in both.err) == (2, True)


@pytest.mark.fault("X1")
def test_ingest_over_budget_exits_with_status_1(
    command: Command, bucket: Bucket, database: URL, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.put(key("a"), [event(1)])
    monkeypatch.setenv("TWAP_MAX_BYTES_PER_RUN", "10")

    outcome = command("ingest")

    assert outcome.status == 1
    assert "TWAP_MAX_BYTES_PER_RUN allows 10" in outcome.err


def test_sample_is_refused_for_configured_database(
    command: Command, database: URL, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TWAP_SOURCE_URL")

    outcome = command("ingest")

    assert outcome.status == 1
    assert "DATABASE_URL is set and TWAP_SOURCE_URL is not" in outcome.err


@pytest.mark.fault("D9", "D12")
def test_ingest_json_counts_objects_that_are_not_ingested(
    command: Command, bucket: Bucket, database: URL, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.put(key("a"), [event(1)])
    for day in range(1, 6):
        bucket.put(f"hourly/2025/01/0{day}/12/old.parquet", [event(2)])
    for name in ("manifest.json", "_temporary/b.parquet"):
        path = bucket.directory / f"hourly/2025/08/20/12/{name}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()

    outcome = command("ingest", "--dry-run", "--json")

    summary = json.loads(outcome.out)
    assert (summary["objects"], summary["objects_before_start_date"]) == (1, 5)
    assert summary["first_keys_before_start_date"] == [f"hourly/2025/01/0{day}/12/old.parquet" for day in (1, 2, 3)]
    assert summary["objects_skipped"] == {
        "a path segment starts with _ or .": 1,
        "name does not match TWAP_OBJECT_PATTERN": 1,
    }


@pytest.mark.parametrize(
    ("name", "number"), [("downloaded", signal.SIGINT), ("mid-copy", signal.SIGTERM), ("after-commit", signal.SIGTERM)]
)
def test_ingest_stopped_by_signal_is_one_line(
    command: Command, bucket: Bucket, engine: Engine, name: FailpointName, number: signal.Signals
) -> None:
    """No attempt is counted, no session stays, and the next run loads the objects."""
    bucket.put(key("a"), [event(1)])
    bucket.put(key("b"), [event(2)])

    with activate_failpoint(name, lambda: os.kill(os.getpid(), number)):
        stopped = command("ingest")

    assert (stopped.status, stopped.err.splitlines()[-1]) == (
        128 + number,
        "interrupted" if number == signal.SIGINT else "terminated",
    )
    assert "Traceback" not in stopped.err
    with engine.connect() as connection:
        marks = connection.execute(text("SELECT count(*) FROM etl_s3_ingest_attempts")).scalar_one()
        failed = connection.execute(text("SELECT count(*) FROM etl_s3_ingest_log WHERE failed_attempts > 0"))
        sessions = connection.execute(
            text("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()")
        )
        assert (marks, failed.scalar_one(), sessions.scalar_one()) == (0, 0, 0)
    ingest_everything(LocalDirectory(bucket.directory), engine)
    assert count_rows(engine) == 2
