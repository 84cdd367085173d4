"""The sensor ``lost_runs``, and the lock that a run takes."""

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta

import dagster as dg
import pytest
from sqlalchemy import Engine, text

from twap_pipeline.defs import run_requests
from twap_pipeline.defs.lost_runs import GRACE_SECONDS, LOST_TAG
from twap_pipeline.defs.resources import RUN_LOCK_TAG, DatabaseResource, build_resources
from twap_pipeline.storage.run_lock import database_identity, locked_runs, run_lock
from twap_pipeline_tests.dagster_client import until
from twap_pipeline_tests.defs.code_location import load_definitions
from twap_pipeline_tests.defs.sensor_ticks import key, requested_partitions, run, skip_message, tick
from twap_pipeline_tests.factories import DAY, Bucket, event

LOCK_SECONDS = 10.0


def identity_of(engine: Engine) -> str:
    with engine.connect() as connection:
        return database_identity(connection)


def start_run(
    instance: dg.DagsterInstance,
    identity: str,
    status: dg.DagsterRunStatus = dg.DagsterRunStatus.STARTED,
    tags: Mapping[str, str] | None = None,
) -> dg.DagsterRun:
    """Add a run in progress whose process does not exist."""
    job = load_definitions().resolve_job_def("ingest_twap_status")
    lock = {RUN_LOCK_TAG: identity} if identity else {}
    is_started = status == dg.DagsterRunStatus.STARTED
    run = instance.create_run_for_job(
        job, status=dg.DagsterRunStatus.STARTING if is_started else status, tags={**(tags or {}), **lock}
    )
    if is_started:
        started = dg.DagsterEvent(dg.DagsterEventType.RUN_START.value, job.name)
        instance.report_dagster_event(started, run.run_id)
    return run


def free_for(seconds: float, *runs: dg.DagsterRun) -> str:
    """Return a cursor of a tick in which the locks of these runs had been free for so long."""
    return json.dumps({run.run_id: time.time() - seconds for run in runs})


def statuses(instance: dg.DagsterInstance) -> list[str]:
    return [run.status.value for run in instance.get_runs()]


@contextmanager
def locked(engine: Engine, run_id: str) -> Iterator[None]:
    """Hold the lock of a run, as its process does."""
    with run_lock(engine, run_id):
        until(lambda: is_locked(engine, run_id), LOCK_SECONDS, "the run is locked")
        yield


def is_locked(engine: Engine, run_id: str) -> bool:
    with engine.connect() as connection:
        return locked_runs(connection, [run_id]) == {run_id}


def test_run_is_tagged_and_locked_while_it_works(instance: dg.DagsterInstance, engine: Engine) -> None:
    @dg.op
    def work(context: dg.OpExecutionContext, database: dg.ResourceParam[DatabaseResource]) -> None:
        with database.engine():
            until(lambda: is_locked(engine, context.run_id), LOCK_SECONDS, "the run is locked")

    @dg.job(resource_defs={"database": build_resources()["database"]})
    def work_job() -> None:
        work()

    result = work_job.execute_in_process(instance=instance)

    assert instance.get_runs()[0].tags[RUN_LOCK_TAG] == identity_of(engine)
    assert not is_locked(engine, result.run_id)


@pytest.mark.parametrize("job_name", ["ingest_twap_status", "check_twap_status"])
def test_runs_of_every_job_take_the_lock(
    instance: dg.DagsterInstance, engine: Engine, bucket: Bucket, job_name: str
) -> None:
    bucket.put(key("a"), [event(1)])

    load_definitions().resolve_job_def(job_name).execute_in_process(
        instance=instance, partition_key=None if job_name == "check_twap_status" else str(DAY), raise_on_error=False
    )

    assert [run.tags.get(RUN_LOCK_TAG) for run in instance.get_runs()] == [identity_of(engine)]


def test_run_without_lock_is_ended_after_the_grace(instance: dg.DagsterInstance, engine: Engine) -> None:
    lost = start_run(instance, identity_of(engine))

    first = tick(instance, name="lost_runs")
    second = tick(instance, first.cursor or "", name="lost_runs")
    after_first_ticks = statuses(instance)
    third = tick(instance, free_for(GRACE_SECONDS, lost), name="lost_runs")

    assert after_first_ticks == ["STARTED"]
    assert json.loads(second.cursor or "") == json.loads(first.cursor or "")
    assert (statuses(instance), instance.get_runs()[0].tags[LOST_TAG]) == (["FAILURE"], "true")
    assert (skip_message(third), third.cursor) == (f"ended lost runs: {lost.run_id}", "{}")
    (failure,) = instance.all_logs(lost.run_id, of_type=dg.DagsterEventType.RUN_FAILURE)
    assert "The process of this run has ended, or its host is not reachable" in (
        failure.get_dagster_event().message or ""
    )


def test_locked_run_is_not_ended(instance: dg.DagsterInstance, engine: Engine) -> None:
    working = start_run(instance, identity_of(engine))

    with locked(engine, working.run_id):
        result = tick(instance, free_for(GRACE_SECONDS, working), name="lost_runs")

    assert (statuses(instance), result.cursor) == (["STARTED"], "{}")


@pytest.mark.parametrize(
    ("tag", "status"),
    [
        ("", dg.DagsterRunStatus.STARTED),
        ("another/database", dg.DagsterRunStatus.STARTED),
        ("own", dg.DagsterRunStatus.STARTING),
        ("own", dg.DagsterRunStatus.CANCELING),
    ],
)
def test_run_that_takes_no_lock_here_is_not_ended(
    instance: dg.DagsterInstance, engine: Engine, tag: str, status: dg.DagsterRunStatus
) -> None:
    """Runs of older code or another database, runs that wait for a worker, and runs that a user terminates."""
    other = start_run(instance, identity_of(engine) if tag == "own" else tag, status)

    tick(instance, free_for(GRACE_SECONDS, other), name="lost_runs")

    assert statuses(instance) == [status.value]


def test_tick_without_database_forgets_free_locks(
    instance: dg.DagsterInstance, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The locks ended with the server. The runs take them again, and need the time of the grace for it."""
    working = start_run(instance, identity_of(engine))
    monkeypatch.setenv("DATABASE_URL", "postgresql://nobody@127.0.0.1:9/nowhere")

    result = tick(instance, free_for(GRACE_SECONDS, working), name="lost_runs")

    assert (statuses(instance), result.cursor) == (["STARTED"], "{}")
    assert skip_message(result).startswith("cannot use the database")


def test_tick_without_run_does_not_open_the_database(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://nobody@127.0.0.1:9/nowhere")

    assert skip_message(tick(instance, name="lost_runs")) == "no run is in progress"


@pytest.mark.fault("R2")
def test_work_of_lost_run_is_requested_again(
    instance: dg.DagsterInstance, bucket: Bucket, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lost runs pause a batch for an hour at most, and are no failed attempts of its objects."""
    monkeypatch.setattr(run_requests, "MAX_RUNS_PER_BATCH", 2)
    bucket.put(key("a"), [event(1)])
    (request,) = tick(instance).run_requests or []
    lost = start_run(instance, identity_of(engine), tags=request.tags)
    blocked = requested_partitions(tick(instance))

    tick(instance, free_for(GRACE_SECONDS, lost), name="lost_runs")
    (again,) = tick(instance).run_requests or []
    assert run(instance, again).success

    assert blocked == []
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT sum(failed_attempts) FROM etl_s3_ingest_log")) == 0


@pytest.mark.parametrize("status", [dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.STARTING])
def test_lost_runs_do_not_reach_the_limit_of_a_day(
    instance: dg.DagsterInstance,
    bucket: Bucket,
    engine: Engine,
    monkeypatch: pytest.MonkeyPatch,
    status: dg.DagsterRunStatus,
) -> None:
    """Nor do runs that were lost before they started: Dagster's run monitoring ends them."""
    bucket.put(key("a"), [event(1)])
    (request,) = tick(instance).run_requests or []
    for _ in range(run_requests.MAX_RUNS_PER_BATCH):
        lost = start_run(instance, identity_of(engine), status, request.tags)
        tick(instance, free_for(GRACE_SECONDS, lost), name="lost_runs")
        if status == dg.DagsterRunStatus.STARTING:
            instance.report_run_failed(lost)
    within_the_hour = requested_partitions(tick(instance))
    monkeypatch.setattr(run_requests, "UNCOUNTED_RETRY_WINDOW", timedelta(0))

    assert within_the_hour == []
    assert requested_partitions(tick(instance)) == [str(DAY)]


def test_refresh_is_requested_after_a_lost_run(instance: dg.DagsterInstance, bucket: Bucket, engine: Engine) -> None:
    """While a run of objects is in progress, ``stale_twap_orders`` requests nothing."""
    lost = start_run(instance, identity_of(engine))
    before = skip_message(tick(instance, name="stale_twap_orders"))

    tick(instance, free_for(GRACE_SECONDS, lost), name="lost_runs")

    assert before.startswith("an ingest run is in progress")
    assert not skip_message(tick(instance, name="stale_twap_orders")).startswith("an ingest run is in progress")
