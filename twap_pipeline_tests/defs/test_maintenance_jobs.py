"""The maintenance jobs and the alert for failed runs."""

import json
import threading
import traceback
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import dagster as dg
import pytest
from pydantic import SecretStr
from sqlalchemy import Engine, text

from twap_pipeline.definitions import build_definitions
from twap_pipeline.defs.alerts import AlertWebhook, failed_run_alert
from twap_pipeline.defs.catalog import AssetCatalog
from twap_pipeline.defs.resources import build_resources
from twap_pipeline.errors import ConfigurationError
from twap_pipeline.settings import load_settings
from twap_pipeline.source.local import LocalDirectory
from twap_pipeline_tests.factories import DAY, Bucket, event
from twap_pipeline_tests.invariants import ingest_everything

KEY = f"{DAY:%Y/%m/%d}/a.parquet"


def run(
    instance: dg.DagsterInstance, name: str, partition: str | None = None, **config: object
) -> dg.ExecuteInProcessResult:
    job = build_definitions(load_settings()).resolve_job_def(name)
    ops = {"ops": {"run_audit": {"config": config}}} if config else None
    return job.execute_in_process(instance=instance, partition_key=partition, run_config=ops, raise_on_error=False)


def test_observe_job_records_partitions_with_objects(instance: dg.DagsterInstance, bucket: Bucket) -> None:
    bucket.put(KEY, [event(1)])

    assert run(instance, "observe_twap_s3_objects").success

    (record,) = instance.fetch_materializations(AssetCatalog().source_key, limit=10).records
    assert record.partition_key == str(DAY)


def test_audit_job_fails_until_objects_are_ingested(
    instance: dg.DagsterInstance, bucket: Bucket, engine: Engine
) -> None:
    bucket.put(KEY, [event(1)])
    before = run(instance, "audit_twap_status").success
    run(instance, "ingest_twap_status", str(DAY))

    after = run(instance, "audit_twap_status").success

    assert (before, after) == (False, True)


def test_deep_audit_finds_changed_value_and_requeue_repairs_it(
    instance: dg.DagsterInstance, bucket: Bucket, engine: Engine
) -> None:
    bucket.put(KEY, [event(1)])
    run(instance, "ingest_twap_status", str(DAY))
    with engine.begin() as connection:
        connection.execute(text("UPDATE twap_status SET size_requested = 11"))

    shallow, deep = run(instance, "audit_twap_status"), run(instance, "audit_twap_status", deep=True)
    requeued = run(instance, "audit_twap_status", requeue=True)
    repaired = run(instance, "ingest_twap_status", str(DAY))

    assert [result.success for result in (shallow, deep, requeued, repaired)] == [True, False, False, True]
    assert run(instance, "audit_twap_status", deep=True).success
    with engine.connect() as connection:
        assert connection.execute(text("SELECT size_requested FROM twap_status")).scalar_one() == 10


@pytest.mark.fault("X1")
def test_deep_audit_over_budget_fails(
    instance: dg.DagsterInstance, bucket: Bucket, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.put(KEY, [event(1)])
    run(instance, "ingest_twap_status", str(DAY))
    monkeypatch.setenv("TWAP_MAX_BYTES_PER_RUN", "1")

    result = run(instance, "audit_twap_status", deep=True)

    (failure,) = result.filter_events(lambda event: event.is_step_failure)
    user_failure = failure.step_failure_data.user_failure_data
    assert user_failure is not None
    assert "TWAP_MAX_BYTES_PER_RUN allows 1" in str(user_failure.description)


@pytest.mark.parametrize(
    ("name", "partition", "table", "task"),
    [
        ("audit_twap_status", None, "twap_status", "audit of the row counts"),
        ("refresh_twap_orders", str(DAY), "twap_orders", f"refresh of twap_orders for {DAY}"),
    ],
)
def test_job_over_statement_timeout_names_its_task(
    *,
    name: str,
    partition: str | None,
    table: str,
    task: str,
    instance: dg.DagsterInstance,
    bucket: Bucket,
    engine: Engine,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Another session locks the table, so that the statements of the job wait."""
    bucket.put(KEY, [event(1)])
    ingest_everything(LocalDirectory(bucket.directory), engine)
    monkeypatch.setenv("TWAP_MAINTENANCE_TIMEOUT_SECONDS", "0.5")
    with engine.begin() as connection:
        connection.execute(text(f"LOCK TABLE {table}"))
        result = run(instance, name, partition)

    (failure,) = result.filter_events(lambda event: event.is_step_failure)
    user_failure = failure.step_failure_data.user_failure_data
    description = user_failure.description if user_failure else ""
    assert f"{task}: PostgreSQL cancelled a statement" in f"{description} {failure.step_failure_data.error}"


def test_retry_job_resets_failed_attempts_of_parked_objects(
    instance: dg.DagsterInstance, bucket: Bucket, engine: Engine
) -> None:
    path = bucket.directory / KEY
    path.parent.mkdir(parents=True)
    path.write_bytes(b"not parquet")
    for _ in range(4):
        run(instance, "ingest_twap_status", str(DAY))

    assert run(instance, "retry_parked_objects").success

    with engine.connect() as connection:
        assert connection.execute(text("SELECT failed_attempts FROM etl_s3_ingest_log")).scalar_one() == 0


class _Receiver(BaseHTTPRequestHandler):
    received: list[dict[str, str]]

    def do_POST(self) -> None:
        self.received.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Disable the request log."""


@pytest.fixture
def webhook(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[dict[str, str]]]:
    """The requests that a local webhook received."""
    _Receiver.received = []
    with HTTPServer(("127.0.0.1", 0), _Receiver) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        monkeypatch.setenv("TWAP_ALERT_WEBHOOK_URL", f"http://127.0.0.1:{server.server_port}/canary-token")
        yield _Receiver.received
        server.shutdown()
        thread.join()


def failed_context(instance: dg.DagsterInstance, bucket: Bucket) -> dg.RunFailureSensorContext:
    path = bucket.directory / KEY
    path.parent.mkdir(parents=True)
    path.write_bytes(b"not parquet")
    result = run(instance, "ingest_twap_status", str(DAY))
    (event,) = result.filter_events(lambda event: event.event_type_value == "PIPELINE_FAILURE")
    context = dg.build_run_status_sensor_context(
        "failed_run_alert", event, instance, result.dagster_run, resources=build_resources()
    )
    return context.for_run_failure()


def test_alert_for_failed_run_names_its_partition(
    instance: dg.DagsterInstance, bucket: Bucket, webhook: list[dict[str, str]]
) -> None:
    failed_run_alert(failed_context(instance, bucket))

    (request,) = webhook
    assert f"(ingest_twap_status, partition {DAY}) failed: 1 object failed in 1 of 1 partitions" in request["text"]
    assert f"- {KEY}: is not a readable parquet file" in request["text"]


def test_alert_without_webhook_is_skipped(instance: dg.DagsterInstance, bucket: Bucket) -> None:
    skipped = failed_run_alert(failed_context(instance, bucket))

    assert isinstance(skipped, dg.SkipReason)


@pytest.mark.fault("X2")
def test_alert_with_failing_webhook_error_omits_url() -> None:
    with pytest.raises(ConfigurationError, match="TWAP_ALERT_WEBHOOK_URL") as caught:
        AlertWebhook(SecretStr("http://127.0.0.1:9/canary-token")).send("text")

    assert "canary" not in str(caught.value)


@pytest.mark.fault("X2")
@pytest.mark.parametrize(
    "url",
    [
        "https://127.0.0.1:9/services/canary token",
        "https://user:canary-password@127.0.0.1:9/x",
        "https://127.0.0.1:canary/x",
        "https://127.0.0.1:99999/canary",
        "https://127.0.0.1:9/canary\n",
        "https://127.0.0.1:9/canary-\N{SNOWMAN}",
        "ftp://127.0.0.1/canary",
        "canary",
    ],
)
def test_alert_with_invalid_webhook_error_omits_url(url: str) -> None:
    with pytest.raises(ConfigurationError, match="TWAP_ALERT_WEBHOOK_URL") as caught:
        AlertWebhook(SecretStr(url)).send("text")

    assert "canary" not in "".join(traceback.format_exception(caught.value))
