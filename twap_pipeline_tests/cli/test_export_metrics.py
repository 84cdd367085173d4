"""The command ``export-metrics``: values, sources that cannot be read, and the cost of a scrape."""

import os
import re
import signal
import socket
import threading
import time
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from urllib.request import urlopen

import pytest
from prometheus_client import start_http_server
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import Connection, Engine, text

from twap_pipeline.cli import export_metrics, pipeline_metrics
from twap_pipeline.cli.pipeline_metrics import CACHE_SECONDS, PipelineCollector, days_to_be_loaded
from twap_pipeline.domain.data_set import DataSet
from twap_pipeline.settings import Settings
from twap_pipeline.source.local import LocalDirectory
from twap_pipeline.storage.reports.pipeline_state import AttemptTotals, attempt_totals
from twap_pipeline_tests.cli.command_runner import Command, key
from twap_pipeline_tests.factories import Bucket, event
from twap_pipeline_tests.invariants import ingest_everything

Samples = dict[tuple[str, str], float]


def samples(rendered: str) -> Samples:
    """Return (name, label values) → value."""
    return {
        (sample.name, " ".join(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(rendered)
        for sample in family.samples
    }


@pytest.fixture
def loaded(engine: Engine, bucket: Bucket) -> Engine:
    """A database with a loaded and a failed object."""
    bucket.put(key("a"), [event(1), event(2), event(3, wallet="?")])
    bucket.put(key("b"), [event(1)])
    (bucket.directory / key("b")).write_bytes(b"not parquet")
    ingest_everything(LocalDirectory(bucket.directory), engine)
    return engine


def test_metrics_are_those_of_log_and_instance(recorded_command: Command, loaded: Engine, tmp_path: Path) -> None:
    (tmp_path / "home" / "dagster").mkdir(parents=True)

    outcome = recorded_command("export-metrics")

    values = samples(outcome.out)
    assert outcome.status == 0
    assert (
        values[("twap_load_attempts_total", "twap_status loaded")]
        == values[("twap_load_attempts_total", "twap_status failed")]
        == 1
    )
    assert (
        values[("twap_rows_total", "twap_status inserted")],
        values[("twap_rows_total", "twap_status quarantined")],
    ) == (2, 1)
    assert (values[("twap_objects", "twap_status failed")], values[("twap_objects", "twap_status orders_pending")]) == (
        1,
        1,
    )
    assert (
        values[("twap_fetched_bytes_total", "twap_status")] > values[("twap_fetch_cost_usd_total", "twap_status")] == 0
    )
    assert values[("twap_load_phase_seconds_total", "twap_status writing")] > 0
    assert values[("twap_automation_running", "sensor stale_twap_orders")] == 1
    assert values[("twap_automation_running", "schedule daily_ingest")] == 0
    assert (values[("twap_metrics_up", "database")], values[("twap_metrics_up", "dagster")]) == (1, 1)
    (info,) = (labels for name, labels in values if name == "twap_pipeline_info")
    assert re.fullmatch(r"(\d{3}) \1 \S+", info)


def test_metrics_without_instance_are_those_of_the_log(command: Command, loaded: Engine) -> None:
    values = samples(command("export-metrics").out)

    assert values[("twap_metrics_up", "database")] == 1
    assert not {name for name, labels in values if labels == "dagster" or name == "twap_automation_running"}


def test_metrics_of_unreachable_database_are_missing(
    command: Command, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://user:geheim@127.0.0.1:1/twap")

    outcome = command("export-metrics")

    values = samples(outcome.out)
    assert (outcome.status, values[("twap_metrics_up", "database")]) == (0, 0)
    assert ("twap_days_missing", "twap_status") not in values
    assert "cannot use the database postgresql://user:***@127.0.0.1:1/twap" in caplog.text
    assert "geheim" not in outcome.out + outcome.err + caplog.text


def test_metrics_of_older_schema_are_missing(
    command: Command, loaded: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    with loaded.begin() as connection:
        connection.execute(text("ALTER TABLE etl_s3_ingest_log DROP writing_ms"))

    values = samples(command("export-metrics").out)

    assert values[("twap_metrics_up", "database")] == 0
    assert 'column "writing_ms" does not exist' in caplog.text


def test_metrics_of_wrong_dagster_home_are_missing(
    command: Command, loaded: Engine, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("DAGSTER_HOME", "/no/such/folder")

    values = samples(command("export-metrics").out)

    assert (values[("twap_metrics_up", "database")], values[("twap_metrics_up", "dagster")]) == (1, 0)
    assert "DAGSTER_HOME is not an existing directory" in caplog.text


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The monotonic clock of the collector, as a list with one number."""
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[datetime]:
    """The beginnings of the time ranges whose totals the collector reads."""
    ranges: list[datetime] = []

    def record(connection: Connection, since: datetime, data_set: DataSet) -> dict[date, AttemptTotals]:
        ranges.append(since)
        return attempt_totals(connection, since, data_set)

    monkeypatch.setattr(pipeline_metrics, "attempt_totals", record)
    return ranges


def test_scrape_after_the_first_reads_two_days(
    loaded: Engine, reads: list[datetime], clock: list[float], bucket: Bucket
) -> None:
    with loaded.begin() as connection:
        connection.execute(text("UPDATE etl_s3_ingest_log SET ingested_at = '2025-01-01' WHERE error_text IS NULL"))
    collector = PipelineCollector(loaded, loaded.url, Settings(TWAP_SOURCE_URL="s3://bucket/statuses/"))
    first = [family for family in collector.collect() if family.name == "twap_rows"]
    bucket.put(key("c"), [event(7), event(8)])
    ingest_everything(LocalDirectory(bucket.directory), loaded)
    clock[0] += CACHE_SECONDS

    second = [family for family in collector.collect() if family.name == "twap_rows"]

    assert reads[0].year == 1970
    assert reads[1:] == [datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=1)]
    assert [family.samples[0].value for family in (*first, *second)] == [2, 4]


def test_scrapes_within_the_cache_time_read_once(loaded: Engine, reads: list[datetime], clock: list[float]) -> None:
    collector = PipelineCollector(loaded, loaded.url, Settings(TWAP_SOURCE_URL="s3://bucket/statuses/"))

    first = collector.collect()
    clock[0] += CACHE_SECONDS - 0.1

    assert collector.collect() == first
    assert len(reads) == 1


@pytest.mark.parametrize("start", ["2025-08-17", "2024-01-01"])
def test_days_to_be_loaded_end_yesterday(monkeypatch: pytest.MonkeyPatch, start: str) -> None:
    monkeypatch.setenv("TWAP_START_DATE", start)

    first, last = days_to_be_loaded(Settings())

    assert str(first) == start
    assert last == datetime.now(UTC).date() - timedelta(days=1)


def test_server_returns_metrics_until_sigterm(
    command: Command, loaded: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    bodies: list[str] = []

    def start_and_request(*arguments: object) -> object:
        started = start_http_server(*arguments)  # type: ignore[arg-type]

        def request() -> None:
            with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=20) as response:
                bodies.append(response.read().decode())
            os.kill(os.getpid(), signal.SIGTERM)

        threading.Thread(target=request).start()
        return started

    monkeypatch.setattr(export_metrics, "start_http_server", start_and_request)
    previous = signal.getsignal(signal.SIGTERM)
    try:
        outcome = command("export-metrics", "--port", str(port))
    finally:
        signal.signal(signal.SIGTERM, previous)

    assert outcome.status == 0
    assert samples(bodies[0])[("twap_metrics_up", "database")] == 1
