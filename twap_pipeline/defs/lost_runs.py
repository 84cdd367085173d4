"""The sensor that marks a run as failed after its process or host died without a report, and the tag of such runs.

A run locks itself in the database while it works (`storage.run_lock`), whatever launcher started it. The sensor marks a
run whose lock is free as failed. Other sensors then request its work again. How the lock is taken belongs to
`resources`; that a lost run does not count as an attempt at its objects is decided in `run_requests`.
"""

import json
import time

import dagster as dg

from twap_pipeline.defs.resources import RUN_LOCK_TAG, DatabaseResource
from twap_pipeline.errors import TwapPipelineError

LOST_TAG = "twap/lost"
"""Tag of a run that the sensor ended; its value is ``true``."""

INTERVAL_SECONDS = 10
"""Interval of ``lost_runs``. A tick reads the runs in progress, and the locks of the database if there are any."""

GRACE_SECONDS = 20.0
"""A run is lost if its lock is free in each tick of this time: a run that connects again has no lock meanwhile."""

_IN_PROGRESS = dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED])


@dg.sensor(
    name="lost_runs",
    minimum_interval_seconds=INTERVAL_SECONDS,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description=(
        "Ends a run as failed whose process or host has ended without a report: its lock in the database is free. The"
        " other sensors then request its work again."
    ),
)
def lost_runs(context: dg.SensorEvaluationContext, database: dg.ResourceParam[DatabaseResource]) -> dg.SensorResult:
    """End the lost runs. The cursor contains run id → timestamp of the first of the ticks in which its lock was free.

    Only runs with the tag of this database are considered: runs of other code locations, of other databases and of
    versions of the code that take no lock are left to Dagster's run monitoring. A run that waits for a worker has no
    lock; ``run_monitoring.start_timeout_seconds`` ends it.
    """
    runs = [run for run in context.instance.get_runs(_IN_PROGRESS) if RUN_LOCK_TAG in run.tags]
    if not runs:
        return dg.SensorResult(skip_reason="no run is in progress", cursor="{}")
    try:
        unlocked = _unlocked_runs(database, runs)
    except TwapPipelineError as error:  # locks that ended with the server say nothing about the runs
        return dg.SensorResult(skip_reason=str(error), cursor="{}")
    now, before = time.time(), json.loads(context.cursor or "{}")
    free_since = {run.run_id: before.get(run.run_id, now) for run in unlocked}
    lost = [run for run in unlocked if now - free_since[run.run_id] >= GRACE_SECONDS]
    for run in lost:
        _end(context.instance, run.run_id, now - free_since.pop(run.run_id))
    message = f"ended lost runs: {', '.join(run.run_id for run in lost)}" if lost else f"{len(runs)} runs in progress"
    return dg.SensorResult(skip_reason=message, cursor=json.dumps(free_since))


def _unlocked_runs(database: DatabaseResource, runs: list[dg.DagsterRun]) -> list[dg.DagsterRun]:
    """Return the runs of this database whose lock is free."""
    from twap_pipeline.storage.run_lock import database_identity, locked_runs

    with database.engine() as engine, engine.connect() as connection:
        identity = database_identity(connection)
        own = [run for run in runs if run.tags[RUN_LOCK_TAG] == identity]
        locked = locked_runs(connection, [run.run_id for run in own])
    return [run for run in own if run.run_id not in locked]


def _end(instance: dg.DagsterInstance, run_id: str, free_seconds: float) -> None:
    """Mark a run as lost and failed, unless it has ended meanwhile."""
    run = instance.get_run_by_id(run_id)
    if run is None or run.status != dg.DagsterRunStatus.STARTED:
        return
    instance.add_run_tags(run_id, {LOST_TAG: "true"})
    instance.report_run_failed(
        run,
        f"The process of this run has ended, or its host is not reachable: the lock of the run in the database has been"
        f" free for {free_seconds:.0f} seconds. The sensors request its work again; rows that it committed stay.",
    )
