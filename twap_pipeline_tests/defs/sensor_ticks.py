"""Ticks of sensors and the runs that they request, executed in process."""

from datetime import timedelta

import dagster as dg

from twap_pipeline.defs.event_log import (
    ASSET_PARTITION_RANGE_END_TAG,
    ASSET_PARTITION_RANGE_START_TAG,
    PARTITION_NAME_TAG,
)
from twap_pipeline_tests.defs.code_location import load_definitions
from twap_pipeline_tests.factories import DAY


def tick(instance: dg.DagsterInstance, cursor: str = "", name: str = "new_twap_objects") -> dg.SensorResult:
    definitions = load_definitions()
    sensor = definitions.resolve_sensor_def(name)
    with dg.build_sensor_context(
        instance=instance, cursor=cursor, definitions=definitions, resources=dict(definitions.resources or {})
    ) as context:
        result = sensor(context)
    assert isinstance(result, dg.SensorResult)
    return result


def requested_partitions(result: dg.SensorResult) -> list[str]:
    return [request.partition_key or "" for request in result.run_requests or []]


def run(
    instance: dg.DagsterInstance, request: dg.RunRequest, job_name: str = "ingest_twap_status"
) -> dg.ExecuteInProcessResult:
    """Execute a run request in process."""
    job = load_definitions().resolve_job_def(job_name)
    return job.execute_in_process(
        instance=instance, partition_key=request.partition_key, tags=dict(request.tags), raise_on_error=False
    )


def requested_ranges(result: dg.SensorResult) -> list[tuple[str, str]]:
    """Return the first and last partition of each requested run."""
    requests = result.run_requests or []
    return [
        (request.tags[ASSET_PARTITION_RANGE_START_TAG], request.tags[ASSET_PARTITION_RANGE_END_TAG])
        for request in requests
    ]


def run_all(instance: dg.DagsterInstance, result: dg.SensorResult) -> None:
    for request in result.run_requests or []:
        run(instance, request)


def add_runs(instance: dg.DagsterInstance, result: dg.SensorResult, status: dg.DagsterRunStatus) -> None:
    """Add the requested runs with this status, without executing them."""
    for request in result.run_requests or []:
        tags = {**request.tags, PARTITION_NAME_TAG: request.partition_key or ""}
        instance.add_run(dg.DagsterRun(job_name="ingest_twap_status", tags=tags, status=status))


def skip_message(result: dg.SensorResult) -> str:
    return (
        result.skip_reason.skip_message if isinstance(result.skip_reason, dg.SkipReason) else result.skip_reason
    ) or ""


def key(name: str, days: int = 0) -> str:
    return f"hourly/{DAY + timedelta(days=days):%Y/%m/%d}/12/{name}.parquet"


def add_failed_run(instance: dg.DagsterInstance) -> None:
    """Add a run that failed before its first step."""
    job = load_definitions().resolve_job_def("ingest_twap_status")
    instance.report_run_failed(instance.create_run_for_job(job))
