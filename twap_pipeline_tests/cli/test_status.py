"""The command ``status``: what it shows, what counts as a problem, and its exit status."""

import json
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest
from sqlalchemy import Engine, text

from twap_pipeline.cli.dagster_instance import InstanceState
from twap_pipeline.cli.status import Status, dagster_problems, data_problems, format_age, print_status
from twap_pipeline.defs.instance_state import AutomationState, DaemonState, JobState
from twap_pipeline.source.local import LocalDirectory
from twap_pipeline.storage.reports.pipeline_state import LoadedObjects, PipelineState, UnloadedObject
from twap_pipeline_tests.cli.command_runner import Command, key
from twap_pipeline_tests.factories import Bucket, event
from twap_pipeline_tests.invariants import ingest_everything

NOW = datetime(2026, 1, 2, 12, tzinfo=UTC)
HEALTHY = PipelineState(0, None, 0, 0, None, NOW - timedelta(hours=29), NOW, NOW)
LONG_AGO = NOW - timedelta(minutes=61)
RECENTLY = NOW - timedelta(minutes=59)
HEALTHY_DAGSTER = InstanceState(
    [JobState("ingest", NOW, NOW - timedelta(days=1))], [DaemonState("SENSOR", NOW, is_healthy=True)], []
)


def problems(state: PipelineState = HEALTHY, *days: date, feed_ends: bool = False) -> list[str]:
    return [problem.name for problem in data_problems(state, days, NOW, feed_ends=feed_ends)]


def test_status_of_healthy_pipeline_has_no_problem() -> None:
    assert problems() == []
    assert list(dagster_problems(HEALTHY_DAGSTER, None)) == []


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({"parked": 1}, ["TwapObjectsParked"]),
        ({"failed": 1, "failed_since": LONG_AGO}, ["TwapObjectsFailed"]),
        ({"failed": 1, "failed_since": RECENTLY}, []),
        ({"orders_pending": 1, "orders_pending_since": LONG_AGO}, ["TwapOrdersPending"]),
        ({"orders_pending": 1, "orders_pending_since": RECENTLY}, []),
        ({"newest_event_at": NOW - timedelta(hours=31)}, ["TwapFeedLags"]),
        ({"newest_event_at": None}, ["TwapFeedLags"]),
    ],
)
def test_state_is_a_problem_if_it_needs_a_person(changes: dict[str, object], names: list[str]) -> None:
    assert problems(replace(HEALTHY, **changes)) == names  # type: ignore[arg-type]


def test_missing_day_is_a_problem() -> None:
    assert problems(HEALTHY, date(2026, 1, 1)) == ["TwapDaysMissing"]


def test_age_of_the_sample_is_no_problem() -> None:
    assert problems(replace(HEALTHY, newest_event_at=NOW - timedelta(days=9)), feed_ends=True) == []


@pytest.mark.parametrize(
    ("dagster", "name"),
    [
        (InstanceState([JobState("ingest", None, NOW)], [], []), "TwapRunsFailed"),
        (InstanceState([], [DaemonState("SENSOR", NOW, is_healthy=False)], []), "TwapDaemonDown"),
    ],
)
def test_failed_run_and_dead_daemon_are_problems(dagster: InstanceState, name: str) -> None:
    assert [problem.name for problem in dagster_problems(dagster, None)] == [name]


def test_status_prints_each_part_in_one_screen(capsys: pytest.CaptureFixture[str]) -> None:
    state = replace(HEALTHY, parked=7)
    unloaded = [UnloadedObject(f"k{number}", NOW.date(), 3, "not parquet", NOW) for number in range(7)]
    days = [date(2026, 1, 1)] * 8
    dagster = replace(
        HEALTHY_DAGSTER,
        automation=[AutomationState("new_twap_objects", "sensor", True, NOW, "no new objects (3 already ingested)")],
    )
    found = list(data_problems(state, days, NOW, feed_ends=False))
    loaded = LoadedObjects(1200, 3, date(2025, 12, 31), date(2026, 1, 2), 1_000_000)
    status = Status("postgresql://db/twap", "006", loaded, state, days, None, unloaded, dagster, None, found)

    print_status(status, NOW + timedelta(minutes=5))

    lines = capsys.readouterr().out.splitlines()
    assert len(lines) < 40
    assert "loaded         1,000,000 events from 1,200 objects of 3 days (2025-12-31 to 2026-01-02)" in lines
    assert "newest event   2026-01-01 07:00:00 (1 d 5 h ago)" in lines
    assert f"missing days   {', '.join(['2026-01-01'] * 5)} and 3 more" in lines
    assert "and 2 more" in lines
    assert any(line.split() == ["k0", "parked", "3", "not", "parquet"] for line in lines)
    assert any(line.startswith("new_twap_objects") and "5 min ago" in line for line in lines)
    assert "TwapObjectsParked: objects that failed three times and are not loaded again: 7" in lines


@pytest.mark.parametrize(
    ("minutes", "expected"),
    [(0, "less than 1 min"), (59, "59 min"), (60, "1 h 0 min"), (1439, "23 h 59 min"), (3 * 1440 + 65, "3 d 1 h")],
)
def test_format_age_has_two_units(minutes: int, expected: str) -> None:
    assert format_age(timedelta(minutes=minutes)) == expected


@pytest.fixture
def loaded(engine: Engine, bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> Engine:
    """A database with one object, of yesterday and with a new event, and no missing day."""
    yesterday = datetime.now(UTC).date() - timedelta(days=1)
    monkeypatch.setenv("TWAP_START_DATE", str(yesterday))
    bucket.put(key("a"), [event(1)])
    ingest_everything(LocalDirectory(bucket.directory), engine)
    with engine.begin() as connection:
        connection.execute(
            text("UPDATE etl_s3_ingest_log SET object_date = :day, last_event_at = now()"), {"day": yesterday}
        )
    return engine


def test_status_without_problem_exits_with_0(command: Command, loaded: Engine) -> None:
    outcome = command("status")

    assert outcome.status == 0, outcome.out
    assert "nothing needs a person" in outcome.out
    assert "no instance: no command has created one" in outcome.out


def test_status_as_json_has_the_same_problems(command: Command, loaded: Engine, bucket: Bucket) -> None:
    (bucket.directory / key("b")).write_bytes(b"not parquet")
    for _ in range(3):
        ingest_everything(LocalDirectory(bucket.directory), loaded)

    outcome = command("status", "--json")

    result = json.loads(outcome.out)
    assert outcome.status == 1
    assert [problem["name"] for problem in result["problems"]] == ["TwapObjectsParked"]
    assert (result["unloaded"][0]["s3_object_key"], result["state"]["parked"]) == (key("b"), 1)
    assert datetime.fromisoformat(result["state"]["newest_event_at"]).tzinfo is not None
    assert "password" not in outcome.out


def test_status_with_unusable_instance_shows_the_data(
    command: Command, loaded: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAGSTER_HOME", "/no/such/folder")

    outcome = command("status")

    assert outcome.status == 1
    assert "loaded         1 events from 1 objects" in outcome.out
    assert "TwapMetricsMissing: the Dagster instance cannot be read\n  DAGSTER_HOME is not an existing" in outcome.out


def test_status_of_unreachable_database_is_one_line(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://user:geheim@127.0.0.1:1/twap")

    outcome = command("status")

    assert (outcome.status, outcome.out) == (1, "")
    assert outcome.err.startswith("error: cannot use the database postgresql://user:***@127.0.0.1:1/twap")
    assert len(outcome.err.splitlines()) == 1
