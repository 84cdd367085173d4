"""The sensor ``alerts``: each problem is sent once per receiver, and its end once."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from pathlib import Path
from typing import Self

import dagster as dg
import polars as pl
import pytest
from sqlalchemy import Engine, text

from twap_pipeline.defs import alerts
from twap_pipeline.defs.catalog import AssetCatalog
from twap_pipeline.defs.jobs import CHECK_JOB, INGEST_FILLS_JOB, INGEST_JOB
from twap_pipeline.defs.partitions import range_tags
from twap_pipeline.errors import ConfigurationError
from twap_pipeline.paths import ROOT
from twap_pipeline.storage.ingest_log import ATTEMPTS_MAX
from twap_pipeline_tests.defs.code_location import load_definitions
from twap_pipeline_tests.defs.sensor_ticks import key, skip_message, tick
from twap_pipeline_tests.factories import DAY, WALLET, Bucket, event
from twap_pipeline_tests.fill_factories import fill, fill_frame
from twap_pipeline_tests.receivers import Receiver, http_receiver

STATUS = AssetCatalog().status_key


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    """The only receiver of alerts."""
    with http_receiver() as receiver:
        monkeypatch.setenv("TWAP_ALERT_URLS", receiver.url)
        yield receiver


class Ticks:
    """Ticks of the sensor, each with the cursor of the last one."""

    def __init__(self, instance: dg.DagsterInstance) -> None:
        self._instance = instance
        self.cursor = ""

    def next(self) -> str:
        """Return the skip reason of the next tick."""
        result = tick(self._instance, self.cursor, "alerts")
        self.cursor = result.cursor or ""
        return skip_message(result)


@pytest.fixture
def ticks(instance: dg.DagsterInstance) -> Ticks:
    return Ticks(instance)


@dataclass(frozen=True)
class DataSetCase:
    """A data set: the key of an object that is not parquet, what replaces it, its job, and texts of its alerts."""

    folder: str
    key: str
    frame: pl.DataFrame
    job: str
    suffix: str = ""
    option: str = ""


STATUSES = DataSetCase("bucket", key("bad"), pl.DataFrame([event(1)]), INGEST_JOB)
FILLS = DataSetCase(
    "fills",
    f"by_dex/xyz/fills/perp/twap_fills/date={DAY}/bad.parquet",
    fill_frame(fill(1)),
    INGEST_FILLS_JOB,
    " of twap_fills",
    " --data-set twap_fills",
)


def ingest(instance: dg.DagsterInstance, job: str = INGEST_JOB) -> dg.ExecuteInProcessResult:
    definition = load_definitions().resolve_job_def(job)
    return definition.execute_in_process(instance=instance, partition_key=str(DAY), raise_on_error=False)


def put_bad(bucket: Bucket, key: str = STATUSES.key) -> None:
    path = bucket.directory / key
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"not parquet")


def set_failed_attempts(engine: Engine, number: int) -> None:
    with engine.begin() as connection:
        connection.execute(text("UPDATE etl_s3_ingest_log SET failed_attempts = :number"), {"number": number})


def add_run(instance: dg.DagsterInstance, job_name: str, status: dg.DagsterRunStatus) -> None:
    job = load_definitions().resolve_job_def(job_name)
    run = instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED)
    if status == dg.DagsterRunStatus.FAILURE:
        instance.report_run_failed(run, "the run failed by the test")
    else:
        instance.delete_run(run.run_id)
        instance.create_run_for_job(job, status=status)


def report_check(instance: dg.DagsterInstance, *, passed: bool, name: str = "event_times_in_range") -> None:
    evaluation = dg.AssetCheckEvaluation(STATUS, name, passed, {}, description="2 violations")
    instance.report_runless_asset_event(evaluation)


@pytest.mark.parametrize("case", [STATUSES, FILLS], ids=["statuses", "fills"])
def test_alerts_for_a_bad_object_are_sent_once(
    *,
    instance: dg.DagsterInstance,
    engine: Engine,
    receiver: Receiver,
    ticks: Ticks,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    case: DataSetCase,
) -> None:
    """Failed runs: one message for the failed partition, one for the parked object, one for the end of both."""
    monkeypatch.setenv("TWAP_FILLS_URL", f"{(tmp_path / 'fills').as_uri()}/")
    bucket = Bucket(tmp_path / case.folder)
    put_bad(bucket, case.key)
    for previous_attempts in (0, ATTEMPTS_MAX - 1):
        set_failed_attempts(engine, previous_attempts)
        assert not ingest(instance, case.job).success
        ticks.next()
        ticks.next()
    assert len(receiver.messages) == 2
    bucket.put_frame(case.key, case.frame)
    assert ingest(instance, case.job).success
    ticks.next()
    ticks.next()

    failed, parked, over = receiver.messages
    assert failed.startswith("twap_pipeline: problems: 1 new\n\nFAILED PARTITION\n")
    assert f"{DAY}{case.suffix}: run " in failed
    assert f"- {case.key}: is not a readable parquet file" in failed
    assert failed.endswith(f"docs/how-to/runbook.md#failed-partition, command: twap-pipeline ingest{case.option}")
    assert f"PARKED OBJECT\n{case.key}{case.suffix}: is not a readable parquet file" in parked
    assert parked.endswith(f"command: twap-pipeline ingest{case.option} --object-key KEY")
    assert f"OVER\nFailed partition: {DAY}{case.suffix}, Parked object: {case.key}{case.suffix}" in over


def test_alert_names_the_failed_run_of_its_data_set(instance: dg.DagsterInstance) -> None:
    """Backfills of both data sets are runs of the same job."""
    run_ids = {}
    for name in ("twap_status", "twap_fills", "twap_orders"):
        run = dg.DagsterRun(
            job_name="__ASSET_JOB",
            asset_selection=frozenset({dg.AssetKey(["prefix", name])}),
            status=dg.DagsterRunStatus.FAILURE,
            tags=range_tags(DAY, DAY),
        )
        run_ids[name] = instance.add_run(run).run_id
    problems = [alerts.Problem(alerts.Kind.PARTITION, str(DAY), name) for name in ("twap_status", "twap_fills")]

    described = alerts.describe(instance, dict.fromkeys(problems))

    assert [described[problem].partition(":")[0] for problem in problems] == [
        f"run {run_ids[problem.data_set]}" for problem in problems
    ]


@pytest.mark.parametrize(
    ("kind", "commands"),
    [
        (alerts.Kind.CHECK, "twap-pipeline audit; twap-pipeline audit --data-set twap_fills"),
        (alerts.Kind.OVERDUE, "twap-pipeline ingest --dry-run; twap-pipeline ingest --data-set twap_fills --dry-run"),
        (alerts.Kind.JOB, "twap-pipeline check"),
    ],
)
def test_message_has_the_command_of_each_data_set(kind: alerts.Kind, commands: str) -> None:
    problems = [alerts.Problem(kind, name, name) for name in ("twap_status", "twap_fills")]

    _, body = alerts.compose(dict.fromkeys(problems, "text"), [])

    assert body.endswith(f"command: {commands}")


def test_alerts_during_a_retry_are_not_over(
    instance: dg.DagsterInstance, bucket: Bucket, receiver: Receiver, ticks: Ticks
) -> None:
    put_bad(bucket)
    ingest(instance)
    ticks.next()

    job = load_definitions().resolve_job_def(INGEST_JOB)
    tags = {"dagster/partition": str(DAY)}
    instance.create_run_for_job(job, tags=tags, status=dg.DagsterRunStatus.STARTED)
    ticks.next()

    assert len(receiver.messages) == 1


class DatetimeInThreeDays(datetime):
    @classmethod
    def now(cls, tz: tzinfo | None = None) -> Self:
        return super().now(tz) + timedelta(days=3)


def test_alerts_for_checks_jobs_and_overdue_assets(
    instance: dg.DagsterInstance, receiver: Receiver, ticks: Ticks, monkeypatch: pytest.MonkeyPatch
) -> None:
    report_check(instance, passed=False)
    report_check(instance, passed=False, name="no_parked_objects")
    add_run(instance, CHECK_JOB, dg.DagsterRunStatus.FAILURE)
    instance.report_runless_asset_event(dg.AssetMaterialization(STATUS, partition=str(DAY)))
    with monkeypatch.context() as patch:
        patch.setattr(alerts, "datetime", DatetimeInThreeDays)
        ticks.next()
        ticks.next()
    report_check(instance, passed=True)
    add_run(instance, CHECK_JOB, dg.DagsterRunStatus.SUCCESS)
    ticks.next()

    problems, over = receiver.messages
    assert "FAILED ASSET CHECK\ntwap_status.event_times_in_range: ERROR: 2 violations\n" in problems
    assert f"FAILED JOB\n{CHECK_JOB}: run " in problems
    assert "the run failed by the test" in problems
    assert "OVERDUE ASSET\ntwap_status: last materialization at " in problems
    assert " UTC, limit 48 hours\n" in problems
    assert "no_parked_objects" not in problems
    assert over.startswith("twap_pipeline: problems: 3 over\n")


def test_alerts_without_a_database_keep_parked_objects(
    *,
    instance: dg.DagsterInstance,
    bucket: Bucket,
    engine: Engine,
    receiver: Receiver,
    ticks: Ticks,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    put_bad(bucket)
    ingest(instance)
    set_failed_attempts(engine, ATTEMPTS_MAX)
    ticks.next()
    with monkeypatch.context() as patch:
        patch.setenv("DATABASE_URL", "postgresql://nobody:canary-password@127.0.0.1:9/none")
        ticks.next()
        ticks.next()
    ticks.next()

    _, unavailable, over = receiver.messages
    assert "DATABASE UNAVAILABLE\nDATABASE_URL: " in unavailable
    assert "command: twap-pipeline check" in unavailable
    assert "canary-password" not in unavailable
    assert over == "twap_pipeline: problems: 1 over\n\nOVER\nDatabase unavailable: DATABASE_URL"


def test_alerts_of_a_failing_receiver_are_sent_later(
    instance: dg.DagsterInstance, receiver: Receiver, ticks: Ticks, monkeypatch: pytest.MonkeyPatch
) -> None:
    report_check(instance, passed=False)
    with http_receiver() as second:
        monkeypatch.setenv("TWAP_ALERT_URLS", f"{receiver.url},{second.url}")
        second.http_status = 503
        failed = ticks.next()
        ticks.next()
        assert (len(receiver.messages), len(second.messages)) == (1, 0)
        second.http_status = 200
        ticks.next()

        assert second.messages == receiver.messages
    assert failed.startswith("receiver 2 (JSON) of TWAP_ALERT_URLS: HTTP status 503; correct the URL")
    assert "canary" not in failed


def test_alerts_without_any_receiver_fail_the_tick(
    instance: dg.DagsterInstance, receiver: Receiver, ticks: Ticks
) -> None:
    report_check(instance, passed=False)
    receiver.http_status = 500

    with pytest.raises(ConfigurationError, match="HTTP status 500"):
        ticks.next()
    receiver.http_status = 200
    ticks.next()

    assert len(receiver.messages) == 1


def test_alerts_without_urls_are_skipped(ticks: Ticks, monkeypatch: pytest.MonkeyPatch) -> None:
    """The database is not used: the embedded one would be started in each tick."""
    monkeypatch.setenv("DATABASE_URL", "postgresql://nobody@127.0.0.1:9/none")

    assert ticks.next() == "TWAP_ALERT_URLS is not set"


def test_message_is_short_and_omits_wallets() -> None:
    described = {alerts.Problem(alerts.Kind.PARKED, f"{n}.parquet"): f"{n}: {WALLET} {'x' * 5_000}" for n in range(30)}

    title, body = alerts.compose(described, [])

    assert title == "twap_pipeline: problems: 30 new"
    assert "and 20 more" in body
    assert "0xbcb8" not in body
    assert len(body) < 12_000


@pytest.mark.parametrize("kind", alerts.Kind)
def test_runbook_has_a_section_per_kind(kind: alerts.Kind) -> None:
    assert f"\n### {kind}\n" in (ROOT / "docs" / "how-to" / "runbook.md").read_text("utf-8")
