"""Dagster's event log and runs, and the only module that imports Dagster's private API.

These functions cover what Dagster does not do by itself:

* `record_source_partitions`: a source partition changed. Observing a source asset records observations only, and
  downstream provenance ignores them (https://github.com/dagster-io/dagster/issues/33988). The materialization that
  this function adds provides the provenance and shows the partition as present in the UI.
* `provenance_tags`: a run over several partitions of which some failed. Dagster records all partitions of a step or
  none (https://github.com/dagster-io/dagster/issues/17836 and 21072), so the asset logs its successful partitions
  itself and needs the tags of data versioning.
* `run_job`: the public ways to run a job in process (`execute_in_process`, `execute_job`) create a run without a code
  location. The timeline and the pages of jobs do not list such a run, and run status sensors ignore it. Run monitoring
  ends each run that the configured launcher does not know (https://github.com/dagster-io/dagster/issues/19554).
* `stale_checks`: a run plans the checks of the assets that it materializes. If the asset fails, Dagster does not
  evaluate them and shows each as "Execution failed". `stale_asset_checks` in `sensors` requests an evaluation.

Import names that the package ``dagster`` does not export from here, not from ``dagster._core``. They are:

* tags of partitions, backfills and data versions: part of the stored data, but without public constants;
* the name of the job that runs the assets of backfills and of the UI;
* the statuses of finished and of other runs;
* functions that build the names of the data-version tags, for the same reason;
* the enumeration of the public `get_status_by_partition`;
* `UnresolvedAssetJobDefinition` and `TimeWindowFreshnessPolicy`: the return types of the public `define_asset_job` and
  `FreshnessPolicy.time_window`;
* `SerializableErrorInfo`: the type of the error in a step failure event.

dagster is pinned below its next minor version for this reason (see pyproject.toml).
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date, timedelta
from typing import Any

import dagster as dg
from dagster._core.definitions.assets.job.asset_job import IMPLICIT_ASSET_JOB_NAME
from dagster._core.definitions.data_version import (
    CODE_VERSION_TAG,
    DATA_VERSION_TAG,
    get_input_data_version_tag,
    get_input_event_pointer_tag,
)
from dagster._core.definitions.freshness import TimeWindowFreshnessPolicy
from dagster._core.definitions.job_base import InMemoryJob
from dagster._core.definitions.repository_definition import SINGLETON_REPOSITORY_NAME
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition
from dagster._core.execution.api import execute_run
from dagster._core.instance.types import InstanceType
from dagster._core.launcher import DefaultRunLauncher
from dagster._core.remote_origin import ManagedGrpcPythonEnvCodeLocationOrigin, RemoteRepositoryOrigin
from dagster._core.storage.dagster_run import FINISHED_STATUSES, NOT_FINISHED_STATUSES
from dagster._core.storage.partition_status_cache import AssetPartitionStatus
from dagster._core.storage.runs import InMemoryRunStorage
from dagster._core.storage.tags import (
    ASSET_PARTITION_RANGE_END_TAG,
    ASSET_PARTITION_RANGE_START_TAG,
    BACKFILL_ID_TAG,
    PARTITION_NAME_TAG,
)
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster_shared.error import SerializableErrorInfo

from twap_pipeline.domain.object_ref import ObjectRef, fingerprint

__all__ = [
    "ASSET_PARTITION_RANGE_END_TAG",
    "ASSET_PARTITION_RANGE_START_TAG",
    "BACKFILL_ID_TAG",
    "FINISHED_STATUSES",
    "IMPLICIT_ASSET_JOB_NAME",
    "NOT_FINISHED_STATUSES",
    "PARTITION_NAME_TAG",
    "AssetPartitionStatus",
    "SerializableErrorInfo",
    "TimeWindowFreshnessPolicy",
    "UnresolvedAssetJobDefinition",
    "failed_checks",
    "failed_partitions",
    "failure_text",
    "partition_statuses",
    "provenance_tags",
    "record_source_partitions",
    "run_job",
    "stale_checks",
]

CODE_LOCATION = "twap_pipeline"
"""Name of the code location in workspace.yaml and pyproject.toml."""

_MODULE = "twap_pipeline.definitions"


def run_job(
    instance: dg.DagsterInstance,
    job: dg.JobDefinition,
    *,
    tags: Mapping[str, str],
    run_config: Mapping[str, object],
) -> dg.JobExecutionResult:
    """Run a job of the code location in this process and return the result; a failed run raises nothing."""
    location = ManagedGrpcPythonEnvCodeLocationOrigin(LoadableTargetOrigin(module_name=_MODULE), CODE_LOCATION)
    with _unmonitored_instance(instance) as unmonitored:
        run = unmonitored.create_run_for_job(
            job_def=job,
            tags={**job.run_tags, **tags},
            run_config=run_config,
            remote_job_origin=RemoteRepositoryOrigin(location, SINGLETON_REPOSITORY_NAME).get_job_origin(job.name),
        )
        return execute_run(InMemoryJob(job), run, unmonitored)


@contextmanager
def _unmonitored_instance(instance: dg.DagsterInstance) -> Iterator[dg.DagsterInstance]:
    """Yield an instance for runs of this process, which run monitoring cannot check.

    With Kubernetes or Celery, run monitoring queries the launcher for the worker of each run in progress, and ends the
    run as failed if there is none. A run of this process has none. Its record is therefore kept in memory, and added to
    the instance when the block ends; its events are written to the instance at once. A run of a process that was killed
    leaves its events and no record, as a run does that a user deletes. Dagster's default launcher has no such query:
    then this is the instance itself.
    """
    ref = instance.get_ref() if instance.is_persistent else None
    launcher = ref.run_launcher_data if ref is not None else None
    if ref is None or launcher is None or launcher.class_name == DefaultRunLauncher.__name__:
        yield instance
        return
    event_storage = ref.event_storage
    if event_storage is None:
        raise dg.DagsterInvariantViolationError("the instance has no event log")
    with dg.DagsterInstance(
        instance_type=InstanceType.PERSISTENT,
        local_artifact_storage=ref.local_artifact_storage,
        run_storage=InMemoryRunStorage(),
        event_storage=event_storage,
        compute_log_manager=None,  # this and the next two: those of `ref`, created when they are used
        run_coordinator=None,
        run_launcher=None,
        settings={name: value for name, value in ref.settings.items() if name != "run_monitoring"},
        ref=ref,
    ) as unmonitored:
        try:
            yield unmonitored
        finally:
            for record in unmonitored.get_run_records():
                _add_run(record.dagster_run, unmonitored, instance)


def _add_run(run: dg.DagsterRun, source: dg.DagsterInstance, target: dg.DagsterInstance) -> None:
    """Add the record of a run and what it refers to; the events are in the event log that both instances share."""
    job, plan = run.job_snapshot_id, run.execution_plan_snapshot_id
    if job is not None:
        target.run_storage.add_job_snapshot(source.get_job_snapshot(job))
    if plan is not None:
        target.run_storage.add_execution_plan_snapshot(source.get_execution_plan_snapshot(plan))
    target.add_run(run)


def stale_checks(
    instance: dg.DagsterInstance, keys: Sequence[dg.AssetCheckKey], intervals: Mapping[dg.AssetCheckKey, timedelta]
) -> list[dg.AssetCheckKey]:
    """Return the checks without an evaluation of the latest materialization of their asset.

    A check that a run planned is stale until the run evaluates it. Call this while no run is in progress.
    ``intervals`` has the expensive checks: one that passed is not stale before its evaluation has this age.
    """
    executions = instance.event_log_storage.get_latest_asset_check_execution_by_key(keys)
    assets = [record.asset_entry for record in instance.get_asset_records(list({key.asset_key for key in keys}))]
    latest = {asset.asset_key: asset.last_materialization_storage_id for asset in assets}

    def is_stale(key: dg.AssetCheckKey) -> bool:
        execution, storage_id = executions.get(key), latest.get(key.asset_key)
        if execution is None or not isinstance(execution.evaluation, dg.AssetCheckEvaluation):
            return execution is not None or storage_id is not None
        is_recent = time.time() - execution.create_timestamp < intervals.get(key, timedelta(0)).total_seconds()
        target = execution.evaluation.target_materialization_data
        is_current = storage_id is None or (target is not None and target.storage_id == storage_id)
        return not is_current and not (is_recent and execution.evaluation.passed)

    return [key for key in keys if is_stale(key)]


def failed_partitions(
    instance: dg.DagsterInstance, key: dg.AssetKey, partitions: dg.PartitionsDefinition[str]
) -> list[str]:
    """Return the partitions that the web UI shows as failed: the last run that planned them failed before them."""
    statuses = partition_statuses(instance, key, partitions)
    return [day for day, status in statuses.items() if status == AssetPartitionStatus.FAILED]


def partition_statuses(
    instance: dg.DagsterInstance, key: dg.AssetKey, partitions: dg.PartitionsDefinition[str]
) -> Mapping[str, AssetPartitionStatus | None]:
    """Return partition → its status as the web UI shows it; None if it is missing."""
    return instance.get_status_by_partition(key, partitions.get_partition_keys(), partitions) or {}


def failed_checks(
    instance: dg.DagsterInstance, keys: Sequence[dg.AssetCheckKey]
) -> dict[dg.AssetCheckKey, dg.AssetCheckEvaluation]:
    """Return the checks whose last completed evaluation did not pass, also while they are evaluated again."""
    failed: dict[dg.AssetCheckKey, dg.AssetCheckEvaluation] = {}
    for key, summary in instance.event_log_storage.get_asset_check_summary_records(keys).items():
        record = summary.last_completed_check_execution_record
        evaluation = record.evaluation if record is not None else None
        if evaluation is not None and not evaluation.passed:
            failed[key] = evaluation
    return failed


def failure_text(instance: dg.DagsterInstance, run_id: str) -> str:
    """Return the failure texts of the steps of a failed run, or of the run.

    The text of an error that is not a `dagster.Failure` may contain secrets: it is left out.
    """
    entries = instance.all_logs(run_id, of_type={dg.DagsterEventType.STEP_FAILURE, dg.DagsterEventType.RUN_FAILURE})
    events = [entry.dagster_event for entry in entries if entry.dagster_event is not None]
    failures = [event.step_failure_data.user_failure_data for event in events if event.is_step_failure]
    texts = [failure.description for failure in failures if failure is not None and failure.description]
    messages = [event.message for event in events if not event.is_step_failure and event.message]
    return "\n".join(texts or messages) or "no message"


def record_source_partitions(
    instance: dg.DagsterInstance,
    key: dg.AssetKey,
    url: str,
    refs_by_date: Mapping[date, Sequence[ObjectRef]],
    *,
    limit: int = 10_000,
    listing_metadata: Mapping[str, Any] | None = None,
) -> list[str]:
    """Record an observation and a materialization for each partition whose set of object versions changed.

    The observation makes downstream partitions stale; the materialization shows the partition as present. At most
    ``limit`` partitions are recorded; the next call records further ones. ``refs_by_date`` has all objects of each day.

    Returns:
        The keys of the recorded partitions.
    """
    versions = {day.isoformat(): fingerprint(refs) for day, refs in refs_by_date.items()}
    latest = _latest_tags(instance, key, list(versions))
    changed = [day for day, version in versions.items() if latest.get(day, {}).get(DATA_VERSION_TAG) != version]
    for day in changed[:limit]:
        refs = refs_by_date[date.fromisoformat(day)]
        metadata = {
            "objects": len(refs),
            "bytes": sum(ref.size_bytes for ref in refs),
            "dagster/uri": url,
            **(listing_metadata or {}),
        }
        for event in (dg.AssetObservation, dg.AssetMaterialization):
            instance.report_runless_asset_event(
                event(key, partition=day, metadata=metadata, tags={DATA_VERSION_TAG: versions[day]})
            )
    return changed[:limit]


def provenance_tags(
    instance: dg.DagsterInstance, source: dg.AssetKey, partition_keys: Sequence[str], code_version: str
) -> dict[str, dict[str, str]]:
    """Return, per partition, the data-version tags that Dagster itself adds to a materialization.

    Dagster would never show a partition as stale whose materialization lacks these tags.
    """
    latest = _latest_tags(instance, source, partition_keys)
    pointers = instance.event_log_storage.get_latest_storage_id_by_partition(
        source, dg.DagsterEventType.ASSET_MATERIALIZATION, set(partition_keys)
    )
    tags: dict[str, dict[str, str]] = {}
    for partition_key in partition_keys:
        version = latest.get(partition_key, {}).get(DATA_VERSION_TAG, "INITIAL")
        tags[partition_key] = {
            CODE_VERSION_TAG: code_version,
            get_input_data_version_tag(source): version,
            get_input_event_pointer_tag(source): str(pointers.get(partition_key, "NULL")),
            DATA_VERSION_TAG: f"{code_version}-{version}",
        }
    return tags


def _latest_tags(
    instance: dg.DagsterInstance, key: dg.AssetKey, partition_keys: Sequence[str]
) -> Mapping[str, Mapping[str, str]]:
    return instance.event_log_storage.get_latest_tags_by_partition(
        key, dg.DagsterEventType.ASSET_MATERIALIZATION, [DATA_VERSION_TAG], list(partition_keys)
    )
