"""The schedule ``daily_ingest``."""

from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest

from twap_pipeline.sample.manifest import SampleRequest, SampleSummary, write_manifest
from twap_pipeline_tests.defs.code_location import load_definitions


def test_daily_ingest_requests_yesterday_in_utc() -> None:
    definitions = load_definitions()
    schedule = definitions.resolve_schedule_def("daily_ingest")
    context = dg.build_schedule_context(
        scheduled_execution_time=datetime(2025, 11, 2, 0, 30, tzinfo=UTC),
        repository_def=definitions.get_repository_def(),
    )

    (request,) = schedule.evaluate_tick(context).run_requests or []

    assert request.partition_key == "2025-11-01"
    assert schedule.cron_schedule == "30 0 * * *"
    assert schedule.execution_timezone == "UTC"


def test_daily_ingest_after_the_end_of_the_sample_is_skipped(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("TWAP_START_DATE")
    monkeypatch.setenv("TWAP_HOME", str(tmp_path))
    (tmp_path / "sample").mkdir()
    sample = SampleRequest(datetime(2025, 10, 31, 5, tzinfo=UTC))
    write_manifest(tmp_path / "sample", sample, SampleSummary({}, {}))
    definitions = load_definitions()
    ticks = [
        definitions.resolve_schedule_def("daily_ingest").evaluate_tick(
            dg.build_schedule_context(
                scheduled_execution_time=datetime(2025, 11, day, 0, 30, tzinfo=UTC),
                repository_def=definitions.get_repository_def(),
            )
        )
        for day in (1, 2)
    ]

    assert [request.partition_key for request in ticks[0].run_requests or []] == ["2025-10-31"]
    assert ticks[1].skip_message == "2025-11-01 is not a partition: the sample data ends before"
