"""The sensor ``alerts``: each problem is sent once per receiver, and its end once."""

from collections.abc import Iterator
from datetime import timedelta

import dagster as dg
import pytest

from twap_pipeline.defs import alerts
from twap_pipeline.defs.catalog import AssetCatalog
from twap_pipeline.defs.jobs import CHECK_JOB, INGEST_JOB
from twap_pipeline.errors import ConfigurationError
from twap_pipeline.paths import ROOT
from twap_pipeline_tests.defs.code_location import load_definitions
from twap_pipeline_tests.defs.sensor_ticks import key, skip_message, tick
from twap_pipeline_tests.factories import DAY, WALLET, Bucket, event
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


def ingest(instance: dg.DagsterInstance) -> dg.ExecuteInProcessResult:
    job = load_definitions().resolve_job_def(INGEST_JOB)
    return job.execute_in_process(instance=instance, partition_key=str(DAY), raise_on_error=False)


def put_bad(bucket: Bucket) -> None:
    path = bucket.directory / key("bad")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"not parquet")


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


def test_alerts_for_a_bad_object_are_sent_once(
    instance: dg.DagsterInstance, bucket: Bucket, receiver: Receiver, ticks: Ticks
) -> None:
    """Three failed runs: one message for the failed partition, one for the parked object, one for the end of both."""
    put_bad(bucket)
    for _ in range(3):
        assert not ingest(instance).success
        ticks.next()
        ticks.next()
    assert len(receiver.messages) == 2
    bucket.put(key("bad"), [event(1)])
    assert ingest(instance).success
    ticks.next()
    ticks.next()

    failed, parked, over = receiver.messages
    assert failed.startswith("twap_pipeline: problems: 1 new\n\nFAILED PARTITION\n")
    assert f"{DAY}: run " in failed
    assert f"- {key('bad')}: is not a readable parquet file" in failed
    assert "docs/how-to/runbook.md#failed-partition, command: twap-pipeline ingest" in failed
    assert f"PARKED OBJECT\n{key('bad')}: is not a readable parquet file" in parked
    assert f"OVER\nFailed partition: {DAY}, Parked object: {key('bad')}" in over


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


def test_alerts_for_checks_jobs_and_overdue_assets(
    instance: dg.DagsterInstance, receiver: Receiver, ticks: Ticks, monkeypatch: pytest.MonkeyPatch
) -> None:
    report_check(instance, passed=False)
    report_check(instance, passed=False, name="no_parked_objects")
    add_run(instance, CHECK_JOB, dg.DagsterRunStatus.FAILURE)
    instance.report_runless_asset_event(dg.AssetMaterialization(STATUS, partition=str(DAY)))
    with monkeypatch.context() as patch:
        patch.setattr(alerts, "_overdue_limits", lambda *_: {STATUS: timedelta(0)})
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
    assert "no_parked_objects" not in problems
    assert over.startswith("twap_pipeline: problems: 3 over\n")


def test_alerts_without_a_database_keep_parked_objects(
    instance: dg.DagsterInstance, bucket: Bucket, receiver: Receiver, ticks: Ticks, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_bad(bucket)
    for _ in range(3):
        ingest(instance)
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
