"""The state of a Dagster instance: the last finished runs of jobs, daemons, sensors and schedules."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

import dagster as dg
import pytest

from twap_pipeline.defs.instance_state import AutomationState, JobState, automation_states, daemon_states, job_states

NOW = datetime(2026, 1, 2, tzinfo=UTC)


@dg.op(config_schema={"fails": bool})
def step(context: dg.OpExecutionContext) -> None:
    if context.op_config["fails"]:
        raise dg.Failure("it failed")


@dg.job(name="first")
def first() -> None:
    step()


@dg.sensor(job=first, name="new_objects", default_status=dg.DefaultSensorStatus.RUNNING)
def new_objects() -> None:
    """A sensor that is on by default."""


@dg.sensor(job=first, name="alert")
def alert() -> None:
    """A sensor that is off by default."""


daily = dg.ScheduleDefinition(name="daily", job=first, cron_schedule="0 0 * * *")


@pytest.fixture
def ephemeral() -> Iterator[dg.DagsterInstance]:
    """An in-memory instance."""
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


def run(instance: dg.DagsterInstance, *, fails: bool) -> None:
    config = {"ops": {"step": {"config": {"fails": fails}}}}
    first.execute_in_process(run_config=config, instance=instance, raise_on_error=False)


@pytest.mark.parametrize(
    ("runs", "has_failed"),
    [([True], True), ([False], False), ([True, False], False), ([False, True], True), ([False, True, False], False)],
)
def test_job_has_failed_if_its_last_run_failed(
    ephemeral: dg.DagsterInstance, runs: list[bool], has_failed: bool
) -> None:
    for fails in runs:
        run(ephemeral, fails=fails)

    (state,) = job_states(ephemeral, ["first", "never_ran"])

    assert state.job_name == "first"
    assert (state.last_success_at is not None, state.last_failure_at is not None) == (False in runs, True in runs)
    assert state.has_failed is has_failed


def test_job_without_failure_has_not_failed() -> None:
    assert not JobState("job", None, None).has_failed
    assert not JobState("job", NOW, NOW - timedelta(seconds=1)).has_failed


def test_daemons_that_never_ran_are_left_out() -> None:
    heartbeat = SimpleNamespace(timestamp=NOW.timestamp())
    statuses = {
        "SENSOR": SimpleNamespace(healthy=False, last_heartbeat=heartbeat),
        "BACKFILL": SimpleNamespace(healthy=None, last_heartbeat=None),
    }
    instance = SimpleNamespace(get_daemon_statuses=lambda: statuses)

    (state,) = daemon_states(cast(Any, instance))

    assert (state.daemon, state.heartbeat_at, state.is_healthy) == ("SENSOR", NOW, False)


def test_automation_has_default_state_or_the_stored_one() -> None:
    ticks = {
        "alert": [],
        "new_objects": [
            SimpleNamespace(
                timestamp=NOW.timestamp(),
                error=None,
                skip_reason=None,
                run_ids=["a"],
                status=SimpleNamespace(value="SUCCESS"),
            )
        ],
    }
    stored = [
        SimpleNamespace(instigator_name=name, is_running=name == "alert", instigator_origin_id=name, selector_id=name)
        for name in ticks
    ]
    instance = SimpleNamespace(
        all_instigator_state=lambda: stored, get_ticks=lambda name, _, limit: ticks[name][:limit]
    )
    repository = dg.Definitions(sensors=[new_objects, alert], schedules=[daily]).get_repository_def()

    assert automation_states(cast(Any, instance), repository) == [
        AutomationState("daily", "schedule", is_running=False),
        AutomationState("alert", "sensor", is_running=True),
        AutomationState("new_objects", "sensor", is_running=False, last_tick_at=NOW, last_tick="success, 1 runs"),
    ]


@pytest.mark.parametrize(
    ("error", "skip_reason", "text"),
    [(SimpleNamespace(message="No route\nstack\n"), "skipped", "No route"), (None, "no new objects", "no new objects")],
)
def test_last_tick_is_its_error_or_skip_reason(error: object, skip_reason: str, text: str) -> None:
    tick = SimpleNamespace(timestamp=NOW.timestamp(), error=error, skip_reason=skip_reason)
    state = SimpleNamespace(instigator_name="alert", is_running=True, instigator_origin_id="o", selector_id="s")
    instance = SimpleNamespace(all_instigator_state=lambda: [state], get_ticks=lambda *_, limit: [tick][:limit])

    (result,) = automation_states(cast(Any, instance), dg.Definitions(sensors=[alert]).get_repository_def())

    assert result.last_tick == text
